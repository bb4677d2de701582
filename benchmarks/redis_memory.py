"""The memory that sessions take in Redis, beside what the same would take under one plain key each."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from benchmarks.population import population, with_data
from benchmarks.redis_server import FORGETFUL, RedisServer, redis_server
from benchmarks.steps import begin, end, for_all, store_on
from benchmarks.table import Table
from wshttp.sessions.record import RECORD_FIELDS, Record

GB = 1_000_000_000

KILOBYTE = "x" * 1_000
"""A value of about as many bytes of JSON; `PIECES` have about as many, in 16 values."""
PIECES = {f"key{number:02}": "x" * 55 for number in range(16)}


COMPACT = {"hash-max-listpack-value": "512"}
"""Up to this length of a value, Redis keeps a small hash as one text, without a table; its default is 64."""

Keep: TypeAlias = Callable[[RedisServer, list[Record]], Awaitable[None]]
Form: TypeAlias = Callable[[Record], Record]


def table(count: int) -> Table:
    """Measure each form of a session."""
    return asyncio.run(_measure(count))


async def _measure(count: int) -> Table:
    found = Table(
        "Redis: memory",
        f"Bytes for each of {count:,}; a plain key has the same facts and data as one JSON text, with a time-out. "
        "Compact: with `hash-max-listpack-value 512`.",
        ["what is kept", "bytes", "per GB", "ratio"],
    )
    with redis_server() as redis, redis_server(FORGETFUL | COMPACT) as compact:
        rows: list[tuple[str, RedisServer, Keep, Form]] = [
            ("a plain key, no data", redis, _keep_plain, _without_data),
            ("a session, no data", redis, _keep_ours, _without_data),
            ("a session, no data, compact", compact, _keep_ours, _without_data),
            ("a session, no data, logged in", redis, _keep_ours, _logged_in),
            ("a plain key, 1 KB of data", redis, _keep_plain, _with_one_value),
            ("a session, 1 KB of data in one value", redis, _keep_ours, _with_one_value),
            ("a session, 1 KB of data in 16 values", redis, _keep_ours, _with_many_values),
            ("a session, 1 KB of data in 16 values, compact", compact, _keep_ours, _with_many_values),
            ("what is left of one that ended, for `session.tombstone`", redis, _keep_tombstones, _without_data),
        ]
        first = 0.0
        for name, server, keep, form in rows:
            each = await _bytes_each(server, count, keep, form)
            first = first or each
            found.add(name, f"{each:,.0f}", f"{GB / each:,.0f}", f"{each / first:.1f}")
    return found


async def _bytes_each(redis: RedisServer, count: int, keep: Keep, form: Form) -> float:
    redis.client.flushall()
    await _keep_ours(redis, list(population([count], time.time)))  # what there is only once is there before
    before = redis.used_bytes()
    await keep(redis, [form(record) for record in population(range(count), time.time)])
    _forget_answers(redis)
    return (redis.used_bytes() - before) / count


def _forget_answers(redis: RedisServer) -> None:
    """Delete what expires within seconds of a call; a longer run would not have it."""
    with redis.client.pipeline(transaction=False) as pipeline:
        for key in redis.client.scan_iter("{wshttp}:a:*", count=1000):
            pipeline.delete(key)
        pipeline.execute()


# --- forms of a session -----------------------------------------------------------------------------------


def _without_data(record: Record) -> Record:
    return record


def _logged_in(record: Record) -> Record:
    held = record.copy()
    held.user, held.roles, held.version = f"user {record.ref[:8]}", ("reader",), record.ref
    return held


def _with_one_value(record: Record) -> Record:
    return with_data(record, {"data": KILOBYTE})


def _with_many_values(record: Record) -> Record:
    return with_data(record, PIECES)


# --- where they are kept ----------------------------------------------------------------------------------


async def _keep_plain(redis: RedisServer, records: list[Record]) -> None:
    with redis.client.pipeline(transaction=False) as pipeline:
        for record in records:
            pipeline.set(f"session:{record.key.hex()}", plain_text(record), ex=1200)
        pipeline.execute()


def plain_text(record: Record) -> str:
    """Return all of a session as one text."""
    facts = {name: getattr(record, name) for name in RECORD_FIELDS if name != "key"}
    return json.dumps({name: value for name, value in facts.items() if value}, separators=(",", ":"))


async def _keep_ours(redis: RedisServer, records: list[Record]) -> None:
    async with store_on(redis) as store:
        await for_all(partial(begin, store), records)


async def _keep_tombstones(redis: RedisServer, records: list[Record]) -> None:
    async with store_on(redis) as store:
        await for_all(partial(begin, store), records)
        await for_all(partial(end, store), records)
