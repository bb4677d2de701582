"""Several processes behind one port: what their operator sees, and what their clients must not notice."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE, ROOT, SERVE, Process, environment, refused, run, serving, until
from redis_servers import RedisServer
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from wshttp.workers.delay import FIRST, LONGEST, Delay
from wshttp.workers.worker import VARIABLE, Worker, commission

PROGRAM = f"""
import asyncio, os, sys
from wshttp import Server
from wshttp.errors import StoreUnavailable, StoreUnusable
from wshttp.sessions.clock import SystemClock
from wshttp.stores.memory import MemoryStore
from wshttp.workers import delay

WORKER = {VARIABLE!r} in os.environ
# first

class Store(MemoryStore):
    async def open(self):
        print("opened", flush=True)
        await super().open()

# Not a store for workers: each has its own sessions. What is tested here needs no more.
server = Server.from_config("own.yaml", overrides=sys.argv[1:], store=Store(SystemClock()))

@server.get("/pid")
async def pid(request):
    return str(os.getpid())

@server.get("/held")
async def held(request):
    print("held", flush=True)
    await asyncio.Event().wait()

@server.websocket("/pid-socket")
async def answer(connection, message):
    await connection.send(str(os.getpid()))

# last

server.run()
print("over", flush=True)
"""

SETTINGS = """
server: {workers: 2, port: 0}
store: {kind: redis}
session: {identity: [cookie]}
"""

GATE = """
if WORKER and os.path.exists("gate"):
    print("waits", flush=True)
    with open("gate") as gate:
        gate.read()
"""
"""Have a worker wait at its beginning until somebody writes to the pipe `gate`, where there is one."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_program(tmp_path)


def write_program(folder: Path, first: str = "", last: str = "") -> Path:
    """Write a program with two workers, and its settings; `first` and `last` are put into it."""
    (folder / "own.py").write_text(PROGRAM.replace("# first", first).replace("# last", last))
    (folder / "own.yaml").write_text(SETTINGS)
    return folder


@contextmanager
def parent_in(folder: Path, *overrides: str, faults: bool = False) -> Iterator[Process]:
    """Run the program of a folder. Afterwards none of its processes is left, or their output would not have ended."""
    with serving(
        *overrides, command=(sys.executable, "own.py"), port=None, cwd=folder, env={"PYTHONSAFEPATH": ""}, faults=faults
    ) as parent:
        try:
            yield parent
        finally:
            open_gate(folder)  # who waits there would not notice that its parent is gone


def open_gate(folder: Path) -> None:
    """Let through who waits at the gate, and who comes from now on."""
    gate = folder / "gate"
    if gate.exists():
        writer = os.open(gate, os.O_RDWR)
        gate.unlink()
        os.close(writer)


def pid_of(parent: Process, number: int, after: int = 0) -> int:
    """Wait until a worker with this number listens, and return its process id."""
    return int(parent.err.wait_for(rf"worker {number} \(pid (\d+)\) listens", after)[1])


def pids_of(parent: Process) -> list[int]:
    assert parent.address
    return [pid_of(parent, number) for number in (1, 2)]


def lines_with(parent: Process, text: str) -> int:
    return sum(text in line for line in parent.err)


def answering(parent: Process, connections: int = 50) -> set[int]:
    """Return who answers, over so many connections, each of which must be answered."""
    answers = [parent.get("/pid") for _ in range(connections)]
    assert {answer.status for answer in answers} == {200}
    return {int(answer.text) for answer in answers}


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def on_each(pids: list[int], connect: Callable[[], tuple[int, Any]]) -> list[Any]:
    """Connect until there is a connection to each worker."""
    found: dict[int, Any] = {}
    while set(found) != set(pids):
        pid, connection = connect()
        if pid in found:
            connection.close()
        found.setdefault(pid, connection)
    return [found[pid] for pid in pids]


@contextmanager
def sockets_on(parent: Process, pids: list[int]) -> Iterator[list[ClientConnection]]:
    """Open a WebSocket to each worker."""
    with ExitStack() as opened:

        def open_one() -> tuple[int, ClientConnection]:
            url = f"ws://127.0.0.1:{parent.port}/pid-socket"
            client = opened.enter_context(connect(url, open_timeout=PATIENCE))
            client.send("who?")
            return int(client.recv(timeout=PATIENCE)), client

        yield on_each(pids, open_one)


def hold_on_each(parent: Process, pids: list[int]) -> list[http.client.HTTPConnection]:
    """Send each worker a request that it never answers."""

    def open_one() -> tuple[int, http.client.HTTPConnection]:
        connection = parent.connect()
        connection.request("GET", "/pid")
        return int(connection.getresponse().read()), connection

    connections = on_each(pids, open_one)
    for connection in connections:
        begin = len(parent.out)
        connection.request("GET", "/held")
        parent.out.wait_for("^held$", begin)
    return connections


def close_code_of(client: ClientConnection) -> int:
    """Read until the server closes, and return its code."""
    with pytest.raises(ConnectionClosed) as closed:
        client.recv(timeout=PATIENCE)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


# --- one server from outside ----------------------------------------------------------------------


@pytest.mark.feature("W10")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_are_one_server(number: int, folder: Path) -> None:
    """One line with the one port, at any log level; all workers answer on it; status 0, and nothing is left."""
    with parent_in(folder, "log.level=error") as parent:
        pids = answering(parent)
        assert len(pids) == 2
        assert parent.pid not in pids
        port = parent.port
        parent.signal(number)
        assert parent.exit_status() == 0
        assert refused(port)
        assert not any(map(lives, pids))
    lines = list(parent.out)
    assert lines.count(f"wshttp listening on http://127.0.0.1:{port}") == 1
    assert lines.count("opened") == 2, "the parent has no store"
    assert str(parent.err) == ""


@pytest.mark.feature("W9", "W10")
@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, str(ROOT / "run.py")),
        SERVE,
        (sys.executable, "-c", "from wshttp.cli import main; main()", "serve"),
    ],
    ids=["run.py", "python -m wshttp serve", "wshttp serve"],
)
def test_each_way_to_serve_has_workers_that_share_sessions(
    command: tuple[str, ...], tmp_path: Path, redis_server: RedisServer, redis_prefix: str
) -> None:
    """The parent repeats its own command, whichever; a session made on one worker is the same on all."""
    write_application(tmp_path, redis_server, redis_prefix)
    with serving("--config", "own.yaml", "--app", "own:setup", command=command, cwd=tmp_path) as parent:
        cookie = cookie_of(parent)
        answers = [visit(parent, cookie) for _ in range(40)]
        assert [visits for visits, _ in answers] == list(range(1, 41))
        assert len({pid for _, pid in answers}) == 2
        assert parent.stop() == 0
    assert str(parent.out) == f"wshttp listening on {parent.address}"


@pytest.mark.feature("W9", "W10")
def test_sessions_go_on_when_workers_end(tmp_path: Path, redis_server: RedisServer, redis_prefix: str) -> None:
    """Through a restart in turn, and a death: each request counts once, whoever answers it."""
    write_application(tmp_path, redis_server, redis_prefix)
    with serving("--config", "own.yaml", "--app", "own:setup", cwd=tmp_path) as parent:
        pids, cookie = pids_of(parent), cookie_of(parent)
        answers = [visit(parent, cookie)]
        parent.signal(signal.SIGUSR2)
        while parent.err.find("all workers restarted") is None:
            answers.append(visit(parent, cookie))
        successor = next(pid for _, pid in reversed(answers) if pid not in pids)
        begin = len(parent.err)
        os.kill(successor, signal.SIGKILL)
        parent.err.wait_for("another one starts", begin)
        answers += [visit(parent, cookie) for _ in range(10)]
        parent.err.wait_for("worker . .* listens", begin)
        answers += [visit(parent, cookie) for _ in range(10)]
        assert [visits for visits, _ in answers] == list(range(1, len(answers) + 1))
        assert {pid for _, pid in answers} - set(pids)
        assert parent.stop() == 0


def write_application(folder: Path, redis: RedisServer, prefix: str) -> None:
    """Write an application that counts visits in the session, and settings for two workers on a Redis."""
    (folder / "own.py").write_text(
        "import os\n"
        "async def setup(server):\n"
        "    @server.get('/visits')\n"
        "    async def visits(request):\n"
        "        return [await request.session.increment('visits'), os.getpid()]\n"
    )
    (folder / "own.yaml").write_text(
        f"server: {{workers: 2}}\nstore: {{kind: redis, url: '{redis.url()}', prefix: {prefix}}}\n"
        "session: {identity: [cookie]}\n"
    )


def cookie_of(server: Process) -> dict[str, str]:
    """Start a session, and return the header with which to come back to it."""
    return {"Cookie": server.get("/wshttp/session").headers["Set-Cookie"].partition(";")[0]}


def visit(server: Process, cookie: dict[str, str]) -> tuple[int, int]:
    """Count one visit; return how many there were, and who has counted."""
    answer = server.get("/visits", cookie)
    assert answer.status == 200, answer.text
    visits, pid = json.loads(answer.text)
    return visits, pid


def test_workers_on_several_addresses_have_one_port(folder: Path) -> None:
    """`localhost` is IPv4 and IPv6, for the parent and for each worker."""
    with parent_in(folder, "server.host=localhost") as parent:
        found = parent.out.wait_for(r"^wshttp listening on (.*)$")
        addresses = found[1].split(", ")
        assert len({address.rpartition(":")[2] for address in addresses}) == 1
        for address in addresses:
            with socket.create_connection(
                (address.removeprefix("http://").rpartition(":")[0].strip("[]"), port_in(address))
            ):
                pass
        assert parent.stop() == 0


def port_in(address: str) -> int:
    return int(address.rpartition(":")[2])


# --- drain ----------------------------------------------------------------------------------------


@pytest.mark.feature("W10")
def test_sigterm_drains_all_at_once_and_a_second_signal_ends_all_now(folder: Path) -> None:
    """Each tells its sockets to go while the others have not done yet; who asks twice does not want to wait; status 1."""
    with parent_in(folder, "server.drain_timeout=1h") as parent:
        pids = pids_of(parent)
        with sockets_on(parent, pids) as clients:
            held = hold_on_each(parent, pids)
            parent.signal(signal.SIGTERM)
            assert [close_code_of(client) for client in clients] == [1001, 1001]
        assert refused(parent.port)
        assert all(map(lives, pids))
        parent.signal(signal.SIGTERM)
        assert parent.exit_status() == 1
        for connection in held:
            assert connection.sock is not None
            assert connection.sock.recv(1) == b""


def test_drain_that_fails_in_one_worker_shows_in_the_exit_status(folder: Path) -> None:
    """Undelivered ends of one worker are the server's: status 1, and a line that names the worker."""
    stuck = (
        "import wshttp.server\n"
        "wshttp.server.LAST_CALLBACKS = 0.1\n"
        "@server.on_session_end\n"
        "async def ended(session, reason):\n    await asyncio.Event().wait()\n"
    )
    with parent_in(write_program(folder, last=stuck), "server.drain_timeout=100ms") as parent:
        pids = pids_of(parent)
        [pid] = answering(parent, 1)
        assert parent.stop() == 1
        assert parent.err.find("ERROR .*1 sessions' end callbacks were not delivered")
        assert parent.err.find(rf"ERROR .*worker {pids.index(pid) + 1} \(pid {pid}\) ended with status 1$")


def test_worker_that_hears_a_signal_twice_drains_all_the_same(folder: Path) -> None:
    """A service manager may signal every process; what the parent sends as well must not cut the drain short."""
    with parent_in(folder, "server.drain_timeout=1h") as parent:
        pids = pids_of(parent)
        with sockets_on(parent, pids) as clients:
            held = hold_on_each(parent, pids)
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
            assert [close_code_of(client) for client in clients] == [1001, 1001]
        parent.signal(signal.SIGTERM)
        os.kill(pids[0], signal.SIGINT)
        for connection in held:
            connection.close()
        assert parent.exit_status() == 0


@pytest.mark.feature("W10")
def test_workers_drain_when_their_parent_is_killed(folder: Path) -> None:
    """Nobody would restart, reload or stop them any more: sockets get 1001, the port is free, no process is left."""
    with parent_in(folder) as parent:
        pids = pids_of(parent)
        with sockets_on(parent, pids) as clients:
            parent.kill()
            assert [close_code_of(client) for client in clients] == [1001, 1001]
        until(lambda: not any(map(lives, pids)))
        assert refused(parent.port)


# --- a worker that dies ---------------------------------------------------------------------------


@pytest.mark.feature("W10")
def test_dead_worker_is_replaced_on_the_same_port(folder: Path) -> None:
    """The log says which died and of what; another one has its number and its port."""
    with parent_in(folder) as parent:
        pids = pids_of(parent)
        begin = len(parent.err)
        os.kill(pids[1], signal.SIGKILL)
        parent.err.wait_for(
            rf"ERROR .*worker 2 \(pid {pids[1]}\) was killed by signal 9 \(Killed\); another one starts in 0.5 s", begin
        )
        replacement = pid_of(parent, 2, begin)
        assert answering(parent) == {pids[0], replacement}
        assert parent.stop() == 0


@pytest.mark.feature("W10")
def test_dead_worker_gets_no_connections(folder: Path) -> None:
    """Until another one is in its place, all new connections go to those that live."""
    with parent_in(write_program(folder, first="delay.FIRST = 3600.0")) as parent:
        pids = pids_of(parent)
        os.kill(pids[0], signal.SIGKILL)
        parent.err.wait_for("another one starts in 3600 s")
        assert answering(parent) == {pids[1]}
        assert parent.stop() == 0


def test_worker_that_cannot_start_again_is_tried_again_and_again(folder: Path) -> None:
    """Each time after a longer wait, and for as long as it takes; who was asked to end by hand is replaced, too."""
    first = "delay.FIRST = 0.01\nif WORKER and os.path.exists('broken'):\n    sys.exit(7)\n"
    with parent_in(write_program(folder, first=first)) as parent:
        pids = pids_of(parent)
        begin = len(parent.err)
        (folder / "broken").touch()
        os.kill(pids[0], signal.SIGTERM)
        parent.err.wait_for(r"worker 1 \(pid \d+\) ended with status 0; another one starts in 0.01 s", begin)
        parent.err.wait_for(
            r"worker 1 \(pid \d+\) ended with status 7 before it listened; another one starts in 0.02 s", begin
        )
        parent.err.wait_for(
            r"worker 1 \(pid \d+\) ended with status 7 before it listened; another one starts in 0.04 s", begin
        )
        (folder / "broken").unlink()
        replacement = pid_of(parent, 1, begin)
        assert answering(parent) == {replacement, pids[1]}
        assert parent.stop() == 0


def test_delay_doubles_up_to_its_limit_and_begins_again_after_a_long_life() -> None:
    """0.5 s, 1 s, 2 s ... 30 s; a worker that has lived for 30 s was well."""
    delay = Delay()
    assert [delay.after(lived=0) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert delay.after(lived=LONGEST) == FIRST
    assert delay.after(lived=LONGEST - 1) == 2 * FIRST


# --- a start that fails ---------------------------------------------------------------------------


FAILING_STORE = """
async def fail():
    raise {}

if WORKER:
    server.sessions.store.open = fail
"""


@pytest.mark.parametrize(
    ("first", "last", "status", "line"),
    [
        ("if WORKER: sys.exit(7)", "", 7, "ERROR   wshttp.workers: worker 1 ended with status 7 before it listened"),
        ("if WORKER: os.kill(os.getpid(), 9)", "", 1, "worker 1 was killed by signal 9 (Killed) before it listened"),
        ("if WORKER: sys.exit()", "", 1, "worker 1 ended with status 0 before it listened"),
        ("", FAILING_STORE.format("StoreUnusable('it is no store')"), 1, "it is no store"),
        ("", FAILING_STORE.format("StoreUnavailable('nobody is there')"), 1, "nobody is there"),
    ],
)
def test_worker_that_fails_at_the_first_start_ends_all(
    first: str, last: str, status: int, line: str, folder: Path
) -> None:
    """With its own status and one line, and without another try."""
    with parent_in(write_program(folder, first, last)) as parent:
        assert parent.exit_status() == status
        [said] = parent.err.whole().splitlines()
        assert said.endswith(line)
        assert parent.out.find("listening") is None


def test_second_worker_that_fails_at_the_first_start_ends_all(folder: Path) -> None:
    """The first, which listens already, drains; nobody was told that the server listens."""
    once = "if WORKER:\n    try: os.mkdir('first')\n    except FileExistsError: sys.exit(7)\n"
    with parent_in(write_program(folder, first=once)) as parent:
        assert parent.exit_status() == 7
        assert parent.err.find("worker 2 ended with status 7 before it listened")
        assert parent.out.find("listening") is None


def test_python_that_cannot_be_run_again_is_said(folder: Path) -> None:
    """At a first start it ends all; in a restart, and for a dead worker's place, it can come back."""
    python = folder / "python"
    with parent_in(
        write_program(folder, first="delay.FIRST = 0.01\nsys.executable = os.path.abspath('python')")
    ) as parent:
        assert parent.exit_status() == 1
        [said] = parent.err.whole().splitlines()
        assert "worker 1 cannot be started: [Errno 2] No such file or directory" in said
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o700)
    with parent_in(folder) as parent:
        pids = pids_of(parent)
        python.rename(folder / "away")
        parent.signal(signal.SIGUSR2)
        parent.err.wait_for(rf"ERROR .*worker 1 cannot be started: .*; worker 1 \(pid {pids[0]}\) stays")
        os.kill(pids[1], signal.SIGKILL)
        parent.err.wait_for("ERROR .*worker 2 cannot be started: .*; another one starts in 0.04 s")
        begin = len(parent.err)
        (folder / "away").rename(python)
        replacement = pid_of(parent, 2, begin)
        assert answering(parent) == {pids[0], replacement}
        assert parent.stop() == 0


@pytest.mark.parametrize(
    ("override", "mistake"),
    [
        ("server.port={port}", "server.port: {port} is in use: another server listens on 127.0.0.1"),
        ("server.tls.certificate=absent.pem", "server.tls.key: is needed"),
        ("app=absent:setup", "app: absent:setup cannot be used: ModuleNotFoundError"),
    ],
)
def test_mistake_is_said_once_for_all_workers(override: str, mistake: str, folder: Path) -> None:
    """It is one line and status 2, whether the parent finds it or a worker."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = "from wshttp.cli import main; main()"
        options = ["serve", "--config", "own.yaml", "--set", override.format(port=port)]
        done = run_python("-c", command, *options, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert mistake.format(port=port) in line


def run_python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_second_server_on_the_port_of_workers_is_refused(folder: Path) -> None:
    """They share their port with each other, and with nobody else, workers or not."""
    with parent_in(folder) as parent:
        for workers in (1, 2):
            done = run_python("own.py", f"server.port={parent.port}", f"server.workers={workers}", cwd=folder)
            assert done.returncode == 2
            assert f"server.port: {parent.port} is in use" in done.stderr
        assert parent.stop() == 0


def test_sigterm_while_workers_start_ends_all(folder: Path) -> None:
    """It is heard although nobody listens yet, and is a clean end."""
    os.mkfifo(folder / "gate")
    with parent_in(write_program(folder, first=GATE)) as parent:
        parent.out.wait_for("^waits$")
        assert parent.stop() == 0
    assert str(parent.err) == ""


STARTING = """
@server.on_startup
async def begin(server):
    print("begins", flush=True)
    await asyncio.Event().wait()
"""
"""Have a worker never come to the end of its start."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_that_start_end_with_their_parent(number: int, folder: Path) -> None:
    """Whether it asks them to, or is no more: none of them goes on with what it does before it listens."""
    with parent_in(write_program(folder, last=STARTING), "session.callback_timeout=1h") as parent:
        parent.out.wait_for("^begins$")
        parent.signal(number)
        assert parent.exit_status() == (0 if number == signal.SIGTERM else -number)
        assert "over" in parent.out.whole(), "which ends when the last worker has ended"
    assert parent.err.find("ERROR|WARNING") is None


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_workers_need_a_store_that_they_share(kind: str, folder: Path) -> None:
    """It is a mistake that names `redis`, also where a program has changed the settings behind the checks."""
    done = run("serve", "--set", "server.workers=2", "--set", f"store.kind={kind}")
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "server.workers: more than 1 needs store.kind: redis" in line
    (folder / "sly.py").write_text(
        "from wshttp import Server, Settings\n"
        f"settings = Settings.model_validate({{'store': {{'kind': {kind!r}}}}})\n"
        "several = settings.server.model_copy(update={'workers': 2})\n"
        "Server(settings.model_copy(update={'server': several})).run()\n"
    )
    done = run_python("sly.py", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("server.workers: more than 1 needs store.kind: redis")


def test_reload_on_change_is_for_one_process() -> None:
    """`--reload` with workers is a mistake, said at once."""
    done = run("serve", "--reload", "--set", "server.workers=2", "--set", "store.kind=redis")
    assert done.returncode == 2
    assert done.stderr.startswith("--reload: ")
    assert len(done.stderr.splitlines()) == 1


# --- reload, and restart in turn ------------------------------------------------------------------


def test_sighup_reaches_all_workers_and_waits_for_those_that_start(folder: Path) -> None:
    """One that cannot read its settings again yet does it when it listens."""
    with parent_in(write_program(folder, first=GATE)) as parent:
        pids = pids_of(parent)
        parent.signal(signal.SIGHUP)
        until(lambda: lines_with(parent, "settings reloaded") == 2)
        os.mkfifo(folder / "gate")
        parent.signal(signal.SIGUSR2)
        parent.out.wait_for("^waits$")
        parent.signal(signal.SIGHUP)
        until(lambda: lines_with(parent, "settings reloaded") == 4)
        begin = len(parent.err)
        (folder / "gate").write_text("go on")
        assert pid_of(parent, 1, begin) not in pids
        until(lambda: lines_with(parent, "settings reloaded") == 5)
        assert parent.stop() == 0


class Caller(threading.Thread):
    """A client that sends one request after the other until it is told to stop; it repeats none."""

    def __init__(self, connection: http.client.HTTPConnection, *, keep_alive: bool) -> None:
        super().__init__()
        self.answers: list[str] = []
        self.faults: list[str] = []
        self.stopping = threading.Event()
        self._connection = connection
        self._keep_alive = keep_alive

    def run(self) -> None:
        while not (self.stopping.is_set() or self.faults):
            self.ask()
        self._connection.close()

    def ask(self) -> None:
        try:
            self._connection.request("GET", "/version")
            answer = self._connection.getresponse()
            body = answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self.faults.append(repr(error))
        else:
            self.answers.append(body) if answer.status == 200 else self.faults.append(f"{answer.status} {body}")
        if not self._keep_alive:
            self._connection.close()


class UnixConnection(http.client.HTTPConnection):
    """A connection by a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


VERSION = "@server.get('/version')\nasync def version(request):\n    return {!r}\n"


@pytest.mark.feature("W10")
@pytest.mark.parametrize("unix", [False, True], ids=["port", "unix socket"])
def test_sigusr2_restarts_in_turn_and_no_client_notices(unix: bool, folder: Path) -> None:
    """New code answers after old code, on connections old and new, and not one request fails."""
    write_program(folder, last=VERSION.format("old"))
    with (
        tempfile.TemporaryDirectory(prefix="workers-") as short,  # a Unix socket's path must be short: pytest's are not
        parent_in(folder, *([f"server.unix_socket={short}/s"] if unix else [])) as parent,
    ):
        pids, path = pids_of(parent), Path(short, "s")

        def connection() -> http.client.HTTPConnection:
            return UnixConnection(path) if unix else parent.connect()

        callers = [Caller(connection(), keep_alive=keep_alive) for keep_alive in (True, False, True, False)]
        for caller in callers:
            caller.start()
        try:
            write_program(folder, last=VERSION.format("new"))
            parent.signal(signal.SIGUSR2)
            parent.err.wait_for("all workers restarted")
        finally:
            for caller in callers:
                caller.stopping.set()
            for caller in callers:
                caller.join()
        assert [caller.faults for caller in callers] == [[], [], [], []]
        for caller in callers:
            assert set(caller.answers) <= {"old", "new"}
        last = Caller(connection(), keep_alive=False)
        last.ask()
        assert (last.answers, last.faults) == (["new"], [])
        assert not any(map(lives, pids))
        if unix:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660, "it has outlived the workers that had it first"
        assert parent.stop() == 0
        assert not path.exists()


@pytest.mark.feature("W10")
def test_worker_leaves_only_when_its_successor_listens(folder: Path) -> None:
    """One after the other: each serves until another one is in its place, and its sockets are told to come back."""
    with parent_in(write_program(folder, first=GATE)) as parent:
        pids = pids_of(parent)
        os.mkfifo(folder / "gate")
        with sockets_on(parent, pids) as clients:
            out, err = len(parent.out), len(parent.err)
            parent.signal(signal.SIGUSR2)
            for number, client in enumerate(clients, 1):
                parent.out.wait_for("^waits$", out)
                out = len(parent.out)
                for pid, each in list(zip(pids, clients, strict=True))[number - 1 :]:
                    each.send("still there?")
                    assert int(each.recv(timeout=PATIENCE)) == pid
                (folder / "gate").write_text("go on")
                assert pid_of(parent, number, err) not in pids
                assert close_code_of(client) == 1001
        parent.err.wait_for("all workers restarted")
        assert parent.stop() == 0


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (SETTINGS.replace("port: 0", "port: 0, tls: {certificate: absent, key: absent}"), "server.tls.certificate: "),
        ("server: {workers: 1}\nstore: {kind: memory}", "server.workers: more than 1 needs store.kind: redis"),
    ],
)
def test_restart_with_a_mistake_leaves_the_workers_as_they_are(settings: str, reason: str, folder: Path) -> None:
    """Whoever cannot follow is told why, and the old ones go on; a later restart without it comes to its end."""
    with parent_in(folder) as parent:
        pids = pids_of(parent)
        (folder / "own.yaml").write_text(settings)
        parent.signal(signal.SIGUSR2)
        parent.err.wait_for(r"ERROR .*ended with status 2 before it listened; worker 1 .* stays")
        parent.err.wait_for("ERROR .*restart given up")
        assert parent.err.find(reason)
        assert answering(parent) == set(pids)
        (folder / "own.yaml").write_text(SETTINGS)
        parent.signal(signal.SIGUSR2)
        parent.err.wait_for("all workers restarted")
        assert not answering(parent) & set(pids)
        assert parent.stop() == 0


def test_restart_in_turn_keeps_what_is_the_parents(folder: Path) -> None:
    """Address and number of workers are the parent's; a change of them is said, and waits for a whole restart."""
    with parent_in(folder) as parent:
        pids, address = pids_of(parent), parent.address
        (folder / "own.yaml").write_text(SETTINGS.replace("workers: 2, port: 0", "workers: 5, port: 1"))
        parent.signal(signal.SIGUSR2)
        parent.err.wait_for("all workers restarted")
        assert parent.err.find("WARNING .*server.port changed in the settings; it needs a restart of all")
        assert parent.err.find("WARNING .*server.workers changed in the settings; it needs a restart of all")
        found = answering(parent)
        assert len(found) == 2
        assert not found & set(pids)
        assert parent.address == address
        assert parent.stop() == 0


def test_sigusr2_for_a_server_without_workers_does_it_no_harm() -> None:
    """There is nobody to take its place; it says so, and goes on."""
    with serving() as server:
        assert server.address
        server.signal(signal.SIGUSR2)
        server.err.wait_for("WARNING .*server.workers above 1")
        assert server.stop() == 0


# --- who is a worker ------------------------------------------------------------------------------


def test_worker_is_commissioned_once() -> None:
    """The environment of programs that it starts says nothing of it; what it has is its own."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as listening:
        channel = socket.socket(fileno=os.dup(theirs.fileno()))
        given = socket.socket(fileno=os.dup(listening.fileno()))
        environ = {VARIABLE: commission(2, channel, [given], {"workers": 2})}
        channel.detach()
        given.detach()
        worker = Worker.from_environment(environ)
        assert worker is not None
        assert environ == {}
        assert (worker.number, worker.fixed) == (2, {"workers": 2})
        assert [each.fileno() for each in worker.sockets] != [listening.fileno()]
        worker.listening()
        assert ours.recv(10) == b"+"
        worker.close()
        assert Worker.from_environment(environ) is None


def test_log_of_a_worker_says_which_it_is(folder: Path) -> None:
    """Every line of its own; lines of the parent are those without."""
    speaking = "import logging\nserver.on_startup(lambda _: logging.getLogger('wshttp').warning('mine'))\n"
    write_program(folder, last=speaking)
    with parent_in(folder) as parent:
        assert parent.port
        assert parent.stop() == 0
    told = [line for line in parent.err if " mine" in line]
    assert sorted(line.rpartition(" ")[2] for line in told) == ["worker=1", "worker=2"]
    assert not any("worker=" in line for line in parent.err if "(pid " in line)


def test_program_from_standard_input_has_no_workers(folder: Path) -> None:
    """There is nothing that they could run; it is said before anything is bound, in one line, with status 2."""
    for command in ([sys.executable, "-"], [sys.executable]):
        done = subprocess.run(
            command,
            input=(folder / "own.py").read_text(),
            capture_output=True,
            text=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
            timeout=PATIENCE,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("server.workers: more than 1 needs a program in a file")
        assert done.stdout == ""


def test_program_of_a_worker_is_no_worker() -> None:
    """What it starts before it serves has the variable, and not the sockets that it names."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        environ = {VARIABLE: commission(1, theirs, [], {})}
        number = theirs.detach()
        os.close(number)
        assert Worker.from_environment(dict(environ)) is None, "there is no such file"
        os.dup2(ours.fileno(), number)
        try:
            assert Worker.from_environment(environ) is None, "it is another one"
        finally:
            os.close(number)
