"""What goes out on a connection: in order, at the pace of the client, with account of how far it has come."""

from __future__ import annotations

import asyncio
from asyncio import Future
from typing import Final, cast

from tornado.iostream import StreamClosedError

from wshttp.engine import write_waiters
from wshttp.engine.closed_write import closed_write
from wshttp.engine.file_sending import FileSending, RunInThread


class HttpOutput:
    """The writing side of one connection."""

    __slots__ = ("_done", "_is_stalled", "_sending", "_sent", "_transport", "_waiting", "_written", "ended", "is_full")

    def __init__(self, transport: asyncio.Transport, done: Future[None]) -> None:
        self._transport: Final = transport
        self._done: Final = done
        """What is returned where there is nothing to wait for."""
        self._waiting: list[Future[None]] | None = None
        """Who waits until more may be written."""
        self.is_full = False
        """More than the transport's high-water mark waits to be sent."""
        self._sending: FileSending | None = None
        self._written = self._sent = 0
        self._is_stalled = False
        self.ended = False
        """Nothing more is written here, though the transport may be open."""

    @property
    def closing(self) -> bool:
        """Nothing can be written any more."""
        return self.ended or self._transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes not taken by the kernel yet."""
        return self._transport.get_write_buffer_size() + (0 if self._sending is None else self._sending.left)

    @property
    def socket(self) -> int:
        """The descriptor of the socket; it is open while nothing is `closing`."""
        return cast(int, self._transport.get_extra_info("socket").fileno())

    def has_moved(self) -> bool:
        """Tell whether output has made progress since this was asked, or just begun to wait."""
        unsent = self.unsent
        sent = self._written - unsent
        moved = not (unsent and self._is_stalled) or sent != self._sent
        self._sent, self._is_stalled = sent, unsent > 0
        return moved

    def send(self, data: bytes) -> Future[None]:
        """Write; the future is done when more may be written, and fails with `StreamClosedError`."""
        transport = self._transport
        if self.ended or transport.is_closing():
            return closed_write()
        self._written += len(data)
        transport.write(data)
        return self._room_for_more() if self.is_full else self._done

    def pause(self) -> None:
        """Have writers wait."""
        self.is_full = True

    def resume(self) -> None:
        """Let them go on."""
        self.is_full = False
        waiting, self._waiting = self._waiting or (), None
        write_waiters.resume(waiting)

    def fail(self, error: BaseException | None) -> None:
        """Tell them that the connection is gone."""
        self.is_full = False
        waiting, self._waiting = self._waiting or (), None
        write_waiters.fail(waiting, error)

    def _room_for_more(self) -> Future[None]:
        future: Future[None] = asyncio.get_running_loop().create_future()
        if self._waiting is None:
            self._waiting = []
        self._waiting.append(future)
        return future

    # --- files ----------------------------------------------------------------------------------

    @property
    def is_clear(self) -> bool:
        """What is written goes to the client as it is: there is no TLS."""
        return self._transport.get_extra_info("sslcontext") is None

    async def send_file(self, file: int, offset: int, count: int, run: RunInThread) -> int:
        """Send a part of a file, after `all_sent`; return how many bytes of it. See `HttpAnswer.send_file`.

        Raises `StreamClosedError`: the transport may not read, and so not have noticed.
        """
        sending = self._sending = FileSending(self, file, offset, count, run)
        self._written += count
        try:
            await sending.send()
        finally:
            self._written -= sending.left
            self._sending = None
        return count - sending.left

    async def send_all(self, data: bytes) -> None:
        """Write, and wait until the kernel has it. Raises `StreamClosedError`."""
        if self.closing:
            raise StreamClosedError
        self._transport.write(data)
        await self.all_sent()

    async def all_sent(self) -> None:
        """Wait until the kernel has all that was written. Raises `StreamClosedError`."""
        if self.closing:
            raise StreamClosedError
        self._transport.set_write_buffer_limits(high=0)  # for once, it is to tell when there is nothing left
        if self.is_full:
            await self._room_for_more()
        if not self.closing:
            self._transport.set_write_buffer_limits()
