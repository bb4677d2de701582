"""What the SQLite store finds in its file: after a kill, a close, a calendar that was set, and when it is opened again."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from disks import Disk
from sqlite_stores import create, killed, opened, record, until

from wshttp.errors import StoreUnavailable
from wshttp.sessions.changes import Changes, Scheduled
from wshttp.sessions.ids import SessionId, new_event_id
from wshttp.sessions.record import Reason, Tombstone
from wshttp.sessions.store import Created, Limits
from wshttp.stores.sqlite import SqliteStore
from wshttp.testing import FakeClock


def rows(path: Path, table: str) -> int:
    database = sqlite3.connect(path)
    count = database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    database.close()
    return int(count)


# --- time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("correction", [3600.0, -3600.0, 86_400.0 * 365, -86_400.0 * 365])
@pytest.mark.parametrize("end", ["close", "kill", "idle kill"])
async def test_calendar_that_is_put_right_while_it_runs_costs_nobody_anything(
    correction: float, end: str, tmp_path: Path, clock: FakeClock
) -> None:
    """After a restart a session is as old as it is, however wrong the calendar was when it began; and time goes on."""
    path = tmp_path / "a.db"
    clock.jump(-correction)
    async with opened(path, clock) as store:
        used = (await create(store, "used", idle_timeout=100.0)).record
        clock.advance(5)
        clock.jump(correction)
        if end == "idle kill":
            assert not await store.take_due(10)
            await store._journal.drain()
        else:
            await store.increment(used.ref, "n", 1, 0)
        before = store.now()
        if end != "close":
            path = killed(path, "b.db")
    clock.advance(60)
    async with opened(path, clock) as store:
        assert store.now() - before == pytest.approx(60)
        assert await store.load_ref(used.ref, touch=False) is not None
        clock.advance(60)
        assert await store.load_ref(used.ref, touch=False) is None


async def test_file_of_a_version_that_did_not_note_the_calendar(tmp_path: Path, clock: FakeClock) -> None:
    """Its time is taken for that of the calendar."""
    async with opened(tmp_path / "a.db", clock) as store:
        before = store.now()
    database = sqlite3.connect(tmp_path / "a.db")
    with database:
        database.execute("DELETE FROM meta WHERE name = 'wall_at'")
    database.close()
    clock.advance(60)
    async with opened(tmp_path / "a.db", clock) as store:
        assert store.now() - before == pytest.approx(60)


async def test_last_access_is_that_of_the_file_after_each_kill(tmp_path: Path, clock: FakeClock) -> None:
    """What a kill gives on top is not counted as an access: kill after kill keeps nobody alive for longer."""
    path = tmp_path / "0.db"
    async with opened(path, clock) as store:
        ref = (await create(store, idle_timeout=100.0)).record.ref
        path = killed(path, "1.db")
    for number in range(2, 8):
        clock.advance(20)
        async with opened(path, clock) as store:
            assert (await store.load_ref(ref, touch=False) is not None) is (number < 7)
            path = killed(path, f"{number}.db")


async def test_what_a_kill_gives_on_top_stays_given(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written down at the close; and it is no touch that would have to be written sooner."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        ref = (await create(store, idle_timeout=100.0)).record.ref
        clock.advance(4)
        await store.load_ref(ref, touch=True)  # is not written: it comes too soon
        path = killed(path, "b.db")
    async with opened(path, clock) as store:
        disk = Disk(store, monkeypatch)
        await store.load_ref(ref, touch=True)
        await store._journal.drain()
        assert not disk.batches
    clock.advance(99)
    async with opened(path, clock) as store:
        assert await store.load_ref(ref, touch=False) is not None
        clock.advance(1)
        assert await store.load_ref(ref, touch=False) is None


# --- sessions, and what is owed -----------------------------------------------------------------------


async def test_longest_idle_is_still_that_after_a_kill(tmp_path: Path, clock: FakeClock) -> None:
    """Also where what a kill gives on top makes another order than that of the file."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        quick = (await create(store, "quick", idle_timeout=20.0)).record
        clock.advance(5)
        slow = (await create(store, "slow", idle_timeout=1200.0)).record
        clock.advance(0.5)
        await store.load_ref(quick.ref, touch=True)
        path = killed(path, "b.db")
    clock.advance(7)
    async with opened(path, clock) as store:
        accesses = {}
        for ref in (quick.ref, slow.ref):
            found = await store.load_ref(ref, touch=False)
            assert found is not None
            accesses[ref] = found.last_access_at
        newest = await store.create(record(store, "new"), Limits(max_sessions=2))
        assert isinstance(newest, Created)
        assert [one.event.ref for one in newest.ended] == [min(accesses, key=lambda ref: accesses[ref])]


async def test_last_access_of_an_ended_session_is_kept(tmp_path: Path, clock: FakeClock) -> None:
    """Its end callback, delivered after a kill, sees when it was last used."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        created = await create(store)
        await store.settle(created.event)
        clock.advance(5)
        await store.load_ref(created.record.ref, touch=True)
        accessed = store.now()
        clock.advance(5)
        await store.end(created.record.ref, Reason.LOGOUT)
        async with opened(killed(path, "b.db"), clock) as again:
            [owed] = (await again.take_due(10)).owed
            assert owed.record.last_access_at == accessed


async def test_scheduled_event_of_an_ended_session_is_not_handed_out(tmp_path: Path, clock: FakeClock) -> None:
    """Nobody would run it; when the end is settled, no row is left of either."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        created = await create(store, data={"a": 1})
        await store.settle(created.event)
        await store.apply(created.record.ref, Changes(scheduled=[Scheduled(new_event_id(), 1, "call", None)]), 0)
        clock.advance(2)
        assert len((await store.take_due(10)).scheduled) == 1
        ended = await store.end(created.record.ref, Reason.LOGOUT)
        assert ended is not None
        with_end = killed(path, "b.db")
        await store.settle(ended.event)
        without_end = killed(path, "c.db")
    async with opened(with_end, clock) as again:
        owed = (await again.take_due(10)).owed
        assert [one.event.kind for one in owed] == ["end"]
        await again.settle(owed[0].event)
    async with opened(without_end, clock) as again:
        assert not (await again.take_due(10)).owed
    for found in (with_end, without_end):
        assert [rows(found, table) for table in ("session", "data", "event")] == [0, 0, 0]


async def test_last_data_stays_until_all_that_is_owed_is_settled(tmp_path: Path, clock: FakeClock) -> None:
    """Whatever is settled first: a start is not dropped because the end was settled before it."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        created = await create(store, data={"a": 1})
        ended = await store.end(created.record.ref, Reason.LOGOUT)
        assert ended is not None
        await store.settle(ended.event)
        async with opened(killed(path, "b.db"), clock) as again:
            [owed] = (await again.take_due(10)).owed
            assert (owed.event.kind, owed.record.data) == ("start", {"a": 1})
            await again.settle(owed.event)
        assert [rows(tmp_path / "b.db", table) for table in ("session", "data", "event")] == [0, 0, 0]


async def test_record_of_an_owed_start_is_the_live_one(tmp_path: Path, clock: FakeClock) -> None:
    """It says what has become of the session since."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        created = await create(store)
        async with opened(killed(path, "b.db"), clock) as again:
            await again.apply(created.record.ref, Changes({"later": 1}), 0)
            [owed] = (await again.take_due(10)).owed
            assert (owed.record.data, owed.record.starting) == ({"later": 1}, True)


async def test_ledger_keeps_its_order_through_attempts(tmp_path: Path, clock: FakeClock) -> None:
    """A start that was handed out again is still before the end."""
    path = tmp_path / "0.db"
    async with opened(path, clock) as store:
        created = await create(store)
        assert await store.end(created.record.ref, Reason.LOGOUT) is not None
        path = killed(path, "1.db")
    for number in range(2, 4):
        async with opened(path, clock) as store:
            first = await store.take_due(1)  # the start alone
            assert [(one.event.kind, one.event.attempt) for one in first.owed] == [("start", number)]
            path = killed(path, f"{number}.db")
    async with opened(path, clock) as store:
        assert [one.event.kind for one in (await store.take_due(10)).owed] == ["start", "end"]


async def test_old_tombstones_are_cleared_in_their_order(tmp_path: Path, clock: FakeClock) -> None:
    """Those that ran out while no process ran are gone from the file; of the others, none goes early or stays."""
    path = tmp_path / "a.db"
    async with opened(path, clock, tombstone=100.0) as store:
        for number in range(4):
            created = await create(store, f"s{number}")
            ended = await store.end(created.record.ref, Reason.LOGOUT)
            assert ended is not None
            for event in (created.event, ended.event):
                await store.settle(event)
            clock.advance(30)
    clock.advance(0.5)
    async with opened(path, clock, tombstone=100.0) as store:
        found = [await store.load(SessionId.app(f"s{number}").key, touch=False) for number in range(4)]
        assert [isinstance(one, Tombstone) for one in found] == [False, True, True, True]
        clock.advance(30)
        await store.take_due(10)
        assert len(store._set._graves) == len(store._set._oldest_graves) == 2
        killed(path, "b.db")
    assert rows(tmp_path / "b.db", "tombstone") == 3
    async with opened(path, clock, tombstone=100.0):
        pass
    assert rows(path, "tombstone") == 2


# --- opened again -------------------------------------------------------------------------------------


async def test_store_that_is_opened_again_makes_newer_copies(tmp_path: Path, clock: FakeClock) -> None:
    """Whoever has kept one from before can tell that it is out of date; and nobody is delivering anything any more."""
    store = SqliteStore(str(tmp_path / "a.db"), clock, timeout=20)
    await store.open()
    created = await create(store)
    for _ in range(20):
        before = await store.apply(created.record.ref, Changes({"a": 1}), 0)
    await store.close()
    await store.open()
    found = await store.load_ref(created.record.ref, touch=False)
    assert found is not None
    assert found.revision > before.revision
    owed = (await store.take_due(10)).owed
    assert [(one.event.id, one.event.attempt) for one in owed] == [(created.event.id, 2)]
    await store.close()


async def test_ends_that_wait_for_a_start_wait_through_a_failure(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The working set that is made anew hands them out when the start is settled, as their first attempt."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        created = await create(store)
        path = killed(path, "b.db")
    async with opened(path, clock) as store:
        ended = await store.end(created.record.ref, Reason.LOGOUT)
        assert ended is not None
        assert ended.elsewhere
        [start] = (await store.take_due(10)).owed
        disk = Disk(store, monkeypatch)
        disk.fails = True
        with pytest.raises(StoreUnavailable):
            await store.settle(start.event)
        disk.fails = False
        await until(lambda: store.available)
        assert not (await store.take_due(10)).owed
        await store.settle(start.event)
        assert [one.event for one in (await store.take_due(10)).owed] == [ended.event]


async def test_end_that_waits_and_whose_caller_did_not_hear_of_it(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It still waits, and is delivered as a whole then: nobody has closed a socket for it."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        created = await create(store)
        path = killed(path, "b.db")
    async with opened(path, clock) as store:
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        ending: asyncio.Task[Any] = asyncio.create_task(store.end(created.record.ref, Reason.LOGOUT))
        await until(lambda: len(disk.batches) == 1)
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
        disk.go.set()
        await store._journal.drain()
        [start] = (await store.take_due(10)).owed
        assert (start.event.kind, start.event.attempt) == ("start", 2)
        await store.settle(start.event)
        [end] = (await store.take_due(10)).owed
        assert (end.event.kind, end.event.attempt) == ("end", 2)
