"""Tornado's streams, which also tell how far they have come."""

from __future__ import annotations

import time
from asyncio import Future
from collections.abc import Callable

from tornado.iostream import IOStream, SSLIOStream

from wshttp.engine.limits import Timeout
from wshttp.engine.sudden_end import reset_on_close


class ObservedStream(IOStream):
    """An `IOStream` that keeps account of its progress; times are those of `clock`, in seconds.

    Whoever takes it over with `detach` (a WebSocket) reads `last_read_at` for its heartbeat
    and `unsent` to tell a slow receiver.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)
    on_closed: Callable[[], None] | None = None

    last_read_at: float = 0.0
    """When bytes last came in; when the stream was made, before any."""

    first_read_at: float | None = None
    """When bytes first came in since somebody set this to `None`."""

    last_sent_at: float = 0.0
    """When output last made progress, or began to wait."""

    received: int = 0
    """Bytes that have come in."""

    _waiting: int = 0

    def observe(self, clock: Callable[[], float], on_closed: Callable[[], None]) -> None:
        """Take the time from `clock` and call `on_closed` once, when the socket has been closed."""
        self.clock = clock
        self.on_closed = on_closed
        self.last_read_at = self.last_sent_at = clock()

    @property
    def unsent(self) -> int:
        """Bytes that were written to the stream and that the kernel has not taken yet; 0 once closed."""
        return 0 if self.closed() else self._waiting

    def look(self) -> None:
        """There is nothing to be looked for: it notes all itself."""

    def write(self, data: bytes | memoryview) -> Future[None]:
        if not self._waiting:
            self.last_sent_at = self.clock()
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        self._waiting += size  # before, as `write_to_fd` may be called within
        try:
            return super().write(data)
        except BaseException:
            self._waiting -= size
            raise

    def write_to_fd(self, data: memoryview) -> int:
        try:
            sent = super().write_to_fd(data)
        finally:
            del data  # as in Tornado: a traceback must not keep the memoryview
        if sent:
            self._waiting -= sent
            self.last_sent_at = self.clock()
        return sent

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        try:
            count = super().read_from_fd(buf)
        finally:
            del buf
        if count:
            self.received += count
            self.last_read_at = self.clock()
            if self.first_read_at is None:
                self.first_read_at = self.last_read_at
        return count

    def close_fd(self) -> None:
        super().close_fd()
        if self.on_closed is not None:
            self.on_closed()

    def end(self) -> None:
        """Close; an idle stream has nothing left to send (`HTTP1Connection` waits for that)."""
        self.close()

    def expire(self, which: Timeout) -> None:
        """Close; Tornado has no answer for who is too slow."""
        self.reset() if which == "write" else self.close()

    def reset(self) -> None:
        """Close at once, and have the kernel drop what it could not send yet."""
        if self.socket is not None:
            reset_on_close(self.socket)
        self.close()


class ObservedTlsStream(ObservedStream, SSLIOStream):
    """The same over TLS; bytes are counted in the clear, so that a handshake is no progress."""
