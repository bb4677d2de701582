"""The SQLite store on a disk that is slow, hangs or fails: who waits for what, and what becomes of what nobody heard of."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from disks import Disk
from sqlite_stores import create, killed, opened, record, until

from wshttp.errors import StoreUnavailable
from wshttp.sessions.changes import Changes, Scheduled
from wshttp.sessions.ids import SessionId, new_event_id
from wshttp.sessions.record import Reason, Record
from wshttp.sessions.store import Created, Exists, Full, Limits, Renewed
from wshttp.stores.sqlite import SqliteStore
from wshttp.testing import FakeClock


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# --- nobody waits without need, nobody hears too early ------------------------------------------------


async def test_tombstone_that_has_run_out_keeps_nobody_waiting(tmp_path: Path, clock: FakeClock) -> None:
    """It goes with the next batch, whenever that is; who looks around does not wait for one."""
    async with opened(tmp_path / "a.db", clock) as store:
        created = await create(store)
        ended = await store.end(created.record.ref, Reason.LOGOUT)
        assert ended is not None
        for event in (created.event, ended.event):
            await store.settle(event)
        clock.advance(301)
        assert not await store.take_due(10)
        assert await asyncio.wait_for(store.scan(), 10) == ([], "")
        assert await asyncio.wait_for(store.count(), 10) == 0


@pytest.mark.parametrize("outcome", ["written", "failed"])
async def test_nobody_is_told_what_is_not_on_disk(
    outcome: str, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that a session is there, nor that it is gone, how many there are, what is owed, or that a limit is reached."""
    async with opened(tmp_path / "a.db", clock, tombstone=0.0) as store:
        gone = (await create(store, "gone")).record
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        disk.fails = outcome == "failed"
        writes = [
            asyncio.create_task(call)
            for call in (store.create(record(store, "new"), Limits()), store.end(gone.ref, Reason.LOGOUT))
        ]
        await until(lambda: len(disk.batches) == 1)
        calls = (
            store.create(record(store, "new"), Limits()),
            store.create(record(store, "other"), Limits(max_sessions=1, make_room=False)),
            store.load(gone.key, touch=False),
            store.load_ref(gone.ref, touch=False),
            store.count(),
            store.owed(),
        )
        reads = [asyncio.create_task(call) for call in calls]
        await turns()
        assert not any(task.done() for task in (*writes, *reads))
        disk.go.set()
        heard = await asyncio.gather(*reads, return_exceptions=True)
        if outcome == "failed":
            assert {type(one) for one in heard} == {StoreUnavailable}
            disk.fails = False
        else:
            assert isinstance(heard[0], Exists)
            assert heard[1:] == [Full("session.max_sessions", 1), None, None, 1, 3]
        await asyncio.gather(*writes, return_exceptions=True)


async def test_who_reads_waits_for_the_last_batch_with_what_is_read(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for the first of two."""
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        first = asyncio.create_task(store.increment(ref, "n", 1, 0))
        await until(lambda: len(disk.batches) == 1)
        second = asyncio.create_task(store.increment(ref, "n", 1, 0))
        await turns()
        found = asyncio.create_task(store.load_ref(ref, touch=False))
        await turns()
        write = disk._write

        def fail(statements: Any) -> None:
            write(statements)
            disk.fails = True  # from the next one on

        disk._write = fail
        disk.go.set()
        assert await first == 1
        for task in (second, found):
            with pytest.raises(StoreUnavailable):
                await task
        disk.fails = False
        disk._write = write
        await until(lambda: store.available)


async def test_copies_are_of_the_moment_of_the_call(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And share nothing: what one does to theirs, or what happens while they wait for the disk, nobody sees in it."""
    async with opened(tmp_path / "a.db", clock, warn_before=60.0) as store:
        given = record(store, "warned", data={"a": 1})
        created = await store.create(given, Limits())
        assert isinstance(created, Created)
        given.data["mine"] = created.record.data["mine"] = 1
        found = await store.load_ref(given.ref, touch=False)
        assert found is not None
        assert found.data == {"a": 1}
        await create(store, "over", idle_timeout=1150.0)
        clock.advance(1160)
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        taking = asyncio.create_task(store.take_due(10))
        await until(lambda: len(disk.batches) == 1)
        writing = asyncio.create_task(store.apply(given.ref, Changes({"a": 2}), 0))
        await turns()
        disk.go.set()
        assert [one.data for one in (await taking).expiring] == [{"a": 1}]
        assert (await writing).data == {"a": 2}


# --- what nobody heard of -----------------------------------------------------------------------------


async def test_what_a_caller_did_not_hear_is_owed_to_others(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each call that gives entries: those of who had to go for another, of what was scheduled, of what was handed out."""
    async with opened(tmp_path / "a.db", clock) as store:
        made = {name: await create(store, name) for name in ("replaced", "kept", "called")}
        refs = {name: created.record.ref for name, created in made.items()}
        users = [await create(store, name, user="ada") for name in ("first", "second")]
        call = Scheduled(new_event_id(), 10, "call", None)
        await store.apply(refs["called"], Changes(scheduled=[call]), 0)
        for created in (*made.values(), *users):
            await store.settle(created.event)
        clock.advance(11)
        disk = Disk(store, monkeypatch)
        calls = (
            store.create(record(store, "replaced"), Limits(), replace=True),
            store.renew(
                refs["kept"], b"key", Limits(max_sessions_per_user=2), user="ada", roles=(), version="", token="t"
            ),
            store.take_due(10),
        )
        for attempt in (2, 3):
            disk.go.clear()
            disk.batches.clear()
            tasks = [asyncio.create_task(one) for one in (calls if attempt == 2 else (store.take_due(10),))]
            await until(lambda: len(disk.batches) == 1)
            for task in tasks:
                task.cancel()
            assert {type(one) for one in await asyncio.gather(*tasks, return_exceptions=True)} == {
                asyncio.CancelledError
            }
            disk.go.set()
            await store._journal.drain()
        due = await store.take_due(10)
        assert not due.ended
        assert sorted(
            (one.event.kind, one.event.reason, one.event.attempt) for one in due.owed if one.event.reason
        ) == [
            ("end", Reason.LIMIT, 3),
            ("end", Reason.REPLACED, 3),
        ]
        assert sorted((one.event.kind, one.event.attempt) for one in due.owed if not one.event.reason) == [
            ("scheduled", 3),
            ("start", 3),
        ]
        assert not (await store.take_due(10)).owed


async def test_entries_of_one_session_are_handed_out_in_their_order(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives up first: the end of a session never comes before its start."""
    async with opened(tmp_path / "a.db", clock) as store:
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        store._journal.put("another", ("SELECT 1", ()))
        await until(lambda: len(disk.batches) == 1)
        old, new = record(store), record(store)
        one = asyncio.create_task(store.create(old, Limits()))
        await turns()
        other = asyncio.create_task(store.create(new, Limits(), replace=True))
        await turns()
        for task in (other, one):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        disk.go.set()
        await store._journal.drain()
        owed = (await store.take_due(10)).owed
        assert [(each.event.kind, each.event.ref, each.event.attempt) for each in owed] == [
            ("start", old.ref, 2),
            ("start", new.ref, 2),
        ]
        await store.settle(owed[0].event)
        [end] = (await store.take_due(10)).owed
        assert (end.event.kind, end.event.ref, end.event.attempt) == ("end", old.ref, 2)


async def test_entry_that_was_settled_meanwhile_is_not_handed_out(tmp_path: Path, clock: FakeClock) -> None:
    """Nobody delivers what has been delivered."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        created = await create(store)
        async with opened(killed(path, "b.db"), clock) as again:
            await again.settle(created.event)
            assert not (await again.take_due(10)).owed


async def test_warning_that_nobody_heard_is_given_again(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given once, to somebody who hears it."""
    async with opened(tmp_path / "a.db", clock, warn_before=60.0) as store:
        warned = (await create(store, "warned")).record
        await create(store, "over", idle_timeout=1150.0)
        clock.advance(1160)
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        taking = asyncio.create_task(store.take_due(10))
        await until(lambda: len(disk.batches) == 1)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        disk.go.set()
        await store._journal.drain()
        assert [one.ref for one in (await store.take_due(10)).expiring] == [warned.ref]
        assert not (await store.take_due(10)).expiring


async def test_claim_of_a_settling_that_was_cancelled_goes(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept for an entry that is not there any more."""
    async with opened(tmp_path / "a.db", clock) as store:
        created = await create(store)
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        settling = asyncio.create_task(store.settle(created.event))
        await until(lambda: len(disk.batches) == 1)
        settling.cancel()
        await asyncio.gather(settling, return_exceptions=True)
        disk.go.set()
        await store._journal.drain()
        assert not store._claimed
        assert await store.owed() == 0


# --- a disk that hangs --------------------------------------------------------------------------------


async def test_disk_that_hangs_is_an_outage_until_it_answers(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that are refused don't pile up; what was under way is done then, and nobody's entries are lost."""
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
        disk = Disk(store, monkeypatch)
        store._timeout = 0.01
        disk.go.clear()
        with pytest.raises(StoreUnavailable):
            await store.increment(ref, "n", 1, 0)
        assert not store.available
        for _ in range(3):
            for call in (store.increment(ref, "n", 1, 0), store.load_ref(ref, touch=True), store.scan()):
                with pytest.raises(StoreUnavailable):
                    await call
        assert store._journal._current is None
        disk.go.set()
        await until(lambda: store.available)
        store._timeout = 20
        assert await store.increment(ref, "n", 1, 0) == 2


async def test_disk_that_hangs_stops_idle_clocks(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the absolute one; who was warned is warned again, of the new deadline."""
    async with opened(tmp_path / "a.db", clock, warn_before=60.0) as store:
        idle = (await create(store, "idle", idle_timeout=100.0)).record
        absolute = (await create(store, "absolute", idle_timeout=100.0, absolute_timeout=150.0)).record
        clock.advance(60)
        assert len((await store.take_due(10)).expiring) == 2
        disk = Disk(store, monkeypatch)
        store._timeout = 0.01
        disk.go.clear()
        with pytest.raises(StoreUnavailable):
            await store.increment(idle.ref, "n", 1, 0)
        clock.advance(200)
        disk.go.set()
        await until(lambda: store.available)
        store._timeout = 20
        assert await store.load_ref(absolute.ref, touch=False) is None
        found = await store.load_ref(idle.ref, touch=False)
        assert found is not None
        assert found.revision > idle.revision
        assert [one.ref for one in (await store.take_due(10)).expiring] == [idle.ref]
        clock.advance(39)
        assert await store.load_ref(idle.ref, touch=False) is not None
        clock.advance(1.1)
        assert await store.load_ref(idle.ref, touch=False) is None


async def test_disk_that_never_answers_does_not_keep_the_store_open(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed within the time-out, and may be opened again when the disk has answered after all."""
    path, threads = tmp_path / "a.db", set(threading.enumerate())
    store = SqliteStore(str(path), clock, timeout=20)
    await store.open()
    ref = (await create(store)).record.ref
    disk = Disk(store, monkeypatch)
    disk.go.clear()
    writing = asyncio.create_task(store.increment(ref, "n", 1, 0))
    await until(lambda: len(disk.batches) == 1)
    store._timeout = 0.01
    await asyncio.wait_for(store.close(), 10)
    with pytest.raises(StoreUnavailable):
        await writing
    disk.go.set()
    store._timeout = 20
    await until(lambda: set(threading.enumerate()) <= threads)  # without the one that still had the file
    await store.open()
    assert await store.increment(ref, "n", 1, 0) in (1, 2)
    await store.close()


@pytest.mark.parametrize("lasts", [True, False])
async def test_failure_during_the_close_leaves_nothing_running(
    lasts: bool, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is closed, whether the disk is back by then or not, and stays so."""
    path = tmp_path / "a.db"
    store = SqliteStore(str(path), clock, timeout=20)
    await store.open()
    ref = (await create(store)).record.ref
    clock.advance(5)
    await store.load_ref(ref, touch=True)
    disk = Disk(store, monkeypatch)
    write, failed = disk._write, []

    def fail(statements: Any) -> None:
        if lasts or not failed:
            failed.append(1)
            raise StoreUnavailable("no space left on device")
        write(statements)

    disk._write = fail
    tasks = asyncio.all_tasks()
    await store.close()
    assert asyncio.all_tasks() == tasks
    await turns()
    assert not store.available
    disk._write = write
    await store.open()
    assert await store.load_ref(ref, touch=False) is not None
    await store.close()


async def test_close_ends_the_wait_for_a_disk_that_is_away(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tries to get back to a file that was given up."""
    store = SqliteStore(str(tmp_path / "a.db"), clock, timeout=20)
    await store.open()
    disk = Disk(store, monkeypatch)
    disk.fails = True
    with pytest.raises(StoreUnavailable):
        await create(store)
    assert store._recovery is not None
    await store.close()
    tried = len(disk.batches)
    await turns()
    assert (len(disk.batches), store._recovery) == (tried, None)


# --- a disk that fails --------------------------------------------------------------------------------


async def test_fault_of_ours_in_a_batch_is_one_batch_lost(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it raises, callers hear of it, and the store goes on."""
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
        disk = Disk(store, monkeypatch)
        write = disk._write

        def fail(statements: Any) -> None:
            disk._write = write
            raise RuntimeError("what is this?")

        disk._write = fail
        with pytest.raises(StoreUnavailable, match="what is this"):
            await store.increment(ref, "n", 1, 0)
        await until(lambda: store.available)
        assert await store.increment(ref, "n", 1, 0) == 1


async def test_answers_of_what_failed_are_forgotten(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks again has it done: an end, a log-in, a creation."""
    async with opened(tmp_path / "a.db", clock) as store:
        first, second = [(await create(store, name)).record for name in ("first", "second")]
        new = record(store, "new")
        disk = Disk(store, monkeypatch)

        def calls() -> list[Any]:
            return [
                store.end(first.ref, Reason.LOGOUT, token="end"),
                store.renew(second.ref, b"key", Limits(), user="u", roles=(), version="", token="renewal"),
                store.create(new, Limits()),
            ]

        disk.fails = True
        assert {type(one) for one in await asyncio.gather(*calls(), return_exceptions=True)} == {StoreUnavailable}
        disk.fails = False
        await until(lambda: store.available)
        ended, renewed, created = await asyncio.gather(*calls())
        assert await store.load_ref(first.ref, touch=False) is None
        assert isinstance(await store.load(b"key", touch=False), Record)
        assert isinstance(await store.load(new.key, touch=False), Record)
        assert ended is not None
        assert isinstance(renewed, Renewed)
        assert isinstance(created, Created)


async def test_answer_that_is_repeated_stands_with_its_own_change(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with that of somebody else, whose batch fails."""
    async with opened(tmp_path / "a.db", clock) as store:
        one, other = [(await create(store, name)).record for name in ("one", "other")]
        assert await store.increment(one.ref, "n", 1, 0, token="t") == 1
        disk = Disk(store, monkeypatch)
        disk.fails = True
        failing = asyncio.create_task(store.increment(other.ref, "n", 1, 0))
        await asyncio.sleep(0)
        assert await store.increment(one.ref, "n", 1, 0, token="t") == 1
        with pytest.raises(StoreUnavailable):
            await failing
        disk.fails = False
        await until(lambda: store.available)
        assert await store.increment(one.ref, "n", 1, 0, token="t") == 1


async def test_lock_of_a_session_that_never_was_goes(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the others stay."""
    async with opened(tmp_path / "a.db", clock) as store:
        kept, new = (await create(store, "kept")).record, record(store, "new")
        assert await store.acquire(kept.ref, "holder", 1)
        disk = Disk(store, monkeypatch)
        disk.fails = True
        creating = asyncio.create_task(store.create(new, Limits()))
        await asyncio.sleep(0)
        assert await store.acquire(new.ref, "holder", 1)
        with pytest.raises(StoreUnavailable):
            await creating
        disk.fails = False
        await until(lambda: store.available)
        assert (kept.ref in store._locks, new.ref in store._locks) == (True, False)


async def test_what_was_disowned_before_a_failure_is_handed_out_once(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the working set that was made anew; the old one's debts went with it."""
    async with opened(tmp_path / "a.db", clock) as store:
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        creating = asyncio.create_task(store.create(record(store), Limits()))
        await until(lambda: len(disk.batches) == 1)
        other = asyncio.create_task(store.create(record(store, "other"), Limits()))
        await turns()
        for task in (creating, other):
            task.cancel()
        await asyncio.gather(creating, other, return_exceptions=True)
        write = disk._write

        def fail_next(statements: Any) -> None:
            write(statements)
            disk.fails, disk._write = True, write

        disk._write = fail_next
        disk.go.set()
        await until(lambda: not store.available)
        disk.fails = False
        await until(lambda: store.available)
        owed = (await store.take_due(10)).owed
        assert [(one.event.kind, one.event.attempt) for one in owed] == [("start", 2)]
        assert not (await store.take_due(10)).owed
        assert await store.load(SessionId.app("other").key, touch=False) is None
