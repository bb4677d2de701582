"""The ledger: deliveries in order, for many sessions at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from wshttp.sessions.callbacks import Callbacks, current_event
from wshttp.sessions.ledger import AT_ONCE, Ledger
from wshttp.sessions.record import Event
from wshttp.sessions.slices import Slices

_context: ContextVar[str] = ContextVar("context", default="its own")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Slices())


class _Deliveries:
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


async def test_deliveries_of_one_session_run_in_order(ledger: Ledger) -> None:
    """One after the other, as they came; another session's run meanwhile."""
    deliveries = _Deliveries()
    for name in ("a1", "a2", "b1", "a3"):
        ledger.deliver(name[0], deliveries.make(name))
    await _turns()
    assert deliveries.log == ["a1+", "b1+"]
    deliveries.go_on.set()
    assert await ledger.settled(10)
    assert [entry for entry in deliveries.log if entry[0] == "a"] == ["a1+", "a1-", "a2+", "a2-", "a3+", "a3-"]
    assert not ledger.refs


async def test_as_many_sessions_at_once_as_allowed(ledger: Ledger) -> None:
    """64 at a time, and all in the end."""
    deliveries = _Deliveries()
    for n in range(3 * AT_ONCE):
        ledger.deliver(f"s{n}", deliveries.make(f"s{n}"))
    await _turns()
    assert deliveries.running == deliveries.most == AT_ONCE == 64
    assert len(ledger.refs) == 3 * AT_ONCE
    deliveries.go_on.set()
    assert await ledger.settled(10)
    assert deliveries.most == AT_ONCE
    assert len(deliveries.log) == 6 * AT_ONCE


async def test_delivery_that_raises_holds_up_nobody(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the next of that session runs."""
    deliveries = _Deliveries()

    async def fail() -> None:
        raise ZeroDivisionError

    done = ledger.deliver("a", fail)
    ledger.deliver("a", deliveries.make("a2", wait=False))
    assert await ledger.settled(10)
    assert done.done()
    assert deliveries.log == ["a2+", "a2-"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_future_is_done_when_the_delivery_has_run(ledger: Ledger) -> None:
    """Each delivery has its own."""
    deliveries = _Deliveries()
    first = ledger.deliver("a", deliveries.make("a1", wait=False))
    second = ledger.deliver("a", deliveries.make("a2"))
    await asyncio.wait_for(asyncio.shield(first), 10)
    assert not second.done()
    deliveries.go_on.set()
    await asyncio.wait_for(asyncio.shield(second), 10)
    assert deliveries.log[-1] == "a2-"


async def test_delivery_that_waits_for_something_else_holds_no_worker(ledger: Ledger) -> None:
    """It is owed meanwhile, and keeps its place among those of its session; all others run."""
    deliveries, loop = _Deliveries(), asyncio.get_running_loop()
    gates: list[asyncio.Future[None]] = [loop.create_future() for _ in range(2 * AT_ONCE)]
    for n, gate in enumerate(gates):
        ledger.deliver(f"s{n}", deliveries.make(f"s{n}.1", wait=False), after=gate)
        ledger.deliver(f"s{n}", deliveries.make(f"s{n}.2", wait=False))
    await asyncio.wait_for(ledger.deliver("other", deliveries.make("other", wait=False)), 10)
    assert deliveries.log == ["other+", "other-"]
    assert not await ledger.settled(0)
    assert {f"s{n}" for n in range(len(gates))} <= ledger.refs
    for gate in gates:
        gate.cancel()  # however that came out
    assert await ledger.settled(10)
    assert [entry for entry in deliveries.log if entry.startswith("s7.")] == ["s7.1+", "s7.1-", "s7.2+", "s7.2-"]


async def test_delivery_behind_another_waits_for_what_it_needs(ledger: Ledger) -> None:
    """Also where its turn came before that was there."""
    deliveries = _Deliveries()
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await asyncio.wait_for(ledger.deliver("a", deliveries.make("a1", wait=False)), 10)
    ledger.deliver("a", deliveries.make("a2", wait=False))
    ledger.deliver("a", deliveries.make("a3", wait=False), after=gate)
    await _turns()
    assert deliveries.log[-1] == "a2-"
    gate.set_result(None)
    assert await ledger.settled(10)
    assert deliveries.log[-1] == "a3-"


async def test_ledger_that_stops_forgets_what_waits(ledger: Ledger) -> None:
    """What a delivery waited for may come later; it does not run any more."""
    deliveries = _Deliveries()
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done = ledger.deliver("a", deliveries.make("a"), after=gate)
    await ledger.stop()
    gate.set_result(None)
    await _turns()
    assert done.done()
    assert deliveries.log == []


async def test_deliveries_run_in_a_context_of_their_own(ledger: Ledger) -> None:
    """Nothing of the request that caused them is seen in them."""
    seen: list[str] = []

    async def look() -> None:
        seen.append(_context.get())

    _context.set("of a request")
    ledger.deliver("a", look)
    await ledger.settled(10)
    assert seen == ["its own"]


async def test_delivery_in_the_instant_in_which_all_workers_finish() -> None:
    """None is forgotten because it was left to somebody who had just gone."""
    slices = Slices(1000)
    await slices.pause()  # from here on none is needed, so that all finish in one turn
    ledger, deliveries = Ledger(slices), _Deliveries()
    for n in range(AT_ONCE):
        ledger.deliver(f"s{n}", deliveries.make(f"s{n}"))
    await _turns()
    late: list[asyncio.Future[None]] = []
    deliveries.go_on.set()  # wakes all workers in the next turn, and after them:
    asyncio.get_running_loop().call_soon(lambda: late.append(ledger.deliver("late", deliveries.make("late"))))
    await _turns()
    await asyncio.wait_for(late[0], 10)
    assert deliveries.log[-1] == "late-"


async def test_delivery_from_within_a_callback_finds_a_worker(ledger: Ledger) -> None:
    """Where all workers are busy with callbacks that wait for others' starts, those get workers nevertheless."""
    callbacks = Callbacks()
    innermost: list[int] = []

    async def nest(depth: int) -> None:
        assert current_event() is not None
        if depth == 0:
            innermost.append(1)
            return
        await asyncio.shield(ledger.deliver(f"{id(object())} {len(ledger.refs)} {depth}", lambda: call(depth - 1)))

    async def call(depth: int) -> None:
        await callbacks.call(nest, Event("id", "start", "ref"), depth)

    for n in range(AT_ONCE):
        ledger.deliver(f"outer {n}", lambda: call(3))
    assert await ledger.settled(10)
    assert len(innermost) == AT_ONCE


async def test_settled_tells_what_is_left(ledger: Ledger) -> None:
    """It waits no longer than it was told to, and is true at once where nothing is owed."""
    deliveries = _Deliveries()
    assert await ledger.settled(0)
    ledger.deliver("a", deliveries.make("a"))
    assert not await ledger.settled(0.01)
    assert ledger.refs == {"a"}
    deliveries.go_on.set()
    assert await ledger.settled()


async def test_stop_gives_up_what_is_left(ledger: Ledger) -> None:
    """What runs is cancelled, what waits never runs, and nobody waits for it for ever; the ledger may go on."""
    deliveries = _Deliveries()
    futures = [ledger.deliver(f"s{n % 100}", deliveries.make(f"s{n}")) for n in range(200)]
    await _turns()
    await ledger.stop()
    assert await ledger.settled(0)
    await asyncio.wait_for(asyncio.gather(*futures), 10)
    assert len(deliveries.log) == AT_ONCE
    deliveries.go_on.set()
    ledger.deliver("a", deliveries.make("again"))
    assert await ledger.settled(10)
    assert deliveries.log[-1] == "again-"
    await ledger.stop()


async def test_room_is_waited_for_while_there_is_a_backlog(ledger: Ledger) -> None:
    """Who brings many deliveries is held up by those that are left, and goes on when they are fewer or given up."""
    deliveries = _Deliveries()
    for n in range(3):
        await asyncio.wait_for(ledger.room(3), 10)
        ledger.deliver(f"s{n}", deliveries.make(f"s{n}"))
    for end in (deliveries.go_on.set, ledger.stop):
        waiting = asyncio.create_task(ledger.room(3))
        await _turns()
        assert not waiting.done()
        if (stopping := end()) is not None:
            await stopping
        await asyncio.wait_for(waiting, 10)
        await ledger.settled(10)
        deliveries.go_on.clear()
        for n in range(3):
            ledger.deliver(f"t{n}", deliveries.make(f"t{n}"))
    await ledger.stop()
