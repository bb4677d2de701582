"""The Tornado application of a server: the API, then the routes of the application, then files, then `on_request`."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias, cast

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.routing import PathMatches, Router, Rule, URLSpec
from tornado.web import Application, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketHandler

from wshttp.config.shipped import shipped
from wshttp.eager import Eager
from wshttp.errors import BadRequest, UsageError
from wshttp.realtime.connection import MessageHandler
from wshttp.realtime.format import SUBPROTOCOL
from wshttp.web import api, health
from wshttp.web.admin.calls import admin_calls
from wshttp.web.admin.desk import Desk
from wshttp.web.client_module import FILES, ClientModule
from wshttp.web.endpoint import Endpoint, Route
from wshttp.web.exchange import Exchange
from wshttp.web.file_cache import FileCache
from wshttp.web.file_exchange import FileExchange, is_plain
from wshttp.web.file_root import FileRoot
from wshttp.web.gate import Gate, Nothing, gated
from wshttp.web.handler_run import HandlerRun
from wshttp.web.metrics import Metrics, MetricsHandler
from wshttp.web.on_request import ANY_REQUEST
from wshttp.web.options_asterisk import ASTERISK, OptionsAsterisk
from wshttp.web.paths import decoded_path, encoded_path, parameters_of, route_pattern, routed_path
from wshttp.web.rules import Rules
from wshttp.web.site import Site, put_site
from wshttp.web.site_files import KEPT, SiteFiles
from wshttp.web.site_request import SiteRequest
from wshttp.web.socket_handler import BuiltInSocket, FunctionSocket, SessionWebSocketHandler
from wshttp.web.stream import Send, Stream

HandlerRule: TypeAlias = "URLSpec | Rule | tuple[Any, ...]"


class SiteApplication(Application):
    """A `tornado.web.Application` whose handlers share a `Site` and stand behind the gate.

    Paths are decoded once and normalised before they are routed: `/a%64min/../x` is `/x`, for routes, files and
    protection alike. What asks for the path of a function endpoint, as it is and with no parameters in it, is not routed
    but found.
    """

    takes_asterisk = True
    """Asks the engine to leave `OPTIONS *` to it."""

    def __init__(self, site: Site, metrics: Metrics, **settings: Any) -> None:
        # Ours is stricter, and applied in the gate; Tornado 6.7 turns its own on.
        super().__init__([], cross_origin_protection=False, websocket_ping_interval=0, **settings)
        put_site(self, site)
        self.site = site
        site.has_api = True
        self.eager = Eager()
        self.routes: dict[str, Route] = {}
        self._exact: dict[str, Route] = {}
        """By raw path, those that no rule before them could match."""
        self._taken: set[tuple[str, str]] = set()
        self._fallback: Rule | None = None
        self._kept = FileCache(site.hub.clock.monotonic)
        self._file_age: Callable[[], float] = float
        self._rules = Rules(self.wildcard_router)
        self._folders: list[FileRoot] = []
        prefix = re.escape(site.prefix)
        client = self._open_folder(shipped("static"))
        calls: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
            ("/health/live", health.Live, {}),
            ("/health/ready", health.Ready, {}),
            (f"/({FILES})", ClientModule, {"root": client, "cache": lambda: site.settings.static.cache}),
        ]
        if site.settings.metrics.enabled:
            calls.append(("/metrics", MetricsHandler, {"metrics": metrics}))
        if site.settings.session.enabled:
            calls += [
                ("/session", api.CurrentSession, {}),
                ("/session/touch", api.Touch, {}),
                ("/sessions", api.OwnSessions, {}),
                ("/sessions/([0-9a-f]+)", api.OwnSession, {}),
                ("/login", api.Login, {}),
                ("/ticket", api.NewTicket, {}),
                ("/socket", BuiltInSocket, {}),
                ("/stream", Stream, {}),
                ("/send", Send, {}),
            ]
        if site.settings.admin.enabled:
            calls += admin_calls(Desk(site, metrics), self._open_folder(shipped("static") / "admin"))
        for path, handler, arguments in calls:
            self._rules.append(Rule(PathMatches(f"{prefix}{path}$"), handler, arguments))
        self._rules.append(Rule(PathMatches(f"{prefix}/.*"), api.ApiNothing))

    def close(self) -> None:
        """Let go of what it holds, after the last request."""
        for folder in self._folders:
            folder.close()

    # --- routes -------------------------------------------------------------------------------------

    def add_endpoint(self, method: str, path: str, endpoint: Endpoint) -> None:
        """Add a function endpoint. Raises `UsageError` where this method and path have one."""
        endpoint.check(path)
        pattern = route_pattern(path)
        self._take(method, path)
        route = self.routes.get(path)
        if route is None:
            route = self.routes[path] = Route(path)
            exact = encoded_path(path)
            if (
                not parameters_of(path)
                and encoded_path(decoded_path(exact)) == exact
                and not self._rules.may_match(exact)
            ):
                self._exact[exact] = route
            self._rules.append(Rule(PathMatches(pattern), Exchanges(self, route)))
        route.endpoints[method] = endpoint

    def add_socket(
        self, path: str, function: MessageHandler, subprotocols: tuple[str, ...], auto_start: bool | None
    ) -> None:
        """Add a WebSocket endpoint: its handshake is the path's GET. Raises `UsageError` as `add_endpoint` does."""
        self._take("GET", path)
        if SUBPROTOCOL in subprotocols:
            raise UsageError(
                f"{SUBPROTOCOL} is spoken by the built-in socket alone; it is at {self.site.prefix}/socket"
            )
        arguments = {"function": function, "subprotocols": subprotocols, "auto_start": auto_start}
        self._rules.append(Rule(PathMatches(route_pattern(path)), FunctionSocket, arguments))

    def add_site_handlers(self, rules: Iterable[HandlerRule]) -> None:
        """Add Tornado handlers, with the gate before each; rules are those of `tornado.web.Application`."""
        for given in rules:
            rule = given if isinstance(given, Rule) else URLSpec(*given)
            target = rule.target
            if not isinstance(target, type) or not issubclass(target, RequestHandler):
                raise UsageError(f"{target!r} is no RequestHandler class")
            if issubclass(target, StaticFileHandler):
                raise UsageError(
                    "Tornado's StaticFileHandler answers with stale ETags; use static.root of the settings"
                )
            if issubclass(target, WebSocketHandler) and not issubclass(target, SessionWebSocketHandler):
                raise UsageError(
                    f"{target.__name__} would outlive the session that let it in, and the drain; "
                    "derive it from SessionWebSocketHandler instead of WebSocketHandler"
                )
            self._rules.append(Rule(rule.matcher, gated(target), rule.target_kwargs, rule.name))

    def serve_files(self, root: FileRoot, cache: Callable[[], float]) -> None:
        """Serve a folder at `/`, after all routes, and ask `on_request` for what is not there."""
        self._file_age = cache
        self._fallback = Rule(PathMatches("/(.*)"), SiteFiles, {"root": root, "cache": cache, "kept": self._kept})

    def _take(self, method: str, path: str) -> None:
        if not path.startswith("/"):
            raise UsageError(f"a path begins with a slash: {path!r}")
        if (method, path) in self._taken:
            raise UsageError(f"{method} {path} has an endpoint already")
        self._taken.add((method, path))

    def _find_kept(self, request: HTTPServerRequest) -> FileExchange | None:
        """Return who answers with a file from memory, if it is there."""
        file = self._kept.find(request.path, ",".join(request.headers.get_list("Accept-Encoding")))
        return (
            FileExchange(self, request, KEPT, file, self._file_age) if file is not None and is_plain(request) else None
        )

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return Arrival(self, server_conn, request_conn)

    def delegate_for(
        self,
        start_line: RequestStartLine,
        headers: HTTPHeaders,
        connection: HTTPConnection,
        server_connection: object,
    ) -> HTTPMessageDelegate:
        """Return who deals with a request, once its header is there."""
        delegate: HTTPMessageDelegate = self.find_handler(
            SiteRequest(start_line, headers, connection, server_connection)
        )
        return delegate

    def _open_folder(self, folder: Path) -> FileRoot:
        """Return a folder that comes with the package; it is let go of with the application."""
        root = FileRoot(folder)
        self._folders.append(root)
        return root

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        route = self._exact.get(request.path)
        if route is not None:
            return Exchange(self, request, route, {})
        if request.path == ASTERISK:
            return self.get_handler_delegate(request, OptionsAsterisk)
        try:
            request.path = routed_path(request.path)
        except BadRequest:
            return self.get_handler_delegate(request, Malformed)
        found = self._rules.find(request)
        if found is not None:
            return self._delegate(request, *found)
        if self._fallback is not None and self._is_for_files(request):
            return self._find_kept(request) or self._to_files(request, self._fallback)
        if self.site.callbacks["request"]:
            return Exchange(self, request, ANY_REQUEST, {})
        return self.get_handler_delegate(request, Nothing)

    def _is_for_files(self, request: HTTPServerRequest) -> bool:
        """Whether the files answer what no route took: reading always, anything else where nobody else would."""
        return request.method in ("GET", "HEAD") or not self.site.callbacks["request"]

    def _to_files(self, request: HTTPServerRequest, rule: Rule) -> Any:
        return self._delegate(request, rule, rule.matcher.match(request) or {})

    def _delegate(self, request: HTTPServerRequest, rule: Rule, found: dict[str, Any]) -> Any:
        if isinstance(rule.target, Router):
            return rule.target.find_handler(request, **found)
        return self.get_handler_delegate(request, rule.target, rule.target_kwargs, **found)

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> Any:
        if not self._is_run_at_once(target_class):
            return super().get_handler_delegate(request, target_class, target_kwargs, path_args, path_kwargs)
        return HandlerRun(self, self.eager, request, target_class, target_kwargs, path_args, path_kwargs)

    def _is_run_at_once(self, handler: type[RequestHandler]) -> bool:
        """Whether Tornado's delegate would do no more for a handler (6.6) than ours, which resets no caches."""
        if not issubclass(handler, Gate) or handler.is_handshake or handler._stream_request_body:
            return False
        get = self.settings.get
        return bool(get("compiled_template_cache", True) and get("static_hash_cache", True))


class Arrival(HTTPMessageDelegate):
    """A request whose header is just coming: what it says decides who deals with it."""

    __slots__ = ("_application", "_connection", "_delegate", "_server_connection")

    _delegate: HTTPMessageDelegate

    def __init__(self, application: SiteApplication, server_conn: object, request_conn: HTTPConnection) -> None:
        self._application = application
        self._server_connection = server_conn
        self._connection = request_conn

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        line = cast(RequestStartLine, start_line)
        self._delegate = self._application.delegate_for(line, headers, self._connection, self._server_connection)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        if hasattr(self, "_delegate"):  # else it was refused before anybody was found
            self._delegate.on_connection_close()


class Exchanges(Router):
    """What Tornado's routing finds for the path of a function endpoint."""

    def __init__(self, application: SiteApplication, route: Route) -> None:
        self._application = application
        self._route = route

    def find_handler(  # type: ignore[override]  # an exchange is a delegate by what it does
        self, request: HTTPServerRequest, path_kwargs: dict[str, bytes] | None = None, **kwargs: Any
    ) -> Exchange:
        """Return who deals with the request; `path_kwargs` are the path's parameters, decoded up to their UTF-8."""
        parameters = {name: value.decode() for name, value in (path_kwargs or {}).items()}
        return Exchange(self._application, request, self._route, parameters)


class Malformed(Gate):
    """A request whose path cannot be read."""

    async def prepare(self) -> None:
        raise BadRequest("the path cannot be decoded: it is not UTF-8, or contains control characters")
