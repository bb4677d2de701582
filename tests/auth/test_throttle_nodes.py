"""The throttle on several nodes: one count of guesses, few round trips, and nobody let in during an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis_servers import RedisServer

from wshttp.auth.throttle import FREE_FAILURES, Attempt, Throttle
from wshttp.errors import StoreUnavailable, TooManyRequests
from wshttp.redis.link import RedisLink
from wshttp.stores.memory_shared import MemoryShared
from wshttp.stores.redis.shared import RedisShared
from wshttp.testing import FakeClock

pytestmark = [pytest.mark.feature("M4"), pytest.mark.feature("U5")]


@asynccontextmanager
async def throttles(
    server: RedisServer, prefix: str, clock: FakeClock, count: int = 3
) -> AsyncIterator[list[Throttle]]:
    """Throttles of as many nodes, with a link each."""
    async with AsyncExitStack() as stack:
        links = []
        for _ in range(count):
            links.append(RedisLink(server.url(), timeout=10, root=f"{{{prefix}}}"))
            await links[-1].open()
            stack.push_async_callback(links[-1].close)
        yield [Throttle(RedisShared(link, prefix), clock) for link in links]


async def is_admitted(throttle: Throttle, account: str, bucket: str) -> bool:
    try:
        await throttle.admit(account, bucket)
    except TooManyRequests:
        return False
    return True


@pytest.mark.parametrize("spread", ["one address", "many addresses", "many accounts"])
async def test_parallel_guesses_on_all_nodes_are_counted_as_on_one(
    redis_server: RedisServer, redis_prefix: str, clock: FakeClock, spread: str
) -> None:
    """Of 300 guesses at once on three nodes no more than `max_failures` are looked at."""
    async with throttles(redis_server, redis_prefix, clock) as nodes:
        admitted = await asyncio.gather(
            *(
                is_admitted(
                    nodes[n % 3],
                    f"user{n}" if spread == "many accounts" else "bob",
                    f"192.0.2.{n}" if spread == "many addresses" else "192.0.2.1",
                )
                for n in range(300)
            )
        )
        assert 1 <= sum(admitted) <= 10


async def test_pause_holds_on_all_nodes(redis_server: RedisServer, redis_prefix: str, clock: FakeClock) -> None:
    """Of many guesses at the end of a pause, spread over the nodes, one is looked at."""
    async with throttles(redis_server, redis_prefix, clock) as nodes:
        for n in range(FREE_FAILURES):
            assert await is_admitted(nodes[n % 3], "bob", "192.0.2.1")
        assert not await is_admitted(nodes[0], "bob", "192.0.2.1")
        redis_server.ask("EVAL", _FORGET_PAUSES, 0, f"{{{redis_prefix}}}:*:pause")
        admitted = await asyncio.gather(*(is_admitted(nodes[n % 3], "bob", "192.0.2.1") for n in range(30)))
        assert sum(admitted) == 1


_FORGET_PAUSES = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end"


async def test_success_on_one_node_counts_on_all(
    redis_server: RedisServer, redis_prefix: str, clock: FakeClock
) -> None:
    """Where an owner has logged in on one node his address is known on the others, however his account is attacked."""
    async with throttles(redis_server, redis_prefix, clock) as [one, other, third]:
        await (await one.admit("bob", "home")).succeed()
        await asyncio.gather(*(is_admitted(third, "bob", f"attacker {n}") for n in range(50)))
        assert not await is_admitted(one, "bob", "elsewhere")
        assert await is_admitted(other, "bob", "home")
        await third.forgive("bob")
        assert await is_admitted(one, "bob", "elsewhere")


class Far(MemoryShared):
    """Every call takes a trip; those that begin together travel together."""

    trips = calls = 0
    _trip: asyncio.Task[None] | None = None

    async def _travel(self) -> None:
        self.calls += 1
        if self._trip is None:
            self.trips += 1
            self._trip = asyncio.create_task(self._leave())
        await asyncio.shield(self._trip)

    async def _leave(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        self._trip = None

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("add", "counter", "forget", "append", "read"):
            return found

        async def far(*given: Any, **named: Any) -> Any:
            await self._travel()
            return await found(*given, **named)

        return far

    def count(self) -> tuple[int, int]:
        """Return the trips and the calls since the last time."""
        counted = self.trips, self.calls
        self.trips = self.calls = 0
        return counted


async def test_attempt_takes_few_round_trips(clock: FakeClock) -> None:
    """Three for an attempt, two for one that is refused, one for a success; each pause adds one."""
    far = Far(clock)
    throttle = Throttle(far, clock)
    attempt = await throttle.admit("bob", "192.0.2.1")
    assert far.count() == (3, 7)
    await attempt.succeed()
    assert far.count() == (1, 6)
    attempt = await throttle.admit("bob", "192.0.2.1")
    assert far.count() == (3, 5)
    await attempt.succeed()
    assert far.count()[0] == 1
    for n in range(10):
        await throttle.admit(f"user{n}", "192.0.2.2")
        clock.advance(80)  # a pause is 64 s at most, and the window is 900 s
        assert far.count()[0] <= 4
    with pytest.raises(TooManyRequests):
        await throttle.admit("alice", "192.0.2.2")
    assert far.count() == (2, 4)


async def test_refusal_by_one_counter_is_given_back_by_all_others(clock: FakeClock) -> None:
    """Of many guesses at once at one account, from one address each, no address keeps one that was not looked at."""
    far = Far(clock)
    throttle = Throttle(far, clock)
    results = await asyncio.gather(*(is_admitted(throttle, "bob", f"192.0.2.{n}") for n in range(50)))
    assert sum(results) == 10
    clock.advance(1)
    for n, admitted in enumerate(results):
        if not admitted:
            for _ in range(FREE_FAILURES):
                assert isinstance(await throttle.admit(f"user{n}", f"192.0.2.{n}"), Attempt)


async def test_outage_admits_nobody(
    make_redis: Callable[..., RedisServer], redis_prefix: str, clock: FakeClock
) -> None:
    """Without Redis no password is looked at, and one that was right lets nobody in: the answer is 503."""
    server = make_redis()
    link = RedisLink(server.url(), timeout=0.2, root=f"{{{redis_prefix}}}")
    await link.open()
    try:
        throttle = Throttle(RedisShared(link, redis_prefix), clock)
        attempt = await throttle.admit("bob", "192.0.2.1")
        server.kill()
        for refused in (attempt.succeed(), throttle.admit("bob", "192.0.2.1"), throttle.vouch("bob", "192.0.2.1")):
            with pytest.raises(StoreUnavailable):
                await refused
    finally:
        await link.close()
