"""The decorators and methods by which an application registers its routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from wshttp.web.application import HandlerRule, SiteApplication
from wshttp.web.endpoint import Endpoint

F = TypeVar("F", bound=Callable[..., Any])


class RouteDecorators:
    """One decorator per method of HTTP, one for WebSockets, and Tornado's own handlers."""

    application: SiteApplication

    def route(
        self, method: str, path: str, *, auto_start: bool | None = None, serialize: bool = False
    ) -> Callable[[F], F]:
        """Answer `method` on `path` with the decorated `function(request)`, plain or async.

        `path` may have parameters, `/rooms/{name}` or, over several segments, `/files/{rest:path}`; those that the
        function takes by name are given to it. What it returns is the answer: `str`, `bytes`, `dict` or `list` (JSON),
        `Response`, an async iterator of `str` or `bytes` (streamed), or `None` (204).
        `auto_start` overrides `session.auto_start`; with `serialize`, requests of one session are handled one at a time.
        """

        def register(function: F) -> F:
            self.application.add_endpoint(method.upper(), path, Endpoint(function, auto_start, serialize))
            return function

        return register

    def get(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer GET, and HEAD without the body; see `route`."""
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer POST; see `route`."""
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer PUT; see `route`."""
        return self.route("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer PATCH; see `route`."""
        return self.route("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[F], F]:
        """Answer DELETE; see `route`."""
        return self.route("DELETE", path, **options)

    def websocket(
        self, path: str, *, subprotocols: Iterable[str] = (), auto_start: bool | None = None
    ) -> Callable[[F], F]:
        """Handle messages of WebSockets at `path` with the decorated `function(connection, message)`.

        Messages of one connection come one after the other; text as `str`, binary as `bytes`.
        The first of `subprotocols` that a client offers is chosen.
        """

        def register(function: F) -> F:
            self.application.add_socket(path, function, tuple(subprotocols), auto_start)
            return function

        return register

    def add_handlers(self, rules: Iterable[HandlerRule]) -> None:
        """Add Tornado handlers, as `tornado.web.Application` takes them: `[(pattern, class, arguments), ...]`.

        All stand behind the gate; those derived from `SessionHandler` and `SessionWebSocketHandler` have a session.
        """
        self.application.add_site_handlers(rules)
