"""What each step of the store costs a Redis primary, beside plain commands in the same run.

The calls are those that a node makes, prepared before: Redis works without a pause, and the node's computing is left out.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from benchmarks.calls import IN_FLIGHT, Calls, calls_of, send, silent_store
from benchmarks.population import population, with_data
from benchmarks.redis_memory import plain_text
from benchmarks.redis_server import RedisServer, redis_server
from benchmarks.steps import DATA
from benchmarks.table import Table
from wshttp.redis.packing import pack
from wshttp.redis.script import Script
from wshttp.sessions.changes import Changes
from wshttp.sessions.record import Event, Reason, Record
from wshttp.sessions.store import Limits
from wshttp.stores.redis.scripts import source_of
from wshttp.stores.redis.store import RedisStore

ROUNDS = 3

PLAIN = "GET of a plain key"
"""What the others are compared with."""

NOTHING = Script("nothing", "return 1")
ONE_GET = Script("one GET", "return redis.call('GET', KEYS[1])")

LATER = 10.0
"""Seconds after which a touch is due."""


@dataclass(frozen=True)
class Cost:
    """What one call cost: per second, µs that Redis computed, µs of these in the script, commands that it ran."""

    rate: float
    computed: float
    in_script: float
    commands: float


def table(count: int) -> Table:
    """Measure each step `count` times, in several rounds with sessions of their own."""
    rounds = [asyncio.run(_round(count)) for _ in range(ROUNDS)]
    found = Table(
        "Redis: steps",
        f"Calls per second with {IN_FLIGHT} in flight, and what one costs: µs that Redis computes in all, and of these in "
        f"the script; commands that the script runs. Best (worst) of {ROUNDS} rounds with {count:,} sessions each.",
        ["step", "per second", "µs", "ratio", "in the script", "commands"],
    )
    first = min(each[PLAIN].computed for each in rounds)
    for name in rounds[0]:
        costs = [each[name] for each in rounds]
        rates, computed = [cost.rate for cost in costs], [cost.computed for cost in costs]
        found.add(
            name,
            f"{max(rates):,.0f} ({min(rates):,.0f})",
            f"{min(computed):.1f} ({max(computed):.1f})",
            f"{min(computed) / first:.1f}",
            f"{min(cost.in_script for cost in costs):.1f}",
            f"{min(cost.commands for cost in costs):.1f}",
        )
    return found


async def _round(count: int) -> dict[str, Cost]:
    script = f"{source_of('time')}local real = now\nlocal function now() return real() + {LATER} end\n"
    with redis_server() as redis:
        store, later = await silent_store(redis), await silent_store(redis, time_script=script)
        records = [with_data(record, DATA) for record in population(range(count), time.time)]
        prepared = _plain_steps(records) | await _steps(store, later, records)
        return {name: _cost(redis, calls) for name, calls in prepared.items()}


def _cost(redis: RedisServer, calls: Calls) -> Cost:
    redis.forget_usage()
    took = send(redis.socket, calls)
    usage, count = redis.usage(), len(calls.packed)
    return Cost(
        count / took,
        usage.computed / count * 1e6,
        usage.in_scripts / count * 1e6,
        usage.commands / count if usage.scripts else 0.0,
    )


def _plain_steps(records: list[Record]) -> dict[str, Calls]:
    """Return what a store of plain keys would do, and the least that a script costs."""
    keys = [f"session:{record.key.hex()}" for record in records]
    texts = map(plain_text, records)
    return {
        "SET of a plain key": Calls([pack("SET", *pair, "EX", 1200) for pair in zip(keys, texts, strict=True)]),
        PLAIN: Calls([pack("GET", key) for key in keys]),
        "a script that does nothing": Calls([pack("EVALSHA", NOTHING.sha, 0)] * len(records), NOTHING.source),
        "a script that does one GET": Calls([pack("EVALSHA", ONE_GET.sha, 1, key) for key in keys], ONE_GET.source),
    }


async def _steps(store: RedisStore, later: RedisStore, records: list[Record]) -> dict[str, Calls]:
    """Return the steps of one life, in their order."""
    starts = [Event(f"{record.ref}-start", "start", record.ref) for record in records]
    ends = [Event(f"{record.ref}-end", "end", record.ref, reason=Reason.LOGOUT) for record in records]
    change = Changes({"count": 2})
    return {
        "create": await calls_of(store, (store.create(each, Limits()) for each in records), b"created"),
        "settle a start": await calls_of(store, map(store.settle, starts), b"settled", 1),
        "load, a touch is written": await calls_of(
            later, (later.load(each.key, touch=True) for each in records), b"found"
        ),
        "load": await calls_of(store, (store.load(each.key, touch=True) for each in records), b"found"),
        "apply, one value": await calls_of(
            store, (store.apply(each.ref, change, 65536) for each in records), b"applied"
        ),
        "end": await calls_of(store, (store.end(each.ref, Reason.LOGOUT) for each in records), b"ended"),
        "settle an end": await calls_of(store, map(store.settle, ends), b"settled", 1),
        "take_due, nothing is due": await calls_of(store, (store.take_due(64) for _ in records), b"due"),
    }
