"""`Shared` on Redis: the contract, on calls that are sent once and twice, and what is its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import cycle
from typing import Any

import pytest
from redis_servers import RedisServer

from wshttp.backing import backing_of
from wshttp.config import Settings
from wshttp.errors import StoreUnavailable, UsageError
from wshttp.redis.link import RedisLink
from wshttp.sessions.shared import Shared
from wshttp.stores.kept import HISTORIES, QUEUES, TICKETS
from wshttp.stores.redis.shared import RedisShared
from wshttp.testing import FakeClock, SharedContract

pytestmark = pytest.mark.feature("M1")


@asynccontextmanager
async def linked(url: str, prefix: str, *, timeout: float = 10.0) -> AsyncIterator[RedisLink]:
    link = RedisLink(url, timeout=timeout, root=f"{{{prefix}}}")
    await link.open()
    try:
        yield link
    finally:
        await link.close()


class Place:
    """A server, and the keys of one prefix on it."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.server = server
        self.prefix = prefix

    def linked(self) -> AbstractAsyncContextManager[RedisLink]:
        return linked(self.server.url(), self.prefix)

    @asynccontextmanager
    async def shared(self, **options: Any) -> AsyncIterator[RedisShared]:
        async with self.linked() as link:
            yield RedisShared(link, self.prefix, **options)

    def names(self) -> list[bytes]:
        with self.server.client() as client:
            return list(client.scan_iter(f"{{{self.prefix}}}:*", count=1000))

    def let_pass(self, seconds: float) -> None:
        """Shorten what is left of every key, as if time had passed."""
        with self.server.client() as client:
            for key in self.names():
                client.pexpire(key, client.pttl(key) - int(seconds * 1000))


@pytest.fixture
def place(redis_server: RedisServer, redis_prefix: str) -> Place:
    return Place(redis_server, redis_prefix)


class TestRedisShared(SharedContract):
    """The contract holds on Redis."""

    @pytest.fixture(autouse=True)
    def _at(self, place: Place) -> None:
        self.place = place

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[Shared]:
        async with self.place.shared() as shared:
            yield shared

    async def let_pass(self, seconds: float) -> None:
        self.place.let_pass(seconds)


class TestTwoLinks(TestRedisShared):
    """The contract holds for calls of two processes in turn."""

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[Shared]:
        async with self.place.shared() as one, self.place.shared() as other:
            yield _InTurn(one, other)


class TestSentAgain(TestRedisShared):
    """The contract holds where every call is sent a second time, as after a connection that was lost with its answer."""

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[Shared]:
        async with self.place.linked() as link:
            yield RedisShared(_Twice(link), self.place.prefix)


class _InTurn:
    """Each call goes to the next one."""

    def __init__(self, *those: RedisShared) -> None:
        self._turns = cycle(those)

    def __getattr__(self, name: str) -> Any:
        return getattr(next(self._turns), name)


class _Twice(RedisLink):
    """Sends every call twice, and returns the second answer."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def script(self, *given: Any) -> Any:
        await self._link.script(*given)
        return await self._link.script(*given)


class _Late(RedisLink):
    """Can send its last call again."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def script(self, *given: Any) -> Any:
        self._last = given
        return await self.again()

    async def again(self) -> Any:
        return await self._link.script(*self._last)


async def test_call_sent_again_after_others_came_changes_nothing(place: Place) -> None:
    """What others did between a call and its repetition stays: no value comes back, no window begins anew."""
    async with place.linked() as link, place.shared() as other:
        late = _Late(link)
        one = RedisShared(late, place.prefix)
        await one.put("ticket", b"once", ttl=60)
        assert await other.take("ticket") == b"once"
        await late.again()
        assert await other.take("ticket") is None
        await one.forget("counter")
        await other.add("counter", ttl=60)
        await late.again()
        assert (await other.counter("counter"))[0] == 1
        assert await one.add("counter", 5, ttl=60) == 6
        await other.add("counter", ttl=60)
        assert int(await late.again()) == 6


async def test_connection_lost_with_its_answers_loses_and_doubles_nothing(place: Place) -> None:
    """Calls that are under way when the connection is cut are all applied, once each."""
    async with place.shared() as shared:
        values: list[int] = []
        for _ in range(10):
            calls = [asyncio.create_task(shared.add("k", ttl=60)) for _ in range(20)]
            await asyncio.sleep(0)
            place.server.disconnect_clients()
            values += await asyncio.gather(*calls)
        assert sorted(values) == list(range(1, 201))


async def test_every_method_is_one_round_trip(place: Place) -> None:
    """The server is sent one command for each call, once it knows the scripts."""

    async def use_all(shared: RedisShared) -> None:
        await shared.add("counter", ttl=60)
        await shared.counter("counter")
        await shared.put("value", b"x", ttl=60)
        await shared.take("value")
        await shared.append("list", b"x", maximum=3, ttl=60)
        await shared.read("list")
        await shared.forget("list")

    def commands() -> int:
        with place.server.client() as client:
            counts = client.info("commandstats")
        return sum(counts.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("evalsha", "eval"))

    async with place.shared() as shared:
        await use_all(shared)
        before = commands()
        await use_all(shared)
        assert commands() - before == 7


async def test_keys_are_bounded(place: Place) -> None:
    """There are never more keys than `max_keys`, of all kinds together; the longest unused goes first."""
    async with place.shared(max_keys=3) as shared:
        await shared.add("counter", ttl=60)
        await shared.put("value", b"x", ttl=3600)
        await shared.append("list", b"x", maximum=2, ttl=60)
        await shared.add("counter", ttl=60)
        await shared.add("one more", ttl=60)
        assert await shared.take("value") is None
        assert (await shared.counter("counter"))[0] == 2
        assert await shared.read("list") == (1, [b"x"])


async def test_what_was_taken_makes_room(place: Place) -> None:
    """A value that was taken, or forgotten, pushes nobody out any more."""
    async with place.shared(max_keys=2) as shared:
        await shared.add("counter", ttl=60)
        for n in range(60):
            await shared.put(f"value {n}", b"x", ttl=60)
            await (shared.forget(f"value {n}") if n % 2 else shared.take(f"value {n}"))
        await shared.add("other", ttl=60)
        assert (await shared.counter("counter"))[0] == 1


async def test_bytes_are_bounded(place: Place) -> None:
    """Of values and lists that are too large together, the longest unused goes; of one that is by itself, its oldest items."""
    async with place.shared(max_bytes=100) as shared:
        await shared.put("value", b"x" * 40, ttl=60)
        await shared.add("counter", ttl=60)
        for _ in range(4):
            await shared.append("list", b"x" * 10, maximum=3, ttl=60)
        assert len((await shared.read("list"))[1]) == 3
        await shared.append("other", b"x" * 30, maximum=3, ttl=60)
        assert await shared.take("value") == b"x" * 40
        await shared.append("other", b"x" * 60, maximum=3, ttl=60)
        assert await shared.counter("counter") == (0, 0.0), "it was not used for longer than the list"
        assert await shared.read("list") == (1, [])
        await shared.append("other", b"x" * 20, maximum=3, ttl=60)
        assert await shared.read("other") == (2, [b"x" * 60, b"x" * 20])
        await shared.append("other", b"x" * 500, maximum=3, ttl=60)
        assert await shared.read("other") == (4, [b"x" * 500])


def test_what_clients_fill_is_bounded_in_parts() -> None:
    """A browser that publishes on topics without number fills no Redis, and washes away no ticket and no queue."""
    settings = Settings.model_validate({"store": {"kind": "redis"}})
    backing = backing_of(settings, FakeClock())
    parts = [backing.shared, backing.kept.tickets, backing.kept.queues, backing.kept.histories]
    assert all(isinstance(each, RedisShared) for each in parts)
    assert len({each._root for each in parts if isinstance(each, RedisShared)}) == 4
    assert [each._bounds for each in parts[1:] if isinstance(each, RedisShared)] == [TICKETS, QUEUES, HISTORIES]
    assert all(max_bytes > 0 for _, max_bytes in (TICKETS, QUEUES, HISTORIES))


async def test_bytes_are_free_again(place: Place) -> None:
    """What is taken, forgotten, replaced, trimmed, pushed out or expired counts no longer."""
    async with place.shared(max_bytes=130, max_keys=5) as shared:
        for number in range(30):
            await shared.put(f"taken {number}", b"x" * 90, ttl=60)
            await shared.take(f"taken {number}")
            await shared.append("forgotten", b"x" * 90, maximum=9, ttl=60)
            await shared.forget("forgotten")
            await shared.put("replaced", b"x" * 90, ttl=60)
            await shared.put("replaced", b"", ttl=60)
            await shared.put(f"pushed out {number}", b"x" * 5, ttl=60)
            await shared.append("trimmed", b"x" * 5, maximum=1, ttl=60)
            await shared.append("bounded", b"x" * 5, maximum=9, max_bytes=10, ttl=60)
        assert await shared.read("trimmed") == (30, [b"xxxxx"])
        assert (await shared.read("bounded"))[0] == 29
        root = f"{{{place.prefix}}}:shared:1"
        sizes = place.server.ask("HVALS", f"{root}:b")
        assert sum(map(int, sizes)) == int(place.server.ask("GET", f"{root}:s"))
        assert sorted(map(int, sizes))[-2:] == [5, 10]
        place.let_pass(61)
        for number in range(60):
            await shared.add(f"anything {number % 2}", ttl=60)
        assert place.server.ask("GET", f"{root}:s") in (None, b"0", "0")


async def test_long_lived_keys_are_bounded_when_short_ones_are_gone(place: Place) -> None:
    """What expires soon does not take with it the memory of what does not."""
    async with place.shared(max_keys=2) as shared:
        await shared.add("long", ttl=3600)
        await shared.add("short", ttl=60)
        place.let_pass(61)
        await shared.add("one", ttl=60)
        await shared.add("other", ttl=60)
        assert await shared.counter("long") == (0, 0.0)


@pytest.mark.parametrize("use", ["add", "counter"])
async def test_long_lived_keys_do_not_push_out_a_short_one_in_use(place: Place, use: str) -> None:
    """A counter that is counted up, or only asked for, survives a flood of keys that would all outlive it."""
    async with place.shared(max_keys=10) as shared:
        await shared.add("short", 100, ttl=60)
        for n in range(50):
            await (shared.add("short", 0, ttl=60) if use == "add" else shared.counter("short"))
            await shared.add(f"long {n}", ttl=86400)
        assert (await shared.counter("short"))[0] == 100


async def test_nothing_stays_of_what_expired(place: Place) -> None:
    """When all is over, not a key is left, not even those of our own bookkeeping."""
    async with place.shared() as shared:
        await shared.add("counter", ttl=60)
        await shared.put("value", b"x", ttl=30)
        await shared.append("list", b"x", maximum=2, ttl=3600)
        await shared.take("value")
        place.let_pass(3500)
        assert await shared.read("list") == (1, [b"x"])
        place.let_pass(101)
        assert place.names() == []


async def test_names_of_expired_keys_are_dropped(place: Place) -> None:
    """Keys that come look after those that are gone: the dead never come to outnumber the living."""
    async with place.shared() as shared:
        await asyncio.gather(*(shared.add(f"short {n}", ttl=60) for n in range(300)))
        await shared.add("long", ttl=86400)
        place.let_pass(61)
        await asyncio.gather(*(shared.add(f"more {n}", ttl=86400) for n in range(300)))
        names = place.server.ask("ZCARD", f"{{{place.prefix}}}:shared:1")
        assert 301 <= names <= 1.5 * 301


async def test_answers_are_kept_for_seconds(place: Place) -> None:
    """What was answered is known for as long as the link may ask again, and not much longer."""
    async with place.shared(timeout=2) as shared:
        await shared.add("counter", ttl=60)
        [said] = [key for key in place.names() if b":a:" in key]
        assert 6000 < place.server.ask("PTTL", said) <= 7000


async def test_key_used_as_another_kind_is_refused(place: Place) -> None:
    """One key, one kind; `put` alone replaces anything. A refused call changes nothing."""
    async with place.shared() as shared:
        await shared.add("k", ttl=60)
        for wrong in (shared.append("k", b"x", maximum=1, ttl=60), shared.take("k"), shared.read("k")):
            with pytest.raises(UsageError, match="two kinds"):
                await wrong
        await shared.put("k", b"x", ttl=60)
        with pytest.raises(UsageError, match="two kinds"):
            await shared.add("k", ttl=60)
        assert await shared.take("k") == b"x"


async def test_bounds_of_nothing_are_refused(place: Place) -> None:
    """A `Shared` that can hold nothing would make every throttle pass; a list of no items is a mistake."""
    with pytest.raises(UsageError, match="max_keys"):
        async with place.shared(max_keys=0):
            pass
    async with place.shared() as shared:
        with pytest.raises(UsageError, match="maximum"):
            await shared.append("k", b"x", maximum=0, ttl=60)


async def test_prefixes_are_apart(place: Place) -> None:
    """Two prefixes on one server know nothing of each other."""
    async with place.shared() as one, place.linked() as link:
        other = RedisShared(link, f"{place.prefix}-other")
        await one.add("k", ttl=60)
        assert await other.counter("k") == (0, 0.0)
        await other.forget("k")
        assert (await one.counter("k"))[0] == 1


async def test_parts_are_apart(place: Place) -> None:
    """What one part of a prefix is filled with pushes nothing out of another."""
    async with place.shared(max_keys=1) as one, place.shared(max_keys=1, part="kept") as other:
        await one.add("k", ttl=60)
        for number in range(5):
            await other.put(f"k{number}", b"x", ttl=60)
        assert (await one.counter("k"))[0] == 1
        assert await other.take("k4") == b"x"


async def test_user_needs_no_other_keys(make_redis: Callable[..., RedisServer], redis_prefix: str) -> None:
    """A user who may see the keys of the prefix alone can do all of this."""
    server = make_redis()
    rules = ("on", ">secret", f"~{{{redis_prefix}}}:*", "+@read", "+@write", "+@scripting", "+@connection", "+time")
    server.ask("ACL", "SETUSER", "wshttp", *rules)
    async with linked(server.url("wshttp", "secret"), redis_prefix) as link:
        shared = RedisShared(link, redis_prefix, max_keys=1)
        assert await shared.add("k", ttl=60) == 1
        await shared.put("value", b"x", ttl=60)
        assert await shared.take("value") == b"x"
        await shared.append("list", b"x", maximum=3, ttl=60)
        assert await shared.read("list") == (1, [b"x"])


async def test_cluster_has_all_keys_in_one_slot(make_redis: Callable[..., RedisServer], redis_prefix: str) -> None:
    """On a cluster every script finds all its keys on one node."""
    server = make_redis(cluster_enabled="yes")
    async with linked(f"redis+cluster://{server.address}", redis_prefix) as link:
        shared = RedisShared(link, redis_prefix, max_keys=2)
        for n in range(4):
            assert await shared.add(str(n), ttl=60) == 1
        await shared.append("list", b"x", maximum=3, ttl=60)
        assert await shared.read("list") == (1, [b"x"])


async def test_outage_is_said(make_redis: Callable[..., RedisServer], redis_prefix: str) -> None:
    """Without the server every method raises `StoreUnavailable`; with it they go on as before."""
    server = make_redis()
    async with linked(server.url(), redis_prefix, timeout=0.2) as link:
        shared = RedisShared(link, redis_prefix)
        await shared.add("k", ttl=60)
        server.kill()
        for call in (
            shared.add("k", ttl=60),
            shared.counter("k"),
            shared.forget("k"),
            shared.put("k", b"x", ttl=60),
            shared.take("k"),
            shared.append("k", b"x", maximum=1, ttl=60),
            shared.read("k"),
        ):
            with pytest.raises(StoreUnavailable):
                await call


async def test_full_server_is_an_outage(make_redis: Callable[..., RedisServer], redis_prefix: str) -> None:
    """A server without memory refuses what needs some, and nothing is changed by halves; what frees some is done."""
    server = make_redis(maxmemory_policy="noeviction")
    async with linked(server.url(), redis_prefix, timeout=1) as link:
        shared = RedisShared(link, redis_prefix)
        await shared.add("counter", ttl=60)
        await shared.put("value", b"old", ttl=60)
        await shared.put("other", b"x", ttl=60)
        server.ask("CONFIG", "SET", "maxmemory", 1)
        for call in (shared.add("counter", ttl=60), shared.put("value", b"new", ttl=60)):
            with pytest.raises(StoreUnavailable):
                await call
        assert await shared.take("other") == b"x"
        server.ask("CONFIG", "SET", "maxmemory", 0)
        assert (await shared.counter("counter"))[0] == 1
        assert await shared.take("value") == b"old"


async def test_refusal_is_an_outage(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the server refuses, the port knows one error of it; the log says what it was."""
    async with place.shared() as shared:
        place.server.ask("SET", f"{{{place.prefix}}}:shared:1:k:key", "theirs")
        with pytest.raises(StoreUnavailable, match="not an integer"):
            await shared.add("key", ttl=60)
    assert "the store refuses shared_add: ERR value is not an integer" in caplog.text
