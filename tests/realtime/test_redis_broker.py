"""The broker over Redis: the contract, and what happens when connections are cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from serving import soon, until

from wshttp.realtime import redis_broker
from wshttp.realtime.broker import Broker
from wshttp.realtime.broker_contract import Ear
from wshttp.realtime.redis_broker import RedisBroker
from wshttp.redis.link import RedisLink
from wshttp.redis.refusals import RedisRefused
from wshttp.testing import BrokerContract

PATIENCE = 5.0


@pytest.mark.feature("W9")
class TestRedisBroker(BrokerContract):
    """The contract holds over Redis."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: Any) -> None:
        self.server = redis_server

    async def new_broker(self) -> Broker:
        link = RedisLink(self.server.url(), timeout=PATIENCE)
        await link.open()
        broker = RedisBroker(link, self.server.url(), prefix=self.name, timeout=PATIENCE)
        self.links = getattr(self, "links", {}) | {broker: link}
        return broker

    async def put_away(self, broker: Any) -> None:
        await self.links[broker].close()

    async def cut(self, broker: Any) -> bool:
        cut(self.server, broker)
        await until(lambda: not broker._subscription.available)
        return True


def cut(server: Any, *brokers: Any) -> None:
    """Cut the connections on which brokers hear."""
    names = {f"wshttp-{broker.name}-words" for broker in brokers}
    with server.client() as client:
        for subscriber in client.client_list(_type="pubsub"):
            if subscriber["name"] in names:
                client.client_kill_filter(_id=subscriber["id"])


@asynccontextmanager
async def ears(server: Any, prefix: str, number: int = 2, timeout: float = PATIENCE) -> AsyncIterator[list[Ear]]:
    """Keep brokers of one prefix open, each over a link of its own."""
    links = [RedisLink(server.url(), timeout=timeout) for _ in range(number)]
    made = []
    try:
        for link in links:
            await link.open()
            made.append(Ear(RedisBroker(link, server.url(), prefix=prefix, timeout=timeout)))
            await made[-1].open()
        yield made
    finally:
        for ear in made:
            await ear.broker.close()
        for link in links:
            await link.close()


@pytest.mark.feature("W9")
async def test_lost_word_is_noticed_by_those_who_missed_it(redis_server: Any, redis_prefix: str) -> None:
    """One that was never published leaves a gap: with the next word, others know that they missed one."""
    async with ears(redis_server, redis_prefix) as (one, two):
        one.broker.say(b"first")
        await two.has(1)
        one.broker._common_said += 1  # said, and gone
        one.broker.say(b"third", topic="news")
        one.broker.say(b"fourth")
        assert await two.has(2) == [b"first", b"fourth"]
        assert (two.losses, two.returns) == (0, 1)
        one.broker.say(b"fifth")
        await two.has(3)
        assert two.returns == 1


async def test_loss_is_told_once(redis_server: Any, redis_prefix: str) -> None:
    """What was missed while the connection was cut is no news when the next word shows it."""
    async with ears(redis_server, redis_prefix) as (one, two):
        one.broker.say(b"first")
        await two.has(1)
        one.broker._common_said += 1  # said, and missed
        cut(redis_server, two.broker)
        await two.is_back()
        for word in (b"third", b"fourth"):
            one.broker.say(word)
        assert await two.has(3) == [b"first", b"third", b"fourth"]
        assert (two.losses, two.returns) == (1, 1)


@pytest.mark.feature("W9")
async def test_word_that_was_sent_again_is_heard_once(redis_server: Any, redis_prefix: str) -> None:
    """A word that arrived though its answer was lost comes again; it is known by its number."""
    async with ears(redis_server, redis_prefix, 1) as [two]:
        two.broker.listen("news")
        await two.broker.listening()
        for channel in (f"{{{redis_prefix}}}:words:0", f"{{{redis_prefix}}}:topic:0:news"):
            for number, word in ((1, "a"), (2, "b"), (1, "a"), (2, "b"), (3, "c")):
                redis_server.ask("PUBLISH", channel, f"0123:{number}\n{word}")
        assert await two.has(6) == [b"a", b"b", b"c"] * 2
        assert two.returns == 0


async def test_word_of_a_script_has_no_sender(redis_server: Any, redis_prefix: str) -> None:
    """What the store's scripts publish is heard by all."""
    async with ears(redis_server, redis_prefix) as both:
        redis_server.ask("PUBLISH", f"{{{redis_prefix}}}:words:0", '["drop","abc"]')
        for ear in both:
            assert await ear.has(1) == [b'["drop","abc"]']


async def test_databases_do_not_hear_each_other(redis_server: Any, redis_prefix: str) -> None:
    """Two applications may share a server and a prefix: what is kept is apart, and so is what is said."""
    link = RedisLink(redis_server.url(), timeout=PATIENCE)
    await link.open()
    other = Ear(RedisBroker(link, redis_server.url(db=1), prefix=redis_prefix, timeout=PATIENCE))
    async with ears(redis_server, redis_prefix) as (one, two):
        await other.open()
        for ear in (two, other):
            ear.broker.listen("news")
            await ear.broker.listening()
        one.broker.say(b"all")
        one.broker.say(b"some", topic="news")
        assert await two.has(2) == [b"all", b"some"]
        other.broker.say(b"end")
        redis_server.ask("PUBLISH", f"{{{redis_prefix}}}:words:1", "end")
        assert await other.has(1) == [b"end"]
        await other.broker.close()
    await link.close()


async def test_prefixes_do_not_hear_each_other(redis_server: Any, redis_prefix: str) -> None:
    """Two sites may share a server."""
    async with ears(redis_server, redis_prefix) as (one, two), ears(redis_server, redis_prefix + "x") as (other, same):
        for ear in (two, same):
            ear.broker.listen("news")
            await ear.broker.listening()
        other.broker.say(b"other", topic="news")
        other.broker.say(b"end")
        await same.has(2)
        one.broker.say(b"end")
        assert await two.has(1) == [b"end"]


async def test_word_that_redis_refuses_does_not_hold_up_the_others(
    redis_server: Any, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is lost, which is logged; those after it are heard."""
    async with ears(redis_server, redis_prefix) as (one, two):
        call = one.broker._link.call

        async def refuse(command: str, channel: str, word: bytes) -> Any:
            if b"bad" in word:
                raise RedisRefused("ERR", "no such word")
            return await call(command, channel, word)

        one.broker._link.call = refuse
        for word in (b"a", b"bad", b"b"):
            one.broker.say(word)
        assert await two.has(2) == [b"a", b"b"]
        assert two.returns == 1
        await until(lambda: not one.broker._waiting)
        assert [record.message for record in caplog.records] == ["Redis did not take a word: ERR no such word"]


@pytest.mark.feature("W9")
async def test_words_wait_while_redis_is_away(make_redis: Any, redis_prefix: str) -> None:
    """What was said in a restart is heard after it, in order, and once."""
    server = make_redis()
    async with ears(server, redis_prefix) as (one, two):
        one.broker.say(b"before")
        await two.has(1)
        server.kill()
        for number in range(100):
            one.broker.say(b"%d" % number)
        server.start()
        await two.is_back()
        one.broker.say(b"end")
        async with asyncio.timeout(10):
            while two.words[-1] != b"end":
                await two._wait()
        numbers = [int(word) for word in two.words if word.isdigit()]
        assert numbers == sorted(set(numbers))
        assert two.losses == 1


async def test_words_above_the_maximum_are_lost_oldest_first(
    make_redis: Any, redis_prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage costs no more memory than that, and is noticed by those who hear the rest."""
    monkeypatch.setattr(redis_broker, "MAX_WORDS", 50)
    server = make_redis()
    async with ears(server, redis_prefix) as (one, two):
        one.broker.say(b"before")
        await two.has(1)
        server.pause()
        for number in range(1000):
            one.broker.say(b"%d" % number)
        assert len(one.broker._waiting) == 50
        assert one.broker._bytes == sum(len(word) for _, word in one.broker._waiting)
        server.resume()
        await until(lambda: not one.broker._waiting)
        assert one.broker._bytes == 0
        one.broker.say(b"end")
        async with asyncio.timeout(10):
            while two.words[-1] != b"end":
                await two._wait()
        assert two.returns >= 1
        assert [record.message for record in caplog.records].count(
            "Redis takes words more slowly than they are said; the oldest are lost"
        ) == 1
        await soon(one.broker.room())
