"""How long something takes: a histogram for Prometheus, and the latest values for whoever looks now."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

LATEST: Final = 1000
"""Values that quantiles are taken from: enough for a 99th percentile that ten values stand behind."""

_QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


class Timings:
    """Durations of one kind, in seconds.

    They are counted here, and made a histogram of when somebody asks: Prometheus' own class takes a lock, twice, for
    each of them.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = (*bounds, math.inf)
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._latest: deque[float] = deque(maxlen=LATEST)
        registry.register(_Histogram(self))

    def observe(self, seconds: float) -> None:
        """Take in one more."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds
        self._latest.append(seconds)

    def histogram(self) -> HistogramMetricFamily:
        """Return, by bound, how many were not above it."""
        totals = accumulate(self._counts)
        bounds = ["+Inf" if bound == math.inf else str(bound) for bound in self._bounds]
        buckets = list(zip(bounds, map(float, totals), strict=True))
        return HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)

    def describe(self) -> dict[str, float | None]:
        """Return how many there were, and quantiles of the latest (nearest rank; `None` where there were none)."""
        ordered = sorted(self._latest)
        return {"count": sum(self._counts)} | {
            name: round(_at(ordered, share), 6) if ordered else None for name, share in _QUANTILES.items()
        }


class _Histogram(Collector):
    """What Prometheus asks for timings."""

    def __init__(self, timings: Timings) -> None:
        self._timings = timings

    def collect(self) -> Iterator[HistogramMetricFamily]:
        yield self._timings.histogram()


def _at(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of all is not above."""
    return ordered[math.ceil(share * len(ordered)) - 1]
