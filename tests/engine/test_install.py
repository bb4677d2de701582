from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, ResponseStartLine
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, WebSocketProtocol13, websocket_connect

from wshttp.engine import install, uninstall
from wshttp.engine.listeners import bind_tcp
from wshttp.engine.native import NativeServer
from wshttp.engine.stock import StockServer
from wshttp.engine.websocket.protocol import NativeWebSocket

PATIENCE = 10.0


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")


class Echo(WebSocketHandler):
    """Tornado's own example, which also tells what carries it."""

    def on_message(self, message: str | bytes) -> None:
        self.write_message(f"{message!r} by {type(self.ws_connection).__name__}")


@pytest.fixture
def installed() -> Iterator[None]:
    install()
    yield
    uninstall()


async def answers_of(server: Any) -> tuple[bytes, str]:
    """Return what a Tornado program's server says to an HTTP and to a WebSocket client."""
    address = f"127.0.0.1:{server._accepting[0][1].socket.getsockname()[1]}"
    hello = await AsyncHTTPClient().fetch(f"http://{address}/")
    socket = await asyncio.wait_for(websocket_connect(f"ws://{address}/echo"), PATIENCE)
    await socket.write_message("hi")
    echo = await asyncio.wait_for(socket.read_message(), PATIENCE)
    socket.close()
    await server.close()
    assert isinstance(echo, str)
    return hello.body, echo


def application() -> Application:
    return Application([("/", Hello), ("/echo", Echo)], log_function=lambda handler: None)


@pytest.mark.usefixtures("installed")
async def test_unchanged_tornado_program_runs_on_the_native_engine() -> None:
    """By `listen` as by the class, HTTP and WebSocket."""
    server = application().listen(0, "127.0.0.1")
    assert type(server) is NativeServer
    assert type(HTTPServer(application())) is NativeServer
    assert await answers_of(server) == (b"hello", f"'hi' by {NativeWebSocket.__name__}")


async def test_native_server_has_its_own_framing_without_installing_anything() -> None:
    """As the program chose it, with an unchanged `WebSocketHandler`."""
    server = NativeServer(application())
    server.add_listeners(bind_tcp("127.0.0.1", 0))
    assert await answers_of(server) == (b"hello", f"'hi' by {NativeWebSocket.__name__}")


@pytest.mark.usefixtures("installed")
async def test_websocket_on_another_server_keeps_tornados_framing() -> None:
    """Where the connection is not the engine's there is nothing to hand over."""
    NativeServer(application())
    server = StockServer(application())
    server.add_listeners(bind_tcp("127.0.0.1", 0))
    assert await answers_of(server) == (b"hello", f"'hi' by {WebSocketProtocol13.__name__}")


class Guarded(Application):
    """An application that looks at each request before it is routed, in Tornado's own way."""

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return Guard(super().start_request(server_conn, request_conn), request_conn)


class Guard(HTTPMessageDelegate):
    def __init__(self, application: HTTPMessageDelegate, connection: HTTPConnection) -> None:
        self._application = application
        self._connection = connection
        self._is_let_in = False

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Awaitable[None] | None:
        self._is_let_in = "X-Key" in headers
        return self._application.headers_received(start_line, headers) if self._is_let_in else None

    def finish(self) -> None:
        if self._is_let_in:
            self._application.finish()
        else:
            self._connection.write_headers(
                ResponseStartLine("", 403, "Forbidden"), HTTPHeaders({"Content-Length": "0"})
            )
            self._connection.finish()


@pytest.mark.usefixtures("installed")
async def test_application_that_starts_requests_itself_is_asked() -> None:
    """What it puts before its handlers is never left out for being faster."""
    server: Any = Guarded([("/", Hello)], log_function=lambda handler: None).listen(0, "127.0.0.1")
    address = f"http://127.0.0.1:{server._accepting[0][1].socket.getsockname()[1]}/"
    client = AsyncHTTPClient()
    assert (await client.fetch(address, raise_error=False)).code == 403
    assert (await client.fetch(address, headers={"X-Key": "1"})).body == b"hello"
    await server.close()


async def test_uninstalling_gives_tornado_its_own_back() -> None:
    """Servers that are made then are Tornado's, and those that were made go on."""
    install()
    server = application().listen(0, "127.0.0.1")
    uninstall()
    assert type(HTTPServer(application())) is HTTPServer
    assert await answers_of(server) == (b"hello", f"'hi' by {NativeWebSocket.__name__}")
