"""The ledger of a working set: what is owed, and what of it somebody has yet to be given.

An entry is on its way to who decided it, or has been given to who delivers it, or is nobody's: then `take` hands it out,
with an attempt more, in the order in which the entries came to be.
Nobody is given an end before the start of its session is settled, but who delivers that.
"""

from __future__ import annotations

import heapq
from collections.abc import Container
from dataclasses import replace
from itertools import count

from wshttp.sessions.record import Event
from wshttp.sessions.store import Owed


class _Entry:
    """What is owed, with its last attempt, and its place in the order."""

    __slots__ = ("event", "number")

    def __init__(self, event: Event, number: int) -> None:
        self.event = event
        self.number = number


class Ledger:
    """Entries by the session that they are of.

    `given` has the ids of those that somebody of this process is delivering; `None`: all.
    """

    def __init__(self, given: Container[str] | None = None) -> None:
        self._given = given
        self._by_ref: dict[str, dict[str, _Entry]] = {}
        self._count = 0
        self._numbers = count()
        self._nobodys: list[tuple[int, Owed]] = []  # a heap
        self._waiting: dict[str, list[Owed]] = {}  # by ref: for the start of that session

    def __len__(self) -> int:
        return self._count

    def has(self, event: Event) -> bool:
        """Return whether an entry is owed, and this attempt is the last."""
        entry = self._entry(event)
        return entry is not None and entry.event.attempt == event.attempt

    @property
    def any_to_take(self) -> bool:
        """Whether `take` has something to look at."""
        return bool(self._nobodys)

    def any_of(self, ref: str) -> bool:
        """Return whether anything is owed for a session."""
        return ref in self._by_ref

    def may_follow(self, ref: str) -> bool:
        """Return whether somebody here may be given more of a session: its start is settled, or is delivered here."""
        start = self._start_of(ref)
        return start is None or self._given is None or start.id in self._given

    def enter(self, event: Event) -> None:
        """Note what is owed; oldest first."""
        self._by_ref.setdefault(event.ref, {})[event.id] = _Entry(event, next(self._numbers))
        self._count += 1

    def wait(self, end: Owed) -> Event:
        """Have an end wait until the start of its session is settled; return it as it is owed: nobody was given it yet."""
        event = self._again(end.event, attempt=0)
        self._waiting.setdefault(event.ref, []).append(Owed(end.record, event))
        return event

    def unclaim(self, owed: Owed) -> None:
        """Have an entry handed out, since who was to deliver it never will. No error where it is settled by now."""
        event, entry = owed.event, self._entry(owed.event)
        if entry is None:
            return
        if event.attempt > entry.event.attempt == 0:  # it waits, and who was told of it did not hear it
            self._waiting[event.ref] = [
                Owed(each.record, self._again(event, attempt=1)) if each.event.id == event.id else each
                for each in self._waiting[event.ref]
            ]
        elif event.attempt == 0 and self._start_of(event.ref) is not None:
            self._waiting.setdefault(event.ref, []).append(owed)
        else:
            heapq.heappush(self._nobodys, (entry.number, owed))

    def take(self, starts: Container[str]) -> Owed | None:
        """Hand out the first entry that is nobody's; `None` where it came to nothing, and the next may not.

        `starts` has the refs of sessions whose start the same caller is given.
        """
        _, owed = heapq.heappop(self._nobodys)
        event, ref = owed.event, owed.event.ref
        if not self.has(event):
            return None
        if event.kind != "start" and ref not in starts and not self.may_follow(ref):
            self._waiting.setdefault(ref, []).append(owed)
            return None
        return Owed(owed.record, self._again(event, event.attempt + 1))

    def strike(self, event: Event) -> bool:
        """Settle an entry; `False` where this attempt is not the last, or nothing is owed."""
        if not self.has(event):
            return False
        entries = self._by_ref[event.ref]
        del entries[event.id]
        self._count -= 1
        if not entries:
            del self._by_ref[event.ref]
        if event.kind == "start":
            for owed in self._waiting.pop(event.ref, ()):
                self.unclaim(owed)
        return True

    def _again(self, event: Event, attempt: int) -> Event:
        entry = self._by_ref[event.ref][event.id]
        entry.event = replace(event, attempt=attempt)
        return entry.event

    def _entry(self, event: Event) -> _Entry | None:
        return self._by_ref.get(event.ref, {}).get(event.id)

    def _start_of(self, ref: str) -> Event | None:
        entries = self._by_ref.get(ref, {}).values()
        return next((entry.event for entry in entries if entry.event.kind == "start"), None)
