"""A server on a free port in the process of the test, and clients that speak to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import engines
from tornado.httpclient import HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response as HandshakeAnswer

from wshttp import Server
from wshttp.config import Settings
from wshttp.sessions.clock import Clock

PATIENCE = 10.0
"""Seconds after which what a test waits for will not come."""


def new_server(clock: Clock | None = None, **sections: Mapping[str, Any] | Any) -> Server:
    """Make a server for a free port: `new_server(session={"identity": ["cookie"]})`; sections are those of the YAML."""
    server = {"port": 0, **engines.setting()} | dict(sections.pop("server", {}))
    return Server(Settings.model_validate({"server": server} | sections), clock=clock)


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[str]:
    """Start a server, give its base URL, and stop it afterwards."""
    await server.start()
    try:
        yield server.addresses[0]
    finally:
        await server.stop()


async def fetch(url: str, method: str = "GET", body: str | bytes | None = None, **options: Any) -> HTTPResponse:
    """Make one request on a connection of its own; redirects are not followed, and no status raises.

    Options are those of `tornado.httpclient.HTTPRequest`, such as `headers`.
    """
    client = SimpleAsyncHTTPClient(force_instance=True)
    try:
        request = {"follow_redirects": False, "allow_nonstandard_methods": True, "request_timeout": PATIENCE} | options
        return await client.fetch(url, method=method, body=body, raise_error=False, **request)
    finally:
        client.close()


class Raw:
    """One connection that sends and reads raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def until(self, end: bytes) -> bytes:
        """Read up to and including `end`."""
        return await asyncio.wait_for(self.reader.readuntil(end), PATIENCE)

    async def exactly(self, size: int) -> bytes:
        """Read that many bytes."""
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE)

    async def rest(self) -> bytes:
        """Read until the server closes; a reset is an end, too."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE)
        except ConnectionResetError:
            return b""

    def abort(self) -> None:
        """Vanish."""
        self.writer.transport.abort()


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[Raw]:
    """Connect to the host and port of a URL."""
    where = urlsplit(url)
    connection = Raw(*await asyncio.open_connection(where.hostname, where.port))
    try:
        yield connection
    finally:
        connection.writer.close()
        try:
            await connection.writer.wait_closed()
        except OSError:
            pass  # the server, or the test, has cut it


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds that no event tells."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def soon(awaitable: Any) -> Any:
    """Wait for something that has to come."""
    return await asyncio.wait_for(awaitable, PATIENCE)


def websocket(base: str, path: str, **options: Any) -> connect:
    """Open a WebSocket; options are those of `websockets.connect`, without compression and pings unless they say so."""
    neutral = {"proxy": None, "compression": None, "ping_interval": None, "max_size": None, "close_timeout": 1}
    return connect(f"ws{base.removeprefix('http')}{path}", **neutral | options)


async def refusal(base: str, path: str, **options: Any) -> HandshakeAnswer:
    """Fail to open a WebSocket, and return what it was answered with before the 101."""
    try:
        async with websocket(base, path, **options):
            raise AssertionError("the handshake was accepted")
    except InvalidStatus as error:
        return error.response


async def farewell(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Wait until a WebSocket is closed, and return the code and reason that came."""
    await soon(socket.wait_closed())
    return socket.close_code, socket.close_reason
