"""What nodes share besides sessions: counters, one-time values and bounded lists.

A second, optional port beside `Store`; throttles, tickets, resume history and offline queues stand on it.

What two parallel callers get: every method is one atomic step.
Of N callers that `take` one value, exactly one gets it; N callers that `add` to a counter leave it N higher.
Absence is `None`, `0` or an empty list.
An outage raises `StoreUnavailable`.
Everything here is forgotten after its `ttl`, and an implementation bounds what it keeps: see its own notes on what goes first.
Keys are chosen by the caller and never contain a secret in plain.
"""

from __future__ import annotations

from typing import Protocol


class Shared(Protocol):
    """Counters, one-time values and bounded lists, seen alike by all nodes."""

    async def add(self, key: str, amount: int = 1, *, ttl: float) -> int:
        """Add to a counter and return the new value.

        `ttl` is in seconds and counts from the counter's *first* add: a fixed window.
        """

    async def counter(self, key: str) -> tuple[int, float]:
        """Return a counter's value and the seconds until it is forgotten; `(0, 0.0)` where there is none."""

    async def forget(self, key: str) -> None:
        """Drop a counter, a value or a list; no error where there is none."""

    async def put(self, key: str, value: bytes, *, ttl: float) -> None:
        """Keep a one-time value for `ttl` seconds, in place of any other under this key."""

    async def take(self, key: str) -> bytes | None:
        """Return a one-time value and forget it, in one step; `None` where there is none (any more)."""

    async def append(self, key: str, item: bytes, *, maximum: int, ttl: float, max_bytes: int = 0) -> int:
        """Append to a list that keeps its last `maximum` items, and return the item's offset.

        Offsets count from 1 in a list's life and are never reused; `ttl` (seconds) restarts with each append.
        With `max_bytes` the oldest go also where all together have more (0: no bound); the new item stays, however large.
        """

    async def read(self, key: str, after: int = 0, *, max_bytes: int = 0) -> tuple[int, list[bytes]]:
        """Return the offset of the oldest kept item and all kept items past offset `after`.

        The first number tells a reader whether something is missing: it is when `after + 1` is below it.
        With `max_bytes` only the first of them, as many as together have no more (0: no bound); but one, however large.
        A list that does not exist gives `(1, [])`.
        """
