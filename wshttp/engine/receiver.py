"""The receiver port: who takes the bytes of a connection that is no longer HTTP.

It is handed over once, right after the 101, and hears of everything in order: what was read before the hand-over comes
first, and nothing follows `connection_lost`, which comes once. Nothing that it does may raise.
"""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """What an `asyncio.Protocol` hears of its transport, from the hand-over on."""

    def data_received(self, data: bytes) -> None:
        """Take bytes; also within the call that hands the connection over."""

    def eof_received(self) -> None:
        """Take note that the peer sends nothing more; the transport closes itself after this."""

    def connection_lost(self, error: Exception | None) -> None:
        """Take note that the connection is gone; `error` is `None` where it was closed in an orderly way."""

    def pause_writing(self) -> None:
        """Take note that more waits to be sent than the transport's high-water mark."""

    def resume_writing(self) -> None:
        """Take note that what waits has gone below the low-water mark."""
