"""What one Redis primary carries: sessions in its memory, steps per second, on its disk, and asked by a node."""

from __future__ import annotations

from benchmarks import redis_disk, redis_memory, redis_node, redis_steps
from benchmarks.table import Table

SESSIONS = 10_000
QUICK_SESSIONS = 64
"""Per round, where there are rounds."""


def tables(quick: bool) -> list[Table]:
    """Measure each, on a server of its own."""
    count = QUICK_SESSIONS if quick else SESSIONS
    return [part.table(count) for part in (redis_memory, redis_steps, redis_disk, redis_node)]
