"""The stream that `detach` returns, for protocols of applications that begin as HTTP."""

from __future__ import annotations

import asyncio
import time
from asyncio import Future
from collections.abc import Callable

from tornado.iostream import StreamClosedError

from wshttp.engine import write_waiters
from wshttp.engine.byte_buffer import ByteBuffer
from wshttp.engine.transport_stream import TransportStream

_ENOUGH = 64 * 1024
"""Bytes that are read ahead."""


class DetachedStream(TransportStream):
    """As much of an `IOStream` as Tornado's own WebSockets use, and a little more; errors are `StreamClosedError`."""

    def __init__(self, transport: asyncio.Transport, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(transport)
        self._clock = clock
        self.last_read_at = clock()
        """When bytes last came in."""
        self._buffer = ByteBuffer()
        self._reading: Future[bytes] | None = None
        self._wanted = 0
        self._partial = False
        self._writes: list[Future[None]] | None = None
        """Who waits until more may be written; `None` while it may."""
        self._on_close: Callable[[], None] | None = None
        self._error: BaseException | None = None
        self._lost = transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the kernel has not taken yet; 0 once closed."""
        return 0 if self.closed() else self._transport.get_write_buffer_size()

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called when the stream closes, soon if it is closed already."""
        self._on_close = callback
        if callback is not None and self._lost:
            self.io_loop.add_callback(callback)

    def closed(self) -> bool:
        return self._lost or super().closed()

    # --- reading --------------------------------------------------------------------------------

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Future[bytes]:
        """Return the next `num_bytes` bytes; with `partial`, fewer as soon as there are any."""
        assert self._reading is None, "Already reading"  # noqa: S101  # Tornado's own check, of its caller
        reading = self._reading = asyncio.get_running_loop().create_future()
        self._wanted, self._partial = num_bytes, partial
        self._answer_reading()
        if self._reading is not None and self._lost:
            self._fail_reading()
        return reading

    def data_received(self, data: bytes) -> None:
        self.last_read_at = self._clock()
        self._buffer.append(data)
        self._answer_reading()

    def eof_received(self) -> None:
        """Nothing more comes, and so it closes, as Tornado's does: what was written has no longer than `close` gives it."""
        self.close()

    def _answer_reading(self) -> None:
        reading = self._reading
        enough = 1 if self._partial else self._wanted
        if reading is not None and len(self._buffer) >= enough:
            self._reading = None
            if not reading.done():
                reading.set_result(self._buffer.take(self._wanted))
        if self._lost:
            return
        if self._reading is None and len(self._buffer) > _ENOUGH:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _fail_reading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None and not reading.done():
            reading.set_exception(StreamClosedError(self._error))
            reading.exception()  # who does not wait for it has nothing to be told

    # --- writing --------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> Future[None]:
        if self.closed():
            raise StreamClosedError(self._error)
        future: Future[None] = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        if self._writes is None:
            future.set_result(None)
        else:
            self._writes.append(future)
        return future

    def pause_writing(self) -> None:
        self._writes = []

    def resume_writing(self) -> None:
        waiting, self._writes = self._writes or (), None
        write_waiters.resume(waiting)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost, self._error = True, error
        self._fail_reading()
        waiting, self._writes = self._writes or (), None
        write_waiters.fail(waiting, error)
        callback, self._on_close = self._on_close, None
        if callback is not None:
            callback()
