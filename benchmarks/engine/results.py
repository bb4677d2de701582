"""What was measured, and what follows from it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.engine.load import Outcome
from benchmarks.engine.peer import Peer
from benchmarks.engine.row import Row


@dataclass(frozen=True)
class Results:
    """A row's outcomes, by peer, round by round."""

    row: Row
    rounds: dict[Peer, list[Outcome]] = field(default_factory=dict)
    left_out: dict[Peer, str] = field(default_factory=dict)
    """What this machine lacks for those that it cannot run."""

    def add(self, peer: Peer, outcome: Outcome) -> None:
        self.rounds.setdefault(peer, []).append(outcome)

    def figures(self, peer: Peer) -> list[float]:
        return [each.figure for each in self.rounds.get(peer, ())]

    def ratio(self, peer: Peer) -> float | None:
        """Return ours by theirs: the median of the rounds' ratios, as both of a round met the same machine."""
        pairs = zip(self.figures(self.row.ours), self.figures(peer), strict=False)
        ratios = [ours / theirs for ours, theirs in pairs if theirs]
        return median(ratios) if ratios else None

    def cost_ratio(self, peer: Peer) -> float | None:
        """Return their computing for an answer by ours: other programs on the machine change little of it."""
        ours, theirs = self._cost(self.row.ours), self._cost(peer)
        return theirs / ours if ours and theirs else None

    def _cost(self, peer: Peer) -> float | None:
        costs = [outcome.expense.cost for outcome in self.rounds.get(peer, ()) if outcome.expense is not None]
        return median(costs) if costs else None

    def reached(self, ratio: float | None, factor: float | None) -> bool | None:
        """Say whether a ratio is what is wanted; `None` where nothing is, or nothing was measured."""
        if ratio is None or factor is None:
            return None
        return ratio <= factor if self.row.load.less_is_better else ratio >= factor

    def within_limit(self) -> bool | None:
        """Say whether our own figure is within the row's limit; `None` where there is none, or nothing was measured."""
        figures = self.figures(self.row.ours)
        return None if self.row.limit is None or not figures else median(figures) <= self.row.limit

    def verdicts(self) -> Sequence[bool]:
        """Return what was reached and what not."""
        found = [self.reached(self.ratio(rival.peer), rival.factor) for rival in self.row.rivals]
        return [each for each in [*found, self.within_limit()] if each is not None]
