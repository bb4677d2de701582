"""The memory store at growing sizes: time per operation, memory per session, and a sweep with nothing due.

Measured as the session list does it for a request, in the store alone, and, beside it, in the plain store, which is
no more than a dictionary and a heap, with as many of the same records.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, cycle, islice, repeat
from typing import Any

from benchmarks.machine import resident_bytes
from benchmarks.plain_store import PlainStore
from benchmarks.population import address_of, id_of, population
from benchmarks.process import in_a_process
from benchmarks.table import Table
from benchmarks.timing import Timing, timing_of
from wshttp import SessionList, Settings
from wshttp.sessions.record import Record
from wshttp.sessions.store import Created, Limits
from wshttp.stores.memory import MemoryStore

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 2_000)

RUNS = 7
OPERATIONS = 5_000
QUICK_OPERATIONS = 100
"""Of each kind, per run."""

LIST_GET, LIST_CREATE = "list: get + touch", "list: create"
GET, CREATE, SWEEP = "store: get + touch", "store: create", "store: sweep, nothing due"


@dataclass(frozen=True)
class Figures:
    """Microseconds per operation, by its name; bytes per session."""

    times: dict[str, Timing]
    memory: float


def tables(quick: bool) -> list[Table]:
    """Measure each size, both stores, each in a process of its own."""
    sizes = QUICK_SIZES if quick else SIZES
    operations = QUICK_OPERATIONS if quick else OPERATIONS
    ours = {size: in_a_process(_measure_memory_store, size, operations) for size in sizes}
    plain = {size: in_a_process(_measure_plain_store, size, operations) for size in sizes}
    return [_table_of_times(ours, plain), _table_of_memory(ours, plain)]


def _table_of_times(ours: dict[int, Figures], plain: dict[int, Figures]) -> Table:
    table = Table(
        "Memory store: time",
        "µs per operation, best (worst) of several runs; `growth` is the best against the best at the smallest size.",
        ["operation", "sessions", "ours", "growth", "plain store", "growth", "ratio"],
    )
    for name in (LIST_GET, LIST_CREATE, GET, CREATE, SWEEP):
        for size, figures in ours.items():
            mine, other = figures.times[name], plain[size].times.get(name)
            table.add(
                name,
                f"{size:,}",
                *_figures_of(mine, next(iter(ours.values())).times[name]),
                *(_figures_of(other, next(iter(plain.values())).times[name]) if other else ("", "")),
                f"{mine.best / other.best:.1f}" if other else "",
            )
    return table


def _figures_of(timing: Timing, smallest: Timing) -> tuple[str, str]:
    return str(timing), f"{timing.best / smallest.best:.2f}"


def _table_of_memory(ours: dict[int, Figures], plain: dict[int, Figures]) -> Table:
    table = Table(
        "Memory store: memory",
        "Resident bytes per empty session of a process of its own, after one touch of each.",
        ["sessions", "ours", "plain store", "ratio"],
    )
    for size, figures in ours.items():
        mine, other = figures.memory, plain[size].memory
        table.add(f"{size:,}", f"{mine:.0f}", f"{other:.0f}", f"{mine / other:.1f}")
    return table


# --- in the process that is measured ------------------------------------------------------------------


def _measure_memory_store(size: int, operations: int) -> Figures:
    settings = Settings.model_validate({"session": {"max_sessions": 0}}).session
    store = MemoryStore(warn_before=settings.warn_before)
    sessions = SessionList(settings, store)

    async def create(record: Record) -> None:
        created = await store.create(record, Limits())
        assert isinstance(created, Created)
        await store.settle(created.event)

    def load(key: bytes) -> Awaitable[object]:
        return store.load(key, touch=True)

    figures, present = _measure(create, load, partial(store.take_due, 64), size, operations)
    ids = [[id_of(number) for number in islice(present, operations)] for _ in range(RUNS)]
    addresses = [[address_of(number) for number in range(operations)] for _ in range(RUNS)]
    figures.times[LIST_GET] = _timing(sessions.get, ids)
    figures.times[LIST_CREATE] = _timing(lambda address: sessions.create(remote_ip=address), addresses)
    return figures


def _measure_plain_store(size: int, operations: int) -> Figures:
    store = PlainStore()

    async def create(record: Record) -> None:
        # The memory store copies what it is given, too.
        await store.create(record.copy())

    return _measure(create, store.load, store.sweep, size, operations)[0]


def _measure(
    create: Callable[[Record], Awaitable[object]],
    load: Callable[[bytes], Awaitable[object]],
    sweep: Callable[[], Awaitable[object]],
    size: int,
    operations: int,
) -> tuple[Figures, Iterator[int]]:
    """Fill a store and measure it; return the numbers of further sessions in it, too, in an order without end."""
    gc.disable()  # its part in this is a matter of `mass_end`
    memory = asyncio.run(_fill(create, load, size))
    # In random order: else a session's neighbours in memory would have it in the processor's cache.
    present, new = cycle(random.Random(1).sample(range(size), size)), count(size)
    keys = [[id_of(number).key for number in islice(present, operations)] for _ in range(RUNS)]
    records = [list(population(islice(new, operations), time.monotonic)) for _ in range(RUNS)]
    times = {
        GET: _timing(load, keys),
        SWEEP: _timing(lambda _: sweep(), [repeat(None, operations) for _ in range(RUNS)]),
        CREATE: _timing(create, records),
    }
    return Figures(times, memory), present


async def _fill(create: Any, load: Any, size: int) -> float:
    """Create sessions and touch each once; return the bytes of memory that each takes."""
    before = resident_bytes()
    for record in population(range(size), time.monotonic):
        await create(record)
        await load(record.key)
    return (resident_bytes() - before) / size


def _timing(operation: Callable[[Any], Awaitable[object]], batches: Iterable[Any]) -> Timing:
    return timing_of([partial(_each, operation, batch) for batch in batches])


def _each(operation: Callable[[Any], Awaitable[object]], arguments: Iterable[Any]) -> int:
    """Await an operation on each argument; return how many there were."""

    async def all_of_them() -> int:
        number = 0
        for argument in arguments:
            await operation(argument)
            number += 1
        return number

    return asyncio.run(all_of_them())
