"""The notifier port: how the list tells sockets what happens to their session, on this node and on others.

Whoever keeps connections (`realtime.hub`) implements it; without one, `NoSockets` stands in.
None of the methods may raise: a socket that cannot be told is a socket that closes.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from wshttp.sessions.record import Reason, Record


class Notifier(Protocol):
    """Tell a session's sockets, here and on other nodes."""

    def connections(self, ref: str) -> int:
        """Count the session's open sockets: those of other nodes as of a moment ago."""

    def changed(self, record: Record) -> None:
        """The session's public facts changed: user, deadline."""

    def expiring(self, record: Record, seconds: float) -> None:
        """The session ends in `seconds` if nothing happens."""

    def renewed(self, record: Record) -> None:
        """The session has a new token: its sockets close with 4000, to come back."""

    def ended(self, record: Record, reason: Reason) -> Awaitable[None] | None:
        """The session is over: its sockets close, here at once, and on other nodes when they hear of it.

        Here the close frames are sent when this returns; what it returns completes when `on_disconnect` has run for each
        socket of this node (`None`: there are none).
        """


class NoSockets:
    """The notifier of a list without sockets."""

    def connections(self, ref: str) -> int:
        return 0

    def changed(self, record: Record) -> None:
        """Nobody to tell."""

    def expiring(self, record: Record, seconds: float) -> None:
        """Nobody to tell."""

    def renewed(self, record: Record) -> None:
        """Nobody to tell."""

    def ended(self, record: Record, reason: Reason) -> None:
        """Nobody to tell."""
