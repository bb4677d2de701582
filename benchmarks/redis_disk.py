"""What the disk costs: changes per second, with each way in which Redis can keep what it has acknowledged."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from benchmarks.calls import IN_FLIGHT, Calls, calls_of, send, silent_store
from benchmarks.population import population
from benchmarks.redis_server import DURABLE, FORGETFUL, RedisServer, redis_server
from benchmarks.steps import begin, for_all, store_on
from benchmarks.table import Table
from wshttp.sessions.changes import Changes
from wshttp.stores.redis.store import RedisStore

WAYS = {
    "nothing on disk": FORGETFUL,
    "`appendfsync everysec`": {"appendonly": "yes", "appendfsync": "everysec"},
    "`appendfsync always`": DURABLE,
}

ROUNDS = 3


def table(count: int) -> Table:
    """Measure each way with a tenth of so many changes."""
    found = Table(
        "Redis: disk",
        f"Changes (`apply`) per second, one after the other and with {IN_FLIGHT} in flight: best (worst) of {ROUNDS} rounds.",
        ["what is kept", "one by one", "ratio", f"{IN_FLIGHT} in flight", "ratio"],
    )
    first: dict[int, float] = {}
    for name, options in WAYS.items():
        with redis_server(options) as redis:
            rates = asyncio.run(_rates(redis, max(2, count // 10)))
        cells = []
        for in_flight, several in rates.items():
            ratio = max(several) / first.setdefault(in_flight, max(several))
            cells += [f"{max(several):,.0f} ({min(several):,.0f})", f"{ratio:.2f}"]
        found.add(name, *cells)
    return found


async def _rates(redis: RedisServer, count: int) -> dict[int, list[float]]:
    """Return changes per second of each round, by how many are in flight."""
    records = list(population(range(count), time.time))
    async with store_on(redis) as store:
        await for_all(partial(begin, store), records)
    store, refs = await silent_store(redis), [record.ref for record in records]
    rates: dict[int, list[float]] = {1: [], IN_FLIGHT: []}
    for _ in range(ROUNDS):
        for in_flight, several in rates.items():
            several.append(count / send(redis.socket, await _changes(store, refs), in_flight))
    return rates


async def _changes(store: RedisStore, refs: list[str]) -> Calls:
    change = Changes({"count": 1})
    return await calls_of(store, (store.apply(ref, change, 65536) for ref in refs), b"applied")
