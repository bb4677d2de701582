"""The session list on a store that outlives the process: what an earlier process owed, copies of records, outages."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlite_stores import killed

from wshttp.config import SessionSettings
from wshttp.errors import Forbidden, LockLost, OutcomeUnknown, SessionEnded, StoreUnavailable
from wshttp.sessions import session_list
from wshttp.sessions.callbacks import current_event
from wshttp.sessions.draft import Draft
from wshttp.sessions.notifier import NoSockets
from wshttp.sessions.record import Event, Reason, Record
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.store import Owed
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.stores.memory import MemoryStore
from wshttp.stores.sqlite import SqliteStore
from wshttp.stores.sqlite_journal import Batch
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


async def test_nobody_holds_a_copy_that_nobody_uses(path: Path, clock: FakeClock) -> None:
    """Who comes next sees what the store has, not what a `Session` of before had."""
    async with opened(path, clock) as sessions:
        session = await sessions.create("s", remote_ip=IP)
        known = weakref.ref(session)
        del session
        await sessions.settled(10)
        gc.collect()
        assert known() is None


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


@pytest.mark.feature("E1", "E8")
@pytest.mark.parametrize("end", ["all", "limit", "replaced", "by ref"])
async def test_session_whose_start_is_still_owed_ends_after_it(end: str, path: Path, clock: FakeClock) -> None:
    """Whoever ends what a dead process was starting, before the first sweep: its start is delivered first, then its end."""
    settings = {"max_sessions": 1} if end == "limit" else {}
    async with opened(path, clock, **settings) as first:
        first.callbacks.register("session_start", hang)
        creating = asyncio.create_task(first.create("s", remote_ip=IP, data={"a": 1}))
        while not first._known:
            await asyncio.sleep(0)
        ref = next(iter(first._known))
    creating.cancel()
    async with opened(path, clock, **settings) as second:
        diary, closed = Diary(second), []

        class Sockets(NoSockets):
            def ended(self, record: Record, reason: Reason) -> None:
                closed.append((record.ref, reason))

        second.notifier = Sockets()
        if end == "all":
            assert await second.end_all() == 1
        elif end == "by ref":
            assert await second.end(ref, "admin")
        else:
            await second.create("s" if end == "replaced" else "t", remote_ip=IP, replace=end == "replaced")
        assert await second.settled(10)
        reason = {"limit": Reason.LIMIT, "replaced": Reason.REPLACED}.get(end, Reason.ADMIN)
        assert closed == [(ref, reason)]
        assert not [line for line in diary.lines if line[1] == ref]
        for _ in range(2):
            await second.sweep()
            assert await second.settled(10)
        assert [line for line in diary.lines if line[1] == ref] == [
            ("start", ref, 2, None, {"a": 1}),
            ("end", ref, 1, reason, {"a": 1}),
        ]
        assert second.statistics.ended[reason] == 1
        assert await second.store.owed() == 0


async def test_kill_after_a_start_that_could_not_be_struck_does_not_turn_the_order(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end is not run before its start is struck, or a later process would run the start after the end."""
    async with opened(path, clock) as first:
        diary, settle = Diary(first), first.store.settle

        async def away(event: Event) -> None:
            raise StoreUnavailable

        monkeypatch.setattr(first.store, "settle", away)
        session = await first.create("s", remote_ip=IP)
        monkeypatch.setattr(first.store, "settle", settle)
        await first.end(session)
        for _ in range(20):
            await asyncio.sleep(0)
        assert [line[0] for line in diary.lines] == ["start"]
        again = killed(path, "killed.db")
    async with opened(again, clock) as second:
        diary = Diary(second)
        await second.sweep()
        assert await second.settled(10)
        assert [line[0] for line in diary.lines] == ["start", "end"]


async def test_settling_that_was_cancelled_is_made_up_for(path: Path, clock: FakeClock) -> None:
    """A client that goes away while its session begins leaves nothing owed."""
    async with opened(path, clock) as sessions:
        settle, entered = sessions.store.settle, asyncio.Event()

        async def slow(event: Event) -> None:
            entered.set()
            await asyncio.Event().wait()

        sessions.store.settle = slow  # type: ignore[method-assign]  # waits for ever
        creating = asyncio.create_task(sessions.create("s", remote_ip=IP))
        await asyncio.wait_for(entered.wait(), 10)
        creating.cancel()
        await asyncio.gather(creating, return_exceptions=True)
        sessions.store.settle = settle  # type: ignore[method-assign]
        assert await sessions.store.owed() == 1
        await sessions.sweep()
        assert await sessions.store.owed() == 0


async def test_list_that_is_opened_again_knows_nothing_of_before(path: Path, clock: FakeClock) -> None:
    """What an object from before says is not taken for what the session is now; who works on the new one finds it."""
    sessions = SessionList(SessionSettings(), SqliteStore(str(path), clock, timeout=20), clock=clock)
    await sessions.open(sweep=False)
    old = await sessions.create("s", remote_ip=IP)
    for _ in range(20):
        await old.increment("n")
    old.local["kept"] = object()
    await sessions.close(0)
    assert not sessions.pinned
    await sessions.open(sweep=False)
    new = await sessions.get("s")
    assert new is not None
    assert new is not old
    assert await old.update("n", lambda n: n + 1) == 21
    await sessions.renew(old, user="ada")
    assert old.id is not None
    await new.refresh()
    assert (new["n"], new.user) == (21, "ada")
    await sessions.close(0)


async def test_two_releases_at_once_are_one(path: Path, clock: FakeClock) -> None:
    """The session begins once; if the first fails, the second tries."""
    async with opened(path, clock) as sessions:
        diary, answers = Diary(sessions), [False, True]

        async def decide(draft: Draft) -> bool:
            await asyncio.sleep(0)
            return answers.pop(0)

        sessions.callbacks.register("session_creating", decide)
        session = await sessions.temporary("s", remote_ip=IP)
        outcomes = await asyncio.gather(*(session.release() for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Forbidden, type(None), type(None)]
        assert [line[:2] for line in diary.lines] == [("start", session.ref)]
        assert not sessions._releases


async def test_release_that_is_made_again_after_the_end_begins_no_second_life(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first call was carried out, nobody heard of it, and somebody has ended the session since; or it still lives."""
    async with opened(path, clock) as sessions:
        diary, create = Diary(sessions), sessions.store.create

        async def unheard(*arguments: Any, **options: Any) -> Any:
            created = await create(*arguments, **options)
            sessions.store._disown(done, [Owed(created.record, created.event)])  # type: ignore[attr-defined]
            raise StoreUnavailable

        done = Batch(asyncio.get_running_loop().create_future())
        done.done.set_result(None)
        for name in ("ended", "lives"):
            monkeypatch.setattr(sessions.store, "create", unheard)
            session = await sessions.temporary(name, remote_ip=IP)
            with pytest.raises(StoreUnavailable):
                await session.release()
            monkeypatch.setattr(sessions.store, "create", create)
            await asyncio.sleep(0)
            await sessions.sweep()
            assert await sessions.settled(10)
            if name == "ended":
                assert await sessions.store.end(session.ref, Reason.ADMIN) is not None
                with pytest.raises(SessionEnded):
                    await session.release()
            else:
                await session.release()
                assert not session.temporary
            assert [line[:3] for line in diary.lines if line[1] == session.ref] == [("start", session.ref, 2)]
        assert await sessions.count() == 1


async def test_end_that_failed_is_not_taken_for_ones_own(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written after it, and lost to another's end, is said to be."""
    async with opened(path, clock) as sessions:
        session, end = await sessions.create("s", remote_ip=IP), sessions.store.end
        with UnitOfWork() as unit:

            async def away(*arguments: Any, **options: Any) -> Any:
                raise StoreUnavailable

            monkeypatch.setattr(sessions.store, "end", away)
            with pytest.raises(StoreUnavailable):
                await sessions.end(session)
            monkeypatch.setattr(sessions.store, "end", end)
            await end(session.ref, Reason.ADMIN)
            session["order"] = 1
            with pytest.raises(SessionEnded):
                await unit.commit()


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


async def test_what_commits_at_once_under_a_lock_that_was_lost_raises(sessions: SessionList) -> None:
    """`increment` and `update` are no way around the lock, either."""
    session = await sessions.create("s", remote_ip=IP)
    store = sessions.store
    async with session.lock():
        assert await session.increment("n") == 1
        assert await session.update("n", lambda n: n + 1) == 2
        assert isinstance(store, MemoryStore)
        store._locks.end(session.ref, None)
        assert await store.acquire(session.ref, "somebody else", 1)
        with pytest.raises(LockLost):
            await session.increment("n")
        with pytest.raises(LockLost):
            await session.update("n", lambda n: n + 1)
    assert await session.increment("n") == 3, "and outside of the lock nobody asks for it"


async def test_end_drops_last_changes_that_nobody_remembers(
    sessions: SessionList, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may have been made before an outage; the session ends all the same."""
    session = await sessions.create("s", remote_ip=IP)

    async def forgotten(ref: str, *arguments: object) -> None:
        raise OutcomeUnknown(ref)

    monkeypatch.setattr(sessions.store, "apply", forgotten)
    with UnitOfWork():
        session["n"] = 1
        assert await sessions.end(session)
    assert "the last changes of session" in caplog.text


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


async def test_lease_that_cannot_be_renewed_is_said_once_per_outage(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """However long that is; the next outage has its own line, and a fault in the store its traceback."""
    away = StoreUnavailable()
    answers = iter([away, away, away, True, away, away, ValueError("broken"), True])
    enough = asyncio.Event()

    class Leased(MemoryStore):
        lease = 0.003

        async def renew_lease(self) -> bool:
            answer = next(answers, None)
            if answer is None:
                enough.set()
            if isinstance(answer, Exception):
                raise answer
            return True

    sessions = SessionList(SessionSettings(), Leased(clock), clock=clock)
    await sessions.open()
    await asyncio.wait_for(enough.wait(), 10)
    await sessions.close()
    told = [(record.levelname, bool(record.exc_info)) for record in caplog.records if "renewed" in record.getMessage()]
    assert told == [("WARNING", False), ("WARNING", False), ("ERROR", True)]


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
