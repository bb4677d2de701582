"""How long something takes: a histogram for Prometheus, and the latest values for whoever looks now."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Histogram

LATEST: Final = 1000
"""Values that quantiles are taken from: enough for a 99th percentile that ten values stand behind."""

_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Timings:
    """Durations of one kind, in seconds."""

    def __init__(self, name: str, documentation: str, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._histogram = Histogram(name, documentation, buckets=buckets, registry=registry)
        self._latest: deque[float] = deque(maxlen=LATEST)
        self._count = 0

    def observe(self, seconds: float) -> None:
        """Take in one more."""
        self._histogram.observe(seconds)
        self._latest.append(seconds)
        self._count += 1

    def describe(self) -> dict[str, float | None]:
        """Return how many there were, and quantiles of the latest (nearest rank; `None` where there were none)."""
        ordered = sorted(self._latest)
        return {"count": self._count} | {
            name: round(_at(ordered, share), 6) if ordered else None for name, share in _QUANTILES.items()
        }


def _at(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of all is not above."""
    return ordered[math.ceil(share * len(ordered)) - 1]
