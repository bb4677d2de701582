"""What a socket keeps that says nothing, and what is left of one that has closed."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import urlsplit

import pytest
import serving  # not `new_server` by name: that would run these tests on stock Tornado, too, which keeps more
from serving import running, soon, until

from wshttp import Server
from wshttp.realtime.connection import Connection

SOCKETS = 100

FEW = 10
"""Objects that may be there for other reasons."""

KIB = 1024

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

HELLO = (b"\x81\x85\0\0\0\0hello", b"\x81\x05hello")
"""A message, and its echo."""

OF_A_HANDSHAKE = (
    "FunctionSocket", "Head", "HTTPHeaders", "HttpAnswer", "HttpOutput", "HttpParser", "HttpProtocol", "Patience", "SiteRequest", "Task",
    "UnitOfWork", "Visit", "coroutine",
)  # fmt: skip
"""Types of what a handshake needs, and an open socket does not."""

OF_A_SOCKET = (
    "Connection", "FrameReader", "Handover", "Inbox", "Link", "MessageReader", "NativeFraming", "NativeWebSocket", "Outlet",
    "Session", "Wire",
)  # fmt: skip
"""Types of what a socket is made of."""


def echoing() -> Server:
    """Return a server that gives each socket a session of its own."""
    server = serving.new_server(session={"identity": ["cookie"]})

    @server.websocket("/echo")
    async def echo(connection: Connection, message: str | bytes) -> None:
        await connection.send(message)

    return server


@asynccontextmanager
async def sockets(base: str, count: int = SOCKETS, close: bytes = b"") -> AsyncIterator[None]:
    """Open sockets that have had an answer, of which this side keeps nothing but the socket; `close` is their last word."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(await soon(_open(base)))
        yield
    finally:
        for each in opened:
            each.send(close)
            each.close()


async def _open(base: str) -> socket.socket:
    loop, url = asyncio.get_running_loop(), urlsplit(base)
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, (url.hostname, url.port))
    await loop.sock_sendall(sock, HANDSHAKE)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += await loop.sock_recv(sock, 4096)
    assert b" 101 " in answer
    message, echo = HELLO
    await loop.sock_sendall(sock, message)
    assert await loop.sock_recv(sock, 4096) == echo
    return sock


@contextmanager
def no_collector() -> Iterator[None]:
    """Keep Python from collecting, so that what `alive` finds is what nobody has let go of; what is there now it ignores."""
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def alive(names: Iterable[str]) -> dict[str, int]:
    """Count the objects of some types, by the names of those of which there are more than a few."""
    found = Counter(type(each).__name__ for each in gc.get_objects())
    return {name: found[name] for name in names if found[name] > FEW}


async def warm_up(server: Server, base: str) -> None:
    """Open and close one: what the first one takes, it takes once."""
    async with sockets(base, 1):
        pass
    await until(lambda: not len(server.hub))


async def test_idle_socket_takes_less_than_eight_kib(caplog: pytest.LogCaptureFixture) -> None:
    """With its session, all that Python allocates for it; beside it stands what the loop's transport takes in C."""
    caplog.set_level(logging.CRITICAL, "wshttp")  # whatever else is logged, pytest keeps
    server = echoing()
    async with running(server) as base:
        await warm_up(server, base)
        gc.collect()
        tracemalloc.start()
        try:
            async with sockets(base):
                gc.collect()
                taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert taken / SOCKETS < 8 * KIB


async def test_idle_socket_of_a_function_keeps_nothing_of_its_handshake() -> None:
    """Request, handler and parser go when it is open, without the garbage collector, and no task waits for messages."""
    server = echoing()
    async with running(server) as base:
        await warm_up(server, base)
        with no_collector():
            async with sockets(base):
                await until(lambda: not alive(OF_A_HANDSHAKE))
                assert len(server.hub) == SOCKETS


@pytest.mark.parametrize("close", [b"", b"\x88\x80\0\0\0\0"], ids=["cut", "closed"])
async def test_closed_socket_leaves_nothing_to_the_collector(close: bytes) -> None:
    """Sockets that come and go do not fill the memory until the next full collection."""
    server = echoing()
    async with running(server) as base:
        await warm_up(server, base)
        with no_collector():
            async with sockets(base, close=close):
                assert alive(OF_A_SOCKET).keys() == set(OF_A_SOCKET)
            server.sessions._recent.clear()  # of these, so many are kept and no more
            await until(lambda: not alive(OF_A_SOCKET))
