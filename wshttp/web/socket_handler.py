"""WebSockets with sessions, for Tornado's own style and for functions.

A handshake passes the gate like any request, is registered with the hub, and only then answered; what fails on the way
is refused before the 101. From then on the `Connection` decides what happens, and this class carries it out.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar

from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, WebSocketProtocol

from wshttp.errors import BadRequest, SessionEnded, UsageError
from wshttp.realtime.close_codes import BYE
from wshttp.realtime.connection import Connection, MessageHandler
from wshttp.realtime.format import ENVELOPE, PLAIN, SUBPROTOCOL, Format, Message
from wshttp.sessions.session import Session
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.web.admission import admit
from wshttp.web.framing import Framing, frame_with, tornado_can_compress
from wshttp.web.handler import SessionHandler

COMPRESSION = {"compression_level": 1, "mem_level": 5}
"""Bounds for permessage-deflate: per connection 32 KiB window and 16 KiB state (zlib's memLevel 5); level 1, since
higher ones cost several times the time for a few per cent."""

_NO_UPGRADE = "this is a WebSocket; connect with `Upgrade: websocket`"

_log = logging.getLogger("wshttp.connections")


class SessionWebSocketHandler(SessionHandler, WebSocketHandler):
    """A `WebSocketHandler` with a session, for any `tornado.web.Application` (see `wshttp.attach`).

        class Echo(SessionWebSocketHandler):
            async def on_message(self, message):
                await self.session.increment("messages")
                await self.connection.send(message)

    `open`, `on_message` and `on_close` are Tornado's, with these differences: messages are handled one after the other
    while pings go on being answered; what `open`, a message or `on_close` changes in the session is committed after it;
    the socket closes when its session ends. `connection` sends with regard for slow receivers.
    """

    is_handshake = True
    stays_open = True
    subprotocols: ClassVar[tuple[str, ...]] = ()
    """What this endpoint speaks, by preference; the first that the client offers is chosen."""
    format: ClassVar[Format] = PLAIN

    def __init__(self, application: Application, request: HTTPServerRequest, **kwargs: Any) -> None:
        super().__init__(application, request, **kwargs)
        self._connection: Connection | None = None
        self._is_open = False
        self.has_begun = self.has_opened = False
        """Whether `open` has begun, and has ended."""

    @property
    def connection(self) -> Connection:
        """This socket, as the hub knows it."""
        if self._connection is None:
            raise UsageError("the connection is there once the handshake has been accepted, from `open` on")
        return self._connection

    @property
    def session(self) -> Session:
        return super().session if self._connection is None else self._require(self._connection)

    def _require(self, connection: Connection) -> Session:
        return self._visit().require_session() if connection.session is None else connection.session

    # --- the handshake ----------------------------------------------------------------------------------

    async def get(self, *args: str, **kwargs: str) -> None:
        """Take the socket in, ask the application, commit, and let Tornado answer."""
        if self.request.headers.get("Upgrade", "").lower() != "websocket":
            raise BadRequest(_NO_UPGRADE)
        if self.request.version == "HTTP/1.0":  # which has no upgrade (RFC 9110, section 7.8)
            self.set_status(426, "Upgrade Required")
            self.set_header("Upgrade", "websocket")
            return
        await self._admit()
        try:
            await super().get(*args, **kwargs)
        finally:
            if self._connection is not None and not self._is_open:
                self._connection.lost(None, None)  # the handshake was refused

    def head(self, *args: str, **kwargs: str) -> Any:
        """Refuse: a handshake is a GET (RFC 6455, section 4.1), and anything else is no use here."""
        raise BadRequest(_NO_UPGRADE)

    async def _admit(self) -> None:
        subprotocol = self._choose_subprotocol()
        self._connection = await admit(self, self._visit(), subprotocol=subprotocol, format=self.format)

    def _choose_subprotocol(self) -> str | None:
        offered = ",".join(self.request.headers.get_list("Sec-WebSocket-Protocol")).split(",")
        return next((name for name in self.subprotocols if name in [each.strip() for each in offered]), None)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return None if self._connection is None else self._connection.subprotocol

    def check_origin(self, origin: str) -> bool:
        """The gate has checked it."""
        return True

    def get_compression_options(self) -> dict[str, Any] | None:
        if not self.site.settings.websocket.compression:
            return None
        offers = self.request.headers.get_list("Sec-WebSocket-Extensions")
        has_its_own = hasattr(
            self.request.connection, "websocket_protocol"
        )  # framing, which declines what it cannot do
        return COMPRESSION if has_its_own or tornado_can_compress(offers) else None

    @property
    def max_message_size(self) -> int:
        return self.site.settings.websocket.max_message_size or 2**31

    @property
    def ping_interval(self) -> float | None:
        """None of Tornado's: the hub pings, and knows a busy handler from a dead peer."""
        return 0

    def on_finish(self) -> None:
        """Let go of what is the handshake's: messages, which are handled in its context, have units of their own."""
        super().on_finish()
        self._headers = HTTPHeaders()  # they have been sent
        if self.visit is not None:
            self.visit.unit.leave()
            self.visit.patience.leave()

    # --- after it -----------------------------------------------------------------------------------------

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        """Put a `Wire` between the framing and the connection, which begins before `open`."""
        protocol = super().get_websocket_protocol()
        if protocol is not None and self._connection is not None:
            framing = frame_with(protocol, self._wire(self._connection), self.site.hub.clock.monotonic)
            # The framing calls it by instance.
            self.open = partial(self._go_on, self.open, framing, self._connection)
        return protocol

    async def _go_on(
        self,
        user_open: Callable[..., Awaitable[None] | None],
        framing: Framing,
        connection: Connection,
        *args: str,
        **kwargs: str,
    ) -> None:
        """Begin: the 101 has been sent."""
        self._is_open = True
        del self.open  # it refers to us
        framing.opened()
        connection.opened(framing, self._receiver(), partial(self._open_with, partial(user_open, *args, **kwargs)))

    async def _open_with(self, user_open: Callable[[], Awaitable[None] | None]) -> None:
        self.has_begun = True
        opening = user_open()
        if opening is not None:
            await opening
        self.has_opened = True

    def _wire(self, connection: Connection) -> Wire:
        """Return what the framing tells what it hears."""
        return HandlerWire(connection, self)

    def _receiver(self) -> MessageHandler:
        """Return what handles messages."""
        return lambda connection, message: self.on_message(message)

    def on_message(self, message: Message) -> Awaitable[None] | None:
        """Handle a message; override it."""
        raise NotImplementedError(f"{type(self).__name__} does not override on_message")

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        if self._connection is None:
            super().close(code, reason)
        elif code is None and reason is None:
            self._connection.close()
        else:
            self._connection.close(BYE.code if code is None else code, reason or "")


class Wire:
    """Between a framing and a connection: what the one hears, the other is told."""

    __slots__ = ("_connection", "on_message")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.on_message: Callable[[Message], Future[None] | None] = connection.received

    def on_ping(self, data: bytes) -> None:
        """The framing answers it."""

    def on_pong(self, data: bytes) -> None:
        """The connection asks the framing when it last heard anything."""

    def unfinished(self) -> Future[Any] | None:
        return self._connection.unfinished()

    def closing(self, code: int | None, reason: str | None) -> None:
        self._connection.lost(code, reason)

    def on_ws_connection_close(self, close_code: int | None = None, close_reason: str | None = None) -> None:
        self._connection.lost(close_code, close_reason)

    def log_exception(self, *exc_info: Any) -> None:
        _log.error("connection %s failed", self._connection.id, exc_info=exc_info)


class HandlerWire(Wire):
    """A wire that tells a handler, too, and so keeps it and its request."""

    __slots__ = ("_handler", "_reporting")

    def __init__(self, connection: Connection, handler: SessionWebSocketHandler) -> None:
        super().__init__(connection)
        self._handler = handler

    def on_ping(self, data: bytes) -> None:
        if self._handler.has_opened:
            self._handler.on_ping(data)

    def on_pong(self, data: bytes) -> None:
        if self._handler.has_opened:
            self._handler.on_pong(data)

    def on_ws_connection_close(self, close_code: int | None = None, close_reason: str | None = None) -> None:
        super().on_ws_connection_close(close_code, close_reason)
        if self._handler.has_begun:
            self._reporting = asyncio.ensure_future(self._report_close(close_code, close_reason))

    async def _report_close(self, code: int | None, reason: str | None) -> None:
        """Have Tornado call `on_close`, after the last message and `on_disconnect`, and commit what it changes."""
        if self._connection.disconnected is not None:
            await asyncio.wait({self._connection.disconnected})
        with UnitOfWork() as unit:
            try:
                self._handler.on_ws_connection_close(code, reason)
                await unit.commit()
            except SessionEnded:
                pass  # it is often the end of the session that closes its sockets
            except Exception as error:
                self._handler.log_exception(type(error), error, error.__traceback__)

    def log_exception(self, *exc_info: Any) -> None:
        self._handler.log_exception(*exc_info)


class HandshakeHandler(SessionWebSocketHandler):
    """A handler for the handshake only: from then on the socket is its connection, and this is forgotten with its request."""

    def _wire(self, connection: Connection) -> Wire:
        return Wire(connection)

    def _break_cycles(self) -> None:
        """Do with the 101 what Tornado (6.6) does at the end of a socket: nobody renders a template then."""
        RequestHandler._break_cycles(self)


class FunctionSocket(HandshakeHandler):
    """The socket behind `@server.websocket(path)`."""

    def initialize(
        self, function: MessageHandler, subprotocols: tuple[str, ...] = (), auto_start: bool | None = None
    ) -> None:
        self._function = function
        self.subprotocols = subprotocols  # type: ignore[misc]  # of this instance
        self.auto_start = auto_start  # type: ignore[misc]  # of this instance

    def _receiver(self) -> MessageHandler:
        return self._function


class BuiltInSocket(HandshakeHandler):
    """`GET /wshttp/socket`: subprotocol `wshttp.v1`."""

    subprotocols = (SUBPROTOCOL,)
    format = ENVELOPE

    def _choose_subprotocol(self) -> str | None:
        chosen = super()._choose_subprotocol()
        if chosen is None and "wshttp." in self.request.headers.get("Sec-WebSocket-Protocol", ""):
            raise BadRequest(f"this server speaks {SUBPROTOCOL}, and no other version of it")
        return chosen

    def open(self, *args: str, **kwargs: str) -> Awaitable[None]:
        return self.site.envelope.welcome(self.connection)

    def _receiver(self) -> MessageHandler:
        return self.site.envelope.handle
