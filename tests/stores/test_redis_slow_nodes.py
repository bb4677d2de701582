"""Nodes of the Redis store that are slow, or were away: what they do late harms nobody else."""

from __future__ import annotations

import asyncio
import re

import pytest
from redis_nodes import Cluster, create, due, write
from redis_servers import RedisServer
from serving import soon, until

from wshttp.config import SessionSettings
from wshttp.errors import OutcomeUnknown, StoreUnavailable
from wshttp.sessions.changes import Changes, Scheduled
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.record import Reason
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.stores import Limits


@pytest.fixture
def cluster(redis_server: RedisServer, redis_prefix: str) -> Cluster:
    return Cluster(redis_server, redis_prefix)


async def test_late_calls_of_one_node_stop_no_clock(cluster: Cluster) -> None:
    """Sessions expire and leases end in their time, as long as another node reaches the store."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as dead, cluster.node() as other, cluster.node(url) as slow:
            ref = (await create(other, idle_timeout=20.0)).record.ref
            await dead.link.close()
            ended = []
            for _ in range(12):
                wire.stall("there")
                late = asyncio.create_task(slow.count())
                await asyncio.to_thread(wire.keeps, "there")
                cluster.advance(1.5)
                ended += (await due(other)).ended
                await other.renew_lease()
                cluster.advance(0.3)
                wire.heal()
                await soon(late)
            assert other._node.time.forgiven == 0
            assert [(one.record.ref, one.event.reason) for one in ended] == [(ref, Reason.IDLE)]
            assert cluster.server.ask("ZSCORE", f"{{{cluster.prefix}}}:nodes", dead.node) is None


async def test_call_that_is_refused_as_late_stops_no_clock(cluster: Cluster) -> None:
    """Not even where nothing else of its node comes in time."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other, cluster.node(url, timeout=0.2) as slow:
            wire.stall("there")
            with pytest.raises(StoreUnavailable):
                await slow.count()
            cluster.advance(1.5)
            await due(other)
            cluster.advance(0.3)
            wire.heal()
            await until(lambda: slow.available)
            await other.count()
            assert other._node.time.forgiven == 0


async def test_change_that_may_have_been_made_long_ago_is_not_made_again(cluster: Cluster) -> None:
    """Within a minute its token tells; later it would go over what others have written since, or come twice."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other, cluster.node(url, timeout=0.3) as store:
            ref = (await create(store, idle_timeout=1200.0)).record.ref
            await write(store, ref, a=0)
            changes = Changes({"a": 1}, token="once")
            wire.stall("back")
            with pytest.raises(StoreUnavailable):
                await store.apply(ref, changes, 0)
            wire.heal()
            await until(lambda: store.available)
            await other.apply(ref, Changes({"a": 2}, token="another"), 0)
            cluster.advance(59)
            assert (await store.apply(ref, changes, 0)).data == {"a": 2}
            cluster.advance(2)
            cluster.server.ask("DEL", f"{{{cluster.prefix}}}:a:once")  # the server's own time is not the test's
            with pytest.raises(OutcomeUnknown):
                await store.apply(ref, changes, 0)
            assert (await write(other, ref)).data == {"a": 2}


@pytest.mark.parametrize("is_made", [True, False])
async def test_unit_of_work_that_is_committed_long_after_is_committed_once(cluster: Cluster, is_made: bool) -> None:
    """As a message's is, when the store is back: where nobody else has changed its session, it is known what was made."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other:
            sessions = SessionList(SessionSettings(), cluster.store(url, timeout=0.3), clock=cluster.clock)
            await sessions.open(sweep=False)
            session = await sessions.create(remote_ip="192.0.2.1")
            session["a"] = 0
            await session.commit()
            cluster.advance(2)
            with UnitOfWork() as unit:
                session["a"] = 1
                wire.stall("back" if is_made else "there")
                with pytest.raises(StoreUnavailable):
                    await unit.commit()
                wire.cut()
                wire.heal()
                await until(lambda: sessions.store.available)
                assert (await write(other, session.ref)).data == {"a": int(is_made)}
                if is_made:
                    await other.increment(session.ref, "a", 1, 0)
                cluster.advance(61)
                answers = filter(re.compile("a:").match, cluster.keys())
                for key in answers:
                    cluster.server.ask("DEL", f"{{{cluster.prefix}}}:{key}")
                await unit.commit()
                assert (await write(other, session.ref)).data == {"a": 2 if is_made else 1}
            await sessions.close()


async def test_unit_of_work_of_which_nobody_knows_is_dropped(cluster: Cluster) -> None:
    """It is not tried for ever, and says so."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other:
            sessions = SessionList(SessionSettings(), cluster.store(url, timeout=0.3), clock=cluster.clock)
            await sessions.open(sweep=False)
            session = await sessions.create(remote_ip="192.0.2.1")
            with UnitOfWork() as unit:
                session["a"] = 1
                wire.stall("there")
                with pytest.raises(StoreUnavailable):
                    await unit.commit()
                wire.cut()
                wire.heal()
                await until(lambda: sessions.store.available)
                cluster.advance(61)
                await other.apply(session.ref, Changes({"a": 2}, token="another"), 0)
                with pytest.raises(OutcomeUnknown, match="may be lost"):
                    await unit.commit()
                assert not unit.dirty
            assert (await write(other, session.ref)).data == {"a": 2}
            await sessions.close()


async def test_change_that_was_never_sent_is_made_after_any_outage(cluster: Cluster) -> None:
    """It cannot have been made."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url, timeout=0.3) as store:
            ref = (await create(store, idle_timeout=0.0)).record.ref
            changes = Changes({"a": 1}, token="once")
            wire.refuse()
            await until(lambda: not store.available)
            with pytest.raises(StoreUnavailable):
                await store.apply(ref, changes, 0)
            cluster.advance(600)
            wire.heal()
            await until(lambda: store.available)
            assert (await store.apply(ref, changes, 0)).data == {"a": 1}


async def test_no_step_takes_long_however_many_sessions_a_user_has(cluster: Cluster) -> None:
    """Under a limit of thousands somebody who was idle for long goes; nobody else waits until all are compared."""
    async with cluster.node() as store:
        records = []
        for _ in range(15):
            made = await asyncio.gather(*(create(store, user="a") for _ in range(100)))
            records += [each.record.ref for each in made]
            cluster.advance(1)
        cluster.server.ask("CONFIG", "RESETSTAT")
        limits = Limits(max_sessions_per_user=1500)
        [ended] = (await create(store, user="a", limits=limits)).ended
        assert ended.record.ref in records[:300]
        stats = cluster.server.ask("INFO", "commandstats")
        assert stats["cmdstat_hmget"]["calls"] < 1100


async def test_sessions_with_many_calls_to_come_end_in_turns(cluster: Cluster) -> None:
    """What goes with them counts, so that no sweep takes long."""
    async with cluster.node() as store:
        for _ in range(4):
            ref = (await create(store, idle_timeout=10.0)).record.ref
            calls = [Scheduled(new_event_id(), 1e6, "call", None) for _ in range(1000)]
            await store.apply(ref, Changes(scheduled=calls), 0)
        cluster.advance(11)
        found = [await store.take_due(100) for _ in range(2)]
        assert [(len(due.ended), due.more) for due in found] == [(2, True), (2, False)]
        assert not await store.take_due(100)
        assert cluster.server.ask("ZCARD", f"{{{cluster.prefix}}}:calls") == 0
