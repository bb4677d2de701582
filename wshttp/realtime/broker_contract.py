# ruff: noqa: S101 -- a contract asserts; it runs in tests only
"""What every `Broker` must keep, as a test suite: each sentence of the port.

Run it on a broker of your own:

    from wshttp.testing import BrokerContract

    class TestMyBroker(BrokerContract):
        async def new_broker(self):
            return MyBroker(url, name=self.name)          # not opened; all of one test hear each other, and nobody else

The tests are coroutines: run them with pytest and a plugin that awaits them (`wshttp.pytest_plugin`, pytest-asyncio in
mode `auto`, anyio).
`name` is another one in each test. `put_away` is there for what is to be done with a broker after the test closed it.
A broker that can lose what it carries overrides `cut` and `mend`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from wshttp.realtime.broker import Broker

PATIENCE: Final = 10.0
"""Seconds to wait for a word."""

MANY: Final = 300


class Ear:
    """What an open broker was told; `answer` is said whenever a word is heard."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.words: list[bytes] = []
        self.losses = 0
        self.returns = 0
        self.depth = 0
        self.answer: bytes | None = None
        self._news = asyncio.Event()

    async def open(self) -> None:
        await self.broker.open(self._hear, self._lose, self._return)

    def _hear(self, word: bytes) -> None:
        assert self.depth == 0, "a word is heard within another"
        self.depth += 1
        self.words.append(word)
        if self.answer is not None:
            self.broker.say(self.answer)
        self.depth -= 1
        self._news.set()

    def _lose(self) -> None:
        self.losses += 1
        self._news.set()

    def _return(self) -> None:
        self.returns += 1
        self._news.set()

    async def has(self, number: int) -> list[bytes]:
        """Wait until so many words were heard, and return all."""
        async with asyncio.timeout(PATIENCE):
            while len(self.words) < number:
                await self._wait()
        return self.words

    async def is_back(self, number: int = 1) -> None:
        """Wait until so many times nothing more was missed."""
        async with asyncio.timeout(PATIENCE):
            while self.returns < number:
                await self._wait()

    async def _wait(self) -> None:
        self._news.clear()
        await self._news.wait()


class BrokerContract:
    """Inherit, and say how a broker is made."""

    _name = ""

    @property
    def name(self) -> str:
        """What the brokers of this test have in common."""
        self._name = self._name or f"contract-{secrets.token_hex(4)}"
        return self._name

    async def new_broker(self) -> Broker:
        """Return a broker that is not open yet, and hears all others of this test."""
        raise NotImplementedError("say how a broker is made")

    async def put_away(self, broker: Broker) -> None:
        """Put away what belongs to a broker, which is closed."""

    async def cut(self, broker: Broker) -> bool:
        """Let a broker miss something; tell whether that can be."""
        return False

    async def mend(self, broker: Broker) -> None:
        """Let it hear again."""

    @asynccontextmanager
    async def ears(self, number: int = 2) -> AsyncIterator[list[Ear]]:
        """Keep brokers open."""
        ears = [Ear(await self.new_broker()) for _ in range(number)]
        try:
            for ear in ears:
                await ear.open()
            yield ears
        finally:
            for ear in ears:
                await ear.broker.close()
                await self.put_away(ear.broker)

    async def test_word_is_heard_by_all_others(self) -> None:
        """What one says, each other hears once, and itself not at all."""
        async with self.ears(3) as (one, two, three):
            one.broker.say(b"hello")
            assert await two.has(1) == [b"hello"]
            assert await three.has(1) == [b"hello"]
            two.broker.say(b"end")
            assert await one.has(1) == [b"end"]
            assert await three.has(2) == [b"hello", b"end"]

    async def test_words_are_heard_as_they_were_said(self) -> None:
        """A word is bytes, with anything in them, of any length; none is taken for part of another."""
        words = [
            b"",
            b"\n",
            b"\r\n\0",
            b"a\nb",
            b'["drop","x"]',
            bytes(range(256)),
            b"abc:12\nx",
            b"x" * 1_000_000,
            b"end",
        ]
        async with self.ears() as (one, two):
            for word in words:
                one.broker.say(word)
            assert await two.has(len(words)) == words

    async def test_words_of_one_sender_are_heard_in_order(self) -> None:
        """Those on topics and those to all, too; each once."""
        async with self.ears(3) as (one, two, listener):
            listener.broker.listen("news")
            await listener.broker.listening()
            for number in range(MANY):
                for ear in (one, two):
                    ear.broker.say(b"%d %d" % (id(ear), number), topic="news" if number % 2 else None)
            words = await listener.has(2 * MANY)
            for ear in (one, two):
                own = [word for word in words if word.startswith(b"%d " % id(ear))]
                assert own == [b"%d %d" % (id(ear), number) for number in range(MANY)]

    async def test_topic_is_heard_by_those_who_listen(self) -> None:
        """Others hear nothing of it, nor does who says it, though it listens."""
        async with self.ears(3) as (one, two, three):
            for ear in (one, two):
                ear.broker.listen("news")
                await ear.broker.listening()
            one.broker.say(b"topic", topic="news")
            one.broker.say(b"other", topic="weather")
            one.broker.say(b"end")
            assert await two.has(2) == [b"topic", b"end"]
            assert await three.has(1) == [b"end"]
            three.broker.say(b"end")
            assert await one.has(1) == [b"end"]

    async def test_topic_has_any_name(self) -> None:
        """No name means anything but itself."""
        names = [
            "a",
            "a*",
            "*",
            "?",
            "[ab]",
            "ä",
            "日本",
            "with space",
            "{x}",
            "a.b:c/d",
            "x" * 200,
            ":words",
            "\ud800",
        ]
        async with self.ears() as (one, two):
            for name in names:
                two.broker.listen(name)
            await two.broker.listening()
            for name in [*names, "b"]:
                one.broker.say(repr(name).encode(), topic=name)
            one.broker.say(b"end")
            assert await two.has(len(names) + 1) == [*(repr(name).encode() for name in names), b"end"]

    async def test_topic_is_given_up(self) -> None:
        """Who listened twice hears each word once, and none after it has given up, until it listens again."""
        async with self.ears() as (one, two):
            for _ in range(2):
                two.broker.listen("news")
            await two.broker.listening()
            one.broker.say(b"first", topic="news")
            await two.has(1)
            two.broker.unlisten("news")
            two.broker.unlisten("never")
            await two.broker.listening()
            one.broker.say(b"second", topic="news")
            one.broker.say(b"between")
            await two.has(2)
            two.broker.listen("news")
            await two.broker.listening()
            one.broker.say(b"third", topic="news")
            assert await two.has(3) == [b"first", b"between", b"third"]

    async def test_broker_that_is_not_open_neither_hears_nor_is_heard(self) -> None:
        """To say something before or after is no error; nothing of it is heard later."""
        async with self.ears() as (one, two):
            late = Ear(await self.new_broker())
            late.broker.say(b"too early")
            one.broker.say(b"before it opens")
            await two.has(1)
            await late.open()
            late.broker.say(b"open")
            assert await two.has(2) == [b"before it opens", b"open"]
            one.broker.say(b"to all")
            assert await late.has(1) == [b"to all"]
            await late.broker.close()
            late.broker.say(b"too late")
            one.broker.say(b"after it closed")
            assert (await two.has(4))[2:] == [b"to all", b"after it closed"]
            assert late.words == [b"to all"]
            await self.put_away(late.broker)

    async def test_broker_says_what_was_said_before_it_closes(self) -> None:
        """A goodbye is heard."""
        async with self.ears(1) as [two]:
            one = Ear(await self.new_broker())
            await one.open()
            one.broker.say(b"bye")
            await one.broker.close()
            assert await two.has(1) == [b"bye"]
            await self.put_away(one.broker)

    async def test_word_may_be_said_while_one_is_heard(self) -> None:
        """An answer is a word like any other, and is not heard before its question has been dealt with."""
        async with self.ears() as (one, two):
            two.answer = b"answer"
            for _ in range(3):
                one.broker.say(b"question")
            assert await one.has(3) == [b"answer"] * 3

    async def test_room_is_there_when_words_have_gone_out(self) -> None:
        """Who says much may wait in between, and nothing of it is lost."""
        async with self.ears() as (one, two):
            for number in range(10 * MANY):
                one.broker.say(b"%d" % number)
                if number % 100 == 0:
                    await asyncio.wait_for(one.broker.room(), PATIENCE)
            assert await two.has(10 * MANY) == [b"%d" % number for number in range(10 * MANY)]

    async def test_loss_is_noticed(self) -> None:
        """Who may have missed something is told so, and when that is over; topics are heard again, too."""
        async with self.ears() as (one, two):
            two.broker.listen("news")
            await two.broker.listening()
            if not await self.cut(two.broker):
                return
            one.broker.say(b"missed, or not")
            await self.mend(two.broker)
            await two.is_back()
            await two.broker.listening()
            before = len(two.words)
            one.broker.say(b"topic", topic="news")
            one.broker.say(b"end")
            assert (await two.has(before + 2))[before:] == [b"topic", b"end"]
            assert (two.losses, one.losses) == (1, 0)
