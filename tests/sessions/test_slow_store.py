"""The session list on a store that takes its time: commits that nobody heard of, sessions that are taken in meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from disks import Disk

from wshttp.config import SessionSettings
from wshttp.errors import StoreUnavailable
from wshttp.sessions.changes import Changes
from wshttp.sessions.draft import Draft
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.stores.sqlite import SqliteStore
from wshttp.testing import FakeClock

IP = "192.0.2.7"


class Scene:
    """A list on a disk that waits, or fails, when the test says so."""

    def __init__(self, sessions: SessionList, store: SqliteStore, disk: Disk) -> None:
        self.sessions = sessions
        self.store = store
        self.disk = disk

    async def idle(self) -> None:
        """Let the disk write all it has."""
        self.disk.go.set()
        await until(lambda: self.store._journal._writer is None)

    async def data(self, session: Session) -> dict[str, Any]:
        """What the store has, whatever the list believes."""
        record = await self.store.load_ref(session.ref, touch=False)
        assert record is not None
        return record.data


Play = Callable[[], AbstractAsyncContextManager[Scene]]


@pytest.fixture
def play(tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Play:
    @asynccontextmanager
    async def play() -> AsyncIterator[Scene]:
        store = SqliteStore(str(tmp_path / "sessions.db"), clock, timeout=0.3)
        sessions = SessionList(SessionSettings(), store, clock=clock)
        await sessions.open(sweep=False)
        disk = Disk(store, monkeypatch)
        yield Scene(sessions, store, disk)
        disk.go.set()
        await sessions.close(0)

    return play


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


# --- commits that nobody heard of -------------------------------------------------------------------


async def test_commit_that_is_tried_again_applies_once(play: Play) -> None:
    """It was carried out after its caller had been told nothing; what another wrote since is not overwritten."""
    async with play() as scene:
        session = await scene.sessions.create("s", remote_ip=IP)
        scene.disk.go.clear()
        with UnitOfWork() as unit:
            session["a"] = ["mine"]
            with pytest.raises(StoreUnavailable):
                await unit.commit()
        await scene.idle()
        with UnitOfWork() as other:
            session["a"] = "another's"
            await other.commit()
        with UnitOfWork():
            await unit.commit()
        assert await scene.data(session) == {"a": "another's"}
        assert not unit.dirty


async def test_commit_that_was_changed_since_applies_as_a_new_one(play: Play) -> None:
    """What was written after the first try is not taken for the same."""
    async with play() as scene:
        session = await scene.sessions.create("s", remote_ip=IP)
        for change in ({"a": ["mine", 2]}, {"b": 1}):
            scene.disk.go.clear()
            with UnitOfWork() as unit:
                session["a"] = ["mine"]
                with pytest.raises(StoreUnavailable):
                    await unit.commit()
                for key, value in change.items():
                    session[key] = value
                await scene.idle()
                await unit.commit()
            assert (await scene.data(session)).items() >= change.items()


async def test_scheduled_call_of_a_commit_that_is_tried_again_comes_once(play: Play, clock: FakeClock) -> None:
    """And so do new time-outs, which are part of a change as data are."""
    async with play() as scene:
        called: list[Any] = []
        scene.sessions.callbacks.register_scheduled("later", lambda session, data: called.append(data))
        session = await scene.sessions.create("s", remote_ip=IP)
        scene.disk.go.clear()
        with UnitOfWork() as unit:
            session.schedule(5, "later", "once")
            session.set_timeouts(idle=60)
            with pytest.raises(StoreUnavailable):
                await unit.commit()
            await scene.idle()
            await scene.store.apply(session.ref, Changes(idle_timeout=90), 0)
            await unit.commit()
        assert session.record.idle_timeout == 90
        clock.advance(6)
        await scene.sessions.sweep()
        assert await scene.sessions.settled(10)
        assert called == ["once"]


async def test_commit_that_failed_for_good_is_carried_out_when_tried_again(play: Play) -> None:
    """A disk that refused it has nothing to remember of it."""
    async with play() as scene:
        session = await scene.sessions.create("s", remote_ip=IP)
        scene.disk.fails = True
        with UnitOfWork() as unit:
            session["a"] = 1
            with pytest.raises(StoreUnavailable):
                await unit.commit()
            scene.disk.fails = False
            await until(lambda: scene.store.available)
            assert await scene.data(session) == {}
            await unit.commit()
        assert await scene.data(session) == {"a": 1}


# --- sessions that are taken in ---------------------------------------------------------------------


async def change(session: Session) -> None:
    """Change a session in every way, in a unit of work of one's own."""
    with UnitOfWork() as unit:
        session["late"] = [1]
        del session["gone"]
        session.set_timeouts(idle=77)
        await unit.commit()
    await session.increment("n")
    await session.update("m", lambda m: [*m, 2])
    async with session.lock():
        session["locked"] = True


CHANGED = {"late": [1], "n": 2, "m": [1, 2], "locked": True}


async def test_change_while_the_store_takes_a_session_in_is_kept(play: Play) -> None:
    """Another task may work on a temporary session while it is released."""
    async with play() as scene:
        session = await scene.sessions.temporary("s", remote_ip=IP, data={"n": 1, "m": [1], "gone": 0})
        scene.disk.go.clear()
        releasing = asyncio.create_task(session.release())
        await until(lambda: scene.disk.batches != [])
        await change(session)
        assert session.temporary
        scene.disk.go.set()
        await releasing
        assert (dict(session), session.record.idle_timeout) == (CHANGED, 77)
        assert await scene.data(session) == CHANGED


async def test_change_while_a_release_is_decided_is_kept(play: Play) -> None:
    """`on_session_creating` may take its time, and may change what is created, too."""
    async with play() as scene:
        asked, answer = asyncio.Event(), asyncio.Event()

        @partial(scene.sessions.callbacks.register, "session_creating")
        async def ask(draft: Draft) -> None:
            asked.set()
            await answer.wait()
            draft.data["asked"] = True

        session = await scene.sessions.temporary("s", remote_ip=IP, data={"n": 1, "m": [1], "gone": 0})
        releasing = asyncio.create_task(session.release())
        async with asyncio.timeout(10):
            await asked.wait()
        await change(session)
        answer.set()
        await releasing
        assert await scene.data(session) == dict(session) == CHANGED | {"asked": True}


async def test_release_that_nobody_heard_of_is_made_again(play: Play) -> None:
    """With what was changed since: it is one session, with one start."""
    async with play() as scene:
        started: list[dict[str, Any]] = []
        scene.sessions.callbacks.register("session_start", lambda session: started.append(dict(session)))
        session = await scene.sessions.temporary("s", remote_ip=IP, data={"n": 1, "m": [1], "gone": 0})
        scene.disk.go.clear()
        with pytest.raises(StoreUnavailable):
            await session.release()
        assert session.temporary
        await change(session)
        await scene.idle()
        await session.release()
        assert await scene.data(session) == CHANGED
        assert started == [CHANGED]
        assert await scene.sessions.count() == 1
