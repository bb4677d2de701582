"""Pings to a peer that may have gone without a word."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Pulse(Protocol):
    """The socket that a heartbeat is for; times are in seconds of its clock."""

    @property
    def heard_at(self) -> float:
        """When bytes last came in."""

    @property
    def listening_since(self) -> float | None:
        """Since when it reads without a break; `None` while it does not, because a handler is busy."""

    def now(self) -> float:
        """Tell the time."""

    def write_ping(self, data: bytes) -> None:
        """Send a ping."""

    def give_up(self) -> None:
        """Close: the peer has not answered."""


class Heartbeat:
    """Pings every `interval` seconds, and gives up when nothing at all comes for `timeout` seconds after a ping.

    The time in which the socket itself did not read does not count. A `timeout` of 0: it never gives up.
    """

    __slots__ = ("_interval", "_loop", "_pinged_at", "_socket", "_timeout", "_timer")

    def __init__(self, socket: Pulse, interval: float, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        self._socket = socket
        self._interval = interval
        self._timeout = timeout
        self._loop = loop
        self._pinged_at = 0.0
        self._timer = loop.call_later(interval, self._beat)

    def stop(self) -> None:
        self._timer.cancel()

    def _beat(self) -> None:
        self._pinged_at = self._socket.now()
        self._socket.write_ping(b"")
        if self._timeout:
            self._timer = self._loop.call_later(self._timeout, self._look)
        else:
            self._timer = self._loop.call_later(self._interval, self._beat)

    def _look(self) -> None:
        """See whether the peer has been heard since the ping."""
        now = self._socket.now()
        if self._socket.heard_at >= self._pinged_at:
            rest = max(0.0, self._pinged_at + self._interval - now)
            self._timer = self._loop.call_later(rest, self._beat)
            return
        since = self._socket.listening_since
        patience = self._timeout if since is None else max(self._pinged_at, since) + self._timeout - now
        if patience > 0:
            self._timer = self._loop.call_later(patience, self._look)
        else:
            self._socket.give_up()
