"""Failed log-ins and rates of several servers on one Redis, over HTTP: N servers are not N times as many tries."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from redis_servers import RedisServer
from serving import fetch, new_server, running

from wshttp import Server

pytestmark = pytest.mark.feature("M4")


@pytest.fixture
def auth(tmp_path: Path) -> dict[str, Any]:
    """Settings of a site with one user, whose password is looked at each time."""
    file = tmp_path / "users"
    file.write_text("bob:" + bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode() + "\n")
    return {"users_file": str(file), "cache": 0}


@asynccontextmanager
async def nodes(
    count: int, redis: RedisServer, prefix: str, **sections: Any
) -> AsyncIterator[list[tuple[Server, str]]]:
    """Run servers on one Redis; returns each with its address."""
    store = {"kind": "redis", "url": redis.url(), "prefix": prefix} | sections.pop("store", {})
    async with AsyncExitStack() as stack:
        servers = [new_server(store=store, **sections) for _ in range(count)]
        yield [(server, await stack.enter_async_context(running(server))) for server in servers]


async def beat(*servers: Server) -> None:
    """Have them tell each other now what they would a quarter of a second later."""
    for server in servers:
        assert server._rate_sharing is not None
        await server._rate_sharing.beat()


async def log_in(base: str, password: str) -> int:
    answer = await fetch(f"{base}/wshttp/session", auth_username="bob", auth_password=password)
    return answer.code


async def test_guesses_at_all_servers_are_counted_together(
    redis_server: RedisServer, redis_prefix: str, auth: dict[str, Any]
) -> None:
    """Of 30 guesses at three servers at once, ten at most are looked at; then the right password is refused, too."""
    async with nodes(3, redis_server, redis_prefix, auth=auth | {"max_failures": 10}) as servers:
        bases = [base for _, base in servers]
        codes = Counter(await asyncio.gather(*(log_in(bases[n % 3], f"guess {n}") for n in range(30))))
        assert set(codes) == {401, 429}
        assert codes[401] <= 10
        assert [await log_in(base, "right") for base in bases] == [429] * 3


async def test_log_in_without_redis_is_503(
    make_redis: Callable[..., RedisServer], redis_prefix: str, auth: dict[str, Any]
) -> None:
    """Nobody is let in uncounted: right or wrong, no password is looked at while the counters are away."""
    redis = make_redis()
    async with nodes(1, redis, redis_prefix, auth=auth, store={"timeout": 0.3}) as [(_, base)]:
        assert await log_in(base, "right") == 200
        redis.kill()
        assert [await log_in(base, password) for password in ("right", "wrong")] == [503, 503]
        redis.start()


async def test_rate_is_one_for_all_servers(redis_server: RedisServer, redis_prefix: str) -> None:
    """Who has spent his requests on one server is answered 429 by the other, a beat later."""
    rate = {"requests_per_second": 0.01, "burst": 5}
    async with nodes(2, redis_server, redis_prefix, rate=rate) as [(one, first), (other, second)]:
        await beat(one, other)
        codes = [(await fetch(f"{first}/wshttp/session")).code for _ in range(6)]
        assert codes == [200] * 5 + [429]
        await beat(one, other)
        refused = await fetch(f"{second}/wshttp/session")
        assert refused.code == 429
        assert int(refused.headers["Retry-After"]) > 1
