"""Hubs without a network: connections over transports that only note what is asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from wshttp.config import Settings
from wshttp.errors import ConnectionClosed
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import Message
from wshttp.realtime.hub import Hub
from wshttp.sessions.session_list import SessionList
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

    def write(self, message: Message) -> asyncio.Future[None]:
        if self.gone:
            raise ConnectionClosed(None, None)
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
    """A session list and a hub, wired as a server wires them, on a fake clock."""

    def __init__(self, clock: FakeClock, **sections: Any) -> None:
        self.clock = clock
        self.settings = Settings.model_validate(sections)
        session = self.settings.session
        store = MemoryStore(clock)
        self.sessions = SessionList(session, store, clock=clock)
        self.callbacks = self.sessions.callbacks
        self.hub = Hub(self.settings, self.callbacks, clock)
        self.sessions.notifier = self.hub

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
        connection.admission.set_result(True)
        transport = FakeTransport(self.clock)
        connection.opened(transport, handler, lambda: None)
        await asyncio.sleep(0)  # the task that begins it has its turn
        return connection, transport


@pytest.fixture
def realm(clock: FakeClock) -> Callable[..., Realm]:
    """`realm(websocket={...})` makes a hub with these settings."""
    return lambda **sections: Realm(clock, **sections)


@pytest.fixture
def new_transport(clock: FakeClock) -> Callable[[], FakeTransport]:
    return lambda: FakeTransport(clock)
