"""The end of very many sessions that are due at the same instant: who has to wait for it, and for how long?

A server, its sweeper and its ledger end them, in the state in which `wshttp serve` runs. Two look on:
a task of the same event loop that wants to run every millisecond, and a client in another process that makes requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

from benchmarks.caller import Call, call_until_told
from benchmarks.onlookers import Beat, collections, heartbeat
from benchmarks.population import population
from benchmarks.process import beside_a_process, in_a_process
from benchmarks.table import Table
from benchmarks.timing import percentile
from wshttp import Request, Server, Session, Settings, logs
from wshttp.collector import Collector
from wshttp.sessions.store import Created, Limits
from wshttp.testing import FakeClock

SESSIONS = 100_000
QUICK_SESSIONS = 1_000

IDLE_TIMEOUT = 60.0
"""Seconds, of those that end; the client's own session stays."""

CALM = 0.5
"""Seconds of looking on before the end, for comparison."""

CASES = (("none", True), ("plain", True), ("async", True), ("plain", False))
"""The kind of `on_session_end`, and whether our garbage collection is in force, or Python's own."""


@dataclass(frozen=True)
class Seen:
    """What was seen in some stretch of time, in seconds."""

    beats: list[Beat]
    calls: list[Call]

    def of_time(self, begin: float, end: float) -> Seen:
        """Return what at least began or ended in it."""
        beats = [beat for beat in self.beats if begin <= beat.at + beat.late and beat.at <= end]
        return Seen(beats, [call for call in self.calls if begin <= call.at + call.took and call.at <= end])

    def milliseconds(self) -> list[float]:
        """Return the figures of one row."""
        late = sorted(beat.late for beat in self.beats)
        busy = max(beat.busy for beat in self.beats)
        took = sorted(call.took for call in self.calls)
        seconds = [percentile(late, 99), late[-1], busy, percentile(took, 50), percentile(took, 99), took[-1]]
        return [value * 1000 for value in seconds]


@dataclass(frozen=True)
class Figures:
    """How long the end took, what was seen before and during it, and the collector's longest pause; in seconds."""

    took: float
    before: Seen
    during: Seen
    longest_collection: float


def tables(quick: bool) -> list[Table]:
    """Measure each case, in a process of its own."""
    count = QUICK_SESSIONS if quick else SESSIONS
    seen = ["beat p99", "beat worst", "of it busy", "call p50", "call p99", "call worst"]
    table = Table(
        f"End of {count:,} sessions that are due at once",
        "Milliseconds, `before / during` the end: by how much a heartbeat of 1 ms in the event loop is late, and the most "
        "that the server itself computed between two; how long requests of one client take; the longest garbage "
        "collection during the end.",
        ["on_session_end", "collector", "seconds", *seen, "gc"],
    )
    for callback, ours in CASES:
        figures = in_a_process(_measure, count, callback, ours, CALM / 10 if quick else CALM)
        pairs = zip(figures.before.milliseconds(), figures.during.milliseconds(), strict=True)
        table.add(
            callback,
            "ours" if ours else "Python's",
            f"{figures.took:.1f}",
            *(f"{before:.1f} / {during:.1f}" for before, during in pairs),
            f"{figures.longest_collection * 1000:.1f}",
        )
    return [table]


# --- in the process that is measured ------------------------------------------------------------------


def _measure(count: int, callback: str, ours: bool, calm: float) -> Figures:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        logs.configure("info", "text")  # a line for each start and end, as by default
        return asyncio.run(_end_all_at_once(count, callback, ours, calm))


async def _end_all_at_once(count: int, callback: str, ours: bool, calm: float) -> Figures:
    clock = FakeClock()
    server = Server(Settings.model_validate({"server": {"port": 0}, "session": {"identity": ["cookie"]}}), clock=clock)
    _register(server, callback)
    server.get("/")(_hello)
    await server.start()
    collecting: AbstractAsyncContextManager[Collector | None]
    collecting = Collector(lambda: server.sessions.busy) if ours else nullcontext()
    async with collecting as collector:
        await _fill(server, count, clock)
        if collector is not None:
            collector.look()  # in a running server, it does so within a second
        figures = await _look_on(server, count, clock, calm)
        await server.stop()
    return figures


def _hello(request: Request) -> str:
    return f"session {request.session.ref}"


def _register(server: Server, callback: str) -> None:
    """Register an `on_session_end` of a kind."""

    def plain(session: Session, reason: str) -> None:
        pass

    async def awaiting(session: Session, reason: str) -> None:
        await asyncio.sleep(0)

    if callback != "none":
        server.on_session_end(plain if callback == "plain" else awaiting)


async def _fill(server: Server, count: int, clock: FakeClock) -> None:
    store = server.sessions.store
    for record in population(range(count), clock.monotonic, IDLE_TIMEOUT):
        created = await store.create(record, Limits())
        assert isinstance(created, Created)
        await store.settle(created.event)


async def _look_on(server: Server, count: int, clock: FakeClock, calm: float) -> Figures:
    """Have the sessions end under the eyes of the two."""
    url = urlsplit(server.addresses[0])
    with beside_a_process(call_until_told, url.hostname, url.port, "/") as caller:
        await _receive(caller)
        async with heartbeat() as beats:
            start = time.perf_counter()
            await asyncio.sleep(calm)
            with collections() as pauses:
                begin = time.perf_counter()
                clock.advance(IDLE_TIMEOUT)
                await _all_ended(server, count)
                end = time.perf_counter()
        caller.send(None)
        seen = Seen(beats, await _receive(caller))
    return Figures(end - begin, seen.of_time(start, begin), seen.of_time(begin, end), max(pauses, default=0.0))


async def _all_ended(server: Server, count: int) -> None:
    """Wait until all have ended and nothing is owed."""
    sessions = server.sessions
    while sum(sessions.statistics.ended.values()) < count or await sessions.store.owed():  # noqa: ASYNC110  # no event tells it
        await asyncio.sleep(0.01)


async def _receive(connection: Connection) -> Any:
    """Wait for a message of another process without holding the event loop up."""
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(connection.fileno(), arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(connection.fileno())
    return connection.recv()
