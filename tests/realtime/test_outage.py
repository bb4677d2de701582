"""Sockets while the store is away: they stay open, their messages wait, and nothing that was acknowledged is lost."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from disks import Disk
from serving import farewell, fetch, new_server, running, soon, until, websocket
from websockets.asyncio.client import ClientConnection
from websockets.typing import Subprotocol

from wshttp import Server
from wshttp.errors import LockLost, OutcomeUnknown, StoreUnavailable
from wshttp.realtime.close_codes import PING_TIMEOUT
from wshttp.realtime.connection import INBOX, LONGEST_EXCUSE, Connection
from wshttp.sessions import outage
from wshttp.sessions.clock import Clock
from wshttp.sessions.record import Reason
from wshttp.stores.sqlite import SqliteStore
from wshttp.testing import FakeClock


class Scene:
    """A server whose disk fails when the test says so, and what its handlers were given."""

    def __init__(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.base = ""
        self.handled: list[Any] = []
        self.left: list[Connection] = []
        store = server.sessions.store
        assert isinstance(store, SqliteStore)
        self.store = store
        self._disk = Disk(store, monkeypatch)
        monkeypatch.setattr(outage, "INTERVAL", 0.001)
        server.websocket("/count")(self.count)
        server.websocket("/add")(self.add)
        server.get("/write")(self.write)
        server.on_disconnect(self.leave)

    async def count(self, connection: Connection, message: str) -> None:
        """Count in the session without committing, and say how far it got."""
        session = connection.session
        self.handled.append(message)
        session["n"] = session.get("n", 0) + 1
        if message == "fill the disk":
            self._disk.fails = True
        if connection.closed is None:
            await connection.send(f"{message} {session['n']}")

    async def add(self, connection: Connection, message: str) -> None:
        """Change something, then count in the store itself."""
        self.handled.append(message)
        connection.session["last"] = message
        if message == "fill the disk":
            self._disk.fails = True
        await connection.send(str(await connection.session.increment("sum")))

    async def write(self, request: Any) -> dict[str, Any]:
        return {"written": await request.session.increment("written")}

    def leave(self, connection: Connection, code: int, reason: str) -> None:
        self.left.append(connection)

    async def begin_outage(self) -> None:
        """Have the next write fail, and wait until the store knows."""
        self._disk.fails = True
        answer = await fetch(f"{self.base}/write")
        assert answer.code == 503
        assert not self.store.available

    async def end_outage(self) -> None:
        self._disk.fails = False
        await until(lambda: self.store.available)

    @property
    def waiting(self) -> int:
        """How many wait for the store."""
        return len(self.server.sessions.outage)

    @property
    def connection(self) -> Connection:
        [connection] = self.server.hub
        return connection


Play = Callable[..., Any]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """`async with play() as scene` runs such a server."""

    @asynccontextmanager
    async def play(clock: Clock | None = None, **sections: Any) -> AsyncIterator[Scene]:
        store = {"kind": "sqlite", "path": str(tmp_path / "sessions.db"), "timeout": 20}
        scene = Scene(new_server(clock, store=store, **sections), monkeypatch)
        async with running(scene.server) as scene.base:
            yield scene
            scene._disk.fails = False

    return play


async def ask(socket: ClientConnection, message: str) -> Any:
    await socket.send(message)
    return await soon(socket.recv())


async def test_messages_wait_for_the_store_and_sockets_stay_open(play: Play) -> None:
    """They are handled when it is back, in order; pings are answered meanwhile, and the hub's heart beats."""
    async with play() as scene, websocket(scene.base, "/count") as socket:
        assert await ask(socket, "a") == "a 1"
        await scene.begin_outage()
        for message in "bcd":
            await socket.send(message)
        await until(lambda: scene.waiting == 1)
        await soon(await socket.ping())
        await scene.server.hub.beat(scene.server.hub.clock.monotonic())
        assert scene.handled == ["a"]
        await scene.end_outage()
        assert [await soon(socket.recv()) for _ in "bcd"] == ["b 2", "c 3", "d 4"]
        assert socket.close_code is None


async def test_commit_waits_for_the_store_and_comes_before_the_next_message(play: Play) -> None:
    """What a message changed is not lost by an outage that began before its commit, and the next message sees it."""
    async with play() as scene, websocket(scene.base, "/count") as socket:
        assert await ask(socket, "fill the disk") == "fill the disk 1"
        await socket.send("next")
        await until(lambda: scene.waiting == 1)
        assert scene.handled == ["fill the disk"]
        await scene.end_outage()
        assert await soon(socket.recv()) == "next 2"
        await until(lambda: scene.connection.session.record.data == {"n": 2})


async def test_reading_pauses_while_more_waits_than_the_inbox_takes(play: Play) -> None:
    """The memory that an outage costs is bounded; afterwards all are handled, in order."""
    async with play() as scene, websocket(scene.base, "/count") as socket:
        await scene.begin_outage()
        many = [str(number) for number in range(3 * INBOX)]
        for message in many:
            await socket.send(message)
        await until(lambda: scene.connection.paused)
        assert len(scene.connection._inbox) == INBOX
        await scene.end_outage()
        assert [await soon(socket.recv()) for _ in many] == [f"{number} {number + 1}" for number in range(len(many))]
        assert not scene.connection.paused


async def test_handler_that_meets_the_outage_fails_its_message_only(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and what the message changed is dropped: the handler did not get to its end. The socket lives."""
    caplog.set_level(logging.WARNING, "wshttp.connections")
    async with play() as scene, websocket(scene.base, "/add") as socket:
        assert await ask(socket, "a") == "1"
        await socket.send("fill the disk")
        await until(lambda: any("no space left" in record.message for record in caplog.records))
        await scene.end_outage()
        assert await ask(socket, "b") == "2"
        assert scene.handled == ["a", "fill the disk", "b"]
        await until(lambda: scene.connection.session.record.data == {"sum": 2, "last": "b"})


async def test_lock_that_was_lost_fails_its_message_only(play: Play) -> None:
    """A node that was away for longer than its lease finds its locks taken; that is no reason to close the socket."""
    async with play() as scene:

        @scene.server.websocket("/locked")
        async def lose(connection: Connection, message: str) -> None:
            if message == "lose":
                raise LockLost(connection.session.ref)
            await connection.send(message)

        async with websocket(scene.base, "/locked") as socket:
            await socket.send("lose")
            assert await ask(socket, "keep") == "keep"


async def test_change_that_nobody_remembers_is_dropped_and_said(
    play: Play, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage so long that it may have been made: it is not tried again, and the socket goes on."""
    caplog.set_level(logging.WARNING, "wshttp.connections")
    async with play() as scene, websocket(scene.base, "/add") as socket:
        tries = []

        async def apply(ref: str, *arguments: object) -> None:
            tries.append(ref)
            raise StoreUnavailable if len(tries) == 1 else OutcomeUnknown(ref)

        with monkeypatch.context() as outage:
            outage.setattr(scene.server.sessions.store, "apply", apply)
            await socket.send("a")
            await until(lambda: "what was changed last in session" in caplog.text)
        assert len(tries) == 2
        await socket.send("b")
        await until(lambda: scene.connection.session.record.data.get("last") == "b")
        assert scene.handled == ["a", "b"]
        assert scene.waiting == 0


async def test_kick_ends_the_waiting(play: Play) -> None:
    """A socket that is closed here waits for nothing any more, and its messages are not handled later."""
    async with play() as scene, websocket(scene.base, "/count") as socket:
        await scene.begin_outage()
        await socket.send("late")
        await until(lambda: scene.waiting == 1)
        assert scene.server.hub.kick(scene.connection.id)
        assert await farewell(socket) == (4008, "kicked")
        await until(lambda: scene.waiting == 0 and len(scene.left) == 1)
        await scene.end_outage()
        assert scene.handled == []


async def test_kick_gives_up_a_commit_and_says_so(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    """What was not committed is lost, which an operator can read."""
    caplog.set_level(logging.WARNING, "wshttp.connections")
    async with play() as scene, websocket(scene.base, "/count") as socket:
        assert await ask(socket, "fill the disk") == "fill the disk 1"
        await until(lambda: scene.waiting == 1)
        connection = scene.connection
        scene.server.hub.kick(connection.id)
        await until(lambda: scene.waiting == 0)
        await scene.end_outage()
        assert "what it changed last is lost" in caplog.text
        assert (await scene.server.sessions.get_by_ref(connection.session.ref)).record.data == {}


async def test_end_heard_of_during_an_outage_closes_the_socket(play: Play) -> None:
    """Another node that still reaches the store may end the session; its word is enough."""
    async with play() as scene, websocket(scene.base, "/count") as socket:
        await scene.begin_outage()
        await socket.send("late")
        await until(lambda: scene.waiting == 1)
        parted = scene.server.hub.ended(scene.connection.session.record, Reason.ADMIN)
        assert parted is not None
        await soon(parted)
        assert await farewell(socket) == (4006, "session-ended:admin")
        assert (scene.waiting, scene.handled, len(scene.left)) == (0, [], 1)


async def test_session_that_is_over_by_the_end_of_the_outage_handles_nothing(play: Play, clock: FakeClock) -> None:
    """Its absolute time-out is not forgiven the outage: the message that waited is dropped, and the socket told why."""
    session = {"absolute_timeout": "1m", "warn_before": 0}
    async with play(clock, session=session) as scene, websocket(scene.base, "/count") as socket:
        await scene.begin_outage()
        await socket.send("late")
        await until(lambda: scene.waiting == 1)
        clock.advance(61)
        await scene.end_outage()
        await until(lambda: scene.waiting == 0)
        await scene.server.sessions.sweep()
        assert await farewell(socket) == (4003, "session-ended:absolute")
        assert scene.handled == []


async def test_peer_that_leaves_during_an_outage_is_still_heard(play: Play) -> None:
    """What it sent before is handled when the store is back, and `on_disconnect` comes after."""
    async with play() as scene:
        async with websocket(scene.base, "/count") as socket:
            await scene.begin_outage()
            await socket.send("last")
            await until(lambda: scene.waiting == 1)
            connection = scene.connection
        await until(lambda: connection.closed is not None)
        assert scene.left == []
        await scene.end_outage()
        await until(lambda: scene.left == [connection])
        assert scene.handled == ["last"]
        assert (await scene.server.sessions.get_by_ref(connection.session.ref)).record.data == {"n": 1}


async def test_stop_during_an_outage_waits_for_no_message(play: Play) -> None:
    """The server leaves with 1001, as always."""
    async with play() as scene, websocket(scene.base, "/count") as socket:
        await scene.begin_outage()
        await socket.send("late")
        await until(lambda: scene.waiting == 1)
        await soon(scene.server.stop())
        assert await farewell(socket) == (1001, "going away")
        assert (scene.waiting, scene.handled) == (0, [])


async def test_outage_excuses_a_paused_peer_for_as_long_as_it_lasts(play: Play, clock: FakeClock) -> None:
    """Nothing is read from it, so nothing proves that it is gone; afterwards it has its usual time."""
    async with play(clock, session={"absolute_timeout": 0}) as scene, websocket(scene.base, "/count") as socket:
        await scene.begin_outage()
        for number in range(2 * INBOX):
            await socket.send(str(number))
        await until(lambda: scene.connection.paused and scene.waiting == 1)
        connection, now = scene.connection, clock.monotonic()
        for _ in range(3):
            now += LONGEST_EXCUSE
            clock.advance(LONGEST_EXCUSE)
            connection.check_pulse(now, 20, 20, PING_TIMEOUT)
        assert connection.closed is None
        await scene.end_outage()
        assert await soon(socket.recv()) == "0 1"


# --- the built-in socket ----------------------------------------------------------------------------


@asynccontextmanager
async def speaking(scene: Scene) -> AsyncIterator[ClientConnection]:
    async with websocket(scene.base, "/wshttp/socket", subprotocols=[Subprotocol("wshttp.v1")]) as socket:
        assert json.loads(await soon(socket.recv()))["type"] == "welcome"
        yield socket


async def test_message_of_the_built_in_socket_is_told_that_it_failed(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    """With its id, so that the client can send it again; a message after it is handled as if nothing had been."""
    caplog.set_level(logging.WARNING, "wshttp.connections")
    async with play() as scene:

        @scene.server.on_message
        async def add(connection: Connection, data: Any) -> None:
            connection.session["last"] = data
            if data == "fill the disk":
                scene._disk.fails = True
            await connection.send(await connection.session.increment("sum"))

        async with speaking(scene) as socket:
            await socket.send(json.dumps({"type": "app", "id": 1, "data": "fill the disk"}))
            told = json.loads(await soon(socket.recv()))
            assert (told["type"], told["code"], told["id"]) == ("error", "store-unavailable", 1)
            await until(lambda: any(record.name == "wshttp.connections" for record in caplog.records))
            await scene.end_outage()
            await socket.send(json.dumps({"type": "app", "id": 2, "data": "b"}))
            assert [json.loads(await soon(socket.recv()))["type"] for _ in range(2)] == ["app", "ok"]
            assert scene.connection.session.record.data == {"sum": 1, "last": "b"}


async def test_change_of_on_message_waits_for_the_store(play: Play) -> None:
    """Its commit is that of a message: tried again when the store is back, before the answer."""
    async with play() as scene:

        @scene.server.on_message
        def note(connection: Connection, data: Any) -> None:
            scene._disk.fails = True
            connection.session["last"] = data

        async with speaking(scene) as socket:
            await socket.send(json.dumps({"type": "app", "id": 1, "data": "kept"}))
            await until(lambda: scene.waiting == 1)
            await scene.end_outage()
            told = json.loads(await soon(socket.recv()))
            assert (told["type"], told["id"]) == ("ok", 1)
            assert scene.connection.session.record.data == {"last": "kept"}


# --- the heartbeat ----------------------------------------------------------------------------------


async def test_store_that_hangs_does_not_hold_the_heartbeat_up(
    play: Play, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where open sockets count as activity, one is tried; the others are not, or each would cost a time-out."""
    asked: list[str] = []

    async def hang(ref: str, *, touch: bool) -> None:
        asked.append(ref)
        raise StoreUnavailable

    async with (
        play(clock, session={"touch": ["open"]}) as scene,
        websocket(scene.base, "/count"),
        websocket(scene.base, "/count"),
        websocket(scene.base, "/count"),
    ):
        monkeypatch.setattr(scene.store, "load_ref", hang)
        clock.advance(30)
        await scene.server.hub.beat(clock.monotonic())
        assert len(asked) == 1
        assert all(connection._ping_sent_at is not None for connection in scene.server.hub)
