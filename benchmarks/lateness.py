"""How late sessions end: from the instant at which each is due until its `on_session_end` runs.

Their instants are spread evenly over a stretch of time, or all the same. Servers in processes of their own sweep, as
ever; the figures are what their callbacks have seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any

from benchmarks.population import population
from benchmarks.process import beside_a_process
from benchmarks.redis_server import redis_server
from benchmarks.steps import begin, for_all
from benchmarks.table import Table
from benchmarks.timing import percentile
from wshttp import Server, Session, Settings, logs
from wshttp.collector import Collector
from wshttp.sessions.record import Record
from wshttp.sessions.store import Store

SESSIONS = 100_000
QUICK_SESSIONS = 300
SPREAD = 60.0
QUICK_SPREAD = 0.2
"""Seconds over which sessions are due."""

STAYING = 0.02
"""The part that does not end: how long these take to create tells how long the others will."""

REPORT = 0.25
"""Seconds between two reports of a server."""


@dataclass(frozen=True)
class Case:
    """Servers, and within how many seconds all sessions are due."""

    name: str
    nodes: int
    kind: str
    spread: float


def tables(quick: bool) -> list[Table]:
    """Measure each case."""
    count, spread = (QUICK_SESSIONS, QUICK_SPREAD) if quick else (SESSIONS, SPREAD)
    table = Table(
        f"Lateness of {count:,} ends",
        "Seconds from the instant at which a session is due until its `on_session_end`; `ratio` is that of the p99.",
        ["sessions in", "due within", "p50", "p99", "worst", "ratio"],
    )
    p99_of_memory: dict[float, float] = {}
    for case in (
        Case("memory, one server", 1, "memory", spread),
        Case("Redis, one server", 1, "redis", spread),
        Case("Redis, three servers", 3, "redis", spread),
        Case("memory, one server", 1, "memory", 0.0),
        Case("Redis, three servers", 3, "redis", 0.0),
    ):
        late = sorted(_measure(case, count))
        figures = [percentile(late, 50), percentile(late, 99), late[-1]]
        ratio = figures[1] / p99_of_memory.setdefault(case.spread, figures[1])
        table.add(case.name, f"{case.spread:g} s", *(f"{figure:.2f}" for figure in figures), f"{ratio:.1f}")
    return [table]


def _measure(case: Case, count: int) -> list[float]:
    """Return by how many seconds each was late."""
    with ExitStack() as stack:
        store: dict[str, Any] = {"kind": case.kind}
        if case.kind == "redis":
            store["url"] = stack.enter_context(redis_server()).url
        # The last one fills the store: when it says so, all sweep.
        orders = [None] * (case.nodes - 1) + [(count, case.spread)]
        pipes = [stack.enter_context(beside_a_process(_serve, store, order)) for order in orders]
        late: list[float] = []
        while len(late) < count:
            for pipe in wait(pipes):
                assert isinstance(pipe, Pipe)
                late += pipe.recv()
        return late


# --- in the processes that are measured ---------------------------------------------------------------


def _serve(parent: Pipe, store: dict[str, Any], order: tuple[int, float] | None) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        logs.configure("info", "text")  # a line for each end, as by default
        asyncio.run(_sweep(parent, store, order))


async def _sweep(parent: Pipe, store: dict[str, Any], order: tuple[int, float] | None) -> None:
    """Run a server, which sweeps; report until the parent closes its end."""
    session = {"identity": ["cookie"], "warn_before": 0}
    server = Server(Settings.model_validate({"server": {"port": 0}, "session": session, "store": store}))
    late = array("d")

    @server.on_session_end
    def ended(session: Session, reason: str) -> None:
        late.append(server.sessions.now() - session.record.deadline)

    await server.start()
    async with Collector(lambda: server.sessions.busy):
        if order is not None:
            await _fill(server.sessions.store, *order)
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(REPORT)
                parent.send(late)
                del late[:]
    await server.stop()


async def _fill(store: Store, count: int, spread: float) -> None:
    """Create sessions that are due when all are there; and first some that stay."""
    staying = int(count * STAYING)
    started = time.perf_counter()
    await for_all(partial(begin, store), population(range(count, count + staying), store.now))
    took = (time.perf_counter() - started) / staying * count
    due_from = store.now() + 2 * took + 0.5
    await for_all(partial(begin, store), _due_from(due_from, spread, population(range(count), store.now), count))
    if store.now() > due_from:
        raise RuntimeError("the machine was too busy: sessions were due before all were there")


def _due_from(first: float, spread: float, records: Iterable[Record], count: int) -> Iterator[Record]:
    """Give each an instant of its own."""
    for number, record in enumerate(records):
        record.idle_timeout = first + spread * number / count - record.last_access_at
        yield record
