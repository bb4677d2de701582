"""The `Shared` port in the memory of one process: its model.

One process, one event loop: a method that never awaits is atomic, and that is the whole of its locking.

Memory is bounded by the number of keys. Where a new one would be too many, the key goes first that has not been used
for the longest time, not the one that expires soonest: throttles keep short counters beside long ones, and whoever
fills the memory with long ones must not thereby wash away the counter that holds him back.
A list is bounded by its callers, all values and lists together by `max_bytes`, where that is given: then the longest
unused go first, and of the one in use, if it alone is larger, the oldest items.

What has expired is gone for every caller at once. Its memory is freed by later calls, a few keys each, so no call
pays for many; the cost of a call is O(log n), amortised.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from itertools import accumulate, count
from typing import Final, TypeVar

from wshttp.errors import UsageError
from wshttp.sessions.clock import Clock

FREED_PER_CALL: Final = 4
"""Expired keys that one call frees. A call adds one key at most, so two would do to keep up."""


@dataclass(slots=True, eq=False)
class _Counter:
    expires_at: float
    value: int = 0
    size: int = 0


@dataclass(slots=True, eq=False)
class _Value:
    expires_at: float
    value: bytes

    @property
    def size(self) -> int:
        return len(self.value)


@dataclass(slots=True, eq=False)
class _List:
    expires_at: float
    last: int = 0
    size: int = 0
    items: deque[bytes] = field(default_factory=deque)


_Entry = _Counter | _Value | _List
_Kind = TypeVar("_Kind", _Counter, _Value, _List)


class MemoryShared:
    """Counters, one-time values and bounded lists of this process.

    `max_keys` bounds all three together (default 100,000, some 30 MB of counters), `max_bytes` the bytes that their
    callers gave them (default 0: no bound).
    A key is of one kind: to use it as another raises `UsageError`, except that `put` replaces whatever is there.
    """

    def __init__(self, clock: Clock, *, max_keys: int = 100_000, max_bytes: int = 0) -> None:
        if max_keys < 1:
            raise UsageError("max_keys must be 1 or more")
        self._clock = clock
        self._max_keys = max_keys
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # from the longest unused to the most recent
        self._due: list[tuple[float, int, str, _Entry]] = []  # one per entry, and some of entries that left early
        self._order = count()  # decides between equal times, since entries have no order

    def __len__(self) -> int:
        """Count the keys, with those expired whose memory is not free yet."""
        return len(self._entries)

    async def add(self, key: str, amount: int = 1, *, ttl: float) -> int:
        counter = self._find(key, _Counter)
        if counter is None:
            counter = _Counter(self._clock.monotonic() + ttl)
            self._enter(key, counter)
        counter.value += amount
        return counter.value

    async def counter(self, key: str) -> tuple[int, float]:
        counter = self._find(key, _Counter)
        if counter is None:
            return 0, 0.0
        return counter.value, counter.expires_at - self._clock.monotonic()

    async def forget(self, key: str) -> None:
        self._drop(key)

    async def put(self, key: str, value: bytes, *, ttl: float) -> None:
        self._enter(key, _Value(self._clock.monotonic() + ttl, value))

    async def take(self, key: str) -> bytes | None:
        found = self._find(key, _Value)
        if found is None:
            return None
        self._drop(key)
        return found.value

    async def append(self, key: str, item: bytes, *, maximum: int, ttl: float, max_bytes: int = 0) -> int:
        expires_at = self._clock.monotonic() + ttl
        found = self._find(key, _List)
        if found is None:
            found = _List(expires_at)
            self._enter(key, found)
        elif expires_at < found.expires_at:
            self._await_expiry(expires_at, key, found)  # the place it has in the heap is too late now
        found.expires_at = expires_at
        found.last += 1
        found.items.append(item)
        self._grow(found, len(item))
        bound = min((size for size in (max_bytes, self._max_bytes) if size), default=0)
        while len(found.items) > maximum or (0 < bound < found.size and len(found.items) > 1):
            self._grow(found, -len(found.items.popleft()))
        self._make_room(but=key)
        return found.last

    async def read(self, key: str, after: int = 0, *, max_bytes: int = 0) -> tuple[int, list[bytes]]:
        found = self._find(key, _List)
        if found is None:
            return 1, []
        oldest = found.last - len(found.items) + 1
        items = list(found.items)[max(after - oldest + 1, 0) :]
        return oldest, items[: _fitting(items, max_bytes)] if max_bytes else items

    def _find(self, key: str, kind: type[_Kind]) -> _Kind | None:
        self._free_expired()
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.expires_at <= self._clock.monotonic():
            self._drop(key)
            return None
        if not isinstance(entry, kind):
            raise UsageError(f"a shared key is used as {kind.__name__[1:].lower()} and as something else")
        self._entries.move_to_end(key)
        return entry

    def _enter(self, key: str, entry: _Entry) -> None:
        self._free_expired()
        self._drop(key)
        if len(self._entries) >= self._max_keys:
            self._drop(next(iter(self._entries)))
        self._entries[key] = entry
        self._bytes += entry.size
        self._await_expiry(entry.expires_at, key, entry)
        self._make_room(but=key)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size

    def _grow(self, entry: _List, by: int) -> None:
        entry.size += by
        self._bytes += by

    def _make_room(self, but: str) -> None:
        """Let the longest unused go where all together are too large; the one in use stays."""
        while self._max_bytes and self._bytes > self._max_bytes and len(self._entries) > 1:
            oldest = next(iter(self._entries))
            if oldest == but:
                return
            self._drop(oldest)

    def _await_expiry(self, expires_at: float, key: str, entry: _Entry) -> None:
        # Entries that leave early stay in the heap. Logins leave month-long ones behind by the dozen, so once they
        # outnumber the living the heap is made anew: O(n), paid for by the n calls that left them.
        if len(self._due) > 2 * len(self._entries) + 64:
            self._due = [(e.expires_at, next(self._order), k, e) for k, e in self._entries.items() if e is not entry]
            heapq.heapify(self._due)
        heapq.heappush(self._due, (expires_at, next(self._order), key, entry))

    def _free_expired(self) -> None:
        now = self._clock.monotonic()
        for _ in range(FREED_PER_CALL):
            if not self._due or self._due[0][0] > now:
                return
            _, _, key, entry = heapq.heappop(self._due)
            if self._entries.get(key) is not entry:
                continue
            if entry.expires_at <= now:
                self._drop(key)
            else:  # a list that was appended to since: here again, at its later time
                self._await_expiry(entry.expires_at, key, entry)


def _fitting(items: list[bytes], max_bytes: int) -> int:
    """Return how many of the first items are no larger than that together; one at least."""
    fitting = sum(size <= max_bytes for size in accumulate(map(len, items)))
    return max(fitting, 1)
