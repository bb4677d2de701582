"""Rates that nodes share: what each tells, hears and bears; on Redis, with beats when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis_servers import RedisServer

from wshttp import rate_sharing
from wshttp.engine.rates import STRIKES, AddressRates
from wshttp.errors import StoreUnavailable
from wshttp.rate_sharing import BEAT, MAX_REPORTS, RateSharing
from wshttp.redis.link import RedisLink
from wshttp.sessions.shared import Shared
from wshttp.stores.memory_shared import MemoryShared
from wshttp.stores.redis.shared import RedisShared
from wshttp.testing import FakeClock

pytestmark = pytest.mark.feature("M4")

CLIENT = "192.0.2.1"


class Node:
    """A process with rates of its own, and a way to the others."""

    def __init__(self, shared: Shared, clock: FakeClock, **rate: Any) -> None:
        self.clock = clock
        self.rates = AddressRates(**rate, monotonic=clock.monotonic)
        self.sharing = RateSharing(lambda: self.rates, shared, clock)

    def request(self, times: int = 1, client: str = CLIENT) -> int:
        """Send requests; return how many were let through."""
        return sum(self.rates.request(client, client) is None for _ in range(times))


async def beat(*nodes: Node) -> None:
    """A quarter of a second passes, and all have told and heard what was in it."""
    nodes[0].clock.advance(BEAT)
    for _ in range(2):
        for node in nodes:
            await node.sharing.beat()


class Flaky(MemoryShared):
    """Counts its calls, and may be away."""

    away = False
    appends = reads = 0

    async def append(self, key: str, item: bytes, *, maximum: int, ttl: float) -> int:
        self._require()
        self.appends += 1
        return await super().append(key, item, maximum=maximum, ttl=ttl)

    async def read(self, key: str, after: int = 0) -> tuple[int, list[bytes]]:
        self._require()
        self.reads += 1
        return await super().read(key, after)

    def _require(self) -> None:
        if self.away:
            raise StoreUnavailable


@pytest.fixture
def shared(clock: FakeClock) -> Flaky:
    return Flaky(clock)


@asynccontextmanager
async def on_redis(
    server: RedisServer, prefix: str, clock: FakeClock, count: int, **rate: Any
) -> AsyncIterator[list[Node]]:
    """Nodes with a link each, which have heard that there is nothing yet."""
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(count):
            link = RedisLink(server.url(), timeout=10, root=f"{{{prefix}}}")
            await link.open()
            stack.push_async_callback(link.close)
            nodes.append(Node(RedisShared(link, prefix), clock, **rate))
        await beat(*nodes)
        yield nodes


async def test_address_has_one_allowance_on_all_nodes(
    redis_server: RedisServer, redis_prefix: str, clock: FakeClock
) -> None:
    """Who spent his burst on one node is refused by the other, and let in there when his time has come."""
    async with on_redis(
        redis_server, redis_prefix, clock, 2, requests_per_second=2, burst=20, connections_per_minute=60
    ) as [one, other]:
        assert one.request(100) == 20
        assert one.rates.connection(CLIENT, CLIENT) is None
        await beat(one, other)
        assert other.request(100) <= 1
        assert other.request(100, "192.0.2.2") == 20
        clock.advance(5)
        assert other.request(100) == 10
        await beat(one, other)
        assert one.request(100) <= 1


@pytest.mark.parametrize("count", [2, 3])
async def test_nodes_do_not_multiply_the_rate(
    redis_server: RedisServer, redis_prefix: str, clock: FakeClock, count: int
) -> None:
    """A minute of hammering at all nodes gets N bursts and one rate, within the bound that is promised."""
    rate, burst, let_through = 5.0, 10.0, 0
    async with on_redis(redis_server, redis_prefix, clock, count, requests_per_second=rate, burst=burst) as nodes:
        for _ in range(240):
            let_through += sum(node.request(50) for node in nodes)
            clock.advance(BEAT)
            for node in nodes:  # each hears now what those before it tell, and at the next beat what those after it do
                await node.sharing.beat()
    assert 60 * rate <= let_through <= count * burst + rate * (60 + count * 0.5)


async def test_ban_holds_on_all_nodes(redis_server: RedisServer, redis_prefix: str, clock: FakeClock) -> None:
    """Refusals on two nodes add up to one ban, of both."""
    async with on_redis(redis_server, redis_prefix, clock, 2, requests_per_second=1, ban=60) as nodes:
        for node in nodes:
            node.request(1 + STRIKES // 2)
        await beat(*nodes)
        for node in nodes:
            assert node.rates.request(CLIENT, CLIENT) == pytest.approx(60, abs=1)
            assert node.rates.connection(CLIENT, CLIENT) == pytest.approx(60, abs=1)


async def test_client_that_keeps_to_the_rate_is_never_refused(shared: Flaky, clock: FakeClock) -> None:
    """Whose requests go to the nodes in turn, within the rate, notices nothing."""
    nodes = [Node(shared, clock, requests_per_second=4, burst=4) for _ in range(3)]
    await beat(*nodes)
    for n in range(200):
        clock.advance(0.25)
        assert nodes[n % 3].request() == 1
        for node in nodes:
            await node.sharing.beat()


async def test_nothing_is_sent_where_there_is_nothing_to_say(shared: Flaky, clock: FakeClock) -> None:
    """Without a rate there is not a call; without clients nothing is told; a report is heard once."""
    free = Node(shared, clock)
    free.request(5)
    await free.sharing.beat()
    assert (shared.appends, shared.reads) == (0, 0)
    one, other = (Node(shared, clock, requests_per_second=10) for _ in range(2))
    await beat(one, other)
    assert shared.appends == 0
    one.request(4)
    for _ in range(4):
        await beat(one, other)
    assert shared.appends == 1
    assert one.request(20) == 10
    assert other.request(20) == 10


async def test_own_reports_are_not_heard(shared: Flaky, clock: FakeClock) -> None:
    """A node alone is what it was."""
    node = Node(shared, clock, requests_per_second=1, burst=100)
    await beat(node)
    node.request(50)
    await beat(node)
    assert node.request(100) == 50


async def test_node_that_starts_knows_nothing(shared: Flaky, clock: FakeClock) -> None:
    """What was told before a node began is of unknown age, and is not held against anybody."""
    one = Node(shared, clock, requests_per_second=1, burst=10)
    await beat(one)
    one.request(10)
    await beat(one)
    clock.advance(50)
    late = Node(shared, clock, requests_per_second=1, burst=10)
    await beat(one, late)
    assert late.request(20) == 10


@pytest.mark.parametrize("pause", [0.0, 61.0])
async def test_list_that_is_gone_begins_anew(shared: Flaky, clock: FakeClock, pause: float) -> None:
    """Forgotten in a quiet minute, or with everything else on the server: what is told then is heard."""
    one, other = (Node(shared, clock, requests_per_second=10, burst=100) for _ in range(2))
    await beat(one, other)
    for _ in range(3):
        one.request(10, "192.0.2.7")
        await beat(one, other)
    clock.advance(pause)
    await shared.forget(rate_sharing._KEY)
    one.request(100)
    await beat(one, other)
    await beat(one, other)
    assert other.request(100) <= 10


async def test_reader_that_was_slow_hears_what_is_left(shared: Flaky, clock: FakeClock) -> None:
    """Reports that were dropped meanwhile are lost, the others are not."""
    one, slow = (Node(shared, clock, requests_per_second=1, burst=1 + 2 * MAX_REPORTS) for _ in range(2))
    await beat(one, slow)
    one.request()
    await beat(one, slow)
    for _ in range(MAX_REPORTS + 20):
        one.request()
        await one.sharing.beat()
    await slow.sharing.beat()
    assert slow.request(1000) == MAX_REPORTS


async def test_outage_leaves_every_node_its_own_limits(shared: Flaky, clock: FakeClock) -> None:
    """While they cannot talk each has its own buckets; nothing of that time is told when they can again."""
    one, other = (Node(shared, clock, requests_per_second=1, burst=10) for _ in range(2))
    await beat(one, other)
    shared.away = True
    assert one.request(20) == 10
    await beat(one, other)
    assert one.request(20) == 0
    assert other.request(5) == 5
    shared.away = False
    await beat(one, other)
    assert other.request(20) == 5
    clock.advance(60)
    one.request(10)
    await beat(one, other)
    await beat(one, other)
    assert other.request(20) <= 1


async def test_outage_does_not_collect_debts(shared: Flaky, clock: FakeClock) -> None:
    """What a client did by right during a long outage of one reader is not held against it afterwards."""
    one, deaf = (Node(shared, clock, requests_per_second=4, burst=4) for _ in range(2))
    await beat(one, deaf)
    for _ in range(100):
        clock.advance(0.25)
        assert one.request() == 1
        await one.sharing.beat()
    await deaf.sharing.beat()
    assert deaf.request(4) >= 3


async def test_other_rates_take_their_place(shared: Flaky, clock: FakeClock) -> None:
    """After a reload what is counted by the new rates is told, and what is heard counts in them."""
    one, other = (Node(shared, clock, requests_per_second=1, burst=10) for _ in range(2))
    await beat(one, other)
    for node in (one, other):
        node.rates = AddressRates(2, 20, monotonic=clock.monotonic)
    await beat(one, other)
    one.request(20)
    await beat(one, other)
    assert other.request(20) <= 1


@pytest.mark.parametrize("broken", [False, True])
async def test_beats_come_by_themselves(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: bool
) -> None:
    """Between `open` and `close` there is a beat four times a second, whatever becomes of the one before."""
    monkeypatch.setattr(rate_sharing, "BEAT", 0)
    beats = asyncio.Queue[None]()

    class Listening(MemoryShared):
        async def read(self, key: str, after: int = 0) -> tuple[int, list[bytes]]:
            beats.put_nowait(None)
            if broken:
                raise ValueError("not expected")
            return await super().read(key, after)

    sharing = Node(Listening(clock), clock, requests_per_second=1).sharing
    sharing.open()
    for _ in range(3):
        await asyncio.wait_for(beats.get(), 10)
    await sharing.close()
    await sharing.close()
    assert ("could not be shared" in caplog.text) is broken


async def test_server_that_is_away_is_borne(
    make_redis: Callable[..., RedisServer], redis_prefix: str, clock: FakeClock
) -> None:
    """A beat without Redis raises nothing, and one after it is as before."""
    server = make_redis()
    link = RedisLink(server.url(), timeout=0.2, root=f"{{{redis_prefix}}}")
    await link.open()
    try:
        node = Node(RedisShared(link, redis_prefix), clock, requests_per_second=1, burst=5)
        await beat(node)
        server.kill()
        assert node.request(9) == 5
        await beat(node)
        assert node.request(9) == 0
    finally:
        await link.close()


@pytest.mark.interpreted(reason="it derives from a compiled class")
async def test_report_is_of_the_beat_before_the_last(shared: Flaky, clock: FakeClock) -> None:
    """What is heard was told since this node last heard, of what was counted in the beat before that."""

    class Heard(AddressRates):
        since: list[float] = []

        def hear(self, report: bytes, since: float) -> None:
            self.since.append(since)

    teller, listener = (Node(shared, clock, requests_per_second=1, burst=5) for _ in range(2))
    listener.rates = Heard(requests_per_second=1, monotonic=clock.monotonic)
    await beat(teller, listener)
    heard_at = clock.monotonic()
    teller.request()
    await beat(teller, listener)
    assert Heard.since == [heard_at - BEAT]
