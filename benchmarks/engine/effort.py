"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """So many rounds of so many seconds each; `part` is the share of the sockets that a row wants."""

    rounds: int = 5
    seconds: float = 3.0
    part: float = 1.0

    def sockets(self, wanted: int) -> int:
        return max(1, int(wanted * self.part))


QUICK = Effort(rounds=1, seconds=0.2, part=0.01)
"""So small that the figures mean nothing."""
