"""The session, as an application sees it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest

from wshttp.errors import DataTooLarge, InvalidValue, SessionEnded, StoreUnavailable
from wshttp.sessions.ids import SessionId
from wshttp.sessions.record import Reason
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.testing import FakeClock

NewList = Callable[..., SessionList]

IP = "192.0.2.1"


# --- facts ------------------------------------------------------------------------------------------


async def test_facts_are_those_of_its_creation(sessions: SessionList, clock: FakeClock) -> None:
    """Who, from where, when; times are Unix seconds."""
    session = await sessions.create(
        SessionId.credentials(b"s", "zoë", "v", IP), remote_ip=IP, user="zoë", roles=("a",), start={"p": [1]}
    )
    assert (session.identity, session.user, session.roles, session.remote_ip) == ("credentials", "zoë", ("a",), IP)
    assert session.created_at == session.last_access_at == clock.time()
    assert (session.expires_in, session.absolute_expires_in) == (1200, 43_200)
    assert session.expires_at == clock.time() + 1200
    assert (session.ended, session.connections, session.starting) == (None, 0, None)
    assert session.start_parameters == {"p": [1]}
    session.start_parameters["p"].append(2)
    assert session.start_parameters == {"p": [1]}


async def test_facts_of_a_session_that_never_ends(sessions: SessionList) -> None:
    """No deadline is infinitely far."""
    session = await sessions.create(remote_ip=IP, idle_timeout=0, absolute_timeout=0)
    assert session.expires_in == session.absolute_expires_in == session.expires_at == math.inf
    assert session.describe()["expires_in"] is None


async def test_facts_tell_no_secret(sessions: SessionList) -> None:
    """Neither its text nor what a client is told of it has the id in it."""
    session = await sessions.create(remote_ip=IP, user="zoë")
    assert session.id is not None
    told = f"{session!r} {session} {session.describe()} {session.id!r}"
    assert session.id.value not in told
    assert session.ref in repr(session)


async def test_two_sessions_with_equal_data_are_two(sessions: SessionList) -> None:
    """A session equals itself only, and may be a key."""
    one, two = [await sessions.create(remote_ip=IP, data={"a": 1}) for _ in range(2)]
    assert one != two
    assert len({one, two, one}) == 2


# --- data -------------------------------------------------------------------------------------------


@pytest.mark.feature("T1")
async def test_session_is_a_mutable_mapping(sessions: SessionList) -> None:
    """It does all that a dictionary with text keys does, but for `update`, which changes one key."""
    session = await sessions.create(remote_ip=IP)
    assert isinstance(session, MutableMapping)
    session["a"] = 1
    session["b"] = [1]
    assert (len(session), list(session), "a" in session, "x" in session, 5 in session) == (
        2,
        ["a", "b"],
        True,
        False,
        False,
    )
    assert (session["a"], session.get("x"), session.get("x", 7)) == (1, None, 7)
    assert list(session.items()) == [("a", 1), ("b", [1])]
    assert (session.pop("a"), session.pop("a", None)) == (1, None)
    for missing in ("a", "x", 5):
        with pytest.raises(KeyError):
            session[missing]  # type: ignore[index]
        with pytest.raises(KeyError):
            del session[missing]  # type: ignore[arg-type]
    session.clear()
    await session.commit()
    assert dict(session) == {}


@pytest.mark.feature("T1")
async def test_session_refuses_what_is_not_json(sessions: SessionList) -> None:
    """At the assignment, for values and for keys; nothing is changed by it."""
    session = await sessions.create(remote_ip=IP, data={"a": {}})
    for key, value in (("a", object()), ("a", (1,)), ("a", math.nan), (1, 1), ("\ud800", 1), ("a", "\ud800")):
        with pytest.raises(InvalidValue):
            session[key] = value  # type: ignore[index]
        with pytest.raises(InvalidValue):
            session.setdefault(f"new {key!r}", value) if isinstance(key, str) and value != 1 else session.setdefault(
                key
            )  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        session["a"]["b"] = {1, 2}
    await session.commit()
    assert dict(session) == {"a": {}}


@pytest.mark.feature("T1")
async def test_session_refuses_what_is_too_large(sessions: SessionList) -> None:
    """At the assignment where it is plain, and what was there stays."""
    session = await sessions.create(remote_ip=IP, data={"a": 1})
    with pytest.raises(DataTooLarge) as caught:
        session["a"] = "x" * 65536
    assert (caught.value.maximum, caught.value.size) == (65536, 65536 + len('"a":""') + 1)
    assert session["a"] == 1
    with pytest.raises(DataTooLarge):
        await sessions.create(remote_ip=IP, data={"a": "x" * 65536})


async def test_session_over_a_lowered_limit_may_shrink(sessions: SessionList) -> None:
    """What a lowered `max_data` made too large may become smaller step by step, and no larger."""
    session = await sessions.create(remote_ip=IP, data={"a": "x" * 1000})
    sessions.settings = sessions.settings.model_copy(update={"max_data": 100})
    session["a"] = "x" * 500
    await session.commit()
    with pytest.raises(DataTooLarge):
        session["a"] = "x" * 501
    assert session["a"] == "x" * 500


@pytest.mark.feature("T4")
async def test_setdefault_returns_what_the_session_holds(sessions: SessionList) -> None:
    """`session.setdefault("items", []).append(...)` works, the first time and later."""
    session = await sessions.create(remote_ip=IP)
    for n in range(3):
        session.setdefault("items", []).append(n)
        await session.commit()
    assert session.record.data == {"items": [0, 1, 2]}


@pytest.mark.feature("T6")
async def test_increment_is_seen_at_once(sessions: SessionList) -> None:
    """It returns the new value, all see it, and no commit is needed; what the unit had changed before counts."""
    session = await sessions.create(remote_ip=IP)
    with UnitOfWork() as unit:
        session["n"] = 10
        assert await session.increment("n") == 11
        assert session["n"] == 11
        assert await session.increment("f", 0.5) == 0.5
        assert await session.increment("n", -1) == 10
        assert not unit.dirty
    assert session.record.data == {"n": 10, "f": 0.5}
    session["text"] = "1"
    for key, by in (("text", 1), ("n", "1"), ("n", math.nan), ("n", True)):
        with pytest.raises(InvalidValue):
            await session.increment(key, by)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        await session.increment(1)  # type: ignore[arg-type]


@pytest.mark.feature("T6")
async def test_parallel_increments_lose_none(sessions: SessionList) -> None:
    """10,000 at once leave 10,000, from as many units of work."""
    session = await sessions.create("s", remote_ip=IP)

    async def handler() -> float:
        with UnitOfWork() as unit:
            found = await sessions.get("s")
            assert found is session
            total = await found.increment("n")
            found[f"key {total % 10}"] = total
            await unit.commit()
        return total

    totals = await asyncio.gather(*(handler() for _ in range(10_000)))
    assert sorted(totals) == list(range(1, 10_001))
    assert session["n"] == 10_000
    assert len(session) == 11


@pytest.mark.feature("T6")
async def test_update_changes_one_key_atomically(sessions: SessionList) -> None:
    """The function gets the value, or the default, and may change it in place; what it returns is set and returned."""
    session = await sessions.create(remote_ip=IP, data={"items": [1]})
    held = session["items"]
    assert await session.update("items", lambda items: [*items, 2]) == [1, 2]
    assert await session.update("n", lambda n: n + 1, default=5) == 6
    assert await session.update("none", lambda value: value) is None
    assert session["items"] == [1, 2]
    held.append("lost")
    await session.commit()
    assert session.record.data == {"items": [1, 2], "n": 6, "none": None}
    with pytest.raises(InvalidValue):
        await session.update("n", lambda n: {n})
    with pytest.raises(InvalidValue):
        session.update("n", 5)  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="assign keys to set several"):
        session.update({"n": 5})  # type: ignore[arg-type]  # as one does with a dictionary
    with pytest.raises(ZeroDivisionError):
        await session.update("n", lambda n: n / 0)
    assert session["n"] == 6


@pytest.mark.feature("T6")
async def test_update_begins_again_where_another_was_first(sessions: SessionList) -> None:
    """No update is lost to one that came between its read and its write."""
    session = await sessions.create(remote_ip=IP, data={"items": []})
    seen: list[list[int]] = []

    def add(items: list[int]) -> list[int]:
        seen.append(items)
        if len(seen) == 1:  # another node writes in this instant
            record = session.record
            record.data["items"] = [7]
        return [*items, 1]

    assert await session.update("items", add) == [7, 1]
    assert seen == [[], [7]]


# --- time -------------------------------------------------------------------------------------------


@pytest.mark.feature("L5", "L8")
async def test_touch_moves_the_idle_deadline(sessions: SessionList, clock: FakeClock) -> None:
    """By the idle time-out from now; the absolute one stays."""
    session = await sessions.create(remote_ip=IP)
    clock.advance(1000)
    assert session.expires_in == 200
    await session.touch()
    assert (session.expires_in, session.absolute_expires_in) == (1200, 42_200)
    assert session.last_access_at == clock.time()


@pytest.mark.feature("L7")
async def test_timeouts_are_changed_with_the_commit(sessions: SessionList, clock: FakeClock) -> None:
    """Each session may have its own; 0 is none, and what is not given stays."""
    session = await sessions.create(remote_ip=IP, idle_timeout=100, absolute_timeout=500)
    session.set_timeouts(idle=200)
    assert session.expires_in == 100
    await session.commit()
    assert (session.expires_in, session.absolute_expires_in) == (200, 500)
    session.set_timeouts(absolute=0)
    session.set_timeouts(idle=0)
    await session.commit()
    clock.advance(1e9)
    await sessions.sweep()
    assert (session.expires_in, session.ended) == (math.inf, None)


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan, "5", 1e308])
async def test_timeouts_that_are_none_are_refused(sessions: SessionList, seconds: float) -> None:
    """Time-outs and delays are numbers from 0 up, of this world, at creation and later; nothing is changed by another."""
    session = await sessions.create(remote_ip=IP)
    with pytest.raises(InvalidValue):
        session.set_timeouts(idle=5, absolute=seconds)
    with pytest.raises(InvalidValue):
        session.schedule(seconds, "call")
    with pytest.raises(InvalidValue):
        await sessions.create(remote_ip=IP, idle_timeout=seconds)
    await session.commit()
    assert (session.expires_in, await sessions.count()) == (1200, 1)


@pytest.mark.parametrize("name", [["x"], 1, None, b"x"])
async def test_scheduled_event_has_a_name(new_list: NewList, name: Any) -> None:
    """What is no text is refused at once, and not when it is due."""
    session = await new_list().create(remote_ip="192.0.2.1")
    with pytest.raises(InvalidValue, match="has a name"):
        session.schedule(0, name)


async def test_scheduled_event_is_no_larger_than_a_session(new_list: NewList) -> None:
    """Else what `session.max_data` keeps out would be kept all the same."""
    session = await new_list(max_data=100).create(remote_ip=IP)
    with pytest.raises(DataTooLarge):
        session.schedule(5, "call", "x" * 100)
    session.schedule(5, "call", "x" * 50)
    await session.commit()


@pytest.mark.parametrize("roles", [[7], [b"admin"], [object()]])
async def test_roles_are_text(sessions: SessionList, roles: list[Any]) -> None:
    """What no store can keep is refused at the door, and nothing has changed."""
    with pytest.raises(InvalidValue):
        await sessions.create("s", remote_ip=IP, user="ada", roles=roles)
    session = await sessions.create("s", remote_ip=IP)
    with pytest.raises(InvalidValue):
        await sessions.renew(session, user="ada", roles=tuple(roles))
    assert (session.user, await sessions.count()) == (None, 1)


# --- the end ----------------------------------------------------------------------------------------


async def test_every_change_after_the_end_is_refused(sessions: SessionList) -> None:
    """Writes, deep ones too, and all that goes on raise `SessionEnded` with the reason; reads give the last data."""
    session = await sessions.create(remote_ip=IP, data={"n": 1, "items": [[1]]})
    held = session["items"]
    await sessions.end(session, Reason.LOGOUT)
    changes = [
        lambda: session.__setitem__("n", 2),
        lambda: session.__delitem__("n"),
        lambda: session.pop("n"),
        lambda: session.clear(),
        lambda: session.setdefault("x", 1),
        lambda: session["items"].append(2),
        lambda: session["items"][0].append(2),
        lambda: held.append(2),
        lambda: session.set_timeouts(idle=5),
        lambda: session.schedule(5, "call"),
    ]
    for change in changes:
        with pytest.raises(SessionEnded) as caught:
            change()
        assert (caught.value.ref, caught.value.reason) == (session.ref, "logout")
        assert dict(session) == {"n": 1, "items": [[1]]}
    for call in (
        session.increment("n"),
        session.update("n", lambda n: n + 1),
        session.touch(),
        session.refresh(),
        session.lock().__aenter__(),
        sessions.renew(session),
    ):
        with pytest.raises(SessionEnded) as caught:
            await call
        assert caught.value.reason == "logout"
    await session.commit()
    assert session.record.data == {"n": 1, "items": [[1]]}


# --- locks ------------------------------------------------------------------------------------------


@pytest.mark.feature("T5")
async def test_lock_lets_one_work_at_a_time(sessions: SessionList) -> None:
    """Reads in it are fresh, and its changes are committed before the next comes: nothing is lost."""
    session = await sessions.create(remote_ip=IP, data={"n": 0, "items": []})

    async def handler(n: int) -> None:
        with UnitOfWork():
            assert session["items"] is not None
            async with session.lock() as locked:
                count = locked["n"]
                await asyncio.sleep(0)
                locked["items"].append(n)
                locked["n"] = count + 1

    await asyncio.gather(*(handler(n) for n in range(100)))
    assert session["n"] == 100
    assert session["items"] == list(range(100))


@pytest.mark.feature("T5")
async def test_lock_is_waited_for_no_longer_than_said(sessions: SessionList) -> None:
    """Then it is a `TimeoutError`, and the lock is free again once its holder is done."""
    session = await sessions.create(remote_ip=IP)
    async with session.lock():
        with pytest.raises(TimeoutError):
            async with session.lock(timeout=0.01):
                pytest.fail("two hold the lock")
    async with session.lock(timeout=0.01):
        pass


async def test_lock_is_given_back_where_the_work_fails(sessions: SessionList) -> None:
    """The error comes through, nothing is committed, and the next one gets the lock."""
    session = await sessions.create(remote_ip=IP)
    with UnitOfWork(), pytest.raises(ZeroDivisionError):
        async with session.lock():
            session["n"] = 1
            raise ZeroDivisionError
    async with session.lock(timeout=0.01):
        assert "n" not in session


async def test_lock_is_given_back_where_it_cannot_be_read(
    sessions: SessionList, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage between the lock and the first read leaves no lock behind."""
    session = await sessions.create(remote_ip=IP)

    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as outage, pytest.raises(StoreUnavailable):
        outage.setattr(sessions.store, "load_ref", fail)
        async with session.lock():
            pytest.fail("there was nothing to read")
    async with session.lock(timeout=0.01):
        pass


async def test_lock_ends_with_its_session(sessions: SessionList) -> None:
    """The holder's changes are refused; who waits is told at once."""
    session = await sessions.create(remote_ip=IP)

    async def wait() -> None:
        async with session.lock(timeout=25):
            pytest.fail("the session has ended")

    with pytest.raises(SessionEnded):
        async with session.lock():
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0)
            with UnitOfWork():
                await sessions.end(session, "admin")
            session.record.reason, reason = None, session.record.reason  # as on a node that does not know yet
            session["n"] = 1
            session.record.reason = reason
    with pytest.raises(SessionEnded):
        await asyncio.wait_for(waiting, 10)


# --- local objects ----------------------------------------------------------------------------------


@pytest.mark.feature("T2")
async def test_local_holds_any_object_until_the_end(sessions: SessionList) -> None:
    """As long as the session lives, also where nobody holds the `Session`; its end callbacks still see it."""
    (await sessions.create("s", remote_ip=IP)).local["object"] = held = object()
    for _ in range(3):
        found = await sessions.get("s")
        assert found is not None
        assert found.local["object"] is held
        del found
    seen: list[object] = []
    sessions.callbacks.register("session_end", lambda session, reason: seen.append(session.local["object"]))
    found = await sessions.get("s")
    assert found is not None
    await sessions.end(found.ref)
    await sessions.settled(10)
    assert seen == [held]
    assert not sessions._pinned


@pytest.mark.feature("T2")
async def test_local_of_a_released_session_is_kept(sessions: SessionList) -> None:
    """What was there while it was temporary is there afterwards."""
    session = await sessions.temporary("s", remote_ip=IP)
    session.local["object"] = held = object()
    await session.release()
    del session
    found = await sessions.get("s")
    assert found is not None
    assert found.local["object"] is held
