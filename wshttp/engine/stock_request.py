"""One request and its answer on stock Tornado: what stands between its connection and the application."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream

from wshttp.engine.address import TrustedProxies
from wshttp.engine.link import Link
from wshttp.engine.request_context import RequestContext, request_context


class RequestConnection(HTTPConnection):
    """What the application sees as `request.connection`: Tornado's own, with the context of this one request.

    A context per request, and not one per connection that is rewritten, can't leak into the next request.
    """

    def __init__(self, inner: HTTP1Connection, link: Link) -> None:
        self._inner = inner
        self._link = link
        self.context: RequestContext | Link = link

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> Future[None]:
        if isinstance(start_line, ResponseStartLine) and start_line.code != 101:
            if self._link.leaving:
                headers["Connection"] = "close"
                self._link.told_to_leave = True
            elif not self._inner._read_finished:
                # Tornado (6.6) closes after an answer that is given before the request has been read, and tells nobody.
                headers["Connection"] = "close"
        return self._inner.write_headers(start_line, headers, chunk)

    def write(self, chunk: bytes) -> Future[None]:
        return self._inner.write(chunk)

    def finish(self) -> None:
        self._inner.finish()

    def detach(self) -> IOStream:
        """Hand the stream over: from now on it is counted, but not timed."""
        self._link.detach()
        return self._inner.detach()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class RequestDelegate(HTTPMessageDelegate):
    """Pass one request on to the application, and keep the link's record of how far it is."""

    def __init__(
        self,
        application: HTTPMessageDelegate,
        connection: RequestConnection,
        link: Link,
        proxies: TrustedProxies,
        clock: Callable[[], float],
    ) -> None:
        self._application = application
        self._connection = connection
        self._link = link
        self._proxies = proxies
        self._clock = clock

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        if self._link.closed:
            # A pipelined request that was buffered when its link was closed, by a drain or after `Connection: close`:
            # nobody will get the answer, so nothing may be done about it.
            raise HTTPInputError("the connection has been closed before this request")
        self._link.requests += 1
        self._link.await_body(self._clock())
        self._connection.context = request_context(self._link, self._proxies, headers)
        return self._application.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._application.data_received(chunk)

    def finish(self) -> None:
        self._link.await_answer()
        self._application.finish()

    def on_connection_close(self) -> None:
        self._application.on_connection_close()
