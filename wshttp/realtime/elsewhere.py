"""The hub's port to other nodes: what they are told, and what is known of them.

Whoever connects nodes (`relay`) implements it; without one, `Nobody` stands in. No method waits or raises.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from wshttp.realtime.format import Message
from wshttp.realtime.letter import Letter
from wshttp.realtime.presence import Member
from wshttp.realtime.receipt import Receipt
from wshttp.sessions.record import Reason


class Elsewhere(Protocol):
    """What a hub tells other nodes, and asks about them."""

    node: str
    """The name of this node: one that no other process has."""
    mark: str
    """What the names of this node's connections end with, so that other nodes see whose they are: hexadecimal digits."""

    # --- what is known, as of a moment ago ----------------------------------------------------------

    def nodes(self) -> dict[str, int]:
        """Return the other nodes that live, and how many sockets with a session each has."""

    def connections(self, ref: str) -> int:
        """Count the session's sockets on other nodes."""

    def members(self, topic: str) -> list[Member]:
        """Return who is in a topic on other nodes."""

    def has(self, topic: str, ref: str, user: str | None = None, *, any_user: bool = False) -> bool:
        """Whether a session is in a topic on another node, as this user."""

    def ended_of(self, ref: str) -> Reason | None:
        """Return why a session has ended, if another node said so just now."""

    # --- what happened here -------------------------------------------------------------------------

    def counted(self, topic: str | None, ref: str) -> None:
        """The connections of a session, or of one in a topic, are others or more or fewer than before."""

    def listen(self, topic: str) -> None:
        """The first connection here is in a topic."""

    def unlisten(self, topic: str) -> None:
        """The last connection here has left a topic."""

    def listening(self) -> Awaitable[None] | None:
        """Return what waits until what others publish on the topics of this node is heard here; `None`: it is."""

    def send(self, letter: Letter) -> None:
        """A message is for connections on other nodes, too."""

    def queued(self, ref: str) -> None:
        """A message waits for a session that has no socket, as far as is known here."""

    async def received(self, connection_id: str, ref: str, message: Message) -> Receipt:
        """A session has sent a message for a connection of its own that is not here: ask the node that its name says.

        Where that node is there and does not answer, the message counts as taken: it may have been.
        """

    def kick(self, connection_id: str) -> None:
        """A connection that is not here is to be closed."""

    def changed(self, ref: str) -> None:
        """A session's public facts changed."""

    def expiring(self, ref: str, seconds: float) -> None:
        """A session ends in `seconds` if nothing happens."""

    def renewed(self, ref: str) -> None:
        """A session has a new token."""

    def ended(self, ref: str, reason: Reason) -> list[tuple[str, Member]]:
        """A session is over: it is in no topic any more. Returns in which it was on other nodes."""

    def doubt(self, ref: str) -> None:
        """The store knows a session no more, and nobody has said why."""


class Nobody:
    """No other node."""

    node = "local"
    mark = ""

    def nodes(self) -> dict[str, int]:
        return {}

    def connections(self, ref: str) -> int:
        return 0

    def members(self, topic: str) -> list[Member]:
        return []

    def has(self, topic: str, ref: str, user: str | None = None, *, any_user: bool = False) -> bool:
        return False

    def ended_of(self, ref: str) -> None:
        return None

    def counted(self, topic: str | None, ref: str) -> None:
        """Nobody to tell."""

    def listen(self, topic: str) -> None:
        """Nobody to hear."""

    def unlisten(self, topic: str) -> None:
        """Nobody to hear."""

    def listening(self) -> None:
        return None

    def send(self, letter: Letter) -> None:
        """Nobody to tell."""

    def queued(self, ref: str) -> None:
        """Nobody to tell."""

    async def received(self, connection_id: str, ref: str, message: Message) -> Receipt:
        return Receipt.UNKNOWN

    def kick(self, connection_id: str) -> None:
        """Nobody to tell."""

    def changed(self, ref: str) -> None:
        """Nobody to tell."""

    def expiring(self, ref: str, seconds: float) -> None:
        """Nobody to tell."""

    def renewed(self, ref: str) -> None:
        """Nobody to tell."""

    def ended(self, ref: str, reason: Reason) -> list[tuple[str, Member]]:
        return []

    def doubt(self, ref: str) -> None:
        """Whoever ended it is in this process, and tells its sockets."""
