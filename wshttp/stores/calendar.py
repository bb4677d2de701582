"""What is due when: a heap of short intervals, each with what falls into it.

A heap of the items themselves would keep every item that left early until its time came.
Here an item is taken out in O(1), and the heap holds only the intervals.
"""

from __future__ import annotations

import heapq
import math
from typing import Final, Generic, TypeVar

T = TypeVar("T")

INTERVAL: Final = 0.25
"""Seconds. An item comes up at the end of its interval: never early, and late by this at most."""


class Calendar(Generic[T]):
    """Items by the time at which they are due."""

    def __init__(self) -> None:
        self._heap: list[int] = []
        self._intervals: dict[int, set[T]] = {}

    def add(self, item: T, due: float) -> int | None:
        """Enter an item; the returned page number takes it out again. `None`: never due, not entered."""
        if math.isinf(due):
            return None
        page = math.ceil(due / INTERVAL)
        items = self._intervals.get(page)
        if items is None:
            items = self._intervals[page] = set()
            heapq.heappush(self._heap, page)
        items.add(item)
        return page

    def remove(self, item: T, page: int | None) -> None:
        """Take an item out; no error if it is not on that page."""
        if page is not None:
            self._intervals.get(page, set()).discard(item)

    def take(self, now: float) -> T | None:
        """Take out one item that is due at `now`, or return `None`."""
        while self._heap and self._heap[0] * INTERVAL <= now:
            items = self._intervals[self._heap[0]]
            if items:
                return items.pop()
            del self._intervals[heapq.heappop(self._heap)]
        return None
