"""Slices: long work that leaves others their turn."""

from __future__ import annotations

import asyncio
import time

import pytest

from wshttp.sessions import slices
from wshttp.sessions.slices import Slices


class _Counter:
    """A performance counter that moves only when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(slices, "time", self)

    def perf_counter(self) -> float:
        return self.now


async def test_pause_returns_at_once_until_the_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a slice nobody else gets a turn; after it, everybody does."""
    counter = _Counter(monkeypatch)
    budget = Slices(0.002)
    await budget.pause()
    turns: list[str] = []
    asyncio.get_running_loop().call_soon(turns.append, "other")
    for _ in range(10):
        await budget.pause()
    assert turns == []
    counter.now += 0.002
    await budget.pause()
    assert turns == ["other"]


async def test_budget_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """All who work in one turn spend one budget, however many they are."""
    counter = _Counter(monkeypatch)
    budget = Slices(0.002)
    work: list[float] = []

    async def worker() -> None:
        for _ in range(10):
            await budget.pause()
            work.append(counter.now)
            counter.now += 0.001

    turns = 0
    workers = asyncio.gather(*(worker() for _ in range(64)))
    while not workers.done():
        before = len(work)
        await asyncio.sleep(0)
        turns += 1
        assert len(work) - before <= 2
    assert len(work) == 640
    assert turns >= 320


async def test_pause_survives_the_cancellation_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who is cancelled while waiting for the next turn takes it from nobody."""
    _Counter(monkeypatch)
    budget = Slices(0.002)
    first, second = [asyncio.create_task(budget.pause()) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 10)
    await asyncio.gather(first, return_exceptions=True)
    assert first.cancelled()


async def test_long_work_leaves_others_their_turns() -> None:
    """Real work of many slices is interrupted about as often as slices fit into it."""
    budget = Slices(0.001)
    turns = 0
    done = False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(other())
    until = time.perf_counter() + 0.05
    while time.perf_counter() < until:
        await budget.pause()
    done = True
    await watching
    assert turns >= 5
