"""What a node has ended and settled a moment ago: told again when a connection is made, since a failover may undo it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from wshttp.sessions.record import Event

REMEMBERED: Final = 60.0
"""Seconds; a replica that takes over is behind by less."""

MAX_REMEMBERED: Final = 50_000
"""The oldest go first."""

_AT_ONCE: Final = 500
"""What is told in one call."""


class Recent:
    """The last ends and settlements, with their times."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, str, Event]] = deque(maxlen=MAX_REMEMBERED)

    def ended(self, event: Event, now: float) -> None:
        """The store has said that a session ends, with this entry."""
        self._add("end", event, now)

    def settled(self, event: Event, now: float) -> None:
        """The store has struck an entry."""
        self._add("settled", event, now)

    def _add(self, what: str, event: Event, now: float) -> None:
        self._events.append((now, what, event))
        while self._events[0][0] < now - REMEMBERED:
            self._events.popleft()

    def told_again(self, now: float) -> Iterator[list[str | int]]:
        """Yield the arguments of `replay.lua` for call after call."""
        events = [(what, event) for at, what, event in self._events if at >= now - REMEMBERED]
        for start in range(0, len(events), _AT_ONCE):
            arguments: list[str | int] = []
            for what, event in events[start : start + _AT_ONCE]:
                arguments += (what, event.id, event.attempt, event.reason or "")
            yield arguments
