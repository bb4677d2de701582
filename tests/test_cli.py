"""The command line, as the table of commands promises it: real processes, their output and their exit status."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import bcrypt
import pytest
import yaml
from processes import PATIENCE, ROOT, SERVE, environment, refused, run, serving
from typer.testing import CliRunner

from wshttp.cli import app
from wshttp.config import Settings, load_settings

NAMED = {
    "serve": ["--config", "--app", "--host", "--port", "--set", "--reload"],
    "check": ["--config"],
    "passwd": ["--stdin", "--cost", "--delete"],
}

LONG = "correct horse battery staple"

SCRIPT = shutil.which("wshttp", path=str(Path(sys.executable).parent))

COMMANDS = {
    "run.py": (sys.executable, str(ROOT / "run.py")),
    "python -m wshttp serve": SERVE,
    # Where the package is installed, what it installed; else what that would call.
    "wshttp serve": (SCRIPT, "serve")
    if SCRIPT
    else (sys.executable, "-c", "from wshttp.cli import main; main()", "serve"),
}


# --- serve ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_way_to_serve_is_the_same_program(command: tuple[str, ...], tmp_path: Path) -> None:
    """All take the same options, serve page and session, and exit with 0 on SIGTERM; from any working directory."""
    (tmp_path / "own.py").write_text("def setup(server):\n    server.get('/own')(lambda request: 'mine')\n")
    (tmp_path / "own.yaml").write_text("api: {prefix: /file}\nlog: {level: error}\n")
    options = [
        "--config",
        "own.yaml",
        "--app",
        "own:setup",
        "--host",
        "127.0.0.2",
        "--port",
        "0",
        "--set",
        "session.identity=[cookie]",
    ]
    with serving(*options, command=command, cwd=tmp_path) as server:
        assert server.address == f"http://127.0.0.2:{server.port}"
        assert "<title>" in server.get("/").text
        assert server.get("/own").text == "mine"
        assert json.loads(server.get("/file/session").body)["identity"] == "cookie"
        assert server.stop() == 0
    assert str(server.out) == f"wshttp listening on {server.address}"
    assert str(server.err) == "", "at level `error` there is nothing else to read"


def test_listening_line_names_every_address() -> None:
    """`localhost` is two addresses with one port, and one line names both."""
    with serving("--host", "localhost") as server:
        found = server.out.wait_for(r"^wshttp listening on (.*)$")
        first, *others = found[1].split(", ")
        port = first.rpartition(":")[2]
        assert first == f"http://127.0.0.1:{port}"
        assert others in ([f"http://[::1]:{port}"], []), "no second one where the machine has no IPv6"


@pytest.mark.skipif(not Path("/proc/net/if_inet6").is_file(), reason="the machine has no IPv6")
def test_host_option_takes_an_address_that_is_no_plain_yaml() -> None:
    """`--host ::` means every IPv6 address, though YAML would read a mapping."""
    with serving("--host", "::") as server:
        assert server.address.startswith("http://[::]:")


def test_serve_without_a_config_takes_the_one_of_the_working_directory(tmp_path: Path) -> None:
    """`config/wshttp.yaml` here if there is one; what is said on the command line goes over the environment, over it."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "wshttp.yaml").write_text(
        "api: {prefix: /file}\nsession: {identity: [cookie], cookie: {name: file}}\nlog: {level: warning}\n"
    )
    env = {"WSHTTP_SESSION__COOKIE__NAME": "environment", "WSHTTP_SESSION__COOKIE__PREFIX": "environment_"}
    with serving("--set", "session.cookie.prefix=first_", "--set", "session.cookie.prefix='last_'", cwd=tmp_path,
                 env=env) as server:  # fmt: skip
        assert server.get("/file/session").headers["Set-Cookie"].startswith("last_environment=")


def test_port_zero_takes_another_port_each_time() -> None:
    """Two servers side by side need no arrangement."""
    with serving() as one, serving() as other:
        assert one.port != other.port
        assert one.get("/wshttp/health/ready").status == other.get("/wshttp/health/ready").status == 200


# --- exit status ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_exit_status_after_a_clean_drain(number: int) -> None:
    """Both ways to ask it to stop leave 0, and a closed port."""
    with serving() as server:
        port = server.port
        server.signal(number)
        assert server.exit_status() == 0
    assert refused(port)


@pytest.mark.parametrize("arguments", [["--nope"], ["--port", "many"], ["--set", "server.port"], ["more"]])
def test_exit_status_of_a_mistake_in_the_command_line(arguments: list[str]) -> None:
    """It is 2, and standard output stays empty."""
    done = run("serve", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_the_server_starts_ends_it(number: int, tmp_path: Path) -> None:
    """Not only when `on_startup` is through: that is cancelled, and what was opened is closed. The status is 0."""
    (tmp_path / "slow.py").write_text(
        "import asyncio\n"
        "def setup(server):\n"
        "    @server.on_startup\n"
        "    async def begin(server):\n"
        "        try:\n"
        "            print('begins', flush=True)\n"
        "            await asyncio.Event().wait()\n"
        "        finally:\n"
        "            print('cleans up', flush=True)\n"
    )
    with serving("--app", "slow:setup", "--set", "session.callback_timeout=1h", cwd=tmp_path) as server:
        server.out.wait_for("^begins$")
        server.signal(number)
        assert server.exit_status() == 0
    assert list(server.out) == ["begins", "cleans up"]


def test_second_signal_ends_now(tmp_path: Path) -> None:
    """A drain that has long to wait is cut short, with status 1."""
    (tmp_path / "held.py").write_text(
        "import asyncio\n"
        "def setup(server):\n"
        "    @server.get('/held')\n"
        "    async def held(request):\n"
        "        print('held', flush=True)\n"
        "        await asyncio.Event().wait()\n"
    )
    with serving("--app", "held:setup", "--set", "server.drain_timeout=1h", cwd=tmp_path) as server:
        connection = server.connect()
        connection.request("GET", "/held")
        server.out.wait_for("^held$")
        server.signal(signal.SIGTERM)
        while not refused(server.port):
            pass  # until the first signal has been heard
        server.signal(signal.SIGINT)
        assert server.exit_status() == 1


def test_second_signal_ends_a_server_whose_loop_is_stuck(tmp_path: Path) -> None:
    """A handler that never gives the loop back cannot keep the process alive against two signals."""
    (tmp_path / "stuck.py").write_text(
        "def setup(server):\n"
        "    @server.get('/stuck')\n"
        "    def stuck(request):\n"
        "        print('stuck', flush=True)\n"
        "        while True:\n"
        "            pass\n"
    )
    with serving("--app", "stuck:setup", cwd=tmp_path) as server:
        connection = server.connect()
        connection.request("GET", "/stuck")
        server.out.wait_for("^stuck$")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGINT)
        assert server.exit_status() == 1


# --- check ----------------------------------------------------------------------------------------


def test_check_prints_the_settings_in_force(tmp_path: Path) -> None:
    """What it prints is YAML that means the same settings; a secret is not in it. Exit status 0."""
    (tmp_path / "own.yaml").write_text(
        "session: {idle_timeout: 90s, secret: 0123456789abcdef}\nauth: {protect: [/private/*]}\n"
    )
    done = run("check", "--config", "own.yaml", cwd=tmp_path, env={"WSHTTP_SERVER__PORT": "81"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "0123456789abcdef" not in done.stdout
    shown = yaml.safe_load(done.stdout)
    assert shown["session"]["secret"] == "(set)"
    assert set(shown) == set(Settings.model_fields)
    (tmp_path / "shown.yaml").write_text(done.stdout.replace("(set)", "0123456789abcdef"))
    again = load_settings(tmp_path / "shown.yaml", environ={})
    assert again == load_settings(tmp_path / "own.yaml", environ={"WSHTTP_SERVER__PORT": "81"})
    assert (again.session.idle_timeout, again.server.port) == (90.0, 81)


def test_check_reports_every_mistake(tmp_path: Path) -> None:
    """One line each, with file as given, line, key and what is wrong; exit status 2, and nothing else is printed."""
    (tmp_path / "bad.yaml").write_text("server:\n  port: many\n  hots: here\nsession: {idle_timeout: soon}\n")
    done = run("check", "--config", "./bad.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    port, hots, idle = done.stderr.splitlines()
    assert port.startswith("./bad.yaml:2: server.port: wants")
    assert hots.startswith("./bad.yaml:3: server.hots: no such setting; did you mean `host`?")
    assert idle.startswith("./bad.yaml:4: session.idle_timeout: wants")


# --- passwd ---------------------------------------------------------------------------------------


def passwd(*arguments: str, password: str = LONG, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = run("passwd", *arguments, input=password, cwd=cwd)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.feature("U2")
def test_passwd_makes_the_file_and_adds_a_user(tmp_path: Path) -> None:
    """The file is only its owner's; the hash is bcrypt with cost 12, and of the password without its newline."""
    done = passwd("users", "ada", "--stdin", password=LONG + "\n", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ada added to users\n", "")
    assert stat.S_IMODE((tmp_path / "users").stat().st_mode) == 0o600
    name, _, hashed = (tmp_path / "users").read_text().strip().partition(":")
    assert name == "ada"
    assert hashed.startswith("$2b$12$")
    assert bcrypt.checkpw(LONG.encode(), hashed.encode())
    assert os.listdir(tmp_path) == ["users"], "nothing is left beside it"


def test_passwd_changes_one_user_and_leaves_the_rest(tmp_path: Path) -> None:
    """Comments, other users and the file's mode stay; the file is replaced as a whole, never rewritten."""
    users = tmp_path / "users"
    users.write_text("# ours\nbob:$2b$04$......................LAtw7/ohmmBAhnXqmkuIz83Rl5Qdjhm\nada:old\n")
    users.chmod(0o640)
    with users.open() as old:
        done = passwd("users", "ada", "--stdin", "--cost", "10", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "ada changed in users\n")
        assert old.read().endswith("ada:old\n"), "who reads the old file reads all of it"
    lines = users.read_text().splitlines()
    assert lines[:2] == ["# ours", "bob:$2b$04$......................LAtw7/ohmmBAhnXqmkuIz83Rl5Qdjhm"]
    assert lines[2].startswith("ada:$2b$10$")
    assert len(lines) == 3
    assert stat.S_IMODE(users.stat().st_mode) == 0o640


def test_passwd_strips_one_newline_and_no_more(tmp_path: Path) -> None:
    """A password may end in a newline of its own."""
    passwd("users", "ada", "--stdin", "--cost", "4", password=LONG + "\n\n", cwd=tmp_path)
    hashed = (tmp_path / "users").read_bytes().strip().partition(b":")[2]
    assert bcrypt.checkpw(LONG.encode() + b"\n", hashed)


@pytest.mark.parametrize(
    ("arguments", "password", "said"),
    [
        (["ada"], "", "1 to 72 bytes"),
        (["ada"], "\n", "1 to 72 bytes"),
        (["ada"], "ä" * 36 + "x", "this one has 73"),
        (["ada"], b"\xff\xfe", "not UTF-8"),
        (["a:b"], LONG, "colon"),
        ([""], LONG, "empty"),
        (["#ada"], LONG, "comment"),
        (["ada", "--cost", "3"], LONG, "--cost"),
        (["ada", "--cost", "17"], LONG, "--cost"),
    ],
)
def test_passwd_refuses_what_could_not_log_in(
    arguments: list[str], password: str | bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is 2, the reason is said, and there is no file."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["passwd", "users", *arguments, "--stdin"], input=password)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert os.listdir(tmp_path) == []


def test_passwd_takes_seventy_two_bytes_and_warns_of_weakness(tmp_path: Path) -> None:
    """The longest password is no mistake; a short one and a cheap cost are taken, with a warning each."""
    enough = passwd("users", "ada", "--stdin", "--cost", "10", password="ä" * 36, cwd=tmp_path)
    assert (enough.returncode, enough.stderr) == (0, "")
    enough = passwd("users", "bob", "--stdin", "--cost", "10", password="x" * 15, cwd=tmp_path)
    assert (enough.returncode, enough.stderr) == (0, "")
    weak = passwd("users", "eve", "--stdin", "--cost", "9", password="x" * 14, cwd=tmp_path)
    assert weak.returncode == 0
    short, cheap = weak.stderr.splitlines()
    assert short == "warning: the password has fewer than 15 characters"
    assert cheap.startswith("warning: a cost below 10")


def test_passwd_deletes_a_user(tmp_path: Path) -> None:
    """The line goes, and only that; who is not there cannot be removed, which is status 1."""
    (tmp_path / "users").write_text("ada:any\nbob:any\n")
    done = passwd("users", "ada", "--delete", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "ada removed from users\n")
    assert (tmp_path / "users").read_text() == "bob:any\n"
    again = passwd("users", "ada", "--delete", cwd=tmp_path)
    assert (again.returncode, again.stderr) == (1, "ada is not in users\n")


def test_passwd_says_where_it_cannot_write(tmp_path: Path) -> None:
    """A folder that does not exist is said with its name, and how to make it; it may be a slip. Status 1."""
    done = passwd("no where/users", "ada", "--stdin", "--cost", "4", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("wshttp passwd: ")
    folder = tmp_path.resolve() / "no where"
    assert f"there is no folder {folder}; make it first: mkdir -p '{folder}'" in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize(("second", "status"), [(LONG, 0), ("another", 2)])
def test_passwd_asks_twice_at_a_terminal(second: str, status: int, tmp_path: Path) -> None:
    """The password is not echoed, and two that differ change nothing."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        command = [sys.executable, "-m", "wshttp", "passwd", "users", "ada", "--cost", "4"]
        os.execve(sys.executable, command, environment())
    killer = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    killer.start()
    shown = b""
    answers = {b"Password: ": LONG, b"Again: ": second}
    try:
        while True:
            shown += os.read(terminal, 1024)
            for prompt in [prompt for prompt in answers if prompt in shown]:
                os.write(terminal, answers.pop(prompt).encode() + b"\n")
    except OSError:
        pass  # how a terminal says that the other side has gone
    finally:
        killer.cancel()
        os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
    assert LONG.encode() not in shown
    assert (tmp_path / "users").exists() == (status == 0)


# --- the program as a whole -----------------------------------------------------------------------


def test_help_names_every_command_and_option() -> None:
    """What the table of commands names is what `--help` tells of."""
    told = {name: CliRunner(env={"COLUMNS": "200"}).invoke(app, [name, "--help"]).output for name in NAMED}
    assert all(option in told[name] for name, options in NAMED.items() for option in options), told


def test_server_without_any_argument_has_a_page_and_a_session(tmp_path: Path) -> None:
    """What somebody who has just installed it tries first, in a folder that has nothing."""
    with serving(cwd=tmp_path) as server:
        assert "<title>" in server.get("/").text
        assert json.loads(server.get("/wshttp/session").body)["user"] is None
