"""The life of sessions as callbacks see it: every start has one end, in order, with the reason and the last data."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from wshttp.config import SessionSettings
from wshttp.errors import SessionEnded, StoreUnavailable
from wshttp.sessions import callbacks as callbacks_module
from wshttp.sessions import lifecycle, session_list, sweeper
from wshttp.sessions.callbacks import current_event
from wshttp.sessions.deliveries import AT_ONCE
from wshttp.sessions.ids import SessionId
from wshttp.sessions.notifier import NoSockets
from wshttp.sessions.record import Event, Reason, Record, Tombstone
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.stores.memory import MemoryStore
from wshttp.testing import FakeClock

IP = "192.0.2.1"
NewList = Callable[..., SessionList]


class Life:
    """What callbacks were told, in order."""

    def __init__(self, sessions: SessionList) -> None:
        self.log: list[tuple[Any, ...]] = []
        register = sessions.callbacks.register
        register("session_start", lambda session: self.log.append(("start", session.ref)))
        register("session_expiring", lambda session, seconds: self.log.append(("expiring", session.ref, seconds)))
        register("session_ending", lambda session, reason: self.log.append(("ending", session.ref, reason)))
        register("session_end", lambda session, reason: self.log.append(("end", session.ref, reason, dict(session))))

    def of(self, session: Session) -> list[str]:
        return [entry[0] for entry in self.log if entry[1] == session.ref]


@pytest.fixture
def life(sessions: SessionList) -> Life:
    return Life(sessions)


async def _within(awaitable: Awaitable[Any], seconds: float = 10) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


# --- start ------------------------------------------------------------------------------------------


@pytest.mark.feature("E1")
async def test_start_callbacks_finish_before_anybody_gets_the_session(sessions: SessionList) -> None:
    """Neither who creates it nor who finds it, by id or ref, sees it half made; what they set is committed."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        entered.set()
        await go_on.wait()
        session["ready"] = True

    creating = asyncio.create_task(sessions.create("s", remote_ip=IP))
    await _within(entered.wait())
    ref = (await sessions.store.scan())[0][0].ref
    finding = [
        asyncio.create_task(call)
        for call in (
            sessions.get("s"),
            sessions.get("s", remote_ip=IP),
            sessions.get_by_ref(ref),
            sessions.get_or_create("s", remote_ip=IP),
        )
    ]
    done, _ = await asyncio.wait({creating, *finding}, timeout=0.05)
    assert not done
    go_on.set()
    found = await _within(asyncio.gather(creating, *finding))
    assert len(set(found)) == 1
    assert found[0]["ready"] is True
    assert found[0].record.data == {"ready": True}


async def test_start_that_takes_too_long_is_an_outage_to_others(new_list: NewList) -> None:
    """They wait as long as for the store, and are told to come again; who creates it waits on."""
    sessions = new_list(store_timeout=0.01)
    go_on = asyncio.Event()
    sessions.callbacks.register("session_start", lambda session: go_on.wait())
    creating = asyncio.create_task(sessions.create("s", remote_ip=IP))
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await sessions.get("s")
    go_on.set()
    assert await sessions.get("s") is await _within(creating)


async def test_start_callback_works_on_its_own_session(sessions: SessionList) -> None:
    """It finds it by id and ref, increments, locks and renews it without waiting for itself."""

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        assert await sessions.get("s") is session
        assert await sessions.get_by_ref(session.ref) is session
        assert await session.increment("visits") == 1
        async with session.lock(timeout=1):
            session["locked"] = True
        await sessions.renew(session, user="zoë")

    session = await _within(sessions.create("s", remote_ip=IP))
    assert (dict(session), session.user) == ({"visits": 1, "locked": True}, "zoë")


async def test_start_whose_creator_gave_up_goes_on(sessions: SessionList, life: Life) -> None:
    """A client that vanishes while its session starts leaves a session like any other."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        entered.set()
        await go_on.wait()
        session["ready"] = True

    creating = asyncio.create_task(sessions.create("s", remote_ip=IP))
    await _within(entered.wait())
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    go_on.set()
    session = await sessions.get("s")
    assert session is not None
    assert session["ready"] is True
    await sessions.end(session)
    await sessions.settled(10)
    assert life.of(session) == ["start", "ending", "end"]


# --- end --------------------------------------------------------------------------------------------


@pytest.mark.feature("E1", "E2", "L11")
async def test_end_comes_once_with_reason_and_last_data(sessions: SessionList, life: Life) -> None:
    """In order: start, ending, end; of parallel callers one is told that it was the one."""
    session = await sessions.create(remote_ip=IP)
    session["n"] = 1
    await session.commit()
    outcomes = await asyncio.gather(*(sessions.end(session, Reason.ADMIN) for _ in range(50)))
    assert sorted(outcomes) == [False] * 49 + [True]
    await sessions.settled(10)
    assert life.log == [
        ("start", session.ref),
        ("ending", session.ref, Reason.ADMIN),
        ("end", session.ref, Reason.ADMIN, {"n": 1}),
    ]
    assert await sessions.store.owed() == 0


@pytest.mark.feature("E1")
async def test_end_of_every_kind_has_its_reason(new_list: NewList, clock: FakeClock) -> None:
    """Log-out, deadlines, limit, replacement, administrator, credentials, shutdown: one end for each start."""
    sessions = new_list(max_sessions=8, idle_timeout=1200, absolute_timeout=43_200)
    life = Life(sessions)
    expected: dict[str, Reason] = {}

    async def create(reason: Reason, **options: Any) -> Session:
        session = await sessions.create(remote_ip=IP, **options)
        expected[session.ref] = reason
        clock.advance(1)
        return session

    await create(Reason.LIMIT)
    await create(Reason.IDLE, user="i", idle_timeout=60)
    await create(Reason.ABSOLUTE, user="a", idle_timeout=0, absolute_timeout=60)
    await sessions.end(await create(Reason.LOGOUT), Reason.LOGOUT)
    await sessions.end(await create(Reason.CREDENTIALS), "credentials")
    await sessions.end((await create(Reason.ADMIN)).ref, Reason.ADMIN)
    await create(Reason.REPLACED, id="same")
    await create(Reason.SHUTDOWN, id="same", replace=True)
    for _ in range(5):
        await create(Reason.SHUTDOWN, user="s")
    clock.advance(60)
    await sessions.sweep()
    assert await sessions.close() == 0
    assert {entry[1]: entry[2] for entry in life.log if entry[0] == "end"} == expected
    assert [entry[0] for entry in life.log].count("start") == [entry[0] for entry in life.log].count("end")
    assert sessions.statistics.started == sessions.statistics.ended.total() == len(expected)
    assert sessions.statistics.ended[Reason.SHUTDOWN] == 6


@pytest.mark.feature("E1")
async def test_end_is_delivered_after_its_start(sessions: SessionList, life: Life) -> None:
    """A session that ends while it starts has its start first; nobody is handed a session that is over."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        entered.set()
        await go_on.wait()
        life.log.append(("started", session.ref))
        session["too late"] = True

    creating = asyncio.create_task(sessions.create("s", remote_ip=IP))
    await _within(entered.wait())
    finding = asyncio.create_task(sessions.get("s"))
    finding_by_ref = asyncio.create_task(sessions.get_by_ref((await sessions.store.scan())[0][0].ref))
    await asyncio.sleep(0)
    ending = asyncio.create_task(sessions.end_all())
    await _within(ending)
    await asyncio.sleep(0)
    assert [entry[0] for entry in life.log] == ["start"]
    go_on.set()
    session = await _within(creating)
    assert await _within(finding) is None
    assert await _within(finding_by_ref) is None
    await sessions.settled(10)
    assert life.of(session) == ["start", "started", "ending", "end"]
    assert (session.ended, life.log[-1][3]) == (Reason.ADMIN, {})


async def test_find_goes_on_to_the_successor_of_one_that_ended_while_it_started(sessions: SessionList) -> None:
    """Who waited for the start of a session that is over gets the one that has its id now."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        if not entered.is_set():
            entered.set()
            await go_on.wait()

    first = asyncio.create_task(sessions.create("s", remote_ip=IP))
    await _within(entered.wait())
    finding = asyncio.create_task(sessions.get("s"))
    await asyncio.sleep(0)
    second = await _within(sessions.create("s", remote_ip=IP, replace=True))
    go_on.set()
    assert await _within(finding) is second
    assert (await _within(first)).ended == Reason.REPLACED


async def test_write_in_an_end_callback_is_refused(sessions: SessionList) -> None:
    """The end is the end: `on_session_ending` and `on_session_end` read, and change nothing."""
    refused: list[str] = []

    @partial(sessions.callbacks.register, "session_ending")
    @partial(sessions.callbacks.register, "session_end")
    async def goodbye(session: Session, reason: Reason) -> None:
        for change in (lambda: session.update("n", lambda n: n), lambda: session.increment("n"), session.touch):
            with pytest.raises(SessionEnded):
                await change()
        with pytest.raises(SessionEnded):
            session["n"] = 2
        with pytest.raises(SessionEnded):
            session["items"].append(2)
        assert dict(session) == {"n": 1, "items": [1]}
        event = current_event()
        assert event is not None
        refused.append(event.kind)

    session = await sessions.create(remote_ip=IP, data={"n": 1, "items": [1]})
    await sessions.end(session)
    await sessions.settled(10)
    assert refused == ["session_ending", "end"]


@pytest.mark.feature("E6")
async def test_failing_callbacks_take_nothing_down(sessions: SessionList, life: Life, clock: FakeClock) -> None:
    """Each is reported, others are called, entries are settled, and the sessions live and end as always."""
    errors: list[tuple[str, type[Exception]]] = []

    async def fail(*_: Any) -> None:
        raise ZeroDivisionError

    for name in ("session_start", "session_expiring", "session_ending", "session_end"):
        sessions.callbacks[name].insert(0, fail)
    sessions.callbacks.register("callback_error", lambda event, error: errors.append((event.kind, type(error))))
    session = await sessions.create(remote_ip=IP)
    clock.advance(1141)
    await sessions.sweep()
    await sessions.settled(10)
    await sessions.end(session)
    await sessions.settled(10)
    assert life.of(session) == ["start", "expiring", "ending", "end"]
    assert errors == [(kind, ZeroDivisionError) for kind in ("start", "session_expiring", "session_ending", "end")]
    assert await sessions.store.owed() == 0


@pytest.mark.feature("E6")
async def test_end_is_tried_again_with_the_same_event(sessions: SessionList) -> None:
    """Up to three times more, while `on_callback_error` asks for it, with the same id, and then it is settled."""
    attempts: list[tuple[str, int]] = []

    async def fail(session: Session, reason: Reason) -> None:
        event = current_event()
        assert event is not None
        attempts.append((event.id, event.attempt))
        raise OSError

    sessions.callbacks.register("session_end", fail)
    sessions.callbacks.register("callback_error", lambda event, error: True)
    await sessions.end(await sessions.create(remote_ip=IP))
    await sessions.settled(10)
    assert [attempt for _, attempt in attempts] == [1, 2, 3, 4]
    assert len({event_id for event_id, _ in attempts}) == 1
    assert await sessions.store.owed() == 0


async def test_callback_that_never_returns_holds_nobody_up(sessions: SessionList, life: Life) -> None:
    """It is cancelled after its time; the session is handed out, and ends, with all other callbacks."""
    sessions.callbacks.timeout = 0.01

    async def hang(*_: Any) -> None:
        await asyncio.Event().wait()

    for name in ("session_start", "session_end"):
        sessions.callbacks[name].insert(0, hang)
    session = await _within(sessions.create(remote_ip=IP))
    await _within(sessions.end(session))
    assert await sessions.settled(10)
    assert life.of(session) == ["start", "ending", "end"]


async def test_callback_that_swallows_its_cancellation_holds_nobody_up(
    sessions: SessionList, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left to itself; what it writes later is not committed by anybody."""
    monkeypatch.setattr(callbacks_module, "_LAST_GASP", 0.01)
    sessions.callbacks.timeout = 0.01
    go_on, gone = asyncio.Event(), asyncio.Event()

    @partial(sessions.callbacks.register, "session_start")
    async def stubborn(session: Session) -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        session["late"] = True
        gone.set()

    session = await _within(sessions.create(remote_ip=IP))
    go_on.set()
    await _within(gone.wait())
    await session.commit()
    assert dict(session) == {}


async def test_commit_of_a_callback_that_fails_is_reported(sessions: SessionList) -> None:
    """What a start callback wrote and could not be kept is said to `on_callback_error`; the session lives."""
    errors: list[Exception] = []
    sessions.callbacks.register("callback_error", lambda event, error: errors.append(error))

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        session["items"] = []
        session["items"].append("x" * 70_000)

    session = await sessions.create(remote_ip=IP)
    assert [type(error).__name__ for error in errors] == ["DataTooLarge"]
    assert dict(session) == {}


# --- the last word ----------------------------------------------------------------------------------


class Sockets(NoSockets):
    """A notifier that writes down what it is told, and whose `on_disconnect` takes as long as a test wants."""

    def __init__(self, log: list[tuple[Any, ...]]) -> None:
        self.log = log
        self.go_on = asyncio.Event()
        self.go_on.set()

    def expiring(self, record: Record, seconds: float) -> None:
        self.log.append(("socket expiring", record.ref, seconds))

    def changed(self, record: Record) -> None:
        self.log.append(("socket changed", record.ref))

    def renewed(self, record: Record) -> None:
        self.log.append(("socket renewed", record.ref))

    def ended(self, record: Record, reason: Reason) -> Awaitable[None]:
        self.log.append(("socket closed", record.ref, reason))
        return self._disconnect(record)

    async def _disconnect(self, record: Record) -> None:
        await self.go_on.wait()
        self.log.append(("disconnected", record.ref))


@pytest.mark.feature("E2")
async def test_ending_comes_before_the_sockets_close_and_end_after(sessions: SessionList, life: Life) -> None:
    """Refused to others, then the last word, then the sockets, `on_disconnect`, and at last `on_session_end`."""
    sockets = sessions.notifier = Sockets(life.log)
    sockets.go_on.clear()

    @partial(sessions.callbacks.register, "session_ending")
    async def last_word(session: Session, reason: Reason) -> None:
        assert isinstance(await sessions.find("s"), Tombstone)
        assert session.ended == reason == Reason.LOGOUT

    session = await sessions.create("s", remote_ip=IP)
    await _within(sessions.end(session))
    assert life.of(session) == ["start", "ending", "socket closed"]
    await asyncio.sleep(0)
    assert not await sessions.settled(0.01)
    sockets.go_on.set()
    await sessions.settled(10)
    assert life.of(session) == ["start", "ending", "socket closed", "disconnected", "end"]


@pytest.mark.feature("E2")
async def test_last_word_has_a_second_at_most(
    sessions: SessionList, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many functions hang and are tried again, the sockets close; the end comes when all that is over."""
    assert lifecycle.LAST_WORD == 1.0
    monkeypatch.setattr(lifecycle, "LAST_WORD", 0.02)
    monkeypatch.setattr(callbacks_module, "_LAST_GASP", 0.0)
    sessions.notifier = Sockets(life.log)
    attempts: list[str] = []

    async def hang(session: Session, reason: Reason) -> None:
        attempts.append("x")
        if len(attempts) > 1:
            life.log.append(("again", session.ref))
        await asyncio.Event().wait()

    for _ in range(2):
        sessions.callbacks.register("session_ending", hang)
    sessions.callbacks.register("callback_error", lambda event, error: event.attempt < 3)
    session = await sessions.create(remote_ip=IP)
    await _within(sessions.end(session))
    assert await sessions.settled(10)
    assert len(attempts) == 6
    steps = life.of(session)
    assert steps.index("socket closed") <= steps.index("ending") + 2
    assert steps[-1] == "end"


async def test_slow_end_callbacks_keep_no_sockets_open(sessions: SessionList, life: Life) -> None:
    """However many `on_session_end` hang, other sessions' sockets are closed at once."""
    sessions.notifier = Sockets(life.log)
    go_on = asyncio.Event()
    sessions.callbacks.register("session_end", lambda session, reason: go_on.wait())
    many = [await sessions.create(remote_ip=IP) for _ in range(200)]
    for session in many:
        await _within(sessions.end(session))
    assert [entry[0] for entry in life.log].count("socket closed") == 200
    go_on.set()
    assert await sessions.settled(10)


# --- no deadlock ------------------------------------------------------------------------------------


async def test_callbacks_of_64_sessions_run_at_once(sessions: SessionList) -> None:
    """As many wait for a slow back end side by side, and no more."""
    running, most = 0, 0
    full, go_on = asyncio.Event(), asyncio.Event()

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 64:
            full.set()
        await go_on.wait()
        running -= 1

    creating = asyncio.gather(*(sessions.create(remote_ip=IP) for _ in range(200)))
    await _within(full.wait())
    await asyncio.sleep(0)
    assert running == 64
    go_on.set()
    await _within(creating)
    assert most == 64


async def test_start_callbacks_may_create_sessions(sessions: SessionList, life: Life) -> None:
    """100 deep, each waiting for the next, and from 64 at once; each has its start and its end."""

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        depth = session.start_parameters["depth"]
        if depth:
            await sessions.create(remote_ip=IP, start={"depth": depth - 1})

    await _within(sessions.create(remote_ip=IP, start={"depth": 100}))
    await _within(asyncio.gather(*(sessions.create(remote_ip=IP, start={"depth": 3}) for _ in range(64))))
    assert await sessions.count() == 101 + 4 * 64
    await sessions.close()
    assert [entry[0] for entry in life.log].count("end") == 101 + 4 * 64


async def test_callbacks_may_end_their_own_session(sessions: SessionList, life: Life) -> None:
    """In its start, its warning, a scheduled event; its end callbacks try in vain. Nobody waits for himself."""
    again: list[bool] = []

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        if session.start_parameters:
            session["last"] = True
            assert await sessions.end(session, Reason.LOGOUT)

    @partial(sessions.callbacks.register, "session_ending")
    @partial(sessions.callbacks.register, "session_end")
    async def goodbye(session: Session, reason: Reason) -> None:
        again.append(await sessions.end(session))

    session = await _within(sessions.create("s", remote_ip=IP, start={"end": True}))
    assert await sessions.settled(10)
    assert life.of(session) == ["start", "ending", "end"]
    assert life.log[-1][2:] == (Reason.LOGOUT, {"last": True})
    assert again == [False, False]


async def test_callbacks_may_end_each_others_sessions(sessions: SessionList, life: Life) -> None:
    """Two that end each other while both start, and a companion that ends who made it, do not wait for each other."""
    both = asyncio.Barrier(2)

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        other = session.start_parameters.get("other")
        if other in ("a", "b"):
            await both.wait()
            found = await sessions.store.load(SessionId.app(other).key, touch=False)
            if isinstance(found, Record):
                await sessions.end(found.ref, Reason.ADMIN)
        elif other == "companion":
            await sessions.create("companion", remote_ip=IP, start={"maker": session.ref})
        elif "maker" in session.start_parameters:
            await sessions.end(session.start_parameters["maker"], Reason.ADMIN)

    created = await _within(
        asyncio.gather(
            sessions.create("a", remote_ip=IP, start={"other": "b"}),
            sessions.create("b", remote_ip=IP, start={"other": "a"}),
            sessions.create("maker", remote_ip=IP, start={"other": "companion"}),
        ),
        5,
    )
    assert await sessions.settled(5)
    assert [session.ended for session in created] == [Reason.ADMIN] * 3
    for session in created:
        assert life.of(session) == ["start", "ending", "end"]


async def test_end_callbacks_may_create_and_end_sessions(sessions: SessionList, life: Life) -> None:
    """A successor that is made at the end of each session, and others that are ended with it."""
    numbers = itertools.count()

    @partial(sessions.callbacks.register, "session_end")
    async def succeed(session: Session, reason: Reason) -> None:
        if (number := next(numbers)) < 10:
            successor = await sessions.create(remote_ip=IP, start=session.start_parameters | {"n": number})
            await sessions.create(remote_ip=IP)
            await sessions.end(successor)

    await sessions.end(await sessions.create(remote_ip=IP))
    assert await sessions.settled(10)
    assert [entry[0] for entry in life.log].count("end") == 11
    assert await sessions.count() == 10


# --- warnings and scheduled events ------------------------------------------------------------------


@pytest.mark.feature("E9")
async def test_warning_comes_before_the_end(sessions: SessionList, life: Life, clock: FakeClock) -> None:
    """To callbacks and sockets, once per deadline, with the seconds that are left; its changes are committed."""
    sessions.notifier = Sockets(life.log)
    sessions.callbacks.register("session_expiring", lambda session, seconds: session.setdefault("warned", seconds))
    session = await sessions.create(remote_ip=IP)
    clock.advance(1141)
    for _ in range(3):
        await sessions.sweep()
    await sessions.settled(10)
    assert life.log[1:] == [("socket expiring", session.ref, 59), ("expiring", session.ref, 59)]
    assert session.record.data == {"warned": 59}
    await session.touch()
    clock.advance(59)
    await sessions.sweep()
    assert session.ended is None
    clock.advance(1141)
    await sessions.sweep()
    await sessions.settled(10)
    assert life.of(session)[3:] == ["ending", "socket closed", "disconnected", "end"]


async def test_warning_of_a_session_that_ended_meanwhile_is_dropped(
    sessions: SessionList, life: Life, clock: FakeClock
) -> None:
    """Who has ended is not said to be about to."""
    go_on = asyncio.Event()
    sessions.callbacks.register_scheduled("wait", lambda session, data: go_on.wait())
    session = await sessions.create(remote_ip=IP)
    session.schedule(0, "wait")
    await session.commit()
    await sessions.sweep()
    clock.advance(1141)
    await sessions.sweep()
    await sessions.end(session)
    go_on.set()
    await sessions.settled(10)
    assert life.of(session) == ["start", "ending", "end"]


@pytest.mark.feature("E8")
async def test_scheduled_event_is_called_at_its_time(sessions: SessionList, clock: FakeClock) -> None:
    """Once, with session and data, in its order, with the id that `schedule` returned; its changes are committed."""
    calls: list[tuple[str, Any]] = []

    async def remind(session: Session, data: Any) -> None:
        event = current_event()
        assert event is not None
        calls.append((event.id, data))
        session["reminded"] = data

    sessions.callbacks.register_scheduled("remind", remind)
    session = await sessions.create(remote_ip=IP)
    data = {"n": [1]}
    with UnitOfWork() as unit:
        ids = [session.schedule(60, "remind", data), session.schedule(60, "remind", 2), session.schedule(90, "remind")]
        data["n"].append(2)
        await unit.commit()
    clock.advance(59)
    await sessions.sweep()
    assert calls == []
    clock.advance(2)
    await sessions.sweep()
    await sessions.settled(10)
    assert calls == [(ids[0], {"n": [1]}), (ids[1], 2)]
    assert session.record.data == {"reminded": 2}
    await sessions.end(session)
    clock.advance(60)
    await sessions.sweep()
    await sessions.settled(10)
    assert len(calls) == 2
    assert await sessions.store.owed() == 0


@pytest.mark.feature("E8")
async def test_scheduled_event_of_a_session_that_ended_meanwhile_is_dropped(
    sessions: SessionList, clock: FakeClock
) -> None:
    """Also where it was taken from the store already, behind a slow callback of the same session."""
    go_on = asyncio.Event()
    calls: list[Any] = []
    sessions.callbacks.register_scheduled("wait", lambda session, data: go_on.wait())
    sessions.callbacks.register_scheduled("remind", lambda session, data: calls.append(data))
    session = await sessions.create(remote_ip=IP)
    session.schedule(0, "wait")
    session.schedule(0, "remind")
    await session.commit()
    await sessions.sweep()
    await sessions.end(session)
    go_on.set()
    await sessions.settled(10)
    assert calls == []
    assert await sessions.store.owed() == 0


# --- shutdown ---------------------------------------------------------------------------------------


@pytest.mark.feature("L13")
async def test_close_ends_all_and_delivers(sessions: SessionList, life: Life) -> None:
    """With reason `shutdown`, also who is just starting; then no session is created any more."""
    await sessions.open()
    for _ in range(300):
        await sessions.create(remote_ip=IP)
    starting = asyncio.create_task(sessions.create("late", remote_ip=IP))
    await asyncio.sleep(0)
    assert await sessions.close() == 0
    await _within(starting)
    ends = [entry[2] for entry in life.log if entry[0] == "end"]
    assert ends == [Reason.SHUTDOWN] * 301
    with pytest.raises(StoreUnavailable):
        await sessions.create(remote_ip=IP)
    await sessions.open()
    await sessions.create(remote_ip=IP)
    assert await sessions.close() == 0


@pytest.mark.feature("L13")
async def test_close_delivers_the_ends_that_time_has_brought(
    sessions: SessionList, life: Life, clock: FakeClock
) -> None:
    """Who is past the deadline when it closes has an end too, with its own reason."""
    session = await sessions.create(remote_ip=IP)
    clock.advance(1200)
    assert await sessions.close() == 0
    assert life.of(session) == ["start", "ending", "end"]
    assert session.ended == Reason.IDLE


@pytest.mark.feature("L13")
async def test_close_leaves_no_session_that_an_end_callback_made(sessions: SessionList, life: Life) -> None:
    """A successor that would never end is not begun."""
    errors: list[Exception] = []
    sessions.callbacks.register("callback_error", lambda event, error: errors.append(error))

    @partial(sessions.callbacks.register, "session_end")
    async def succeed(session: Session, reason: Reason) -> None:
        await sessions.create(remote_ip=IP)

    await sessions.create(remote_ip=IP)
    assert await sessions.close() == 0
    assert [type(error) for error in errors] == [StoreUnavailable]
    assert [entry[0] for entry in life.log] == ["start", "ending", "end"]
    assert await sessions.count() == 0


async def test_close_reports_what_it_could_not_deliver(sessions: SessionList) -> None:
    """It waits no longer than it may, counts each session once, and leaves nobody waiting for a start."""
    started: list[str] = []

    @partial(sessions.callbacks.register, "session_start")
    async def hang(session: Session) -> None:
        started.append(session.ref)
        await asyncio.Event().wait()

    creating = [asyncio.create_task(sessions.create(remote_ip=IP)) for _ in range(100)]
    await asyncio.sleep(0)
    assert await _within(sessions.close(timeout=0.05)) == 100
    await _within(asyncio.gather(*creating))
    assert len(started) == 64
    assert await sessions.settled(0)


@pytest.mark.feature("L13")
async def test_close_ends_nobody_where_the_store_outlives_the_process(clock: FakeClock) -> None:
    """Sessions in a durable store live on."""

    class Durable(MemoryStore):
        outlives_process = True

    store = Durable(clock)
    first = SessionList(SessionSettings(), store, clock=clock)
    life = Life(first)
    await first.open()
    session = await first.create("s", remote_ip=IP)
    assert await first.close() == 0
    assert life.of(session) == ["start"]
    second = SessionList(SessionSettings(), store, clock=clock)
    await second.open()
    found = await second.get("s")
    assert found is not None
    assert found.ref == session.ref
    await second.close()


# --- sweeping ---------------------------------------------------------------------------------------


@pytest.mark.feature("L10")
async def test_sweep_goes_on_after_a_failure(
    sessions: SessionList, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage of the store costs one sweep; the next one does what is due."""
    monkeypatch.setattr(sweeper, "SWEEP_INTERVAL", 0.001)
    ended = asyncio.Event()
    sessions.callbacks.register("session_end", lambda session, reason: ended.set())
    take_due, failures = sessions.store.take_due, iter([StoreUnavailable(), ValueError()])

    async def sometimes(maximum: int) -> Any:
        for failure in failures:
            raise failure
        return await take_due(maximum)

    monkeypatch.setattr(sessions.store, "take_due", sometimes)
    await sessions.create(remote_ip=IP)
    clock.advance(1201)
    await sessions.open()
    await _within(ended.wait())
    await sessions.close()
    assert caplog.text.count("a sweep failed") == 2


@pytest.mark.feature("E1", "E6")
async def test_notifier_that_fails_keeps_no_end_from_being_delivered(
    sessions: SessionList, life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    """It must not raise; where it does, that is logged, and the session ends as always."""

    class Broken(NoSockets):
        def ended(self, record: Record, reason: Reason) -> None:
            raise ZeroDivisionError

    sessions.notifier = Broken()
    session = await sessions.create(remote_ip=IP)
    assert await sessions.end(session)
    assert await sessions.settled(10)
    assert life.of(session) == ["start", "ending", "end"]
    assert await sessions.store.owed() == 0
    assert "were not told" in caplog.text


@pytest.mark.feature("E6")
async def test_start_that_is_tried_again_begins_with_nothing(sessions: SessionList) -> None:
    """What a try that failed had changed is dropped before the next one; other functions keep what they did."""
    tries: list[dict[str, Any]] = []
    sessions.callbacks.register("session_start", lambda session: session.setdefault("first", True))

    @partial(sessions.callbacks.register, "session_start")
    def welcome(session: Session) -> None:
        tries.append(dict(session))
        session[f"try {len(tries)}"] = True
        if len(tries) < 3:
            raise OSError

    sessions.callbacks.register("callback_error", lambda event, error: True)
    session = await sessions.create(remote_ip=IP)
    assert tries == [{"first": True}] * 3
    assert session.record.data == {"first": True, "try 3": True}


@pytest.mark.feature("E1")
async def test_drain_counts_what_was_never_settled(sessions: SessionList, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a store that goes with the process, what is owed then is lost: a drain says so, though nothing runs any more."""
    settle = sessions.store.settle

    async def fails_for_ends(event: Event) -> bool:
        if current_event() is None and sessions.statistics.ended:
            raise StoreUnavailable
        return await settle(event)

    monkeypatch.setattr(sessions.store, "settle", fails_for_ends)
    await sessions.create(remote_ip=IP)
    assert await sessions.close() == 1


@pytest.mark.feature("E1")
async def test_end_waits_for_a_start_without_a_worker(sessions: SessionList, life: Life) -> None:
    """Many sessions that end while they start keep no other session's sockets open."""
    gate = asyncio.Event()

    @partial(sessions.callbacks.register, "session_start")
    async def welcome(session: Session) -> None:
        if session.start_parameters:
            await gate.wait()

    fast = await sessions.create(remote_ip=IP)
    slow = [asyncio.create_task(sessions.create(remote_ip=IP, start={"slow": True})) for _ in range(AT_ONCE)]
    while await sessions.count() < 1 + AT_ONCE:
        await asyncio.sleep(0)
    refs = [session.ref async for session in sessions.scan() if session is not fast]
    ending = [asyncio.create_task(sessions.end(ref)) for ref in refs]
    while await sessions.count() > 1:
        await asyncio.sleep(0)
    await _within(sessions.end(fast))  # returns when its sockets are told
    assert "ending" in life.of(fast)
    gate.set()
    await _within(asyncio.gather(*slow, *ending))
    assert await sessions.settled(10)


@pytest.mark.feature("E1")
async def test_events_have_names_and_ids(sessions: SessionList) -> None:
    """Start, ending and end of one life are three events of its ref."""
    events: list[Event | None] = []
    for name in ("session_start", "session_ending", "session_end"):
        sessions.callbacks.register(name, lambda *_: events.append(current_event()))
    session = await sessions.create(remote_ip=IP)
    await sessions.end(session, Reason.ADMIN)
    await sessions.settled(10)
    start, ending, end = events
    assert start is not None
    assert end is not None
    assert (start.kind, start.ref, end.kind, end.ref, end.reason) == ("start", session.ref, "end", session.ref, "admin")
    assert ending is not None
    assert (ending.kind, ending.ref, ending.reason) == ("session_ending", session.ref, "admin")
    assert len({start.id, ending.id, end.id}) == 3


# --- who comes faster than others go ------------------------------------------------------------------


@pytest.mark.interpreted(reason="it changes a constant")
async def test_creation_waits_while_callbacks_do_not_keep_up(
    new_list: NewList, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who never keeps a cookie fills no memory with the ends of others: they wait, and are refused after a while."""
    monkeypatch.setattr(session_list, "BACKLOG", 2)
    sessions = new_list(store_timeout=0.02, max_sessions=3)
    go_on = asyncio.Event()
    sessions.callbacks.register("session_end", lambda session, reason: go_on.wait())
    refused = 0
    for _ in range(12):
        try:
            await sessions.create(remote_ip=IP)
        except StoreUnavailable:
            refused += 1
    assert (await sessions.count(), len(sessions._lifecycle._deliveries.refs), refused) == (3, 3, 6)
    assert sessions.statistics.refused["callbacks"] == 6
    assert not sessions._lifecycle._deliveries._for_room
    sessions._store_timeout = 10
    waiting = asyncio.create_task(sessions.create(remote_ip=IP))
    await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    assert await _within(waiting)


async def test_creation_in_a_callback_does_not_wait_for_callbacks(
    new_list: NewList, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be what they wait for."""
    monkeypatch.setattr(session_list, "BACKLOG", 1)
    sessions = new_list(store_timeout=0.02, max_sessions=1)

    @partial(sessions.callbacks.register, "session_end")
    async def succeed(session: Session, reason: Reason) -> None:
        if "successor" not in session:
            await sessions.create(remote_ip=IP, data={"successor": True})

    session = await sessions.create(remote_ip=IP)
    await sessions.end(session)
    assert await sessions.settled(10)
    assert await sessions.count() == 1
