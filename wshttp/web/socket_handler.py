"""WebSockets with sessions, for Tornado's own style and for functions.

A handshake passes the gate like any request, is registered with the hub, and only then answered; what fails on the way
is refused before the 101. From then on the `Connection` decides what happens, and this class carries it out.
"""

from __future__ import annotations

import asyncio
import logging
import re
from asyncio import Future
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler, WebSocketProtocol, WebSocketProtocol13

from wshttp.errors import BadRequest, ConnectionClosed, SessionEnded, UsageError
from wshttp.realtime.close_codes import BYE, NO_STATUS
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import ENVELOPE, PLAIN, SUBPROTOCOL, Format, Message, size_of
from wshttp.sessions.session import Session
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.web.admission import admit
from wshttp.web.handler import SessionHandler

COMPRESSION = {"compression_level": 1, "mem_level": 5}
"""Bounds for permessage-deflate: per connection 32 KiB window and 16 KiB state (zlib's memLevel 5); level 1, since
higher ones cost several times the time for a few per cent."""

_BITS = r'"?(?:9|1[0-5])"?'
_DEFLATE_OFFER = re.compile(
    r"permessage-deflate(?:\s*;\s*(?:server_no_context_takeover|client_no_context_takeover"
    rf"|server_max_window_bits={_BITS}|client_max_window_bits(?:={_BITS})?))*"
)
"""An offer that can be met (RFC 7692, section 7.1): zlib has no window of 8 bits for raw deflate."""

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
        await self._admit()
        try:
            await super().get(*args, **kwargs)
        finally:
            if self._connection is not None:
                self._connection.lost(None, None)  # Tornado refused the handshake; else it is closed already

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
        return COMPRESSION if self.site.settings.websocket.compression and self._can_compress() else None

    def _can_compress(self) -> bool:
        """Whether the first offer of permessage-deflate, which Tornado takes, is one that it can (6.6: else it is a 500)."""
        offers = ",".join(self.request.headers.get_list("Sec-WebSocket-Extensions")).split(",")
        first = next((offer for offer in offers if offer.partition(";")[0].strip() == "permessage-deflate"), "")
        return _DEFLATE_OFFER.fullmatch(first.strip()) is not None

    @property
    def max_message_size(self) -> int:
        return self.site.settings.websocket.max_message_size or 2**31

    @property
    def ping_interval(self) -> float | None:
        """None of Tornado's: the hub pings, and knows a busy handler from a dead peer."""
        return 0

    # --- after it -----------------------------------------------------------------------------------------

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        """Put a `_Wire` between Tornado's framing and this handler, and begin the connection before `open`."""
        protocol = super().get_websocket_protocol()
        if isinstance(protocol, WebSocketProtocol13) and self._connection is not None:
            wire = _Wire(self, protocol, self._connection)
            protocol.handler = wire
            self._user_open, self.open = self.open, wire.open  # Tornado calls it by instance
        return protocol

    def begin(self, args: tuple[str, ...], kwargs: dict[str, str]) -> Awaitable[None] | None:
        """Run the subclass's `open`."""
        return self._user_open(*args, **kwargs)

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


class _Wire:
    """Between Tornado's framing and a connection: the delegate of the one, the transport of the other."""

    def __init__(self, handler: SessionWebSocketHandler, protocol: WebSocketProtocol13, connection: Connection) -> None:
        self._now = handler.site.hub.clock.monotonic
        self.unsent = 0
        self.heard_at = self._now()
        self._handler = handler
        self._protocol = protocol
        self._connection = connection
        # Tornado calls it by instance, also for what it decides by itself.
        self._close, protocol.close = protocol.close, self._closing  # type: ignore[method-assign]

    # --- transport ----------------------------------------------------------------------------------------

    def write(self, message: Message) -> Future[None]:
        size = size_of(message)
        try:
            write = self._protocol.write_message(message, binary=isinstance(message, bytes))
        except (WebSocketClosedError, StreamClosedError):
            raise ConnectionClosed(None, None) from None
        self.unsent += size
        write.add_done_callback(lambda _: self._written(size))
        return write

    def _written(self, size: int) -> None:
        self.unsent -= size

    def ping(self) -> None:
        try:
            self._protocol.write_ping(b"")
        except StreamClosedError:
            _log.debug("connection %s closed before it could be pinged", self._connection.id)

    def close(self, code: int, reason: str) -> None:
        self._close(code, reason)

    def abort(self) -> None:
        self._protocol._abort()

    # --- Tornado's delegate -------------------------------------------------------------------------------

    async def open(self, *args: str, **kwargs: str) -> None:
        """Begin: the 101 has been sent."""
        self._protocol.set_nodelay(True)  # or small messages wait for the acknowledgement of others
        self._connection.opened(self, self._on_message, partial(self._handler.begin, args, kwargs))

    def _on_message(self, connection: Connection, message: Message) -> Awaitable[None] | None:
        return self._handler.on_message(message)

    def on_message(self, message: Message) -> Future[None] | None:
        self.heard_at = self._now()
        return self._connection.received(message)

    def on_ping(self, data: bytes) -> None:
        self.heard_at = self._now()
        self._handler.on_ping(data)

    def on_pong(self, data: bytes) -> None:
        self.heard_at = self._now()
        self._handler.on_pong(data)

    def _closing(self, code: int | None = None, reason: str | None = None) -> None:
        """Note with what the peer closes, or Tornado itself (1009); our own closes don't come this way."""
        if not self._protocol.server_terminated:
            said = self._protocol.close_reason if self._protocol.client_terminated else reason
            self._connection.lost(NO_STATUS if code is None else code, said)
        self._close(code, reason)

    def on_ws_connection_close(self, close_code: int | None = None, close_reason: str | None = None) -> None:
        self._connection.lost(close_code, close_reason)
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


SocketFunction = Callable[[Connection, Message], Awaitable[None] | None]


class FunctionSocket(SessionWebSocketHandler):
    """The socket behind `@server.websocket(path)`."""

    def initialize(
        self, function: SocketFunction, subprotocols: tuple[str, ...] = (), auto_start: bool | None = None
    ) -> None:
        self._function = function
        self.subprotocols = subprotocols  # type: ignore[misc]  # of this instance
        self.auto_start = auto_start  # type: ignore[misc]  # of this instance

    def on_message(self, message: Message) -> Awaitable[None] | None:
        return self._function(self.connection, message)


class BuiltInSocket(SessionWebSocketHandler):
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

    def on_message(self, message: Message) -> Awaitable[None]:
        return self.site.envelope.handle(self.connection, message)
