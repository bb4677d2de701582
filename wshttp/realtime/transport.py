"""The transport port: what carries a connection's messages. The web layer implements it over a WebSocket, and over
server-sent events."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Transport(Protocol):
    """One open connection, without any policy."""

    @property
    def unsent(self) -> int:
        """Bytes that were written and have not left this process."""

    @property
    def heard_at(self) -> float:
        """Monotonic seconds at which the peer last sent anything, a pong included."""

    def write(self, message: str | bytes) -> asyncio.Future[None]:
        """Send a message; the future is done when it has left this process, and fails if the socket closes first."""

    def ping(self) -> None:
        """Send a ping."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and close when the peer answers, or after a while."""

    def abort(self) -> None:
        """Close at once; nothing more is sent."""
