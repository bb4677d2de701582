"""WebSockets without the engine's HTTP: just enough of it to upgrade; and frames as a client makes them."""

from __future__ import annotations

import asyncio
import random
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from hypothesis import HealthCheck, settings
from tornado.concurrent import Future
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, parse_request_start_line
from tornado.web import Application
from tornado.websocket import WebSocketHandler, WebSocketProtocol

from wshttp.engine.receiver import Receiver
from wshttp.engine.websocket.masking import apply_mask
from wshttp.engine.websocket.protocol import NativeWebSocket

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="


exhaustive = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
"""How properties are tested: the same cases each time, however busy the machine is."""


# --- frames ---------------------------------------------------------------------------------------------


def frame(head: int, payload: bytes = b"", *, mask: bytes = b"\x37\xfa\x21\x3d", length: bytes | None = None) -> bytes:
    """Return a client's frame; `length` are the bytes that say how long it is, where they are not to be right."""
    if length is None:
        length = length_of(payload)
    return bytes([head]) + length + mask + apply_mask(mask, payload)


def length_of(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([0x80 | size])
    return b"\xfe" + struct.pack("!H", size) if size < 65536 else b"\xff" + struct.pack("!Q", size)


def text(message: str) -> bytes:
    return frame(0x81, message.encode())


def binary(message: bytes) -> bytes:
    return frame(0x82, message)


def close(code: int | None = None, reason: bytes = b"") -> bytes:
    return frame(0x88, b"" if code is None else struct.pack("!H", code) + reason)


# --- a server -------------------------------------------------------------------------------------------


class Answer(HTTPConnection):
    """One request's connection, as far as a handshake needs it."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def write_headers(self, start_line: Any, headers: HTTPHeaders, chunk: bytes | None = None) -> Future[None]:
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}", *(f"{k}: {v}" for k, v in headers.get_all())]
        return self.write("\r\n".join([*lines, "", ""]).encode() + (chunk or b""))

    def write(self, chunk: bytes) -> Future[None]:
        self._wire.transport.write(chunk)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def finish(self) -> None:
        """The answer is complete."""

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Nobody is told."""

    def upgrade(self, receiver: Receiver) -> asyncio.Transport:
        self._wire.receiver = receiver
        receiver.data_received(self._wire.rest)
        return self._wire.transport


class Wire(asyncio.Protocol):
    """One connection: a request's head, and then whatever its receiver makes of it."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.receiver: Receiver | None = None
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self.receiver is not None:
            self.receiver.data_received(data)
            return
        head, blank, self.rest = (self.rest + data).partition(b"\r\n\r\n")
        if not blank:
            self.rest = head
            return
        start, _, lines = head.decode("latin1").partition("\r\n")
        delegate: HTTPMessageDelegate = self.application.start_request(self, Answer(self))
        delegate.headers_received(parse_request_start_line(start), HTTPHeaders.parse(lines))
        delegate.finish()

    def eof_received(self) -> None:
        if self.receiver is not None:
            self.receiver.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.connection_lost(error)

    def pause_writing(self) -> None:
        if self.receiver is not None:
            self.receiver.pause_writing()

    def resume_writing(self) -> None:
        if self.receiver is not None:
            self.receiver.resume_writing()


class Socket(WebSocketHandler):
    """A handler that tells what befalls it, on native framing."""

    def initialize(self, seen: list[Any] | None = None, **settings: Any) -> None:
        self.seen: list[Any] = [] if seen is None else seen
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.arrived = asyncio.Event()

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        return NativeWebSocket.for_handler(self)

    @property
    def wire(self) -> NativeWebSocket:
        assert isinstance(self.ws_connection, NativeWebSocket)
        return self.ws_connection

    def see(self, what: Any) -> None:
        self.seen.append(what)
        self.arrived.set()

    async def has_seen(self, count: int) -> None:
        """Wait until so much has happened."""
        while len(self.seen) < count:
            self.arrived.clear()
            await self.arrived.wait()

    def on_message(self, message: str | bytes) -> Any:
        self.see(message)

    def on_close(self) -> None:
        self.see(("closed", self.close_code, self.close_reason))
        if not self.over.done():
            self.over.set_result(None)


class Echo(Socket):
    """A handler that answers each message with itself."""

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


class Peer:
    """A client that sends raw bytes, and reads frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: list[Socket]) -> None:
        self.reader = reader
        self.writer = writer
        self._handlers = handlers

    @property
    def handler(self) -> Any:
        """The handler at the other end."""
        return self._handlers[0]

    def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))

    async def shake(self, *lines: str, version: str = "HTTP/1.1", key: str | None = KEY, then: bytes = b"") -> str:
        """Send a handshake, with bytes behind it, and return the head of the answer."""
        fields = [f"GET / {version}", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
        fields += [] if key is None else [f"Sec-WebSocket-Key: {key}"]
        if not any(line.startswith("Sec-WebSocket-Version") for line in lines):
            fields.append("Sec-WebSocket-Version: 13")
        self.send("\r\n".join([*fields, *lines, "", ""]).encode(), then)
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def frame(self) -> tuple[int, bytes]:
        """Return the first byte of the next frame, and its payload."""
        head, size = await self.reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2))
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8))
        return head, await self.reader.readexactly(size)

    async def closed(self) -> int | None:
        """Wait for a close frame, drop what is before it, and return its code."""
        while True:
            head, payload = await self.frame()
            if head == 0x88:
                return int.from_bytes(payload[:2]) if payload else None

    async def ended(self) -> bytes:
        """Wait until the server closes, and return what came before that."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def serving(
    handler: type[Socket] = Echo,
    *,
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    **options: Any,
) -> AsyncIterator[Callable[[], Any]]:
    """Run a server of one path; yields what opens a connection to it. Options in capitals are Tornado's settings.

    `tls` are the contexts of server and client.
    """
    here, there = (None, None) if tls is None else tls
    handlers: list[Socket] = []
    settings = {f"websocket_{name.lower()}": options.pop(name) for name in list(options) if name.isupper()}

    class Noted(handler):  # type: ignore[misc,valid-type]
        def initialize(self, **arguments: Any) -> None:
            super().initialize(**arguments)
            handlers.append(self)

    application = Application([("/", Noted, options)], log_function=lambda _: None, **settings)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Wire(application), "127.0.0.1", 0, ssl=here)
    port = server.sockets[0].getsockname()[1]

    @asynccontextmanager
    async def connect(*lines: str, shake: bool = True) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20, ssl=there)
        try:
            peer = Peer(reader, writer, handlers)
            if shake:
                assert "101" in await peer.shake(*lines)
            yield peer
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    try:
        yield connect
        waiting = {each.over for each in handlers if each.ws_connection is not None}
        if waiting:
            await asyncio.wait(waiting)
    finally:
        server.close()


def cuts(data: bytes, seed: int) -> Iterator[bytes]:
    """Cut bytes into pieces of random lengths, up to the usual segment of a network."""
    dice = random.Random(seed)
    while data:
        size = dice.choice((1, 2, 3, 7, 100, 1460))
        yield data[:size]
        data = data[size:]
