"""What carries the frames of a socket, as the transport of its connection: the native framing, or Tornado's.

Both tell a delegate what comes; the native one says by itself what has to be worked out for Tornado's.
"""

from __future__ import annotations

import logging
import re
from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketProtocol, WebSocketProtocol13

from wshttp.close_codes import NO_STATUS
from wshttp.errors import ConnectionClosed
from wshttp.realtime.format import Message
from wshttp.realtime.parcel import Parcel
from wshttp.realtime.transport import Transport

if TYPE_CHECKING:
    from wshttp.engine.websocket.protocol import NativeWebSocket

_BITS: Final = r'"?(?:9|1[0-5])"?'
_DEFLATE_OFFER: Final = re.compile(
    r"permessage-deflate(?:\s*;\s*(?:server_no_context_takeover|client_no_context_takeover"
    rf"|server_max_window_bits={_BITS}|client_max_window_bits(?:={_BITS})?))*"
)
"""An offer that can be met (RFC 7692, section 7.1): zlib has no window of 8 bits for raw deflate."""

_UNSENT_COST: Final = 2048
"""Bytes that a message takes beside its payload while its peer is slow: a task of Tornado's waits for each (6.6)."""

_log = logging.getLogger("wshttp.connections")


class Delegate(Protocol):
    """What a framing calls: what Tornado's does, and `closing`."""

    def on_message(self, message: Message) -> Awaitable[None] | None: ...
    def on_ping(self, data: bytes) -> None: ...
    def on_pong(self, data: bytes) -> None: ...
    def on_ws_connection_close(self, close_code: int | None = None, close_reason: str | None = None) -> None: ...
    def log_exception(self, *exc_info: Any) -> None: ...

    def unfinished(self) -> Future[Any] | None:
        """Return what the close has to wait for: the answers to what the peer sent before it."""

    def closing(self, code: int | None, reason: str | None) -> None:
        """Take note that the peer closes, or that the framing does by itself."""


class Framing(Transport, Protocol):
    """A transport over frames."""

    def opened(self) -> None:
        """Begin: the 101 has been sent."""


class NativeFraming:
    """Frames of the native engine: one that is sent to many is made once."""

    __slots__ = ("_socket",)

    def __init__(self, socket: NativeWebSocket, delegate: Delegate, now: Callable[[], float]) -> None:
        self._socket = socket
        socket.handler = delegate
        socket.clock = now
        socket.ending = delegate

    @property
    def unsent(self) -> int:
        return self._socket.unsent

    @property
    def heard_at(self) -> float:
        return self._socket.heard_at

    def opened(self) -> None:
        """There is nothing to set."""

    def write(self, parcel: Parcel) -> Future[None] | None:
        socket, frame = self._socket, parcel.frame
        if socket.compresses:
            frame = socket.frame(parcel.message)
        elif frame is None:
            frame = parcel.frame = socket.frame(parcel.message)
        try:
            return socket.send(frame)
        except WebSocketClosedError:
            raise ConnectionClosed(None, None) from None

    def ping(self) -> None:
        self._socket.write_ping(b"")

    def close(self, code: int, reason: str) -> None:
        self._socket.close(code, reason)

    def abort(self) -> None:
        self._socket.abort()


class StockFraming:
    """Tornado's own frames: it stands between them and the delegate, and keeps the account that they don't."""

    def __init__(self, protocol: WebSocketProtocol13, delegate: Delegate, now: Callable[[], float]) -> None:
        self._protocol = protocol
        self._delegate = delegate
        self._now = now
        self.unsent = 0
        self.heard_at = now()
        protocol.handler = self
        self._answering: Future[Any] | None = None
        # Tornado calls it by instance, also for what it decides by itself.
        self._close, protocol.close = protocol.close, self._closing  # type: ignore[method-assign]

    # --- transport ----------------------------------------------------------------------------------------

    def opened(self) -> None:
        self._protocol.set_nodelay(True)  # or small messages wait for the acknowledgement of others

    def write(self, parcel: Parcel) -> Future[None]:
        message, size = parcel.message, parcel.size
        try:
            write = self._protocol.write_message(message, binary=isinstance(message, bytes))
        except (WebSocketClosedError, StreamClosedError):
            raise ConnectionClosed(None, None) from None
        if self._protocol.stream.writing():
            size += _UNSENT_COST
        self.unsent += size
        write.add_done_callback(lambda _: self._written(size))
        return write

    def _written(self, size: int) -> None:
        self.unsent -= size

    def ping(self) -> None:
        try:
            self._protocol.write_ping(b"")
        except StreamClosedError:
            _log.debug("a connection closed before it could be pinged")

    def close(self, code: int, reason: str) -> None:
        self._close(code, reason)

    def abort(self) -> None:
        self._protocol._abort()

    # --- Tornado's delegate -------------------------------------------------------------------------------

    def on_message(self, message: Message) -> Awaitable[None] | None:
        self.heard_at = self._now()
        return self._delegate.on_message(message)

    def on_ping(self, data: bytes) -> None:
        self.heard_at = self._now()
        self._delegate.on_ping(data)

    def on_pong(self, data: bytes) -> None:
        self.heard_at = self._now()
        self._delegate.on_pong(data)

    def on_ws_connection_close(self, close_code: int | None = None, close_reason: str | None = None) -> None:
        self._when_answered(lambda: self._delegate.on_ws_connection_close(close_code, close_reason))

    def log_exception(self, *exc_info: Any) -> None:
        self._delegate.log_exception(*exc_info)

    def _closing(self, code: int | None = None, reason: str | None = None) -> None:
        """Note with what the peer closes, or Tornado itself (1009); our own closes don't come this way."""
        if self._protocol.client_terminated and not self._protocol.server_terminated:
            self._answering = self._delegate.unfinished()
            self._protocol.stream.set_close_callback(self._gone)  # nobody reads any more, so nobody would notice
        self._when_answered(lambda: self._close_now(code, reason))

    def _gone(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    def _close_now(self, code: int | None, reason: str | None) -> None:
        if not self._protocol.server_terminated:
            said = self._protocol.close_reason if self._protocol.client_terminated else reason
            self._delegate.closing(NO_STATUS if code is None else code, said)
        self._close(code, reason)

    def _when_answered(self, step: Callable[[], None]) -> None:
        """Do what follows from the peer's close, which Tornado would not wait with."""
        if self._answering is None or self._answering.done():
            step()
        else:
            self._answering.add_done_callback(lambda _: step())


def frame_with(protocol: WebSocketProtocol, delegate: Delegate, now: Callable[[], float]) -> Framing:
    """Put a delegate behind the framing that was chosen for its socket; `now` is in monotonic seconds."""
    if isinstance(protocol, WebSocketProtocol13):
        return StockFraming(protocol, delegate, now)
    return NativeFraming(cast("NativeWebSocket", protocol), delegate, now)


def tornado_can_compress(lines: list[str]) -> bool:
    """Whether the first offer of permessage-deflate, which Tornado takes, is one that it can (6.6: else it is a 500)."""
    offers = ",".join(lines).split(",")
    first = next((offer for offer in offers if offer.partition(";")[0].strip() == "permessage-deflate"), "")
    return _DEFLATE_OFFER.fullmatch(first.strip()) is not None
