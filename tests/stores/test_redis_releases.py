"""Sessions that another release has written: what it added is left alone, and what cannot be read holds up nobody else."""

from __future__ import annotations

import json

import pytest
from redis_nodes import Cluster, create, due, new_record
from redis_servers import RedisServer

from wshttp.errors import StoreUnavailable
from wshttp.sessions.changes import Changes, Scheduled
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.record import RECORD_FIELDS, Reason, Record, Tombstone
from wshttp.stores import Exists, Limits, Renewed
from wshttp.stores.redis import records
from wshttp.stores.redis.store import RedisStore


@pytest.fixture
def cluster(redis_server: RedisServer, redis_prefix: str) -> Cluster:
    return Cluster(redis_server, redis_prefix)


def spoil(cluster: Cluster, ref: str, *, state: str = "s", field: str = "f", text: str = "[1") -> None:
    """Have a session say something that this release cannot read."""
    cluster.server.ask("HSET", f"{{{cluster.prefix}}}:{state}:{ref}", field, text)


def entry_of(cluster: Cluster, event_id: str) -> list[bytes | None]:
    """Return which node has an entry of the ledger, and how often it was handed out."""
    found = cluster.server.ask("HMGET", f"{{{cluster.prefix}}}:l:{event_id}", "node", "attempt")
    assert isinstance(found, list)
    return found


async def begin(store: RedisStore, **facts: object) -> Record:
    """Create a session whose start is over."""
    created = await create(store, **facts)
    await store.settle(created.event)
    return created.record


# --- what was added -----------------------------------------------------------------------------


async def test_facts_that_a_newer_release_has_added_are_left_alone(cluster: Cluster) -> None:
    """At the end of a list, and in fields of other names."""
    async with cluster.node() as store:
        ref = (await begin(store, user="a", roles=("x",), version="1", data={"n": 1})).ref
        before = await store.load_ref(ref, touch=False)
        key = f"{{{cluster.prefix}}}:s:{ref}"
        for field in ("f", "r"):
            text = json.loads(cluster.server.ask("HGET", key, field))
            spoil(cluster, ref, field=field, text=json.dumps([*text, {"new": True}]))
        spoil(cluster, ref, field="z", text="new")
        after = await store.load_ref(ref, touch=False)
        assert isinstance(before, Record)
        assert isinstance(after, Record)
        for name in RECORD_FIELDS:
            assert getattr(after, name) == getattr(before, name), name


async def test_call_with_more_than_a_name_and_data_is_read(cluster: Cluster) -> None:
    """What a newer release says besides is left alone."""
    entry = [b"e", b"scheduled", b"1", b'["name",{"x":1},"more"]']
    async with cluster.node() as store:
        shown = list(records.fields_of(await begin(store)))
        stored = [text if isinstance(text, bytes) else text.encode() for text in shown]
        stored += [b"k", b"key", b"b", b"bucket", b"n", bytes(56)]
        _, event = records.read_entry([*entry, stored], 0.0)
        assert (event.name, event.data) == ("name", {"x": 1})
        with pytest.raises(StoreUnavailable, match="unknown kind, 'moved'"):
            records.read_entry([b"e", b"moved", b"1", None, stored], 0.0)


# --- what cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "text"),
    [("f", "[1"), ("f", "{}"), ("f", "[]"), ("f", "\xff"), ("r", "[1]"), ("d:a", "{"), ("f", "[" * 9999)],
)
async def test_session_that_cannot_be_read_is_an_outage_of_its_own(cluster: Cluster, field: str, text: str) -> None:
    """Whatever is wrong with it, who asks for it is told that the store does not answer; the others are there."""
    async with cluster.node() as store:
        record, good = await begin(store), await begin(store)
        spoil(cluster, record.ref, field=field, text=text)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.load(record.key, touch=True)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.load_ref(record.ref, touch=True)
        assert (await store.load(good.key, touch=True)) is not None


async def test_session_that_cannot_be_read_holds_up_no_other_end(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """The others end, and are told; its own end waits for a node that can read it, and is not handed out over and over."""
    async with cluster.node() as newer, cluster.node(warn_before=60) as store:
        bad = await begin(store, idle_timeout=100.0, data={"a": 1})
        good = [await begin(store, idle_timeout=100.0) for _ in range(2)]
        spoil(cluster, bad.ref, field="d:a", text="{")
        cluster.advance(50)
        assert {record.ref for record in (await due(store)).expiring} == {record.ref for record in good}
        cluster.advance(51)
        caplog.clear()
        ended = (await due(store)).ended
        assert {one.record.ref for one in ended} == {record.ref for record in good}
        assert [bad.ref in line for line in caplog.messages] == [True]
        for one in ended:
            await store.settle(one.event)
        for _ in range(3):
            cluster.advance(10)
            await store.renew_lease()
            await newer.renew_lease()
            assert not await due(store)
            assert not await due(newer)
        assert entry_of(cluster, f"{bad.ref}-end") == [store.node.encode(), b"1"]
        await store.close()
        spoil(cluster, bad.ref, state="e", field="d:a", text="1")
        assert [(one.record.ref, one.event.attempt) for one in (await due(newer)).owed] == [(bad.ref, 2)]


async def test_entries_of_others_are_read_one_by_one(cluster: Cluster) -> None:
    """What a dead node owed, and calls that are due: all but those of a session that cannot be read are delivered."""
    async with cluster.node() as store:
        dead = cluster.store()
        await dead.open()
        bad, good = [(await create(dead)).record for _ in range(2)]
        await cluster.kill(dead)
        scheduled = [await begin(store) for _ in range(2)]
        for record in scheduled:
            await store.apply(record.ref, Changes(scheduled=[Scheduled(new_event_id(), 1, "call", None)]), 0)
        for ref in (bad.ref, scheduled[0].ref):
            spoil(cluster, ref)
        cluster.advance(2)
        taken = await due(store)
        assert [one.record.ref for one in taken.owed] == [good.ref]
        assert [record.ref for record, _ in taken.scheduled] == [scheduled[1].ref]
        assert not await due(store)


async def test_end_that_cannot_be_read_is_not_lost(cluster: Cluster) -> None:
    """Who ended it is told of an outage; the entry is for another node, once this one has tried again."""
    async with cluster.node() as newer, cluster.node(timeout=5) as store:
        record = await begin(store)
        spoil(cluster, record.ref)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.end(record.ref, Reason.LOGOUT)
        assert await store.end(record.ref, Reason.LOGOUT) is None
        cluster.advance(1)
        spoil(cluster, record.ref, state="e")
        assert not (await store.take_due(1)).owed
        assert not await due(newer)
        await store.close()
        spoil(cluster, record.ref, state="e", text='["abc","app","ip",0,null]')
        assert [one.event.kind for one in (await due(newer)).owed] == ["end"]


async def test_renewal_that_cannot_be_read_loses_no_end(cluster: Cluster) -> None:
    """Those who had to go for it are handed out again: nobody has heard of them."""
    async with cluster.node() as store:
        victim, record = await begin(store, user="a"), await begin(store)
        spoil(cluster, record.ref)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.renew(record.ref, b"k", Limits(max_sessions_per_user=1), user="a", roles=(), version="")
        cluster.advance(1)
        assert [(one.record.ref, one.event.attempt) for one in (await due(store)).owed] == [(victim.ref, 2)]


async def test_victim_that_cannot_be_read_keeps_nobody_out(cluster: Cluster) -> None:
    """Who comes in its place is told of the others."""
    async with cluster.node() as store:
        bad = await begin(store, user="a")
        spoil(cluster, bad.ref)
        limits = Limits(max_sessions_per_user=1)
        created = await create(store, user="a", limits=limits)
        assert created.ended == []
        assert entry_of(cluster, f"{bad.ref}-end") == [store.node.encode(), b"1"]
        renewed = await store.renew((await begin(store)).ref, b"k", limits, user="a", roles=(), version="")
        assert isinstance(renewed, Renewed)
        assert [one.record.ref for one in renewed.ended] == [created.record.ref]


async def test_creation_on_a_session_that_cannot_be_read_is_refused(cluster: Cluster) -> None:
    """There is one under this key, and what it holds is not known."""
    async with cluster.node() as store:
        record = await begin(store, id="same")
        spoil(cluster, record.ref)
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.create(new_record(store, "same"), Limits())
        spoil(cluster, record.ref, text='["abc","app","ip",0,null]')
        assert isinstance(await store.create(new_record(store, "same"), Limits()), Exists)


async def test_many_are_found_though_one_cannot_be_read(cluster: Cluster) -> None:
    """It is over for this node; a list leaves it out."""
    async with cluster.node() as store:
        bad, good = await begin(store, data={"a": 1}), await begin(store)
        spoil(cluster, bad.ref, field="d:a", text="{")
        found = await store.load_many([bad.key, good.key])
        assert found[0] == Tombstone(bad.ref, "")
        assert getattr(found[1], "ref", None) == good.ref
        assert [record.ref for record in (await store.scan())[0]] == [good.ref]


async def test_end_for_a_reason_of_a_newer_release_is_left_to_it(cluster: Cluster) -> None:
    """Its tombstone is known all the same."""
    async with cluster.node() as store:
        dead = cluster.store()
        await dead.open()
        record = await begin(dead)
        with pytest.raises(StoreUnavailable, match="'moved' is no reason"):
            await dead.end(record.ref, "moved")  # type: ignore[arg-type]  # as a newer release might
        await cluster.kill(dead)
        assert await store.load(record.key, touch=True) == Tombstone(record.ref, "moved")
        assert not await due(store)
        assert entry_of(cluster, f"{record.ref}-end") == [store.node.encode(), b"2"]
