"""The memory store: the contract, and what is its own."""

from __future__ import annotations

import random
from typing import Any

import pytest

from wshttp.sessions.changes import Changes, Scheduled
from wshttp.sessions.ids import SessionId, new_event_id, new_ref
from wshttp.sessions.record import Reason, Record, Tombstone
from wshttp.sessions.store import Created, Limits, Store
from wshttp.sessions.sweeper import SWEEP_INTERVAL
from wshttp.stores import working_set
from wshttp.stores.memory import MemoryStore
from wshttp.stores.working_set import Life
from wshttp.testing import FakeClock, StoreContract


class TestMemoryStore(StoreContract):
    """The contract holds for the memory store."""

    async def open_store(self, clock: FakeClock) -> Store:
        store = MemoryStore(clock)
        await store.open()
        return store


# --- what is its own --------------------------------------------------------------------------------


def _record(store: MemoryStore, name: str, **facts: Any) -> Record:
    now = store.now()
    return Record(
        **{
            "ref": new_ref(),
            "key": SessionId.app(name).key,
            "identity": "app",
            "remote_ip": "192.0.2.1",
            "bucket": "192.0.2.1",
            "created_at": now,
            "last_access_at": now,
            "restarted_at": now,
            "idle_timeout": 1200.0,
            "absolute_timeout": 43_200.0,
        }
        | facts
    )


async def _create(store: MemoryStore, name: str, **facts: Any) -> Created:
    created = await store.create(_record(store, name, **facts), Limits())
    assert isinstance(created, Created)
    return created


@pytest.mark.interpreted(reason="it changes a constant")
async def test_tombstones_are_bounded_in_number(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the maximum the oldest goes, however many sessions end."""
    monkeypatch.setattr(working_set, "MAX_TOMBSTONES", 10)
    store = MemoryStore(clock)
    for n in range(100):
        await store.end((await _create(store, f"s{n}")).record.ref, Reason.LOGOUT)
    found = [n for n in range(100) if await store.load(SessionId.app(f"s{n}").key, touch=False) is not None]
    assert found == list(range(90, 100))


async def test_tombstones_are_forgotten_without_being_asked_for(clock: FakeClock) -> None:
    """Their memory is freed by the calls that come by anyway, a few at a time."""
    store = MemoryStore(clock, tombstone=300)
    for n in range(100):
        await store.end((await _create(store, f"s{n}")).record.ref, Reason.LOGOUT)
    clock.advance(300)
    for _ in range(2):
        await store.take_due(64)
    assert not store._set._graves
    assert not store._set._oldest_graves


async def test_tombstone_of_a_successor_outlives_that_of_its_predecessor(clock: FakeClock) -> None:
    """An id that ended twice is remembered from the second time on."""
    store = MemoryStore(clock, tombstone=300)
    await store.end((await _create(store, "same")).record.ref, Reason.LOGOUT)
    clock.advance(200)
    second = (await _create(store, "same")).record
    await store.end(second.ref, Reason.ADMIN)
    clock.advance(200)
    await store.take_due(64)
    assert await store.load(second.key, touch=False) == Tombstone(second.ref, Reason.ADMIN)


async def test_touch_moves_nothing_in_the_calendar(clock: FakeClock) -> None:
    """It is O(1): a life stays where it was entered, and is entered again when it comes up."""
    store = MemoryStore(clock)
    lives = [(await _create(store, f"s{n}")).record for n in range(10)]
    before = [life.page for life in lives if isinstance(life, Life)]
    clock.advance(600)
    for life in lives:
        await store.load(life.key, touch=True)
    assert [life.page for life in lives if isinstance(life, Life)] == before
    clock.advance(601)
    assert not (await store.take_due(100)).ended
    assert [life.page for life in lives if isinstance(life, Life)] != before


async def test_take_due_looks_at_no_more_than_it_was_told_to(clock: FakeClock) -> None:
    """Sessions that were touched count too, so that no call holds the others up."""
    store = MemoryStore(clock)
    for n in range(100):
        await _create(store, f"s{n}")
    clock.advance(600)
    for n in range(100):
        await store.load(SessionId.app(f"s{n}").key, touch=True)
    clock.advance(601)
    answers = [await store.take_due(10) for _ in range(11)]
    assert [(len(due), due.more) for due in answers] == [(0, True)] * 10 + [(0, False)]


async def test_end_is_at_most_half_a_second_late(clock: FakeClock) -> None:
    """Looked after every quarter of a second, no session ends early, and none later than half a second."""
    store = MemoryStore(clock)
    rest = dict.fromkeys([(await _create(store, f"s{n}", idle_timeout=10 + n / 97)).record.ref for n in range(97)])
    clock.advance(0.1)
    while rest:
        clock.advance(SWEEP_INTERVAL)
        for ended in (await store.take_due(100)).ended:
            del rest[ended.record.ref]
            assert 0 <= store.now() - ended.record.deadline <= 0.5


async def test_sessions_that_came_and_went_leave_no_memory(clock: FakeClock) -> None:
    """After a great coming and going, with log-ins, events and locks, all tables are empty."""
    store = MemoryStore(clock, tombstone=0)
    for n in range(2000):
        created = await _create(store, f"s{n}", remote_ip=f"ip {n}", bucket=f"ip {n}", idle_timeout=float(n + 1))
        ref = created.record.ref
        await store.settle(created.event)
        await store.apply(ref, Changes(scheduled=[Scheduled(new_event_id(), n, "call", None)]), 0)
        if n % 2:
            key = SessionId.app(f"renewed {n}").key
            await store.renew(ref, key, Limits(), user=f"user {n}", roles=(), version="")
        await store.acquire(ref, "holder", 1)
        ended = await store.end(ref, Reason.LOGOUT)
        assert ended is not None
        await store.settle(ended.event)
        clock.advance(0.01)
    await store.take_due(100)
    assert await store.owed() == 0
    assert not any(store._set._slots.values())
    assert not any(
        [store._set._by_key, store._set._by_user._groups, store._set._by_bucket._groups, store._locks._locks]
    )
    assert not any(
        [
            store._set._graves,
            store._set._oldest_graves,
            store._set._overdue,
            store._set._ledger._by_ref,
            store._set._ledger._nobodys,
            store._set._ledger._waiting,
            store._set.answers._answers,
        ]
    )
    assert list(store._set._anonymous) == []
    assert store._set._anonymous._newest is None
    for calendar in (store._set._calendar, store._set._calls):
        assert not calendar._pages
        assert len(calendar._heap) < 200


async def test_order_of_idleness_is_that_of_the_last_touch(clock: FakeClock) -> None:
    """The list that says who goes first agrees with the times, after any number of touches, log-ins and ends."""
    store = MemoryStore(clock)
    refs = [(await _create(store, f"s{n}")).record.ref for n in range(50)]
    numbers = random.Random(3)
    for n in range(500):
        clock.advance(1)
        await store.load_ref(numbers.choice(refs), touch=True)
        if n % 25 == 0:
            await store.end(refs.pop(numbers.randrange(len(refs))), Reason.ADMIN)
            await store.renew(refs[n // 25], new_ref().encode(), Limits(), user="a", roles=(), version="")
        times = [life.last_access_at for life in store._set._anonymous]
        assert times == sorted(times)
    assert len(times) == sum(life.user is None for life in store._set._by_key.values())


async def test_waiters_that_gave_up_leave_no_memory(clock: FakeClock) -> None:
    """A lock that is never released does not collect those who waited for it in vain."""
    store = MemoryStore(clock)
    ref = (await _create(store, "s")).record.ref
    assert await store.acquire(ref, "holder", 1)
    for _ in range(20):
        assert not await store.acquire(ref, "waiter", 0)
    assert not store._locks._locks[ref].waiting


async def test_limit_in_all_is_not_kept_up_by_one_past_its_deadline(clock: FakeClock) -> None:
    """The longest idle makes room by itself, with its own reason, also where nobody is to go for another."""
    store = MemoryStore(clock)
    old = await _create(store, "old")
    clock.advance(1200)
    new = await store.create(_record(store, "new"), Limits(max_sessions=1, make_room=False))
    assert isinstance(new, Created)
    assert new.ended == []
    [ended] = (await store.take_due(10)).ended
    assert (ended.record.ref, ended.record.reason) == (old.record.ref, Reason.IDLE)


@pytest.mark.interpreted(reason="it replaces a method")
async def test_scan_of_many_of_one_address_looks_at_few(clock: FakeClock) -> None:
    """Each step costs what it returns, not what there is at the address; and each session comes once."""
    store = MemoryStore(clock)
    crowd = {(await _create(store, f"a{n}")).record.ref for n in range(3000)}
    few = {(await _create(store, f"b{n}", remote_ip="192.0.2.9", bucket="192.0.2.9")).record.ref for n in range(20)}
    looked: list[str] = []
    alive = store._set._alive

    def count(life: Life | None, now: float) -> Life | None:
        looked.append("" if life is None else life.ref)
        return alive(life, now)

    store._set._alive = count  # type: ignore[method-assign]  # to see what is looked at
    for bucket, there in (("192.0.2.1", crowd), ("192.0.2.9", few)):
        seen: list[str] = []
        cursor = ""
        while True:
            looked.clear()
            found, cursor = await store.scan(cursor, bucket=bucket, maximum=16)
            seen += [record.ref for record in found]
            assert len(looked) <= 20
            if not cursor:
                break
        assert (set(seen), len(seen)) == (there, len(there))


@pytest.mark.interpreted(reason="it replaces a method")
async def test_limit_that_is_not_reached_costs_nothing(clock: FakeClock) -> None:
    """Nobody of an address is looked at as long as there are fewer than the limit."""
    store = MemoryStore(clock)
    for n in range(50):
        await _create(store, f"s{n}", user="ada")
    store._set._living = None  # type: ignore[assignment,method-assign]  # what looks at them
    limits = Limits(max_sessions_per_user=51, max_sessions_per_ip=51)
    assert isinstance(await store.create(_record(store, "new", user="ada"), limits), Created)
