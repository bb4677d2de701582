"""Touches that a node has seen and not told the store yet: written are only some, see `touch` in `session.lua`."""

from __future__ import annotations

import heapq
import math
from typing import Final

TOLD_AT_ONCE: Final = 500
"""Touches that travel with one call."""


class Touches:
    """The last untold touch of each session, on the idle clock, in the order in which they are to be told."""

    def __init__(self) -> None:
        self._touched_at: dict[str, float] = {}
        self._to_tell: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._touched_at)

    def note(self, ref: str, at: float, patience: float) -> None:
        """Remember a touch; it is to be told `patience` seconds after the first that was not."""
        if ref not in self._touched_at:
            heapq.heappush(self._to_tell, (at + patience, ref))
            self._touched_at[ref] = at
        else:
            self._touched_at[ref] = max(at, self._touched_at[ref])

    def last(self, ref: str) -> float | None:
        """Return the last untold touch of a session."""
        return self._touched_at.get(ref)

    def forget(self, ref: str) -> None:
        """A later one was written."""
        self._touched_at.pop(ref, None)

    def take(self, now: float, maximum: int = TOLD_AT_ONCE) -> list[tuple[str, float]]:
        """Take out those that are to be told by `now`, at most so many."""
        taken: list[tuple[str, float]] = []
        while self._to_tell and self._to_tell[0][0] <= now and len(taken) < maximum:
            _, ref = heapq.heappop(self._to_tell)
            at = self._touched_at.pop(ref, None)
            if at is not None:
                taken.append((ref, at))
        return taken

    def hurry(self) -> None:
        """Have all told with the next calls."""
        self._to_tell = [(-math.inf, ref) for _, ref in self._to_tell]

    def give_back(self, taken: list[tuple[str, float]]) -> None:
        """They could not be told."""
        for ref, at in taken:
            self.note(ref, at, 0.0)
