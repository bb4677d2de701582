"""The time-outs of a connection in each of its phases; time moves only when told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from wshttp.engine.limits import Limits
from wshttp.testing import FakeClock

PATIENCE = 10.0


async def test_header_timeout_of_a_first_request_runs_from_the_start(
    serving: Any, connect: Any, clock: FakeClock, until: Any, only_link: Any, too_late: bytes
) -> None:
    """A byte now and then buys no time (slow loris)."""
    async with serving() as (server, port, _), connect(port) as client:
        link = await only_link(server)
        for received, byte in enumerate(b"GET / HTT", 1):
            clock.advance(1)
            client.send(bytes([byte]))
            await until(lambda received=received: link._stream is not None and link._stream.received == received)
            server.tick()
            assert server.counts.open == 1
        clock.advance(1)
        server.tick()
        assert (await client.ended())[:13] == too_late
        assert server.counts.timed_out == {"header": 1, "idle": 0, "body": 0, "write": 0}


async def test_header_timeout_without_a_byte_just_closes(
    serving: Any, connect: Any, clock: FakeClock, only_link: Any
) -> None:
    """Browsers open connections for later; an answer could be taken for that to the request that follows."""
    async with serving() as (server, port, _), connect(port) as client:
        await only_link(server)
        clock.advance(10)
        server.tick()
        assert await client.ended() == b""
        assert server.counts.timed_out["header"] == 1


async def test_header_timeout_of_a_later_request_runs_from_its_first_byte(
    serving: Any, connect: Any, clock: FakeClock, until: Any, only_link: Any, too_late: bytes
) -> None:
    """A kept connection may be idle for long, but then a header comes at once."""
    async with serving() as (server, port, _), connect(port) as client:
        client.get()
        await client.response()
        link = await only_link(server)
        clock.advance(70)
        server.tick()
        client.send(b"GET / HT")
        await until(lambda: not link.idle)
        for _ in range(3):
            clock.advance(3)
            client.send(b"TP"[:1])
            server.tick()
        assert server.counts.open == 1
        clock.advance(1)
        server.tick()
        assert (await client.ended())[:13] == too_late
        assert server.counts.timed_out["header"] == 1


async def test_header_timeout_sees_what_was_sent_during_the_last_answer(
    serving: Any, connect: Any, clock: FakeClock, until: Any, only_link: Any, too_late: bytes
) -> None:
    """Half a pipelined request is no idleness."""
    async with serving() as (server, port, scene), connect(port) as client:
        client.get("/held")
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        link = await only_link(server)
        client.send(b"GET / HT")
        received = link._stream.received
        await until(lambda: link._stream.received > received)
        scene.release.set()
        assert (await client.response()).status == 200
        await until(lambda: link.phase.name == "HEADER")
        assert not link.idle
        clock.advance(10)
        server.tick()
        assert (await client.ended())[:13] == too_late
        assert server.counts.timed_out["header"] == 1


async def test_idle_timeout_closes_a_kept_connection(
    serving: Any, connect: Any, clock: FakeClock, until_idle: Any
) -> None:
    """Between requests, without a byte; and a change holds for open connections."""
    async with serving() as (server, port, _), connect(port) as client:
        client.get()
        await client.response()
        await until_idle(server)
        clock.advance(74.9)
        server.tick()
        assert server.counts.open == 1
        server.limits = Limits(idle_timeout=1000)
        clock.advance(100)
        server.tick()
        assert server.counts.open == 1
        server.limits = Limits()
        server.tick()
        assert await client.ended() == b""
        assert server.counts.timed_out["idle"] == 1


async def test_body_timeout_is_without_progress(
    serving: Any, connect: Any, clock: FakeClock, until: Any, only_link: Any, too_late: bytes
) -> None:
    """A slow body is fine; one that stops is not, and its handler is told."""
    async with serving() as (server, port, scene), connect(port) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
        link = await only_link(server)
        await until(lambda: link.phase.name == "BODY")
        for _ in range(5):
            clock.advance(59)
            server.tick()
            assert server.counts.open == 1
            received = link._stream.received
            client.send(b"x")
            await until(lambda received=received: link._stream.received > received and link._stream.reading())
        clock.advance(60)
        server.tick()
        assert (await client.ended())[:13] == too_late
        assert server.counts.timed_out["body"] == 1
        await asyncio.wait_for(scene.vanished.wait(), PATIENCE)


async def test_body_timeout_does_not_blame_the_client_for_a_busy_handler(
    serving: Any, connect: Any, clock: FakeClock, until: Any, only_link: Any
) -> None:
    """As long as the application doesn't ask for more, the client has all the time."""
    async with serving() as (server, port, scene), connect(port) as client:
        client.send(b"POST /busy-upload HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        link = await only_link(server)
        clock.advance(1000)
        server.tick()
        assert server.counts.open == 1
        scene.release.set()
        await until(lambda: link._stream.reading())
        clock.advance(59)
        server.tick()
        assert server.counts.open == 1
        client.send(b"half")
        assert (await client.response()).status == 200


async def test_answer_has_no_timeout_of_the_engine(serving: Any, connect: Any, clock: FakeClock) -> None:
    """How long a handler takes is the application's business."""
    async with serving() as (server, port, scene), connect(port) as client:
        client.get("/held")
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        clock.advance(100_000)
        server.tick()
        scene.release.set()
        assert (await client.response()).body == b"done"


async def test_write_timeout_cuts_a_reader_that_stalls(
    serving: Any, connect: Any, clock: FakeClock, until: Any, only_link: Any
) -> None:
    """An answer that makes no progress is given up, one that moves is not."""
    async with serving() as (server, port, scene), connect(port, limit=1024) as client:
        client.get("/flood")
        await asyncio.wait_for(scene.started.wait(), PATIENCE)
        link = await only_link(server)
        await until(lambda: link._stream.unsent > 0)
        clock.advance(59)
        server.tick()
        unsent = link._stream.unsent
        while link._stream.unsent == unsent:
            assert await client.reader.read(1 << 20)
        client.writer.transport.pause_reading()
        server.tick()
        clock.advance(59)
        server.tick()
        assert server.counts.open == 1
        clock.advance(1)
        server.tick()
        assert server.counts.timed_out["write"] == 1
        assert server.counts.open == 0
        client.writer.transport.resume_reading()
        with pytest.raises(ConnectionResetError):  # what it has got must not look whole
            await asyncio.wait_for(client.reader.read(-1), PATIENCE)
