"""Several nodes on one Redis: cut connections, and processes that die."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import Lines, environment
from serving import until

from wshttp.config import Settings
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import ENVELOPE
from wshttp.realtime.hub import Hub
from wshttp.realtime.redis_broker import RedisBroker
from wshttp.realtime.relay import Relay
from wshttp.sessions.clock import SystemClock
from wshttp.sessions.record import Reason
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList
from wshttp.stores.kept import in_memory
from wshttp.stores.redis.store import RedisStore

NewTransport = Callable[[], Any]


class RedisNode:
    """A node as a server has it, with connections that have no network."""

    def __init__(self, url: str, prefix: str, new_transport: NewTransport, lease: float, **options: Any) -> None:
        settings = Settings.model_validate({"websocket": {"history": 0}})
        self.store = RedisStore(url, prefix=prefix, lease=lease, **options)
        self.sessions = SessionList(settings.session, self.store)
        self.hub = Hub(settings, self.sessions.callbacks, in_memory(SystemClock()))
        self.sessions.notifier = self.hub
        self.broker = RedisBroker(self.store.link, url, prefix=prefix)
        self.relay = Relay(self.hub, self.sessions, self.broker, lease=lease, copies=self.store)
        self._new_transport = new_transport

    async def open(self) -> None:
        await self.sessions.open()
        await self.relay.open()

    async def close(self) -> None:
        await self.hub.stop()
        await self.relay.close()
        await self.sessions.close(timeout=5)

    async def connect(self, session: Session, **options: Any) -> Any:
        connection = Connection(self.hub, session, remote_ip="192.0.2.1", **options)
        self.hub.register(connection)
        connection.admit(True)
        transport = self._new_transport()
        connection.opened(transport, lambda connection, message: None, lambda: None)
        await asyncio.sleep(0)
        return transport


@asynccontextmanager
async def redis_nodes(
    server: Any, prefix: str, new_transport: NewTransport, number: int = 2, lease: float = 15.0, **options: Any
) -> AsyncIterator[list[RedisNode]]:
    """Nodes that know each other."""
    made = [RedisNode(server.url(), prefix, new_transport, lease, **options) for _ in range(number)]
    opened = []
    try:
        for node in made:
            await node.open()
            opened.append(node)
        for node in made:
            others = [other.relay.node for other in made if other is not node]
            await until(lambda node=node, others=others: all(map(node.relay.directory.knows, others)))
        yield made
    finally:
        for node in reversed(opened):
            await node.close()


async def both(first: RedisNode, second: RedisNode, **options: Any) -> tuple[Session, Session]:
    session = await first.sessions.create(remote_ip="192.0.2.1", **options)
    other = await second.sessions.get_by_ref(session.ref)
    assert other is not None
    return session, other


@pytest.mark.feature("W9", "W11", "W3")
async def test_nodes_on_redis_share_what_happens(
    redis_server: Any, redis_prefix: str, new_transport: NewTransport
) -> None:
    """Messages, presence, changes, renewals and ends, from one process's sockets to the other's."""
    async with redis_nodes(redis_server, redis_prefix, new_transport) as (a, b):
        session, other = await both(a, b, user="ann")
        here, there = await a.connect(session, format=ENVELOPE), await b.connect(other, format=ENVELOPE)
        for node in (a, b):
            [connection] = node.hub
            connection.subscribe("room")
            await node.hub.topics.listening()
        await until(lambda: session.connections == other.connections == 2)
        await a.hub.publish("room", {"n": 1})
        await until(lambda: '"n":1' in there.sent[-1])
        session.set_timeouts(idle=60)
        await session.commit()
        await until(lambda: json.loads(there.sent[-1]).get("session", {}).get("expires_in") in (59, 60))
        await b.sessions.renew(other, user="ann")
        await until(lambda: here.close_frames == there.close_frames == [(4000, "session-renewed")])
        again = await b.connect(other)
        await a.sessions.end(session.ref, "admin")
        await until(lambda: again.close_frames == [(4006, "session-ended:admin")])
        assert other.ended is Reason.ADMIN
        await until(lambda: a.hub.topics.members("room") == b.hub.topics.members("room") == [])


@pytest.mark.feature("W9", "W11")
async def test_node_that_was_cut_off_makes_good_what_it_missed(
    redis_server: Any, redis_prefix: str, new_transport: NewTransport
) -> None:
    """Ends and renewals of which it heard nothing reach its sockets when it is back, with the store's own reasons."""
    async with redis_nodes(redis_server, redis_prefix, new_transport) as (a, b):
        ended, renewed, lives = [await both(a, b) for _ in range(3)]
        transports = [await b.connect(other) for _, other in (ended, renewed, lives)]
        b.relay._actions |= {"ended": lambda word: None, "renewed": lambda word: None}  # as if they were lost
        await a.sessions.end(ended[0], "admin")
        await a.sessions.renew(renewed[0], user="ann")
        a.relay.kick("end")
        kicks: list[str] = []
        b.relay._actions["kick"] = lambda word: kicks.append(word.facts[0])
        await until(lambda: kicks == ["end"])
        assert [transport.close_frames for transport in transports] == [[], [], []]
        with redis_server.client() as client:
            for subscriber in client.client_list(_type="pubsub"):
                if subscriber["name"] == f"wshttp-{b.broker.name}-words":
                    client.client_kill_filter(_id=subscriber["id"])
        await until(lambda: transports[0].close_frames != [] and transports[1].close_frames != [])
        assert [transport.close_frames for transport in transports] == [
            [(4006, "session-ended:admin")],
            [(4000, "session-renewed")],
            [],
        ]
        assert [each[1].ended for each in (ended, renewed, lives)] == [Reason.ADMIN, None, None]


@pytest.mark.feature("W12", "W9")
async def test_members_of_a_killed_process_leave(
    redis_server: Any, redis_prefix: str, new_transport: NewTransport
) -> None:
    """When its lease is over its sockets count no more, and those in the topic hear that its members left, once."""
    async with redis_nodes(redis_server, redis_prefix, new_transport, number=1, lease=0.6) as [a]:
        watcher = await a.connect(await a.sessions.create(remote_ip="192.0.2.1"), format=ENVELOPE)
        [connection] = a.hub
        connection.subscribe("room")
        program = Path(__file__).with_name("lone_node.py")
        process = subprocess.Popen(
            [sys.executable, str(program), redis_server.url(), redis_prefix, "0.6"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            assert process.stdout is not None
            lines = Lines(process.stdout)
            await until(lambda: len(lines) == 1)
            ref = str(lines)
            await until(lambda: a.hub.connections(ref) == 1)
            await until(lambda: len(a.hub.topics.members("room")) == 2)
        finally:
            process.kill()
            process.wait()
            lines.whole()
        await until(lambda: a.hub.connections(ref) == 0)
        await until(lambda: len(a.hub.topics.members("room")) == 1)
        told = [json.loads(text) for text in watcher.sent]
        member = {"ref": ref, "user": "ann"}
        assert [each for each in told if each["type"] in ("joined", "left")] == [
            {"type": "joined", "topic": "room", "member": member},
            {"type": "left", "topic": "room", "member": member},
        ]


@pytest.mark.feature("W9")
async def test_copy_is_dropped_when_another_node_changes_the_session(
    redis_server: Any, redis_prefix: str, new_transport: NewTransport
) -> None:
    """With `store.cache`, the word of the store's scripts reaches the copies of all nodes."""
    async with redis_nodes(redis_server, redis_prefix, new_transport, cache=3600.0) as (a, b):
        session, other = await both(a, b)
        await other.refresh()
        await session.increment("n")
        heard: list[str] = []
        drop, b.store.drop = b.store.drop, lambda ref: (drop(ref), heard.append(ref))  # type: ignore[method-assign,assign]
        await session.increment("n")
        await until(lambda: session.ref in heard)
        await other.refresh()
        assert other["n"] == 2


@pytest.mark.feature("W9")
async def test_sockets_close_when_the_store_has_lost_all(
    redis_server: Any, redis_prefix: str, new_transport: NewTransport
) -> None:
    """Whichever node finds out: none goes on with sessions that are gone, nor answers from their copies."""
    async with redis_nodes(redis_server, redis_prefix, new_transport, cache=3600.0) as (a, b):
        session, other = await both(a, b)
        await other.refresh()
        here, there = await a.connect(session), await b.connect(other)
        redis_server.ask("FLUSHALL")
        await a.store.take_due(1)
        await until(lambda: [frame[0] for frame in here.close_frames + there.close_frames] == [1001, 1001])
        for node in (a, b):
            assert await node.store.load_ref(session.ref, touch=False) is None
