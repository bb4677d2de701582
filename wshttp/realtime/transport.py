"""The transport port: what carries a connection's messages. The web layer implements it over a WebSocket, and over
server-sent events."""

from __future__ import annotations

import asyncio
from typing import Protocol

from wshttp.realtime.parcel import Parcel


class Transport(Protocol):
    """One open connection, without any policy."""

    @property
    def unsent(self) -> int:
        """Bytes that were written and that the peer is slow to take."""

    @property
    def heard_at(self) -> float:
        """Monotonic seconds at which the peer last sent anything, a pong included."""

    def write(self, parcel: Parcel) -> asyncio.Future[None] | None:
        """Send a message; the future is done when the peer has taken it, and fails if the socket closes first.

        `None`: there is no need to wait. Raises `ConnectionClosed`.
        """

    def ping(self) -> None:
        """Send a ping."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and close when the peer answers, or after a while."""

    def abort(self) -> None:
        """Close at once; nothing more is sent."""
