"""Copies of sessions on a node: answers without a question, and answers while there is nobody to ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from faults.proxy import Proxy
from redis_nodes import Cluster, create, due, write
from redis_servers import RedisServer
from serving import soon, until

from wshttp.errors import StoreUnavailable
from wshttp.sessions.ids import SessionId
from wshttp.sessions.record import Reason, Record, Tombstone
from wshttp.stores import Created, Limits, Renewed
from wshttp.stores.redis.copies import Copies
from wshttp.stores.redis.store import RedisStore


@pytest.fixture
def cluster(redis_server: RedisServer, redis_prefix: str) -> Cluster:
    return Cluster(redis_server, redis_prefix)


async def is_asked(cluster: Cluster, store: RedisStore, record: Record, *, touch: bool = False) -> bool:
    """Tell whether a look-up goes to the server."""
    before = cluster.server.ask("INFO", "stats")["total_commands_processed"]
    assert await store.load(record.key, touch=touch) is not None
    assert await store.load_ref(record.ref, touch=touch) is not None
    return bool(cluster.server.ask("INFO", "stats")["total_commands_processed"] - before > 1)


async def begin(store: RedisStore, **facts: Any) -> Created:
    """Create a session and settle its start."""
    created = await create(store, **facts)
    await store.settle(created.event)
    return created


async def away(store: RedisStore, wire: Proxy) -> None:
    """Cut a node off until its calls fail."""
    wire.refuse()
    with pytest.raises(StoreUnavailable):
        while True:
            await store.owed()


# --- cache ------------------------------------------------------------------------------------------


async def test_copy_answers_until_it_is_too_old(cluster: Cluster) -> None:
    """Without a question, within `cache`, and only while somebody says that all changes are heard of."""
    async with cluster.node(cache=10.0) as store:
        record = (await begin(store)).record
        assert [await is_asked(cluster, store, record) for _ in range(2)] == [True, True]
        store.trust(True)
        assert [await is_asked(cluster, store, record) for _ in range(3)] == [True, False, False]
        cluster.advance(9.9)
        assert not await is_asked(cluster, store, record)
        cluster.advance(0.2)
        assert [await is_asked(cluster, store, record) for _ in range(2)] == [True, False]
        store.trust(False)
        assert await is_asked(cluster, store, record)
        store.trust(True)
        assert await is_asked(cluster, store, record)


async def words_of(cluster: Cluster, *changes: Awaitable[object]) -> list[bytes]:
    """Return what is published while something is done."""
    with cluster.server.client() as client, client.pubsub() as words:
        words.subscribe(f"{{{cluster.prefix}}}:words:0")
        assert words.get_message(timeout=20)["type"] == "subscribe"
        for change in changes:
            await change
        cluster.server.ask("PUBLISH", f"{{{cluster.prefix}}}:words:0", "end")
        heard: list[bytes] = []
        while not heard or heard[-1] != b"end":
            heard.append(words.get_message(timeout=20)["data"])
        return heard[:-1]


async def test_node_without_copies_tells_those_that_have_some(cluster: Cluster) -> None:
    """In a rolling restart that turns the cache on, old processes change what new ones answer from."""
    async with cluster.node() as plain:
        record = (await begin(plain)).record
        assert await words_of(cluster, write(plain, record.ref, a=1)) == []
        async with cluster.node(cache=60.0) as store:
            store.trust(True)
            assert await store.load_ref(record.ref, touch=False) is not None
            for again in (False, True):
                if again:
                    await store.load_ref(record.ref, touch=False)
                    cluster.advance(59)  # as long as one of its copies may be used
                assert await words_of(cluster, write(plain, record.ref, a=2)) == [
                    b'["drop","%s"]' % record.ref.encode()
                ]
        cluster.advance(200)
        assert await words_of(cluster, write(plain, record.ref, a=3)) == []


async def test_no_copy_is_kept_unless_wanted(cluster: Cluster) -> None:
    """By default every look-up goes to the server."""
    async with cluster.node() as store:
        store.trust(True)
        record = (await begin(store)).record
        assert [await is_asked(cluster, store, record) for _ in range(2)] == [True, True]


async def test_session_that_is_starting_has_no_copy(cluster: Cluster) -> None:
    """Who waits for its start sees at once that it is over."""
    async with cluster.node(cache=60.0) as store, cluster.node() as other:
        store.trust(True)
        created = await create(other)
        for is_starting in (True, False):
            found = await store.load_ref(created.record.ref, touch=False)
            assert found is not None
            assert found.starting is is_starting
            await other.settle(created.event)


async def test_copy_is_dropped_on_word(cluster: Cluster) -> None:
    """Every change of a session is published, whoever makes it, and what it is dropped for is seen at once."""
    async with cluster.node(cache=60.0) as store, cluster.node(cache=60.0) as other:
        store.trust(True)
        created = await begin(store)
        record = created.record
        with cluster.server.client() as client, client.pubsub() as words:
            words.subscribe(f"{{{cluster.prefix}}}:words:0")
            assert words.get_message(timeout=20)["type"] == "subscribe"

            def word() -> bytes:
                message: bytes = words.get_message(timeout=20)["data"]
                return message

            for number in range(3):
                assert isinstance(await store.load(record.key, touch=False), Record)
                match number:
                    case 0:
                        await write(other, record.ref, a=1)
                    case 1:
                        await other.increment(record.ref, "a", 1, 0)
                    case 2:
                        key = SessionId.app("new").key
                        renewed = await other.renew(record.ref, key, Limits(), user="u", roles=(), version="")
                        assert isinstance(renewed, Renewed)
                assert word().startswith(b'["drop","%s"' % record.ref.encode())
                store.drop(record.ref)
            assert await store.load(record.key, touch=False) == Tombstone(record.ref, "renewed")
            found = await store.load(SessionId.app("new").key, touch=False)
            assert isinstance(found, Record)
            assert (found.data, found.user) == ({"a": 2}, "u")
            await other.end(record.ref, Reason.ADMIN)
            assert word().startswith(b'["drop"')
            store.drop(record.ref)
            assert await store.load_ref(record.ref, touch=False) is None


async def test_copy_is_not_what_was_changed_meanwhile(cluster: Cluster) -> None:
    """An answer on its way, when the word comes that its session has changed, is given, and not kept."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url, cache=60.0) as store, cluster.node(cache=60.0) as other:
            store.trust(True)
            record = (await begin(store)).record
            await store.load(SessionId.app("warm").key, touch=False)
            wire.stall("back")
            asked = asyncio.create_task(store.load(record.key, touch=False))
            await asyncio.to_thread(wire.keeps, "back")
            await write(other, record.ref, a=1)
            store.drop(record.ref)
            wire.heal()
            old = await soon(asked)
            assert old.data == {}
            new = await store.load(record.key, touch=False)
            assert isinstance(new, Record)
            assert new.data == {"a": 1}


async def test_copy_is_the_holder_s_own(cluster: Cluster) -> None:
    """What is done to a record that was handed out is not seen by the next."""
    async with cluster.node(cache=60.0) as store:
        store.trust(True)
        record = (await begin(store, data={"a": 1})).record
        for _ in range(3):
            found = await store.load_ref(record.ref, touch=False)
            assert found is not None
            assert (found.data, found.user) == ({"a": 1}, None)
            found.data["a"] = found.user = "changed"


async def test_touch_of_a_copy_counts(cluster: Cluster) -> None:
    """It is told like others that were not written; and the copy ends when its session does."""
    async with cluster.node(cache=1e6) as store, cluster.node() as other:
        store.trust(True)
        record = (await begin(store, idle_timeout=100.0)).record
        for _ in range(30):
            cluster.advance(10)
            assert isinstance(await store.load(record.key, touch=True), Record)
            await store.renew_lease()
        found = await other.load_ref(record.ref, touch=False)
        assert found is not None
        assert found.last_access_at >= other.now() - 10
        assert not await is_asked(cluster, store, record)
        cluster.advance(100)
        assert isinstance(await store.load(record.key, touch=True), Tombstone)


async def test_own_changes_are_in_the_copy(cluster: Cluster) -> None:
    """Who writes and reads again on one node sees what was written."""
    async with cluster.node(cache=60.0) as store:
        store.trust(True)
        record = (await begin(store)).record
        for number in range(3):
            await store.load_ref(record.ref, touch=True)
            await write(store, record.ref, n=number)
            found = await store.load_ref(record.ref, touch=True)
            assert found is not None
            assert found.data == {"n": number}
            await store.increment(record.ref, "n", 10, 0)
            found = await store.load(record.key, touch=True)
            assert isinstance(found, Record)
            assert found.data == {"n": number + 10}
        ended = await store.end(record.ref, Reason.LOGOUT)
        assert ended is not None
        assert isinstance(await store.load(record.key, touch=True), Tombstone)


# --- grace ------------------------------------------------------------------------------------------


async def test_grace_answers_reads_for_a_while(cluster: Cluster) -> None:
    """Of sessions that the store has confirmed to this node within `grace`; of no others, and no writes."""
    with cluster.wire() as (wire, url):
        async with cluster.node() as other, cluster.node(url, timeout=0.2, grace=30.0) as store:
            known, unread, ended = [(await begin(store, data={"a": 1})).record for _ in range(3)]
            for record in (known, ended):
                assert isinstance(await store.load(record.key, touch=True), Record)
            await store.end(ended.ref, Reason.LOGOUT)
            await away(store, wire)
            cluster.clock.advance(29)
            by_key = await store.load(known.key, touch=True)
            by_ref = await store.load_ref(known.ref, touch=True)
            for found in (by_key, by_ref):
                assert isinstance(found, Record)
                assert (found.ref, found.data, found.last_access_at) == (known.ref, {"a": 1}, store.now())
            assert [getattr(found, "ref", None) for found in await store.load_many([known.key] * 2)] == [known.ref] * 2
            for key in (unread.key, ended.key, SessionId.app("unknown").key):
                with pytest.raises(StoreUnavailable):
                    await store.load(key, touch=True)
                with pytest.raises(StoreUnavailable):
                    await store.load_many([known.key, key])
            with pytest.raises(StoreUnavailable):
                await write(store, known.ref, a=2)
            cluster.clock.advance(2)
            with pytest.raises(StoreUnavailable):
                await store.load(known.key, touch=True)
            cluster.advance(0)
            wire.heal()
            await until(lambda: store.available)
            await store._node.tell_touches()
            found = await other.load(known.key, touch=False)
            assert isinstance(found, Record)
            assert store.now() - 1 <= found.last_access_at <= store.now()


async def test_grace_is_not_beyond_a_deadline(cluster: Cluster) -> None:
    """A session that would be over is over here too; activity meanwhile keeps it, and is told afterwards."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url, timeout=0.2, grace=1000.0) as store:
            idle = (await begin(store, idle_timeout=100.0)).record
            active = (await begin(store, idle_timeout=100.0, absolute_timeout=250.0)).record
            for record in (idle, active):
                await store.load_ref(record.ref, touch=True)
            await due(store)
            await away(store, wire)
            for _ in range(4):
                cluster.clock.advance(60)
                assert await store.load_ref(active.ref, touch=True) is not None
            with pytest.raises(StoreUnavailable):
                await store.load_ref(idle.ref, touch=True)
            cluster.clock.advance(11)
            with pytest.raises(StoreUnavailable):
                await store.load_ref(active.ref, touch=True)
            cluster.advance(0)
            wire.heal()
            await until(lambda: store.available)
            assert [one.record.ref for one in (await due(store)).ended] == [active.ref]
            assert await store.load_ref(idle.ref, touch=False) is not None  # the outage is forgiven


async def test_nothing_is_answered_without_the_store_by_default(cluster: Cluster) -> None:
    """Not even from a cache."""
    with cluster.wire() as (wire, url):
        async with cluster.node(url, timeout=0.2) as store:
            record = (await begin(store)).record
            await store.load(record.key, touch=True)
            await away(store, wire)
            for call in (store.load(record.key, touch=True), store.load_ref(record.ref, touch=False)):
                with pytest.raises(StoreUnavailable):
                    await call


# --- copies by themselves -------------------------------------------------------------------------------


def record_of(ref: str, *, revision: int = 0) -> Record:
    return Record(ref, SessionId.app(ref).key, "app", "ip", "ip", 0, 0, 0, 0, 0, revision=revision)


def test_copies_are_of_those_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are not more of them than fit."""
    monkeypatch.setattr("wshttp.stores.redis.copies.MAX_COPIES", 3)
    copies = Copies(10, 0, 5)
    copies.trust(True, 0)
    for ref in "abc":
        copies.keep(record_of(ref), 0)
    assert copies.fresh("a", 1)
    copies.keep(record_of("d"), 1)
    assert [ref for ref in "abcd" if copies.fresh(ref, 1)] == ["a", "c", "d"]
    assert copies.ref_of(SessionId.app("b").key) is None


def test_copies_take_in_nothing_from_before_a_loss() -> None:
    """What was asked before words were missed may have been changed unnoticed, though its answer comes after."""
    copies = Copies(10, 10, 5)
    copies.trust(True, 0)
    asked_at = 1.0
    copies.trust(False, 2)
    copies.trust(True, 3)
    copies.keep(record_of("a"), asked_at)
    assert copies.fresh("a", 3) is None
    copies.keep(record_of("a"), 3)
    assert copies.fresh("a", 3) is not None


def test_copies_take_in_nothing_older() -> None:
    """Of two answers that overtook each other the newer is kept."""
    copies = Copies(10, 0, 5)
    copies.trust(True, 0)
    copies.keep(record_of("a", revision=2), 0)
    copies.keep(record_of("a", revision=1), 1)
    found = copies.fresh("a", 1)
    assert found is not None
    assert found.revision == 2
