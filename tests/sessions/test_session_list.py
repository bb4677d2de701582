"""The session list: finding, beginning, limits, renewal, ending many."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from wshttp.errors import (
    DataTooLarge,
    Forbidden,
    InvalidValue,
    LimitReached,
    SessionEnded,
    SessionExists,
    UsageError,
)
from wshttp.sessions.draft import Draft
from wshttp.sessions.ids import SessionId
from wshttp.sessions.record import RECORD_FIELDS, RENEWED, Reason, Record, Tombstone
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import RECENT, SessionList
from wshttp.sessions.store import Full
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.testing import FakeClock

IP = "192.0.2.1"
NewList = Callable[..., SessionList]


# --- finding ----------------------------------------------------------------------------------------


@pytest.mark.feature("L2")
async def test_same_id_is_the_same_session(sessions: SessionList) -> None:
    """Whoever finds a session, by id or ref, gets the one object of this process."""
    session = await sessions.create("s", remote_ip=IP)
    assert session.id == SessionId.app("s")
    found = [
        await sessions.get("s"),
        await sessions.get(SessionId.app("s")),
        await sessions.find("s"),
        await sessions.get_by_ref(session.ref),
        await sessions.get_or_create("s", remote_ip=IP),
        *[each async for each in sessions.scan()],
    ]
    assert found == [session] * 6


@pytest.mark.feature("L4")
async def test_find_creates_nothing(sessions: SessionList) -> None:
    """What is not there is `None`, whatever is asked for."""
    for absent in ("", "s", SessionId.new_token(), SessionId.ip(IP)):
        assert await sessions.get(absent) is None
    for ref in ("", "-", "zzz", "0" * 24, "é"):
        assert await sessions.get_by_ref(ref) is None
        assert await sessions.end(ref) is False
    assert await sessions.count() == 0


@pytest.mark.feature("L4", "L5", "L8")
async def test_get_touches_and_peeking_does_not(sessions: SessionList, clock: FakeClock) -> None:
    """By id it is activity unless told otherwise; by ref only if told so."""
    session = await sessions.create("s", remote_ip=IP)
    for call, expected in (
        (partial(sessions.get, "s", touch=False), 1100),
        (partial(sessions.get, "s", touch=False, remote_ip=IP), 1000),
        (partial(sessions.get_by_ref, session.ref), 900),
        (partial(sessions.get, "s"), 1200),
        (partial(sessions.get, "s", remote_ip=IP), 1200),
        (partial(sessions.get_by_ref, session.ref, touch=True), 1200),
    ):
        clock.advance(100)
        assert await call() is session
        assert session.expires_in == expected


async def test_get_from_another_address_is_none(sessions: SessionList, clock: FakeClock) -> None:
    """Where the address is given it must be that of the start, IPv6 by prefix; who comes from elsewhere touches nothing."""
    session = await sessions.create("s", remote_ip="2001:db8::1")
    clock.advance(100)
    assert await sessions.get("s", remote_ip="2001:db8:0:1::1") is None
    assert session.expires_in == 1100
    assert await sessions.get("s", remote_ip="2001:db8::2") is session
    assert session.expires_in == 1200


@pytest.mark.feature("L2", "I2")
async def test_get_or_create_in_parallel_makes_one(sessions: SessionList) -> None:
    """100 callers get one session, that started once, with the winner's data."""
    started: list[str] = []

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        await asyncio.sleep(0)
        started.append(session.ref)

    found = await asyncio.gather(*(sessions.get_or_create("s", remote_ip=IP, data={"n": n}) for n in range(100)))
    assert len(set(found)) == len(started) == await sessions.count() == 1


async def test_end_takes_no_reason_that_does_not_exist(sessions: SessionList) -> None:
    """The error lists those that there are, and nothing ends."""
    session = await sessions.create(remote_ip=IP)
    for end in (sessions.end(session, "banned"), sessions.end_all(reason="banned")):
        with pytest.raises(UsageError, match=r"'banned' is no reason for an end; there are logout, idle, .*shutdown"):
            await end
    assert session.ended is None
    with pytest.raises(ValueError, match="is no reason"):
        Reason("renewed")


@pytest.mark.feature("I3")
async def test_session_of_an_address_is_shared_behind_it(sessions: SessionList) -> None:
    """All of one IPv6 prefix have one, which carries no user, however it is asked for."""
    session = await sessions.create(sessions.ip_id("2001:db8::1"), remote_ip="2001:db8::1")
    assert session.identity == "ip"
    assert await sessions.get(sessions.ip_id("2001:db8::ffff")) is session
    assert await sessions.get(sessions.ip_id("2001:db8:1::1")) is None
    with pytest.raises(UsageError):
        await sessions.renew(session, user="zoë")
    with pytest.raises(UsageError):
        await sessions.create(sessions.ip_id(IP), remote_ip=IP, user="zoë")

    @partial(sessions.callbacks.register, "session_creating")
    async def log_in(draft: Draft) -> None:
        draft.user = "zoë"

    with pytest.raises(UsageError):
        await sessions.create(sessions.ip_id(IP), remote_ip=IP)
    assert await sessions.count() == 1


@pytest.mark.feature("I4")
async def test_credentials_id_is_that_of_this_list(new_list: NewList) -> None:
    """It depends on the secret: two lists without one do not know each other's, with the same one they do."""
    lists = [new_list() for _ in range(2)] + [new_list(secret="a" * 32) for _ in range(2)]
    ids = [sessions.credentials_id("zoë", "v", IP) for sessions in lists]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3


@pytest.mark.feature("I1")
async def test_session_without_an_id_gets_a_token(sessions: SessionList) -> None:
    """A new one each time, by which it is found; nobody finds it by the same text as another kind."""
    one, two = [await sessions.create(remote_ip=IP) for _ in range(2)]
    assert one.id is not None
    assert one.id != two.id
    assert (one.id.kind, await sessions.get(one.id)) == ("token", one)
    assert await sessions.get(one.id.value) is None


# --- beginning --------------------------------------------------------------------------------------


@pytest.mark.feature("I2")
async def test_create_with_an_id_that_is_taken(sessions: SessionList) -> None:
    """It is refused with the ref of who is there; with `replace` that one ends first."""
    first = await sessions.create("s", remote_ip=IP)
    with pytest.raises(SessionExists) as caught:
        await sessions.create("s", remote_ip=IP)
    assert caught.value.ref == first.ref
    second = await sessions.create("s", remote_ip=IP, replace=True)
    assert (first.ended, await sessions.get("s")) == (Reason.REPLACED, second)
    assert first.ref != second.ref


async def test_create_takes_no_options_that_do_not_exist(sessions: SessionList) -> None:
    """A misspelt one is an error, and so is data that is none; nothing is created."""
    with pytest.raises(UsageError, match=r"no option 'idle_time'; did you mean 'idle_timeout'\?"):
        await sessions.create(remote_ip=IP, idle_time=5)
    with pytest.raises(UsageError, match="no option 'bogus'; there are absolute_timeout, data, "):
        await sessions.get_or_create("a", remote_ip=IP, bogus=1)
    with pytest.raises(InvalidValue):
        await sessions.create(remote_ip=IP, data={"a": object()})
    with pytest.raises(InvalidValue):
        await sessions.create(remote_ip=IP, start={"a": object()})
    with pytest.raises(DataTooLarge):
        await sessions.create(remote_ip=IP, data={"a": "x" * 70_000})
    assert await sessions.count() == 0


@pytest.mark.feature("E3")
async def test_creating_may_change_the_draft(sessions: SessionList) -> None:
    """User, roles, time-outs, data: what it leaves there is what is created."""

    @partial(sessions.callbacks.register, "session_creating")
    async def prepare(draft: Draft) -> None:
        assert (draft.remote_ip, draft.identity, draft.user, draft.idle_timeout) == (IP, "app", None, 1200)
        draft.user, draft.roles = "zoë", ("a",)
        draft.idle_timeout, draft.absolute_timeout = 5, 0
        draft.data["n"] = 1

    session = await sessions.create("s", remote_ip=IP)
    assert (session.user, session.roles, session.expires_in, dict(session)) == ("zoë", ("a",), 5, {"n": 1})
    assert await sessions.count(user="zoë") == 1


@pytest.mark.feature("E3")
async def test_creating_may_give_another_session(sessions: SessionList) -> None:
    """That one is returned, and none is begun."""
    other = await sessions.create("other", remote_ip=IP)
    started: list[Session] = []
    sessions.callbacks.register("session_start", started.append)
    sessions.callbacks.register("session_creating", lambda draft: other)
    assert await sessions.create("s", remote_ip=IP) is other
    assert await sessions.get_or_create("s", remote_ip=IP) is other
    assert (started, await sessions.count()) == ([], 1)


@pytest.mark.feature("E3", "L3")
@pytest.mark.parametrize("answer", ["no", "failure"])
async def test_creating_may_refuse(sessions: SessionList, answer: str) -> None:
    """Nothing is left of it: no session, no event, no tombstone. A callback that fails lets nobody in."""
    started: list[Session] = []
    sessions.callbacks.register("session_start", started.append)
    sessions.callbacks.register("session_creating", lambda draft: False if answer == "no" else 1 // 0)
    with pytest.raises(Forbidden):
        await sessions.create("s", remote_ip=IP)
    assert (started, await sessions.count(), await sessions.find("s"), await sessions.store.owed()) == ([], 0, None, 0)


@pytest.mark.feature("L12")
async def test_successor_may_be_started_alike(sessions: SessionList, clock: FakeClock) -> None:
    """Of an expired session the reason and the start parameters are left, and no data; its successor has another id."""
    first = await sessions.create(remote_ip=IP, start={"page": "/x"}, data={"a": 1})
    assert first.id is not None
    clock.advance(1200)
    left = await sessions.find(first.id)
    assert isinstance(left, Tombstone)
    assert (left.ref, left.reason, left.start) == (first.ref, Reason.IDLE, {"page": "/x"})
    second = await sessions.create(remote_ip=IP, start=left.start)
    assert (second.start_parameters, dict(second)) == ({"page": "/x"}, {})
    assert second.id != first.id


# --- limits -----------------------------------------------------------------------------------------


@pytest.mark.feature("M1")
@pytest.mark.parametrize("setting", ["max_sessions", "max_sessions_per_user", "max_sessions_per_ip"])
@pytest.mark.parametrize("on_limit", ["oldest", "refuse"])
async def test_limit_holds_under_parallel_creates(new_list: NewList, setting: str, on_limit: str) -> None:
    """1,000 callers at once, with callbacks that let go of the loop: never more than the limit, and the books agree."""
    sessions = new_list(**{setting: 10}, on_limit=on_limit)
    most = 0

    @partial(sessions.callbacks.register, "session_creating")
    @partial(sessions.callbacks.register, "session_start")
    async def look(_: Any) -> None:
        nonlocal most
        await asyncio.sleep(0)
        most = max(most, await sessions.count())

    user = "zoë" if setting == "max_sessions_per_user" else None
    outcomes = await asyncio.gather(
        *(sessions.create(remote_ip=IP, user=user) for _ in range(1000)), return_exceptions=True
    )
    created = [outcome for outcome in outcomes if isinstance(outcome, Session)]
    refused = [outcome for outcome in outcomes if isinstance(outcome, LimitReached)]
    assert most == await sessions.count() == 10
    assert len(created) + len(refused) == 1000
    assert len(created) == (1000 if on_limit == "oldest" else 10)
    assert sum(session.ended == Reason.LIMIT for session in created) == len(created) - 10
    assert sessions.statistics.refused[f"session.{setting}"] == len(refused)
    for error in refused:
        assert (error.setting, error.maximum, error.in_all) == (f"session.{setting}", 10, setting == "max_sessions")


@pytest.mark.feature("M1")
async def test_limit_spares_who_is_logged_in(new_list: NewList, clock: FakeClock) -> None:
    """The longest idle anonymous session goes; where there is none, the new one is refused."""
    sessions = new_list(max_sessions=3)
    user = await sessions.create(remote_ip=IP, user="zoë")
    old, young = [await sessions.create(remote_ip=IP) for _ in range(2)]
    clock.advance(1)
    await old.touch()
    await sessions.create(remote_ip=IP, user="a")
    assert (user.ended, old.ended, young.ended) == (None, None, Reason.LIMIT)
    await sessions.renew(old, user="b")
    with pytest.raises(LimitReached):
        await sessions.create(remote_ip=IP)


@pytest.mark.feature("M1")
async def test_limit_may_change_while_it_runs(new_list: NewList) -> None:
    """The settings in force are those of the moment; 0 is no limit."""
    sessions = new_list(max_sessions=1, on_limit="refuse")
    await sessions.create(remote_ip=IP)
    sessions.settings = sessions.settings.model_copy(update={"max_sessions": 0})
    for _ in range(5):
        await sessions.create(remote_ip=IP)
    assert await sessions.count() == 6


@pytest.mark.feature("E5")
async def test_limit_may_be_let_pass(new_list: NewList) -> None:
    """`on_limit_reached` hears which, may let it pass, for each limit that is reached; nobody has gone before that.
    Whom nobody lets pass has as many go as there are too many.
    """
    sessions = new_list(max_sessions=2, max_sessions_per_ip=1)
    asked: list[Full] = []
    answers: list[Any] = [True, True, True, None]

    @partial(sessions.callbacks.register, "limit_reached")
    async def decide(limit: Full) -> Any:
        asked.append(limit)
        return answers[len(asked) - 1]

    first = await sessions.create(remote_ip=IP)
    second = await sessions.create(remote_ip=IP)
    third = await sessions.create(remote_ip=IP)
    assert asked == [Full("session.max_sessions_per_ip", 1)] * 2 + [Full("session.max_sessions", 2)]
    assert [session.ended for session in (first, second, third)] == [None] * 3
    await sessions.create(remote_ip="192.0.2.9")
    assert asked[3] == Full("session.max_sessions", 2)
    assert [session.ended for session in (first, second, third)] == [Reason.LIMIT, Reason.LIMIT, None]


@pytest.mark.feature("E5")
@pytest.mark.parametrize("answer", [False, None, "yes"])
async def test_limit_stands_where_nobody_lets_it_pass(new_list: NewList, answer: Any) -> None:
    """Only True lets it pass; a callback that fails does not."""
    sessions = new_list(max_sessions=1, on_limit="refuse")
    sessions.callbacks.register("limit_reached", lambda limit: 1 // 0)
    sessions.callbacks.register("limit_reached", lambda limit: answer)
    await sessions.create(remote_ip=IP)
    with pytest.raises(LimitReached):
        await sessions.create(remote_ip=IP)


# --- going on ---------------------------------------------------------------------------------------


@pytest.mark.feature("I9")
async def test_renew_changes_the_token_and_keeps_the_session(sessions: SessionList, clock: FakeClock) -> None:
    """Another token, the same ref and data, a user; both time-outs begin again; the old token is refused."""
    session = await sessions.create(remote_ip=IP, identity="cookie", data={"n": 1})
    old, ref = session.id, session.ref
    assert old is not None
    clock.advance(1000)
    await sessions.renew(session, user="zoë", roles=("a",), version="v")
    assert session.id is not None
    assert session.id != old
    assert (session.ref, session.user, session.roles, session.record.version) == (ref, "zoë", ("a",), "v")
    assert (session.expires_in, session.absolute_expires_in, dict(session)) == (1200, 43_200, {"n": 1})
    assert await sessions.get(session.id) is session
    left = await sessions.find(old)
    assert isinstance(left, Tombstone)
    assert (left.ref, left.reason) == (ref, RENEWED)
    assert await sessions.get(old) is None
    clock.advance(300)
    assert await sessions.find(old) is None


@pytest.mark.feature("I9")
async def test_renew_without_a_user_changes_the_token_only(sessions: SessionList) -> None:
    """Who is logged in stays so."""
    session = await sessions.create(remote_ip=IP, user="zoë", roles=("a",))
    old = session.id
    await sessions.renew(session)
    assert session.id != old
    assert (session.user, session.roles) == ("zoë", ("a",))


@pytest.mark.feature("I9")
async def test_renew_of_a_session_found_by_its_ref(sessions: SessionList) -> None:
    """Of a session whose client holds a token, another is made, though this process never knew the old one."""
    session = await sessions.create(remote_ip=IP, identity="cookie")
    old, ref = session.id, session.ref
    assert old is not None
    del session
    sessions._recent.clear()
    gc.collect()
    found = await sessions.get_by_ref(ref)
    assert found is not None
    assert found.id is None
    await sessions.renew(found, user="zoë")
    assert found.id is not None
    assert await sessions.get(found.id) is found
    assert await sessions.get(old) is None


@pytest.mark.feature("I9", "I2")
async def test_renew_keeps_an_id_that_is_no_token(sessions: SessionList) -> None:
    """What the application chose, or what says who the client is, stays."""
    for session_id in (SessionId.app("s"), sessions.credentials_id("zoë", "v", IP)):
        session = await sessions.create(session_id, remote_ip=IP)
        await sessions.renew(session, user="zoë")
        assert session.id == session_id
        assert await sessions.get(session_id) is session


@pytest.mark.feature("I9", "M1")
async def test_renew_keeps_the_limit_per_user(new_list: NewList, clock: FakeClock) -> None:
    """A log-in too many ends that user's longest idle session, or is refused, and then nothing has changed."""
    sessions = new_list(max_sessions_per_user=2)
    first, second, third = [await sessions.create(remote_ip=IP) for _ in range(3)]
    for session in (first, second):
        await sessions.renew(session, user="zoë")
        clock.advance(1)
    sessions.settings = sessions.settings.model_copy(update={"on_limit": "refuse"})
    before = third.id
    with pytest.raises(LimitReached) as caught:
        await sessions.renew(third, user="zoë")
    assert (caught.value.setting, caught.value.in_all) == ("session.max_sessions_per_user", False)
    assert (third.user, third.id, third.ended) == (None, before, None)
    sessions.settings = sessions.settings.model_copy(update={"on_limit": "oldest"})
    await sessions.renew(third, user="zoë")
    assert (first.ended, second.ended, third.user) == (Reason.LIMIT, None, "zoë")
    await sessions.settled(10)


@pytest.mark.feature("I9", "E5")
async def test_renew_asks_before_the_limit_counts(new_list: NewList) -> None:
    """`on_limit_reached` is asked at log-ins too."""
    sessions = new_list(max_sessions_per_user=1, on_limit="refuse")
    asked: list[Full] = []
    sessions.callbacks.register("limit_reached", lambda limit: asked.append(limit) or True)
    for _ in range(2):
        await sessions.renew(await sessions.create(remote_ip=IP), user="zoë")
    assert asked == [Full("session.max_sessions_per_user", 1)]
    assert await sessions.count(user="zoë") == 2


async def test_renew_of_an_ended_session_is_refused(sessions: SessionList) -> None:
    """Nothing comes back by a log-in."""
    session = await sessions.create(remote_ip=IP)
    await sessions.end(session)
    with pytest.raises(SessionEnded) as caught:
        await sessions.renew(session, user="zoë")
    assert caught.value.reason == Reason.LOGOUT
    assert await sessions.count() == 0


# --- time -------------------------------------------------------------------------------------------


@pytest.mark.feature("L5", "L6", "L7", "L10")
async def test_sessions_end_at_their_deadlines(sessions: SessionList, clock: FakeClock) -> None:
    """Idle or absolute, by their own time-outs, whichever comes first, and 0 never; an end is at most half a second late."""
    lateness: list[float] = []
    sessions.statistics.on_lateness = lateness.append
    timeouts = {Reason.IDLE: (100.1, 300), Reason.ABSOLUTE: (0, 200.2), None: (0, 0)}
    made = {
        reason: await sessions.create(remote_ip=IP, idle_timeout=idle, absolute_timeout=absolute)
        for reason, (idle, absolute) in timeouts.items()
    }
    active = await sessions.create(remote_ip=IP, idle_timeout=50, absolute_timeout=150)
    ends = {made[Reason.IDLE]: 100.1, made[Reason.ABSOLUTE]: 200.2, active: 150}
    for _ in range(1000):
        clock.advance(0.25)
        await sessions.sweep()
        if active.ended is None:
            await active.touch()
        for session, end in ends.items():
            passed = clock.monotonic() - 1000
            assert (session.ended is not None) == (passed >= end) or end <= passed <= end + 0.5
    assert [session.ended for session in made.values()] == list(timeouts)
    assert active.ended == Reason.ABSOLUTE
    assert len(lateness) == 3
    assert max(lateness) <= 0.5


@pytest.mark.feature("L6")
async def test_calendar_that_jumps_ends_nothing(sessions: SessionList, clock: FakeClock) -> None:
    """Somebody sets the machine's clock, by years: deadlines stay; what people read follows."""
    session = await sessions.create(remote_ip=IP)
    created_at = session.created_at
    for jump in (1e9, -2e9, 86_400):
        clock.jump(jump)
        assert await sessions.sweep() == 0
        assert session.expires_in == 1200
        created_at += jump
        assert session.created_at == created_at
    clock.advance(1200)
    assert await sessions.sweep() == 1


# --- temporary sessions -----------------------------------------------------------------------------


@pytest.mark.feature("L9")
async def test_temporary_session_is_in_no_list(new_list: NewList, clock: FakeClock) -> None:
    """No event, no limit, not to be found; it works like any other, and vanishes."""
    sessions = new_list(max_sessions=1, on_limit="refuse")
    events: list[str] = []
    for name in ("session_start", "session_ending", "session_end"):
        sessions.callbacks.register(name, lambda *_, name=name: events.append(name))
    await sessions.create("other", remote_ip=IP)
    session = await sessions.temporary("s", remote_ip=IP, data={"n": 1})
    session.setdefault("items", []).append(1)
    await session.commit()
    assert await session.increment("n") == 2
    assert await session.update("n", lambda n: n + 1) == 3
    async with session.lock():
        session["n"] = 4
    session.local["x"] = object()
    clock.advance(100)
    await session.touch()
    assert (session.expires_in, dict(session)) == (1200, {"n": 4, "items": [1]})
    assert await sessions.get("s") is None
    assert await sessions.count() == 1
    clock.advance(1e6)
    await sessions.sweep()
    await sessions.settled(10)
    assert session.ended is None
    assert events == ["session_start", "session_ending", "session_end"]


@pytest.mark.feature("L9")
async def test_temporary_session_is_released_as_it_is(sessions: SessionList, clock: FakeClock) -> None:
    """Release is its creation: with its data, its start now, its full time before it, under the limits; and once."""
    started: list[dict[str, Any]] = []
    sessions.callbacks.register("session_start", lambda session: started.append(dict(session)))
    session = await sessions.temporary("s", remote_ip=IP, data={"n": 1})
    session["m"] = 2
    clock.advance(5000)
    for _ in range(2):
        await session.release()
    assert started == [{"n": 1, "m": 2}]
    assert await sessions.get("s") is session
    assert (session.temporary, session.expires_in, session.absolute_expires_in) == (False, 1200, 43_200)
    assert session.created_at == clock.time()
    await sessions.end(session)
    with pytest.raises(SessionEnded):
        session["n"] = 2
    sessions.settings = sessions.settings.model_copy(update={"max_sessions": 1, "on_limit": "refuse"})
    await sessions.create("s", remote_ip=IP)
    with pytest.raises(SessionExists):
        await (await sessions.temporary("s", remote_ip=IP)).release()
    late = await sessions.temporary(remote_ip=IP)
    with pytest.raises(LimitReached):
        await late.release()
    assert late.temporary


@pytest.mark.feature("L9")
async def test_temporary_session_that_has_ended_stays_so(sessions: SessionList) -> None:
    """Once, without callbacks; it cannot be written to or released."""
    session = await sessions.temporary(remote_ip=IP, data={"n": 1})
    with UnitOfWork() as other:
        session["n"] = 2
    assert [await sessions.end(session, reason) for reason in ("logout", "admin")] == [True, False]
    assert session.ended == Reason.LOGOUT
    with pytest.raises(SessionEnded):
        await other.commit()
    for call in (session.touch(), session.increment("n"), session.release()):
        with pytest.raises(SessionEnded):
            await call
    assert (session.record.data, await sessions.count()) == ({"n": 1}, 0)


@pytest.mark.feature("L9")
@pytest.mark.parametrize("hook", ["session_creating", "limit_reached"])
async def test_temporary_session_that_ends_while_it_is_released(new_list: NewList, hook: str) -> None:
    """It is never put into the list: a life that is over would be found there for ever."""
    sessions, asked, answer = new_list(max_sessions=1), asyncio.Event(), asyncio.Event()
    await sessions.create("a", remote_ip=IP)
    started: list[str] = []
    sessions.callbacks.register("session_start", lambda session: started.append(session.ref))

    @partial(sessions.callbacks.register, hook)
    async def ask(_: Any) -> None:
        asked.set()
        await answer.wait()

    session = await sessions.temporary("b", remote_ip=IP)
    releasing = asyncio.create_task(session.release())
    await asyncio.wait_for(asked.wait(), 10)
    assert await sessions.end(session)
    answer.set()
    with pytest.raises(SessionEnded):
        await asyncio.wait_for(releasing, 10)
    assert await sessions.get("b") is None
    assert (started, await sessions.count()) == ([], 1)
    other = await sessions.get_or_create("b", remote_ip=IP)
    assert other.ref != session.ref


@pytest.mark.feature("L9")
async def test_temporary_session_that_ends_while_the_store_takes_it_in(
    sessions: SessionList, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its start and its end."""
    story: list[tuple[Any, ...]] = []
    sessions.callbacks.register("session_start", lambda session: story.append(("start", session.ref)))
    sessions.callbacks.register("session_end", lambda session, reason: story.append((str(reason), session.ref)))
    session = await sessions.temporary("s", remote_ip=IP)
    create = sessions.store.create

    async def slow_create(record: Record, limits: Any, *, replace: bool = False) -> Any:
        created = await create(record, limits, replace=replace)
        assert await sessions.end(session, "admin")
        return created

    monkeypatch.setattr(sessions.store, "create", slow_create)
    with pytest.raises(SessionEnded):
        await session.release()
    assert await sessions.settled(10)
    assert story == [("start", session.ref), ("admin", session.ref)]
    assert (await sessions.get("s"), await sessions.store.owed()) == (None, 0)


async def test_store_that_keeps_what_has_ended_holds_nobody_up(
    sessions: SessionList, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a store must not give out is not looked for again and again."""
    session = await sessions.create("s", remote_ip=IP)
    record = session.record
    await sessions.end(session)

    async def load(key: bytes, *, touch: bool) -> Record:
        return record

    monkeypatch.setattr(sessions.store, "load", load)
    assert await sessions.get("s") is None


@pytest.mark.feature("L9", "E1")
async def test_release_asks_as_creation_does(sessions: SessionList) -> None:
    """`on_session_creating` sees what the session has become, and may change or refuse it; another one is no answer."""
    asked: list[Draft] = []
    answers: list[Any] = [None]

    @partial(sessions.callbacks.register, "session_creating")
    def look(draft: Draft) -> Any:
        asked.append(draft)
        draft.data["seen"] = True
        draft.idle_timeout = 5
        return answers.pop(0)

    other = await sessions.create("other", remote_ip=IP)
    asked.clear()
    session = await sessions.temporary("s", remote_ip=IP, data={"n": 1}, start={"lang": "de"})
    assert asked == []
    session["n"] = 2
    answers += [False, other, None]
    for _ in range(2):
        with pytest.raises(Forbidden):
            await session.release()
        assert session.temporary
    assert session.record.data == {"n": 2}
    await session.release()
    assert (asked[-1].identity, asked[-1].start) == ("app", {"lang": "de"})
    assert dict(session) == {"n": 2, "seen": True}
    assert session.expires_in == 5
    assert await sessions.get("s") is session


# --- ending many ------------------------------------------------------------------------------------


@pytest.mark.feature("L11", "L13")
async def test_end_all_ends_who_meets_the_conditions(sessions: SessionList, clock: FakeClock) -> None:
    """By user, by address (IPv6: prefix), by age, with one to spare; and who is past the deadline."""
    made: dict[str, Session] = {}
    for name, user, where in (("a1", "a", IP), ("a2", "a", "2001:db8::1"), ("b", "b", IP), ("c", None, "2001:db8::2")):
        made[name] = await sessions.create(remote_ip=where, user=user)
        clock.advance(10)

    def ended() -> set[str]:
        return {name for name, session in made.items() if session.ended}

    assert await sessions.end_all(user="x") == 0
    assert await sessions.end_all(user="a", remote_ip=IP, before=made["a1"].created_at) == 0
    assert await sessions.end_all(user="a", keep=made["a1"].ref, reason=Reason.LOGOUT) == 1
    assert (ended(), made["a2"].ended) == ({"a2"}, Reason.LOGOUT)
    assert await sessions.end_all(remote_ip="2001:db8::99") == 1
    assert (ended(), made["c"].ended) == ({"a2", "c"}, Reason.ADMIN)
    assert await sessions.end_all(before=made["b"].created_at) == 1
    assert ended() == {"a1", "a2", "c"}
    assert await sessions.end_all(only_expired=True) == 0
    clock.advance(1200)
    assert await sessions.end_all(only_expired=True) == 1
    assert made["b"].ended == Reason.IDLE


async def test_end_refuses_a_reason_that_is_none(sessions: SessionList) -> None:
    """Only the reasons of the list; nothing has ended by another."""
    session = await sessions.create(remote_ip=IP)
    with pytest.raises(ValueError, match="bored"):
        await sessions.end(session, "bored")
    assert session.ended is None


async def test_ends_racing_writes_bring_nothing_back(sessions: SessionList) -> None:
    """10,000 ends against increments, commits, touches, log-ins and locks: each life is over once, with what was written."""
    ends: dict[str, dict[str, Any]] = {}
    sessions.callbacks.register("session_end", lambda session, reason: ends.update({session.ref: dict(session)}))
    made = [await sessions.create(remote_ip=IP) for _ in range(1000)]
    written: dict[str, dict[str, Any]] = {session.ref: {} for session in made}

    async def increment(session: Session) -> None:
        written[session.ref]["n"] = await session.increment("n")

    async def write(session: Session, number: int) -> None:
        with UnitOfWork() as unit:
            session[f"k{number}"] = number
            await asyncio.sleep(0)
            await unit.commit()
            written[session.ref][f"k{number}"] = number

    async def locked(session: Session) -> None:
        with UnitOfWork():
            async with session.lock():
                session["locked"] = True
                await asyncio.sleep(0)
            written[session.ref]["locked"] = True

    async def end(session: Session, number: int) -> bool:
        with UnitOfWork():
            for _ in range(number % 3):
                await asyncio.sleep(0)
            return await sessions.end(session, Reason.ADMIN)

    calls: list[Any] = []
    winners: list[Any] = []
    for session in made:
        calls += [increment(session), write(session, 1), session.touch(), locked(session)]
        winners += [end(session, number) for number in range(10)]
        calls += [sessions.renew(session, user="zoë"), write(session, 2), increment(session), session.touch()]
    outcomes, won = await asyncio.gather(asyncio.gather(*calls, return_exceptions=True), asyncio.gather(*winners))
    await sessions.settled(20)
    assert {type(outcome) for outcome in outcomes} == {type(None), SessionEnded}
    assert won.count(True) == len(ends) == 1000
    assert ends == written
    assert await sessions.count() == await sessions.store.owed() == 0
    for session in made:
        assert (session.ended, await sessions.get_by_ref(session.ref, touch=True)) == (Reason.ADMIN, None)
        assert session.id is not None
        assert await sessions.get(session.id) is None


# --- looking around ---------------------------------------------------------------------------------


async def test_scan_and_count_are_of_a_user_or_address(sessions: SessionList) -> None:
    """All, or who meets the conditions; each once."""
    made = [await sessions.create(remote_ip=f"192.0.2.{n % 3}", user=("a", "b", None, "a")[n % 4]) for n in range(300)]
    for conditions, expected in (
        ({}, made),
        ({"user": "a"}, [session for session in made if session.user == "a"]),
        ({"remote_ip": "192.0.2.1"}, made[1::3]),
        ({"user": "a", "remote_ip": "192.0.2.1"}, [session for session in made[1::3] if session.user == "a"]),
    ):
        found = [session async for session in sessions.scan(**conditions)]
        assert len(found) == await sessions.count(**conditions) == len(expected)
        assert set(found) == set(expected)


async def test_nobody_holds_what_nobody_uses(sessions: SessionList) -> None:
    """A `Session` that nobody has worked on of late is made again when it is asked for; its record is what lives."""
    session = await sessions.create("s", remote_ip=IP, data={"n": 1})
    record, known = session.record, weakref.ref(session)
    del session
    for _ in range(RECENT):
        assert known() is not None
        await sessions.create(remote_ip=IP)
    gc.collect()
    assert known() is None
    found = await sessions.get("s")
    assert found is not None
    assert found.record is record
    assert isinstance(record, Record)


async def test_nobody_holds_what_has_ended(sessions: SessionList) -> None:
    """However lately somebody has worked on it: its data is of no use any more."""
    session = await sessions.create("s", remote_ip=IP, data={"n": 1})
    known = weakref.ref(session)
    await sessions.end(session)
    await sessions.settled()
    del session
    gc.collect()
    assert known() is None


async def test_store_keeps_no_id(sessions: SessionList) -> None:
    """What a client holds is nowhere in the record; only its digest is."""
    session = await sessions.create(remote_ip=IP, user="zoë", start={"a": 1})
    assert session.id is not None
    record = session.record
    text = json.dumps({name: str(getattr(record, name)) for name in RECORD_FIELDS})
    assert session.id.value not in text
    assert record.key == session.id.key


@pytest.mark.feature("I9")
async def test_session_renewed_while_it_starts_is_not_found_by_its_old_token(sessions: SessionList) -> None:
    """Who waited for the start has a token that is over by then."""
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def start(session: Session) -> None:
        inside.set()
        await go_on.wait()
        await sessions.renew(session)

    sessions.callbacks.register("session_start", start)
    token = SessionId.new_token()
    creating = asyncio.create_task(sessions.create(token, remote_ip=IP))
    await inside.wait()
    finding = asyncio.create_task(sessions.get(token))
    await asyncio.sleep(0)
    go_on.set()
    assert await finding is None
    assert (await creating).ended is None
