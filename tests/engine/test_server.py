from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import pytest
from tornado.httpserver import HTTPServer
from tornado.websocket import websocket_connect
from websockets.asyncio.client import connect as websocket

from wshttp.engine.limits import Limits
from wshttp.engine.listeners import bind_tcp
from wshttp.engine.server import EngineServer
from wshttp.engine.tls import TlsContext
from wshttp.errors import UsageError
from wshttp.testing import FakeClock

PATIENCE = 10.0


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"GET /\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_malformed_header_is_answered_400(serving: Any, connect: Any, sent: bytes, until: Any) -> None:
    """The connection ends there, and the server goes on."""
    async with serving() as (server, port, _):
        async with connect(port) as client:
            client.send(sent)
            assert (await client.ended()).startswith(b"HTTP/1.1 400 ")
        await until(lambda: server.counts.open == 0)
        async with connect(port) as client:
            client.get()
            assert (await client.response()).status == 200


async def test_limits_of_zero_are_none(serving: Any, connect: Any, clock: FakeClock) -> None:
    """0 turns a size, a number or a time-out off."""
    none = Limits(0, 0, 0, 0, 0, 0, 0, 0)
    async with serving(limits=none) as (server, port, _), connect(port) as client:
        client.get("/", "X: " + "x" * 100_000)
        assert (await client.response()).status == 200
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11000000\r\n\r\n" + bytes(11_000_000))
        assert (await client.response()).json() == {"size": 11_000_000}
        clock.advance(1e9)
        server.tick()
        client.get()
        assert (await client.response()).status == 200


async def test_client_that_vanishes_mid_body_is_told_to_the_handler(serving: Any, connect: Any, until: Any) -> None:
    """The handler learns it, nothing of the connection stays."""
    async with serving() as (server, port, scene):
        async with connect(port) as client:
            client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")
            await asyncio.wait_for(scene.started.wait(), PATIENCE)
        await asyncio.wait_for(scene.vanished.wait(), PATIENCE)
        await until(lambda: server.counts.open == 0)


async def test_client_that_vanishes_mid_answer_is_told_to_the_handler(serving: Any, connect: Any, until: Any) -> None:
    """So too while the handler works on the answer."""
    async with serving() as (server, port, scene):
        async with connect(port) as client:
            client.get("/held")
            await asyncio.wait_for(scene.started.wait(), PATIENCE)
        await asyncio.wait_for(scene.vanished.wait(), PATIENCE)
        await until(lambda: server.counts.open == 0)
        scene.release.set()


# --- TLS ----------------------------------------------------------------------------------------


@pytest.mark.feature("W8")
async def test_tls_serves_https_and_wss(serving: Any, connect: Any, certificate: Any) -> None:
    """Both on one port, with what the application sees to match."""
    files = certificate("one")
    trusting = ssl.create_default_context(cafile=files[0])
    async with serving(tls=TlsContext(*files), tls_listener=True) as (_, port, scene):
        async with connect(port, ssl=trusting, server_hostname="localhost") as client:
            client.get()
            assert (await client.response()).json()["protocol"] == "https"
        options = {"ssl": trusting, "server_hostname": "localhost", "proxy": None}
        async with websocket(f"wss://127.0.0.1:{port}/socket", **options) as socket_:
            await socket_.send("hi")
            assert await asyncio.wait_for(socket_.recv(), PATIENCE) == "hi"
            assert scene.sockets[0].request.protocol == "https"


@pytest.mark.feature("W8")
async def test_tls_reload_is_for_new_connections(serving: Any, connect: Any, certificate: Any) -> None:
    """The open connection goes on with the old certificate, the next one gets the new."""
    old, new = certificate("old"), certificate("new")
    tls = TlsContext(*old)
    trusting_old, trusting_new = (ssl.create_default_context(cafile=files[0]) for files in (old, new))
    async with (
        serving(tls=tls, tls_listener=True) as (_, port, _),
        connect(port, ssl=trusting_old, server_hostname="localhost") as before,
    ):
        before.get()
        assert (await before.response()).status == 200
        tls.reload(*new)
        async with connect(port, ssl=trusting_new, server_hostname="localhost") as after:
            after.get()
            assert (await after.response()).status == 200
        before.get()
        assert (await before.response()).status == 200


async def test_tls_over_the_limit_just_closes(serving: Any, connect: Any, certificate: Any) -> None:
    """A refusal costs no handshake."""
    files = certificate("one")
    trusting = ssl.create_default_context(cafile=files[0])
    async with serving(tls=TlsContext(*files), tls_listener=True, limits=Limits(max_connections=1)) as (
        server,
        port,
        _,
    ):
        async with connect(port, ssl=trusting, server_hostname="localhost") as client:
            client.get()
            assert (await client.response()).status == 200
            with pytest.raises((OSError, ssl.SSLError)):
                async with connect(port, ssl=trusting, server_hostname="localhost"):
                    pass
        assert server.counts.refused == 1


async def test_tls_handshake_that_does_not_end_times_out(
    serving: Any, connect: Any, certificate: Any, clock: FakeClock, until: Any
) -> None:
    """Opening a connection and saying nothing, or half a hello, holds it no longer than a header."""
    options = {"tls": TlsContext(*certificate("one")), "tls_listener": True}
    async with serving(**options) as (server, port, _), connect(port) as client:
        client.send(b"\x16\x03\x01")
        await until(lambda: server.counts.open == 1)
        clock.advance(10)
        server.tick()
        assert await client.ended() == b""
        assert server.counts.timed_out["header"] == 1


async def test_listener_with_tls_needs_a_certificate(serving: Any) -> None:
    """Said at the start, not at the first client."""
    async with serving() as (server, _, _):
        [listener] = bind_tcp("127.0.0.1", 0, tls=True)
        with pytest.raises(UsageError, match="tls"):
            server.add_listeners([listener])
        listener.close()


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.feature("W10")
async def test_drain_lets_requests_finish(serving: Any, connect: Any) -> None:
    """Idle connections close at once, a busy one after its answer, which says so; nobody new gets in."""
    async with serving() as (server, port, scene), connect(port) as idle, connect(port) as busy:
        idle.get()
        await idle.response()
        busy.get("/held")
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        draining = asyncio.create_task(server.drain(PATIENCE))
        assert await idle.ended() == b""
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert server.counts.open == 1
        scene.release.set()
        answer = await busy.response()
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        assert await busy.ended() == b""
        assert await draining == 0


@pytest.mark.feature("W10")
async def test_drain_answers_what_has_arrived(serving: Any, connect: Any, until: Any) -> None:
    """A request that lies in the socket when the drain begins is answered, a first one and a later one."""
    async with serving() as (server, port, _), connect(port) as kept, connect(port) as fresh:
        kept.get()
        await kept.response()
        await until(lambda: server.counts.open == 2)
        for client in (kept, fresh):
            os.write(client.writer.get_extra_info("socket").fileno(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await server.drain(PATIENCE) == 0
        for client in (kept, fresh):
            answer = await client.response()
            assert (answer.status, answer.headers["connection"]) == (200, "close")


@pytest.mark.feature("W10")
async def test_drain_does_not_begin_a_pipelined_request(serving: Any, connect: Any, until: Any, only_link: Any) -> None:
    """After the answer that says `Connection: close`, nothing more is done on that connection."""
    async with serving() as (server, port, scene), connect(port) as client:
        client.get("/held")
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        link = await only_link(server)
        received = link._stream.received
        client.get("/held")
        await until(lambda: link._stream.received > received)
        scene.started.clear()
        draining = asyncio.create_task(server.drain(PATIENCE))
        await until(lambda: link.leaving)
        scene.release.set()
        assert (await client.response()).headers["connection"] == "close"
        assert await client.ended() == b""
        await client.close()
        assert await draining == 0
        assert not scene.started.is_set()


@pytest.mark.feature("W10")
async def test_drain_that_lingers_answers_who_is_about_to_speak(serving: Any, connect: Any, until: Any) -> None:
    """An idle connection ends with an answer that says so, also where the last one went out just before the drain."""
    async with serving() as (server, port, scene), connect(port) as idle, connect(port) as busy:
        idle.get()
        await idle.response()
        busy.get("/half")
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        draining = asyncio.create_task(server.drain(PATIENCE, linger=PATIENCE))
        await until(lambda: not server._accepting)
        scene.release.set()
        assert "connection" not in (await busy.response()).headers, "it was sent before"
        for client in (idle, busy):
            client.get()
            assert (await client.response()).headers["connection"] == "close"
            assert await client.ended() == b""
        assert await draining == 0


@pytest.mark.feature("W10")
async def test_drain_lingers_no_longer_than_it_is_told(serving: Any, connect: Any) -> None:
    """Who says nothing is let go then; of the time-out that is a part."""
    async with serving() as (server, port, _), connect(port) as idle:
        idle.get()
        await idle.response()
        assert await server.drain(PATIENCE, linger=0.01) == 0
        assert await idle.ended() == b""


@pytest.mark.feature("W10")
async def test_drain_cuts_what_does_not_end(serving: Any, connect: Any) -> None:
    """After the time-out it says how many, WebSockets among them."""
    async with serving() as (server, port, scene), connect(port) as busy:
        async with websocket(f"ws://127.0.0.1:{port}/socket", proxy=None):
            await asyncio.wait_for(scene.started.wait(), PATIENCE)
            scene.started.clear()
            busy.get("/held")
            await asyncio.wait_for(scene.started.wait(), PATIENCE)
            assert await server.drain(0) == 2
            assert await busy.ended() == b""
            assert server.counts.open == 0
        scene.release.set()


@pytest.mark.feature("W10")
async def test_drain_ends_when_the_last_websocket_leaves(serving: Any, until: Any) -> None:
    """Telling it to go is its owner's; the drain waits for it."""
    async with serving() as (server, port, scene), websocket(f"ws://127.0.0.1:{port}/socket", proxy=None) as client:
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        draining = asyncio.create_task(server.drain(PATIENCE))
        await until(lambda: not server._accepting)
        scene.sockets[0].close(1001, "going away")
        await asyncio.wait_for(client.wait_closed(), PATIENCE)
        assert client.close_code == 1001
        assert await draining == 0


async def test_close_leaves_nothing(serving: Any, connect: Any, until: Any) -> None:
    """No listener, no connection, no task, no descriptor."""

    async def serve_and_close() -> None:
        async with serving() as (server, port, scene), connect(port) as busy:
            busy.get("/held")
            await asyncio.wait_for(scene.started.wait(), PATIENCE)
            await server.close()
            assert await busy.ended() == b""
            scene.release.set()
            assert server.counts.open == 0

    await serve_and_close()  # what a loop opens for itself when it is first used is there after this
    files = len(os.listdir("/proc/self/fd"))
    tasks = len(asyncio.all_tasks())
    await serve_and_close()
    await until(lambda: len(asyncio.all_tasks()) <= tasks)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= files)


# --- in Tornado's own ways ----------------------------------------------------------------------


async def test_configured_as_tornados_server_it_serves(
    connect: Any, serving: Any, certificate: Any, engine: type[EngineServer]
) -> None:
    """`Application.listen` and test fixtures build it, with Tornado's arguments."""
    async with serving() as (_, _, scene):
        HTTPServer.configure(engine)
        try:
            server = scene.application().listen(0, "127.0.0.1", max_body_size=10)
            assert isinstance(server, engine)
            assert server.limits.max_body_size == 10
        finally:
            HTTPServer.configure(None)
        port = server._accepting[0][1].socket.getsockname()[1]
        client = await websocket_connect(f"ws://127.0.0.1:{port}/socket")
        await client.write_message("hi")
        assert await client.read_message() == "hi"
        client.close()
        async with connect(port) as http:
            http.get()
            assert (await http.response()).status == 200
        server.stop()
        await server.close_all_connections()
        await server.close()
        files = certificate("one")
        options = {"certfile": files[0], "keyfile": files[1]}
        secure = engine(scene.application(), ssl_options=options)
        [listener] = bind_tcp("127.0.0.1", 0)
        secure.add_sockets([listener.socket])
        trusting = ssl.create_default_context(cafile=files[0])
        async with connect(listener.socket.getsockname()[1], ssl=trusting, server_hostname="localhost") as https:
            https.get()
            assert (await https.response()).json()["protocol"] == "https"
        await secure.close()


async def test_ticker_stops_when_there_is_nothing_left_to_watch(serving: Any, connect: Any, until: Any) -> None:
    """A stopped server whose connections are gone does nothing."""
    async with serving() as (server, port, _):
        async with connect(port) as client:
            client.get()
            await client.response()
            server.stop()
            server.tick()
            assert server._ticker.is_running()
        await until(lambda: server.counts.open == 0)
        server.tick()
        assert not server._ticker.is_running()
