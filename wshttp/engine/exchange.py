"""One request and its answer on a link: where Tornado's connection and the application meet."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Where one request comes from; Tornado makes `request.remote_ip` and `request.protocol` of it.

    `remote_ip` is canonical, and empty where nobody knows it: on a Unix socket without a trusted proxy's word.
    `forwarded_host` is what a trusted proxy gave as the host that the client asked for; then it is `request.host` too.
    `peer_ip` is who brought the request, a proxy perhaps; `None` for a Unix socket.
    """

    remote_ip: str
    protocol: str
    forwarded_host: str | None
    peer_ip: str | None

    def __str__(self) -> str:
        return self.remote_ip or "unix"


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
        if self._link.closed and self._link.leaving:
            # A pipelined request that was buffered when the drain closed its link: nobody will get the answer,
            # so nothing may be done about it.
            raise HTTPInputError("the server is closing")
        self._link.await_body(self._clock())
        self._connection.context = self._context(headers)
        return self._application.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._application.data_received(chunk)

    def finish(self) -> None:
        self._link.await_answer(self._clock())
        self._application.finish()

    def on_connection_close(self) -> None:
        self._application.on_connection_close()

    def _context(self, headers: HTTPHeaders) -> RequestContext:
        peer_ip = self._link.peer_ip
        origin = self._proxies.resolve(peer_ip, headers)
        self._proxies.strip(peer_ip, headers)
        # A request with no Host or with several is refused by Tornado; a forwarded one must not make it good.
        if origin.host is not None and len(headers.get_list("Host")) == 1:
            headers["Host"] = origin.host
        return RequestContext(origin.remote_ip or "", origin.scheme or self._link.protocol, origin.host, peer_ip)
