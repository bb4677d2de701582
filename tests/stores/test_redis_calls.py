"""Calls of the Redis store that are lost, late, sent twice or never heard of, and outages that cost nobody a session."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from faults.proxy import Proxy
from redis_nodes import Cluster, create, due, new_record, write
from redis_servers import RedisServer
from serving import soon, until

from wshttp.errors import SessionEnded, StoreUnavailable
from wshttp.sessions.changes import Changes, Scheduled
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.patience import Patience
from wshttp.sessions.record import Reason, Record
from wshttp.stores import Created, Ended, Exists, Limits
from wshttp.stores.redis.store import RedisStore


@pytest.fixture
def cluster(redis_server: RedisServer, redis_prefix: str) -> Cluster:
    return Cluster(redis_server, redis_prefix)


async def know_scripts(store: RedisStore) -> None:
    """Have the server know the scripts, so that the next call is carried out as it is sent."""
    created = await create(store)
    await write(store, created.record.ref, a=1)
    await store.increment(created.record.ref, "a", 1, 0)
    ended = await store.end(created.record.ref, Reason.LOGOUT)
    assert ended is not None
    await store.settle(created.event)
    await store.settle(ended.event)
    await due(store)


async def cancel(wire: Proxy, *calls: Coroutine[Any, Any, Any]) -> None:
    """Cancel calls that have been carried out, while their answers are on their way."""
    wire.stall("back")
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.to_thread(wire.keeps, "back")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    wire.heal()


# --- calls ------------------------------------------------------------------------------------------


async def test_calls_whose_answers_were_lost_are_applied_once(cluster: Cluster) -> None:
    """The link sends them again on the next connection; the server knows that it has done them."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            await know_scripts(store)
            record = (await create(store, "same", data={"n": 1})).record
            victim = (await create(store, user="a")).record
            wire.stall("back")
            calls = asyncio.gather(
                store.increment(record.ref, "n", 1, 0),
                write(store, record.ref, a=1),
                store.apply(record.ref, Changes(scheduled=[Scheduled(new_event_id(), 1, "call", None)]), 0),
                store.end(victim.ref, Reason.ADMIN),
                create(store, "new"),
            )
            await asyncio.to_thread(wire.keeps, "back")
            wire.cut()
            wire.heal()
            total, applied, _, ended, created = await soon(calls)
            assert (total, applied.data) == (2, {"n": 2, "a": 1})
            assert isinstance(ended, Ended)
            assert await store.owed() == 4
            assert await store.count() == 2
            cluster.advance(2)
            taken = await due(store)
            assert (len(taken.scheduled), taken.owed) == (1, [])
            await store.settle(ended.event)
            await store.settle(created.event)
            assert await store.owed() == 3


async def test_due_whose_answer_was_lost_is_taken_once(cluster: Cluster) -> None:
    """The second answer is the first: nothing is skipped, and nothing comes twice."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url, warn_before=60) as store:
            records = [(await create(store, idle_timeout=idle)).record for idle in (100.0, 1000.0)]
            call = Scheduled(new_event_id(), 10, "call", {"x": 1})
            await store.apply(records[1].ref, Changes(scheduled=[call]), 0)
            cluster.advance(950)
            assert await store.owed() == 2
            wire.stall("back")
            asked = asyncio.create_task(store.take_due(10))
            await asyncio.to_thread(wire.keeps, "back")
            wire.cut()
            wire.heal()
            taken = await soon(asked)
            assert [ended.record.ref for ended in taken.ended] == [records[0].ref]
            assert [record.ref for record in taken.expiring] == [records[1].ref]
            assert [event.id for _, event in taken.scheduled] == [call.event_id]
            assert not await due(store)


async def test_call_that_comes_too_late_is_refused(cluster: Cluster) -> None:
    """Its caller was told that it failed; it is not done behind their back."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other, cluster.node(url, timeout=0.2) as store:
            ref = (await create(other)).record.ref
            await know_scripts(store)
            wire.stall("there")
            with pytest.raises(StoreUnavailable):
                await store.end(ref, Reason.LOGOUT)
            cluster.advance(0.3)
            wire.heal()
            await until(lambda: store.available)
            assert (await other.load_ref(ref, touch=False)) is not None
            assert (await store.count(), await store.owed()) == (1, 1)


async def test_touch_that_came_too_late_is_told_again(cluster: Cluster) -> None:
    """What a refused call took along is not lost with it."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other, cluster.node(url, timeout=5) as store:
            ref = (await create(store)).record.ref
            cluster.advance(4)
            await store.load_ref(ref, touch=True)
            await store.count()
            cluster.advance(6)
            wire.stall("there")
            late = asyncio.create_task(store.count())
            await asyncio.to_thread(wire.keeps, "there")
            cluster.advance(6)
            await due(other)  # or else the outage is forgiven
            wire.heal()
            with pytest.raises(StoreUnavailable, match="too late"):
                await late
            await store.count()
            found = await other.load_ref(ref, touch=False)
            assert found is not None
            assert found.last_access_at > store.now() - 14


async def test_lock_that_could_not_be_released_is_released_later(cluster: Cluster) -> None:
    """Nobody else could have it as long as its node lives."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other, cluster.node(url, timeout=0.2) as store:
            ref = (await create(store)).record.ref
            assert await store.acquire(ref, "holder", 1)
            wire.refuse()
            await until(lambda: not store.available)
            with pytest.raises(StoreUnavailable):
                await store.release(ref, "holder")
            wire.heal()
            await until(lambda: store.available)
            assert not await other.acquire(ref, "other", 0.01)
            await store.take_due(1)
            assert await other.acquire(ref, "other", 0.01)


async def test_server_that_was_stopped_does_not_do_what_failed(cluster: Cluster) -> None:
    """What waited in its buffers when it went on is refused, by its own clock."""
    server = cluster.server
    async with cluster.node(time_script=None, clock=None, timeout=0.3) as store:
        ref = (await create(store)).record.ref
        await know_scripts(store)
        server.pause()
        try:
            with pytest.raises(StoreUnavailable):
                await store.end(ref, Reason.LOGOUT)
            with pytest.raises(StoreUnavailable):
                await store.load_ref(ref, touch=True)
        finally:
            server.resume()
        await until(lambda: store.available)
        assert await store.load_ref(ref, touch=True) is not None


async def test_what_nobody_heard_of_is_handed_out_again(cluster: Cluster) -> None:
    """Where a call was carried out and its caller told that it failed, what it gave comes back: never lost, never early."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url, timeout=0.3) as store:
            started = await create(store)
            await store.settle(started.event)
            await know_scripts(store)
            wire.stall("back")
            with pytest.raises(StoreUnavailable):
                await store.end(started.record.ref, Reason.LOGOUT)
            wire.heal()
            await until(lambda: store.available)
            assert await store.load_ref(started.record.ref, touch=False) is None
            assert not (await due(store)).owed
            cluster.advance(1)
            assert [(one.event.kind, one.event.attempt) for one in (await due(store)).owed] == [("end", 2)]


async def test_call_that_is_cancelled_loses_nothing(cluster: Cluster) -> None:
    """It may have been carried out: then what it gave is handed out again, with one attempt more."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            limits = Limits(max_sessions_per_user=1)
            await know_scripts(store)
            await cancel(wire, *(create(store, user="a", limits=limits) for _ in range(3)))
            assert (await store.count(), await store.owed()) == (1, 5)
            assert not (await due(store)).owed
            cluster.advance(21)
            owed = (await due(store)).owed
            assert Counter((one.event.kind, one.event.attempt) for one in owed) == {("start", 2): 3, ("end", 2): 2}
            for one in owed:
                await store.settle(one.event)
            assert await store.owed() == 0


async def test_creation_that_is_asked_for_again_is_not_handed_out(cluster: Cluster) -> None:
    """Who heard nothing, asked again, and was answered has the start, and nobody else."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            await know_scripts(store)
            for seconds in (0, 21):
                record = new_record(store)
                await cancel(wire, store.create(record, Limits()))
                cluster.advance(seconds)
                await store.renew_lease()
                assert len((await due(store)).owed) == bool(seconds)
                again = await store.create(record, Limits())
                assert isinstance(again, Created)
                cluster.advance(21)
                assert not (await due(store)).owed
                await store.settle(again.event)
                assert await store.owed() == 0


async def test_start_that_was_taken_back_and_asked_for_again_is_handed_out_once(cluster: Cluster) -> None:
    """It waits for whoever comes next; who then asks again has it, and nobody comes for it any more."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            await know_scripts(store)
            records = [new_record(store) for _ in range(2)]
            await cancel(wire, *(store.create(record, Limits()) for record in records))
            cluster.advance(21)
            await store.renew_lease()
            assert [one.record.ref for one in (await store.take_due(1)).owed] == [records[0].ref]
            again = await store.create(records[1], Limits())
            assert isinstance(again, Created)
            assert not await due(store)
            await store.settle(again.event)
            assert await store.owed() == 1


async def test_creation_that_is_asked_for_again_after_its_end_begins_nothing(cluster: Cluster) -> None:
    """Also where no tombstone tells: what is owed for that life does."""
    async with cluster.node(tombstone=0.0) as store, cluster.node(tombstone=0.0) as other:
        record = new_record(store)
        assert isinstance(await store.create(record, Limits()), Created)
        assert await other.end(record.ref, Reason.LOGOUT) is not None
        with pytest.raises(SessionEnded) as caught:
            await store.create(record, Limits())
        assert caught.value.reason == "logout"
        assert (await store.count(), await store.owed()) == (0, 2)


async def test_calls_that_were_never_sent_leave_nothing_to_take_back(cluster: Cluster) -> None:
    """However long an outage is and however many calls fail in it."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url, timeout=0.2) as store:
            wire.refuse()
            await until(lambda: not store.available)
            for _ in range(50):
                with pytest.raises(StoreUnavailable):
                    await create(store)
            cluster.advance(1)
            assert store._node.unheard() == []
            wire.heal()
            await until(lambda: store.available)
            assert (await store.count(), await store.owed()) == (0, 0)


async def test_due_that_nobody_heard_of_is_handed_out_again(cluster: Cluster) -> None:
    """Ends and scheduled events, with one attempt more; and a warning, which is owed to nobody, is given again."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url, warn_before=60) as store:
            await know_scripts(store)
            over, warned = [(await create(store, idle_timeout=idle)).record for idle in (100.0, 1000.0)]
            call = Scheduled(new_event_id(), 10, "call", {"x": 1})
            await store.apply(warned.ref, Changes(scheduled=[call]), 0)
            cluster.advance(950)
            await cancel(wire, store.take_due(10))
            assert not await due(store)
            cluster.advance(21)
            taken = await due(store)
            assert [record.ref for record in taken.expiring] == [warned.ref]
            assert sorted((one.event.kind, one.event.ref, one.event.attempt) for one in taken.owed) == sorted(
                [("scheduled", warned.ref, 2), ("end", over.ref, 2)]
            )


async def test_end_waits_for_a_start_that_nobody_heard_of(cluster: Cluster) -> None:
    """Also on the node that was to deliver it: the start comes first, when it is handed out again."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            await know_scripts(store)
            record = new_record(store)
            await cancel(wire, store.create(record, Limits()))
            ended = await store.end(record.ref, Reason.ADMIN)
            assert ended is not None
            assert ended.elsewhere
            assert not (await due(store)).owed
            cluster.advance(21)
            for kind, attempt in (("start", 2), ("end", 1)):
                [owed] = (await due(store)).owed
                assert (owed.event.kind, owed.event.attempt) == (kind, attempt)
                await store.settle(owed.event)
            assert await store.owed() == 0


async def test_life_is_not_begun_twice(cluster: Cluster) -> None:
    """Whatever has become of it since its creation was answered."""
    async with cluster.node() as store:
        record = new_record(store, idle_timeout=100.0)
        created = await store.create(record, Limits())
        assert isinstance(created, Created)
        await store.settle(created.event)
        for replace_it in (False, True):
            assert isinstance(await store.create(record, Limits(), replace=replace_it), Exists)
        await store.renew(record.ref, b"another key", Limits(), user="a", roles=(), version="")
        found = await store.create(record, Limits())
        assert isinstance(found, Exists)
        assert found.record.user == "a"
        cluster.advance(101)
        with pytest.raises(SessionEnded):
            await store.create(record, Limits())
        assert len((await due(store)).ended) == 1
        assert await store.owed() == 1


async def test_end_waits_for_a_start_that_was_taken_back(cluster: Cluster) -> None:
    """Until somebody is given it again."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            await know_scripts(store)
            records = [new_record(store) for _ in range(2)]
            await cancel(wire, *(store.create(record, Limits()) for record in records))
            cluster.advance(21)
            [first] = (await store.take_due(1)).owed
            [late] = [record.ref for record in records if record.ref != first.record.ref]
            ended = await store.end(late, Reason.ADMIN)
            assert ended is not None
            assert ended.elsewhere
            owed = (await due(store)).owed
            assert [(one.event.ref, one.event.kind) for one in owed] == [(late, "start")]
            await store.settle(owed[0].event)
            assert [(one.event.ref, one.event.kind) for one in (await due(store)).owed] == [(late, "end")]


async def test_lock_is_not_handed_to_who_died_waiting(cluster: Cluster) -> None:
    """The next one who lives has it."""
    async with cluster.node() as one, cluster.node() as third:
        ref = (await create(one)).record.ref
        async with cluster.node() as other:
            assert await one.acquire(ref, "one", 1)
            waits = [asyncio.create_task(store.acquire(ref, "waits", 20)) for store in (other, third)]
            await until(lambda: cluster.server.ask("ZCARD", f"{{{cluster.prefix}}}:lockq:{ref}") == 2)
            await other.link.close()
            await asyncio.gather(waits[0], return_exceptions=True)
            cluster.advance(16)
            for node in (one, third):
                await node.renew_lease()
            await one.release(ref, "one")
            assert await soon(waits[1])


async def test_unheard_end_of_what_another_starts_is_carried_out_in_full(cluster: Cluster) -> None:
    """Nobody has closed its sockets: who gets it when the start is settled does so, since it is no first attempt."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as one, cluster.node(url) as other:
            started = await create(one)
            await know_scripts(other)
            await cancel(wire, other.end(started.record.ref, Reason.ADMIN))
            cluster.advance(21)
            for node in (one, other):
                await node.renew_lease()
            assert not (await due(other)).owed
            await one.settle(started.event)
            assert [(owed.event.kind, owed.event.attempt) for owed in (await due(one)).owed] == [("end", 2)]


# --- outages ----------------------------------------------------------------------------------------


async def test_outage_is_forgiven(cluster: Cluster) -> None:
    """Idle clocks stand still while no node reaches the store; absolute ones go on, and so does a lease's rest."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            idle = (await create(store, idle_timeout=100.0)).record
            absolute = (await create(store, idle_timeout=0.0, absolute_timeout=500.0)).record
            cluster.advance(60)
            await store.renew_lease()
            await due(store)
            wire.refuse()
            await until(lambda: not store.available)
            cluster.advance(1000)
            wire.heal()
            await until(lambda: store.available)
            assert await store.renew_lease()
            assert [(one.record.ref, one.event.reason) for one in (await due(store)).ended] == [
                (absolute.ref, Reason.ABSOLUTE)
            ]
            found = await store.load_ref(idle.ref, touch=False)
            assert found is not None
            assert found.deadline - store.now() == pytest.approx(40, abs=0.01)
            cluster.advance(39)
            assert await store.load_ref(idle.ref, touch=False) is not None
            cluster.advance(2)
            assert [one.record.ref for one in (await due(store)).ended] == [idle.ref]


async def test_outage_of_one_node_alone_is_not_forgiven(cluster: Cluster) -> None:
    """Whoever could not be served by it was served by the others."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other, cluster.node(url) as store:
            ref = (await create(store, idle_timeout=100.0)).record.ref
            wire.refuse()
            await until(lambda: not store.available)
            for _ in range(10):
                cluster.advance(9)
                await other.renew_lease()
                await due(other)
            wire.heal()
            await until(lambda: store.available)
            cluster.advance(11)
            assert await store.load_ref(ref, touch=False) is None
            assert not await store.renew_lease()


async def test_nodes_that_come_back_from_an_outage_take_nothing_from_each_other(cluster: Cluster) -> None:
    """Nobody could renew a lease meanwhile."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as one, cluster.node(url) as other:
            started = await create(one)
            await due(other)
            wire.refuse()
            await until(lambda: not one.available and not other.available)
            cluster.advance(100)
            wire.heal()
            await until(lambda: one.available and other.available)
            assert not await due(other)
            await one.settle(started.event)
            assert await other.owed() == 0


async def test_stop_of_the_server_is_forgiven(cluster: Cluster) -> None:
    """Also where no connection broke: what waited for it says since when."""
    server = cluster.server
    async with cluster.node(time_script=None, clock=None, timeout=5) as store:
        ref = (await create(store, idle_timeout=1.5)).record.ref
        await due(store)
        server.pause()
        began = store.now()
        try:
            waiting = asyncio.create_task(store.load_ref(ref, touch=False))
            await until(lambda: store.now() - began > 1.7)
        finally:
            server.resume()
        found = await soon(waiting)
        assert isinstance(found, Record)
        assert found.deadline > store.now()


async def test_process_that_was_away_is_not_forgiven(cluster: Cluster) -> None:
    """While no node runs, sessions expire as they would have."""
    async with cluster.node() as store:
        ref = (await create(store, idle_timeout=100.0)).record.ref
        await due(store)
    cluster.advance(101)
    async with cluster.node() as store:
        assert await store.load_ref(ref, touch=False) is None


# --- what a server has lost -----------------------------------------------------------------------------


async def test_ends_that_a_failover_undid_are_told_again(cluster: Cluster) -> None:
    """A session that was ended, and is there again, ends again: quietly if that was settled, else with the same entry."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            settled, owed, living = [await create(store) for _ in range(3)]
            for created in (settled, owed, living):
                await store.settle(created.event)
            with cluster.server.client() as client:
                backup = {key: client.dump(key) for key in client.scan_iter()}
            ended = await store.end(settled.record.ref, Reason.LOGOUT)
            assert ended is not None
            await store.settle(ended.event)
            late = await store.end(owed.record.ref, Reason.ADMIN)
            assert late is not None
            late = replace(late.event, attempt=2)
            store._node.recent.ended(late, store.now())  # as when it had been another's, and was taken over
            wire.refuse()
            await until(lambda: not store.available)
            with cluster.server.client() as client:
                client.flushall()
                for key, value in backup.items():
                    client.restore(key, 0, value)
            cluster.advance(1)
            wire.heal()
            await until(lambda: store.available)
            assert await store.load_ref(settled.record.ref, touch=False) is None
            assert await store.load_ref(owed.record.ref, touch=False) is None
            assert await store.load_ref(living.record.ref, touch=False) is not None
            assert (await store.owed(), await store.count()) == (1, 1)
            assert not await due(store)
            await store.settle(late)
            assert await store.owed() == 0


async def test_server_that_was_emptied_begins_anew(cluster: Cluster) -> None:
    """Sessions are gone, and everything works; the secret is the same."""
    async with cluster.node() as store:
        secret = await store.secret()
        ref = (await create(store)).record.ref
        cluster.server.flush()
        cluster.advance(1)
        assert await store.load_ref(ref, touch=True) is None
        assert (await store.count(), await store.owed()) == (0, 0)
        assert (await create(store)).record.ref != ref
        assert await store.secret() == secret
        async with cluster.node() as other:
            assert await other.count() == 1


async def test_call_waits_no_longer_than_its_request(cluster: Cluster) -> None:
    """What an earlier call of the request has waited is gone, and the server does nothing behind its back."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url) as store:
            await know_scripts(store)
            ref = (await create(store)).record.ref

            async def request() -> None:
                patience = Patience(0.2)
                patience.enter()
                for key in ("late", "at once"):
                    with pytest.raises(StoreUnavailable, match="as long as it may"):
                        await store.increment(ref, key, 1, 0)
                patience.end()
                cluster.advance(1)
                wire.heal()
                assert await store.increment(ref, "n", 1, 0) == 1

            wire.stall("there")
            async with asyncio.timeout(10):  # of the 20 that one call may take
                await asyncio.create_task(request())
            record = await store.load_ref(ref, touch=False)
            assert record is not None
            assert record.data == {"n": 1}
