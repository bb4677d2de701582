"""What keeps a server from starting: one line per mistake, exit status 2, and never a traceback."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
from certificates import write_certificate
from processes import run, serving

from wshttp import ConfigurationError, Server


def mistakes_of(*arguments: str, cwd: Path) -> list[str]:
    """Start a server that cannot start, and return what it says."""
    done = run("serve", "--port", "0", *arguments, cwd=cwd)
    assert done.returncode == 2, done
    assert done.stdout == "", "it never listened"
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


# --- the file -------------------------------------------------------------------------------------


def test_config_that_is_missing_is_named(tmp_path: Path) -> None:
    """The file is named as it was given."""
    assert mistakes_of("--config", "./nothere.yaml", cwd=tmp_path) == [
        "./nothere.yaml: cannot be read: No such file or directory"
    ]


def test_config_that_is_not_yaml_is_named_with_the_line(tmp_path: Path) -> None:
    """What is wrong is said in one line, not in the parser's five."""
    (tmp_path / "torn.yaml").write_text("server:\n  host: [127.0.0.1\nsession: {}\n")
    [mistake] = mistakes_of("--config", "torn.yaml", cwd=tmp_path)
    assert mistake.startswith("torn.yaml:3: not YAML: ")


def test_config_full_of_mistakes_is_reported_as_a_whole(tmp_path: Path) -> None:
    """File, environment and command line: every mistake at once, one line each, however long the values."""
    (tmp_path / "bad.yaml").write_text(
        "server:\n  port: 70000\n  header_timeout: soon\nsession:\n  idle_timout: 5m\n  identity: [cookie, cookies]\n"
        f'auth: {{realm: "{"x" * 300}\\n"}}\nstatic: 5\n'
    )
    done = run(
        "serve", "--config", "bad.yaml", "--set", "log.level=loud", "--set", "nothing.at=all",
        cwd=tmp_path, env={"WSHTTP_SERVER__HOTS": "x", "WSHTTP_HOME": "anybody's"},
    )  # fmt: skip
    assert done.returncode == 2
    starts = [line.split(":")[:3] for line in done.stderr.splitlines()]
    assert [[part.strip() for part in start] for start in starts] == [
        ["bad.yaml", "2", "server.port"],
        ["bad.yaml", "3", "server.header_timeout"],
        ["bad.yaml", "5", "session.idle_timout"],
        ["bad.yaml", "6", "session.identity[1]"],
        ["bad.yaml", "7", "auth.realm"],
        ["bad.yaml", "8", "static"],
        ["environment WSHTTP_SERVER__HOTS", "server.hots", "no such setting; did you mean `host`?"],
        ["--set log.level=loud", "log.level", "wants debug, info, warning or error; got 'loud'"],
        ["--set nothing.at=all", "nothing", "no such setting; there are server, session, auth, websocket, static, "
         "uploads, rate, store, admin, metrics, log, api, app"],
    ]  # fmt: skip


# --- the application ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "app", "said"),
    [
        (None, "absent:setup", "ModuleNotFoundError: No module named 'absent'"),
        ("def other(server): ...", "own:setup", "AttributeError: module 'own' has no attribute 'setup'"),
        ("setup = 3", "own:setup", "TypeError: 'int' object is not callable"),
        ("def setup(): ...", "own:setup", "TypeError: setup() takes 0 positional arguments but 1 was given"),
        ("1 / 0", "own:setup", "ZeroDivisionError: division by zero (own.py:1)"),
        ("def setup(server:", "own:setup", "SyntaxError: '(' was never closed (own.py, line 1)"),
        (
            "import absent\ndef setup(server): ...",
            "own:setup",
            "ModuleNotFoundError: No module named 'absent' (own.py:1)",
        ),
        (
            "def setup(server):\n    raise ValueError('of\\ntwo lines')",
            "own:setup",
            "ValueError: of two lines (own.py:2)",
        ),
        ("async def setup(server):\n    raise ValueError('late')", "own:setup", "ValueError: late (own.py:2)"),
        (
            "def setup(server):\n    server.get('/a')(print)\n    server.get('/a')(print)",
            "own:setup",
            "UsageError: GET /a has an endpoint already (own.py:3)",
        ),
        ("class A:\n    def __call__(self, server):\n        1 / 0", "own:A", "TypeError: A() takes no arguments"),
    ],
)
def test_app_that_cannot_be_used_is_said_with_the_place(
    source: str | None, app: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with the function that `app` names: one line, with the author's own file and line."""
    if source is not None:
        (tmp_path / "own.py").write_text(source + "\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own", raising=False)

    async def start() -> None:
        await Server.from_config(None, environ={}, overrides=["server.port=0", f"app={app}"]).start()

    with pytest.raises(ConfigurationError) as raised:
        asyncio.run(start())
    assert raised.value.mistakes == [f"app: {app} cannot be used: {said}"]


@pytest.mark.parametrize("source", ["def setup(server:", "async def setup(server):\n    raise ValueError"])
def test_app_that_cannot_be_used_ends_the_process(source: str, tmp_path: Path) -> None:
    """Status 2 and its one line, whether it fails before the loop runs or on it."""
    (tmp_path / "own.py").write_text(source)
    [mistake] = mistakes_of("--app", "own:setup", cwd=tmp_path)
    assert mistake.startswith("app: own:setup cannot be used: ")


def test_app_that_is_no_name_of_a_function_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    """It is told before anything is imported."""
    [mistake] = mistakes_of("--app", "just_a_module", cwd=tmp_path)
    assert "app: wants module:function" in mistake


def test_async_setup_is_finished_before_the_server_listens(tmp_path: Path) -> None:
    """A setup may be async, runs on the server's own loop, and its routes are there for the first request."""
    (tmp_path / "own.py").write_text(
        "import asyncio\n"
        "async def setup(server):\n"
        "    await asyncio.sleep(0)\n"
        "    loop = asyncio.get_running_loop()\n"
        "    server.get('/own')(lambda request: str(asyncio.get_running_loop() is loop))\n"
    )
    with serving("--app", "own:setup", cwd=tmp_path) as server:
        assert server.get("/own").text == "True"


# --- where to listen ------------------------------------------------------------------------------


def test_port_in_use_is_said_with_the_port(tmp_path: Path) -> None:
    """Status 2, and the setting to change."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert mistakes_of("--port", str(port), cwd=tmp_path) == [
            f"server.port: {port} is in use: another server listens on 127.0.0.1"
        ]


def test_host_of_another_machine_is_said(tmp_path: Path) -> None:
    """192.0.2.0/24 is nobody's: RFC 5737."""
    assert mistakes_of("--host", "192.0.2.1", cwd=tmp_path) == [
        "server.host: 192.0.2.1 is not an address of this machine"
    ]


def test_unix_socket_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """What is no socket is not removed."""
    (tmp_path / "precious").write_text("data")
    options = ("--set", "server.unix_socket=precious", "--set", "session.identity=[cookie]")
    assert mistakes_of(*options, cwd=tmp_path) == ["server.unix_socket: precious exists and is not a socket"]
    assert (tmp_path / "precious").read_text() == "data"


@pytest.mark.feature("I3")
def test_ip_identity_on_a_unix_socket_is_refused(tmp_path: Path) -> None:
    """All clients would share one session, so it refuses to start, and says both ways out."""
    (tmp_path / "own.yaml").write_text("server:\n  unix_socket: own.sock\n")
    [mistake] = mistakes_of("--config", "own.yaml", cwd=tmp_path)
    assert mistake.startswith("own.yaml:2: session.identity: `ip` cannot tell clients apart on a Unix socket;")
    assert "server.trusted_proxies" in mistake
    assert not (tmp_path / "own.sock").exists()


# --- files that the server needs ------------------------------------------------------------------


@pytest.mark.feature("W8")
@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ("none.crt", "one.key", "server.tls.certificate: none.crt cannot be read: No such file or directory"),
        ("one.crt", "two.key", "server.tls.key: two.key is not the key of one.crt"),
    ],
)
def test_certificate_that_cannot_be_used_is_said(certificate: str, key: str, said: str, tmp_path: Path) -> None:
    """Setting and file are named; what else can be wrong with the two is tests/engine/test_tls.py's."""
    for name in ("one", "two"):
        write_certificate(tmp_path, name)
    settings = f"server.tls={{certificate: {certificate}, key: {key}}}"
    assert mistakes_of("--set", settings, cwd=tmp_path) == [said]


def test_users_file_that_cannot_be_used_is_reported_and_lets_nobody_in(tmp_path: Path) -> None:
    """A server without usable users serves all that needs none; the line that is wrong is in the log."""
    (tmp_path / "users").write_text("# ours\nada:secret\nbob:$apr1$x$y\n")
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "index.html").write_text("hello")
    options = "auth: {users_file: users, protect: [/private/*]}\nstatic: {root: ./public}\n"
    (tmp_path / "own.yaml").write_text(options)
    with serving("--config", "own.yaml", cwd=tmp_path) as server:
        assert server.get("/").text == "hello"
        assert server.get("/private/x", {"Authorization": "Basic YWRhOnNlY3JldA=="}).status == 401
        server.err.wait_for(r"ERROR .*users file not used: users:2: wants a bcrypt hash")
        server.err.wait_for(r"ERROR .*users file not used: users:3: .*Apache's MD5")
        assert server.err.find("secret") is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_users_file_without_permission_is_reported(tmp_path: Path) -> None:
    """It cannot be read, which is said with its name."""
    (tmp_path / "users").touch(mode=0o000)
    with serving("--set", "auth.users_file=users", cwd=tmp_path) as server:
        server.err.wait_for("users: cannot be read: Permission denied")


def test_users_file_that_is_not_there_yet_is_no_mistake(tmp_path: Path) -> None:
    """There are no users, and the log says so."""
    with serving("--set", "auth.users_file=users", cwd=tmp_path) as server:
        assert server.get("/wshttp/session").status == 200
        server.err.wait_for("WARNING .*users: does not exist, so there are no users in it")


def test_static_root_that_is_not_there_is_said(tmp_path: Path) -> None:
    """The server works without files, but nobody should have to guess why there are none."""
    with serving("--set", "static.root=./public", cwd=tmp_path) as server:
        assert server.get("/").status == 404
        server.err.wait_for("WARNING .*static.root: public is no folder")
