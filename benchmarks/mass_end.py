"""The end of very many sessions that are due at the same instant: who has to wait for it, and for how long?

A server, its sweeper and its ledger end them, in the state in which `wshttp serve` runs. Two look on:
a task of the same event loop that wants to run every millisecond, and a client in another process that makes requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from benchmarks.caller import Call, call_until_told
from benchmarks.population import records
from benchmarks.process import beside_a_process, in_a_process
from benchmarks.table import Table
from benchmarks.timing import percentile
from wshttp import Server, Session, Settings, logs
from wshttp.collector import Collector
from wshttp.sessions.store import Created, Limits
from wshttp.stores.memory import MemoryStore
from wshttp.testing import FakeClock

SESSIONS = 100_000
QUICK_SESSIONS = 1_000

IDLE_TIMEOUT = 60.0
"""Seconds, of those that end; the client's own session stays."""

CALM = 1.0
"""Seconds of looking on before the end, for comparison."""

BEAT = 0.001
"""Seconds between heartbeats."""

CASES = (
    ("none", "ours", "as served"),
    ("plain", "ours", "as served"),
    ("async", "ours", "as served"),
    ("plain", "python", "Python's own"),
)
"""The kind of `on_session_end`, and whose garbage collection is in force."""


@dataclass(frozen=True)
class Delays:
    """Milliseconds by which something came late."""

    median: float
    p99: float
    worst: float

    @classmethod
    def of(cls, seconds: list[float]) -> Delays:
        values = sorted(value * 1000 for value in seconds)
        return cls(percentile(values, 50), percentile(values, 99), values[-1])


@dataclass(frozen=True)
class Figures:
    """What the two who looked on saw, before and during the end; how long it took; and the collector's pauses."""

    took: float
    delivered: int
    beats_before: Delays
    beats: Delays
    calls_before: Delays
    calls: Delays
    longest_collection: float


def tables(quick: bool) -> list[Table]:
    """Measure each case, in a process of its own."""
    count = QUICK_SESSIONS if quick else SESSIONS
    calm = CALM / 10 if quick else CALM
    table = Table(
        f"End of {count:,} sessions that are due at once",
        "Milliseconds by which others are late, as `before / during`: a heartbeat of 1 ms in the event loop; "
        "requests of one client. `gc` is the longest single collection.",
        ["on_session_end", "collector", "seconds", "beat p99", "beat worst", "call p50", "call p99", "call worst", "gc"],
    )
    for callback, collector, label in CASES:
        figures = in_a_process(_measure, count, callback, collector, calm)
        table.add(callback, label, f"{figures.took:.1f}", *_pairs(figures), f"{figures.longest_collection:.1f}")
    return [table]


def _pairs(figures: Figures) -> list[str]:
    beats, calls = (figures.beats_before, figures.beats), (figures.calls_before, figures.calls)
    pairs = [(beats, "p99"), (beats, "worst"), (calls, "median"), (calls, "p99"), (calls, "worst")]
    return [f"{getattr(before, name):.1f} / {getattr(during, name):.1f}" for (before, during), name in pairs]


# --- in the process that is measured ------------------------------------------------------------------


def _measure(count: int, callback: str, collector: str, calm: float) -> Figures:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        logs.configure("info", "text")  # a line for each start and end, as by default
        return asyncio.run(_end_all_at_once(count, callback, collector == "ours", calm))


async def _end_all_at_once(count: int, callback: str, our_collector: bool, calm: float) -> Figures:
    clock = FakeClock()
    settings = {"server": {"port": 0}, "session": {"identity": ["cookie"]}, "log": {"level": "info"}}
    server = Server(Settings.model_validate(settings), clock=clock)
    ended = _register(server, callback)
    server.get("/")(_hello)
    await server.start()
    collecting: AbstractAsyncContextManager[Any] = Collector(lambda: server.sessions.busy) if our_collector else nullcontext()
    async with collecting:
        await _fill(server.sessions.store, count, clock)
        url = urlsplit(server.addresses[0])
        with beside_a_process(call_until_told, url.hostname, url.port, "/") as caller:
            await _receive(caller)
            async with _heartbeat() as beats:
                await asyncio.sleep(calm)
                with _collections() as pauses:
                    begin = time.perf_counter()
                    clock.advance(IDLE_TIMEOUT)
                    await _all_ended(server, ended, count)
                    end = time.perf_counter()
            caller.send(None)
            calls = await _receive(caller)
        await server.stop()
    return _figures(begin, end, len(ended), beats, calls, pauses)


def _hello(request: Any) -> str:
    return f"session {request.session.ref}"


def _register(server: Server, callback: str) -> list[None]:
    """Register an `on_session_end` of a kind, and return the list that grows with each call."""
    ended: list[None] = []

    def plain(session: Session, reason: str) -> None:
        ended.append(None)

    async def awaiting(session: Session, reason: str) -> None:
        await asyncio.sleep(0)
        ended.append(None)

    if callback != "none":
        server.on_session_end(plain if callback == "plain" else awaiting)
    return ended


async def _fill(store: Any, count: int, clock: FakeClock) -> None:
    for record in records(count, clock.monotonic, IDLE_TIMEOUT):
        created = await store.create(record, Limits())
        await store.settle(created.event.id)


async def _all_ended(server: Server, ended: list[None], count: int) -> None:
    """Wait for the last callback; where there is none, for the ledger."""
    while sum(server.sessions.statistics.ended.values()) < count or await server.sessions.store.owed():
        await asyncio.sleep(0.01)


async def _receive(connection: Any) -> Any:
    """Wait for a message of another process without holding the event loop up."""
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(connection.fileno(), arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(connection.fileno())
    return connection.recv()


@asynccontextmanager
async def _heartbeat() -> AsyncIterator[list[Call]]:
    """Note, every millisecond, by how much the event loop was late for it."""
    beats: list[Call] = []

    async def beat() -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(BEAT)
            beats.append(Call(begin, time.perf_counter() - begin - BEAT))

    task = asyncio.create_task(beat())
    try:
        yield beats
    finally:
        task.cancel()


@contextmanager
def _collections() -> Iterator[list[float]]:
    """Note how long each run of Python's garbage collector takes, in seconds."""
    pauses: list[float] = []
    begin = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal begin
        if phase == "start":
            begin = time.perf_counter()
        else:
            pauses.append(time.perf_counter() - begin)

    gc.callbacks.append(note)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(note)


def _figures(
    begin: float, end: float, delivered: int, beats: list[Call], calls: list[Call], pauses: list[float]
) -> Figures:
    def delays(some: list[Call], during: bool) -> Delays:
        return Delays.of([call.took for call in some if (begin <= call.at + call.took and call.at <= end) == during])

    return Figures(
        took=end - begin,
        delivered=delivered,
        beats_before=delays(beats, False),
        beats=delays(beats, True),
        calls_before=delays(calls, False),
        calls=delays(calls, True),
        longest_collection=max(pauses, default=0.0) * 1000,
    )
