"""Waiting for a store that is away."""

from __future__ import annotations

import asyncio

import pytest

from wshttp.sessions import outage
from wshttp.sessions.outage import Outage


class Away:
    """A store of which only that is known."""

    available = False

    def __init__(self) -> None:
        self.looks = 0


class Watched(Away):
    """One that counts who looks."""

    @property
    def available(self) -> bool:  # type: ignore[override]  # a property in place of a constant
        self.looks += 1
        return self.looks > 3


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "INTERVAL", 0.001)


async def test_all_who_wait_share_one_look() -> None:
    """A thousand sockets cost the store as many looks as one."""
    store = Watched()
    waiting = Outage(store)
    async with asyncio.timeout(10):
        await asyncio.gather(*(waiting.over() for _ in range(outage.AT_ONCE)))
    assert (store.looks, len(waiting)) == (4, 0)


async def test_waiters_go_on_in_order_and_not_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who came first goes first; a store that is just back is not met by all of them in one instant."""
    monkeypatch.setattr(outage, "AT_ONCE", 2)
    store, gone, left = Away(), [], []
    waiting = Outage(store)

    async def wait(number: int) -> None:
        await waiting.over()
        gone.append(number)
        left.append(len(waiting))

    tasks = [asyncio.create_task(wait(number)) for number in range(5)]
    await asyncio.sleep(0)
    assert len(waiting) == 5
    store.available = True
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
    assert (gone, left) == ([0, 1, 2, 3, 4], [3, 3, 1, 1, 0])


async def test_waiter_that_gives_up_leaves_nothing_behind() -> None:
    """Nobody looks at the store for those who have gone."""
    waiting = Outage(Away())
    task = asyncio.create_task(waiting.over())
    await asyncio.sleep(0)
    assert len(waiting) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(waiting) == 0


async def test_moment_passes_also_where_the_store_is_there() -> None:
    """A store that answers with failures is not asked again and again in one turn of the loop."""
    store = Away()
    store.available = True
    waiting = Outage(store)
    task = asyncio.create_task(waiting.over())
    await asyncio.sleep(0)
    assert not task.done()
    await asyncio.wait_for(task, 10)
