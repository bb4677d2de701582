"""The native engine: HTTP/1 on asyncio's transports, under an unchanged Tornado application."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from asyncio import Future
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, TypeAlias, cast

from tornado.http1connection import _GzipMessageDelegate
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, RequestStartLine
from tornado.log import gen_log
from tornado.web import Application

from wshttp.engine.http_answer import HttpAnswer
from wshttp.engine.http_head import Head
from wshttp.engine.http_protocol import HttpProtocol
from wshttp.engine.http_request import EngineRequest
from wshttp.engine.limits import Limits
from wshttp.engine.link import Link
from wshttp.engine.listeners import Listener
from wshttp.engine.options_asterisk import OptionsAsterisk
from wshttp.engine.request_context import request_context
from wshttp.engine.server import EngineServer
from wshttp.engine.tls_transport import speak_tls
from wshttp.engine.websocket_hook import hook_websockets

DelegateFor: TypeAlias = Callable[[RequestStartLine, HTTPHeaders, HttpAnswer, Link], HTTPMessageDelegate]
"""What `start_request` of Tornado's applications is, for who has the header at once: it finds the delegate by it.

`headers_received` is called on that next, all the same. The last argument is what they call the server connection.
"""

_NO_LIMIT: Final = 100 * 1024 * 1024
"""Bytes of a header where none is set; as much as Tornado's read buffer."""


class NativeServer(EngineServer):
    """An `EngineServer` that speaks HTTP itself, on the transports of whichever asyncio loop it runs on.

    A `WebSocketHandler` on it that does not choose a protocol itself gets the engine's framing.
    """

    def initialize(self, *arguments: Any, **options: Any) -> None:
        super().initialize(*arguments, **options)
        hook_websockets()
        self.chunk_size = self.conn_params.chunk_size
        self._delegate_for = self._way_to(self.request_callback)

    def _way_to(self, application: Any) -> DelegateFor:
        """Return how this application's delegates are found; by its own `delegate_for`, if it has one."""
        if hasattr(application, "delegate_for"):
            return cast(DelegateFor, application.delegate_for)
        if isinstance(application, Application) and type(application).start_request is Application.start_request:
            # What that does once it has a header, with a request of our own.
            return lambda line, headers, answer, link: application.find_handler(
                EngineRequest(cast(HTTPConnection, answer), link, line, headers)
            )
        return lambda line, headers, answer, link: self.start_request(link, cast(HTTPConnection, answer))

    def _limits_changed(self, limits: Limits) -> None:
        self.max_header_size = limits.max_header_size or _NO_LIMIT
        self.max_body_size = limits.max_body_size or sys.maxsize

    @cached_property
    def nothing_to_wait_for(self) -> Future[None]:
        done: Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def _speak(self, link: Link, sock: socket.socket, listener: Listener) -> None:
        context = self._tls_context() if listener.tls else None
        connecting = asyncio.get_running_loop().create_task(self._connect(link, sock, context))

        def close() -> None:
            connecting.cancel()
            self.forget(link)

        link.closes_by(close)

    async def _connect(self, link: Link, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        def speak() -> HttpProtocol:
            return HttpProtocol(self, link)

        try:
            if context is None:
                await asyncio.get_running_loop().connect_accepted_socket(speak, sock)
            else:
                # How long a handshake may take is the header time-out, as it comes before the first header.
                await speak_tls(sock, context, speak)
        except (OSError, asyncio.CancelledError) as error:
            if isinstance(error, ssl.SSLError):
                gen_log.info("SSL Error of %s: %s", link, error)
            elif isinstance(error, OSError):
                sock.close()  # there may be no transport yet, which would close it
            self.forget(link)

    async def _wait_for_ends(self, links: Sequence[Link]) -> None:
        """Nothing runs for a link but what the loop has been told to call."""

    # --- what a connection needs (`http_protocol.HttpServing`) ----------------------------------

    def begin(self, link: Link, head: Head, answer: HttpAnswer) -> HTTPMessageDelegate:
        answer.context = request_context(link, self.proxies, head.headers)
        if head.start_line.path == "*" and not getattr(self.request_callback, "takes_asterisk", False):
            return OptionsAsterisk(cast(HTTPConnection, answer))
        delegate = self._delegate_for(head.start_line, head.headers, answer, link)
        if self.conn_params.decompress:  # Tornado's own, private there (6.6), as it is an option of its server
            return _GzipMessageDelegate(delegate, self.chunk_size, answer.max_body_size)
        return delegate
