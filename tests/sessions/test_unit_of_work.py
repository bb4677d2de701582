"""Units of work: what one request, message or callback has changed and not yet committed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wshttp.errors import DataTooLarge, SessionEnded, StoreUnavailable
from wshttp.sessions.changes import Changes
from wshttp.sessions.record import Record
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.unit_of_work import UnitOfWork, current_unit

IP = "192.0.2.1"


@pytest.mark.feature("T6")
async def test_two_units_see_their_own_changes_only(sessions: SessionList) -> None:
    """On one `Session`, each unit sees what it wrote, changed inside and deleted, and nobody else does."""
    session = await sessions.create(remote_ip=IP, data={"n": 1, "items": [1], "gone": 1})
    first, second = UnitOfWork(), UnitOfWork()
    with first:
        session["n"] = 2
        session["items"].append(2)
        del session["gone"]
        session["new"] = True
        mine = {"n": 2, "items": [1, 2], "new": True}
        assert dict(session) == mine
        assert list(session) == ["n", "items", "new"]
    for unit in (second, None):
        with unit or UnitOfWork():
            assert dict(session) == {"n": 1, "items": [1], "gone": 1}
    with first:
        assert dict(session) == mine
        assert "gone" not in session
        await first.commit()
    with second:
        assert dict(session) == mine


@pytest.mark.feature("T6")
async def test_units_merge_by_key(sessions: SessionList) -> None:
    """Changes to different keys never lose each other; for one key the last commit wins."""
    session = await sessions.create(remote_ip=IP)
    first, second = UnitOfWork(), UnitOfWork()
    with first:
        session["a"], session["both"] = 1, "first"
    with second:
        session["b"], session["both"] = 2, "second"
    await second.commit()
    await first.commit()
    assert dict(session) == {"a": 1, "b": 2, "both": "first"}


@pytest.mark.feature("T4")
async def test_commit_writes_changed_keys_only(sessions: SessionList) -> None:
    """What was read, even deeply, is not written back over what another has committed meanwhile."""
    session = await sessions.create(remote_ip=IP, data={"read": [1], "changed": [[1]]})
    with UnitOfWork() as unit:
        assert session["read"] == [1]
        session["changed"][0].append(2)
        with UnitOfWork() as other:
            session["read"] = "other"
            await other.commit()
        await unit.commit()
    assert dict(session) == {"read": "other", "changed": [[1, 2]]}


@pytest.mark.feature("T4")
async def test_reads_follow_what_others_commit(sessions: SessionList) -> None:
    """What a unit has not changed itself it sees as it is now, containers and other values alike."""
    session = await sessions.create(remote_ip=IP, data={"n": 1, "items": [1]})
    with UnitOfWork():
        assert (session["n"], session["items"]) == (1, [1])
        with UnitOfWork() as other:
            session["n"] = 2
            session["items"].append(2)
            await other.commit()
        assert (session["n"], session["items"]) == (2, [1, 2])


async def test_reads_outside_of_units_follow_too(sessions: SessionList) -> None:
    """A program that keeps a session at hand sees what requests write, also after a commit of its own."""
    session = await sessions.create(remote_ip=IP)
    session["items"] = [1]
    await session.commit()
    for n in range(2, 5):
        with UnitOfWork() as unit:
            session["items"].append(n)
            await unit.commit()
        assert session["items"] == list(range(1, n + 1))


async def test_a_held_container_reports_changes_after_a_commit(sessions: SessionList) -> None:
    """A reference to a list that lives through several commits keeps working."""
    session = await sessions.create(remote_ip=IP, data={"items": []})
    with UnitOfWork() as unit:
        items = session["items"]
        for n in range(3):
            items.append(n)
            await unit.commit()
            assert await _committed(sessions, session) == {"items": list(range(n + 1))}


async def test_a_container_that_was_replaced_is_nobodys(sessions: SessionList) -> None:
    """Changes to a list that the session no longer holds are not written, and break nothing."""
    session = await sessions.create(remote_ip=IP, data={"a": [1], "b": [1], "c": [1]})
    with UnitOfWork() as unit:
        held = [session["a"], session["b"], session["c"], session.pop("c")]
        session["a"] = 5
        session["b"] = ["new"]
        await unit.commit()
        for items in held:
            items.append("lost")
        assert not unit.dirty
        await unit.commit()
    assert await _committed(sessions, session) == {"a": 5, "b": ["new"]}


async def test_rollback_drops_what_is_not_committed(sessions: SessionList) -> None:
    """Data, events and time-outs of the unit are as if they had never been set."""
    session = await sessions.create(remote_ip=IP, data={"items": [1]})
    with UnitOfWork() as unit:
        session["items"].append(2)
        session["n"] = 1
        session.schedule(10, "call")
        session.set_timeouts(idle=5)
        assert unit.dirty
        unit.rollback()
        assert not unit.dirty
        assert dict(session) == {"items": [1]}
        await unit.commit()
    assert await _committed(sessions, session) == {"items": [1]}
    assert session.record.idle_timeout == sessions.settings.idle_timeout


async def test_commit_covers_several_sessions(sessions: SessionList) -> None:
    """A unit commits all that it changed, whichever session it was in."""
    one, two = [await sessions.create(remote_ip=IP) for _ in range(2)]
    with UnitOfWork() as unit:
        one["n"], two["n"] = 1, 2
        await unit.commit()
    assert (await _committed(sessions, one), await _committed(sessions, two)) == ({"n": 1}, {"n": 2})


async def test_unit_follows_into_tasks(sessions: SessionList) -> None:
    """A task that a handler starts works in the handler's unit."""
    session = await sessions.create(remote_ip=IP)
    with UnitOfWork() as unit:

        async def set_it() -> None:
            session["n"] = 1

        await asyncio.create_task(set_it())
        assert session["n"] == 1
        assert current_unit() is unit
    assert current_unit() is None
    assert dict(session) == {}


async def test_unit_that_is_entered_for_good_is_that_of_the_task(sessions: SessionList) -> None:
    """`enter` holds for the rest of the task, and for no other."""

    async def handler() -> UnitOfWork | None:
        UnitOfWork().enter()
        return current_unit()

    assert await asyncio.create_task(handler()) is not None
    assert current_unit() is None


async def test_commit_after_the_end_raises_and_changes_nothing(sessions: SessionList) -> None:
    """What was changed before the end and not committed is lost, and its owner is told."""
    session = await sessions.create(remote_ip=IP, data={"n": 1, "items": []})
    with UnitOfWork() as unit:
        session["n"] = 2
        session["items"].append(1)
        await _end_elsewhere(sessions, session)
        with pytest.raises(SessionEnded) as caught:
            await unit.commit()
        assert (caught.value.ref, caught.value.reason) == (session.ref, "admin")
    assert session.record.data == {"n": 1, "items": []}


async def test_refused_change_does_not_take_an_earlier_one_with_it(sessions: SessionList) -> None:
    """Who changed a list before the end, and tried again after it, is still told at the commit what was lost."""
    session = await sessions.create(remote_ip=IP)
    with UnitOfWork() as unit:
        session["items"] = [1]
        await _end_elsewhere(sessions, session)
        with pytest.raises(SessionEnded):
            session["items"].append(2)
        with pytest.raises(SessionEnded):
            await unit.commit()
    assert session.record.data == {}


async def test_commit_of_the_unit_that_ended_the_session_is_silent(sessions: SessionList) -> None:
    """What it changed before is the last data; what a container of it may still hold is no error."""
    session = await sessions.create(remote_ip=IP)
    ends: list[dict[str, Any]] = []
    sessions.callbacks.register("session_end", lambda session, reason: ends.append(dict(session)))
    with UnitOfWork() as unit:
        session["n"] = 1
        await sessions.end(session)
        await unit.commit()
    await sessions.settled(10)
    assert ends == [{"n": 1}]


async def test_commit_with_nothing_to_commit_stands_after_the_end(sessions: SessionList) -> None:
    """Reading a session that ends meanwhile is no mistake."""
    session = await sessions.create(remote_ip=IP, data={"items": []})
    with UnitOfWork() as unit:
        assert session["items"] == []
        await _end_elsewhere(sessions, session)
        await unit.commit()


async def test_commit_above_the_maximum_drops_the_changes(sessions: SessionList) -> None:
    """Data that became too large inside is refused as a whole; the session goes on as it was."""
    session = await sessions.create(remote_ip=IP, data={"items": []})
    with UnitOfWork() as unit:
        session["n"] = 1
        session["items"].append("x" * sessions.settings.max_data)
        with pytest.raises(DataTooLarge):
            await unit.commit()
        assert dict(session) == {"items": []}
        session["n"] = 2
        await unit.commit()
    assert await _committed(sessions, session) == {"items": [], "n": 2}


class _Outage:
    """A store that does not answer, once."""

    def __init__(self, sessions: SessionList) -> None:
        self._apply = sessions.store.apply
        sessions.store.apply = self._fail  # type: ignore[method-assign]
        self._sessions = sessions

    async def _fail(self, ref: str, changes: Changes, max_data: int) -> Record:
        self._sessions.store.apply = self._apply  # type: ignore[method-assign]
        raise StoreUnavailable


async def test_commit_in_an_outage_may_be_tried_again(sessions: SessionList) -> None:
    """Nothing is lost that was not acknowledged: values, deletions, lists that are held, events, time-outs."""
    session = await sessions.create(remote_ip=IP, data={"gone": 1, "items": [], "read": [1]})
    with UnitOfWork() as unit:
        items = session["items"]
        items.append(1)
        session["n"], session["again"] = 1, 1
        del session["gone"]
        session.schedule(10, "call")
        session.set_timeouts(idle=50)
        _Outage(sessions)
        with pytest.raises(StoreUnavailable):
            await unit.commit()
        assert dict(session) == {"items": [1], "n": 1, "again": 1, "read": [1]}
        items.append(2)
        session["again"] = 2
        await unit.commit()
        assert not unit.dirty
    assert await _committed(sessions, session) == {"items": [1, 2], "n": 1, "again": 2, "read": [1]}
    assert session.record.idle_timeout == 50


async def test_changes_made_while_a_commit_is_under_way_are_kept(sessions: SessionList) -> None:
    """They belong to the next commit, whatever becomes of this one."""
    session = await sessions.create(remote_ip=IP, data={"items": [1]})
    apply = sessions.store.apply
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Record:
        arrived.set()
        await go_on.wait()
        return await apply(*arguments)

    sessions.store.apply = slow  # type: ignore[method-assign]
    with UnitOfWork() as unit:
        session["items"].append(2)
        session["a"] = 1
        first = asyncio.create_task(unit.commit())
        await arrived.wait()
        session["items"].append(3)
        session["b"] = 1
        go_on.set()
        await first
        assert await _committed(sessions, session) == {"items": [1, 2], "a": 1}
        assert unit.dirty
        await unit.commit()
    assert await _committed(sessions, session) == {"items": [1, 2, 3], "a": 1, "b": 1}


async def _committed(sessions: SessionList, session: Session) -> dict[str, Any]:
    record = await sessions.store.load_ref(session.ref, touch=False)
    assert record is not None
    return dict(record.data)


async def _end_elsewhere(sessions: SessionList, session: Session) -> None:
    """End a session in another unit of work."""
    with UnitOfWork():
        await sessions.end(session, "admin")


@pytest.mark.feature("I9")
async def test_unit_bound_to_a_key_is_over_when_another_renews(sessions: SessionList) -> None:
    """It reads and writes nothing any more, and drops what it had; who is not bound goes on, and so does who renewed."""
    session = await sessions.create(remote_ip=IP, data={"n": 1})
    bound, renewing, free = UnitOfWork(), UnitOfWork(), UnitOfWork()
    for unit in (bound, renewing):
        unit.bind(session.ref, session.record.key)
    with bound:
        session["mine"] = 1
    with renewing:
        await sessions.renew(session, user="ada")
        assert (session.user, session["n"]) == ("ada", 1)
        session["n"] = 2
        await renewing.commit()
    with bound:
        for look in (lambda: session["n"], lambda: session.user, lambda: session.roles, lambda: list(session)):
            with pytest.raises(SessionEnded) as caught:
                look()
            assert caught.value.reason == "renewed"
        for write in (
            session.increment("n"),
            session.update("n", lambda n: 9),
            bound.commit(),
            sessions.renew(session),
        ):
            with pytest.raises(SessionEnded) as caught:
                await write
            assert caught.value.reason == "renewed"
    for unit in (free, None):
        with unit or free:
            assert (session.user, await session.increment("n", 0)) == ("ada", 2)
    session["background"] = True
    await session.commit()
    assert await _committed(sessions, session) == {"n": 2, "background": True}
