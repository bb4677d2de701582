"""Messages for sessions without a socket: they wait, on whichever node, and come once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from serving import until

from wshttp.errors import StoreUnavailable, UsageError
from wshttp.realtime import offline as offline_module
from wshttp.realtime.envelope import EnvelopeSocket
from wshttp.realtime.format import ENVELOPE
from wshttp.realtime.queues import MAX_BYTES, TURN
from wshttp.stores.memory_shared import MemoryShared
from wshttp.testing import FakeClock

pytestmark = pytest.mark.feature("W4")

NewNodes = Callable[..., Any]


class Away(MemoryShared):
    """A `Shared` that may be away, and in which appends may be held back: `waiting` says how many are."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0

    async def append(self, key: str, item: bytes, *, maximum: int, ttl: float, max_bytes: int = 0) -> int:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return await super().append(key, item, maximum=maximum, ttl=ttl, max_bytes=max_bytes)

    async def read(self, key: str, after: int = 0, *, max_bytes: int = 0) -> tuple[int, list[bytes]]:
        if self.away:
            raise StoreUnavailable("the test has put it away")
        return await super().read(key, after, max_bytes=max_bytes)


@asynccontextmanager
async def several(nodes: NewNodes, clock: FakeClock, number: int = 1, **websocket: Any) -> AsyncIterator[Any]:
    """Nodes with one `kept`."""
    kept = Away(clock)
    async with nodes(number, kept=kept, websocket=websocket) as world:
        world.kept = kept
        yield world


async def welcomed(node: Any, session: Any, **options: Any) -> tuple[Any, Any]:
    """Open a socket of `wshttp.v1` as the server does, up to its welcome."""
    socket = EnvelopeSocket(node.hub, node.callbacks, dict)
    connection, transport = await node.connect(session, **{"format": ENVELOPE} | options)
    await socket.welcome(connection)
    return connection, transport


def told(transport: Any) -> list[dict[str, Any]]:
    return [each for each in map(json.loads, transport.sent) if each["type"] != "session"]


async def test_message_waits_for_a_socket_and_comes_after_the_welcome(nodes: NewNodes, clock: FakeClock) -> None:
    """In order, marked, once; the next connection gets no more of it."""
    async with several(nodes, clock) as [node]:
        session = await node.sessions.create(remote_ip="192.0.2.1")
        for data in ("one", {"two": 2}, b"three"):
            assert await node.hub.send(data, session=session, queue=True) == 0
        _, transport = await welcomed(node, session)
        assert [each["type"] for each in told(transport)] == ["welcome", "app", "app", "app"]
        assert told(transport)[1:] == [
            {"type": "app", "data": data, "queued": True} for data in ("one", {"two": 2}, "three")
        ]
        _, again = await welcomed(node, session)
        assert [each["type"] for each in told(again)] == ["welcome"]


async def test_session_with_a_socket_gets_it_at_once(nodes: NewNodes, clock: FakeClock) -> None:
    """Then nothing waits, and the message is one like any other."""
    async with several(nodes, clock) as [node]:
        session = await node.sessions.create(remote_ip="192.0.2.1")
        _, transport = await welcomed(node, session)
        assert await node.hub.send("now", session=session.ref, queue=True) == 1
        assert told(transport)[1:] == [{"type": "app", "data": "now"}]
        _, again = await welcomed(node, session)
        assert [each["type"] for each in told(again)] == ["welcome"]


async def test_without_queue_a_message_to_nobody_is_gone(nodes: NewNodes, clock: FakeClock) -> None:
    """That is what `send` does unless it is told otherwise, or `websocket.queue` is 0."""
    async with several(nodes, clock) as [node]:
        session = await node.sessions.create(remote_ip="192.0.2.1")
        assert await node.hub.send("gone", session=session) == 0
        _, transport = await welcomed(node, session)
        assert [each["type"] for each in told(transport)] == ["welcome"]
    async with several(nodes, clock, queue=0) as [node]:
        session = await node.sessions.create(remote_ip="192.0.2.1")
        assert await node.hub.send("gone", session=session, queue=True) == 0
        _, transport = await welcomed(node, session)
        assert [each["type"] for each in told(transport)] == ["welcome"]


async def test_dropped_messages_are_counted(nodes: NewNodes, clock: FakeClock) -> None:
    """The client is told how many before the oldest it gets."""
    async with several(nodes, clock, queue=2) as [node]:
        session = await node.sessions.create(remote_ip="192.0.2.1")
        for number in range(5):
            await node.hub.send(number, session=session, queue=True)
        _, transport = await welcomed(node, session)
        assert told(transport)[1:] == [
            {"type": "queue", "dropped": 3},
            {"type": "app", "data": 3, "queued": True},
            {"type": "app", "data": 4, "queued": True},
        ]


@pytest.mark.parametrize(
    "conditions", [{}, {"user": "ann"}, {"session": "x", "topic": "t"}, {"session": "x", "exclude": []}]
)
async def test_queue_is_for_one_session(nodes: NewNodes, clock: FakeClock, conditions: dict[str, Any]) -> None:
    """Anything else is a mistake of the program, told at once."""
    async with several(nodes, clock) as [node]:
        with pytest.raises(UsageError, match="queue=True"):
            await node.hub.send("x", queue=True, **conditions)


@pytest.mark.feature("M3")
@pytest.mark.parametrize("message", ["é" * 51, b"x" * 101, ["x" * 97]])
async def test_message_that_is_too_large_to_wait_is_refused(nodes: NewNodes, clock: FakeClock, message: Any) -> None:
    """A mistake of the program, told at once, whether there is a socket just now or not; without `queue` it goes out."""
    async with several(nodes, clock, max_message_size=100) as world:
        [node] = world
        session = await node.sessions.create(remote_ip="192.0.2.1")
        for open_first in (False, True):
            if open_first:
                _, transport = await welcomed(node, session)
            with pytest.raises(UsageError, match=r"max_message_size"):
                await node.hub.send(message, session=session, queue=True)
        assert await node.hub.send(message, session=session) == 1
        assert await world.kept.read(f"queue:{session.ref}") == (1, [])
        assert [each["type"] for each in told(transport)] == ["welcome", "app"]


async def test_message_of_any_size_waits_where_there_is_no_limit(nodes: NewNodes, clock: FakeClock) -> None:
    """`websocket.max_message_size: 0` is none; then what waits is bounded in all, and one message stays."""
    async with several(nodes, clock, max_message_size=0) as [node]:
        session = await node.sessions.create(remote_ip="192.0.2.1")
        for text in ("a" * 10, "b" * MAX_BYTES):
            await node.hub.send(text, session=session, queue=True)
        _, transport = await welcomed(node, session)
        assert [each.get("dropped", each.get("data", "")[:1]) for each in told(transport)[1:]] == [1, "b"]


async def test_connection_that_goes_in_the_middle_leaves_the_rest(nodes: NewNodes, clock: FakeClock) -> None:
    """What it did not take waits for the next one."""
    async with several(nodes, clock) as [node]:
        session = await node.sessions.create(remote_ip="192.0.2.1")
        for number in range(3):
            await node.hub.send(number, session=session, queue=True)
        connection, transport = await node.connect(session, format=ENVELOPE)
        write = transport.write

        def one_only(message: Any) -> Any:
            done = write(message)
            transport.gone = True
            return done

        transport.write = one_only
        transport.sent.clear()
        await node.hub.give_waiting(connection)
        connection.lost(None, None)
        assert [each["data"] for each in told(transport)] == [0]
        _, again = await welcomed(node, session)
        assert [each["data"] for each in told(again)[1:]] == [1, 2]


async def test_store_that_is_away_keeps_nobody_out(nodes: NewNodes, clock: FakeClock) -> None:
    """The welcome comes all the same; what waits, waits for the next connection."""
    async with several(nodes, clock) as world:
        [node] = world
        session = await node.sessions.create(remote_ip="192.0.2.1")
        await node.hub.send("x", session=session, queue=True)
        world.kept.away = True
        _, transport = await welcomed(node, session)
        assert [each["type"] for each in told(transport)] == ["welcome"]
        world.kept.away = False
        _, again = await welcomed(node, session)
        assert [each["type"] for each in told(again)] == ["welcome", "app"]


async def test_end_of_a_session_drops_its_queue(nodes: NewNodes, clock: FakeClock) -> None:
    """Nothing is kept of a session that is over."""
    async with several(nodes, clock) as world:
        [node] = world
        session = await node.sessions.create(remote_ip="192.0.2.1")
        await node.hub.send("x", session=session, queue=True)
        await node.sessions.end(session)
        for _ in range(5):
            await asyncio.sleep(0)
        assert await world.kept.read(f"queue:{session.ref}") == (1, [])


@pytest.mark.feature("W9")
async def test_message_waits_for_a_socket_on_any_node(nodes: NewNodes, clock: FakeClock) -> None:
    """Where another node has a socket of the session nothing waits; where nobody has, the next to come gets it."""
    async with several(nodes, clock, 2) as world:
        a, b = world
        session = await a.sessions.create(remote_ip="192.0.2.1")
        there = await world.adopt(session.ref, b)
        await a.hub.send("waits", session=session.ref, queue=True)
        _, transport = await welcomed(b, there)
        assert [each.get("data") for each in told(transport)] == [None, "waits"]
        await world.settle()
        await a.hub.send("live", session=session.ref, queue=True)
        await world.settle()
        assert told(transport)[2:] == [{"type": "app", "data": "live"}]


@pytest.mark.feature("W9")
async def test_socket_that_nobody_knew_of_gets_it_soon(nodes: NewNodes, clock: FakeClock) -> None:
    """A session whose socket opened a moment ago on another node: what was queued meanwhile is not left lying."""
    async with several(nodes, clock, 2) as world:
        a, b = world
        session = await a.sessions.create(remote_ip="192.0.2.1")
        there = await world.adopt(session.ref, b)
        world.exchange.holding = True
        _, transport = await welcomed(b, there)
        await a.hub.send("just now", session=session.ref, queue=True)
        assert [each["type"] for each in told(transport)] == ["welcome"]
        world.exchange.deliver()
        world.exchange.holding = False
        await until(lambda: len(told(transport)) == 2)
        assert told(transport)[1]["data"] == "just now"


# --- in order, and only while the session lives -------------------------------------------------------


async def _stalled(node: Any, session: Any) -> tuple[Any, Any, asyncio.Future[None]]:
    """Open a socket that takes the first of what waits, and then nothing until it is let."""
    connection, transport = await node.connect(session, format=ENVELOPE)
    transport.sent.clear()
    transport.holds = True
    giving = asyncio.ensure_future(node.hub.give_waiting(connection))
    await until(lambda: transport.sent)
    return connection, transport, giving


async def test_message_sent_while_others_are_given_comes_after_them(nodes: NewNodes, clock: FakeClock) -> None:
    """A slow receiver is still taking what waited: the next one takes its turn, and goes to it alone."""
    async with several(nodes, clock, send_buffer_limit=50) as [node]:
        session = await node.sessions.create(remote_ip="192.0.2.1")
        for number in range(5):
            await node.hub.send(number, session=session, queue=True)
        _, transport, giving = await _stalled(node, session)
        await node.hub.send("later", session=session, queue=True)
        while not giving.done() or len(transport.sent) < 6:
            transport.release()
            await asyncio.sleep(0)
        assert [each["data"] for each in told(transport)] == [0, 1, 2, 3, 4, "later"]
        transport.holds = False
        transport.release()
        await node.hub.send("live", session=session, queue=True)
        assert told(transport)[-1] == {"type": "app", "data": "live"}


async def test_end_in_the_middle_of_giving_leaves_nothing(nodes: NewNodes, clock: FakeClock) -> None:
    """What its connection did not take is not kept for a session that is over, nor that anything was given."""
    async with several(nodes, clock, send_buffer_limit=50) as world:
        [node] = world
        session = await node.sessions.create(remote_ip="192.0.2.1")
        for number in range(5):
            await node.hub.send(number, session=session, queue=True)
        _, transport, giving = await _stalled(node, session)
        await node.sessions.end(session)
        transport.release()
        await giving
        for _ in range(10):
            await asyncio.sleep(0)
        assert await world.kept.read(f"queue:{session.ref}") == (1, [])
        assert await world.kept.read(f"given:{session.ref}") == (1, [])


@pytest.mark.feature("W9")
async def test_nothing_is_kept_for_a_session_that_is_over(nodes: NewNodes, clock: FakeClock) -> None:
    """Whether it has ended before, or on another node while the message was on its way to the store."""
    async with several(nodes, clock, 2) as world:
        a, b = world
        session = await a.sessions.create(remote_ip="192.0.2.1")
        await b.sessions.end(session.ref)
        await world.settle()
        assert await a.hub.send("late", session=session.ref, queue=True) == 0
        assert await world.kept.read(f"queue:{session.ref}") == (1, [])
        session = await a.sessions.create(remote_ip="192.0.2.1")
        world.kept.gate.clear()
        sending = asyncio.ensure_future(a.hub.send("at once", session=session.ref, queue=True))
        await until(lambda: world.kept.waiting > 0)
        await b.sessions.end(session.ref)
        await world.settle()
        world.kept.gate.set()
        await sending
        assert await world.kept.read(f"queue:{session.ref}") == (1, [])


async def test_what_a_dead_node_was_about_to_take_is_looked_at_again(
    nodes: NewNodes, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its turn passes; nobody has to connect or send anything for that."""
    monkeypatch.setattr(offline_module, "TURN", 0.01)
    async with several(nodes, clock) as world:
        [node] = world
        session = await node.sessions.create(remote_ip="192.0.2.1")
        await node.hub.send("waits", session=session, queue=True)
        await world.kept.add(f"giving:{session.ref}", ttl=TURN)
        _, transport = await welcomed(node, session)
        assert [each["type"] for each in told(transport)] == ["welcome"]
        clock.advance(TURN + 1)
        await until(lambda: len(told(transport)) == 2)
        assert told(transport)[1]["data"] == "waits"
