"""From a log-out to the close of the session's WebSockets, on the server that ends it and on others.

Each session has its sockets on all servers, evenly. One request ends it; a client in this process waits until it has
read the close of each socket, has answered it, and the connection is gone.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from typing import cast

from benchmarks import hello_servers
from benchmarks.load import cookie_of, opening_handshake
from benchmarks.redis_server import redis_server
from benchmarks.table import Table
from benchmarks.timing import percentile

NODES = 3
SESSIONS = 50
QUICK_SESSIONS = 2
SOCKETS = 100
"""Per session: as many as `session.max_connections_per_session` allows by default."""
QUICK_SOCKETS = 6

CLOSED = b"\x88"
"""The first byte of a close frame (RFC 6455, section 5.5.1)."""

GOODBYE = b"\x88\x80\0\0\0\0"
"""The client's own: without a code, masked with zeros."""


@dataclass(frozen=True)
class Closed:
    """Seconds from the sending of the log-out, for one socket: on which server, to the close frame, to the end."""

    node: int
    told: float
    gone: float


def tables(quick: bool) -> list[Table]:
    """Measure a lone server on memory, and several on Redis."""
    sessions, sockets = (QUICK_SESSIONS, QUICK_SOCKETS) if quick else (SESSIONS, SOCKETS)
    table = Table(
        f"Log-out to closed sockets, {sockets} per session",
        f"Milliseconds from sending the log-out to the close frame (told) and to the end of the connection (gone), over "
        f"{sessions:,} sessions, one after the other.",
        ["sockets on", "told p50", "told p99", "gone p50", "gone p99", "worst", "ratio"],
    )
    with hello_servers.ours() as lone:
        alone = asyncio.run(_end_all([lone.port], sessions, sockets))
    with _nodes() as ports:
        spread = asyncio.run(_end_all(ports, sessions, sockets))
    for name, closed in (
        ("one server, memory", alone),
        (f"{NODES} servers, Redis", spread),
        ("of these: the one that ended it", [each for each in spread if each.node == 0]),
        ("of these: the others", [each for each in spread if each.node != 0]),
    ):
        table.add(name, *_figures(closed), f"{_p99(closed) / _p99(alone):.1f}")
    return [table]


def _figures(closed: list[Closed]) -> Iterator[str]:
    for seconds in (sorted(each.told for each in closed), sorted(each.gone for each in closed)):
        yield f"{percentile(seconds, 50) * 1000:.1f}"
        yield f"{percentile(seconds, 99) * 1000:.1f}"
    yield f"{max(each.gone for each in closed) * 1000:.1f}"


def _p99(closed: list[Closed]) -> float:
    return percentile(sorted(each.gone for each in closed), 99)


@contextmanager
def _nodes() -> Iterator[list[int]]:
    """Run several servers on one Redis; give their ports."""
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        nodes = [stack.enter_context(hello_servers.ours(kind="redis", url=redis.url)) for _ in range(NODES)]
        yield [node.port for node in nodes]


async def _end_all(ports: list[int], sessions: int, sockets: int) -> list[Closed]:
    return [closed for _ in range(sessions) for closed in await _end_one(ports, sockets)]


async def _end_one(ports: list[int], sockets: int) -> list[Closed]:
    """Start a session, open its sockets, and end it by the first server."""
    begun = await _Talk.open(ports[0], _request("HEAD", "/", ports[0]))
    cookie = b"Cookie: " + cookie_of(await begun.head) + b"\r\n"
    open_ones = [(node, await _open(port, cookie)) for node, port in islice(cycle(enumerate(ports)), sockets)]
    begin = time.perf_counter()
    begun.write(_request("DELETE", "/wshttp/session", ports[0], cookie))
    await asyncio.wait_for(asyncio.gather(*(socket.gone for _, socket in open_ones)), 60)
    begun.stop()
    return [Closed(node, socket.told - begin, socket.gone.result() - begin) for node, socket in open_ones]


async def _open(port: int, cookie: bytes) -> _Talk:
    socket = await _Talk.open(port, opening_handshake(f"{hello_servers.HOST}:{port}", "/echo") + cookie + b"\r\n")
    head = await socket.head
    if not head.startswith(b"HTTP/1.1 101 "):
        raise RuntimeError(f"unexpected answer: {head!r}")
    return socket


def _request(method: str, path: str, port: int, headers: bytes = b"") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {hello_servers.HOST}:{port}\r\n".encode() + headers + b"\r\n"


class _Talk(asyncio.Protocol):
    """A connection: `head` is the header of the first answer; then, of a WebSocket, when it was `told` and `gone`."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.head: asyncio.Future[bytes] = loop.create_future()
        self.gone: asyncio.Future[float] = loop.create_future()
        self.told = math.inf
        self._received = b""

    @classmethod
    async def open(cls, port: int, request: bytes) -> _Talk:
        """Connect and send."""
        talk = cls()
        await asyncio.get_running_loop().create_connection(partial(_itself, talk), hello_servers.HOST, port)
        talk.write(request)
        return talk

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def stop(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self.head.done() and b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self.head.set_result(head)
        if self._received.startswith(CLOSED) and self.told == math.inf:
            self.told = time.perf_counter()
            self.write(GOODBYE)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set_result(time.perf_counter())


def _itself(talk: _Talk) -> _Talk:
    return talk
