"""The end of a process: what SIGTERM lets finish, what it tells to whom, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from pathlib import Path

import pytest
from processes import PATIENCE, Process, refused, serving, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from wshttp import Server, Session, Settings
from wshttp import server as server_module
from wshttp.testing import FakeClock

pytestmark = pytest.mark.both_engines

APP = """
import asyncio, signal

def setup(server):
    released = asyncio.Event()

    @server.on_startup
    def listen(server):
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, released.set)

    @server.get("/held")
    async def held(request):
        print("held", flush=True)
        await released.wait()
        request.session["late"] = "committed"
        return "done"

    @server.websocket("/echo")
    async def echo(connection, message):
        await connection.send(message)

    def note(what):
        with open("journal", "a") as file:
            file.write(what + "\\n")

    @server.on_disconnect
    def disconnected(connection, code, reason):
        note(f"disconnected {code} {reason}")

    @server.on_session_end
    async def ended(session, reason):
        await asyncio.sleep(0)
        note(f"ended {reason} {session.get('late')}")

    @server.on_shutdown
    def shut_down(server):
        note("shut down")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(APP)
    return tmp_path


def socket_of(server: Process, path: str = "/echo") -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=PATIENCE)


def close_of(client: ClientConnection) -> tuple[int, str]:
    """Read until the server closes, and return its code and reason."""
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            client.recv(timeout=PATIENCE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


@pytest.mark.feature("W10", "L13", "E1")
def test_drain_finishes_what_was_begun_and_takes_nothing_new(folder: Path) -> None:
    """Not ready and no new connections; the slow request is answered, sockets get 1001, ends are delivered; status 0."""
    with serving("--app", "own:setup", cwd=folder) as server, socket_of(server) as client:
        client.send("hello")
        assert client.recv(timeout=PATIENCE) == "hello"
        idle, held = server.connect(), server.connect()
        idle.request("GET", "/wshttp/health/ready")
        assert json.loads(idle.getresponse().read()) == {"status": "ready"}
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as half:
            half.sendall(b"GET /wshttp/health/ready HTTP/1.1\r\nHost: loc")
            held.request("GET", "/held")
            server.out.wait_for("^held$")
            server.signal(signal.SIGTERM)
            until(lambda: refused(server.port))
            half.sendall(b"alhost\r\n\r\n")
            not_ready = half.makefile("rb").read()
        assert not_ready.startswith(b"HTTP/1.1 503 ")
        assert not_ready.endswith(b'{"status": "draining"}')
        assert idle.sock is not None
        assert idle.sock.recv(1) == b"", "nothing was under way on it"
        assert close_of(client) == (1001, "going away")
        server.signal(signal.SIGUSR1)
        answer = held.getresponse()
        assert (answer.status, answer.headers["Connection"], answer.read()) == (200, "close", b"done")
        assert server.exit_status() == 0
    assert (folder / "journal").read_text().splitlines() == [
        "disconnected 1001 going away",
        "ended shutdown committed",
        "shut down",
    ]


@pytest.mark.feature("W10")
def test_drain_cuts_what_does_not_finish(folder: Path) -> None:
    """After `drain_timeout` a request without an answer and a socket that ignores its close are cut; status 0."""
    with serving("--app", "own:setup", "--set", "server.drain_timeout=100ms", cwd=folder) as server:
        held = server.connect()
        held.request("GET", "/held")
        server.out.wait_for("^held$")
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as deaf:
            deaf.sendall(
                f"GET /echo HTTP/1.1\r\nHost: localhost:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            stream = deaf.makefile("rb")
            assert b" 101 " in stream.readline()
            server.signal(signal.SIGTERM)
            assert stream.read().endswith(b"\x03\xe9going away")
            assert server.exit_status() == 0
        assert held.sock is not None
        assert held.sock.recv(1) == b""
    assert "ended shutdown None" in (folder / "journal").read_text()


@pytest.mark.feature("E1")
@pytest.mark.parametrize("stuck", ["asyncio.Event().wait()", "asyncio.to_thread(threading.Event().wait)"])
def test_end_that_is_never_delivered_is_said_and_shows_in_the_exit_status(stuck: str, tmp_path: Path) -> None:
    """A callback that never returns holds the process up for its time and no longer; status 1."""
    (tmp_path / "own.py").write_text(
        "import asyncio, threading\n"
        "import wshttp.server\n"
        "wshttp.server.LAST_CALLBACKS = 0.1\n"
        "def setup(server):\n"
        "    @server.on_session_end\n"
        f"    async def ended(session, reason):\n        await {stuck}\n"
    )
    with serving("--app", "own:setup", "--set", "server.drain_timeout=100ms", cwd=tmp_path) as server:
        assert server.get("/wshttp/session").status == 200
        assert server.stop() == 1
        server.err.wait_for("ERROR .*1 sessions' end callbacks were not delivered")


@pytest.mark.feature("W10")
@pytest.mark.feature("W10")
@pytest.mark.parametrize("way", ["swallow", "thread"])
def test_handler_that_does_not_stop_is_given_up(way: str, tmp_path: Path) -> None:
    """One that swallows its cancellation, or sits in a thread, does not keep the process from its exit; status 1."""
    (tmp_path / "own.py").write_text(
        "import asyncio, threading\n"
        "def setup(server):\n"
        "    @server.get('/swallow')\n"
        "    async def swallow(request):\n"
        "        print('held', flush=True)\n"
        "        while True:\n"
        "            try:\n"
        "                await asyncio.Event().wait()\n"
        "            except asyncio.CancelledError:\n"
        "                pass\n"
        "    @server.get('/thread')\n"
        "    async def thread(request):\n"
        "        print('held', flush=True)\n"
        "        await asyncio.to_thread(threading.Event().wait)\n"
    )
    with serving("--app", "own:setup", "--set", "server.drain_timeout=100ms", cwd=tmp_path) as server:
        held = server.connect()
        held.request("GET", f"/{way}")
        server.out.wait_for("^held$")
        assert server.stop() == 1
        server.err.wait_for("ERROR .*still running after the drain, and given up: ")


def test_kill_in_the_middle_of_a_request_leaves_nothing_in_the_way(folder: Path) -> None:
    """The client sees its connection end, and the next process listens on the same Unix socket and port."""
    on_a_socket = ["--app", "own:setup", "--set", "server.unix_socket=own.sock", "--set", "session.identity=[cookie]"]
    with serving(*on_a_socket, cwd=folder) as server:
        assert server.address == "unix:own.sock"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "own.sock"))
            client.sendall(b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
            server.out.wait_for("^held$")
            server.kill()
            assert client.recv(1) == b""
    assert (folder / "own.sock").is_socket(), "nobody was left to remove it"
    with serving(*on_a_socket, cwd=folder) as server, socket.socket(socket.AF_UNIX) as client:
        assert server.address == "unix:own.sock"
        client.connect(str(folder / "own.sock"))
        client.sendall(b"GET /wshttp/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 200 ")
        assert server.stop() == 0
    assert not (folder / "own.sock").exists()
    with serving("--app", "own:setup", cwd=folder) as server:
        port = server.port
        held = server.connect()
        held.request("GET", "/held")
        server.out.wait_for("^held$")
        server.kill()
        assert held.sock is not None
        assert held.sock.recv(1) == b""
    with serving(port=port, cwd=folder) as server:
        assert server.get("/wshttp/health/live").status == 200


async def test_stop_returns_how_many_ends_were_not_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who embeds a server learns what the exit status would have told; the other sessions' ends were delivered."""
    monkeypatch.setattr(server_module, "LAST_CALLBACKS", 0.01)
    server = Server(Settings.model_validate({"server": {"port": 0, "drain_timeout": 0}}))
    delivered = []

    @server.on_session_end
    async def ended(session: Session, reason: str) -> None:
        if session.remote_ip == "192.0.2.1":
            await asyncio.Event().wait()
        delivered.append((session.remote_ip, reason))

    await server.start()
    for number in range(3):
        await server.sessions.create(remote_ip=f"192.0.2.{number}")
    assert await server.stop() == 1
    assert sorted(delivered) == [("192.0.2.0", "shutdown"), ("192.0.2.2", "shutdown")]


async def test_drain_and_last_callbacks_share_one_deadline(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> None:
    """What the requests took of the time, the callbacks do not get again: `drain_timeout` + 5 s is all there is."""
    given: list[float] = []
    server = Server(Settings.model_validate({"server": {"port": 0}}), clock=clock)
    await server.start()
    drain, end = server.hub.drain, server.sessions.drain

    async def slow_drain(seconds: float) -> None:
        clock.advance(7)
        await drain(seconds)

    async def noted_end(timeout: float) -> int:
        given.append(timeout)
        return await end(timeout)

    monkeypatch.setattr(server.hub, "drain", slow_drain)
    monkeypatch.setattr(server.sessions, "drain", noted_end)
    await server.stop()
    assert sum(given) == 10.0 + server_module.LAST_CALLBACKS - 7
