"""The session list on a store that outlives the process: what an earlier process owed, copies of records, outages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from wshttp.config import SessionSettings
from wshttp.errors import LockLost, StoreUnavailable
from wshttp.sessions import session_list
from wshttp.sessions.callbacks import current_event
from wshttp.sessions.record import Event, Reason, Record
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.store import Owed
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.stores.memory import MemoryStore
from wshttp.stores.sqlite import SqliteStore
from wshttp.testing import FakeClock

IP = "192.0.2.7"


class Diary:
    """What the callbacks of a list were told, in order."""

    def __init__(self, sessions: SessionList) -> None:
        self.lines: list[tuple[Any, ...]] = []
        for name in ("session_start", "session_end"):
            sessions.callbacks.register(name, self._note)

    async def _note(self, session: Session, reason: Reason | None = None) -> None:
        event = current_event()
        assert event is not None
        await asyncio.sleep(0)
        self.lines.append((event.kind, session.ref, event.attempt, reason, dict(session)))


@asynccontextmanager
async def opened(path: Path, clock: FakeClock, **settings: Any) -> AsyncIterator[SessionList]:
    sessions = SessionList(SessionSettings(**settings), SqliteStore(str(path), clock, timeout=20), clock=clock)
    await sessions.open(sweep=False)
    try:
        yield sessions
    finally:
        await sessions.close(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sessions.db"


async def hang(*arguments: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.feature("E1", "E8")
async def test_owed_start_and_end_are_delivered_by_the_next_process(path: Path, clock: FakeClock) -> None:
    """Both callbacks run again, the start first, with the data that was there and an attempt more."""
    async with opened(path, clock) as first:
        first.callbacks.register("session_start", hang)
        creating = asyncio.create_task(first.create("s", remote_ip=IP, data={"a": 1}))
        while await first.count() == 0 or not first._known:
            await asyncio.sleep(0)
        ref = next(iter(first._known))
        assert await first.store.end(ref, Reason.ADMIN) is not None
    with pytest.raises(StoreUnavailable):  # the start's settling, since its process has gone
        await first.store.owed()
    creating.cancel()
    async with opened(path, clock) as second:
        diary = Diary(second)
        assert await second.sweep() == 0
        await second.settled(10)
        data = {"a": 1}
        assert diary.lines == [("start", ref, 2, None, data), ("end", ref, 2, Reason.ADMIN, data)]
        assert await second.store.owed() == 0
        assert (second.statistics.started, sum(second.statistics.ended.values())) == (0, 0)


@pytest.mark.feature("E1")
async def test_owed_start_is_delivered_before_anybody_gets_the_session(path: Path, clock: FakeClock) -> None:
    """Who asks before the first sweep waits for it."""
    async with opened(path, clock) as first:
        first.callbacks.register("session_start", hang)
        creating = asyncio.create_task(first.create("s", remote_ip=IP))
        while not first._known:
            await asyncio.sleep(0)
    creating.cancel()
    async with opened(path, clock) as second:
        diary = Diary(second)
        getting = asyncio.create_task(second.get("s"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not getting.done()
        assert not diary.lines
        second.begin_sweeping()
        found = await getting
        assert found is not None
        assert [line[:3] for line in diary.lines] == [("start", found.ref, 2)]


async def test_session_that_another_node_is_starting_is_waited_for(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its start is settled, at most `store.timeout`; then the store counts as unavailable."""
    monkeypatch.setattr(session_list, "START_INTERVAL", 0.001)
    async with opened(path, clock) as sessions:
        store = sessions.store
        session = await sessions.create("s", remote_ip=IP)
        copy = await store.load_ref(session.ref, touch=False)
        assert copy is not None
        copy.starting = True  # as another node would see it
        load_ref, seen = store.load_ref, []

        async def still_starting(ref: str, *, touch: bool) -> Any:
            record = await load_ref(ref, touch=touch)
            if record is not None and len(seen) < 5:
                record.starting = True
            seen.append(ref)
            return record

        monkeypatch.setattr(store, "load_ref", still_starting)
        assert await sessions.get_by_ref(session.ref) is session
        assert len(seen) == 6
        sessions._store_timeout = 0.01
        monkeypatch.setattr(store, "load_ref", lambda ref, touch: asyncio.sleep(0, copy))
        copy.revision += 1000
        with pytest.raises(StoreUnavailable, match="still starting"):
            await sessions.get_by_ref(session.ref)


async def test_late_copy_brings_no_session_back(path: Path, clock: FakeClock) -> None:
    """A record that was read before the end and arrives after it changes nothing; nor does one older than what is known."""
    async with opened(path, clock) as sessions:
        session = await sessions.create("s", remote_ip=IP)
        older = await sessions.store.load_ref(session.ref, touch=False)
        assert older is not None
        await session.increment("n")
        await session.refresh()
        assert sessions._adopt(older)["n"] == 1
        await sessions.end(session)
        assert sessions._adopt(older).ended is Reason.LOGOUT


async def test_late_copy_brings_no_token_back(path: Path, clock: FakeClock) -> None:
    """A record that was found under the old token, and arrives after a log-in, leaves the session its new one."""
    async with opened(path, clock) as sessions:
        session = await sessions.create(remote_ip=IP)
        old = session.id
        assert old is not None
        found = await sessions.store.load(old.key, touch=False)
        assert isinstance(found, Record)
        await sessions.renew(session, user="ada")
        assert session.id != old
        assert sessions._adopt(found, old).id != old
        assert session.user == "ada"


async def test_settling_waits_for_a_store_that_is_away(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has run is struck when the store is back, and not run again; an end is not run before its start is struck."""
    async with opened(path, clock) as sessions:
        diary, settle = Diary(sessions), sessions.store.settle

        async def away(event: Event) -> None:
            raise StoreUnavailable

        monkeypatch.setattr(sessions.store, "settle", away)
        session = await sessions.create("s", remote_ip=IP)
        await sessions.end(session)
        for _ in range(10):
            await asyncio.sleep(0)
        assert [line[0] for line in diary.lines] == ["start"]
        assert not await sessions.settled(0)
        assert await sessions.store.owed() == 2
        with pytest.raises(StoreUnavailable):
            await sessions.sweep()
        monkeypatch.setattr(sessions.store, "settle", settle)
        await sessions.sweep()
        assert await sessions.settled(10)
        assert await sessions.store.owed() == 0
        assert [line[0] for line in diary.lines] == ["start", "end"]


@pytest.mark.feature("L13")
async def test_close_leaves_what_is_not_delivered_owed(path: Path, clock: FakeClock) -> None:
    """No session ends by a shutdown; an end that cannot be delivered in time is delivered by the next process."""
    async with opened(path, clock) as first:
        lives, ends = [await first.create(name, remote_ip=IP) for name in "ab"]
        first.callbacks.register("session_end", hang)
        await first.end(ends)
        assert await first.close(0.01) == 1
    async with opened(path, clock) as second:
        diary = Diary(second)
        await second.sweep()
        await second.settled(10)
        assert diary.lines == [("end", ends.ref, 2, Reason.LOGOUT, {})]
        found = await second.get("a")
        assert found is not None
        assert found.ref == lives.ref


@pytest.mark.feature("M4")
async def test_scheduled_events_outlive_the_process(path: Path, clock: FakeClock) -> None:
    """What falls due meanwhile comes afterwards; what was taken and not settled comes again."""
    async with opened(path, clock) as first:
        session = await first.create("s", remote_ip=IP)
        session.schedule(10, "call", {"a": 1})
        await session.commit()
        first.callbacks.register_scheduled("call", hang)
        clock.advance(11)
        await first.sweep()
    calls: list[Any] = []
    async with opened(path, clock) as second:

        async def call(session: Session, data: Any) -> None:
            event = current_event()
            assert event is not None
            calls.append((session.ref, data, event.attempt))
            session["called"] = True

        second.callbacks.register_scheduled("call", call)
        await second.sweep()
        await second.settled(10)
        assert calls == [(session.ref, {"a": 1}, 2)]
        found = await second.get("s")
        assert found is not None
        assert found["called"] is True
        assert await second.store.owed() == 0


async def test_secret_comes_from_the_store_unless_it_is_set(path: Path, clock: FakeClock) -> None:
    """Ids that are derived from who a client is are the same after a restart."""
    ids = set()
    for settings in ({}, {}, {"secret": "correct horse battery staple, and more"}):
        async with opened(path, clock, **settings) as sessions:
            ids.add(sessions.credentials_id("ada", "v1", IP).key)
    assert len(ids) == 2


async def test_commit_under_a_lock_that_was_lost_raises(sessions: SessionList) -> None:
    """And changes nothing: somebody else may have worked on it since."""
    session = await sessions.create("s", remote_ip=IP)
    store = sessions.store
    with pytest.raises(LockLost):
        async with session.lock():
            session["n"] = 1
            assert isinstance(store, MemoryStore)
            store._locks.end(session.ref, None)
            assert await store.acquire(session.ref, "somebody else", 1)
    await session.refresh()
    assert dict(session.record.data) == {}


async def test_end_under_a_lock_that_was_lost_goes_through(
    sessions: SessionList, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the changes that the lock was for: they are dropped, and that is said."""
    session = await sessions.create("s", remote_ip=IP)
    store = sessions.store
    with UnitOfWork():
        async with session.lock():
            session["n"] = 1
            assert isinstance(store, MemoryStore)
            store._locks.end(session.ref, None)
            assert await sessions.end(session)
    assert "the last changes of session" in caplog.text
    assert (session.ended, dict(session.record.data)) == (Reason.LOGOUT, {})


async def test_lease_is_renewed_three_times_as_often_as_needed(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Through failures; that it was lost is said. A store without one is left alone."""
    answers = iter([StoreUnavailable(), True, False, True])
    beats: list[float] = []
    enough = asyncio.Event()

    class Leased(MemoryStore):
        lease = 0.003

        async def renew_lease(self) -> bool:
            beats.append(asyncio.get_running_loop().time())
            answer = next(answers, None)
            if answer is None:
                enough.set()
            if isinstance(answer, Exception):
                raise answer
            return bool(answer or answer is None)

    sessions = SessionList(SessionSettings(), Leased(clock), clock=clock)
    await sessions.open()
    await asyncio.wait_for(enough.wait(), 10)
    await sessions.close()
    assert caplog.text.count("could not be renewed") == 1
    assert caplog.text.count("the lease was lost") == 1
    assert beats[4] - beats[0] >= 4 * 0.001


def test_owed_entries_count_as_due() -> None:
    """A sweep goes on while others have left something undone."""
    from wshttp.sessions.store import Due

    assert Due(owed=[Owed(None, Event("id", "start"))])  # type: ignore[arg-type]  # any record would do
