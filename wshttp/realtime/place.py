"""Where a message stands in the history of its topic."""

from __future__ import annotations

from typing import Final, NamedTuple


class Place(NamedTuple):
    """`offset` counts from 1 in a `life` of the history: a name that no other life has."""

    life: str
    offset: int


NOWHERE: Final = Place("", 0)
"""Before all lives: none has an empty name."""
