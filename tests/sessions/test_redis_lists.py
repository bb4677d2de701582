"""Several session lists on one Redis, which work on the same sessions, and die: every start has one end, after it."""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis_nodes import Cluster
from redis_servers import RedisServer

from wshttp.config import SessionSettings
from wshttp.errors import LimitReached, SessionEnded, SessionExists, StoreUnavailable
from wshttp.sessions.callbacks import current_event
from wshttp.sessions.record import Reason
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList

SETTINGS = SessionSettings(
    idle_timeout=100,
    absolute_timeout=400,
    warn_before=10,
    max_sessions=8,
    max_sessions_per_user=3,
    max_sessions_per_ip=5,
)
SEEDS = range(int(os.environ.get("WSHTTP_FAULTS", "3")))


class Lists:
    """Three lists, each a node of its own, and what their callbacks were told: by session, in order."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.random = random.Random(seed)
        self.told: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.refs: list[str] = []
        self.living: list[SessionList] = []

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Lists]:
        self.living = [await self.new() for _ in range(3)]
        yield self
        for each in self.living:
            await each.close()

    async def new(self) -> SessionList:
        store = self.cluster.store()
        sessions = SessionList(SETTINGS, store, clock=self.cluster.clock)
        sessions.callbacks.register("session_start", self._on_start)
        sessions.callbacks.register("session_end", self._on_end)
        await sessions.open(sweep=False)
        return sessions

    async def _on_start(self, session: Session) -> None:
        await self._note("start", session)

    async def _on_end(self, session: Session, reason: Reason) -> None:
        await self._note("end", session)

    async def _note(self, kind: str, session: Session) -> None:
        event = current_event()
        assert event is not None
        self.told[session.ref].append((f"{kind} begins", event.id))
        for _ in range(self.random.randint(0, 6)):
            await asyncio.sleep(0)
        self.told[session.ref].append((f"{kind} done", event.id))

    async def something(self) -> None:
        """Do what any caller on any node may do."""
        sessions, ref = self.random.choice(self.living), self.random.choice(self.refs[-8:] or [""])
        try:
            match self.random.choice(["create", "create", "get", "end", "write", "sweep", "sweep"]):
                case "create":
                    name, user = self.random.choice([None, "a", "b"]), self.random.choice([None, None, "u", "v"])
                    where = self.random.choice(["192.0.2.1", "192.0.2.2"])
                    session = await sessions.create(
                        name, remote_ip=where, user=user, replace=self.random.random() < 0.3
                    )
                    self.refs.append(session.ref)
                case "get":
                    self.refs.append((await sessions.get_or_create("c", remote_ip="192.0.2.3")).ref)
                case "end":
                    await sessions.end(ref, Reason.ADMIN)
                case "write":
                    found = await sessions.get_by_ref(ref, touch=True)
                    if found is not None:
                        await found.increment("n")
                case _:
                    await sessions.sweep()
        except (SessionEnded, SessionExists, LimitReached, StoreUnavailable):
            pass

    async def let_pass(self, seconds: float) -> None:
        self.cluster.advance(seconds)
        for each in self.living:
            await each.store.renew_lease()

    async def kill_one(self) -> None:
        """End a node in the midst of what it is doing, without a word; another one comes for it."""
        number = self.random.randrange(3)
        dead = self.living[number]
        calls = [asyncio.create_task(self.something()) for _ in range(4)]
        for _ in range(self.random.randint(0, 8)):
            await asyncio.sleep(0)
        await self.cluster.kill(dead.store)
        await asyncio.gather(*calls, return_exceptions=True)
        await dead.close()
        self.living[number] = await self.new()

    async def end_all(self) -> None:
        """Let everything be over, and delivered."""
        for _ in range(3):
            await self.let_pass(500)
            for each in self.living * 4:
                await each.sweep()
                assert await each.settled(20)


@pytest.mark.feature("E1", "W9")
@pytest.mark.parametrize("deaths", [0.0, 0.1])
@pytest.mark.parametrize("seed", SEEDS)
async def test_every_start_has_one_end_on_whatever_node(
    redis_server: RedisServer, redis_prefix: str, seed: int, deaths: float
) -> None:
    """In this order; a repeat only where a node died, and with the same event id. Then nothing is left."""
    cluster = Cluster(redis_server, redis_prefix)
    async with Lists(cluster, seed).opened() as lists:
        for _ in range(40):
            await asyncio.gather(*(lists.something() for _ in range(lists.random.randint(1, 6))))
            await lists.let_pass(lists.random.choice([0.0, 0.0, 0.01, 1.0, 3.0, 20.0]))
            if lists.random.random() < deaths:
                await lists.kill_one()
        await lists.end_all()
        store = lists.living[0].store
        assert (await store.owed(), await store.count()) == (0, 0)
    assert {name for name, left in cluster.keys().items() if left == -1} <= {"meta", "test-clock"}
    assert len(lists.told) > 20
    for told in lists.told.values():
        kinds = [kind for kind, _ in told]
        if not deaths:
            assert kinds == ["start begins", "start done", "end begins", "end done"]
        assert "start done" in kinds[: kinds.index("end begins")]
        for kind in ("start", "end"):
            assert len({event_id for what, event_id in told if what.startswith(kind)}) == 1


@pytest.mark.feature("E8")
async def test_scheduled_event_of_a_session_that_ended_elsewhere_is_dropped(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    """Also where it was taken from the store already, and nothing is heard of the end; a warning likewise."""
    async with Lists(Cluster(redis_server, redis_prefix), 0).opened() as lists:
        one, other, _ = lists.living
        went_on, calls = asyncio.Event(), list[object]()
        one.callbacks.register_scheduled("wait", lambda session, data: went_on.wait())
        one.callbacks.register_scheduled("remind", lambda session, data: calls.append(data))
        one.callbacks.register("session_expiring", lambda session, seconds: calls.append(seconds))
        session = await one.create("s", remote_ip="192.0.2.1")
        session.schedule(50, "wait")
        session.schedule(91, "remind")
        await session.commit()
        for seconds in (51, 41):
            await lists.let_pass(seconds)
            await one.sweep()
        assert await other.end(session.ref, Reason.ADMIN)
        assert await other.settled(20)
        went_on.set()
        assert await one.settled(20)
        assert calls == []
        await lists.end_all()
        assert await other.store.owed() == 0


@pytest.mark.feature("E8")
async def test_scheduled_event_waits_while_nobody_knows_whether_its_session_lives(
    redis_server: RedisServer, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called when the store is back, once."""
    async with Lists(Cluster(redis_server, redis_prefix), 0).opened() as lists:
        one, calls = lists.living[0], list[object]()
        one.callbacks.register_scheduled("remind", lambda session, data: calls.append(data))
        session = await one.create("s", remote_ip="192.0.2.1")
        session.schedule(0, "remind", "now")
        await session.commit()

        async def away(keys: object) -> object:
            raise StoreUnavailable

        with monkeypatch.context() as outage:
            outage.setattr(one.store, "load_many", away)
            await one.sweep()
            assert await one.settled(20)
            assert calls == []
        for _ in range(2):
            await one.sweep()
            assert await one.settled(20)
        assert calls == ["now"]
        assert await one.store.owed() == 0
        await lists.end_all()


@pytest.mark.feature("E1", "W9")
async def test_start_that_another_node_has_taken_over_is_waited_for(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    """A node that was silent for longer than its lease gives nobody the session before the other's callbacks have run."""
    async with Lists(Cluster(redis_server, redis_prefix), 0).opened() as lists:
        one, other, _ = lists.living
        begun, go_on = [asyncio.Event(), asyncio.Event()], [asyncio.Event(), asyncio.Event()]
        for number, each in enumerate((one, other)):

            async def start(session: Session, number: int = number) -> None:
                begun[number].set()
                await go_on[number].wait()

            each.callbacks.register("session_start", start)
        async with asyncio.timeout(20):
            creating = asyncio.create_task(one.create("s", remote_ip="192.0.2.1"))
            await begun[0].wait()
            getting = asyncio.create_task(one.get("s"))
            await asyncio.sleep(0)
            await one.store.owed()  # answered after the look-up: from here on that node is silent
            lists.cluster.advance(one.store.lease + 1)
            for _ in lists.living:  # one that died is dealt with in each
                await other.sweep()
            await begun[1].wait()
            go_on[0].set()
            while one.busy:
                await asyncio.sleep(0)
            assert not creating.done()
            assert not getting.done()
            go_on[1].set()
            session = await creating
            assert await getting is session
            assert not session.record.starting
        await lists.end_all()
