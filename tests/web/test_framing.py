"""Connections over both kinds of frames: what carries them makes no difference but where it is said."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AsyncExitStack
from typing import Any

import pytest
from framing import close, frame, text
from serving import Raw, new_server, raw, running, soon, until, websocket

from wshttp import Server
from wshttp.engine.websocket import protocol
from wshttp.errors import ConnectionClosed
from wshttp.realtime.connection import Connection
from wshttp.web.framing import NativeFraming, StockFraming

FRAMINGS = {"native": NativeFraming, "tornado": StockFraming}


@pytest.fixture(params=FRAMINGS)
def engine(request: pytest.FixtureRequest) -> str:
    """The engine under the connections."""
    name: str = request.param
    return name


def echoing(engine: str, **sections: Any) -> tuple[Server, list[Any]]:
    """Return a server of an echo, and where it notes who has gone, and why."""
    server, gone = new_server(server={"engine": engine}, **sections), []

    @server.websocket("/echo")
    async def echo(connection: Connection, message: str | bytes) -> None:
        await connection.send(message)

    @server.on_disconnect
    def note(connection: Connection, code: int | None, reason: str | None) -> None:
        gone.append((code, reason))

    return server, gone


async def shake(client: Raw, *lines: str, version: str = "HTTP/1.1") -> str:
    """Send a handshake, and return the head of the answer."""
    key = base64.b64encode(bytes(16)).decode()
    fields = [f"GET /echo {version}", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    fields += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", *lines]
    client.send("\r\n".join([*fields, "", ""]).encode())
    return (await client.until(b"\r\n\r\n")).decode()


async def test_framing_is_the_engines(engine: str) -> None:
    """Each engine has its own."""
    server, _ = echoing(engine)
    async with running(server) as base, websocket(base, "/echo"):
        [connection] = server.hub
        assert type(connection._transport) is FRAMINGS[engine]


@pytest.mark.feature("W6")
async def test_handshake_over_http_1_0_is_refused(engine: str) -> None:
    """RFC 9110, section 7.8: it has no upgrade; it is told to, and no session and no connection is made for it."""
    server, _ = echoing(engine)
    async with running(server) as base, raw(base) as client:
        answer = await shake(client, version="HTTP/1.0")
        assert answer.startswith("HTTP/1.1 426 ")
        assert "Upgrade: websocket" in answer
        assert len(server.hub) == 0


@pytest.mark.feature("W6")
async def test_handshake_of_another_version_is_told_what_to_upgrade_to() -> None:
    """RFC 9110, section 15.5.22; stock Tornado names the version alone."""
    server, _ = echoing("native")
    async with running(server) as base, raw(base) as client:
        answer = await shake(client, "Sec-WebSocket-Version: 8")
        assert answer.startswith("HTTP/1.1 426 ")
        assert "Upgrade: websocket" in answer


async def test_close_of_a_peer_is_noted(engine: str) -> None:
    """Its code and reason reach `on_disconnect`; a close without a code is 1005, and an end without a close 1006."""
    server, gone = echoing(engine)
    async with running(server) as base:
        for last in (close(3001, b"why"), close(), None):
            async with raw(base) as client:
                await shake(client)
                client.abort() if last is None else client.send(last)
                await until(lambda: not len(server.hub))
        await until(lambda: len(gone) == 3)
    assert gone == [(3001, "why"), (1005, ""), (1006, "")]


@pytest.mark.feature("M3")
async def test_message_that_is_too_big_closes_with_1009(engine: str) -> None:
    """And `on_disconnect` says so."""
    server, gone = echoing(engine, websocket={"max_message_size": 1000})
    async with running(server) as base, raw(base) as client:
        await shake(client)
        client.send(text("x" * 1001))
        head, size = await client.exactly(2)
        assert head == 0x88
        assert (await client.exactly(size))[:2] == (1009).to_bytes(2)
        await until(lambda: bool(gone))
    assert gone[0][0] == 1009


async def test_write_to_a_socket_that_has_gone_raises(engine: str) -> None:
    """Also where nobody has noticed yet."""
    server, _ = echoing(engine)
    async with running(server) as base, raw(base) as client:
        await shake(client)
        await until(lambda: any(each.is_open for each in server.hub))
        [connection] = server.hub
        connection._transport.abort()  # type: ignore[union-attr]
        with pytest.raises(ConnectionClosed):
            await connection.send("late")
        assert not connection.post("later")


@pytest.mark.feature("M5")
@pytest.mark.parametrize("limit", ["32KiB", "256KiB"])
async def test_many_small_messages_to_a_slow_receiver_are_bounded(engine: str, limit: str) -> None:
    """Each in a turn of its own costs more than its bytes, and counts so, or costs no more than them."""
    server, gone = echoing(engine, websocket={"send_buffer_limit": limit})
    async with running(server) as base, raw(base) as client:
        await shake(client)
        [connection] = server.hub
        client.writer.transport.pause_reading()
        while connection._transport.unsent == 0:
            connection.post(b"x" * 16_384)
            for _ in range(3):  # Tornado takes a turn or two to say that it is done
                await asyncio.sleep(0)
        began = connection._transport.unsent
        count = 0
        while connection.post("tick"):
            count += 1
            assert count <= (server.settings.websocket.send_buffer_limit - began) // 5
            await asyncio.sleep(0)
        assert connection.closed == (1013, "slow")
        client.abort()
        await until(lambda: gone == [(1013, "slow")])


async def test_pings_are_answered_and_the_peer_is_heard(engine: str) -> None:
    """What the heartbeat looks at moves with any frame."""
    server, _ = echoing(engine)
    async with running(server) as base, raw(base) as client:
        await shake(client)
        await until(lambda: any(each.is_open for each in server.hub))
        [connection] = server.hub
        transport: Any = connection._transport
        for what in (frame(0x89, b"p"), frame(0x8A, b"q"), text("t")):
            before = transport.heard_at
            client.send(what)
            await until(lambda before=before: transport.heard_at > before)
        assert await client.exactly(6) == b"\x8a\x01p\x81\x01t"
        transport.ping()
        assert await client.exactly(2) == b"\x89\x00"


@pytest.mark.parametrize("compression", [False, True])
async def test_message_to_many_is_framed_once(compression: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the native engine, but for those that compress, each of which has a context of its own."""
    framed: list[Any] = []
    encode = protocol.encode_message
    monkeypatch.setattr(protocol, "encode_message", lambda message: framed.append(message) or encode(message))
    server, _ = echoing("native", websocket={"compression": compression})
    async with running(server) as base, AsyncExitStack() as stack:
        choices = ("deflate", None, None, "deflate", None)
        sockets = [await stack.enter_async_context(websocket(base, "/echo", compression=each)) for each in choices]
        await until(lambda: all(each.is_open for each in server.hub))
        assert await server.hub.send("to all") == 5
        assert [await soon(socket.recv()) for socket in sockets] == ["to all"] * 5
        assert framed == ["to all"]
        for _ in range(2):
            await server.hub.send({"to": "all"})
            assert [await soon(socket.recv()) for socket in sockets] == ['{"to":"all"}'] * 5


@pytest.mark.feature("W6")
async def test_compression_offers_are_tried_one_after_the_other() -> None:
    """The native engine does what Tornado can't: the second offer is taken where the first can't be met."""
    server, _ = echoing("native", websocket={"compression": True})
    async with running(server) as base, raw(base) as client:
        offers = "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=10"
        answer = await shake(client, f"Sec-WebSocket-Extensions: {offers}")
        assert "permessage-deflate; server_max_window_bits=10\r\n" in answer


# --- the end, and what came before it -----------------------------------------------------------------


class Thoughtful:
    """A server of an echo that answers when it may, or at once."""

    def __init__(self, engine: str, waits: bool) -> None:
        self.server, self.gone = new_server(server={"engine": engine}), []
        self.go_on, self.thinks = asyncio.Event(), asyncio.Event()
        if not waits:
            self.go_on.set()
        self.server.websocket("/echo")(self.echo)
        self.server.on_disconnect(self.leave)

    async def echo(self, connection: Connection, message: str) -> None:
        self.thinks.set()
        await self.go_on.wait()
        await connection.send(message)

    def leave(self, connection: Connection, code: int, reason: str) -> None:
        self.gone.append(code)


THREE = text("one") + text("two") + text("three")
ANSWERS = b"\x81\x03one\x81\x03two\x81\x05three"


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits"])
async def test_messages_before_a_close_are_answered_before_it(engine: str, waits: bool) -> None:
    """Also where they are still being handled: the close is looked at in its turn, and has its own code."""
    scene = Thoughtful(engine, waits)
    async with running(scene.server) as base, raw(base) as client:
        await shake(client)
        client.send(THREE + close(3001, b"why"))
        await soon(scene.thinks.wait())
        scene.go_on.set()
        assert await client.rest() == ANSWERS + b"\x88\x02\x0b\xb9"
        await until(lambda: scene.gone == [3001])


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "waits"])
@pytest.mark.parametrize("fault", [b"\xc1\x80\x00\x00\x00\x00", b"\x83\x80\x00\x00\x00\x00"], ids=["bits", "opcode"])
async def test_messages_before_a_fault_are_answered_before_the_close(waits: bool, fault: bytes) -> None:
    """Three messages and a bad frame in one segment: three answers, then 1002; stock Tornado's frames only cut the line."""
    scene = Thoughtful("native", waits)
    async with running(scene.server) as base, raw(base) as client:
        await shake(client)
        client.send(THREE + fault)
        await soon(scene.thinks.wait())
        scene.go_on.set()
        answer = await client.rest()
        assert answer.startswith(ANSWERS + b"\x88")
        assert answer[len(ANSWERS) + 2 :][:2] == b"\x03\xea"
        await until(lambda: scene.gone == [1002])


async def test_close_waits_for_answers_only_so_long(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that hangs does not keep a connection that is to close: the peer is told, and the handler goes on alone."""
    monkeypatch.setattr("wshttp.realtime.connection.LAST_ANSWERS", 0.01)
    scene = Thoughtful(engine, waits=True)
    async with running(scene.server) as base, raw(base) as client:
        await shake(client)
        client.send(THREE + close(3001, b"why"))
        assert await client.rest() == b"\x88\x02\x0b\xb9"
        assert len(scene.server.hub) == 0
        scene.go_on.set()
        await until(lambda: scene.gone == [3001])


async def test_fault_waits_for_answers_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that breaks the rules is not kept by a handler that hangs."""
    monkeypatch.setattr("wshttp.realtime.connection.LAST_ANSWERS", 0.01)
    scene = Thoughtful("native", waits=True)
    async with running(scene.server) as base, raw(base) as client:
        await shake(client)
        client.send(THREE + b"\xff")
        assert (await client.rest())[2:4] == b"\x03\xea"
        assert len(scene.server.hub) == 0
        scene.go_on.set()
        await until(lambda: scene.gone == [1002])


async def test_kick_does_not_wait_for_answers(engine: str) -> None:
    """Who is closed here, while its own close waits, is closed at once, and hears nothing more."""
    scene = Thoughtful(engine, waits=True)
    async with running(scene.server) as base, raw(base) as client:
        await shake(client)
        client.send(THREE + close(3001, b"why"))
        await soon(scene.thinks.wait())
        [kicked] = scene.server.hub
        scene.server.hub.kick(kicked.id)
        scene.go_on.set()
        assert await client.rest() == b"\x88\x08\x0f\xa8kicked"
        await until(lambda: scene.gone == [4008])


async def test_peer_that_goes_while_its_close_waits_is_noticed(engine: str) -> None:
    """Its code is that of its close, and what it sent is still handled, before `on_disconnect`."""
    scene = Thoughtful(engine, waits=True)
    async with running(scene.server) as base, raw(base) as client:
        await shake(client)
        client.send(THREE + close(3001, b"why"))
        await soon(scene.thinks.wait())
        client.abort()
        await until(lambda: len(scene.server.hub) == 0)
        assert scene.gone == []
        scene.go_on.set()
        await until(lambda: scene.gone == [3001])
