"""Topics on this node: which connections are in them, who that is on all nodes, and what is said of who comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from wshttp.realtime.connection import Connection
from wshttp.realtime.feeds import Feeds
from wshttp.realtime.history import History
from wshttp.realtime.letter import Letter
from wshttp.realtime.message_types import ToClient
from wshttp.realtime.place import Place
from wshttp.realtime.presence import Member, Presence
from wshttp.realtime.reader import Reader
from wshttp.sessions.shared import Shared

if TYPE_CHECKING:
    from wshttp.realtime.hub import Hub

LONGEST_LISTENING: Final = 1.0
"""Seconds that a client who joins a topic waits for other nodes to be heard; while the broker is away, they are not."""


class Topics:
    """The topics of a hub's connections; `give` is how it gives a letter to those of them that it is for."""

    def __init__(self, hub: Hub, histories: Shared, give: Callable[[Letter], Awaitable[int]]) -> None:
        self._hub = hub
        self._connections: dict[str, dict[Connection, None]] = {}
        self.presence = Presence(grace=0.0)
        self.feeds = Feeds(hub, self, History(histories, hub.clock), give)

    def __contains__(self, topic: object) -> bool:
        return topic in self._connections

    def __iter__(self) -> Iterator[str]:
        """Go through the topics that have connections of this node."""
        return iter(list(self._connections))

    def connections(self, topic: str) -> Iterable[Connection]:
        """Return this node's connections in a topic."""
        return self._connections.get(topic, ())

    def counts(self) -> dict[str, int]:
        """Return how many connections of this node each topic has."""
        return {topic: len(held) for topic, held in self._connections.items()}

    def members(self, topic: str) -> list[Member]:
        """Return who is in a topic, on all nodes: first those of this one, in order of arrival."""
        found = {member.ref: member for member in self.presence.members(topic)}
        for member in self._hub.elsewhere.members(topic):
            here = found.get(member.ref)
            found[member.ref] = member if here is None else here.joined_with(member)
        return list(found.values())

    # --- who comes and goes here --------------------------------------------------------------------

    def join(self, connection: Connection, topic: str) -> None:
        """Put a connection into a topic; no error where it is there already."""
        if topic in connection.topics or connection.closed is not None:
            return
        connection.joined(topic)
        elsewhere = self._hub.elsewhere
        if topic not in self._connections:
            self._connections[topic] = {}
            elsewhere.listen(topic)
        self._connections[topic][connection] = None
        ref, user = connection.member_ref, connection.known_user
        member = self.presence.join(topic, ref, user)
        if member is not None and not elsewhere.has(topic, ref, user):
            self._announce(ToClient.JOINED, topic, member, but=connection)
        elsewhere.counted(topic, ref)

    def join_reading(self, connection: Connection, topic: str) -> Reader:
        """Put a connection into a topic with history; what is published waits until `resume` has told it the rest."""
        reader = Reader()
        connection.reads(topic, reader)
        self.join(connection, topic)
        return reader

    async def resume(self, connection: Connection, topic: str, reader: Reader, after: Place | None) -> None:
        """Give a connection that has come into a topic what it missed, and go on. It leaves the topic where that fails."""
        try:
            await self.feeds.resume(connection, topic, reader, after)
        except BaseException:
            self.leave(connection, topic)
            raise

    async def listening(self) -> None:
        """Wait, a second at most, until what other nodes publish on topics that were joined here is heard."""
        listening = self._hub.elsewhere.listening()
        if listening is None:
            return
        try:
            await asyncio.wait_for(listening, LONGEST_LISTENING)
        except TimeoutError:
            pass  # while the broker is away, nobody is heard, and what is said here still counts

    def leave(self, connection: Connection, topic: str) -> None:
        """Take a connection out of a topic, at once: there is grace only for those whose connection goes away."""
        if topic in connection.topics:
            self._leave(connection, topic, on_purpose=True)

    def part(self, connection: Connection) -> None:
        """Take a connection that has gone out of all its topics; who it was may be back within the grace."""
        for topic in list(connection.topics):
            self._leave(connection, topic, on_purpose=False)

    def _leave(self, connection: Connection, topic: str, *, on_purpose: bool) -> None:
        connection.left(topic)
        held = self._connections.get(topic, {})
        held.pop(connection, None)
        if not held and self._connections.pop(topic, None) is not None:
            self._hub.elsewhere.unlisten(topic)
            self.feeds.drop(topic)
        ref, now = connection.member_ref, self._hub.clock.monotonic()
        member = self.presence.leave(topic, ref, now, on_purpose=on_purpose)
        if member is not None:
            self._gone(topic, member)
        else:
            self._hub.elsewhere.counted(topic, ref)

    def remove(self, ref: str) -> None:
        """Take a session that is over out of all topics."""
        for topic, member in self.presence.remove(ref):
            self._gone(topic, member)

    def let_go(self, now: float) -> None:
        """Take out those whose grace is over; `now` is in monotonic seconds."""
        for topic, member in self.presence.due(now):
            self._gone(topic, member)

    def _gone(self, topic: str, member: Member) -> None:
        """Say that a member has left for good, unless it is still there on another node."""
        self._hub.elsewhere.counted(topic, member.ref)
        if not self._hub.elsewhere.has(topic, member.ref, any_user=True):
            self._announce(ToClient.LEFT, topic, member)

    # --- who comes and goes on other nodes ----------------------------------------------------------

    def joined(self, topic: str, member: Member) -> None:
        """Announce who came into a topic on another node, unless it is known here."""
        here = self.presence.find(topic, member.ref)
        if here is None or here.user != member.user:
            self._announce(ToClient.JOINED, topic, member)

    def left(self, topic: str, member: Member) -> None:
        """Announce who left a topic on the last of the other nodes, unless it is here."""
        if self.presence.find(topic, member.ref) is None:
            self._announce(ToClient.LEFT, topic, member)

    def _announce(self, what: ToClient, topic: str, member: Member, but: Connection | None = None) -> None:
        receivers = [each for each in self.connections(topic) if each is not but]
        self._hub.tell(receivers, what, topic=topic, member=member.describe())
