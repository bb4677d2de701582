"""Copies of sessions that a node keeps: to answer reads from (`cache`), and to go on with in an outage (`grace`)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from wshttp.sessions.record import Record

MAX_COPIES: Final = 20_000
"""Those that were used the longest ago go first."""


@dataclass(slots=True)
class _Copy:
    """A session as the store had it, and when the store said so."""

    record: Record
    confirmed_at: float


class Copies:
    """Copies by ref and by key; `cache` and `grace` are in seconds, 0 is never.

    A copy is dropped when anybody changes its session: by the broker's word, which every change sends. So what the broker
    does not carry is not to be answered from: `trust(False)`. In an outage nobody changes anything, and `grace` counts.
    """

    def __init__(self, cache: float, grace: float, kept_away: float) -> None:
        self._cache = cache
        self._grace = grace
        self._kept_away = kept_away
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self._refs: dict[bytes, str] = {}
        self._dropped: OrderedDict[str, float] = OrderedDict()
        self._trusted = False
        self._trusted_since = -1.0

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def longest(self) -> float:
        """For how many seconds copies are kept; 0: none are."""
        return max(self._cache, self._grace)

    def keep(self, record: Record, asked_at: float) -> None:
        """Keep a copy of what the store said in reply to a call of `asked_at`.

        Not if the session was changed meanwhile, or words were missed in which that may have been said: the reply may have
        been formed before. Nor while it is starting: who waits for that is to see when it is over.
        """
        if not self.longest or record.starting or asked_at < self._trusted_since:
            return
        if asked_at <= self._dropped.get(record.ref, -1.0):
            return
        earlier = self._copies.get(record.ref)
        if earlier is not None and earlier.record.revision > record.revision:
            return
        self.forget(record.ref)
        self._copies[record.ref] = _Copy(record.copy(), asked_at)
        self._refs[record.key] = record.ref
        if len(self._copies) > MAX_COPIES:
            self.forget(next(iter(self._copies)))

    def fresh(self, ref: str | None, now: float) -> Record | None:
        """Return a session that needs no question; `None`: ask."""
        return self._at_hand(ref, now, self._cache) if self._trusted else None

    def in_grace(self, ref: str | None, now: float) -> Record | None:
        """Return a session while the store is away; `None`: nobody knows."""
        return self._at_hand(ref, now, self._grace)

    def ref_of(self, key: bytes) -> str | None:
        """Return which session is known under a key."""
        return self._refs.get(key)

    def _at_hand(self, ref: str | None, now: float, age: float) -> Record | None:
        copy = self._copies.get(ref) if ref is not None and age > 0 else None
        if copy is None or now - copy.confirmed_at >= age or copy.record.due(now) is not None:
            return None
        self._copies.move_to_end(copy.record.ref)
        return copy.record.copy()

    def touched(self, ref: str, at: float) -> None:
        """A copy was used, which moves its session's deadline."""
        copy = self._copies.get(ref)
        if copy is not None:
            copy.record.last_access_at = max(copy.record.last_access_at, at)

    def drop(self, ref: str, now: float) -> None:
        """A session was changed, by anybody; what is on its way may be older."""
        self.forget(ref)
        self._dropped[ref] = now
        self._dropped.move_to_end(ref)
        while next(iter(self._dropped.values())) < now - self._kept_away:
            self._dropped.popitem(last=False)

    def forget(self, ref: str) -> None:
        """Keep no copy of a session."""
        copy = self._copies.pop(ref, None)
        if copy is not None and self._refs.get(copy.record.key) == ref:
            del self._refs[copy.record.key]

    def trust(self, trusted: bool, now: float) -> None:
        """Say whether words arrive; what was asked before they did may have been changed unnoticed."""
        if trusted and not self._trusted:
            self.clear()
            self._trusted_since = now
        self._trusted = trusted

    def clear(self) -> None:
        """Keep nothing."""
        self._copies.clear()
        self._refs.clear()
