"""Where a message stands in the history of its topic."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """`offset` counts from 1 in a `life` of the history: a name that no other life has."""

    life: str
    offset: int
