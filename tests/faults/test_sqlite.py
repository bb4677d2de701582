"""The SQLite store under faults: real processes that are killed, real files that are full, broken or somebody else's.

`sizes` says how often the long one kills its server.
"""

from __future__ import annotations

import base64
import ctypes
import http.client
import json
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.conftest import Guarantee
from faults.sizes import size
from processes import Process, run, serving, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

HERE = Path(__file__).parent
ROUNDS = size(100, small=3)
CLIENTS = 6


@contextmanager
def counting(folder: Path, *more: str, **options: Any) -> Iterator[Process]:
    """Serve the program that counts callbacks, with its sessions and its count in `folder`."""
    settings = [
        "store.kind=sqlite", f"store.path={folder / 'sessions.db'}", "app=counting:setup", "session.identity=[cookie]",
        "session.warn_before=0", "session.max_data=1MiB", "log.level=warning",
    ]  # fmt: skip
    arguments = [word for setting in (*settings, *more) for word in ("--set", setting)]
    env = {"COUNTED": str(folder / "counted")} | options.pop("env", {})
    with serving(*arguments, cwd=HERE, env=env, **options) as server:
        yield server


def counted(folder: Path) -> list[dict[str, Any]]:
    path = folder / "counted"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def state(server: Process) -> dict[str, int]:
    answer: dict[str, int] = json.loads(server.get("/state").text)
    return answer


class Client(threading.Thread):
    """A browser that works, leaves and logs out, and remembers what it was told."""

    def __init__(self, number: int, notes: Notes) -> None:
        super().__init__(daemon=True)
        self.random = random.Random(number)
        self.notes = notes
        self.cookie: str | None = None
        self.ref = ""
        self.server: Process | None = None

    def run(self) -> None:
        assert self.server is not None
        connection = self.server.connect()
        try:
            while not self.notes.over.is_set():
                self._step(connection)
                self.notes.answered.release()
        except (OSError, http.client.HTTPException):
            pass  # the server was killed, perhaps in the middle of an answer
        finally:
            connection.close()

    def _step(self, connection: http.client.HTTPConnection) -> None:
        what = self.random.random()
        if self.cookie is not None and what < 0.1:
            ref, cookie, self.cookie, self.ref = self.ref, self.cookie, None, ""
            if self._ask(connection, "DELETE", "/wshttp/session", cookie)[0] == 204:
                self.notes.logged_out.append(ref)
                status, answer = self._ask(connection, "GET", "/wshttp/session?touch=0", cookie)
                assert status == 401, answer
        elif self.cookie is not None and what < 0.2:
            _, answer = self._ask(connection, "GET", "/short", self.cookie)
            self.notes.seen(answer["ref"])
            self.cookie = None  # and leaves
        else:
            self.notes.sent[self.ref] += 1
            _, answer = self._ask(connection, "GET", "/hit", self.cookie)
            self.ref = answer["ref"]
            self.notes.seen(self.ref, answer["n"])

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, cookie: str | None
    ) -> tuple[int, dict[str, Any]]:
        connection.request(method, path, headers={} if cookie is None else {"Cookie": cookie})
        response = connection.getresponse()
        body = response.read()
        given = response.getheader("Set-Cookie")
        if (given is not None and self.cookie is not None) or (path == "/hit" and given is not None):
            self.cookie = given.partition(";")[0]
        assert response.status in (200, 204, 401), body
        return response.status, json.loads(body) if body else {}


class Notes:
    """What clients were told, in all."""

    def __init__(self) -> None:
        self.answered = threading.Semaphore(0)
        self.over = threading.Event()
        self.told: dict[str, int] = {}
        self.sent: dict[str, int] = defaultdict(int)
        self.logged_out: list[str] = []

    def seen(self, ref: str, n: int = 0) -> None:
        assert ref not in self.logged_out, "a session came back"
        self.told[ref] = max(n, self.told.get(ref, 0))


@pytest.mark.feature("E1", "E8", "M4")
def test_kills_lose_nothing_and_repeat_only_what_was_not_settled(tmp_path: Path, guarantee: Guarantee) -> None:
    """Killed again and again while it creates, handles, ends, sweeps and delivers: each session that a client was told of
    has one start and one end, in this order, repeats carry the same event id, and no acknowledged change is lost."""
    numbers, notes = random.Random(7), Notes()
    clients = [Client(number, notes) for number in range(CLIENTS)]
    for _ in range(ROUNDS):
        notes.over.clear()
        with counting(tmp_path) as server:
            running = []
            for client in clients:
                again = Client(numbers.randrange(2**32), notes)
                again.cookie, again.ref, again.server = client.cookie, client.ref, server
                running.append(again)
                assert server.address
            for client in running:
                client.start()
            for _ in range(numbers.randrange(30, 400)):
                assert notes.answered.acquire(timeout=20)
            server.signal(signal.SIGKILL)
            notes.over.set()
            for client in running:
                client.join(20)
                assert not client.is_alive()
            clients = running
    with counting(tmp_path) as server:
        server.request("POST", "/end-all")
        until(lambda: state(server) == {"sessions": 0, "owed": 0})
        assert server.stop() == 0
    seen = _check(counted(tmp_path), notes)
    guarantee("1–3", "SQLite: `kill -9` at any moment", f"{ROUNDS} times", seen)


def _check(lines: list[dict[str, Any]], notes: Notes) -> str:
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    order: dict[str, list[str]] = defaultdict(list)
    attempts: dict[str, list[int]] = defaultdict(list)
    data: dict[str, dict[str, Any]] = {}
    for line in lines:
        if line["kind"] != "scheduled":
            ids[line["ref"], line["kind"]].add(line["id"])
            order[line["ref"]].append(line["kind"])
        attempts[line["id"]].append(line["attempt"])
        if line["kind"] == "end":
            data[line["ref"]] = line["data"]
    assert len(notes.told) > 10
    assert set(notes.told) <= set(order)
    for ref, kinds in order.items():
        assert kinds == sorted(kinds, reverse=True), (ref, kinds)
        assert {kind: len(ids[ref, kind]) for kind in ("start", "end")} == {"start": 1, "end": 1}, (ref, kinds)
    for tries in attempts.values():
        assert tries == sorted(set(tries)), "a repeat says that it is one"
    for ref, n in notes.told.items():
        assert n <= data[ref].get("n", 0) <= n + CLIENTS, ref
        assert data[ref].get("key", 0) >= n, "the commit that came before the answer"
    return f"{len(order):,} sessions, {sum(len(tries) - 1 for tries in attempts.values())} callbacks repeated"


# --- restarts ---------------------------------------------------------------------------------------


def visit(server: Process, path: str, cookie: str | None = None) -> tuple[dict[str, Any], str]:
    """Ask, and return the answer with the cookie in force."""
    answer = server.get(path, headers={} if cookie is None else {"Cookie": cookie})
    assert answer.status == 200, answer.text
    given = answer.headers["Set-Cookie"]
    return json.loads(answer.text), cookie or given.partition(";")[0]


@pytest.mark.feature("T3", "M1")
@pytest.mark.parametrize("how", ["term", "kill"])
def test_restart_lets_sessions_go_on(tmp_path: Path, how: str) -> None:
    """After SIGTERM or a kill the client has its session, with its data; no end was delivered, and no second start."""
    with counting(tmp_path) as server:
        first, cookie = visit(server, "/hit")
        if how == "term":
            assert server.stop() == 0
        else:
            server.kill()
    with counting(tmp_path) as server:
        second, _ = visit(server, "/hit", cookie)
        assert second == {"ref": first["ref"], "n": 2}
        assert [(line["kind"], line["attempt"]) for line in counted(tmp_path)] == [("start", 1)]


def test_sockets_are_told_to_come_back_and_find_their_session(tmp_path: Path) -> None:
    """A stop closes them with 1001, as the session has not ended; in the next process they join it again."""

    def join(server: Process) -> Any:
        headers = {"Cookie": cookie, "Origin": server.address}
        url = server.address.replace("http", "ws") + "/wshttp/socket"
        return connect(url, additional_headers=headers, subprotocols=[Subprotocol("wshttp.v1")], compression=None)

    with counting(tmp_path) as server:
        told, cookie = visit(server, "/hit")
        with join(server) as socket:
            socket.recv(20)
            server.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    socket.recv(20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert server.exit_status() == 0
    with counting(tmp_path) as server:
        with join(server) as socket:
            welcome = json.loads(socket.recv(20))
            assert told["ref"] in json.dumps(welcome)
        assert [line["kind"] for line in counted(tmp_path)] == ["start"]


@pytest.mark.feature("E8")
def test_restart_ends_who_fell_due_in_between(tmp_path: Path) -> None:
    """With the callback, the reason and the last data."""
    with counting(tmp_path) as server:
        answer, cookie = visit(server, "/hit")
        visit(server, "/short", cookie)
        server.kill()
    with counting(tmp_path) as server:
        until(lambda: any(line["kind"] == "end" for line in counted(tmp_path)))
        [end] = [line for line in counted(tmp_path) if line["kind"] == "end"]
        assert (end["ref"], end["reason"], end["data"]["n"]) == (answer["ref"], "idle", 1)
        until(lambda: state(server) == {"sessions": 0, "owed": 0})


def test_user_who_is_changed_while_no_server_runs_loses_their_sessions(tmp_path: Path) -> None:
    """By another password, other roles or removal, as under a running server; all other sessions go on."""
    users, password = tmp_path / "users", "correct horse battery staple"
    users_file = f"auth.users_file={users}"

    def passwd(user: str, password: str) -> str:
        assert run("passwd", str(users), user, "--stdin", "--cost", "4", input=password).returncode == 0
        return users.read_text().splitlines()[-1].partition(":")[2]

    def log_in(server: Process, user: str) -> str:
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        answer = server.request("POST", "/wshttp/login", headers={"Authorization": f"Basic {basic}"})
        assert answer.status == 200, answer.text
        return answer.headers["Set-Cookie"].partition(";")[0]

    names = ("password", "removed", "roles", "kept")
    first = passwd("kept", password)
    users.write_text("".join(f"{name}:{first}\n" for name in names))
    with counting(tmp_path, users_file, "auth.roles={roles: [a, b], kept: [a, b]}") as server:
        cookies = {name: log_in(server, name) for name in names}
        _, anonymous = visit(server, "/hit")
        assert server.stop() == 0
    users.write_text("".join(f"{name}:{first}\n" for name in ("roles", "kept")))
    passwd("password", "another horse, another battery")
    with counting(tmp_path, users_file, "auth.roles={roles: [a], kept: [b, a]}") as server:
        answers = {
            name: server.get("/wshttp/session?touch=0", headers={"Cookie": cookie}) for name, cookie in cookies.items()
        }
        assert answers.pop("kept").status == 200
        assert [(one.status, json.loads(one.text)["reason"]) for one in answers.values()] == [(401, "credentials")] * 3
        assert visit(server, "/hit", anonymous)[0]["n"] == 2


def test_secret_is_made_once_unless_it_is_set(tmp_path: Path) -> None:
    """It is in the file, for who needs the same ids after a restart; one that is set is not."""
    for more, count in ((["session.secret=correct horse battery staple"], 0), ([], 1), ([], 1)):
        with counting(tmp_path, *more) as server:
            visit(server, "/hit")
            assert server.stop() == 0
        with sqlite3.connect(tmp_path / "sessions.db") as database:
            made = database.execute("SELECT value FROM meta WHERE name = 'secret'").fetchall()
        database.close()
        assert len(made) == count
        assert b"correct horse" not in (tmp_path / "sessions.db").read_bytes()
    assert (tmp_path / "sessions.db").stat().st_mode & 0o777 == 0o600


# --- one process ------------------------------------------------------------------------------------


def refusal(folder: Path, *more: str, **options: Any) -> tuple[int, str]:
    """Start a server that cannot start; return its exit status and its one line."""
    settings = [
        "store.kind=sqlite", f"store.path={folder / 'sessions.db'}", "session.identity=[cookie]", "log.level=error", *more
    ]  # fmt: skip
    done = run("serve", "--port", "0", *(word for one in settings for word in ("--set", one)), cwd=folder, **options)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return done.returncode, line


def test_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    """The line names the file and what to do; a kill of the first frees it."""
    with counting(tmp_path) as first:
        _, cookie = visit(first, "/hit")
        status, line = refusal(tmp_path)
        assert status == 2
        assert "sessions.db is in use by another process" in line
        assert visit(first, "/hit", cookie)[0]["n"] == 2
        first.kill()
        with counting(tmp_path) as second:
            assert visit(second, "/hit", cookie)[0]["n"] == 3


def test_file_that_somebody_else_has_locked_is_refused(tmp_path: Path) -> None:
    """Whoever it is: a shell, a backup."""
    with counting(tmp_path) as server:
        visit(server, "/hit")
        assert server.stop() == 0
    other = sqlite3.connect(tmp_path / "sessions.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    status, line = refusal(tmp_path)
    other.close()
    assert status == 2
    assert "in use by another process" in line


# --- files that cannot be used ------------------------------------------------------------------------


def test_unusable_file_is_refused(tmp_path: Path) -> None:
    """Exit status 1, and one line; `tests/stores/test_sqlite.py` has what else is refused."""
    path = tmp_path / "sessions.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    status, line = refusal(tmp_path)
    assert status == 1
    assert "is no SQLite file, or is damaged" in line


def without_privilege() -> None:
    """Have permissions hold for root too: `prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)` before the program begins."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="drops a privilege in Linux' way")
def test_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """Also where the file itself is there and could be written, since SQLite keeps its log beside it."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    path = folder / "sessions.db"
    said = f"store.path: {path} cannot be made: Permission denied"
    assert refusal(folder, preexec_fn=without_privilege) == (1, said)
    folder.chmod(0o755)
    path.touch()
    folder.chmod(0o555)
    status, line = refusal(folder, preexec_fn=without_privilege)
    assert status == 1
    assert f"store.path: {path} cannot be used" in line


# --- disks that are full --------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Put a disk of 1 MiB at a folder."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=False).returncode:
        pytest.skip("mounting takes root, and a machine that allows it")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A real one, which somebody else fills and empties again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder), counting(folder) as server:
        told, cookie = visit(server, "/hit")
        with open(folder / "filler", "wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
            while True:
                filler.write(bytes(4096))
        until(lambda: server.get("/fill", headers={"Cookie": cookie}).status == 503)
        (folder / "filler").unlink()
        until(lambda: server.get("/wshttp/health/ready").status == 200)
        visit(server, "/fill", cookie)
        server.kill()
        with counting(folder) as again:
            answer, _ = visit(again, "/hit", cookie)
            assert answer == {"ref": told["ref"], "n": 2}
        assert [line["kind"] for line in counted(folder)] == ["start"]


def test_file_that_may_not_grow_is_503_and_loses_nothing(tmp_path: Path) -> None:
    """What is not acknowledged never was; the server is not ready, says so, and recovers by itself with the disk."""
    with counting(tmp_path) as server:
        told, cookie = visit(server, "/hit")
        headers = {"Cookie": cookie}
        limits = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (128 * 1024, limits[1]))
        statuses = []
        until(lambda: statuses.append(server.get("/fill", headers=headers).status) or statuses[-1] != 200)
        assert statuses[-1] == 503
        answer = server.get("/hit", headers=headers)
        if answer.status == 200:  # it recovered for a change as small as this
            told = json.loads(answer.text)
        until(lambda: server.get("/fill", headers=headers).status == 503)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, limits)
        until(lambda: server.get("/wshttp/health/ready").status == 200)
        again, _ = visit(server, "/hit", cookie)
        assert again["ref"] == told["ref"]
        assert again["n"] >= told["n"] + 1
        assert [line["kind"] for line in counted(tmp_path)] == ["start"]
        server.kill()
    with counting(tmp_path) as server:
        assert visit(server, "/hit", cookie)[0] == {"ref": told["ref"], "n": again["n"] + 1}


def test_file_that_is_deleted_under_a_server_is_noticed(tmp_path: Path) -> None:
    """What would be written into a file without a name is not acknowledged; with the file back, it goes on."""
    with counting(tmp_path) as server:
        told, cookie = visit(server, "/hit")
        path = tmp_path / "sessions.db"
        path.rename(tmp_path / "moved.db")
        answer = server.get("/hit", headers={"Cookie": cookie})
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) >= 1
        assert server.get("/wshttp/health/ready").status == 503
        assert server.get("/wshttp/health/live").status == 200
        (tmp_path / "moved.db").rename(path)
        until(lambda: server.get("/wshttp/health/ready").status == 200)
        assert visit(server, "/hit", cookie)[0] == {"ref": told["ref"], "n": 2}
