"""Hubs without a network: connections over transports that only note what is asked of them."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest

from wshttp.config import Settings
from wshttp.errors import ConnectionClosed, StoreUnavailable
from wshttp.realtime.broker import Broker, MemoryBroker, MemoryExchange
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import Message
from wshttp.realtime.hub import Hub
from wshttp.realtime.parcel import Parcel
from wshttp.realtime.relay import Relay
from wshttp.sessions.kept import Kept
from wshttp.sessions.record import Record
from wshttp.sessions.session_list import SessionList
from wshttp.sessions.shared import Shared
from wshttp.stores.kept import in_memory
from wshttp.stores.memory import MemoryStore
from wshttp.testing import FakeClock


class FakeTransport:
    """A transport whose peer takes messages when the test says so."""

    def __init__(self, clock: FakeClock) -> None:
        self.unsent = 0
        self.heard_at = clock.monotonic()
        self.sent: list[Message] = []
        self.pings = 0
        self.close_frames: list[tuple[int, str]] = []
        self.aborted = False
        self.gone = False
        self.holds = False
        """Whether messages stay unsent until `release`."""
        self._held: list[tuple[int, asyncio.Future[None]]] = []

    def write(self, parcel: Parcel) -> asyncio.Future[None]:
        if self.gone:
            raise ConnectionClosed(None, None)
        message = parcel.message
        self.sent.append(message)
        write: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.holds:
            self.unsent += len(message)
            self._held.append((len(message), write))
        else:
            write.set_result(None)
        return write

    def release(self) -> None:
        """Let the peer take all that waits."""
        held, self._held = self._held, []
        for size, write in held:
            self.unsent -= size
            write.set_result(None)

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str) -> None:
        self.close_frames.append((code, reason))

    def abort(self) -> None:
        self.aborted = True


class Realm:
    """A session list and a hub, wired as a server wires them, on a fake clock.

    `kept` is for all that is kept for clients; without one, topics have no history.
    """

    def __init__(
        self, clock: FakeClock, store: MemoryStore | None = None, kept: Shared | None = None, **sections: Any
    ) -> None:
        self.clock = clock
        if kept is None:
            sections["websocket"] = {"history": 0} | sections.get("websocket", {})
        self.settings = Settings.model_validate(sections)
        session = self.settings.session
        store = store or MemoryStore(clock)
        self.sessions = SessionList(session, store, clock=clock)
        self.callbacks = self.sessions.callbacks
        parts = in_memory(clock) if kept is None else Kept(kept, kept, kept)
        self.hub = Hub(self.settings, self.callbacks, parts, clock)
        self.sessions.notifier = self.hub
        self.hub.lives = self.sessions.lives

    async def connect(
        self,
        session: Any = None,
        handler: Callable[[Connection, Message], Any] = lambda connection, message: None,
        **options: Any,
    ) -> tuple[Connection, FakeTransport]:
        """Take a connection in and open it; without a session given, that of a new one."""
        if session is None:
            session = await self.sessions.create(remote_ip="192.0.2.1")
        connection = Connection(self.hub, session, **{"remote_ip": "192.0.2.1"} | options)
        self.hub.register(connection)
        connection.admit(True)
        transport = FakeTransport(self.clock)
        connection.opened(transport, handler, lambda: None)
        await asyncio.sleep(0)  # the task that begins it has its turn
        return connection, transport


class SharedStore(MemoryStore):
    """A store for several nodes: it hands out copies, counts who is asked for at once, and may be away."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.away = False
        self.asked: list[int] = []

    @property
    def available(self) -> bool:
        return not self.away

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in ("create", "load", "load_ref", "load_many", "apply", "renew", "end", "take_due"):
            return found

        async def step(*args: Any, **options: Any) -> Any:
            if self.away:
                raise StoreUnavailable("the test has put it away")
            return _from_afar(await found(*args, **options))

        return step

    async def load_many(self, keys: Sequence[bytes]) -> Any:
        self.asked.append(len(keys))
        return await super().load_many(keys)


class Node(Realm):
    """One of several processes on one store: a realm, and its relay to the others."""

    def __init__(self, clock: FakeClock, store: MemoryStore, broker: Broker, **sections: Any) -> None:
        super().__init__(clock, store, **sections)
        self.broker = broker
        self.dropped: list[str] = []
        self.trusted: list[bool] = []
        self.relay = Relay(self.hub, self.sessions, broker, lease=15, copies=self)

    def drop(self, ref: str) -> None:
        self.dropped.append(ref)

    def trust(self, complete: bool) -> None:
        self.trusted.append(complete)

    async def die(self) -> None:
        """Be gone, as a process that is killed: without a word."""
        await self.broker.close()
        await self.close()

    async def close(self) -> None:
        await self.relay.close()
        await self.hub.stop()
        await self.sessions.close(timeout=5)


class Nodes(list[Node]):
    """Several nodes, the exchange between them, and the store of all."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.exchange = MemoryExchange()
        self.store = SharedStore(clock)

    async def add(self, **sections: Any) -> Node:
        node = Node(self.clock, self.store, MemoryBroker(self.exchange), **sections)
        await node.relay.open()
        self.append(node)
        return node

    async def adopt(self, ref: str, node: Node) -> Any:
        """Return a node's own `Session` of one that another has made."""
        return await node.sessions.get_by_ref(ref)

    async def settle(self) -> None:
        """Let all say what they have gathered, and hear it, until there is nothing more to say."""
        async with asyncio.timeout(10):
            while True:
                for node in self:
                    node.relay.flush()
                for _ in range(20):
                    await asyncio.sleep(0)
                if not any(_has_something_to_say(node.relay) for node in self) and not self.exchange.waiting:
                    return

    async def beat(self, seconds: float, *nodes: Node) -> None:
        """Let time pass, second by second; the nodes given (else all) say that they live."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            for node in nodes or self:
                node.relay.beat(self.clock.monotonic())
            await self.settle()


def _has_something_to_say(relay: Relay) -> bool:
    return bool(relay._telling or relay._owes_all or relay._counted or relay._changed)


def told(transport: FakeTransport, *types: str) -> list[dict[str, Any]]:
    """Return the envelopes of some types that a socket got."""
    return [each for each in map(json.loads, transport.sent) if each["type"] in types]


@pytest.fixture
def nodes(clock: FakeClock) -> Callable[..., Any]:
    """`async with nodes(3, websocket={...}) as world` makes nodes that know each other."""

    @asynccontextmanager
    async def make(number: int, **sections: Any) -> AsyncIterator[Nodes]:
        world = Nodes(clock)
        try:
            for _ in range(number):
                await world.add(**sections)
            await world.settle()
            yield world
        finally:
            world.exchange.holding = False
            for node in world:
                await node.close()

    return make


@pytest.fixture
def realm(clock: FakeClock) -> Callable[..., Realm]:
    """`realm(websocket={...})` makes a hub with these settings."""
    return lambda **sections: Realm(clock, **sections)


@pytest.fixture
def new_transport(clock: FakeClock) -> Callable[[], FakeTransport]:
    return lambda: FakeTransport(clock)


def _from_afar(found: Any) -> Any:
    """Return what a store has answered as another process would get it: with records of its own."""
    if isinstance(found, Record):
        record = found.copy()
        record.data = copy.deepcopy(record.data)
        return record
    if is_dataclass(found) and not isinstance(found, type):
        return replace(found, **{field.name: _from_afar(getattr(found, field.name)) for field in fields(found)})
    if isinstance(found, list):
        return [_from_afar(each) for each in found]
    return tuple(_from_afar(each) for each in found) if type(found) is tuple else found
