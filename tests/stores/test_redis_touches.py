"""Touches on Redis: few are written, and none is lost while its node lives."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from redis_nodes import Cluster, create, due
from redis_servers import RedisServer
from serving import until

from wshttp.errors import StoreUnavailable
from wshttp.sessions.record import Reason, Record
from wshttp.stores import Limits
from wshttp.stores.redis.touches import Touches


@pytest.fixture
def cluster(redis_server: RedisServer, redis_prefix: str) -> Cluster:
    return Cluster(redis_server, redis_prefix)


def last_written(cluster: Cluster, ref: str) -> bytes:
    numbers: bytes = cluster.server.ask("HGET", f"{{{cluster.prefix}}}:s:{ref}", "n")
    return numbers


async def test_touch_is_written_now_and_then(cluster: Cluster) -> None:
    """Once in five seconds, or in a twentieth of the idle time-out if that is shorter; the node knows of all."""
    async with cluster.node() as store:
        for idle, interval in ((1200.0, 5.0), (20.0, 1.0), (0.0, 5.0)):
            record = (await create(store, idle_timeout=idle)).record
            written = {last_written(cluster, record.ref)}
            for _ in range(100):
                cluster.advance(interval / 10)
                found = await store.load(record.key, touch=True)
                assert isinstance(found, Record)
                assert found.last_access_at == store.now()
                peeked = await store.load_ref(record.ref, touch=False)
                assert peeked is not None
                assert peeked.last_access_at == store.now()
                written.add(last_written(cluster, record.ref))
            assert 10 <= len(written) <= 12


async def test_touch_after_a_warning_is_written_at_once(cluster: Cluster) -> None:
    """Who was warned and acts has their time again, whatever node is asked."""
    async with cluster.node(warn_before=99.0) as store, cluster.node() as other:
        record = (await create(store, idle_timeout=100.0)).record
        cluster.advance(51)
        assert len((await due(store)).expiring) == 1
        for _ in range(2):
            found = await store.load_ref(record.ref, touch=True)
            assert found is not None
            assert not found.warned
        seen = await other.load_ref(record.ref, touch=False)
        assert seen is not None
        assert seen.last_access_at == store.now()


async def test_touch_after_a_warning_of_the_absolute_deadline_is_written(cluster: Cluster) -> None:
    """However short a while ago the last one was."""
    async with cluster.node(warn_before=50.0) as store, cluster.node() as other:
        record = (await create(store, absolute_timeout=100.0)).record
        cluster.advance(49)
        await store.load_ref(record.ref, touch=True)
        cluster.advance(2)
        assert len((await due(store)).expiring) == 1
        await store.load_ref(record.ref, touch=True)
        seen = await other.load_ref(record.ref, touch=False)
        assert seen is not None
        assert (seen.warned, seen.last_access_at) == (False, store.now())


async def test_touch_that_is_told_late_undoes_no_later_one(cluster: Cluster) -> None:
    """Of two nodes that one session is used on, the last touch counts."""
    async with cluster.node() as one, cluster.node() as other:
        record = (await create(one)).record
        cluster.advance(4)
        await one.load_ref(record.ref, touch=True)
        cluster.advance(4)
        await other.load_ref(record.ref, touch=True)
        cluster.advance(10)
        await one.count()
        found = await other.load_ref(record.ref, touch=False)
        assert found is not None
        assert found.last_access_at == other.now() - 10


@pytest.mark.parametrize("how", ["take_due", "scan", "load", "create", "renew_lease", "count"])
async def test_untold_touch_keeps_a_session(cluster: Cluster, how: str) -> None:
    """It is told with whatever the node asks next, before anything is decided."""
    async with cluster.node() as store:
        record = (await create(store, idle_timeout=100.0)).record
        cluster.advance(4)
        await store.load_ref(record.ref, touch=True)
        cluster.advance(98)
        match how:
            case "take_due":
                assert not (await due(store)).ended
            case "scan":
                assert [found.ref for found in (await store.scan())[0]] == [record.ref]
            case "load":
                assert isinstance(await store.load(record.key, touch=False), Record)
            case "create":
                await create(store)
            case "renew_lease":
                await store.renew_lease()
            case _:
                assert await store.count() == 1
        async with cluster.node() as other:
            assert await other.load_ref(record.ref, touch=False) is not None
            cluster.advance(2)
            assert [one.record.ref for one in (await due(other)).ended] == [record.ref]


async def test_untold_touches_say_who_is_the_longest_idle(cluster: Cluster) -> None:
    """Where room is made the node tells first what it knows, so that nobody goes for another."""
    for limits in (Limits(max_sessions=3), Limits(max_sessions_per_ip=3), Limits(max_sessions_per_user=3)):
        cluster.server.flush()
        cluster.advance(1)
        user = "a" if limits.max_sessions_per_user else None
        async with cluster.node() as store:
            records = []
            for _ in range(3):
                records.append((await create(store, user=user)).record)
                cluster.advance(1)
            first, second, _ = records
            await store.load_ref(first.ref, touch=True)
            created = await create(store, user=user, limits=limits)
            assert [(one.record.ref, one.event.reason) for one in created.ended] == [(second.ref, Reason.LIMIT)]


async def test_many_touches_are_told_in_several_calls(cluster: Cluster) -> None:
    """No call carries all of a thousand, and none is forgotten."""
    async with cluster.node() as store:
        records = [(await create(store, idle_timeout=100.0)).record for _ in range(1100)]
        cluster.advance(4)
        for record in records:
            await store.load_ref(record.ref, touch=True)
        for _ in range(3):
            cluster.advance(5)
            await store.take_due(1)
        cluster.advance(84)
        async with cluster.node() as other:
            assert not (await due(other)).ended
            assert await other.count() == 1100


async def test_touches_are_told_when_a_node_leaves(cluster: Cluster) -> None:
    """A restart costs nobody a part of their time."""
    async with cluster.node() as store:
        record = (await create(store, idle_timeout=100.0)).record
        cluster.advance(4)
        await store.load_ref(record.ref, touch=True)
    async with cluster.node() as other:
        found = await other.load_ref(record.ref, touch=False)
        assert found is not None
        assert found.last_access_at == other.now()


async def test_touch_that_could_not_be_told_is_told_later(cluster: Cluster) -> None:
    """What a call took along, and that call failed, the next one takes."""
    with ExitStack() as stack:
        wire, url = stack.enter_context(cluster.wire())
        async with cluster.node(url, timeout=0.2) as store, cluster.node() as other:
            record = (await create(store, idle_timeout=100.0)).record
            cluster.advance(4)
            await store.load_ref(record.ref, touch=True)
            cluster.advance(10)
            wire.refuse()
            await until(lambda: not store.available)
            with pytest.raises(StoreUnavailable):
                await store.count()
            await due(other)  # or else the outage is forgiven
            wire.heal()
            await until(lambda: store.available)
            await store.count()
            found = await other.load_ref(record.ref, touch=False)
            assert found is not None
            assert found.last_access_at >= store.now() - 10


def test_touches_are_told_when_it_is_their_time() -> None:
    """Counted from the first that was not told; the last one is what is told."""
    touches = Touches()
    touches.note("a", 10, 5)
    touches.note("b", 11, 1)
    touches.note("a", 14, 5)
    assert touches.take(11.5) == []
    assert touches.take(12) == [("b", 11)]
    assert (touches.last("a"), touches.last("b")) == (14, None)
    assert touches.take(15) == [("a", 14)]
    assert len(touches) == 0
    for n in range(5):
        touches.note(str(n), n, 5)
    touches.forget("0")
    touches.hurry()
    assert touches.take(0, 2) == [("1", 1), ("2", 2)]
    touches.give_back([("1", 1)])
    assert sorted(touches.take(5)) == [("1", 1), ("3", 3), ("4", 4)]


@pytest.mark.parametrize(("idle", "patience"), [(1200.0, 5.0), (40.0, 2.0), (0.0, 5.0)])
async def test_touch_is_written_when_the_last_is_so_old(cluster: Cluster, idle: float, patience: float) -> None:
    """Five seconds, or a twentieth of the idle time-out; what is not written, the node tells as much later."""
    async with cluster.node() as store, cluster.node() as other:
        created = await create(store, idle_timeout=idle)
        await store.settle(created.event)
        ref = created.record.ref

        async def written() -> float:
            found = await other.load_ref(ref, touch=False)
            assert found is not None
            return found.last_access_at

        begun = await written()
        cluster.advance(patience - 0.1)
        await store.load_ref(ref, touch=True)
        assert await written() == begun
        cluster.advance(0.2)
        await store.load_ref(ref, touch=True)
        touched = await written()
        assert touched == pytest.approx(begun + patience + 0.1)
        cluster.advance(patience / 2)
        await store.load_ref(ref, touch=True)
        assert await written() == touched
        cluster.advance(patience + 0.1)
        await store.count()
        assert await written() == pytest.approx(touched + patience / 2)
