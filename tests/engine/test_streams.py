"""Connections that were handed over to a WebSocket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tornado.websocket import WebSocketClosedError
from websockets.asyncio.client import connect as websocket

from wshttp.engine.limits import Limits
from wshttp.testing import FakeClock

PATIENCE = 10.0


async def test_websocket_is_counted_and_not_timed(serving: Any, connect: Any, clock: FakeClock, until: Any) -> None:
    """After the handshake its owner watches over it; it still takes a place until its stream closes."""
    async with serving(limits=Limits(max_connections_per_ip=1)) as (server, port, scene):
        async with websocket(f"ws://127.0.0.1:{port}/socket", proxy=None) as client:
            await asyncio.wait_for(scene.started.wait(), PATIENCE)
            clock.advance(100_000)
            server.tick()
            assert server.counts.open == 1
            await client.send("still here")
            assert await asyncio.wait_for(client.recv(), PATIENCE) == "still here"
            async with connect(port) as other:
                assert (await other.ended()).startswith(b"HTTP/1.1 429 ")
        await until(lambda: server.counts.open == 0)


async def test_websocket_stream_tells_when_it_read_and_what_is_unsent(
    serving: Any, connect: Any, clock: FakeClock, until: Any
) -> None:
    """What heartbeats and checks for slow receivers need."""
    async with serving() as (server, port, scene), connect(port, limit=1024) as client:
        client.get(
            "/stream-socket",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        )
        assert (await client.response()).status == 101
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        stream = scene.sockets[0].ws_connection.stream
        assert (stream.last_read_at, stream.unsent) == (clock.monotonic(), 0)
        clock.advance(30)
        client.send(b"\x81\x82\0\0\0\0hi")
        assert await asyncio.wait_for(scene.messages.get(), PATIENCE) == "hi"
        assert stream.last_read_at == clock.monotonic()
        written = scene.sockets[0].write_message(bytes(64 * 1024 * 1024), binary=True)
        assert stream.unsent > 0
        stream.close()
        assert stream.unsent == 0
        client.writer.transport.abort()
        with pytest.raises(WebSocketClosedError):
            await asyncio.wait_for(written, PATIENCE)
        await until(lambda: server.counts.open == 0)
