"""What is found at the other end of a URL, and what the operator is told of it."""

from __future__ import annotations

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis_servers import SERVICE, RedisServer, free_port, linked

from wshttp.errors import StoreUnusable
from wshttp.redis.link import RedisUnavailable

MakeRedis = Callable[..., RedisServer]


@asynccontextmanager
async def answering(*replies: bytes | None) -> AsyncIterator[str]:
    """Be a server that answers each piece it reads with the next of these; `None` ends the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            if not await reader.read(65536) or reply is None:
                break
            writer.write(reply)
        else:
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def told(url: str, kind: type[Exception], *, timeout: float = 5.0) -> str:
    """Return what the operator is told by `open`; it names the server, and no password."""
    with pytest.raises(kind) as caught:
        async with linked(url, timeout=timeout):
            pass
    assert "sesame" not in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_server_that_talks_http_is_no_redis() -> None:
    """Somebody mixed up two ports; trying again does not help."""
    async with answering(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n") as url:
        assert "is no Redis" in await told(url, StoreUnusable)


async def test_server_that_says_nothing_is_unavailable() -> None:
    """Opening takes no longer than the timeout."""
    async with answering(b"") as url:
        assert "does not answer within 0.2 s" in await told(url, RedisUnavailable, timeout=0.2)


async def test_server_that_hangs_up_is_unavailable() -> None:
    """It may have too many clients, or be on its way out."""
    async with answering(None) as url:
        text = await told(url, RedisUnavailable)
        assert "ended the connection; does it want TLS (rediss://)?" in text
        assert text.startswith("store.url: ")
        text = await told(url.replace("redis://", "rediss://"), RedisUnavailable)
        assert "ended the connection; does it speak TLS?" in text


@pytest.mark.parametrize(
    "hello",
    [
        b"*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n6.2.7\r\n",
        b"-ERR unknown command `HELLO`, with args beginning with: `2`, \r\n",
        b"*0\r\n",
    ],
)
async def test_server_that_is_too_old_says_what_is_needed(hello: bytes) -> None:
    """Whether it knows HELLO or not. The two it answers first are what redis-py tells of itself."""
    async with answering(b"+OK\r\n+OK\r\n", hello) as url:
        assert "is too old" in (text := await told(url, StoreUnusable))
        assert "7.0 is needed" in text


async def test_nobody_there_is_unavailable(tmp_path: Path) -> None:
    """It may be started yet: on a port as on a socket."""
    for url in (f"redis://app:sesame@127.0.0.1:{free_port()}", f"unix://:sesame@{tmp_path}/none"):
        text = await told(url, RedisUnavailable)
        assert re.search(
            r"^store\.url: [^ ]+ cannot be reached: (Connection refused|No such file or directory); does", text
        )


async def test_socket_that_may_not_be_opened_is_unusable(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has to permit it. (Root may open everything, so the kernel's answer is made up.)"""

    async def forbidden(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(asyncio, "open_unix_connection", forbidden)
    assert "may not be opened: Permission denied" in await told(redis_server.url(), StoreUnusable)


@pytest.mark.parametrize("tcp", [False, True])
async def test_server_that_wants_a_password(make_redis: MakeRedis, tcp: bool) -> None:
    """None was given, a wrong one was, the right one was: with and without a user."""
    server = make_redis(requirepass="open", admin=("", "open"), tcp=tcp)
    server.ask("ACL", "SETUSER", "app", "on", ">mine", "~*", "+@all")
    assert "wants a password" in await told(server.url(), StoreUnusable)
    for login in (("", "sesame"), ("app", "sesame"), ("nobody", "sesame")):
        assert "does not take this user and password" in await told(server.url(*login), StoreUnusable)
    for login in (("", "open"), ("app", "mine")):
        async with linked(server.url(*login)) as link:
            assert await link.call("ECHO", 1) == b"1"


async def test_password_that_nobody_wants_is_a_mistake(redis_server: RedisServer) -> None:
    """It may be another server than was meant."""
    assert "does not take this user and password" in await told(redis_server.url("", "sesame"), StoreUnusable)


async def test_server_that_repeats_the_password_is_not_quoted() -> None:
    """Who does not understand a command may tell what it was."""
    async with answering(b"-ERR what is this: AUTH app sesame\r\n") as url:
        text = await told(url.replace("://", "://app:sesame@"), StoreUnusable)
    assert "AUTH app ***" in text


async def test_user_with_few_rights_is_enough_to_connect(make_redis: MakeRedis) -> None:
    """Nothing but logging in is needed; CLIENT, INFO, PING and the like may be forbidden."""
    server = make_redis()
    server.ask("ACL", "SETUSER", "app", "on", ">mine", "~*", "-@all", "+echo")
    async with linked(server.url("app", "mine")) as link:
        assert await link.call("ECHO", 1) == b"1"


async def test_database_that_is_not_there_is_unusable(redis_server: RedisServer) -> None:
    """The server says so itself."""
    assert "out of range" in await told(redis_server.url(db=9), StoreUnusable)


async def test_replica_is_refused(make_redis: MakeRedis) -> None:
    """What is written must be written to the primary."""
    primary = make_redis(tcp=True)
    replica = make_redis(replicaof=primary.address.replace(":", " "))
    assert "read-only replica" in await told(replica.url(), StoreUnusable)


async def test_sentinel_or_cluster_by_a_plain_url_is_told_apart(make_redis: MakeRedis) -> None:
    """The text has the URL that is meant."""
    primary = make_redis(tcp=True)
    sentinel = make_redis(sentinel=True, monitor=primary.address.replace(":", " "))
    text = await told(f"redis://{sentinel.address}", StoreUnusable)
    assert f"redis+sentinel://{sentinel.address}/{'service'}/0" in text
    assert SERVICE not in text
    node = make_redis(cluster_enabled="yes")
    assert f"redis+cluster://{node.address}" in await told(f"redis://{node.address}", StoreUnusable)


async def test_server_with_too_many_clients_is_unavailable(make_redis: MakeRedis) -> None:
    """Some of them will go."""
    server = make_redis(maxclients="1")
    async with linked(server.url()):
        await told(server.url(), RedisUnavailable)


async def test_server_whose_disk_fails_is_unavailable(make_redis: MakeRedis) -> None:
    """It takes no changes before somebody has seen to it."""
    server = make_redis(save="3600 1000000", dbfilename="dump.rdb")
    server.ask("SET", "key", "value")
    server.ask("CONFIG", "SET", "rdbcompression", "no")
    (server.folder / "dump.rdb").mkdir()
    server.ask("BGSAVE")
    server.out.wait_for("Background saving error")
    assert "MISCONF" in await told(server.url(), RedisUnavailable)
