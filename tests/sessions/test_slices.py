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


async def _turns_until(work: asyncio.Task[None], counter: _Counter, each: float = 0.0) -> int:
    """Let the loop turn until some work is done; each turn takes others so many seconds."""
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        counter.now += each
        turns += 1
        assert turns < 1000
    return turns


async def test_rest_is_long_enough_for_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a slice several turns belong to others, so that a request does not wait for a slice in each of its own."""
    counter = _Counter(monkeypatch)
    budget = Slices(0.001)
    await budget.pause()
    counter.now += 0.001
    assert await _turns_until(asyncio.create_task(budget.pause()), counter) >= slices.REST


async def test_rest_ends_where_others_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns that take longer than a slice neither keep background work waiting for all of them, nor from ever going on."""
    counter = _Counter(monkeypatch)
    budget = Slices(0.001)
    await budget.pause()
    counter.now += 0.001
    resting = asyncio.create_task(budget.pause())
    assert await _turns_until(resting, counter, each=slices.LONGEST_REST / 2) < slices.REST


async def test_who_waits_longest_goes_on_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that fills a slice goes round among all who have some; nobody is left out."""
    counter = _Counter(monkeypatch)
    budget = Slices(0.001)
    order: list[int] = []

    async def worker(number: int) -> None:
        for _ in range(3):
            await budget.pause()
            order.append(number)
            counter.now += 0.001

    await asyncio.wait_for(asyncio.gather(*(worker(number) for number in range(5))), 10)
    assert order[:5] == [0, 1, 2, 3, 4]
    assert sorted(order) == sorted([*range(5)] * 3)
    assert all(sorted(order[n : n + 5]) == [*range(5)] for n in (0, 5, 10))
