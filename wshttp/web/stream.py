"""The built-in socket without a WebSocket, for where those are blocked: `wshttp.v1` down as server-sent events, up by POST."""

from __future__ import annotations

import math
import socket
from asyncio import Future
from contextlib import suppress
from functools import partial
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application

from wshttp.errors import BadRequest, ContentTooLarge, NotFound
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import ENVELOPE, to_json
from wshttp.realtime.incoming import checked_fields, read_object
from wshttp.web.admission import admit
from wshttp.web.api import ApiHandler
from wshttp.web.event_stream import EventStream, begin
from wshttp.web.handler import SessionHandler

ENVELOPE_OF_A_POST = 1024
"""Bytes that a body may have besides its message: the connection's name, and what JSON takes."""


class Stream(SessionHandler):
    """`GET /stream`: a connection like any other, whose answer does not end before it is closed.

    What it does in the session is committed when the connection is let in, and by each message that comes in; nothing is
    left for the end of the answer.
    """

    stays_open = True
    is_stream = True

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        super().__init__(application, request, **kwargs)
        self._connection: Connection | None = None
        self._stream: EventStream | None = None

    def starts_session(self) -> bool:
        return self.request.method == "GET" and super().starts_session()

    async def get(self) -> None:
        connection = self._connection = await admit(self, self._visit(), format=ENVELOPE, over="stream")
        site = self.site
        try:
            self._begin()
            stream = self._stream = EventStream(self, site.hub.clock.monotonic)
            connection.opened(stream, site.envelope.handle, partial(site.envelope.welcome, connection))
            await stream.over
        finally:
            connection.lost(None, None)  # unless it is closed already

    def _begin(self) -> None:
        begin(self)
        self._have_silence_noticed()

    def _have_silence_noticed(self) -> None:
        """Have the kernel let go of a peer that acknowledges nothing any more: it would try for a quarter of an hour.

        What is written counts as heard when the kernel has it, and a stream has no pong. What is not acknowledged there is
        soon: a line that means nothing goes out every few seconds.
        """
        settings = self.site.settings.websocket
        stream = getattr(self.request.connection, "stream", None)
        if (
            settings.ping_interval
            and settings.ping_timeout
            and stream is not None
            and hasattr(socket, "TCP_USER_TIMEOUT")
        ):
            longest = math.ceil(1000 * (settings.ping_interval + settings.ping_timeout))
            with suppress(OSError):  # a Unix socket, whose other end cannot vanish
                stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, longest)

    def head(self, *args: str, **kwargs: str) -> None:
        """Refuse: what a stream is, only its body says."""
        raise BadRequest("a stream is opened by GET")

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._connection is not None:
            self._connection.lost(None, None)
        if self._stream is not None:
            self._stream.gone()

    # --- the answer of an `EventStream` -----------------------------------------------------------------

    def write_part(self, part: str) -> Future[None]:
        self.write(part)
        return self.flush()

    def end(self) -> None:
        self.finish()


class Send(ApiHandler):
    """`POST /send`: a message for a stream of the same session; what answers it comes down the stream."""

    auto_start = False

    def touches(self) -> bool:
        """Leave it to the message whether that is activity: a `ping` is none."""
        return False

    async def post(self) -> None:
        ref = self.session.ref
        limit = self.site.settings.websocket.max_message_size
        if limit and len(self.request.body) > limit + ENVELOPE_OF_A_POST:
            raise ContentTooLarge(f"a message has up to {limit} bytes")
        body = checked_fields(read_object(self.request.body))
        name, message = body.get("connection"), body.get("message")
        if not isinstance(name, str) or not isinstance(message, dict):
            raise BadRequest('the body is {"connection": <its name>, "message": {"type": ...}}')
        if not await self.site.hub.receive(name, ref, to_json(message)):
            raise NotFound("this session has no such connection")
        self.set_status(202)
