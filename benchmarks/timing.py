"""One figure out of several runs."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Microseconds for one operation in the best of several runs, and in the worst.

    The best is what the code costs; what the others have on top is what else the machine was doing.
    """

    best: float
    worst: float

    def __str__(self) -> str:
        return f"{self.best:.2f} ({self.worst:.2f})"


def timing_of(runs: list[Callable[[], int]]) -> Timing:
    """Call each run once; it returns how many operations it did. No garbage is collected meanwhile."""
    seconds = []
    gc.collect()
    gc.disable()
    try:
        for run in runs:
            begin = time.perf_counter()
            count = run()
            seconds.append((time.perf_counter() - begin) / count)
    finally:
        gc.enable()
    return Timing(min(seconds) * 1e6, max(seconds) * 1e6)


def percentile(values: list[float], per_cent: float) -> float:
    """Return the value that so many per cent of the values do not exceed; they must be sorted."""
    return values[min(len(values) - 1, int(len(values) * per_cent / 100))]
