"""A server that runs on while its files change: what SIGHUP takes over and what it refuses, and `--reload`."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import trusting, write_certificate
from processes import Process, serving

from wshttp.auth.passwords import hash_password
from wshttp.auth.users_file import write_user

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def hashed() -> str:
    return hash_password(PASSWORD, 4)


def hang_up(server: Process) -> int:
    """Have the server read its settings again; return from which line of its log on it tells of that."""
    begin = len(server.err)
    server.signal(signal.SIGHUP)
    server.err.wait_for("settings (not )?reloaded", begin)
    return begin


def log_in(server: Process, user: str) -> tuple[int, dict[str, str]]:
    """Log a user in, and return the status and the headers with which to come back."""
    body = json.dumps({"user": user, "password": PASSWORD})
    answer = server.request("POST", "/wshttp/login", body, headers={"Content-Type": "application/json"})
    return answer.status, {"Cookie": (answer.headers["Set-Cookie"] or "").partition(";")[0]}


# --- SIGHUP ---------------------------------------------------------------------------------------


def test_sighup_takes_over_what_can_change_and_says_what_cannot(tmp_path: Path) -> None:
    """Limits and time-outs hold from the next request on; an address needs a new start, which is said by its key."""
    (tmp_path / "own.yaml").write_text("session: {idle_timeout: 10m, identity: [cookie]}\n")
    with serving("--config", "own.yaml", cwd=tmp_path) as server:
        port = server.port
        before = server.get("/wshttp/session")
        assert before.headers["Session-Expires-In"] in ("599", "600")
        (tmp_path / "own.yaml").write_text(
            "server: {host: 127.0.0.2, max_body_size: 10}\n"
            "session: {idle_timeout: 5m, identity: [ip], max_sessions: 1, on_limit: refuse}\n"
            "auth: {protect: [/index.html]}\n"
            "log: {level: warning}\n"
        )
        # At level `warning` nothing tells of success any more.
        server.signal(signal.SIGHUP)
        server.err.wait_for("WARNING .*server.host changed in the settings; it needs a restart")
        server.err.wait_for("WARNING .*session.identity changed in the settings; it needs a restart")
        begin = len(server.err)
        assert server.get("/wshttp/session").status == 503, "max_sessions"
        assert server.get("/index.html").status == 401, "auth.protect"
        assert server.request("POST", "/wshttp/session", "x" * 11).status in (413, 400), (
            "max_body_size; 400 is how stock Tornado says it"
        )
        assert server.err.find("INFO", begin) is None, "log.level"
        assert server.port == port
        cookie = {"Cookie": before.headers["Set-Cookie"].partition(";")[0]}
        assert json.loads(server.get("/wshttp/session", cookie).body)["identity"] == "cookie", "it lives on"


@pytest.mark.parametrize(
    "mistake",
    ["session: {idle_timeout: soon}\n", "server: [", "session: {warn_before: 2h, idle_timeout: 1h}\n", None],
)
def test_sighup_with_a_mistake_changes_nothing(mistake: str | None, tmp_path: Path) -> None:
    """Whatever is wrong is said as at a start, and the old settings stay in force, all of them."""
    config = tmp_path / "own.yaml"
    config.write_text("session: {idle_timeout: 10m}\n")
    with serving("--config", "own.yaml", cwd=tmp_path) as server:
        server.get("/wshttp/session")
        if mistake is None:
            config.unlink()
        else:
            config.write_text(f"{mistake}auth: {{protect: [/*]}}\n")
        begin = hang_up(server)
        server.err.wait_for("ERROR .*settings not reloaded: own.yaml", begin)
        answer = server.get("/wshttp/session")
        assert (answer.status, answer.headers["Session-Expires-In"] > "590") == (200, True)
        config.write_text("session: {idle_timeout: 5m}\n")
        begin = hang_up(server)
        server.err.wait_for("INFO .*settings reloaded; changed: session.idle_timeout", begin)


@pytest.mark.feature("U2")
def test_sighup_reads_the_users(hashed: str, tmp_path: Path) -> None:
    """Users of a changed file, or of another one, are known at once; the sessions of those who are gone end."""
    config = tmp_path / "own.yaml"
    config.write_text("session: {identity: [cookie]}\nauth: {users_file: users}\n")
    for name in ("ada", "eve"):
        write_user(tmp_path / "users", name, hashed)
    write_user(tmp_path / "others", "ada", hashed)
    write_user(tmp_path / "others", "bob", hashed)
    with serving("--config", "own.yaml", cwd=tmp_path) as server:
        status, ada = log_in(server, "ada")
        assert status == 200
        assert log_in(server, "eve")[0] == 200
        assert log_in(server, "bob")[0] == 401
        config.write_text("session: {identity: [cookie]}\nauth: {users_file: others, roles: {bob: [admin]}}\n")
        begin = hang_up(server)
        server.err.wait_for("changed: auth.users_file, auth.roles", begin)
        server.err.wait_for("session ended .*user=eve .*reason=credentials", begin)
        status, bob = log_in(server, "bob")
        assert status == 200
        assert json.loads(server.get("/wshttp/session", bob).body)["roles"] == ["admin"]
        assert json.loads(server.get("/wshttp/session", ada).body)["user"] == "ada", "her line is the same in both"
        config.write_text("session: {identity: [cookie]}\n")
        hang_up(server)
        server.err.wait_for("session ended .*user=bob .*reason=credentials", begin)
        server.err.wait_for("session ended .*user=ada .*reason=credentials", begin)
        assert server.get("/wshttp/session?touch=0", ada).status == 401
        assert log_in(server, "ada")[0] == 401, "nobody can log in where there is no file"


@pytest.mark.feature("U2")
def test_users_file_that_breaks_is_reported_and_the_old_users_stay(hashed: str, tmp_path: Path) -> None:
    """A slip of the editor locks nobody out; without any signal, too."""
    write_user(tmp_path / "users", "ada", hashed)
    options = ("--set", "auth.users_file=users", "--set", "session.identity=[cookie]")
    with serving(*options, cwd=tmp_path) as server:
        status, ada = log_in(server, "ada")
        assert status == 200
        (tmp_path / "users").write_text(f"ada {hashed}\n")
        server.err.wait_for("ERROR .*users file not used: users:1: wants user:hash, and has no colon")
        assert log_in(server, "ada")[0] == 200
        assert json.loads(server.get("/wshttp/session", ada).body)["user"] == "ada"
        (tmp_path / "users").write_text(f"bob:{hashed}\n")
        server.err.wait_for("session ended .*user=ada .*reason=credentials")
        assert log_in(server, "bob")[0] == 200


@pytest.mark.feature("W8")
def test_sighup_exchanges_the_certificate(tmp_path: Path) -> None:
    """New connections see the new one, open ones live on; a pair that does not fit changes nothing at all."""
    config, (old, _), (new, _) = tmp_path / "own.yaml", *(write_certificate(tmp_path, name) for name in ("one", "two"))
    config.write_text("server: {tls: {certificate: one.crt, key: one.key}}\n")
    with serving("--config", "own.yaml", cwd=tmp_path) as server:
        open_one = server.connect(tls=trusting(old))
        open_one.request("GET", "/wshttp/health/live")
        assert open_one.getresponse().read() == b'{"status": "live"}'
        config.write_text("server: {tls: {certificate: two.crt, key: one.key}}\nauth: {protect: [/*]}\n")
        begin = hang_up(server)
        server.err.wait_for("settings not reloaded: server.tls.key: one.key is not the key of two.crt", begin)
        assert server.get("/index.html", tls=trusting(old)).status == 200, "not protected"
        config.write_text("server: {tls: {certificate: two.crt, key: two.key}}\n")
        hang_up(server)
        assert server.get("/wshttp/health/live", tls=trusting(new)).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            server.get("/wshttp/health/live", tls=trusting(old))
        open_one.request("GET", "/wshttp/health/live")
        assert open_one.getresponse().status == 200
        for name in ("one.crt", "one.key"):
            (tmp_path / name).rename(tmp_path / name.replace("one", "two"))
        hang_up(server)
        assert server.get("/wshttp/health/live", tls=trusting(old.replace("one", "two"))).status == 200
        config.write_text("{}\n")
        begin = hang_up(server)
        server.err.wait_for("server.tls.certificate changed in the settings; it needs a restart", begin)


@pytest.mark.feature("M4")
def test_sighup_leaves_bans_alone(tmp_path: Path) -> None:
    """Who is refused for too many requests is not let in by a change elsewhere."""
    config = tmp_path / "own.yaml"
    config.write_text("rate: {requests_per_second: 0.001, burst: 1}\n")
    with serving("--config", "own.yaml", cwd=tmp_path) as server:
        assert [server.get("/").status for _ in range(2)] == [200, 429]
        config.write_text("rate: {requests_per_second: 0.001, burst: 1}\nsession: {idle_timeout: 1m}\n")
        hang_up(server)
        assert server.get("/").status == 429
        config.write_text("{}\n")
        hang_up(server)
        assert server.get("/").status == 200


# --- --reload -------------------------------------------------------------------------------------


def change(path: Path, text: str, seen: Callable[[], object]) -> None:
    """Write a file, and go on changing its time until somebody has seen it: who looks needs a first look to compare."""
    path.write_text(text)
    for second in range(100):
        os.utime(path, (second, second))
        if seen():
            return
    raise AssertionError("nobody saw the change")


def test_reload_starts_again_when_a_file_changes_and_waits_where_it_is_broken(tmp_path: Path) -> None:
    """The program's files and its settings; a mistake in either is said, and the next change tries again."""
    own, config = tmp_path / "own.py", tmp_path / "own.yaml"
    good = "def setup(server):\n    server.get('/')(lambda request: {!r})\n"
    own.write_text(good.format("one"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config.write_text(f"server: {{port: {port}}}\napp: own:setup\n")
    with serving("--config", "own.yaml", "--reload", "--set", "server.host=127.0.0.1", cwd=tmp_path,
                 port=None) as server:  # fmt: skip
        pid, address = server.pid, server.address

        def out(pattern: str) -> Callable[[], object]:
            begin = len(server.out)
            return lambda: server.out.comes(pattern, begin, 0.3)

        def err(pattern: str) -> Callable[[], object]:
            begin = len(server.err)
            return lambda: server.err.comes(pattern, begin, 0.3)

        assert server.get("/").text == "one"
        change(own, "def setup(server:\n", err("app: own:setup cannot be used: SyntaxError"))
        change(own, "import asyncio\nasync def setup(server):\n    1 / 0\n", err("ZeroDivisionError"))
        change(config, "server: {prot: 1}\n", err(r"own.yaml:1: server.prot: no such setting"))
        own.write_text(good.format("two"))
        change(config, f"server: {{port: {port}}}\napp: own:setup\n", out("listening"))
        assert (server.pid, server.address) == (pid, address), "the same process, at the same address"
        assert server.get("/").text == "two"
        assert server.stop() == 0
    assert "Traceback" not in str(server.err)


def test_reload_that_waits_for_a_change_ends_on_a_signal(tmp_path: Path) -> None:
    """It never served, so it leaves the status of the mistake."""
    with serving("--reload", "--app", "absent:setup", cwd=tmp_path) as server:
        server.err.wait_for("app: absent:setup cannot be used")
        status = server.stop()
        assert status in (2, -signal.SIGTERM), "or the signal came before there was anybody to take it"
