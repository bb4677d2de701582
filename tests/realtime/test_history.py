"""Histories: places, what comes after them, and whether that is all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kept import InMemory, OnRedis

from wshttp.errors import StoreUnavailable
from wshttp.realtime import history as history_module
from wshttp.realtime.history import LIFE, MAX_BEGUN, MAX_BYTES, MAX_CLIENT_BYTES, MAX_ITEM, SLICE, WINDOW, History
from wshttp.realtime.place import NOWHERE, Place
from wshttp.stores.kept import HISTORIES

pytestmark = pytest.mark.feature("C5")


def messages(kept: Any) -> list[bytes]:
    return [item.message for item in kept.items]


class Meanwhile:
    """A store to which something is done just before the next message gets there, once it is armed."""

    def __init__(self, shared: Any, something: Callable[[], Awaitable[Any]]) -> None:
        self._shared = shared
        self._something = something
        self.armed = False
        self.told: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shared, name)

    async def append(self, key: str, *args: Any, **options: Any) -> int:
        if self.armed and key.startswith("history:"):
            self.armed = False
            self.told = await self._something()
        return int(await self._shared.append(key, *args, **options))


class _History:
    """What holds wherever it is kept."""

    shared: Any
    let_pass: Any
    clock: Any

    def node(self, shared: Any) -> History:
        return History(shared, self.clock)

    async def test_places_count_from_one(self) -> None:
        """Messages of one topic have one life, and offsets in the order in which they were appended."""
        async with self.shared() as shared:
            history = self.node(shared)
            places = [await history.append("chat", b"%d" % n, 10) for n in range(3)]
            assert [place.offset for place in places] == [1, 2, 3]
            assert len({place.life for place in places}) == 1
            other = await history.append("news", b"x", 10)
            assert other.offset == 1
            assert other.life != places[0].life

    async def test_since_gives_what_came_after(self) -> None:
        """From each place all that follows, in order; the last one says where that ends."""
        async with self.shared() as shared:
            history = self.node(shared)
            places = [await history.append("chat", b"%d" % n, 10) for n in range(1, 4)]
            for place in places:
                kept = await history.since("chat", place)
                assert messages(kept) == [b"%d" % n for n in range(place.offset + 1, 4)]
                assert (kept.last, kept.whole) == (places[-1], True)
            kept = await history.since("chat", Place(places[0].life, 0))
            assert (messages(kept), kept.whole) == ([b"1", b"2", b"3"], True)
            kept = await history.since("chat", None)
            assert (messages(kept), kept.last, kept.whole) == ([], places[-1], True)

    async def test_topic_without_messages_has_a_place_to_go_on_from(self) -> None:
        """Who came before the first message gets it afterwards, and knows that nothing is missing."""
        async with self.shared() as shared:
            history = self.node(shared)
            begin = (await history.since("chat", None)).last
            assert begin.offset == 0
            assert await self.node(shared).append("chat", b"first", 10) == Place(begin.life, 1)
            kept = await history.since("chat", begin)
            assert (messages(kept), kept.whole) == ([b"first"], True)

    async def test_history_is_bounded_and_says_so(self) -> None:
        """Of more messages than are kept the oldest are gone: who asks from before is told that it is not whole."""
        async with self.shared() as shared:
            history = self.node(shared)
            places = [await history.append("chat", b"%d" % n, 3) for n in range(1, 7)]
            kept = await history.since("chat", places[1])
            assert (messages(kept), kept.whole) == ([b"4", b"5", b"6"], False)
            kept = await history.since("chat", places[2])
            assert (messages(kept), kept.whole) == ([b"4", b"5", b"6"], True)

    async def test_offset_of_another_life_gets_all_there_is(self) -> None:
        """It says nothing about this life: all is new, and something may be missing."""
        async with self.shared() as shared:
            history = self.node(shared)
            last = await history.append("chat", b"1", 10)
            for place in (Place("other", 1), Place("", 0), Place("other", 2**53)):
                kept = await history.since("chat", place)
                assert (messages(kept), kept.last, kept.whole) == ([b"1"], last, False)

    async def test_offset_that_was_never_given_is_not_whole(self) -> None:
        """Who claims to have more than there is learns where the topic is, and gets nothing twice."""
        async with self.shared() as shared:
            history = self.node(shared)
            last = await history.append("chat", b"1", 10)
            kept = await history.since("chat", Place(last.life, 2**53))
            assert (messages(kept), kept.last, kept.whole) == ([], last, False)

    async def test_large_message_keeps_its_place_only(self) -> None:
        """It is not kept; who missed it is told that something is missing, and gets the others."""
        async with self.shared() as shared:
            history = self.node(shared)
            first = await history.append("chat", b"1", 10)
            await history.append("chat", b"x" * (MAX_ITEM + 1), 10)
            last = await history.append("chat", b"3", 10)
            kept = await history.since("chat", first)
            assert (messages(kept), kept.last, kept.whole) == ([b"3"], last, False)
            assert [item.message for item in await history.between(first, 4)] == [b"3"]

    async def test_history_is_bounded_in_bytes_too(self) -> None:
        """Large messages on one topic leave memory for others."""
        async with self.shared() as shared:
            history = self.node(shared)
            first = await history.append("chat", b"x", 1000)
            for _ in range(MAX_BYTES // MAX_ITEM + 4):
                await history.append("chat", b"x" * MAX_ITEM, 1000)
            kept = [item.message for item in await history.between(Place(first.life, 0), 1000)]
            assert MAX_BYTES - MAX_ITEM - 1000 < sum(map(len, kept)) <= MAX_BYTES
            assert not (await history.since("chat", first)).whole

    @pytest.mark.feature("M3")
    async def test_client_fills_a_tenth_of_all_histories(self) -> None:
        """What it publishes is kept in fewer bytes than what the application does."""
        async with self.shared() as shared:
            history = self.node(shared)
            for _ in range(4):
                place = await history.append("chat", b"x" * MAX_ITEM, 1000, payer="eve")
            kept = [item.message for item in await history.between(Place(place.life, 0), 1000)]
            assert 0 < sum(map(len, kept)) <= MAX_CLIENT_BYTES
        assert HISTORIES.max_bytes / 10 >= MAX_BEGUN * MAX_CLIENT_BYTES

    async def test_life_that_was_dropped_alone_goes_on_nowhere(self) -> None:
        """Where a store makes room by it, all nodes go on in the next life: nobody is told that he has all while he has not."""
        async with self.shared() as shared:
            here, there = self.node(shared), self.node(shared)
            before = await here.append("chat", b"1", 10)
            await shared.forget(history_module._life_of("chat"))
            back = (await there.since("chat", before)).last
            after = await here.append("chat", b"2", 10)
            missed = await there.since("chat", back)
            assert after == Place(back.life, 1)
            assert (messages(missed), missed.whole) == ([b"2"], True)

    async def test_life_that_is_dropped_before_a_message_gets_it_in_the_next(self) -> None:
        """Another node begins the next one while the message is on its way: it is kept there, too, where it is looked for."""
        async with self.shared() as shared:
            there = self.node(shared)

            async def next_life() -> Place:
                await shared.forget(history_module._life_of("chat"))
                return (await there.since("chat", None)).last

            meanwhile = Meanwhile(shared, next_life)
            here = self.node(meanwhile)
            await here.append("chat", b"1", 10)
            meanwhile.armed = True
            after = await here.append("chat", b"2", 10)
            missed = await there.since("chat", meanwhile.told)
            assert after == Place(meanwhile.told.life, 1)
            assert (messages(missed), missed.whole) == ([b"2"], True)

    async def test_what_was_missed_comes_in_slices(self) -> None:
        """As much at once as one who takes his time may have in memory; together it is all, and whole."""
        async with self.shared() as shared:
            history = self.node(shared)
            first = await history.append("chat", b"first", 100)
            sent = [b"%02d" % number + b"x" * (SLICE // 5) for number in range(12)]
            for message in sent:
                await history.append("chat", message, 100)
            got, after, more, slices = [], first, True, 0
            while more:
                missed = await history.since("chat", after)
                assert missed.whole
                assert sum(map(len, messages(missed))) <= SLICE
                got += messages(missed)
                after, more, slices = missed.last, missed.more, slices + 1
            assert (got, after.offset) == (sent, 13)
            assert slices >= 3

    @pytest.mark.feature("M3")
    async def test_client_that_begins_too_many_lives_gets_no_more(self) -> None:
        """Whoever makes up names fills nothing; where others have begun a life it goes on, and they go on beginning some."""
        async with self.shared() as shared:
            history = self.node(shared)
            await history.append("news", b"x", 10)
            places = [await history.append(f"{number}", b"x", 10, payer="eve") for number in range(MAX_BEGUN + 20)]
            assert [place is not None for place in places] == [True] * MAX_BEGUN + [False] * 20
            assert (await history.since(f"{MAX_BEGUN + 1}", None, payer="eve")).last == NOWHERE
            assert not (await history.since(f"{MAX_BEGUN + 1}", NOWHERE, payer="eve")).whole
            assert (await history.append("news", b"y", 10, payer="eve")).offset == 2
            assert (await history.append("0", b"y", 10, payer="eve")).offset == 2
            assert (await history.append("other", b"x", 10, payer="ann")).offset == 1
            assert (await history.append("another", b"x", 10)).offset == 1
            self.let_pass(WINDOW + 1)
            assert await history.append("late", b"x", 10, payer="eve") is not None

    async def test_forgotten_history_begins_another_life(self) -> None:
        """After a long silence offsets count anew, under another name; so nobody takes one life for the other."""
        async with self.shared() as shared:
            here, there = self.node(shared), self.node(shared)
            before = await here.append("chat", b"1", 10)
            self.let_pass(LIFE + 1)
            after = await there.append("chat", b"2", 10)
            assert after.offset == 1
            assert after.life != before.life
            assert await here.append("chat", b"3", 10) == Place(after.life, 2)
            assert not (await here.since("chat", before)).whole

    async def test_life_goes_on_while_there_are_messages(self) -> None:
        """However long: a topic that is in use never loses its life, whoever publishes."""
        async with self.shared() as shared:
            nodes = [self.node(shared), self.node(shared)]
            places = []
            for number in range(12):
                places.append(await nodes[number % 2].append("chat", b"x", 5))
                self.let_pass(LIFE / 3)
            assert len({place.life for place in places}) == 1
            assert [place.offset for place in places] == list(range(1, 13))

    async def test_readers_do_not_keep_a_life_without_its_messages(self) -> None:
        """The list is never gone while the life goes on, which would count offsets anew under the same name."""
        async with self.shared() as shared:
            history = self.node(shared)
            before = await history.append("chat", b"1", 10)
            for _ in range(9):
                self.let_pass(LIFE / 4)
                await history.since("chat", None)
            assert (await self.node(shared).append("chat", b"2", 10)).life != before.life

    async def test_nodes_that_begin_at_once_agree(self) -> None:
        """Of many who append first, all find one life, and each offset is given once."""
        async with self.shared() as shared:
            nodes = [self.node(shared) for _ in range(5)]
            places = await asyncio.gather(*(node.append("chat", b"x", 100) for node in nodes for _ in range(5)))
            assert len({place.life for place in places}) == 1
            assert sorted(place.offset for place in places) == list(range(1, 26))

    async def test_history_that_was_set_back_begins_another_life(self) -> None:
        """After a failover that lost messages, no offset is given to a second one under the same name."""
        async with self.shared() as shared:
            history = self.node(shared)
            before = [await history.append("chat", b"x", 10) for _ in range(3)][-1]
            await shared.forget(history_module._list_of(before.life))
            after = await history.append("chat", b"y", 10)
            assert after.life != before.life
            kept = await history.since("chat", before)
            assert (messages(kept), kept.whole) == ([b"y"], False)

    async def test_set_back_is_noticed_by_who_only_heard(self) -> None:
        """A node that knows a topic's last offset from others does not give it out again."""
        async with self.shared() as shared:
            here, there = self.node(shared), self.node(shared)
            heard = [await here.append("chat", b"x", 10) for _ in range(3)][-1]
            there.note("chat", heard)
            await shared.forget(history_module._list_of(heard.life))
            assert (await there.append("chat", b"y", 10)).life != heard.life

    @pytest.mark.parametrize("topic", ["x" * 10_000, "\ud800", "a:b", "räume/🎉", ""])
    async def test_topic_of_any_name(self, topic: str) -> None:
        """Long names and lone surrogates have a history like others, and each its own."""
        async with self.shared() as shared:
            history = self.node(shared)
            begin = (await history.since(topic, None)).last
            await history.append(topic, b"x", 10)
            assert messages(await history.since(topic, begin)) == [b"x"]
            assert messages(await history.since(topic + "y", begin)) == []


class TestHistoryInMemory(_History, InMemory):
    """In the memory of one process."""


class TestHistoryOnRedis(_History, OnRedis):
    """On a real Redis, for all nodes."""


async def test_holes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage in which much is published costs a node no more memory than that: topics and messages alike."""
    monkeypatch.setattr(history_module, "MAX_KNOWN", 3)
    place = InMemory()
    async with place.shared() as shared:
        history = History(shared, place.clock)

        async def away(*arguments: Any, **options: Any) -> None:
            raise StoreUnavailable

        with monkeypatch.context() as outage:
            outage.setattr(shared, "append", away)
            outage.setattr(shared, "read", away)
            for number in range(10):
                with pytest.raises(StoreUnavailable):
                    await history.append(f"topic {number}", b"x", 10)
        assert len(history._holes) == len(history._unkept) == 3
        await history.fill_holes()
        assert len(history._holes) == 0
        assert (await history.append("topic 9", b"x", 10)).offset == 2


async def test_known_topics_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node forgets the topics that it used longest ago, and goes on counting where they were."""
    monkeypatch.setattr(history_module, "MAX_KNOWN", 3)
    place = InMemory()
    async with place.shared() as shared:
        history = History(shared, place.clock)
        for number in range(10):
            assert (await history.append(f"topic {number}", b"x", 10)).offset == 1
        assert len(history._known) == 3
        assert (await history.append("topic 0", b"x", 10)).offset == 2
