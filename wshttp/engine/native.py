"""The native engine: HTTP/1 on asyncio's transports, under an unchanged Tornado application."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import Future
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tornado.http1connection import _GzipMessageDelegate
from tornado.httputil import HTTPMessageDelegate
from tornado.log import gen_log
from tornado.web import Application

from wshttp.engine.http_answer import HttpAnswer
from wshttp.engine.http_head import Head
from wshttp.engine.http_protocol import HttpProtocol
from wshttp.engine.http_request import EngineRequest
from wshttp.engine.link import Link
from wshttp.engine.listeners import Listener
from wshttp.engine.options_asterisk import OptionsAsterisk
from wshttp.engine.request_context import request_context
from wshttp.engine.server import EngineServer
from wshttp.engine.tls_transport import speak_tls
from wshttp.engine.websocket_hook import hook_websockets


class NativeServer(EngineServer):
    """An `EngineServer` that speaks HTTP itself, on the transports of whichever asyncio loop it runs on.

    A `WebSocketHandler` on it that does not choose a protocol itself gets the engine's framing.
    """

    def initialize(self, *arguments: Any, **options: Any) -> None:
        super().initialize(*arguments, **options)
        hook_websockets()
        self.chunk_size = self.conn_params.chunk_size

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
            return OptionsAsterisk(answer)
        delegate = self._delegate(link, head, answer)
        if self.conn_params.decompress:  # Tornado's own, private there (6.6), as it is an option of its server
            return _GzipMessageDelegate(delegate, self.chunk_size, answer.max_body_size)
        return delegate

    def _delegate(self, link: Link, head: Head, answer: HttpAnswer) -> HTTPMessageDelegate:
        application = self.request_callback
        if isinstance(application, Application) and type(application).start_request is Application.start_request:
            # What that does once it has a header, with a request of our own.
            return application.find_handler(EngineRequest(answer, link, head.start_line, head.headers))
        return self.start_request(link, answer)

    def is_last(self, link: Link) -> bool:
        return link.leaving or self.conn_params.no_keep_alive
