"""The engine on stock Tornado: its own HTTP/1 and streams, with the limits, time-outs and drain that it lacks.

Only public names of Tornado are overridden, so that its releases can follow each other under it.
What it can't do is answer where Tornado closes: oversized headers and time-outs end without a response.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from tornado.http1connection import HTTP1Connection, HTTP1ServerConnection
from tornado.httputil import HTTPConnection, HTTPMessageDelegate

from wshttp.engine.limits import Limits
from wshttp.engine.link import Link
from wshttp.engine.listeners import Listener
from wshttp.engine.server import EngineServer
from wshttp.engine.stock_request import RequestConnection, RequestDelegate
from wshttp.engine.streams import ObservedStream, ObservedTlsStream

_WHOLE_READ_BUFFER = 100 * 1024 * 1024
"""What Tornado's streams read into memory at most (6.6); a header without a limit still ends here."""

_CLOSE_SECONDS = 1.0
"""How long `close` waits for the loops of connections whose streams are closed already."""


class StockServer(EngineServer):
    """An `EngineServer` whose HTTP is Tornado's own."""

    def initialize(self, *arguments: Any, **options: Any) -> None:
        self._loops: dict[Link, HTTP1ServerConnection] = {}
        super().initialize(*arguments, **options)

    def _limits_changed(self, limits: Limits) -> None:
        # All connections share these parameters and look at them for each request.
        self.conn_params.header_timeout = self.conn_params.body_timeout = None  # ours are one timer for all
        self.conn_params.max_header_size = limits.max_header_size or _WHOLE_READ_BUFFER
        self.conn_params.max_body_size = limits.max_body_size or sys.maxsize

    def _speak(self, link: Link, sock: socket.socket, listener: Listener) -> None:
        stream = self._stream(sock, listener)
        link.carry(stream)
        stream.observe(self.now, partial(self.forget, link))
        self._loops[link] = http = HTTP1ServerConnection(stream, self.conn_params, link)
        http.start_serving(self)

    def _stream(self, sock: socket.socket, listener: Listener) -> ObservedStream:
        sizes = {"max_buffer_size": self.max_buffer_size, "read_chunk_size": self.read_chunk_size}
        if not listener.tls:
            return ObservedStream(sock, **sizes)
        wrapped = self._tls_context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return ObservedTlsStream(wrapped, **sizes)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        link = cast(Link, cast(HTTP1ServerConnection, server_conn).context)
        if link.requests:
            link.await_header(self.now())
            if link.over:
                link.close()
        connection = RequestConnection(cast(HTTP1Connection, request_conn), link)
        application = super().start_request(server_conn, connection)
        return RequestDelegate(application, connection, link, self.proxies, self.now)

    def on_close(self, server_conn: object) -> None:
        link = cast(Link, cast(HTTP1ServerConnection, server_conn).context)
        del self._loops[link]
        if not link.detached:
            link.close()

    async def _wait_for_ends(self, links: Sequence[Link]) -> None:
        loops = [asyncio.ensure_future(self._loops[link].close()) for link in links if link in self._loops]
        if loops:
            _, hanging = await asyncio.wait(loops, timeout=_CLOSE_SECONDS)
            for loop in hanging:  # in an application that never returns from a piece of a body
                loop.cancel()
