"""Where the primary is: behind TLS, where sentinels say, in a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import write_certificate
from redis_servers import SERVICE, RedisServer, free_port, linked
from serving import soon, until

from wshttp.errors import StoreUnavailable, StoreUnusable
from wshttp.redis.link import RedisUnavailable

MakeRedis = Callable[..., RedisServer]


def watching(make_redis: MakeRedis, primary: RedisServer, **options: str) -> RedisServer:
    """Start a sentinel that watches a primary."""
    watched = primary.address.replace(":", " ")
    return make_redis(sentinel=True, monitor=watched, down_after_milliseconds="300", failover_timeout="1000", **options)


def by(*sentinels: str, login: str = "", query: str = "") -> str:
    return f"redis+sentinel://{login}{','.join(sentinels)}/{SERVICE}/0{query}"


# --- TLS ------------------------------------------------------------------------------------------


async def test_tls_with_the_right_certificate(make_redis: MakeRedis) -> None:
    """The authority is named in the URL."""
    server = make_redis(tls=True, requirepass="secret", admin=("", "secret"))
    async with linked(server.url("", "secret")) as link:
        assert await link.call("ECHO", 1) == b"1"


async def test_tls_with_a_certificate_that_nobody_vouches_for(make_redis: MakeRedis, tmp_path: Path) -> None:
    """Neither an unknown authority nor another name is taken, unless the URL says so."""
    server = make_redis(tls=True)
    other, _ = write_certificate(tmp_path, "other")
    for url in (f"rediss://localhost:{server.port}", server.url(ssl_ca_certs=other)):
        with pytest.raises(StoreUnusable, match="is not trusted: self"):
            async with linked(url):
                pass
    with pytest.raises(StoreUnusable, match=r"is not trusted: .*127\.0\.0\.1"):
        async with linked(server.url().replace("localhost", "127.0.0.1")):
            pass
    for query in ({"ssl_check_hostname": "no"}, {"ssl_cert_reqs": "none"}):
        async with linked(server.url(**query).replace("localhost", "127.0.0.1")) as link:
            assert await link.call("ECHO", 1) == b"1"


async def test_tls_on_one_side_alone(make_redis: MakeRedis) -> None:
    """A plain server waits for more; a TLS server hangs up."""
    plain, secure = make_redis(tcp=True), make_redis(tls=True)
    with pytest.raises(RedisUnavailable, match=r"does not answer within 0\.3 s; does it speak TLS"):
        async with linked(f"rediss://localhost:{plain.port}", timeout=0.3):
            pass
    with pytest.raises((StoreUnusable, StoreUnavailable), match=r"is no Redis|ended the connection|cannot be reached"):
        async with linked(f"redis://localhost:{secure.port}"):
            pass


async def test_tls_server_that_was_killed_is_found_again(make_redis: MakeRedis) -> None:
    """As over any connection."""
    server = make_redis(tls=True)
    async with linked(server.url()) as link:
        server.kill()
        await until(lambda: not link.available)
        call = asyncio.create_task(link.call("ECHO", 1))
        server.start()
        assert await soon(call) == b"1"


# --- sentinels ------------------------------------------------------------------------------------


async def test_sentinels_name_the_primary(make_redis: MakeRedis) -> None:
    """Those that do not answer are passed over."""
    primary = make_redis(tcp=True)
    sentinel = watching(make_redis, primary)
    async with linked(by(f"127.0.0.1:{free_port()}", sentinel.address)) as link:
        await link.call("SET", "key", "value")
        assert primary.ask("GET", "key") == b"value"


async def test_sentinels_have_their_own_password(make_redis: MakeRedis) -> None:
    """That of Redis is in its usual place."""
    primary = make_redis(tcp=True, requirepass="secret", admin=("", "secret"))
    sentinel = watching(make_redis, primary, auth_pass="secret", requirepass="watching")
    async with linked(by(sentinel.address, login=":secret@", query="?sentinel_password=watching")) as link:
        assert await link.call("ECHO", 1) == b"1"
    for login, query in (("", "?sentinel_password=watching"), (":secret@", ""), (":secret@", "?sentinel_password=x")):
        with pytest.raises(StoreUnusable, match="password"):
            async with linked(by(sentinel.address, login=login, query=query)):
                pass


async def test_sentinels_over_tls(make_redis: MakeRedis) -> None:
    """They and the primary are reached with the same options."""
    primary = make_redis(tls=True)
    sentinel = make_redis(
        sentinel=True,
        tls=True,
        monitor=f"localhost {primary.port}",
        resolve_hostnames="yes",
        announce_hostnames="yes",
        tls_replication="yes",
        tls_cert_file=primary.certificate,
        tls_key_file=primary.certificate.replace(".crt", ".key"),
        tls_ca_cert_file=primary.certificate,
    )
    url = f"rediss+sentinel://localhost:{sentinel.port}/{SERVICE}?ssl_ca_certs={primary.certificate}"
    async with linked(url) as link:
        assert await link.call("ECHO", 1) == b"1"


async def test_sentinels_that_cannot_help_say_why(make_redis: MakeRedis) -> None:
    """Nobody there, no sentinel, no such service."""
    primary = make_redis(tcp=True)
    sentinel = watching(make_redis, primary)
    nobody = f"127.0.0.1:{free_port()}"
    for url, kind, reason in (
        (by(nobody), RedisUnavailable, "cannot be reached"),
        (by(primary.address), StoreUnusable, f"is no sentinel; a Redis itself is redis://{primary.address}/0"),
        (by(sentinel.address).replace(SERVICE, "others"), StoreUnusable, "knows no service 'others'"),
        (by(nobody, primary.address), RedisUnavailable, "cannot be reached.*; .*is no sentinel"),
    ):
        with pytest.raises(kind, match=reason):
            async with linked(url):
                pass


async def test_sentinel_that_hangs_leaves_time_for_the_others(make_redis: MakeRedis) -> None:
    """All is done within the timeout."""
    primary = make_redis(tcp=True)
    first, second = watching(make_redis, primary), watching(make_redis, primary)
    first.pause()
    async with linked(by(first.address, second.address), timeout=1.5) as link:
        assert await link.call("ECHO", 1) == b"1"


async def test_failover_is_followed(make_redis: MakeRedis) -> None:
    """The primary dies, a replica is promoted: calls that wait are answered by the new one."""
    primary = make_redis(tcp=True, repl_diskless_sync_delay="0")
    replica = make_redis(tcp=True, replicaof=primary.address.replace(":", " "), replica_priority="1")
    sentinel = watching(make_redis, primary)
    async with linked(by(sentinel.address)) as link:
        await link.call("SET", "key", "value")
        with sentinel.client() as client:
            await until(lambda: int(client.sentinel_master(SERVICE)["num-slaves"]) == 1)
        await until(lambda: replica.ask("GET", "key") == b"value")
        primary.kill()
        await until(lambda: not link.available)
        call = asyncio.create_task(link.call("APPEND", "key", "!"))
        assert await soon(call) == 6
        assert replica.ask("GET", "key") == b"value!"


# --- cluster --------------------------------------------------------------------------------------


async def test_cluster_of_one_node(make_redis: MakeRedis) -> None:
    """It has all slots."""
    node = make_redis(cluster_enabled="yes")
    async with linked(f"redis+cluster://127.0.0.1:{free_port()},{node.address}", root="{one}") as link:
        await link.call("SET", "{one}:key", "value")
        assert await link.call("GET", "{one}:key") == b"value"


async def test_cluster_that_cannot_be_used_says_why(make_redis: MakeRedis) -> None:
    """A server that is in none, a node without slots."""
    plain = make_redis(tcp=True)
    with pytest.raises(StoreUnusable, match="is not part of a cluster"):
        async with linked(f"redis+cluster://{plain.address}"):
            pass
    empty = make_redis(cluster_enabled="yes", slots=None)
    with pytest.raises(RedisUnavailable, match="nobody in the cluster has slot"):
        async with linked(f"redis+cluster://{empty.address}"):
            pass


async def test_cluster_node_with_the_slot_is_the_one_that_is_asked(make_redis: MakeRedis) -> None:
    """Whichever node is named in the URL; and where the slot moves, the link follows."""
    first = make_redis(cluster_enabled="yes", slots=range(8192))
    second = make_redis(cluster_enabled="yes", slots=range(8192, 16384))
    await meet(first, second)
    for root, home in (("{a}", second), ("{b}", first)):  # slots 15495 and 3300
        assert home.ask("CLUSTER", "KEYSLOT", root) in (15495, 3300)
        async with linked(f"redis+cluster://{first.address}", root=root) as link:
            await link.call("SET", f"{root}:key", "value")
            assert home.ask("GET", f"{root}:key") == b"value"
    async with linked(f"redis+cluster://{second.address}", root="{c}") as link:
        await link.call("ECHO", 1)
        slot = first.ask("CLUSTER", "KEYSLOT", "{c}")
        assert slot < 8192
        assert first.ask("CLUSTER", "KEYSLOT", "{c}") == slot
        target = second.ask("CLUSTER", "MYID").decode()
        for node in (second, first):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target)
        await soon(link.call("SET", "{c}:key", "moved"))
        assert second.ask("GET", "{c}:key") == b"moved"


async def meet(first: RedisServer, second: RedisServer) -> None:
    """Make one cluster of two nodes."""
    host, port = second.address.split(":")
    first.ask("CLUSTER", "MEET", host, port, second.bus_port)
    for node in (first, second):
        await until(lambda node=node: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"))  # type: ignore[misc]
