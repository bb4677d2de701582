"""A server on a real socket, a client that speaks raw bytes, and certificates."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop
from certificates import write_certificate
from tornado.web import Application, RequestHandler, stream_request_body
from tornado.websocket import WebSocketHandler

from wshttp.engine.listeners import bind_tcp
from wshttp.engine.native import NativeServer
from wshttp.engine.server import EngineServer
from wshttp.engine.stock import StockServer
from wshttp.engine.websocket_hook import TORNADOS_OWN
from wshttp.testing import FakeClock

PATIENCE = 10.0
"""Seconds after which what a test waits for will not come."""


class Client:
    """One connection that sends and reads raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def get(self, path: str = "/", *lines: str) -> None:
        self.send("\r\n".join([f"GET {path} HTTP/1.1", "Host: example.org", *lines, "", ""]).encode("latin1"))

    async def response(self) -> Response:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)
        start, *lines = head.decode("latin1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Response(int(start.split()[1]), headers, body)

    async def ended(self) -> bytes:
        """Wait until the server closes, and return what came before that."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE)
        except ConnectionResetError:
            return b""

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (OSError, ssl.SSLError):
            pass


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def connected(port: int | None = None, **options: Any) -> AsyncIterator[Client]:
    """Open a connection to a port of 127.0.0.1, or to the `path` of a Unix socket."""
    if port is None:
        streams = await asyncio.open_unix_connection(**options)
    else:
        streams = await asyncio.open_connection(options.pop("host", "127.0.0.1"), port, **options)
    client = Client(*streams)
    try:
        yield client
    finally:
        await client.close()


class Mirror(RequestHandler):
    """Answer with what the application sees of the request."""

    def get(self) -> None:
        request = self.request
        context = request.connection.context
        self.write(
            {
                "remote_ip": request.remote_ip,
                "protocol": request.protocol,
                "host": request.host,
                "forwarded_host": context.forwarded_host,
                "headers": {name.lower(): value for name, value in request.headers.get_all()},
            }
        )

    def post(self) -> None:
        self.write({"size": len(self.request.body)})


class Held(RequestHandler):
    """Answer when the test says so."""

    def initialize(self, scene: Scene) -> None:
        self.scene = scene

    async def get(self) -> None:
        self.scene.started.set()
        await self.scene.release.wait()
        self.write("done")

    def on_connection_close(self) -> None:
        self.scene.vanished.set()


class Half(Held):
    """Answer, and leave the second half of the body for when the test says so."""

    async def get(self) -> None:
        self.set_header("Content-Length", "4")
        self.write("ha")
        await self.flush()
        self.scene.started.set()
        await self.scene.release.wait()
        self.write("lf")


class Flood(RequestHandler):
    """Answer with more than a socket's buffers hold."""

    def initialize(self, scene: Scene) -> None:
        self.scene = scene

    async def get(self) -> None:
        self.write(b"x" * (64 * 1024 * 1024))
        flushed = self.flush()
        self.scene.started.set()
        await flushed


@stream_request_body
class Upload(RequestHandler):
    """Take a body in pieces, and note how it ends."""

    def initialize(self, scene: Scene) -> None:
        self.scene = scene

    async def data_received(self, chunk: bytes) -> None:
        self.scene.started.set()
        if self.request.path == "/busy-upload":
            await self.scene.release.wait()

    def post(self) -> None:
        self.write("done")

    def on_connection_close(self) -> None:
        self.scene.vanished.set()


class Socket(WebSocketHandler):
    """Echo, in the framing of the engine."""

    def initialize(self, scene: Scene) -> None:
        self.scene = scene

    def open(self, *args: str, **kwargs: str) -> None:
        self.scene.sockets.append(self)
        self.scene.started.set()

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)
        self.scene.messages.put_nowait(message)


class StreamSocket(Socket):
    """The same in Tornado's framing, which reads and writes the stream that the engine detaches."""

    get_websocket_protocol = TORNADOS_OWN


class Scene:
    """What a test and its handlers tell each other."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.vanished = asyncio.Event()
        self.messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.sockets: list[Socket] = []

    def application(self) -> Application:
        of = {"scene": self}
        routes = [
            ("/", Mirror),
            ("/held", Held, of),
            ("/half", Half, of),
            ("/flood", Flood, of),
            ("/upload", Upload, of),
            ("/busy-upload", Upload, of),
            ("/socket", Socket, of),
            ("/stream-socket", StreamSocket, of),
        ]
        return Application(routes, log_function=lambda handler: None)


Serving = Callable[..., Any]


@dataclass(frozen=True)
class Choice:
    """An engine, and the loop that it runs on."""

    server: type[EngineServer]
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None


CHOICES = {
    "stock": Choice(StockServer),
    "native": Choice(NativeServer),
    "uvloop": Choice(NativeServer, uvloop.new_event_loop),
}


@pytest.fixture(params=CHOICES)
def choice(request: pytest.FixtureRequest) -> Choice:
    """Each engine in turn, the native one on both loops."""
    return CHOICES[request.param]


@pytest.fixture
def too_late(choice: Choice) -> bytes:
    """With what the answer to a request begins that does not come in time; Tornado (6.6) has none."""
    return b"" if choice.server is StockServer else b"HTTP/1.1 408 "


@pytest.fixture
def engine(choice: Choice) -> type[EngineServer]:
    return choice.server


@pytest.fixture
def loop_factory(choice: Choice) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What the plugin that runs coroutine tests makes their loop with."""
    return choice.loop_factory


@pytest.fixture
def serving(clock: FakeClock, engine: type[EngineServer], loop_factory: object) -> Serving:
    """`async with serving(...) as (server, port, scene)`: a server on a free port, with the test's clock."""

    @asynccontextmanager
    async def serve(
        *, tls_listener: bool = False, proxy_protocol: bool = False, **options: Any
    ) -> AsyncIterator[tuple[EngineServer, int, Scene]]:
        scene = Scene()
        server = engine(scene.application(), clock=clock.monotonic, **options)
        [listener] = bind_tcp("127.0.0.1", 0, tls=tls_listener, proxy_protocol=proxy_protocol)
        server.add_listeners([listener])
        try:
            yield server, listener.socket.getsockname()[1], scene
        finally:
            await server.close()

    return serve


@pytest.fixture
def connect() -> Callable[..., Any]:
    return connected


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """`certificate(name, password=None)` writes a self-signed certificate for localhost and its key as PEM files."""

    return partial(write_certificate, tmp_path)


@pytest.fixture
def until() -> Callable[..., Any]:
    """`await until(lambda: ...)` lets the loop turn until something holds that no event tells."""

    async def turn(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0)

    return turn


@pytest.fixture
def only_link(until: Callable[..., Any]) -> Callable[..., Any]:
    """`await only_link(server)` is the engine's record of the one connection that there is."""

    async def find(server: EngineServer) -> Any:
        await until(lambda: server.counts.open == 1)
        [link] = server._links
        return link

    return find


@pytest.fixture
def until_idle(until: Callable[..., Any], only_link: Callable[..., Any]) -> Callable[..., Any]:
    """`await until_idle(server)`: its one connection has been answered and waits for the next request."""

    async def wait(server: EngineServer) -> None:
        link = await only_link(server)
        await until(lambda: link.idle and link.requests > 0)

    return wait
