"""What goes out over a transport, and how far it has come."""

from __future__ import annotations

import asyncio
from typing import Final

from tornado.websocket import WebSocketClosedError

from wshttp.engine.websocket.frames import PONG, encode_control

_HIGH_WATER: Final = 1
"""Bytes above which a transport calls a peer slow: what the system does not take at once, waits here."""


class Outlet:
    """The writing side of one transport.

    The system keeps some for a peer. What it does not take any more is gathered here, as each write costs a transport
    more than a short frame has bytes (uvloop 0.23: some 750 of them).
    """

    __slots__ = ("_done", "_drained", "_gathered", "_pong", "_transport", "slow")

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.slow = False
        """Whether the peer has not taken what was sent to it."""
        self._gathered: bytearray | None = None
        self._drained: asyncio.Future[None] | None = None
        self._done: asyncio.Future[None] | None = None
        self._pong: bytes | None = None

    def attach(self, transport: asyncio.Transport) -> None:
        """Send over this transport; it may have been paused before."""
        self._transport = transport
        transport.set_write_buffer_limits(_HIGH_WATER)

    @property
    def unsent(self) -> int:
        """Bytes that the peer is slow to take."""
        if not self.slow:
            return 0
        return self.in_transport + (0 if self._gathered is None else len(self._gathered))

    @property
    def in_transport(self) -> int:
        """Bytes that the transport has still; as long as the peer is slow, they only get fewer."""
        return self._transport.get_write_buffer_size()

    def write(self, frame: bytes) -> asyncio.Future[None] | None:
        """Send a frame. What is returned is done when it is on its way; `None`: there is no need to wait.

        Raises `WebSocketClosedError`.
        """
        if self._transport.is_closing():
            raise WebSocketClosedError
        if self.slow:
            self._gather(frame)
        else:
            self._transport.write(frame)
        return self._waiter() if self.slow else None

    def done(self) -> asyncio.Future[None]:
        """Return what those get who must have a future, and have nothing to wait for: always the same one."""
        if self._done is None:
            self._done = asyncio.get_running_loop().create_future()
            self._done.set_result(None)
        return self._done

    def pong(self, data: bytes) -> None:
        """Answer a ping; to a slow peer, only the last of several, once it takes something (RFC 6455, section 5.5.3)."""
        if self.slow:
            self._pong = data
        elif not self._transport.is_closing():
            self._transport.write(encode_control(PONG, data))

    def pause(self) -> None:
        """Take note that the system takes no more."""
        self.slow = True

    def resume(self) -> None:
        """Take note that the transport has nothing left, and give it what has been gathered.

        That may be too much for the system again: whoever waits goes on waiting then.
        """
        self.slow = False
        if self._pong is not None:
            self._gather(encode_control(PONG, self._pong))
            self._pong = None
        self.flush()
        if not self.slow:
            self._release()

    def flush(self) -> None:
        """Give the transport all that there is, as before it closes."""
        gathered, self._gathered = self._gathered, None
        if gathered is not None:
            self._transport.write(gathered)

    def end(self, farewell: bytes) -> None:
        """Send the last frame that there is, behind all others."""
        self._pong = None
        if not self._transport.is_closing():
            self._gather(farewell)
            self.flush()

    def lost(self) -> None:
        """Take note that the connection is gone, and with it what was not sent."""
        self.slow = False
        self._pong = self._gathered = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(WebSocketClosedError())
            self._drained.exception()  # nobody has to wait for it
        self._drained = None

    def _gather(self, frame: bytes) -> None:
        if self._gathered is None:
            self._gathered = bytearray()
        self._gathered += frame

    def _release(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def _waiter(self) -> asyncio.Future[None]:
        # One for all who write meanwhile; who gives up waiting must not cancel it for the others.
        if self._drained is None or self._drained.done():
            self._drained = asyncio.get_running_loop().create_future()
        return self._drained
