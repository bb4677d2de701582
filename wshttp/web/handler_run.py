"""One request of a Tornado handler: from the connection to the handler, once all of the request is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine, ResponseStartLine
from tornado.web import Application, RequestHandler

from wshttp.eager import Eager


class HandlerRun:
    """What makes the handler and runs it, without a task where it never waits: an `HTTPMessageDelegate` by what it does.

    Does what Tornado's delegate does (6.6) for handlers that take their body whole, which is public in no other way.
    """

    __slots__ = ("_application", "_arguments", "_body", "_by_name", "_eager", "_handler", "_request", "_settings")

    def __init__(
        self,
        application: Application,
        eager: Eager,
        request: HTTPServerRequest,
        handler: type[RequestHandler],
        settings: Mapping[str, Any] | None,
        arguments: Sequence[bytes] | None,
        by_name: Mapping[str, bytes] | None,
    ) -> None:
        self._application = application
        self._eager = eager
        self._request = request
        self._handler = handler
        self._settings = settings or {}
        """What the rule gives the handler, besides the arguments that its path has."""
        self._arguments = arguments or ()
        self._by_name = by_name or {}
        self._body = bytearray()

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        """Wait for the body."""

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def finish(self) -> None:
        self._request.body = bytes(self._body)
        handler = self._handler(self._application, self._request, **self._settings)
        transforms = [transform(self._request) for transform in self._application.transforms]
        self._eager.run(handler._execute(transforms, *self._arguments, **self._by_name))

    def on_connection_close(self) -> None:
        self._body.clear()
