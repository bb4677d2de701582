"""Deliveries in order, for many sessions at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from wshttp.sessions.callbacks import Callbacks, current_event
from wshttp.sessions.deliveries import AT_ONCE, Deliveries
from wshttp.sessions.record import Event
from wshttp.sessions.slices import Slices

_context: ContextVar[str] = ContextVar("context", default="its own")


@pytest.fixture
def queue() -> Deliveries:
    return Deliveries(Slices())


class _Recorded:
    """Deliveries that wait until they are let go."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.go_on = asyncio.Event()
        self.running = 0
        self.most = 0

    def make(self, name: str, *, wait: bool = True) -> Callable[[], Awaitable[None]]:
        async def deliver() -> None:
            self.log.append(f"{name}+")
            self.running += 1
            self.most = max(self.most, self.running)
            if wait:
                await self.go_on.wait()
            self.running -= 1
            self.log.append(f"{name}-")

        return deliver


async def _turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_deliveries_of_one_session_run_in_order(queue: Deliveries) -> None:
    """One after the other, as they came; another session's run meanwhile."""
    deliveries = _Recorded()
    for name in ("a1", "a2", "b1", "a3"):
        queue.deliver(name[0], deliveries.make(name))
    await _turns()
    assert deliveries.log == ["a1+", "b1+"]
    deliveries.go_on.set()
    assert await queue.settled(10)
    assert [entry for entry in deliveries.log if entry[0] == "a"] == ["a1+", "a1-", "a2+", "a2-", "a3+", "a3-"]
    assert not queue.refs


async def test_as_many_sessions_at_once_as_allowed(queue: Deliveries) -> None:
    """64 at a time, and all in the end."""
    deliveries = _Recorded()
    for n in range(3 * AT_ONCE):
        queue.deliver(f"s{n}", deliveries.make(f"s{n}"))
    await _turns()
    assert deliveries.running == deliveries.most == AT_ONCE == 64
    assert len(queue.refs) == 3 * AT_ONCE
    deliveries.go_on.set()
    assert await queue.settled(10)
    assert deliveries.most == AT_ONCE
    assert len(deliveries.log) == 6 * AT_ONCE


async def test_delivery_that_raises_holds_up_nobody(queue: Deliveries, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next of that session runs."""
    deliveries = _Recorded()

    async def fail() -> None:
        raise ZeroDivisionError

    done = queue.deliver("a", fail)
    queue.deliver("a", deliveries.make("a2", wait=False))
    assert await queue.settled(10)
    assert done.done()
    assert deliveries.log == ["a2+", "a2-"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_future_is_done_when_the_delivery_has_run(queue: Deliveries) -> None:
    """Each delivery has its own."""
    deliveries = _Recorded()
    first = queue.deliver("a", deliveries.make("a1", wait=False))
    second = queue.deliver("a", deliveries.make("a2"))
    await asyncio.wait_for(asyncio.shield(first), 10)
    assert not second.done()
    deliveries.go_on.set()
    await asyncio.wait_for(asyncio.shield(second), 10)
    assert deliveries.log[-1] == "a2-"


async def test_delivery_that_waits_for_something_else_holds_no_worker(queue: Deliveries) -> None:
    """It is owed meanwhile, and keeps its place among those of its session; all others run."""
    deliveries, loop = _Recorded(), asyncio.get_running_loop()
    gates: list[asyncio.Future[None]] = [loop.create_future() for _ in range(2 * AT_ONCE)]
    for n, gate in enumerate(gates):
        queue.deliver(f"s{n}", deliveries.make(f"s{n}.1", wait=False), after=gate)
        queue.deliver(f"s{n}", deliveries.make(f"s{n}.2", wait=False))
    await asyncio.wait_for(queue.deliver("other", deliveries.make("other", wait=False)), 10)
    assert deliveries.log == ["other+", "other-"]
    assert not await queue.settled(0)
    assert {f"s{n}" for n in range(len(gates))} <= queue.refs
    for gate in gates:
        gate.cancel()  # however that came out
    assert await queue.settled(10)
    assert [entry for entry in deliveries.log if entry.startswith("s7.")] == ["s7.1+", "s7.1-", "s7.2+", "s7.2-"]


async def test_delivery_behind_another_waits_for_what_it_needs(queue: Deliveries) -> None:
    """Also where its turn came before that was there."""
    deliveries = _Recorded()
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait_for(queue.deliver("a", deliveries.make("a1", wait=False)), 10)
    queue.deliver("a", deliveries.make("a2", wait=False))
    queue.deliver("a", deliveries.make("a3", wait=False), after=gate)
    await _turns()
    assert deliveries.log[-1] == "a2-"
    gate.set_result(None)
    assert await queue.settled(10)
    assert deliveries.log[-1] == "a3-"


async def test_queue_that_stops_forgets_what_waits(queue: Deliveries) -> None:
    """What a delivery waited for may come later; it does not run any more."""
    deliveries = _Recorded()
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done = queue.deliver("a", deliveries.make("a"), after=gate)
    await queue.stop()
    gate.set_result(None)
    await _turns()
    assert done.done()
    assert deliveries.log == []


async def test_deliveries_run_in_a_context_of_their_own(queue: Deliveries) -> None:
    """Nothing of the request that caused them is seen in them."""
    seen: list[str] = []

    async def look() -> None:
        seen.append(_context.get())

    _context.set("of a request")
    queue.deliver("a", look)
    await queue.settled(10)
    assert seen == ["its own"]


async def test_delivery_in_the_instant_in_which_all_workers_finish() -> None:
    """None is forgotten because it was left to somebody who had just gone."""
    slices = Slices(1000)
    await slices.pause()  # from here on none is needed, so that all finish in one turn
    queue, deliveries = Deliveries(slices), _Recorded()
    for n in range(AT_ONCE):
        queue.deliver(f"s{n}", deliveries.make(f"s{n}"))
    await _turns()
    late: list[asyncio.Future[None]] = []
    deliveries.go_on.set()  # wakes all workers in the next turn, and after them:
    asyncio.get_running_loop().call_soon(lambda: late.append(queue.deliver("late", deliveries.make("late"))))
    await _turns()
    await asyncio.wait_for(late[0], 10)
    assert deliveries.log[-1] == "late-"


async def test_delivery_from_within_a_callback_finds_a_worker(queue: Deliveries) -> None:
    """Where all workers are busy with callbacks that wait for others' starts, those get workers nevertheless."""
    callbacks = Callbacks()
    innermost: list[int] = []

    async def nest(depth: int) -> None:
        assert current_event() is not None
        if depth == 0:
            innermost.append(1)
            return
        await asyncio.shield(queue.deliver(f"{id(object())} {len(queue.refs)} {depth}", lambda: call(depth - 1)))

    async def call(depth: int) -> None:
        await callbacks.call(nest, Event("id", "start", "ref"), depth)

    for n in range(AT_ONCE):
        queue.deliver(f"outer {n}", lambda: call(3))
    assert await queue.settled(10)
    assert len(innermost) == AT_ONCE


async def test_settled_tells_what_is_left(queue: Deliveries) -> None:
    """It waits no longer than it was told to, and is true at once where nothing is owed."""
    deliveries = _Recorded()
    assert await queue.settled(0)
    queue.deliver("a", deliveries.make("a"))
    assert not await queue.settled(0.01)
    assert queue.refs == {"a"}
    deliveries.go_on.set()
    assert await queue.settled()


async def test_stop_gives_up_what_is_left(queue: Deliveries) -> None:
    """What runs is cancelled, what waits never runs, and nobody waits for it for ever; it may go on."""
    deliveries = _Recorded()
    futures = [queue.deliver(f"s{n % 100}", deliveries.make(f"s{n}")) for n in range(200)]
    await _turns()
    await queue.stop()
    assert await queue.settled(0)
    await asyncio.wait_for(asyncio.gather(*futures), 10)
    assert len(deliveries.log) == AT_ONCE
    deliveries.go_on.set()
    queue.deliver("a", deliveries.make("again"))
    assert await queue.settled(10)
    assert deliveries.log[-1] == "again-"
    await queue.stop()


async def test_room_is_waited_for_while_there_is_a_backlog(queue: Deliveries) -> None:
    """Who brings many deliveries is held up by those that are left, and goes on when they are fewer or given up."""
    deliveries = _Recorded()
    for n in range(3):
        await asyncio.wait_for(queue.room(3), 10)
        queue.deliver(f"s{n}", deliveries.make(f"s{n}"))
    for end in (deliveries.go_on.set, queue.stop):
        waiting = asyncio.create_task(queue.room(3))
        await _turns()
        assert not waiting.done()
        if (stopping := end()) is not None:
            await stopping
        await asyncio.wait_for(waiting, 10)
        await queue.settled(10)
        deliveries.go_on.clear()
        for n in range(3):
            queue.deliver(f"t{n}", deliveries.make(f"t{n}"))
    await queue.stop()
