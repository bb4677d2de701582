"""The Tornado application of a server: the API, then the routes of the application, then files, then `on_request`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from tornado.httputil import HTTPServerRequest
from tornado.routing import PathMatches, Rule, URLSpec
from tornado.web import Application, HTTPError, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketHandler

from wshttp.config.shipped import shipped
from wshttp.errors import BadRequest, UsageError
from wshttp.realtime.format import SUBPROTOCOL
from wshttp.web import api, health
from wshttp.web.admin.calls import admin_calls
from wshttp.web.admin.desk import Desk
from wshttp.web.body import RequestBody
from wshttp.web.client_module import FILES, ClientModule
from wshttp.web.endpoint import METHODS, Endpoint, EndpointHandler, Route
from wshttp.web.file_root import FileRoot
from wshttp.web.files import FilesHandler
from wshttp.web.gate import Gate, Nothing, gated
from wshttp.web.metrics import Metrics, MetricsHandler
from wshttp.web.paths import decoded_path, encoded_path, route_pattern
from wshttp.web.request import Request
from wshttp.web.result_handler import ResultHandler
from wshttp.web.site import Site, put_site
from wshttp.web.socket_handler import BuiltInSocket, FunctionSocket, SessionWebSocketHandler, SocketFunction
from wshttp.web.stream import Send, Stream

HandlerRule: TypeAlias = "URLSpec | Rule | tuple[Any, ...]"


class SiteApplication(Application):
    """A `tornado.web.Application` whose handlers share a `Site` and stand behind the gate.

    Paths are decoded once and normalised before they are routed: `/a%64min/../x` is `/x`, for routes, files and
    protection alike.
    """

    def __init__(self, site: Site, metrics: Metrics, **settings: Any) -> None:
        # Ours is stricter, and applied in the gate; Tornado 6.7 turns its own on.
        super().__init__([], cross_origin_protection=False, websocket_ping_interval=0, **settings)
        put_site(self, site)
        self.site = site
        site.has_api = True
        self.routes: dict[str, Route] = {}
        self._taken: set[tuple[str, str]] = set()
        self._fallback: Rule | None = None
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
            self._append(Rule(PathMatches(f"{prefix}{path}$"), handler, arguments))
        self._append(Rule(PathMatches(f"{prefix}/.*"), api.ApiNothing))

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
            self._append(Rule(PathMatches(pattern), EndpointHandler, {"route": route}))
        route.endpoints[method] = endpoint

    def add_socket(
        self, path: str, function: SocketFunction, subprotocols: tuple[str, ...], auto_start: bool | None
    ) -> None:
        """Add a WebSocket endpoint: its handshake is the path's GET. Raises `UsageError` as `add_endpoint` does."""
        self._take("GET", path)
        if SUBPROTOCOL in subprotocols:
            raise UsageError(
                f"{SUBPROTOCOL} is spoken by the built-in socket alone; it is at {self.site.prefix}/socket"
            )
        arguments = {"function": function, "subprotocols": subprotocols, "auto_start": auto_start}
        self._append(Rule(PathMatches(route_pattern(path)), FunctionSocket, arguments))

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
            self._append(Rule(rule.matcher, gated(target), rule.target_kwargs, rule.name))

    def serve_files(self, root: FileRoot, cache: Callable[[], float]) -> None:
        """Serve a folder at `/`, after all routes, and ask `on_request` for what is not there."""
        self._fallback = Rule(PathMatches("/(.*)"), SiteFiles, {"root": root, "cache": cache})

    def _take(self, method: str, path: str) -> None:
        if not path.startswith("/"):
            raise UsageError(f"a path begins with a slash: {path!r}")
        if (method, path) in self._taken:
            raise UsageError(f"{method} {path} has an endpoint already")
        self._taken.add((method, path))

    def _open_folder(self, folder: Path) -> FileRoot:
        """Return a folder that comes with the package; it is let go of with the application."""
        root = FileRoot(folder)
        self._folders.append(root)
        return root

    def _append(self, rule: Rule) -> None:
        self.wildcard_router.add_rules([rule])

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        try:
            request.path = encoded_path(decoded_path(request.path))
        except BadRequest:
            return self.get_handler_delegate(request, Malformed)
        found = self.wildcard_router.find_handler(request)
        if found is not None:
            return found
        if self._fallback is not None and self._is_for_files(request):
            return self._delegate(request, self._fallback)
        return self.get_handler_delegate(request, AnyRequest if self.site.callbacks["request"] else Nothing)

    def _is_for_files(self, request: HTTPServerRequest) -> bool:
        """Whether the files answer what no route took: reading always, anything else where nobody else would."""
        return request.method in ("GET", "HEAD") or not self.site.callbacks["request"]

    def _delegate(self, request: HTTPServerRequest, rule: Rule) -> Any:
        found = rule.matcher.match(request) or {}
        return self.get_handler_delegate(request, rule.target, rule.target_kwargs, **found)


class Malformed(Gate):
    """A request whose path cannot be read."""

    async def prepare(self) -> None:
        raise BadRequest("the path cannot be decoded: it is not UTF-8, or contains control characters")


async def _ask_the_application(request: Request) -> object:
    """Answer what no route took with what `on_request` returns first. Raises `HTTPError` 404 where it returns nothing."""
    for function in request.handler.site.callbacks["request"]:
        result = function(request)
        if inspect.isawaitable(result):
            result = await result
        if result is not None:
            return result
    raise HTTPError(404)


_ANY = Route("*", {method: Endpoint(_ask_the_application) for method in METHODS})


class AnyRequest(EndpointHandler):
    """What no route took, where the application has an `on_request`."""

    def initialize(self) -> None:  # type: ignore[override]  # its route is always the same
        super().initialize(_ANY)


class SiteFiles(FilesHandler, ResultHandler):  # type: ignore[misc]  # its methods take the path, as FilesHandler's do
    """Static files behind the gate. They have no session, unless `on_request` answers for one that is not there."""

    wants_session = False

    async def _answer(self, path: str) -> None:
        try:
            await super()._answer(path)
        except HTTPError as error:
            if error.status_code != 404 or not self.site.callbacks["request"]:
                raise
        else:
            return
        self.wants_session = True  # type: ignore[misc]  # of this request: from here on it is like one of a route
        visit = await self.identify()
        await visit.begin(auto_start=self.starts_session())
        await self.respond(await _ask_the_application(Request(self, {}, RequestBody.of(self.request.body))))
