"""Who watches an event loop while it is busy: a task that wants to run every millisecond, and Python's collector."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

BEAT = 0.001
"""Seconds between heartbeats."""


@dataclass(frozen=True)
class Beat:
    """A heartbeat: when it was due, on `time.perf_counter`, and by how many seconds it came late.

    `busy` is what this process computed in between: unlike `late`, it leaves out what other processes took from it.
    """

    at: float
    late: float
    busy: float


@asynccontextmanager
async def heartbeat() -> AsyncIterator[list[Beat]]:
    """Note by how much the event loop is late, every millisecond."""
    beats: list[Beat] = []

    async def beat() -> None:
        while True:
            due, computed = time.perf_counter() + BEAT, time.process_time()
            await asyncio.sleep(BEAT)
            beats.append(Beat(due, time.perf_counter() - due, time.process_time() - computed))

    task = asyncio.create_task(beat())
    try:
        yield beats
    finally:
        task.cancel()


@contextmanager
def collections() -> Iterator[list[float]]:
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
