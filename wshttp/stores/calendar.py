"""What is due when: a heap of short intervals, each with what falls into it.

A heap of the items themselves would keep every item that left early until its time came.
Here an item is taken out in O(1), and the heap holds only the intervals.
"""

from __future__ import annotations

import heapq
import math
from itertools import islice
from typing import Final, Generic, TypeVar

T = TypeVar("T")

INTERVAL: Final = 0.25
"""Seconds. An item comes up at the end of its interval: never early, and late by this at most."""

_SPARE: Final = 64
"""Intervals that have emptied and may stay in the heap, besides one for each that is in use."""

_HANDFUL: Final = 256
"""Items that are looked up at a time: the first of a dictionary is not found in O(1) when many have left before it,
and a list of all is felt where a hundred thousand are due at once."""


class Calendar(Generic[T]):
    """Items by the time at which they are due; those of one interval come in the order in which they were entered."""

    def __init__(self) -> None:
        self._heap: list[int] = []  # each page in use at least once, and some that have emptied
        self._pages: dict[int, dict[T, None]] = {}  # none is empty
        self._at_hand: list[T] = []  # those to be taken next, in reverse order; some may have left meanwhile

    def add(self, item: T, due: float) -> int | None:
        """Enter an item; the returned page number takes it out again. `None`: never due, not entered."""
        interval = due / INTERVAL
        if math.isinf(interval):  # the quotient, which a time that is finite, and beyond all time, may exceed
            return None
        page = math.ceil(interval)
        items = self._pages.get(page)
        if items is None:
            items = self._pages[page] = {}
            self._push(page)
        items[item] = None
        return page

    def remove(self, item: T, page: int | None) -> None:
        """Take an item out; no error if it is not on that page."""
        items = None if page is None else self._pages.get(page)
        if items is not None and page is not None:
            items.pop(item, None)
            if not items:
                del self._pages[page]

    def take(self, now: float) -> T | None:
        """Take out one item that is due at `now`, or return `None`."""
        while self._heap and (page := self._heap[0]) * INTERVAL <= now:
            items = self._pages.get(page)
            if items is None:
                heapq.heappop(self._heap)
                continue
            item = self._first(items)
            self.remove(item, page)
            return item
        return None

    def _first(self, items: dict[T, None]) -> T:
        while True:
            while self._at_hand:
                item = self._at_hand.pop()
                if item in items:
                    return item
            self._at_hand = list(islice(items, _HANDFUL))
            self._at_hand.reverse()

    def _push(self, page: int) -> None:
        # Items that leave early leave their page in the heap; when those outnumber the rest it is made anew.
        if len(self._heap) > 2 * len(self._pages) + _SPARE:
            self._heap = sorted(self._pages)  # a sorted list is a heap
        else:
            heapq.heappush(self._heap, page)
