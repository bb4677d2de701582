"""Topics with history, on one node and on several: each receiver gets every message once, in order, or is told."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from serving import until

from wshttp.errors import StoreUnavailable
from wshttp.realtime import feeds as feeds_module
from wshttp.realtime import history as history_module
from wshttp.realtime import reader as reader_module
from wshttp.realtime.envelope import EnvelopeSocket
from wshttp.realtime.format import ENVELOPE, to_json
from wshttp.realtime.history import LIFE
from wshttp.stores.memory_shared import MemoryShared
from wshttp.testing import FakeClock

pytestmark = pytest.mark.feature("C5")

NewNodes = Callable[..., Any]


_OPEN = asyncio.Event()
_OPEN.set()


class Slow(MemoryShared):
    """A `Shared` whose answers may be held back (what is read of lives comes at once) or lost, and that may be away; `calls` counts what it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.loses_answers = False
        self.reads, self.appends = asyncio.Event(), asyncio.Event()
        self.reads.set()
        self.appends.set()
        self.away = False
        self.calls = 0

    async def _answer(self, gate: asyncio.Event) -> None:
        self.calls += 1
        if self.away:
            raise StoreUnavailable("the test has put it away")
        await gate.wait()

    async def append(self, key: str, item: bytes, *, maximum: int, ttl: float, max_bytes: int = 0) -> int:
        await self._answer(self.appends)
        offset = await super().append(key, item, maximum=maximum, ttl=ttl, max_bytes=max_bytes)
        if self.loses_answers:
            raise StoreUnavailable("the test has lost its answer")
        return offset

    async def read(self, key: str, after: int = 0, *, max_bytes: int = 0) -> tuple[int, list[bytes]]:
        found = await super().read(key, after, max_bytes=max_bytes)  # as it is now, however late the answer comes
        await self._answer(self.reads if key.startswith("history:") else _OPEN)
        return found


class Guest:
    """A client of `wshttp.v1` that remembers where it is, as the browser's does."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self.place: tuple[str, int] | None = None
        self.got: list[tuple[str, int]] = []
        self.data: list[Any] = []
        self.whole: list[bool] = []
        self._read = 0

    async def connect(self) -> Guest:
        self._socket = EnvelopeSocket(self.node.hub, self.node.callbacks, dict)
        self.connection, self.transport = await self.node.connect(handler=self._socket.handle, format=ENVELOPE)
        self._read = 0
        return self

    def send(self, **envelope: Any) -> None:
        self.connection.received(to_json(envelope))

    def subscribe(self, *, after: bool = True) -> None:
        place = (
            {} if self.place is None or not after else {"after": dict(zip(("life", "offset"), self.place, strict=True))}
        )
        self.send(type="subscribe", topic="chat", **place)

    def take(self) -> list[dict[str, Any]]:
        """Read what has come since, and take note of where it leads."""
        envelopes = [json.loads(each) for each in self.transport.sent[self._read :]]
        self._read = len(self.transport.sent)
        for each in envelopes:
            if each["type"] == "message":
                self.data.append(each["data"])
            if each["type"] == "message" and "life" in each:
                self.got.append((each["life"], each["offset"]))
            if each["type"] == "resumed":
                self.whole.append(each["whole"])
            if "life" in each:
                self.place = (each["life"], each["offset"])
        return envelopes

    def types(self) -> list[str]:
        return [each["type"] for each in self.take() if each["type"] not in ("session", "joined", "left")]

    async def resumed(self) -> None:
        await until(lambda: any('"resumed"' in each for each in self.transport.sent))

    def drop(self) -> None:
        self.take()
        self.connection.lost(None, None)


@asynccontextmanager
async def several(nodes: NewNodes, clock: FakeClock, number: int = 1, **websocket: Any) -> AsyncIterator[Any]:
    """Nodes with one `kept`; every topic is open to all."""
    kept = Slow(clock)
    async with nodes(number, kept=kept, websocket={"topics": ["*"]} | websocket) as world:
        world.kept = kept
        yield world


# --- one node -----------------------------------------------------------------------------------


async def test_message_carries_its_place_and_subscribe_tells_where_it_is(nodes: NewNodes, clock: FakeClock) -> None:
    """`presence`, then `resumed` with the last place, then messages that follow it."""
    async with several(nodes, clock) as [node]:
        await node.hub.publish("chat", "before")
        guest = await Guest(node).connect()
        guest.subscribe()
        await guest.resumed()
        assert guest.types() == ["presence", "resumed"]
        assert guest.place is not None
        assert guest.place[1] == 1
        assert guest.whole == [True]
        assert await node.hub.publish("chat", "after") == 1
        assert guest.types() == ["message"]
        assert (guest.data, guest.got) == (["after"], [(guest.place[0], 2)])


async def test_client_that_comes_back_gets_what_it_missed(nodes: NewNodes, clock: FakeClock) -> None:
    """Between `presence` and `resumed`, in order, with sender and place as when it was published."""
    async with several(nodes, clock) as [node]:
        ann, bob = await Guest(node).connect(), await Guest(node).connect()
        for each in (ann, bob):
            each.subscribe()
            await each.resumed()
        bob.drop()
        for number in range(3):
            ann.send(type="publish", topic="chat", data=number)
        await until(lambda: ann.transport.sent[-1].count('"data":2') == 1)
        live = [each for each in ann.take() if each["type"] == "message"]
        await bob.connect()
        bob.subscribe()
        await bob.resumed()
        told = [each for each in bob.take() if each["type"] != "session"]
        assert [each["type"] for each in told] == ["presence", "message", "message", "message", "resumed"]
        assert told[1:4] == live
        assert live[0]["from"] == {"ref": ann.connection.session.ref, "user": None}
        assert (bob.data, bob.whole) == ([0, 1, 2], [True, True])


async def test_client_is_told_where_something_is_missing(nodes: NewNodes, clock: FakeClock) -> None:
    """More than is kept, or another life: it gets what there is, and `whole` is false."""
    async with several(nodes, clock, history=2) as [node]:
        guest = await Guest(node).connect()
        guest.subscribe()
        await guest.resumed()
        guest.drop()
        for number in range(5):
            await node.hub.publish("chat", number)
        await guest.connect()
        guest.subscribe()
        await guest.resumed()
        guest.drop()
        assert (guest.data, guest.whole) == ([3, 4], [True, False])
        clock.advance(LIFE * 2 + 1)
        await node.hub.publish("chat", "new life")
        await guest.connect()
        guest.subscribe()
        await guest.resumed()
        guest.take()
        assert (guest.data[2:], guest.whole) == (["new life"], [True, False, False])


async def test_live_messages_wait_while_the_history_is_read(nodes: NewNodes, clock: FakeClock) -> None:
    """What is published between the reading and its answer comes after it, once; what the reading saw, not again."""
    async with several(nodes, clock) as world:
        [node] = world
        other, guest = await Guest(node).connect(), await Guest(node).connect()
        for each in (guest, other):
            each.subscribe()
            await each.resumed()
        guest.drop()
        await node.hub.publish("chat", "missed")
        await guest.connect()
        world.kept.reads.clear()
        guest.subscribe()
        await until(lambda: "chat" in guest.connection.readers)
        for number in range(3):
            await node.hub.publish("chat", number)
        world.kept.reads.set()
        await guest.resumed()
        await node.hub.publish("chat", 3)
        told = [(each["type"], each.get("data")) for each in guest.take() if each["type"] in ("message", "resumed")]
        assert told.index(("message", "missed")) < told.index(("resumed", None)) < told.index(("message", 3))
        assert guest.data == ["missed", 0, 1, 2, 3]
        other.take()
        assert other.data == ["missed", 0, 1, 2, 3]


async def test_more_than_may_wait_is_read_again(
    nodes: NewNodes, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood while a client is given what it missed costs a bounded memory, and no message."""
    monkeypatch.setattr(reader_module, "MAX_HELD", 2)
    async with several(nodes, clock) as world:
        [node] = world
        await node.hub.publish("chat", 0)
        guest = await Guest(node).connect()
        guest.place = ("none", 0)
        world.kept.reads.clear()
        guest.subscribe()
        await until(lambda: "chat" in guest.connection.readers)
        for number in range(1, 20):
            await node.hub.publish("chat", number)
        world.kept.reads.set()
        await guest.resumed()
        await node.hub.publish("chat", 20)
        guest.take()
        assert guest.data == list(range(21))


@pytest.mark.feature("M3")
async def test_slow_reader_has_one_slice_in_hand(
    nodes: NewNodes, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it missed is read as it takes it, not all at once: many of them would fill the memory."""
    monkeypatch.setattr(history_module, "MAX_ITEM", 3000)
    monkeypatch.setattr(history_module, "SLICE", 6000)
    async with several(nodes, clock, send_buffer_limit=2000) as world:
        [node] = world
        for number in range(30):
            await node.hub.publish("chat", f"{number}" + "x" * 1500)
        guest = await Guest(node).connect()
        guest.place = ("none", 0)
        guest.transport.holds = True
        before = world.kept.calls
        guest.subscribe()
        await until(lambda: any('"message"' in each for each in guest.transport.sent))
        assert world.kept.calls - before < 5
        while not any('"resumed"' in each for each in guest.transport.sent):
            guest.transport.release()
            await asyncio.sleep(0)
        guest.take()
        assert [each.rstrip("x") for each in guest.data] == [f"{number}" for number in range(30)]
        assert world.kept.calls - before > 10


@pytest.mark.feature("M3")
async def test_visitor_who_makes_up_topics_washes_nothing_away(nodes: NewNodes, clock: FakeClock) -> None:
    """Neither by publishing nor by joining: what is kept of others' topics stays, and his own messages still go out."""
    async with several(nodes, clock) as world:
        [node] = world
        await node.hub.publish("chat", "important")
        eve = await Guest(node).connect()
        for number in range(150):
            eve.send(type="publish", topic=f"made up {number}")
            eve.send(type="subscribe", topic=f"joined {number}")
            eve.send(type="unsubscribe", topic=f"joined {number}", id=number)
            await until(lambda: eve.transport.sent and f'"id":{number}' in eve.transport.sent[-1])  # noqa: B023  # now
        assert len(world.kept) < 2 * history_module.MAX_BEGUN + 10
        eve.send(type="subscribe", topic="one more")
        await until(lambda: '"resumed"' in eve.transport.sent[-1])
        assert json.loads(eve.transport.sent[-1])["life"] == ""
        await node.hub.publish("one more", "live")
        assert '"live"' in eve.transport.sent[-1]
        guest = await Guest(node).connect()
        guest.place = ("", 0)
        guest.subscribe()
        await guest.resumed()
        guest.take()
        assert guest.data == ["important"]


async def test_publishers_at_once_are_heard_in_one_order(nodes: NewNodes, clock: FakeClock) -> None:
    """Whoever answers first: every receiver sees the offsets in order, each once."""
    async with several(nodes, clock) as [node]:
        guests = [await Guest(node).connect() for _ in range(20)]
        for each in guests:
            each.subscribe()
            await each.resumed()
        await asyncio.gather(*(node.hub.publish("chat", number) for number in range(100)))
        for each in guests:
            each.take()
            assert [offset for _, offset in each.got] == list(range(1, 101))
            assert sorted(each.data) == list(range(100))
        assert len({tuple(each.data) for each in guests}) == 1


async def test_publisher_that_gives_up_takes_nothing_from_anybody(nodes: NewNodes, clock: FakeClock) -> None:
    """A publisher that is cancelled in the middle: either nobody gets its message, or all do, once."""
    async with several(nodes, clock) as world:
        [node] = world
        guests = [await Guest(node).connect() for _ in range(5)]
        for each in guests:
            each.subscribe()
            await each.resumed()
        world.kept.appends.clear()
        publishing = asyncio.create_task(node.hub.publish("chat", "given up"))
        await until(lambda: world.kept.calls > 0)
        await asyncio.sleep(0)
        publishing.cancel()
        world.kept.appends.set()
        await node.hub.publish("chat", "next")
        for each in guests:
            each.take()
        assert len({tuple(each.data) for each in guests}) == 1
        assert guests[0].data in (["next"], ["given up", "next"])


async def test_filtered_message_is_kept_for_nobody(nodes: NewNodes, clock: FakeClock) -> None:
    """What is not for all who are there is not for all who come back, either; it has no place."""
    async with several(nodes, clock) as [node]:
        ann, bob = await Guest(node).connect(), await Guest(node).connect()
        for each in (ann, bob):
            each.subscribe()
            await each.resumed()
        bob.drop()
        await node.hub.publish("chat", "secret", include=[ann.connection])
        await node.hub.publish("chat", "not for ann", exclude=[ann.connection])
        [message] = [each for each in map(json.loads, ann.transport.sent) if each["type"] == "message"]
        assert set(message) == {"type", "topic", "data", "from"}
        await bob.connect()
        bob.subscribe()
        await bob.resumed()
        bob.take()
        assert (bob.data, bob.whole) == ([], [True, True])


async def test_without_history_nothing_is_asked_of_the_store(nodes: NewNodes, clock: FakeClock) -> None:
    """No place, no `resumed`, and not one call."""
    async with several(nodes, clock, history=0) as world:
        [node] = world
        guest = await Guest(node).connect()
        guest.send(type="subscribe", topic="chat", after={"life": "x", "offset": 1}, id=1)
        await until(lambda: any('"ok"' in each for each in guest.transport.sent))
        await node.hub.publish("chat", 1)
        told = [json.loads(each) for each in guest.transport.sent]
        assert "resumed" not in [each["type"] for each in told]
        assert set(next(each for each in told if each["type"] == "message")) == {"type", "topic", "data", "from"}
        assert world.kept.calls == 0


@pytest.mark.parametrize(
    "after", ["x", 7, [], {}, {"life": "x"}, {"life": 1, "offset": 1}, {"life": "x", "offset": -1},
              {"life": "x", "offset": 1.5}, {"life": "x", "offset": True}, {"life": "x" * 65, "offset": 1}]
)  # fmt: skip
async def test_resume_from_what_is_no_place_is_refused(nodes: NewNodes, clock: FakeClock, after: Any) -> None:
    """It is a mistake of the client; it joins nothing, and the connection lives."""
    async with several(nodes, clock) as [node]:
        guest = await Guest(node).connect()
        guest.send(type="subscribe", topic="chat", after=after)
        await until(lambda: any('"error"' in each for each in guest.transport.sent))
        assert guest.take()[-1]["code"] == "bad-request"
        assert guest.connection.topics == set()
        assert guest.connection.closed is None


async def test_store_that_is_away_refuses_and_joins_nobody(nodes: NewNodes, clock: FakeClock) -> None:
    """To subscribe fails with `store-unavailable`, and may be tried again."""
    async with several(nodes, clock) as world:
        [node] = world
        guest = await Guest(node).connect()
        world.kept.away = True
        guest.subscribe()
        await until(lambda: any('"store-unavailable"' in each for each in guest.transport.sent))
        assert guest.connection.topics == set()
        assert node.hub.topics.members("chat") == []
        world.kept.away = False
        guest.subscribe()
        await guest.resumed()
        await node.hub.publish("chat", 2)
        guest.take()
        assert guest.data == [2]


@pytest.mark.feature("W9")
async def test_message_of_an_outage_reaches_who_is_there(nodes: NewNodes, clock: FakeClock) -> None:
    """On all nodes, in the order of its publishing, without a place; who was away is told that it is not whole."""
    async with several(nodes, clock, 2) as world:
        here, there, away = [await Guest(node).connect() for node in (world[0], world[1], world[1])]
        for each in (here, there, away):
            each.subscribe()
            await each.resumed()
        await world[0].hub.publish("chat", "before")
        await world.settle()
        away.drop()
        world.kept.away = True
        assert await world[0].hub.publish("chat", "during") == 1
        world.kept.away = False
        assert await world[0].hub.publish("chat", "after") == 1
        await world.settle()
        await away.connect()
        away.subscribe()
        await away.resumed()
        for each in (here, there, away):
            each.take()
        assert here.data == there.data == ["before", "during", "after"]
        assert (away.data, away.whole) == (["before", "after"], [True, False])
        assert [offset for _, offset in here.got] == [1, 3], "what was not kept has taken a place all the same"


async def test_browser_may_publish_in_an_outage(nodes: NewNodes, clock: FakeClock) -> None:
    """It is answered as ever."""
    async with several(nodes, clock) as world:
        [node] = world
        guest = await Guest(node).connect()
        guest.subscribe()
        await guest.resumed()
        world.kept.away = True
        guest.take()
        guest.send(type="publish", topic="chat", data="during", id=1)
        await until(lambda: any('"ok"' in each for each in guest.transport.sent))
        [message, ok] = guest.take()
        assert (message["data"], ok["receivers"]) == ("during", 1)


@pytest.mark.feature("W9")
async def test_hole_is_told_also_when_nothing_follows_it(nodes: NewNodes, clock: FakeClock) -> None:
    """As soon as the node that published hears that the store is back, or is asked for what was missed; once per outage."""
    async with several(nodes, clock, 2) as world:
        guest = await Guest(world[1]).connect()
        guest.subscribe()
        await guest.resumed()
        await world[0].hub.publish("chat", "before")
        await world.settle()
        guest.drop()
        world.kept.away = True
        for number in range(3):
            await world[0].hub.publish("chat", number)
        world[0].hub.topics.feeds.look()  # too early
        await world.settle()
        world.kept.away = False
        world[0].hub.topics.feeds.look()
        await world.settle()
        for whole in (False, True):
            await guest.connect()
            guest.subscribe()
            await guest.resumed()
            guest.drop()
            assert guest.whole[-1] is whole
            assert guest.place is not None
            assert guest.place[1] == 2
        world.kept.away = True
        await world[0].hub.publish("chat", 4)
        world.kept.away = False
        guest.node = world[0]
        await guest.connect()
        guest.subscribe()
        await guest.resumed()
        guest.take()
        assert (guest.data, guest.whole[-1]) == (["before"], False)


async def test_message_that_was_kept_although_its_answer_was_lost_comes_once(nodes: NewNodes, clock: FakeClock) -> None:
    """It has gone out already: it is a hole like any other, for those who are there and for those who come back."""
    async with several(nodes, clock) as world:
        [node] = world
        here, away = [await Guest(node).connect() for _ in range(2)]
        for each in (here, away):
            each.subscribe()
            await each.resumed()
        await node.hub.publish("chat", "before")
        away.drop()
        world.kept.loses_answers = True
        assert await node.hub.publish("chat", "during") == 1
        world.kept.loses_answers = False
        node.hub.topics.feeds.look()
        await node.hub.publish("chat", "after")
        here.subscribe()
        await away.connect()
        away.subscribe()
        for each in (here, away):
            await until(lambda each=each: bool(each.take() or each.whole) and len(each.whole) == 2)
        assert (here.data, here.whole) == (["before", "during", "after"], [True, True])
        assert (away.data, away.whole) == (["before", "after"], [True, False])


async def test_outage_during_a_hole_leaves_another(nodes: NewNodes, clock: FakeClock) -> None:
    """What is lost while the place for what was lost before is on its way has one of its own."""
    async with several(nodes, clock) as world:
        [node] = world
        guest = await Guest(node).connect()
        guest.subscribe()
        await guest.resumed()
        await node.hub.publish("chat", "before")
        world.kept.away = True
        await node.hub.publish("chat", 1)
        world.kept.away = False
        world.kept.appends.clear()
        calls = world.kept.calls
        node.hub.topics.feeds.look()
        await until(lambda: world.kept.calls > calls)
        world.kept.away = True
        await node.hub.publish("chat", 2)
        world.kept.away = False
        world.kept.appends.set()
        await node.hub.topics.feeds._looking
        await node.hub.publish("chat", "after")
        guest.take()
        assert guest.data == ["before", 1, 2, "after"]
        assert [offset for _, offset in guest.got] == [1, 4]


async def test_topic_that_all_have_left_costs_nothing(nodes: NewNodes, clock: FakeClock) -> None:
    """With its last connection a feed is gone; with the next, it is as far as the history is."""
    async with several(nodes, clock) as [node]:
        guest = await Guest(node).connect()
        guest.subscribe()
        await guest.resumed()
        await node.hub.publish("chat", 1)
        guest.drop()
        assert node.hub.topics.feeds._feeds == {}
        assert await node.hub.publish("chat", 2) == 0
        assert node.hub.topics.feeds._feeds == {}
        await guest.connect()
        guest.subscribe()
        await guest.resumed()
        await node.hub.publish("chat", 3)
        guest.take()
        assert (guest.data, guest.whole) == ([1, 2, 3], [True, True])


async def test_slow_receiver_takes_what_it_missed_at_its_own_pace(nodes: NewNodes, clock: FakeClock) -> None:
    """More than fits into its buffer is no reason to close it: it is waited for."""
    async with several(nodes, clock, send_buffer_limit=1000) as [node]:
        guest = await Guest(node).connect()
        guest.subscribe()
        await guest.resumed()
        guest.drop()
        for number in range(20):
            await node.hub.publish("chat", "x" * 500 + str(number))
        await guest.connect()
        guest.transport.holds = True
        guest.subscribe()
        while not any('"resumed"' in each for each in guest.transport.sent):
            await asyncio.sleep(0)
            guest.transport.release()
        guest.take()
        assert guest.connection.closed is None
        assert [text[500:] for text in guest.data] == [str(number) for number in range(20)]


# --- several nodes --------------------------------------------------------------------------------


@pytest.mark.feature("W9")
async def test_words_that_overtake_each_other_are_set_right(nodes: NewNodes, clock: FakeClock) -> None:
    """A node that hears of the second message first gives both, in order, each once."""
    async with several(nodes, clock, 3) as world:
        guest = await Guest(world[2]).connect()
        guest.subscribe()
        await guest.resumed()
        plain, seen = await world[2].connect()
        plain.subscribe("chat")
        await world.settle()
        world.exchange.holding = True
        await world[0].hub.publish("chat", "first")
        await world[1].hub.publish("chat", "second")
        world.exchange._waiting.reverse()
        world.exchange.deliver()
        world.exchange.holding = False
        await until(lambda: len(guest.take() or guest.data) >= 0 and len(guest.data) == 2)
        await world.settle()
        guest.take()
        assert guest.data == seen.sent == ["first", "second"]


@pytest.mark.feature("W9")
async def test_lost_word_is_made_good_by_the_next(nodes: NewNodes, clock: FakeClock) -> None:
    """What a word said is in the history; and after an outage of the broker nobody waits for the next one."""
    async with several(nodes, clock, 2) as world:
        guest = await Guest(world[1]).connect()
        guest.subscribe()
        await guest.resumed()
        await world.settle()
        world.exchange.holding = True
        await world[0].hub.publish("chat", 1)
        world.exchange.lose()
        world.exchange.holding = False
        await world[0].hub.publish("chat", 2)
        await world.settle()
        guest.take()
        assert guest.data == [1, 2]
        world.exchange.cut_off(world[1].broker)
        await world[0].hub.publish("chat", 3)
        world.exchange.mend(world[1].broker)
        await world.settle()
        guest.take()
        assert guest.data == [1, 2, 3]


@pytest.mark.feature("W9")
async def test_history_that_is_away_does_not_keep_messages_back(nodes: NewNodes, clock: FakeClock) -> None:
    """Where what is missing cannot be read, the next is given all the same: the client sees the offset that is missing."""
    async with several(nodes, clock, 2) as world:
        guest = await Guest(world[1]).connect()
        guest.subscribe()
        await guest.resumed()
        await world.settle()
        world.exchange.holding = True
        await world[0].hub.publish("chat", 1)
        world.exchange.lose()
        await world[0].hub.publish("chat", 2)
        world.kept.away = True
        world.exchange.holding = False
        world.exchange.deliver()
        await world.settle()
        guest.take()
        assert (guest.data, [offset for _, offset in guest.got]) == ([2], [2])


@pytest.mark.feature("W9")
async def test_client_resumes_on_another_node(nodes: NewNodes, clock: FakeClock) -> None:
    """Offsets and lives are those of all nodes."""
    async with several(nodes, clock, 2) as world:
        guest = await Guest(world[0]).connect()
        guest.subscribe()
        await guest.resumed()
        await world[1].hub.publish("chat", 1)
        await world.settle()
        guest.drop()
        await world[0].hub.publish("chat", 2)
        guest.node = world[1]
        await guest.connect()
        guest.subscribe()
        await guest.resumed()
        await world.settle()
        guest.take()
        assert (guest.data, guest.whole) == ([1, 2], [True, True])


@pytest.mark.feature("W9")
@pytest.mark.parametrize("seed", range(15))
async def test_nobody_misses_or_gets_twice_whatever_the_words_do(
    nodes: NewNodes, clock: FakeClock, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishers on all nodes, clients that drop and come back anywhere, words late, lost and out of order."""
    monkeypatch.setattr(feeds_module, "MAX_WAITING", 4)
    chance = random.Random(seed)
    async with several(nodes, clock, 3, history=1000) as world:
        guests = [await Guest(chance.choice(world)).connect() for _ in range(5)]
        for each in guests:
            each.subscribe()
            await each.resumed()
        begin = {id(each): (each.take(), each.place)[1] for each in guests}
        await world.settle()
        world.exchange.holding = True
        published = 0
        for _ in range(150):
            what, guest = chance.random(), chance.choice(guests)
            if what < 0.5:
                await chance.choice(world).hub.publish("chat", published)
                published += 1
            elif what < 0.6 and guest.connection.closed is None:
                guest.drop()
            elif what < 0.75 and guest.connection.closed is not None:
                guest.node = chance.choice(world)
                await guest.connect()
                guest.subscribe()
            elif what < 0.8 and world.exchange._waiting:
                world.exchange._waiting.popleft()  # a lost word
            elif what < 0.85:
                chance.shuffle(world.exchange._waiting)
            else:
                world.exchange.deliver(chance.randrange(6))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
        world.exchange.holding = False
        for guest in guests:
            if guest.connection.closed is not None:
                await guest.connect()
                guest.subscribe()
        await world.settle()
        await world[0].hub.publish("chat", published)
        await world.settle()
        await until(lambda: all((each.take() or each.data) and each.data[-1] == published for each in guests))
        for guest in guests:
            _, first = begin[id(guest)]
            assert [offset for _, offset in guest.got] == list(range(first + 1, published + 2))
            assert guest.data == list(range(published + 1))
            assert all(guest.whole)
