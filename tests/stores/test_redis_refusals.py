"""Servers that the Redis store cannot use, or cannot use right now: said clearly, and nothing is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis_nodes import Cluster, create, due, write
from redis_servers import RedisServer, free_port
from serving import until

from wshttp.errors import StoreUnavailable, StoreUnusable, UsageError
from wshttp.sessions.changes import Changes, Scheduled
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.record import Reason, Record
from wshttp.stores import Limits, Renewed
from wshttp.stores.redis.node import rights
from wshttp.stores.redis.scripts import source_of
from wshttp.stores.redis.store import RedisStore

MakeRedis = Callable[..., RedisServer]


async def refused(url: str, prefix: str = "wshttp") -> str:
    """Open a store that cannot be used, and return what is said."""
    store = RedisStore(url, prefix=prefix, timeout=1)
    with pytest.raises(StoreUnusable) as caught:
        await store.open()
    await store.close()
    assert "secret" not in str(caught.value)
    return str(caught.value)


async def test_server_that_is_not_there_may_come(redis_prefix: str) -> None:
    """That is an outage: to try again may help."""
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0", prefix=redis_prefix, timeout=0.5)
    with pytest.raises(StoreUnavailable):
        await store.open()
    with pytest.raises(StoreUnavailable):
        await store.count()
    assert not store.available
    await store.close()


async def test_server_that_wants_a_password_is_named_as_such(make_redis: MakeRedis) -> None:
    """Without one, and with a wrong one."""
    server = make_redis(requirepass="right", admin=("", "right"))
    assert "wants a password" in await refused(server.url())
    assert "does not take this user and password" in await refused(server.url(password="secret"))
    store = RedisStore(server.url(password="right"))
    await store.open()
    await store.close()


async def test_user_with_few_rights_is_enough(make_redis: MakeRedis) -> None:
    """Scripts on the keys of the prefix, and its channel: no configuration, no other keys, nothing dangerous."""
    server = make_redis()
    server.ask("ACL", "SETUSER", "app", "on", ">pass", *rights("{app}").split())
    cluster = Cluster(server, "app")
    async with cluster.node(server.url("app", "pass"), cache=1.0) as store:
        created = await create(store, user="a", limits=Limits(1, 1, 1))
        await write(store, created.record.ref, a=1)
        assert await store.increment(created.record.ref, "a", 1, 0) == 2
        assert await store.acquire(created.record.ref, "holder", 1)
        await store.renew(created.record.ref, b"k", Limits(), user="b", roles=(), version="")
        ended = await store.end(created.record.ref, Reason.LOGOUT)
        assert ended is not None
        await store.settle(created.event)
        await store.settle(ended.event)
        assert not await due(store)
        assert (await store.count(), await store.owed(), await store.scan()) == (0, 0, ([], ""))
    assert f"it needs {rights('{other}')}" in await refused(server.url("app", "pass"), "other")


async def test_read_only_server_is_no_primary(make_redis: MakeRedis) -> None:
    """A replica is refused, or waited for to be one; nothing is written to it."""
    primary = make_redis(tcp=True)
    replica = make_redis(tcp=True, replicaof=f"127.0.0.1 {primary.port}")
    store = RedisStore(replica.url(), timeout=0.5)
    with pytest.raises((StoreUnusable, StoreUnavailable), match="replica"):
        await store.open()
    await store.close()


async def test_keys_of_another_program_are_left_alone(redis_server: RedisServer) -> None:
    """Whatever stands where ours would."""
    for command in (("SET", "{p}:meta", "x"), ("HSET", "{p}:meta", "theirs", "1"), ("LPUSH", "{p}:meta", "x")):
        redis_server.flush()
        redis_server.ask(*command)
        before = redis_server.ask("DUMP", "{p}:meta")
        assert "of another program; choose another prefix than 'p'" in await refused(redis_server.url(), "p")
        assert redis_server.ask("DUMP", "{p}:meta") == before
        assert redis_server.ask("DBSIZE") == 1


@pytest.mark.parametrize("name", ["all", "idle", "due", "calls", "orphans", "nodes"])
async def test_key_of_another_kind_is_another_programs(redis_server: RedisServer, name: str) -> None:
    """Also where it is not the first that is looked at; it is said at the start, not by each call that meets it."""
    redis_server.ask("SET", f"{{p}}:{name}", "theirs")
    assert "of another program; choose another prefix than 'p'" in await refused(redis_server.url(), "p")
    assert redis_server.ask("GET", f"{{p}}:{name}") == b"theirs"


async def test_another_schema_is_left_alone(redis_server: RedisServer) -> None:
    """That of a version of ours that stores in another way; also where it appears while we run."""
    cluster = Cluster(redis_server, "p")
    async with cluster.node() as store:
        ref = (await create(store)).record.ref
        redis_server.ask("HSET", "{p}:meta", "schema", 99)
        for call in (store.load_ref(ref, touch=True), store.count(), store.take_due(1), create(store)):
            with pytest.raises(StoreUnavailable, match="their schema is 99, this one knows 1"):
                await call
        assert "their schema is 99, this one knows 1" in await refused(redis_server.url(), "p")
        redis_server.ask("HSET", "{p}:meta", "schema", 1)
        assert await store.load_ref(ref, touch=True) is not None


async def test_foreign_data_under_a_key_fails_that_call_alone(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With `StoreUnavailable`; the others go on. The log names the line of our script that met it."""
    cluster = Cluster(redis_server, "p")
    async with cluster.node() as store:
        broken, whole = [(await create(store)).record.ref for _ in range(2)]
        redis_server.ask("DEL", f"{{p}}:s:{broken}")
        redis_server.ask("SET", f"{{p}}:s:{broken}", "theirs")
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            await store.load_ref(broken, touch=True)
        [line] = [line for line in caplog.messages if "the store refuses load_ref: WRONGTYPE" in line]
        file, number = line.rpartition(" ")[2].split(":")
        assert file == "session.lua"
        assert "redis.call('HMGET', live_key(ref)" in source_of("session").splitlines()[int(number) - 1]
        assert await store.load_ref(whole, touch=True) is not None


def dump(server: RedisServer) -> dict[bytes, bytes]:
    """Return all that is stored, but for how long answers and tombstones are kept."""
    with server.client() as client:
        return {key: client.dump(key) for key in client.scan_iter()}


@pytest.mark.parametrize("list_of", ["u:bob", "b:192.0.2.1", "p:{ref}", "c:{ref}", "l:{ref}-end"])
async def test_step_that_meets_foreign_data_is_not_half_done(redis_server: RedisServer, list_of: str) -> None:
    """Whatever it would have written before: it is refused as a whole, and works when that key is gone."""
    cluster = Cluster(redis_server, "p")
    async with cluster.node() as store:
        first, second = [(await create(store, user="bob" if n else None)) for n in range(2)]
        for created in (first, second):
            await store.settle(created.event)
        name = "{p}:" + list_of.replace("{ref}", second.record.ref)
        kept = redis_server.ask("DUMP", name)
        redis_server.ask("SET", name, "theirs")
        before = dump(redis_server)
        limits = Limits(max_sessions_per_user=1)
        steps: list[Callable[[], Awaitable[object]]] = [lambda: store.end(second.record.ref, Reason.LOGOUT)]
        if list_of == "u:bob":
            steps += [
                lambda: create(store, user="bob"),
                lambda: store.renew(first.record.ref, b"new", Limits(), user="bob", roles=(), version=""),
            ]
        else:
            steps += [lambda: create(store, user="bob", limits=limits)]
        for step in steps:
            with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
                await step()
        assert dump(redis_server) == before
        redis_server.ask("DEL", name)
        if kept is not None:
            with redis_server.client() as client:
                client.restore(name, 0, kept)
        renewed = await store.renew(first.record.ref, b"new", limits, user="bob", roles=(), version="")
        assert isinstance(renewed, Renewed)
        [ended] = renewed.ended
        await store.settle(ended.event)
        assert (await store.count(), await store.owed()) == (1, 0)


async def test_foreign_data_of_one_session_holds_up_no_other(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Time goes on for the others, on all nodes; what is in the way is named, and looked at again when it has gone."""
    cluster = Cluster(redis_server, "p")
    async with cluster.node() as store, cluster.node() as other:
        broken, whole, busy = [(await create(store, idle_timeout=100.0)).record for _ in range(3)]
        call = Scheduled(new_event_id(), 1, "call", None)
        await store.apply(broken.ref, Changes(scheduled=[call]), 0)
        cluster.advance(4)
        await store.load_ref(broken.ref, touch=True)
        key = f"{{p}}:s:{broken.ref}"
        kept = redis_server.ask("DUMP", key)
        redis_server.ask("SET", key, "theirs")
        cluster.advance(92)
        assert await store.load_ref(busy.ref, touch=True) is not None
        cluster.advance(6)
        for node in (store, other):
            await node.renew_lease()
        assert [one.record.ref for one in (await due(store)).ended] == [whole.ref]
        assert len([line for line in caplog.messages if "put aside" in line and broken.ref in line]) == 2
        assert not await due(other)
        assert [record.ref for record in (await store.scan())[0]] == [busy.ref]
        found = await store.load_many([broken.key, busy.key])
        assert found[0] is None
        assert isinstance(found[1], Record)
        await create(store, limits=Limits(max_sessions=3, max_sessions_per_ip=3))
        redis_server.ask("DEL", key)
        with redis_server.client() as client:
            client.restore(key, 0, kept)
        cluster.advance(61)
        assert broken.ref in [one.record.ref for one in (await due(store)).ended]


async def test_full_server_lets_nothing_in_and_loses_nothing(make_redis: MakeRedis) -> None:
    """No session and no value is taken in; all are found, end, and make room by that."""
    server = make_redis(maxmemory_policy="noeviction")
    cluster = Cluster(server, "p")
    async with cluster.node() as store:
        records = [(await create(store, data={"big": "x" * 1000})).record for _ in range(20)]
        cluster.advance(10)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(StoreUnavailable, match="OOM"):
            await create(store)
        for call in (write(store, records[0].ref, a=1), store.increment(records[0].ref, "n", 1, 0)):
            with pytest.raises(StoreUnavailable, match="OOM"):
                await call
        renewal = store.renew(records[0].ref, b"k", Limits(), user="a", roles=(), version="")
        with pytest.raises(StoreUnavailable, match="OOM"):
            await renewal
        for record in records:
            found = await store.load(record.key, touch=True)
            assert found is not None
            assert getattr(found, "data", None) == {"big": "x" * 1000}
        ended = await store.end(records[0].ref, Reason.LOGOUT)
        assert ended is not None
        await store.settle(ended.event)
        assert await store.renew_lease()
        assert not await due(store)
        assert (await store.count(), await store.owed()) == (19, 20)
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await create(store)
        assert await store.count() == 20


async def test_server_whose_disk_fails_refuses_writes(make_redis: MakeRedis) -> None:
    """It says MISCONF; nothing is changed until it takes writes again."""
    server = make_redis(save="3600 100000", enable_protected_configs="yes")
    cluster = Cluster(server, "p")
    async with cluster.node() as store:
        ref = (await create(store)).record.ref
        server.ask("CONFIG", "SET", "dbfilename", "x" * 300)
        server.ask("BGSAVE")
        await until(lambda: server.ask("INFO")["rdb_last_bgsave_status"] == "err")
        with pytest.raises(StoreUnavailable, match="MISCONF"):
            await write(store, ref, a=1)
        server.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        assert (await write(store, ref, a=2)).data == {"a": 2}


async def test_killed_server_comes_back_with_everything(make_redis: MakeRedis) -> None:
    """With a log that is synced for each write, nothing that was answered is lost."""
    server = make_redis(appendonly="yes", appendfsync="always")
    cluster = Cluster(server, "p")
    async with cluster.node() as store:
        created = await create(store, data={"a": 1})
        await store.increment(created.record.ref, "a", 1, 0)
        server.kill()
        await until(lambda: not store.available)
        server.start()
        await until(lambda: store.available)
        found = await store.load(created.record.key, touch=True)
        assert getattr(found, "data", None) == {"a": 2}
        assert await store.owed() == 1


@pytest.mark.parametrize("prefix", ["", "a{b", "}", "a\n", "a b", "\0", "\ud800", "ä", "x" * 65], ids=ascii)
def test_prefix_that_is_no_tag_is_refused(prefix: str) -> None:
    """It stands in braces, so that all keys are in one slot of a cluster."""
    with pytest.raises(UsageError):
        RedisStore("redis://127.0.0.1", prefix=prefix)


async def test_store_works_in_a_cluster(make_redis: MakeRedis) -> None:
    """All keys are in one slot; the node that has it is found."""
    server = make_redis(cluster_enabled="yes")
    url = f"redis+cluster://{server.address}"
    store = RedisStore(url, prefix="p")
    await store.open()
    created = await create(store, user="a", limits=Limits(5, 5, 5))
    assert (await write(store, created.record.ref, a=1)).data == {"a": 1}
    assert await store.acquire(created.record.ref, "holder", 1)
    assert await store.end(created.record.ref, Reason.LOGOUT) is not None
    assert not await due(store)
    await store.close()
