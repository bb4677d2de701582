"""The session list against a plain model: any sequence of calls, with interleaved callers, keeps the three promises.

1. One id is one session, whoever asks.
2. Every start has exactly one end, in this order, with the reason that the model expects and the last data.
3. The end is the end: nothing finds, changes or revives a session that is over.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis_clock import TEST_TIME, end_leases, set_time
from redis_servers import RedisServer

from wshttp.config import SessionSettings
from wshttp.errors import LimitReached, SessionEnded, SessionExists
from wshttp.sessions.changes import ABSENT
from wshttp.sessions.ids import SessionId
from wshttp.sessions.record import RENEWED, Reason, Tombstone
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.store import Store
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.stores.memory import MemoryStore
from wshttp.stores.redis.store import RedisStore
from wshttp.stores.sqlite import SqliteStore
from wshttp.stores.sqlite_journal import touch_interval
from wshttp.testing import FakeClock

T = TypeVar("T")

IDLE, ABSOLUTE = 100.0, 400.0
MAXIMUM, PER_USER, PER_IP = 4, 2, 3
TICK = 1 / 1024
"""Seconds that every step takes, so that no two touches are at the same time."""

keys = st.sampled_from(["k", "items"])
names = st.sampled_from(["a", "b", "c", None])
users = st.sampled_from([None, None, "u", "u", "v"])
places = st.sampled_from(["192.0.2.1", "192.0.2.2"])
units = st.sampled_from([0, 1])
numbers = st.integers(0, 99)


@dataclass(eq=False)
class Life:
    """What the model knows of one session."""

    session: Session
    id: SessionId
    user: str | None
    place: str
    last_access: float
    began: float
    data: dict[str, Any]
    reason: Reason | None = None
    reported: bool = False
    """Its end has been, or must have been, delivered."""
    former: list[SessionId] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.reason is not None


class Sessions(RuleBasedStateMachine):
    """A session list, two units of work that are open all the time, and what should be."""

    @initialize(
        on_limit=st.sampled_from(["oldest", "refuse"]),
        several=st.lists(st.tuples(users, places), min_size=2, max_size=4),
    )
    def begin(self, on_limit: str, several: list[tuple[str | None, str]]) -> None:
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        chosen = SessionSettings(
            idle_timeout=IDLE,
            absolute_timeout=ABSOLUTE,
            warn_before=10,
            tombstone=1e9,
            max_sessions=MAXIMUM,
            max_sessions_per_user=PER_USER,
            max_sessions_per_ip=PER_IP,
            on_limit=on_limit,
        )
        self.chosen = chosen
        self.sessions = SessionList(chosen, self.new_store(), clock=self.clock)
        self.run(self.sessions.open(sweep=False))
        self.units = [UnitOfWork(), UnitOfWork()]
        self.pending: list[dict[Life, dict[str, Any]]] = [{}, {}]
        self.ended_by: list[set[Life]] = [set(), set()]
        self.lives: list[Life] = []
        self.starts: Counter[str] = Counter()
        self.ends: dict[str, list[tuple[Reason, dict[str, Any]]]] = {}
        self.sessions.callbacks.register("session_start", self._on_start)
        self.sessions.callbacks.register("session_end", self._on_end)
        for user, place in several:
            self._create(None, user, place, False)

    def new_store(self) -> Store:
        """Return a store, not open yet."""
        return MemoryStore(self.clock, tombstone=1e9)

    async def _on_start(self, session: Session) -> None:
        await asyncio.sleep(0)
        self.starts[session.ref] += 1
        session["started"] = True

    async def _on_end(self, session: Session, reason: Reason) -> None:
        assert self.starts[session.ref] == 1
        await asyncio.sleep(0)
        self.ends.setdefault(session.ref, []).append((reason, dict(session)))

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self._close()
        finally:
            self.loop.close()

    def _close(self) -> None:
        if self.sessions.store.outlives_process:
            self.run(self.sessions.end_all(reason=Reason.SHUTDOWN))
            self.run(self.sessions.sweep())
        assert self.run(self.sessions.close()) == 0
        for life in self.lives:
            if not life.over:
                life.reason = Reason.SHUTDOWN
            assert self.ends[life.session.ref] == [(life.reason, life.data)]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 20))

    # --- the model ----------------------------------------------------------------------------------

    @property
    def living(self) -> list[Life]:
        return [life for life in self.lives if not life.over]

    def tick(self, seconds: float = TICK) -> None:
        """Let time pass, for the list and for the model."""
        self.let_pass(seconds)
        now = self.clock.monotonic()
        for life in self.living:
            idle, absolute = life.last_access + IDLE, life.began + ABSOLUTE
            if now >= min(idle, absolute):
                life.reason = Reason.IDLE if idle <= absolute else Reason.ABSOLUTE
        self.run(self.sessions.store.scan(maximum=1000))  # which notices who is over

    def let_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def now(self) -> float:
        return self.clock.monotonic()

    def find(self, id: SessionId) -> Life | None:
        return next((life for life in self.living if life.id == id), None)

    def end(self, life: Life, reason: Reason) -> None:
        life.reason, life.reported = reason, True

    def room(self, user: str | None, place: str | None, going: list[Life]) -> list[Life] | None:
        """Return who must go for one more, or `None` where a limit says no."""
        living = self.living
        rules = []
        if user is not None:
            theirs = [life for life in living if life.user == user]
            rules.append((PER_USER, theirs, theirs))
        if place is not None:
            there = [life for life in living if life.place == place]
            rules.append((PER_IP, there, [life for life in there if life.user is None]))
            rules.append((MAXIMUM, living, [life for life in living if life.user is None]))
        for maximum, counted, candidates in rules:
            if sum(life not in going for life in counted) < maximum:
                continue
            free = [life for life in candidates if life not in going]
            if not free or self.sessions.settings.on_limit == "refuse":
                return None
            going.append(min(free, key=lambda life: life.last_access))
        return going

    def pick(self, data: st.DataObject) -> Life:
        """Choose a session that lives, or one of those that ended last."""
        over = [life for life in self.lives if life.over]
        return data.draw(st.sampled_from(self.living + over[-2:]))

    def seen(self, unit: int | None, life: Life) -> dict[str, Any]:
        """Return a session's data as a unit of work sees it."""
        changed = {} if unit is None else self.pending[unit].get(life, {})
        return {key: value for key, value in (life.data | changed).items() if value is not ABSENT}

    # --- what callers do ----------------------------------------------------------------------------

    @precondition(lambda self: len(self.living) < 3)
    @rule(user=users, place=places)
    def create_where_there_are_few(self, user: str | None, place: str) -> None:
        self._create(None, user, place, False)

    @rule(name=names, user=users, place=places, replace=st.booleans())
    def create(self, name: str | None, user: str | None, place: str, replace: bool) -> None:
        self._create(name, user, place, replace)

    def _create(self, name: str | None, user: str | None, place: str, replace: bool) -> None:
        self.tick()
        present = None if name is None else self.find(SessionId.app(name))
        if present is not None and not replace:
            with pytest.raises(SessionExists) as caught:
                self.run(self.sessions.create(name, remote_ip=place, user=user))
            assert caught.value.ref == present.session.ref
            return
        going = self.room(user, place, [present] if present else [])
        if going is None:
            with pytest.raises(LimitReached):
                self.run(self.sessions.create(name, remote_ip=place, user=user, replace=replace))
            return
        session = self.run(self.sessions.create(name, remote_ip=place, user=user, replace=replace))
        for life in going:
            self.end(life, Reason.REPLACED if life is present else Reason.LIMIT)
        self._add(session, user, place)

    def _add(self, session: Session, user: str | None, place: str) -> None:
        assert session.id is not None
        assert self.starts[session.ref] == 1
        self.lives.append(Life(session, session.id, user, place, self.now(), self.now(), {"started": True}))

    @rule(name=st.sampled_from(["a", "b", "c"]), place=places, callers=st.integers(2, 5))
    def get_or_create(self, name: str, place: str, callers: int) -> None:
        """Several callers want the same session at once."""
        self.tick()
        present = self.find(SessionId.app(name))
        going = None if present else self.room(None, place, [])

        async def all_at_once() -> list[Any]:
            calls = (self.sessions.get_or_create(name, remote_ip=place) for _ in range(callers))
            return await asyncio.gather(*calls, return_exceptions=True)

        found = self.run(all_at_once())
        if present is None and going is None:
            assert {type(each) for each in found} == {LimitReached}
            return
        assert len(set(found)) == 1
        if present is not None:
            assert found[0] is present.session
            present.last_access = self.now()
        else:
            for life in going or ():
                self.end(life, Reason.LIMIT)
            self._add(found[0], None, place)

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), touch=st.booleans(), by_ref=st.booleans())
    def get(self, data: st.DataObject, touch: bool, by_ref: bool) -> None:
        self.tick()
        life = self.pick(data)
        if by_ref:
            found = self.run(self.sessions.get_by_ref(life.session.ref, touch=touch))
            expected = None if life.over else life
        else:
            found = self.run(self.sessions.get(life.id, touch=touch))
            expected = self.find(life.id)
        assert found is (expected.session if expected else None)
        if expected and touch:
            expected.last_access = self.now()

    @precondition(lambda self: self.lives)
    @rule(data=st.data())
    def touch(self, data: st.DataObject) -> None:
        self.tick()
        self.touch_one(self.pick(data))

    def touch_one(self, life: Life) -> None:
        self.tick()
        if life.over:
            with pytest.raises(SessionEnded):
                self.run(life.session.touch())
        else:
            self.run(life.session.touch())
            life.last_access = self.now()

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), unit=units, key=keys, number=numbers, how=st.sampled_from(["set", "delete", "append"]))
    def write(self, data: st.DataObject, unit: int, key: str, number: int, how: str) -> None:
        """Change a session in one of the two units of work; nobody else may notice yet."""
        self.tick()
        life = self.pick(data)
        before = self.seen(unit, life)
        with self.units[unit]:
            try:
                value = self._write(life.session, key, number, how, before)
            except SessionEnded:
                assert life.over
                return
        if how != "delete" or key in before:
            assert not life.over or self.may_not_know(life)
            self.pending[unit].setdefault(life, {})[key] = value

    def _write(self, session: Session, key: str, number: int, how: str, before: dict[str, Any]) -> Any:
        if how == "delete":
            session.pop(key, None)
            return ABSENT
        if how == "append" and isinstance(before.get(key), list):
            session[key].append(number)
            return [*before[key], number]
        session[key] = value = [number] if how == "append" else number
        return value

    @precondition(lambda self: any(self.pending))
    @rule(unit=units)
    def commit(self, unit: int) -> None:
        """Each session that was changed and has ended by another's hand is one error; the rest is written."""
        self.tick()
        changed = {life: values for life, values in self.pending[unit].items() if values}
        lost = [life for life in changed if life.over and life not in self.ended_by[unit]]
        for _ in lost:
            with pytest.raises(SessionEnded):
                self.run(self.units[unit].commit())
        self.run(self.units[unit].commit())
        assert not self.units[unit].dirty
        for life, values in changed.items():
            if not life.over:
                merged = life.data | values
                life.data = {key: value for key, value in merged.items() if value is not ABSENT}
        self.pending[unit] = {}

    @precondition(lambda self: any(self.pending))
    @rule(unit=units)
    def rollback(self, unit: int) -> None:
        self.units[unit].rollback()
        self.pending[unit] = {}

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), unit=st.sampled_from([0, 1, None]), by=numbers)
    def increment(self, data: st.DataObject, unit: int | None, by: int) -> None:
        self.tick()
        life = self.pick(data)
        with UnitOfWork() if unit is None else self.units[unit]:
            if life.over:
                with pytest.raises(SessionEnded):
                    self.run(life.session.increment("n", by))
                return
            total = self.run(life.session.increment("n", by))
        assert total == life.data.get("n", 0) + by
        life.data["n"] = total

    @precondition(lambda self: self.lives)
    @rule(data=st.data(), user=users)
    def renew(self, data: st.DataObject, user: str | None) -> None:
        self.tick()
        life = self.pick(data)
        if life.over:
            with pytest.raises(SessionEnded):
                self.run(self.sessions.renew(life.session, user=user))
            return
        going: list[Life] | None = []
        if user is not None and user != life.user:
            going = self.room(user, None, [])
        if going is None:
            with pytest.raises(LimitReached):
                self.run(self.sessions.renew(life.session, user=user))
            return
        self.run(self.sessions.renew(life.session, user=user))
        for other in going:
            self.end(other, Reason.LIMIT)
        assert life.session.id is not None
        assert (life.session.id != life.id) == (life.id.kind == "token")
        if life.session.id != life.id:
            life.former.append(life.id)
            life.id = life.session.id
        life.user = life.user if user is None else user
        life.last_access = life.began = self.now()

    @precondition(lambda self: self.lives)
    @rule(
        data=st.data(), unit=st.sampled_from([0, 1, None]), reason=st.sampled_from(["logout", "admin", "credentials"])
    )
    def end_one(self, data: st.DataObject, unit: int | None, reason: str) -> None:
        self.tick()
        life = self.pick(data)
        with UnitOfWork() if unit is None else self.units[unit]:
            assert self.run(self.sessions.end(life.session, reason)) is not life.over
        if unit is not None:
            self.ended_by[unit].add(life)
            self.write_last_data(life, self.pending[unit].pop(life, {}))
        if not life.over:
            self.end(life, Reason(reason))

    def write_last_data(self, life: Life, changed: dict[str, Any]) -> None:
        """What a unit of work had changed in a session that it ends is committed, unless that is over already."""
        if not life.over:
            life.data = {key: value for key, value in (life.data | changed).items() if value is not ABSENT}

    @precondition(lambda self: len(self.living) >= 3)
    @rule(user=st.sampled_from(["u", "v"]), place=st.sampled_from([None, "192.0.2.1"]))
    def end_all(self, user: str, place: str | None) -> None:
        self.tick()
        going = [life for life in self.living if user == life.user and place in (None, life.place)]
        assert self.run(self.sessions.end_all(user=user, remote_ip=place)) == len(going)
        for life in going:
            self.end(life, Reason.ADMIN)

    @precondition(lambda self: len(self.living) >= 3)
    @rule(data=st.data(), order=st.permutations(["end", "end", "n", "n", "n", "commit", "commit", "touch", "peek"]))
    def race(self, data: st.DataObject, order: list[str]) -> None:
        """Many callers at once work on a session that two of them end."""
        self.tick()
        life = data.draw(st.sampled_from(self.living))
        session = life.session

        async def write(number: int) -> None:
            with UnitOfWork() as unit:
                session[f"race {number}"] = number
                await asyncio.sleep(0)
                await unit.commit()

        async def end(number: int) -> bool:
            with UnitOfWork():
                for _ in range(number % 3):
                    await asyncio.sleep(0)
                return await self.sessions.end(session, Reason.ADMIN)

        async def caller(number: int, what: str) -> Any:
            match what:
                case "end":
                    return await end(number)
                case "n":
                    return await session.increment("n")
                case "commit":
                    return await write(number)
                case "touch":
                    return await session.touch()
                case _:
                    return await self.sessions.get(life.id, touch=False)

        async def all_at_once() -> list[Any]:
            calls = (caller(number, what) for number, what in enumerate(order))
            return await asyncio.gather(*calls, return_exceptions=True)

        outcomes = self.run(all_at_once())
        assert sorted(outcome for outcome, what in zip(outcomes, order, strict=True) if what == "end") == [False, True]
        for number, (outcome, what) in enumerate(zip(outcomes, order, strict=True)):
            if what == "n" and not isinstance(outcome, SessionEnded):
                life.data["n"] = max(outcome, life.data.get("n", 0))
            elif what == "commit" and outcome is None:
                life.data[f"race {number}"] = number
            elif what == "peek":
                assert outcome in (session, None)
            else:
                assert isinstance(outcome, bool | SessionEnded | None)
        self.end(life, Reason.ADMIN)

    @rule(seconds=st.sampled_from([0.125, 1.0, 20.0, 45.0, 80.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.tick(seconds)

    @precondition(lambda self: any(life.over and not life.reported for life in self.lives))
    @rule()
    def sweep(self) -> None:
        """Report whom time has ended."""
        self.tick()
        over = [life for life in self.lives if life.over and not life.reported]
        assert self.run(self.sessions.sweep()) == len(over)
        for life in over:
            life.reported = True

    # --- the promises -------------------------------------------------------------------------------

    @invariant()
    def promises_are_kept(self) -> None:
        if not hasattr(self, "loop"):
            return
        assert self.run(self.sessions.settled(20))
        self._check_that_one_id_is_one_session()
        self._check_that_every_start_has_one_end()
        self._check_that_the_end_is_the_end()
        self._check_what_units_see()
        self._check_limits()

    def _check_that_one_id_is_one_session(self) -> None:
        for session_id in {life.id for life in self.lives}:
            expected = self.find(session_id)
            found = self.run(self.sessions.get(session_id, touch=False))
            assert found is (expected.session if expected else None)
        for life in self.living:
            assert self.run(self.sessions.get_by_ref(life.session.ref)) is life.session
            assert (life.session.user, life.session.ended) == (life.user, None)

    def _check_that_every_start_has_one_end(self) -> None:
        assert self.starts == Counter(life.session.ref for life in self.lives)
        expected = {life.session.ref: [(life.reason, life.data)] for life in self.lives if life.reported}
        assert self.ends == expected
        self._check_what_is_owed(sum(life.over and not life.reported for life in self.lives))

    def _check_what_is_owed(self, unreported: int) -> None:
        assert self.run(self.sessions.store.owed()) == unreported

    def _check_that_the_end_is_the_end(self) -> None:
        for life in self.lives:
            if not life.over:
                continue
            assert self.run(self.sessions.get_by_ref(life.session.ref, touch=True)) is None
            if not self.may_not_know(life):
                assert (life.session.ended, life.session.record.data) == (life.reason, life.data)
            if life.id.kind == "token":
                left = self.run(self.sessions.find(life.id))
                assert left == Tombstone(life.session.ref, str(life.reason))
        for life in self.lives:
            for former in life.former:
                assert self.run(self.sessions.find(former)) == Tombstone(life.session.ref, RENEWED)

    def may_not_know(self, life: Life) -> bool:
        """Whether a session may not look ended yet: time has ended it, and the list has a copy that learns of it later."""
        return self.sessions.store.outlives_process and not life.reported

    def _check_what_units_see(self) -> None:
        for life in self.living:
            with UnitOfWork():
                assert dict(life.session) == life.data
            for unit in (0, 1):
                with self.units[unit]:
                    assert dict(life.session) == self.seen(unit, life)

    def _check_limits(self) -> None:
        living = self.living
        assert self.run(self.sessions.count()) == len(living) <= MAXIMUM
        assert max(Counter(life.user for life in living if life.user).values(), default=0) <= PER_USER
        assert max(Counter(life.place for life in living).values(), default=0) <= PER_IP


class DurableSessions(Sessions):
    """The same in a file; and the process may stop or die between any two calls."""

    def new_store(self) -> Store:
        if not hasattr(self, "folder"):
            in_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # a sync there costs nothing
            self.folder = tempfile.TemporaryDirectory(dir=in_memory)
            self.deaths = 0
        return SqliteStore(f"{self.folder.name}/{self.deaths}.db", self.clock, timeout=20, tombstone=1e9)

    @rule(killed=st.booleans())
    def restart(self, killed: bool) -> None:
        """Sessions go on in another process; what was not committed is gone, and so is the memory of who ended what."""
        self.tick()
        dead = self.sessions
        if killed:
            self.kill()
        else:
            assert self.run(dead.close()) == 0
        self.sessions = SessionList(self.chosen, self.new_store(), callbacks=dead.callbacks, clock=self.clock)
        self.run(self.sessions.open(sweep=False))
        if killed:
            self.run(dead.close())
        self.units = [UnitOfWork(), UnitOfWork()]
        self.pending, self.ended_by = [{}, {}], [set(), set()]
        self.run(self.sessions.sweep())
        for life in self.lives:
            life.reported = life.reported or life.over
            found = self.run(self.sessions.get_by_ref(life.session.ref))
            assert (found is None) is life.over
            if found is not None:
                life.session, found.id = found, life.id
                late = found.record.last_access_at - (self.sessions.now() - self.now()) - life.last_access
                assert -0.001 <= late <= touch_interval(found.record)
            else:
                life.session = self.successor(life)
        for life in self.living:  # so that the order of idleness, which a death may blur, is known again
            self.touch_one(life)

    def kill(self) -> None:
        """Have the store as it is now be what the next process finds, whatever this one does yet."""
        self.deaths += 1
        for suffix in ("", "-wal"):
            shutil.copy(
                f"{self.folder.name}/{self.deaths - 1}.db{suffix}", f"{self.folder.name}/{self.deaths}.db{suffix}"
            )

    def successor(self, life: Life) -> Session:
        """Return how the new process knows a session that is over: not at all, so it is told."""
        record = life.session.record
        record.reason = life.reason
        successor = Session(record.copy(), self.sessions, life.id)
        successor.record.data = dict(life.data)
        return successor

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            if hasattr(self, "folder"):
                self.folder.cleanup()


class RedisSessions(DurableSessions):
    """The same on a Redis, where the next process is another node; `server` is set by who runs it."""

    server: ClassVar[RedisServer]

    def new_store(self) -> Store:
        if not hasattr(self, "store"):
            self.server.flush()
            self.let_pass(0)
        self.store = RedisStore(
            self.server.url(), prefix="machine", clock=self.clock, timeout=20, tombstone=1e9, time_script=TEST_TIME
        )
        return self.store

    def let_pass(self, seconds: float) -> None:
        super().let_pass(seconds)
        set_time(self.server, "machine", self.clock)

    def kill(self) -> None:
        self.run(self.store._node.tell_touches())  # what was not told dies with a node; the model knows nothing of that
        self.run(self.store.link.close())
        end_leases(self.server, "machine")

    def _check_what_is_owed(self, unreported: int) -> None:
        # That time has ended a session is written when it is reported, or when its id or its room is wanted.
        assert self.run(self.sessions.store.owed()) <= unreported


def test_sessions_on_redis(redis_server: RedisServer) -> None:
    """Nodes that follow each other keep the promises."""
    RedisSessions.server = redis_server
    run_state_machine_as_test(RedisSessions, settings=DURABLE)


TestSessions = Sessions.TestCase
TestDurableSessions = DurableSessions.TestCase
DURABLE = settings(
    max_examples=int(os.environ.get("WSHTTP_FAULTS", "3")) * 7,
    stateful_step_count=30,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestDurableSessions.settings = DURABLE
TestSessions.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
