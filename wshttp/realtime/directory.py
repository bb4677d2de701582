"""What other nodes have: connections by session, members by topic. It may be a moment behind, and is right again by itself.

No I/O and no clock: the time is an argument, and what has to be announced is returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from wshttp.realtime.presence import Member
from wshttp.sessions.data import Json


@dataclass(frozen=True, slots=True)
class Entry:
    """How many connections of a session a node has in a topic, or (without one) in all; `None`: it has gone."""

    topic: str | None
    ref: str
    connections: int | None
    user: str | None = None

    def facts(self) -> list[Json]:
        """Return it as it stands in a word."""
        return [self.topic, self.ref, self.connections, self.user]

    @classmethod
    def of(cls, facts: list[Any]) -> Entry:
        """Read it from a word. Raises `ValueError` for what is none."""
        topic, ref, connections, user = facts[:4]
        if (
            isinstance(topic, str | None)
            and isinstance(ref, str)
            and isinstance(connections, int | None)
            and isinstance(user, str | None)
        ):
            return cls(topic, ref, connections, user)
        raise ValueError("no entry")


@dataclass(slots=True)
class News:
    """What changed on other nodes: who is in a topic on any of them, who on none, and which sessions' counts are others."""

    joined: list[tuple[str, Member]] = field(default_factory=list)
    left: list[tuple[str, Member]] = field(default_factory=list)
    counted: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class _View:
    """What is known of one node. It counts until `until`, in monotonic seconds."""

    until: float
    is_whole: bool = False
    """Whether it has said all that it has."""
    parts: int = 0
    """How many parts of that it has said so far."""
    named: set[tuple[str | None, str]] = field(default_factory=set)
    """What it has named in them."""
    topics: dict[str | None, dict[str, Member]] = field(default_factory=dict)
    by_ref: dict[str, set[str | None]] = field(default_factory=dict)

    def find(self, topic: str | None, ref: str) -> Member | None:
        return self.topics.get(topic, {}).get(ref)

    def put(self, entry: Entry) -> None:
        if entry.connections is None:
            self._remove(entry.topic, entry.ref)
            return
        member = Member(entry.ref, entry.user, entry.connections)
        self.topics.setdefault(entry.topic, {})[entry.ref] = member
        self.by_ref.setdefault(entry.ref, set()).add(entry.topic)

    def _remove(self, topic: str | None, ref: str) -> None:
        members = self.topics.get(topic, {})
        members.pop(ref, None)
        if not members:
            self.topics.pop(topic, None)
        topics = self.by_ref.get(ref, set())
        topics.discard(topic)
        if not topics:
            self.by_ref.pop(ref, None)

    def entries(self) -> Iterator[tuple[str | None, str]]:
        return ((topic, ref) for ref, topics in self.by_ref.items() for topic in topics)


class Directory:
    """The other nodes. `lease` is in seconds: who was not heard for so long is gone."""

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self._views: dict[str, _View] = {}

    # --- what is known ------------------------------------------------------------------------------

    def nodes(self) -> dict[str, int]:
        """Return who is known, and how many connections with a session each has."""
        return {
            node: sum(member.connections for member in view.topics.get(None, {}).values())
            for node, view in self._views.items()
        }

    def names(self) -> Iterable[str]:
        """Return the names of those who are known."""
        return self._views.keys()

    def connections(self, ref: str) -> int:
        """Count a session's connections."""
        return sum(member.connections for member in self._members(None, ref))

    def members(self, topic: str) -> list[Member]:
        """Return who is in a topic, with all their connections there."""
        found: dict[str, Member] = {}
        for view in self._views.values():
            for member in view.topics.get(topic, {}).values():
                found[member.ref] = member.joined_with(found.get(member.ref))
        return list(found.values())

    def users(self, topic: str, ref: str) -> set[str | None]:
        """Return as whom a session is in a topic; empty where it is not. Nodes that are behind may name different ones."""
        return {member.user for member in self._members(topic, ref)}

    def knows(self, node: str) -> bool:
        """Whether a node has said all that it has."""
        return node in self._views and self._views[node].is_whole

    def _members(self, topic: str | None, ref: str) -> Iterator[Member]:
        return (member for view in self._views.values() if (member := view.find(topic, ref)) is not None)

    # --- what is heard ------------------------------------------------------------------------------

    def alive(self, node: str, now: float) -> bool:
        """Take note that a node lives; tell whether it is known."""
        view = self._views.get(node)
        if view is not None:
            view.until = now + self.lease
        return self.knows(node)

    def take_part(self, node: str, part: int, parts: int, entries: Iterable[Entry], now: float) -> News | None:
        """Take a part of all that a node has, as good as it is; with the last, what none has named is gone.

        `None`: earlier parts are missing.
        """
        view = self._views.setdefault(node, _View(now))
        if part == 0:
            view.parts, view.named = 0, set()
        if view.parts != part:
            return None
        given = list(entries)
        news = self.update(node, given, now)
        view.parts += 1
        view.named.update((entry.topic, entry.ref) for entry in given)
        if view.parts == parts:
            for topic, ref in [entry for entry in view.entries() if entry not in view.named]:
                self._put(view, Entry(topic, ref, None), news)
            view.named = set()
            view.is_whole = True
        return news

    def update(self, node: str, entries: Iterable[Entry], now: float) -> News:
        """Take over what has changed on a node that is known."""
        news = News()
        self.alive(node, now)
        view = self._views[node]
        for entry in entries:
            self._put(view, entry, news)
        return news

    def _put(self, view: _View, entry: Entry, news: News) -> None:
        before = view.find(entry.topic, entry.ref)
        if entry.topic is None:
            if (before.connections if before else 0) != (entry.connections or 0):
                news.counted[entry.ref] = None
            view.put(entry)
            return
        known = self.users(entry.topic, entry.ref)
        view.put(entry)
        if entry.connections is not None:
            if entry.user not in known:
                news.joined.append((entry.topic, Member(entry.ref, entry.user, entry.connections)))
        elif before is not None and not self.users(entry.topic, entry.ref):
            news.left.append((entry.topic, before))

    def leave(self, node: str, now: float, grace: float) -> News:
        """Let a node go that said goodbye: its connections are closed; whoever had them may be back within `grace` seconds."""
        view = self._views.get(node)
        if view is None:
            return News()
        closed = [
            Entry(topic, ref, None if topic is None else 0, member.user)
            for topic, ref in list(view.entries())
            if (member := view.find(topic, ref)) is not None
        ]
        news = self.update(node, closed, now)
        view.until = now + grace
        return news

    def expire(self, now: float) -> News:
        """Let nodes go whose time is over."""
        news = News()
        for node in [node for node, view in self._views.items() if view.until <= now]:
            for topic, ref in list(self._views[node].entries()):
                self._put(self._views[node], Entry(topic, ref, None), news)
            del self._views[node]
        return news

    def keep(self, now: float) -> None:
        """Give every node time to say again what it has: nothing could be heard for a while."""
        for view in self._views.values():
            view.until = max(view.until, now + self.lease)

    def forget(self, ref: str) -> list[tuple[str, Member]]:
        """Take a session that has ended out of everything; return the topics that it was in."""
        news = News()
        for view in self._views.values():
            for topic in list(view.by_ref.get(ref, ())):
                self._put(view, Entry(topic, ref, None), news)
        return news.left
