"""Each input through a proxy to an engine: both see the same requests, so that nobody's body is another one's request.

What the proxy hands on bears its mark, one of its own for each request; what comes to the engine without, or twice with
the same, is a request that the proxy never sent. After each input another client asks through the same proxy, on the
connection that it kept: an answer that isn't this client's means that something was left behind.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from conformance.engines import EACH_ENGINE, server_of
from conformance.fronts import FRONTS, MARK, Front
from conformance.inputs import INPUTS, LENGTH, ask, post
from conformance.witness import Seen, Witness, application
from serving import until

from wshttp.engine.listeners import bind_tcp

PATIENCE = 20.0
"""Seconds after which what a test waits for will not come."""

EACH_FRONT = [
    pytest.param(front, id=front.name, marks=pytest.mark.skipif(not front.executable, reason=f"no {front.program}"))
    for front in FRONTS
]


class Passage:
    """The way through a proxy to the back end, and what comes out there."""

    def __init__(self, path: str, seen: list[Seen]) -> None:
        self.path = path
        self.seen = seen

    async def send(self, data: bytes) -> bytes:
        """Send this on a connection of its own, and return all that came back."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(data)
            writer.write_eof()
            return await asyncio.wait_for(reader.read(), PATIENCE)
        except ConnectionError:  # refused so early that our last bytes met a closed socket
            return b""
        finally:
            writer.close()

    async def faults_of(self, data: bytes) -> list[str]:
        """Send an input and a request after it, then ask as another client; say what is wrong with what came."""
        self.seen.clear()
        await self.send(data + ask("GET", "/last", "Connection: close"))
        answer = await self.send(ask("GET", "/other", "Connection: close"))
        marks = [seen.values(MARK) for seen in self.seen]
        faults = [
            f"{seen} is none of the proxy's" for seen, mark in zip(self.seen, marks, strict=True) if len(mark) != 1
        ]
        faults += [f"mark {mark} twice" for mark in marks if marks.count(mark) > 1]
        own = [seen for seen in self.seen if seen.target == "/other"]
        if len(own) != 1 or not _is_answer_to(own[0], answer):
            faults.append(f"the next client got {answer!r} for {[str(seen) for seen in own]}")
        return [f"{fault}; seen: {[str(seen) for seen in self.seen]}" for fault in faults]


def _is_answer_to(seen: Seen, answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    asked = f"{seen.method} {seen.target}\n{seen.values(MARK)[0]}" if seen.values(MARK) else ""
    return head.startswith(b"HTTP/1.1 200 ") and body == asked.encode()


@contextmanager
def through(front: Front, port: int, seen: list[Seen]) -> Iterator[Passage]:
    # Not pytest's folder: a socket's name has at most some hundred characters.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wshttp-") as folder, front.before(port, Path(folder)) as path:
        yield Passage(path, seen)


@asynccontextmanager
async def engine_behind(front: Front, engine: str) -> AsyncIterator[Passage]:
    witness = Witness(application())
    server = server_of(engine)(witness)
    [listener] = bind_tcp("127.0.0.1", 0)
    server.add_listeners([listener])
    try:
        with through(front, listener.socket.getsockname()[1], witness.seen) as passage:
            await _ready(passage)
            yield passage
    finally:
        await server.close()


async def _ready(passage: Passage) -> None:
    """Wait until the proxy listens."""

    def listens() -> bool:
        return Path(passage.path).exists()

    await until(listens)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(passage.path)
            except ConnectionRefusedError:  # it has the name, and does not listen yet
                continue
            writer.close()
            return


@pytest.mark.parametrize("engine", EACH_ENGINE)
@pytest.mark.parametrize("front", EACH_FRONT)
async def test_front_and_engine_agree_where_requests_end(front: Front, engine: str) -> None:
    """Whatever is sent, the engine sees what the proxy handed on, and the next client gets its own answer."""
    async with engine_behind(front, engine) as passage:
        found = {name: faults for name, data in INPUTS.items() if (faults := await passage.faults_of(data))}
    assert not found, "\n".join(f"{name}: {fault}" for name, faults in found.items() for fault in faults)


@pytest.mark.parametrize("engine", EACH_ENGINE)
@pytest.mark.parametrize("front", EACH_FRONT)
async def test_front_keeps_its_connection(front: Front, engine: str) -> None:
    """Two clients' requests come over one connection; otherwise nothing could be left behind, and nothing be shown."""
    async with engine_behind(front, engine) as passage:
        for target in ("/one", "/two"):
            await passage.send(ask("GET", target, "Connection: close"))
        one, two = passage.seen
        assert one.connection is two.connection


class Careless(asyncio.Protocol):
    """A back end that takes every body for the next request."""

    def __init__(self, seen: list[Seen]) -> None:
        self._seen = seen
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._unread = (self._unread + data).split(b"\r\n\r\n")
        for head in heads:
            start, *lines = head.decode("latin1").split("\r\n")
            method, target, _ = start.split(" ")
            seen = Seen(self, method, target, [tuple(line.split(": ", 1)) for line in lines], end="whole")  # type: ignore[misc]
            self._seen.append(seen)
            body = "\n".join([f"{method} {target}", *seen.values(MARK)])
            self._transport.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


@pytest.mark.parametrize("front", EACH_FRONT)
async def test_back_end_that_ignores_bodies_is_found(front: Front) -> None:
    """The proof that the tests above can fail."""
    seen: list[Seen] = []
    server = await asyncio.get_running_loop().create_server(lambda: Careless(seen), "127.0.0.1", 0)
    async with server:
        with through(front, server.sockets[0].getsockname()[1], seen) as passage:
            await _ready(passage)
            assert await passage.faults_of(ask("GET", "/")) == []
            [unmarked, *_] = await passage.faults_of(post(LENGTH))
    assert unmarked.startswith("GET /hidden b'' whole is none of the proxy's")
