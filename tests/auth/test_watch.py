"""The watch of the users file: whose sessions end, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from wshttp.auth import watch as module
from wshttp.auth.authentication import Authentication
from wshttp.auth.passwords import hash_password
from wshttp.auth.user import User
from wshttp.auth.users_file import delete_user
from wshttp.auth.watch import UsersWatch
from wshttp.config import AuthSettings, SessionSettings
from wshttp.errors import StoreUnavailable
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.store import Store
from wshttp.stores.memory import MemoryStore
from wshttp.stores.memory_shared import MemoryShared
from wshttp.stores.sqlite import SqliteStore
from wshttp.testing import FakeClock

PATIENCE = 10.0


class Parts:
    """A watch and what it works on."""

    def __init__(self, clock: FakeClock, store: Store | None = None, **auth: Any) -> None:
        self.sessions = SessionList(SessionSettings(), store or MemoryStore(clock), clock=clock)
        self.authentication = Authentication(AuthSettings(**auth), self.sessions.callbacks, MemoryShared(clock), clock)
        self.watch = UsersWatch(self.authentication, self.sessions)

    async def session_of(self, user: str) -> Session:
        return await self.sessions.create(remote_ip="192.0.2.1", user=user)


@asynccontextmanager
async def watching(clock: FakeClock, store: Store | None = None, **auth: Any) -> AsyncIterator[Parts]:
    parts = Parts(clock, store, **auth)
    await parts.sessions.open()
    await parts.watch.open()
    try:
        yield parts
    finally:
        await parts.watch.close()
        await parts.sessions.close(PATIENCE)


@pytest.fixture(scope="session")
def _hash() -> str:
    return hash_password("correct horse", 4)


@pytest.fixture
def users(tmp_path: Path, _hash: str) -> Path:
    """A users file with ada and bob."""
    path = tmp_path / "users"
    path.write_text(f"ada:{_hash}\nbob:{_hash}\n")
    return path


async def test_user_who_is_gone_loses_their_sessions(users: Path, clock: FakeClock) -> None:
    """Of others, and of users that are none of the file's, they go on."""
    async with watching(clock, users_file=str(users)) as parts:
        ada, bob, eve = [await parts.session_of(user) for user in ("ada", "bob", "eve")]
        delete_user(str(users), "ada")
        await parts.watch.poll()
        assert [session.ended for session in (ada, bob, eve)] == ["credentials", None, None]


async def test_users_of_a_file_that_is_no_longer_set_lose_their_sessions(users: Path, clock: FakeClock) -> None:
    """Without the setting the file is nobody's word any more."""
    async with watching(clock, users_file=str(users)) as parts:
        ada, eve = await parts.session_of("ada"), await parts.session_of("eve")
        parts.authentication.use(AuthSettings())
        await parts.watch.poll()
        assert (ada.ended, eve.ended) == ("credentials", None)


async def test_file_that_was_away_between_two_looks_is_another_one(users: Path, clock: FakeClock) -> None:
    """From one file to none and to another before the next look: the users of the first are gone all the same."""
    other = users.with_name("other")
    other.write_text("")
    async with watching(clock, users_file=str(users)) as parts:
        ada = await parts.session_of("ada")
        parts.authentication.use(AuthSettings())
        parts.authentication.use(AuthSettings(users_file=str(other)))
        await parts.watch.poll()
        assert ada.ended == "credentials"


@pytest.mark.parametrize("change", ["line", "file", "roles"])
async def test_dismissal_during_an_outage_is_made_up_for(
    change: str, users: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose sessions could not be ended is not forgotten; the next look that finds the store ends them."""
    async with watching(clock, users_file=str(users)) as parts:
        ada, eve = await parts.session_of("ada"), await parts.session_of("eve")
        store, scan = parts.sessions.store, parts.sessions.store.scan

        async def away(*arguments: Any, **options: Any) -> Any:
            raise StoreUnavailable

        monkeypatch.setattr(store, "scan", away)
        if change == "line":
            delete_user(str(users), "ada")
        else:
            settings = {"users_file": str(users), "roles": {"ada": ["admin"]}} if change == "roles" else {}
            parts.authentication.use(AuthSettings(**settings))
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await parts.watch.poll()
        assert ada.ended is None
        monkeypatch.setattr(store, "scan", scan)
        await parts.watch.poll()
        assert (ada.ended, eve.ended) == ("credentials", None)
        again = await parts.session_of("ada")
        await parts.watch.poll()
        assert again.ended is None


async def test_watch_looks_by_itself_and_survives_a_fault(
    users: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A look that fails is logged, and the next one follows."""
    monkeypatch.setattr(module, "INTERVAL", 0)
    parts, looks, twice = Parts(clock, users_file=str(users)), 0, asyncio.Event()

    async def poll() -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise RuntimeError("the first one")
        twice.set()

    monkeypatch.setattr(parts.watch, "poll", poll)
    await parts.watch.open()
    await asyncio.wait_for(twice.wait(), PATIENCE)
    await parts.watch.close()
    assert "the users file could not be looked at" in caplog.text


async def test_mistakes_are_said_and_change_nothing(
    users: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever is in the last good file stays."""
    async with watching(clock, users_file=str(users)) as parts:
        ada = await parts.session_of("ada")
        users.write_text("ada without a colon\n")
        await parts.watch.poll()
        assert ada.ended is None
        assert f"users file not used: {users}:1" in caplog.text


# --- between two processes --------------------------------------------------------------------------


async def test_users_who_changed_between_two_processes_lose_their_sessions(
    users: Path, tmp_path: Path, clock: FakeClock
) -> None:
    """Also where `on_authenticate` knows users, too: a session tells whose its user is. Those of the application go on."""

    def store() -> SqliteStore:
        return SqliteStore(str(tmp_path / "sessions.db"), clock, timeout=20)

    async def log_in(parts: Parts, user: str, version: str) -> str:
        session = await parts.sessions.create(remote_ip="192.0.2.1", user=user, version=version)
        return session.ref

    async with watching(clock, store(), users_file=str(users)) as parts:
        file = parts.authentication.users_file
        assert file is not None
        refs = [await log_in(parts, user, file.users[user].version) for user in ("ada", "bob")]
        refs += [await log_in(parts, "ada", User("ada", version="7").version), await log_in(parts, "eve", "")]
    delete_user(str(users), "ada")
    async with watching(clock, store(), users_file=str(users)) as parts:
        parts.sessions.callbacks.register("authenticate", lambda *_: None)
        await parts.watch.dismiss_outdated()
        assert [await parts.sessions.get_by_ref(ref) is not None for ref in refs] == [False, True, True, True]
    async with watching(clock, store()) as parts:
        ended: list[str] = []
        parts.sessions.callbacks.register(
            "session_end", lambda session, reason: ended.append(f"{session.user} {reason}")
        )
        await parts.watch.dismiss_outdated()
        assert [await parts.sessions.get_by_ref(ref) is not None for ref in refs] == [False, False, True, True]
        assert await parts.sessions.settled(PATIENCE)
        assert "bob credentials" in ended
