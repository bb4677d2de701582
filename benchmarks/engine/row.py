"""A line of what is to be reached: some work, our way of doing it, and who does it beside us."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.engine.load import Load
from benchmarks.engine.peer import Peer


@dataclass(frozen=True)
class Rival:
    """Who does the same work.

    `factor`: ours is to be so many times its figure, at least; where less is better, at most. `None`: printed beside.
    """

    peer: Peer
    factor: float | None = None


@dataclass(frozen=True)
class Row:
    """`limit`: what our own figure is to be at most, in the load's unit; `None`: it is compared only."""

    name: str
    work: str
    load: Load
    ours: Peer
    rivals: tuple[Rival, ...]
    limit: float | None = None

    @property
    def peers(self) -> list[Peer]:
        """Ours, and those beside it."""
        return [self.ours, *(rival.peer for rival in self.rivals)]
