"""What a step of the store costs the node that asks for it: nearly all of it is Python's.

Callers in one process share the store's one connection, as the requests of a node do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.population import population, with_data
from benchmarks.redis_server import RedisServer, redis_server
from benchmarks.steps import CALLERS, DATA, begin, end, for_all, store_on
from benchmarks.table import Table
from wshttp.sessions.changes import Changes
from wshttp.sessions.record import Record

ROUNDS = 3

PLAIN = "GET, by the store's connection"
"""What the others are compared with."""


@dataclass(frozen=True)
class Cost:
    """Per second, µs that the node computed for one, and µs that Redis did."""

    rate: float
    node: float
    redis: float


def table(count: int) -> Table:
    """Measure each step `count` times, in several rounds with sessions of their own."""
    rounds = [asyncio.run(_round(count)) for _ in range(ROUNDS)]
    found = Table(
        "Redis: the node's side",
        f"Steps per second of {CALLERS} callers in one process, µs that it computes for one, and µs that Redis does: "
        f"best (worst) of {ROUNDS} rounds.",
        ["step", "per second", "µs", "ratio", "Redis µs"],
    )
    first = min(each[PLAIN].node for each in rounds)
    for name in rounds[0]:
        costs = [each[name] for each in rounds]
        rates, node = [cost.rate for cost in costs], [cost.node for cost in costs]
        found.add(
            name,
            f"{max(rates):,.0f} ({min(rates):,.0f})",
            f"{min(node):.0f} ({max(node):.0f})",
            f"{min(node) / first:.1f}",
            f"{min(cost.redis for cost in costs):.0f}",
        )
    return found


async def _round(count: int) -> dict[str, Cost]:
    change = Changes({"count": 2})
    with redis_server() as redis:
        async with store_on(redis) as store:
            records = [with_data(record, DATA) for record in population(range(count), time.time)]
            steps: dict[str, Callable[[Record], Awaitable[object]]] = {
                PLAIN: lambda record: store.link.call("GET", record.key),
                "create, and settle": partial(begin, store),
                "load": lambda record: store.load(record.key, touch=True),
                "apply, one value": lambda record: store.apply(record.ref, change, 65536),
                "end, and settle": partial(end, store),
            }
            return {name: await _cost(redis, step, records) for name, step in steps.items()}


async def _cost(redis: RedisServer, step: Callable[[Record], Awaitable[object]], records: list[Record]) -> Cost:
    redis.forget_usage()
    at, computed = time.perf_counter(), time.process_time()
    count = await for_all(step, records)
    took, computed = time.perf_counter() - at, time.process_time() - computed
    return Cost(count / took, computed / count * 1e6, redis.usage().computed / count * 1e6)
