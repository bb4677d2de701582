"""The SQLite store: the contract, and what is its own."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from disks import Disk
from sqlite_stores import create, opened, until

from wshttp.errors import ConfigurationError, StoreUnavailable, StoreUnusable
from wshttp.sessions.changes import Changes, Scheduled
from wshttp.sessions.ids import SessionId, new_event_id
from wshttp.sessions.record import Reason, Record
from wshttp.sessions.store import Limits, Store
from wshttp.stores import sqlite_file
from wshttp.stores import sqlite_schema as schema
from wshttp.stores.sqlite import SqliteStore
from wshttp.stores.sqlite_file import SqliteFile
from wshttp.testing import FakeClock, StoreContract


class TestSqliteStore(StoreContract):
    """The contract holds for the SQLite store, through kills too."""

    async def open_store(self, clock: FakeClock) -> Store:
        self.folder = Path(tempfile.mkdtemp())
        return await self._opened("0.db")

    async def _opened(self, name: str) -> SqliteStore:
        path = str(self.folder / name)
        store = SqliteStore(path, self.clock, timeout=20, tombstone=self.TOMBSTONE, warn_before=self.WARN_BEFORE)
        await store.open()
        return store

    async def kill(self, store: Store) -> Store:
        """What a killed process leaves is what is in its files at that moment, and not locked."""
        name = f"{len(list(self.folder.glob('*.db')))}.db"
        last = max(self.folder.glob("*.db"))
        for suffix in ("", "-wal"):
            shutil.copy(f"{last}{suffix}", f"{self.folder / name}{suffix}")
        return await self._opened(name)

    async def close_store(self, store: Store) -> None:
        await store.close()
        shutil.rmtree(self.folder, ignore_errors=True)


# --- what is its own --------------------------------------------------------------------------------


async def test_callers_of_one_turn_share_a_batch(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred changes at once are written in one transaction; those that come meanwhile, in the next."""
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        first = [asyncio.create_task(store.increment(ref, "n", 1, 0)) for _ in range(100)]
        await until(lambda: len(disk.batches) == 1)
        second = [asyncio.create_task(store.increment(ref, "n", 1, 0)) for _ in range(50)]
        await asyncio.sleep(0)
        disk.go.set()
        assert await asyncio.gather(*first, *second) == list(range(1, 151))
        assert disk.batches == [101, 51]


async def test_nobody_sees_what_is_not_on_disk(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for a session that is being written waits; who asks for another does not."""
    async with opened(tmp_path / "a.db", clock) as store:
        one, other = (await create(store, "one")).record, (await create(store, "other")).record
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        write = asyncio.create_task(store.apply(one.ref, Changes({"a": 1}), 0))
        reads = [asyncio.create_task(call) for call in (
            store.load(one.key, touch=False), store.load_ref(one.ref, touch=True), store.scan()
        )]  # fmt: skip
        await until(lambda: len(disk.batches) == 1)
        assert isinstance(await store.load(other.key, touch=True), Record)
        assert not any(task.done() for task in (write, *reads))
        disk.go.set()
        await asyncio.gather(write, *reads)


async def test_end_is_not_told_before_it_is_on_disk(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it does not get there, nobody has heard of it: the session lives, its lock is held, and who waits for it is told of the outage."""
    async with opened(tmp_path / "a.db", clock) as store:
        record, other = (await create(store, data={"a": 1})).record, (await create(store, "other")).record
        assert await store.acquire(record.ref, "holder", 1)
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        disk.fails = True
        calls = [
            store.end(record.ref, Reason.LOGOUT), store.end(record.ref, Reason.ADMIN), store.load(record.key, touch=True),
            store.load_ref(record.ref, touch=False), store.apply(record.ref, Changes({"a": 2}), 0),
            store.increment(record.ref, "n", 1, 0),
        ]  # fmt: skip
        waiter = asyncio.create_task(store.acquire(record.ref, "next", 20))
        tasks = [asyncio.create_task(call) for call in calls]
        await until(lambda: len(disk.batches) == 1)
        tasks.append(asyncio.create_task(store.increment(other.ref, "n", 1, 0)))  # is in the batch after
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        disk.go.set()
        outcomes = await asyncio.gather(*tasks, waiter, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        assert not store.available
        with pytest.raises(StoreUnavailable):
            await store.acquire(record.ref, "next", 20)
        disk.fails = False
        await until(lambda: store.available)
        found = await store.load(record.key, touch=False)
        assert isinstance(found, Record)
        assert (found.ref, found.data, found.reason) == (record.ref, {"a": 1}, None)
        assert found.revision > record.revision
        assert await store.owed() == 2
        assert await store.increment(other.ref, "n", 1, 0) == 1
        waiter = asyncio.create_task(store.acquire(record.ref, "next", 20))
        await asyncio.sleep(0)
        assert not waiter.done()
        await store.release(record.ref, "holder")
        assert await waiter


async def test_failure_takes_back_what_was_not_acknowledged_and_nothing_else(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, new sessions, log-ins, tokens: as they were on disk. It is tried until it works, and all are told meanwhile."""
    async with opened(tmp_path / "a.db", clock) as store:
        record = (await create(store, data={"a": 1})).record
        assert await store.increment(record.ref, "n", 1, 0, token="kept") == 1
        disk = Disk(store, monkeypatch)
        disk.fails = True
        outcomes = await asyncio.gather(
            store.increment(record.ref, "n", 1, 0, token="lost"),
            create(store, "new"),
            store.renew(record.ref, b"key", Limits(), user="u", roles=(), version=""),
            store.secret(),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
        for call in (store.load(record.key, touch=False), store.count(), store.take_due(1), store.owed()):
            with pytest.raises(StoreUnavailable):
                await call
        tried = len(disk.batches)
        await until(lambda: len(disk.batches) > tried + 2)
        disk.fails = False
        await until(lambda: store.available)
        assert await store.increment(record.ref, "n", 1, 0, token="lost") == 2
        assert await store.increment(record.ref, "n", 1, 0, token="kept") == 1
        assert (await store.count(), await store.count("u")) == (1, 0)
        found = await store.load(record.key, touch=False)
        assert isinstance(found, Record)
        assert (found.user, found.data) == (None, {"a": 1, "n": 2})
        secret = await store.secret()
    async with opened(tmp_path / "a.db", clock) as store:
        assert await store.secret() == secret


async def test_failure_hands_out_nothing_that_somebody_is_delivering(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries that were given to a caller stay theirs, and are settled later; `take_due` does not repeat them."""
    async with opened(tmp_path / "a.db", clock) as store:
        created = await create(store)
        ended = await store.end(created.record.ref, Reason.LOGOUT)
        assert ended is not None
        disk = Disk(store, monkeypatch)
        disk.fails = True
        with pytest.raises(StoreUnavailable):
            await store.settle(created.event)
        disk.fails = False
        await until(lambda: store.available)
        assert not (await store.take_due(10)).owed
        assert await store.owed() == 2
        await store.settle(created.event)
        await store.settle(ended.event)
        assert await store.owed() == 0


async def test_outage_stops_idle_clocks_and_not_the_absolute_one(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who was there a moment ago is ended by it, except who could not have lived longer."""
    async with opened(tmp_path / "a.db", clock) as store:
        idle = (await create(store, "idle", idle_timeout=100.0)).record
        absolute = (await create(store, "absolute", idle_timeout=100.0, absolute_timeout=150.0)).record
        clock.advance(4)
        for ref in (idle.ref, absolute.ref):
            await store.load_ref(ref, touch=True)  # is not written: it comes too soon after the last
        disk = Disk(store, monkeypatch)
        disk.fails = True
        with pytest.raises(StoreUnavailable):
            await create(store, "new")
        clock.advance(200)
        disk.fails = False
        await until(lambda: store.available)
        assert await store.load_ref(absolute.ref, touch=False) is None
        clock.advance(99)
        assert await store.load_ref(idle.ref, touch=False) is not None
        clock.advance(1)
        assert await store.load_ref(idle.ref, touch=False) is None


async def test_caller_that_gives_up_leaves_its_events_to_others(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start or an end whose caller was cancelled, or waited too long, is handed out by `take_due` once it is on disk.
    Until then the store is away.
    """
    async with opened(tmp_path / "a.db", clock) as store:
        old = (await create(store, "old")).record
        disk = Disk(store, monkeypatch)
        disk.go.clear()
        cancelled = asyncio.create_task(create(store, "new"))
        late = asyncio.create_task(store.end(old.ref, Reason.LOGOUT))
        await asyncio.sleep(0)  # these two wait for as long as it takes
        store._timeout = 0.01
        slow = asyncio.create_task(create(store, "slow"))
        await until(lambda: len(disk.batches) == 1)
        cancelled.cancel()
        late.cancel()
        outcomes = await asyncio.gather(cancelled, late, slow, return_exceptions=True)
        assert [type(one) for one in outcomes] == [asyncio.CancelledError, asyncio.CancelledError, StoreUnavailable]
        assert not store.available
        for call in (store.take_due(10), create(store, "another")):
            with pytest.raises(StoreUnavailable):
                await call
        disk.go.set()
        await store._journal.drain()
        assert store.available
        store._timeout = 20
        owed = (await store.take_due(10)).owed
        assert sorted((one.event.kind, one.event.attempt) for one in owed) == [("end", 2), ("start", 2), ("start", 2)]
        assert not (await store.take_due(10)).owed


async def test_touches_are_written_now_and_then(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in ten seconds, or less where the idle time-out is short; a read-only request writes nothing else."""
    async with opened(tmp_path / "a.db", clock) as store:
        disk = Disk(store, monkeypatch)
        for idle, seconds in ((1200.0, 10), (20.0, 1)):
            record = (await create(store, str(idle), idle_timeout=idle)).record
            disk.batches.clear()
            for _ in range(100):
                clock.advance(seconds / 10)
                for _ in range(3):
                    assert isinstance(await store.load(record.key, touch=True), Record)
            assert 8 <= len(disk.batches) <= 10


async def test_kill_ends_nobody_early(tmp_path: Path, clock: FakeClock) -> None:
    """Whenever the last touch was, after a kill a session has its whole idle time-out from it on; after a close, exactly."""
    for number, seconds in enumerate((0.5, 4.9, 5.0, 7.3)):
        async with opened(tmp_path / f"{number}.db", clock) as store:
            record = (await create(store, idle_timeout=100.0)).record
            clock.advance(seconds)
            await store.load_ref(record.ref, touch=True)
            for suffix in ("", "-wal"):
                shutil.copy(tmp_path / f"{number}.db{suffix}", tmp_path / f"{number}k.db{suffix}")
        clock.advance(99.9)
        for name, spare in ((f"{number}k.db", 5.2), (f"{number}.db", 0.2)):
            async with opened(tmp_path / name, clock) as again:
                assert await again.load_ref(record.ref, touch=False) is not None
                clock.advance(spare)
                assert await again.load_ref(record.ref, touch=False) is None
            clock.advance(-spare)


async def test_clock_never_goes_back(tmp_path: Path, clock: FakeClock) -> None:
    """A machine that starts with its calendar set back does not make sessions older or younger than they are."""
    async with opened(tmp_path / "a.db", clock) as store:
        record = (await create(store, idle_timeout=100.0)).record
        clock.advance(50)
        await store.load_ref(record.ref, touch=True)
        before = store.now()
    clock.jump(-1e9)
    async with opened(tmp_path / "a.db", clock) as store:
        assert before <= store.now() < before + 1
        clock.jump(3600)
        clock.advance(99)
        assert await store.load_ref(record.ref, touch=False) is not None


async def test_ids_and_tokens_are_not_in_the_file(tmp_path: Path, clock: FakeClock) -> None:
    """Only their SHA-256: who reads the file cannot use a session. The file is for its owner alone."""
    async with opened(tmp_path / "a.db", clock) as store:
        await create(store, "a-token-of-a-client", data={"seen": "this is"})
        text = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"a-token-of-a-client" not in text
        assert SessionId.app("a-token-of-a-client").key in text
        assert b"this is" in text
        assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


async def test_sessions_that_came_and_went_leave_no_rows(tmp_path: Path, clock: FakeClock) -> None:
    """Once ended, settled and past their tombstones, nothing is left of them, in memory or on disk."""
    async with opened(tmp_path / "a.db", clock, tombstone=10.0) as store:
        for n in range(50):
            created = await create(store, f"s{n}", data={"a": [n]})
            ref = created.record.ref
            call = Scheduled(new_event_id(), 1000, "call", None)
            await store.apply(ref, Changes({"b": 1}, scheduled=[call]), 0)
            await store.renew(ref, SessionId.app(f"r{n}").key, Limits(), user="u", roles=(), version="")
            ended = await store.end(ref, Reason.LOGOUT)
            assert ended is not None
            await store.settle(created.event)
            await store.settle(ended.event)
        clock.advance(11)
        await store.take_due(1000)
        assert not store._claimed
    database = sqlite3.connect(tmp_path / "a.db")
    tables = ("session", "data", "scheduled", "event", "tombstone")
    assert [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables] == [0] * 5
    database.close()


async def test_text_that_is_no_text_does_no_harm(tmp_path: Path, clock: FakeClock) -> None:
    """Lone surrogates and NULs in what others choose are kept as they are; they do not take the store down."""
    odd = "\ud800\0'\";--"
    async with opened(tmp_path / "a.db", clock) as store:
        record = (await create(store, user=odd, user_agent=odd, start={odd: odd})).record
        await store.apply(record.ref, Changes(scheduled=[Scheduled(new_event_id(), 1, odd, odd)]), 0)
    async with opened(tmp_path / "a.db", clock) as store:
        found = await store.load_ref(record.ref, touch=False)
        assert found is not None
        assert (found.user, found.user_agent, found.start) == (odd, odd, {odd: odd})
        clock.advance(2)
        [(_, event)] = (await store.take_due(10)).scheduled
        assert (event.name, event.data) == (odd, odd)


async def test_store_that_is_closed_says_so(tmp_path: Path, clock: FakeClock) -> None:
    """Before it is opened and after it is closed it is not available."""
    store = SqliteStore(str(tmp_path / "a.db"), clock)
    for _ in range(2):
        assert not store.available
        with pytest.raises(StoreUnavailable):
            await store.count()
        await store.open()
        assert await store.count() == 0
        await store.close()


async def test_older_schema_is_brought_up_to_date(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is made, in one step with the new version number, and the sessions stay."""
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
    more = ("ALTER TABLE session ADD COLUMN more TEXT", "CREATE TABLE more (a)")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, more))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    file = SqliteFile(str(tmp_path / "a.db"))
    file.open()
    assert [row[0] for row in file.rows("PRAGMA user_version")] == [schema.VERSION]
    assert list(file.rows("SELECT ref, more FROM session")) == [(ref, None)]
    file.close()
    monkeypatch.undo()
    with pytest.raises(StoreUnusable, match="newer wshttp"):
        await SqliteStore(str(tmp_path / "a.db"), clock).open()


async def test_second_store_in_one_process_is_refused(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in another process is; and it does not take the first one's lock with it."""
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.0)
    async with opened(tmp_path / "a.db", clock) as store:
        for _ in range(2):
            with pytest.raises(ConfigurationError, match="in use"):
                await SqliteStore(str(tmp_path / "a.db"), clock).open()
        await create(store)


# --- files that cannot be used ------------------------------------------------------------------------


async def refused(path: Path, clock: FakeClock) -> str:
    """Open a file that must not be, see that it stays as it is, and return what is said."""
    before = path.read_bytes()
    with pytest.raises(StoreUnusable) as caught:
        await SqliteStore(str(path), clock).open()
    assert path.read_bytes() == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("CREATE TABLE theirs (a)", "is another program's database"),
        ("PRAGMA application_id = 7", "is another program's database"),
        ("PRAGMA user_version = 7", "is another program's database"),
        (
            f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = 99",
            "was written by a newer wshttp (its schema is 99, this one knows 1)",
        ),
    ],
)
async def test_database_of_another_program_is_left_alone(
    tmp_path: Path, clock: FakeClock, script: str, said: str
) -> None:
    """Also one of a newer version of ours."""
    path = tmp_path / "a.db"
    database = sqlite3.connect(path)
    database.executescript(script)
    database.close()
    assert said in await refused(path, clock)


async def test_damaged_file_is_not_begun_anew(tmp_path: Path, clock: FakeClock) -> None:
    """Half of a file is not half of the sessions, and what somebody has written by hand is not guessed at."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        for n in range(20):
            await create(store, f"s{n}", data={str(key): "x" * 500 for key in range(10)})
    whole = path.read_bytes()
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE session SET facts = 'mine'")
    database.close()
    assert "is damaged" in await refused_or_read(path, clock)
    path.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
    assert "malformed" in await refused_or_read(path, clock)
    path.write_bytes(b"this is no database" * 1000)
    assert "is no SQLite file" in await refused(path, clock)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreUnusable, match="is a folder"):
        await SqliteStore(str(path), clock).open()


async def refused_or_read(path: Path, clock: FakeClock) -> str:
    """Open a file that is ours and broken; what is in its tables stays."""
    with pytest.raises(StoreUnusable) as caught:
        await SqliteStore(str(path), clock).open()
    return str(caught.value)


async def test_who_waits_for_a_lock_hears_of_the_close(tmp_path: Path, clock: FakeClock) -> None:
    """Nobody waits for a store that is closed."""
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
        assert await store.acquire(ref, "holder", 1)
        waiter = asyncio.create_task(store.acquire(ref, "next", 20))
        await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await waiter
