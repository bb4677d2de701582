"""Who is in a topic, by connections of this process: sessions, not sockets.

A member joins with its first connection and leaves some time after its last: a page that reloads has not left.
No I/O and no clock: the time is an argument, and what has to be announced is returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from wshttp.sessions.data import Json


@dataclass(slots=True)
class Member:
    """One session in one topic."""

    ref: str
    user: str | None
    connections: int = 0

    def describe(self) -> dict[str, Json]:
        return {"ref": self.ref, "user": self.user}

    def joined_with(self, other: Member | None) -> Member:
        """Return the member with its connections in two places; it is whoever it is where it has some."""
        if other is None:
            return self
        user = self.user if self.connections or not other.connections else other.user
        return Member(self.ref, user, self.connections + other.connections)


@dataclass(slots=True)
class Presence:
    """Members by topic. `grace` is in seconds."""

    grace: float
    _topics: dict[str, dict[str, Member]] = field(default_factory=dict)
    _by_ref: dict[str, set[str]] = field(default_factory=dict)
    _leaving: dict[tuple[str, str], float] = field(default_factory=dict)
    """When they will have left, by topic and ref; the first to leave first, as `grace` is the same for all."""

    def join(self, topic: str, ref: str, user: str | None) -> Member | None:
        """Count one more connection of a session; return the member if it is to be announced."""
        members = self._topics.setdefault(topic, {})
        member = members.get(ref)
        is_new = member is None
        if member is None:
            member = members[ref] = Member(ref, user)
            self._by_ref.setdefault(ref, set()).add(topic)
        announce = is_new or member.user != user
        member.user = user
        member.connections += 1
        self._leaving.pop((topic, ref), None)
        return member if announce else None

    def leave(self, topic: str, ref: str, now: float, *, on_purpose: bool = False) -> Member | None:
        """Count one connection less; return the member if it left for good.

        Grace is for those whose connection went away, not for those who left on purpose: nobody is kept in more topics
        than their connections could be in.
        """
        member = self._topics.get(topic, {}).get(ref)
        if member is None or member.connections == 0:
            return None
        member.connections -= 1
        if member.connections:
            return None
        if on_purpose or not self.grace:
            return self._remove(topic, ref)
        self._leaving[topic, ref] = now + self.grace
        return None

    def remove(self, ref: str) -> list[tuple[str, Member]]:
        """Take a session out of every topic: it ended, and will not be back."""
        topics = sorted(self._by_ref.get(ref, ()))
        return [(topic, member) for topic in topics if (member := self._remove(topic, ref)) is not None]

    @property
    def anybody_leaving(self) -> bool:
        """Whether `due` will have somebody to report, sooner or later."""
        return bool(self._leaving)

    def due(self, now: float) -> list[tuple[str, Member]]:
        """Take out those whose grace is over, to be announced; costs only what is due."""
        over = [key for key, _ in takewhile(lambda leaving: leaving[1] <= now, self._leaving.items())]
        return [(topic, member) for topic, ref in over if (member := self._remove(topic, ref)) is not None]

    def members(self, topic: str) -> list[Member]:
        """Return who is in a topic, in order of arrival."""
        return list(self._topics.get(topic, {}).values())

    def find(self, topic: str, ref: str) -> Member | None:
        """Return a member of a topic."""
        return self._topics.get(topic, {}).get(ref)

    def __iter__(self) -> Iterator[tuple[str, Member]]:
        """Go through all members of all topics."""
        return ((topic, member) for topic, members in self._topics.items() for member in members.values())

    def _remove(self, topic: str, ref: str) -> Member | None:
        self._leaving.pop((topic, ref), None)
        members = self._topics.get(topic, {})
        member = members.pop(ref, None)
        if not members:
            self._topics.pop(topic, None)
        topics = self._by_ref.get(ref, set())
        topics.discard(topic)
        if not topics:
            self._by_ref.pop(ref, None)
        return member
