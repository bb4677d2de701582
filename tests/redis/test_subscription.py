"""What is published is heard, and a gap is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from faults.proxy import Proxy
from redis_servers import RedisServer, linked
from serving import soon, until

from wshttp.errors import StoreUnavailable, StoreUnusable
from wshttp.redis.link import RedisUnavailable
from wshttp.redis.subscription import Subscription

MakeRedis = Callable[..., RedisServer]


class Ears:
    """All that a subscription tells, in its order."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def message(self, channel: str, message: bytes) -> None:
        self.heard.append((channel, message))

    def lost(self) -> None:
        self.heard.append("lost")

    def back(self) -> None:
        self.heard.append("back")


@asynccontextmanager
async def subscribed(url: str, *channels: str, ears: Ears, **options: Any) -> AsyncIterator[Subscription]:
    """Keep a subscription open."""
    subscription = Subscription(
        url, *channels, on_message=ears.message, on_lost=ears.lost, on_back=ears.back, **{"timeout": 20.0} | options
    )
    await subscription.open()
    try:
        yield subscription
    finally:
        await subscription.close()


async def test_what_is_published_is_heard_in_its_order(redis_server: RedisServer, redis_prefix: str) -> None:
    """From the moment on that it is open, on its channels alone; the message is what was published, byte for byte."""
    ears, channel = Ears(), f"{redis_prefix}:größe"
    async with subscribed(redis_server.url(), channel, ears=ears) as subscription, linked(redis_server.url()) as link:
        assert subscription.available
        for message in (b"\x00\xff", b"", b"x" * 100_000):
            assert await link.call("PUBLISH", channel, message) == 1
        assert await link.call("PUBLISH", f"{redis_prefix}:other", b"other") == 0
        await subscription.settled()
        assert ears.heard == [(channel, b"\x00\xff"), (channel, b""), (channel, b"x" * 100_000)]
    assert not subscription.available
    assert "lost" not in ears.heard


async def test_channels_come_and_go(redis_server: RedisServer, redis_prefix: str) -> None:
    """Nothing of it waits; what was asked for twice is there once; also where none is left."""
    ears = Ears()
    one, two = f"{redis_prefix}:1", f"{redis_prefix}:2"
    async with subscribed(redis_server.url(), ears=ears) as subscription, linked(redis_server.url()) as link:
        await subscription.settled()
        for channel in (one, two, one):
            subscription.subscribe(channel)
        await subscription.settled()
        assert [await link.call("PUBLISH", channel, 1) for channel in (one, two)] == [1, 1]
        subscription.unsubscribe(one)
        subscription.unsubscribe(f"{redis_prefix}:never")
        await subscription.settled()
        assert [await link.call("PUBLISH", channel, 2) for channel in (one, two)] == [0, 1]
        subscription.unsubscribe(two)
        await subscription.settled()
        subscription.subscribe(one)
        await subscription.settled()
        await link.call("PUBLISH", one, 3)
        await subscription.settled()
    assert ears.heard == [(one, b"1"), (two, b"1"), (two, b"2"), (one, b"3")]


async def test_channel_that_was_given_up_is_heard_no_more(redis_server: RedisServer, redis_prefix: str) -> None:
    """Also what was on its way when it was."""
    ears = Ears()
    async with subscribed(redis_server.url(), redis_prefix, ears=ears) as subscription:
        redis_server.ask("PUBLISH", redis_prefix, "late")
        subscription.unsubscribe(redis_prefix)
        await subscription.settled()
    assert ears.heard == []


async def test_connection_that_is_lost_is_told_and_made_again(redis_server: RedisServer, redis_prefix: str) -> None:
    """Once it is back, everything that is to be heard is, with what was wished for in between."""
    ears = Ears()
    one, two, three = (f"{redis_prefix}:{n}" for n in (1, 2, 3))
    with Proxy(str(redis_server.socket)) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        async with subscribed(url, one, two, ears=ears) as subscription:
            proxy.refuse()
            await until(lambda: ears.heard == ["lost"])
            assert not subscription.available
            with pytest.raises(StoreUnavailable):
                await subscription.settled()
            subscription.subscribe(three)
            subscription.unsubscribe(two)
            proxy.heal()
            await until(lambda: "back" in ears.heard)
            assert [redis_server.ask("PUBLISH", channel, "again") for channel in (one, two, three)] == [1, 0, 1]
            await subscription.settled()
            assert ears.heard == ["lost", "back", (one, b"again"), (three, b"again")]


@asynccontextmanager
async def delaying_pings(server: RedisServer, go_on: asyncio.Event) -> AsyncIterator[str]:
    """Carry connections to a server, each PING of a subscription only when it may go on; yields the URL."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            before, ping, after = data.partition(b"*2\r\n$4\r\nPING")
            writer.write(before)
            if ping:
                await go_on.wait()
                writer.write(ping + after)
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(str(server.socket))
        await asyncio.gather(carry(reader, back), carry(there, writer), return_exceptions=True)

    relay = await asyncio.start_server(connect, "127.0.0.1", 0)
    async with relay:
        yield f"redis://127.0.0.1:{relay.sockets[0].getsockname()[1]}"


async def test_what_comes_while_it_is_joining_is_heard_after_it_is_back(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    """Who is told that it is back can rely on it that nothing was heard too early, and that nothing is missing since."""
    ears, go_on = Ears(), asyncio.Event()
    go_on.set()
    async with (
        delaying_pings(redis_server, go_on) as url,
        linked(redis_server.url()) as link,
        subscribed(url, redis_prefix, ears=ears) as subscription,
    ):
        go_on.clear()
        await link.call("CLIENT", "KILL", "TYPE", "pubsub")
        while not await link.call("PUBLISH", redis_prefix, "early"):
            await asyncio.sleep(0)
        assert ears.heard == ["lost"]
        go_on.set()
        await until(lambda: subscription.available)
        await subscription.settled()
        assert ears.heard == ["lost", "back", (redis_prefix, b"early")]


async def test_wait_ends_with_the_connection(redis_server: RedisServer) -> None:
    """What was asked on it will not be answered on the next."""
    with Proxy(str(redis_server.socket)) as proxy:
        async with subscribed(f"redis://127.0.0.1:{proxy.port}", ears=Ears()) as subscription:
            proxy.stall("back")
            wait = asyncio.create_task(subscription.settled())
            assert await asyncio.to_thread(proxy.keeps, "back")
            proxy.cut()
            with pytest.raises(RedisUnavailable, match=r"reset|closed"):
                await soon(wait)
            proxy.heal()
            await until(lambda: subscription.available)
            await subscription.settled()


async def test_server_that_hangs_is_noticed_without_a_message(make_redis: MakeRedis) -> None:
    """An idle connection is looked at; so is one that only seems to be alive."""
    server = make_redis()
    ears = Ears()
    async with subscribed(server.url(), "words", ears=ears, timeout=0.2, ping_every=0.1):
        server.pause()
        await until(lambda: ears.heard == ["lost"])
        server.resume()
        await until(lambda: ears.heard == ["lost", "back"])
        assert server.ask("PUBLISH", "words", "again") == 1
        await until(lambda: ears.heard[2:] == [("words", b"again")])


async def test_server_that_was_killed_is_found_again(make_redis: MakeRedis) -> None:
    """However often."""
    server = make_redis()
    ears = Ears()
    async with subscribed(server.url(), "words", ears=ears):
        for _ in range(2):
            ears.heard.clear()
            server.restart()
            await until(lambda: ears.heard == ["lost", "back"])
            server.ask("PUBLISH", "words", "again")
            await until(lambda: ears.heard[2:] == [("words", b"again")])


async def test_ears_that_raise_stop_nothing(
    redis_server: RedisServer, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and all others are heard."""

    class Sore(Ears):
        def message(self, channel: str, message: bytes) -> None:
            super().message(channel, message)
            raise ZeroDivisionError

        def lost(self) -> None:
            super().lost()
            raise ZeroDivisionError

        back = lost

    ears = Sore()
    async with subscribed(redis_server.url(), redis_prefix, ears=ears) as subscription:
        for _ in range(2):
            redis_server.ask("PUBLISH", redis_prefix, 1)
        await subscription.settled()
        redis_server.disconnect_clients()
        await until(lambda: len(ears.heard) == 4)
        await until(lambda: subscription.available)
    assert ears.heard == [(redis_prefix, b"1"), (redis_prefix, b"1"), "lost", "lost"]
    assert caplog.text.count("ZeroDivisionError") >= 4


async def test_user_that_may_not_subscribe_is_told(make_redis: MakeRedis) -> None:
    """Channels are permitted one by one, as keys are."""
    server = make_redis()
    server.ask("ACL", "SETUSER", "app", "on", ">mine", "~*", "+@all", "resetchannels", "&ours:*")
    async with subscribed(server.url("app", "mine"), "ours:words", ears=Ears()):
        pass
    with pytest.raises(StoreUnusable, match="may not subscribe"):
        async with subscribed(server.url("app", "mine"), "theirs:words", ears=Ears()):
            pass


async def test_nobody_there_is_unavailable(make_redis: MakeRedis) -> None:
    """As for the link."""
    server = make_redis(start=False)
    with pytest.raises(RedisUnavailable, match="cannot be reached"):
        async with subscribed(server.url(), ears=Ears()):
            pass


async def test_cancelled_wait_does_not_shift_others(redis_server: RedisServer, redis_prefix: str) -> None:
    """Each pong belongs to its ping."""
    async with subscribed(redis_server.url(), ears=Ears()) as subscription:
        waits = [asyncio.create_task(subscription.settled()) for _ in range(3)]
        await asyncio.sleep(0)
        waits[0].cancel()
        await soon(asyncio.gather(*waits[1:]))
        subscription.subscribe(redis_prefix)
        await subscription.settled()
        assert redis_server.ask("PUBLISH", redis_prefix, 1) == 1
