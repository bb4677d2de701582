"""TLS end to end: the page, the socket and the cookie of a server that has a certificate."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import trusting, write_certificate
from processes import PATIENCE, Process, serving
from websockets.asyncio.client import connect

pytestmark = pytest.mark.both_engines

APP = """
def setup(server):
    @server.websocket("/count")
    async def count(connection, message):
        await connection.send(str(await connection.session.increment("messages")))

    @server.get("/counted")
    async def counted(request):
        return {"messages": request.session.get("messages", 0), "scheme": request.http.protocol}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return write_certificate(tmp_path_factory.mktemp("certificate"), "localhost")


@pytest.fixture(scope="module")
def server(engine_in_use: str, files: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("application")
    (folder / "own.py").write_text(APP)
    tls = f"server.tls={{certificate: {files[0]}, key: {files[1]}}}"
    with serving("--app", "own:setup", "--set", tls, "--set", "session.identity=[cookie]", cwd=folder) as process:
        yield process


@pytest.mark.feature("W8", "I5")
def test_cookie_over_tls_is_secure_and_of_this_host_alone(server: Process, files: tuple[str, str]) -> None:
    """Nobody set anything for it: `__Host-`, `Secure`, and everything else that goes with a session cookie."""
    assert server.address.startswith("https://127.0.0.1:")
    name, *attributes = server.get("/wshttp/session", tls=trusting(files[0])).headers["Set-Cookie"].split("; ")
    assert name.startswith("__Host-wshttp=")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]


@pytest.mark.feature("W8", "W1")
def test_page_and_socket_over_tls_share_one_session(server: Process, files: tuple[str, str]) -> None:
    """`https` and `wss` on one port, with one cookie."""
    tls = trusting(files[0])
    cookie = server.get("/wshttp/session", tls=tls).headers["Set-Cookie"].partition(";")[0]
    headers = {"Cookie": cookie, "Origin": f"https://localhost:{server.port}"}

    async def count() -> list[str | bytes]:
        # Not the client with threads: two of them on one TLS object can block each other (CPython 3.11).
        url = f"wss://localhost:{server.port}/count"
        async with connect(url, ssl=tls, additional_headers=headers, open_timeout=PATIENCE) as client:
            answers = []
            for _ in range(2):
                await client.send("hello")
                answers.append(await asyncio.wait_for(client.recv(), PATIENCE))
            return answers

    assert asyncio.run(count()) == ["1", "2"]
    answer = server.get("/counted", {"Cookie": cookie}, tls=tls)
    assert json.loads(answer.body) == {"messages": 2, "scheme": "https"}


@pytest.mark.feature("W8")
def test_plain_http_on_a_tls_port_gets_nothing(server: Process, files: tuple[str, str]) -> None:
    """No answer in the clear, no session, and no harm to others."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
        client.sendall(b"GET /wshttp/session HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in _rest(client)
    assert server.get("/wshttp/health/live", tls=trusting(files[0])).status == 200


def _rest(client: socket.socket) -> bytes:
    try:
        return client.makefile("rb").read()
    except ConnectionResetError:
        return b""


@pytest.mark.feature("W8", "I5")
def test_cookie_behind_a_proxy_follows_the_scheme_that_it_tells(tmp_path: Path) -> None:
    """Where a trusted proxy ends TLS, `X-Forwarded-Proto` decides; from anybody else it is no word at all."""
    identity = ("--set", "session.identity=[cookie]")
    told = {"X-Forwarded-Proto": "https"}
    with serving("--set", "server.trusted_proxies=[127.0.0.1]", *identity, cwd=tmp_path) as server:
        assert "; Secure" in server.get("/wshttp/session", told).headers["Set-Cookie"]
        assert "; Secure" not in server.get("/wshttp/session").headers["Set-Cookie"]
    with serving(*identity, cwd=tmp_path) as server:
        assert "; Secure" not in server.get("/wshttp/session", told).headers["Set-Cookie"]


def test_client_that_stalls_in_the_handshake_is_let_go(files: tuple[str, str], tmp_path: Path) -> None:
    """Who connects and never shakes hands is closed after `server.header_timeout`, and holds up nobody."""
    tls = f"server.tls={{certificate: {files[0]}, key: {files[1]}}}"
    with (
        serving("--set", tls, "--set", "server.header_timeout=100ms", cwd=tmp_path) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as stalled,
    ):
        stalled.sendall(b"\x16\x03\x01")
        assert server.get("/wshttp/health/live", tls=trusting(files[0])).status == 200
        assert _rest(stalled) == b""
