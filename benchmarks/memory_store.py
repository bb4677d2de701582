"""The memory store at growing sizes: time per operation, memory per session, and a sweep with nothing due.

Beside it the plain store, which is no more than a dictionary and a heap, with as many of the same records.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from functools import partial
from itertools import repeat
from typing import Any

from benchmarks.machine import resident_bytes
from benchmarks.plain_store import PlainStore
from benchmarks.population import records
from benchmarks.process import in_a_process
from benchmarks.table import Table
from benchmarks.timing import Timing, timing_of
from wshttp.sessions.record import Record
from wshttp.sessions.store import Limits
from wshttp.stores.memory import MemoryStore

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 2_000)

RUNS = 7
OPERATIONS = 10_000
"""Of each kind, per run."""

NO_LIMITS = Limits()


@dataclass(frozen=True)
class Figures:
    """Microseconds per operation; bytes per session."""

    get: Timing
    create: Timing
    sweep: Timing
    memory: float


def tables(quick: bool) -> list[Table]:
    """Measure each size, both stores, each in a process of its own."""
    sizes = QUICK_SIZES if quick else SIZES
    operations = min(OPERATIONS, sizes[0] // RUNS)
    ours = [in_a_process(_measure_memory_store, size, operations) for size in sizes]
    plain = [in_a_process(_measure_plain_store, size, operations) for size in sizes]
    return [_table_of_times(sizes, ours, plain), _table_of_memory(sizes, ours, plain)]


def _table_of_times(sizes: tuple[int, ...], ours: list[Figures], plain: list[Figures]) -> Table:
    table = Table(
        "Memory store: time",
        "µs per operation, best (worst) of several runs; `growth` is the best against the best at the smallest size.",
        ["operation", "sessions", "memory store", "growth", "plain store", "growth", "ratio"],
    )
    for name, label in (("get", "get + touch"), ("create", "create"), ("sweep", "sweep, nothing due")):
        for size, our, their in zip(sizes, ours, plain, strict=True):
            mine, other = getattr(our, name), getattr(their, name)
            table.add(
                label,
                f"{size:,}",
                str(mine),
                f"{mine.best / getattr(ours[0], name).best:.2f}",
                str(other),
                f"{other.best / getattr(plain[0], name).best:.2f}",
                f"{mine.best / other.best:.1f}",
            )
    return table


def _table_of_memory(sizes: tuple[int, ...], ours: list[Figures], plain: list[Figures]) -> Table:
    table = Table(
        "Memory store: memory",
        "Resident bytes per empty session of a process of its own, after one touch of each.",
        ["sessions", "memory store", "plain store", "ratio"],
    )
    for size, our, their in zip(sizes, ours, plain, strict=True):
        table.add(f"{size:,}", f"{our.memory:.0f}", f"{their.memory:.0f}", f"{our.memory / their.memory:.1f}")
    return table


def _measure_memory_store(size: int, operations: int) -> Figures:
    store = MemoryStore(warn_before=60)

    async def create(record: Record) -> None:
        created: Any = await store.create(record, NO_LIMITS)
        await store.settle(created.event.id)

    return _measure(create, lambda key: store.load(key, touch=True), lambda: store.take_due(64), size, operations)


def _measure_plain_store(size: int, operations: int) -> Figures:
    store = PlainStore()

    async def create(record: Record) -> None:
        # The memory store copies what it is given, too.
        await store.create(Record(**{field.name: getattr(record, field.name) for field in fields(record)}))

    return _measure(create, store.load, store.sweep, size, operations)


def _measure(
    create: Callable[[Record], Awaitable[object]],
    load: Callable[[bytes], Awaitable[object]],
    sweep: Callable[[], Awaitable[object]],
    size: int,
    operations: int,
) -> Figures:
    gc.freeze()  # the collector's part in filling is a matter of `mass_end`
    gc.set_threshold(700, 10, 1_000_000)
    keys: list[bytes] = []
    before = resident_bytes()
    _each(create, _noting(keys, records(size, time.monotonic)))
    own = len(keys) * 8  # the list; the keys themselves are the store's
    _each(load, keys)
    memory = (resident_bytes() - before - own) / size
    random.Random(1).shuffle(keys)  # else a session's neighbours in memory would have it in the processor's cache
    batches = [keys[run * operations : (run + 1) * operations] for run in range(RUNS)]
    get = timing_of([partial(_each, load, batch) for batch in batches])
    nothing = timing_of([partial(_each, lambda _: sweep(), repeat(None, operations)) for _ in range(RUNS)])
    new = [list(records(operations, time.monotonic)) for _ in range(RUNS)]
    created = timing_of([partial(_each, create, batch) for batch in new])
    return Figures(get, created, nothing, memory)


def _noting(keys: list[bytes], some: Any) -> Any:
    for record in some:
        keys.append(record.key)
        yield record


def _each(operation: Callable[[Any], Awaitable[object]], arguments: Any) -> int:
    """Await an operation on each argument; return how many there were."""

    async def all_of_them() -> int:
        count = 0
        for argument in arguments:
            await operation(argument)
            count += 1
        return count

    return asyncio.run(all_of_them())
