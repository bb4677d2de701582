"""How long a dead worker's place stays empty, so that one that cannot live does not keep the machine busy."""

from __future__ import annotations

from typing import Final

FIRST: Final = 0.5
"""Seconds after the first death; they double with each that follows."""

LONGEST: Final = 30.0
"""Seconds beyond which they do not; the death of a worker that has lived for so long is a first one again."""


class Delay:
    """The wait after each death in one place."""

    def __init__(self) -> None:
        self._next = FIRST

    def after(self, lived: float) -> float:
        """Return how many seconds to wait after the death of a worker that has lived for so many."""
        delay = FIRST if lived >= LONGEST else self._next
        self._next = min(delay * 2, LONGEST)
        return delay
