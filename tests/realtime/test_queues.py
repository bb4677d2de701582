"""Queues of sessions: in order, bounded, and given once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kept import InMemory, OnRedis

from wshttp.realtime.queues import KEPT, MAX_BYTES, TURN, Queues, Taken

pytestmark = pytest.mark.feature("W4")


class _Queues:
    """What holds wherever they are kept."""

    shared: Any
    let_pass: Any
    clock: Any

    async def test_queue_is_given_once_in_order(self) -> None:
        """All that waits, the oldest first; then nothing, until there is more."""
        async with self.shared() as shared:
            queues = Queues(shared, self.clock)
            assert await queues.take("ref") == Taken()
            for number in range(3):
                await queues.append("ref", b"%d" % number, 10)
            await queues.append("other", b"x", 10)
            assert await queues.take("ref") == Taken([b"0", b"1", b"2"])
            assert await queues.take("ref") == Taken()
            await queues.append("ref", b"3", 10)
            assert await Queues(shared, self.clock).take("ref") == Taken([b"3"])
            assert await queues.take("other") == Taken([b"x"])

    async def test_queue_is_bounded_and_counts_what_it_dropped(self) -> None:
        """Only what was dropped before it was given counts."""
        async with self.shared() as shared:
            queues = Queues(shared, self.clock)
            for number in range(5):
                await queues.append("ref", b"%d" % number, 3)
            assert await queues.take("ref") == Taken([b"2", b"3", b"4"], dropped=2)
            for number in range(3):
                await queues.append("ref", b"%d" % number, 3)
            assert await queues.take("ref") == Taken([b"0", b"1", b"2"])
            for number in range(4):
                await queues.append("ref", b"%d" % number, 3)
            assert await queues.take("ref") == Taken([b"1", b"2", b"3"], dropped=1)

    async def test_queue_is_bounded_in_bytes_too(self) -> None:
        """Of large messages fewer wait, and what was dropped for their size counts like the rest; the newest stays."""
        async with self.shared() as shared:
            queues = Queues(shared, self.clock)
            large = [b"%d" % number + b"x" * (MAX_BYTES // 3) for number in range(5)]
            for message in large:
                await queues.append("ref", message, 100)
            assert await queues.take("ref") == Taken(large[3:], dropped=3)
            await queues.append("ref", b"small", 100)
            await queues.append("ref", b"x" * (2 * MAX_BYTES), 100)
            assert await queues.take("ref") == Taken([b"x" * (2 * MAX_BYTES)], dropped=1)

    async def test_many_who_take_at_once_get_each_message_once(self) -> None:
        """While messages go on coming, all takers together get all of them, none twice."""
        async with self.shared() as shared:
            queues = [Queues(shared, self.clock) for _ in range(4)]

            async def fill() -> None:
                for number in range(50):
                    await queues[0].append("ref", b"%d" % number, 100)

            async def take(one: Queues) -> list[bytes]:
                return [message for _ in range(20) for message in (await one.take("ref")).messages]

            _, *taken = await asyncio.gather(fill(), *(take(one) for one in queues))
            taken.append((await queues[0].take("ref")).messages)
            got = [message for each in taken for message in each]
            assert sorted(got, key=int) == [b"%d" % number for number in range(50)]

    async def test_turn_of_one_who_died_is_over_after_a_while(self) -> None:
        """Until then nothing is given; then what waits comes."""
        async with self.shared() as shared:
            queues = Queues(shared, self.clock)
            await queues.append("ref", b"x", 10)
            await shared.add("giving:ref", ttl=TURN)
            assert await queues.take("ref") == Taken(busy=True)
            self.let_pass(TURN + 1)
            assert await queues.take("ref") == Taken([b"x"])

    async def test_queue_that_was_forgotten_begins_anew(self) -> None:
        """What had been given before does not hide the messages of the new one, however many there are."""
        async with self.shared() as shared:
            queues = Queues(shared, self.clock)
            for number in range(3):
                await queues.append("ref", b"old %d" % number, 10)
            assert len((await queues.take("ref")).messages) == 3
            await queues.forget("ref")
            for count in (1, 3, 5):
                new = [b"new %d" % number for number in range(count)]
                for message in new:
                    await queues.append("ref", message, 10)
                assert await queues.take("ref") == Taken(new)
                await queues.forget("ref")

    async def test_queue_goes_with_time(self) -> None:
        """What nobody fetches is forgotten."""
        async with self.shared() as shared:
            queues = Queues(shared, self.clock)
            await queues.append("ref", b"x", 10)
            self.let_pass(KEPT + 1)
            assert await queues.take("ref") == Taken()


class TestQueuesInMemory(_Queues, InMemory):
    """In the memory of one process."""

    async def test_who_comes_during_a_turn_is_not_left_lying(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another taker gives way to the one whose turn it is, and that one looks once more."""
        async with self.shared() as shared:
            queues, others = Queues(shared, self.clock), []
            await queues.append("ref", b"before", 10)
            append = shared.append

            async def meanwhile(key: str, item: bytes, **options: Any) -> int:
                if key == "given:ref" and not others:
                    await append("queue:ref", b"8 bytes!during", maximum=10, ttl=60)
                    others.append(await Queues(shared, self.clock).take("ref"))
                return await append(key, item, **options)

            monkeypatch.setattr(shared, "append", meanwhile)
            assert await queues.take("ref") == Taken([b"before", b"during"])
            assert others == [Taken(busy=True)]


class TestQueuesOnRedis(_Queues, OnRedis):
    """On a real Redis, for all nodes."""
