"""The code that README, docs/start.md and docs/howto show: programs run, and commands exist."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import signal
import sys
import textwrap
from pathlib import Path

import pytest
from processes import ON_ANY_FREE_PORT, PATIENCE, ROOT, serving
from typer.testing import CliRunner
from websockets.sync.client import connect

from wshttp.cli import app
from wshttp.config import load_settings
from wshttp.errors import ConfigurationError

SHOWN = [ROOT / "README.md", ROOT / "docs" / "start.md"]
PROGRAMS = [*SHOWN, *sorted((ROOT / "docs" / "howto").glob("*.md"))]
"""Pages whose programs are run; what shows neither a `Server(...)` nor a `run(...)` is a piece of one."""
ALL = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

BLOCK = re.compile(r"^([ ]*)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

ELSEWHERE = {"curl", "git", "cd", "sudo", "export", "openssl", "systemctl", "journalctl"}
"""Commands of others."""


def blocks_of(documents: list[Path], *languages: str) -> list[object]:
    """Return the code blocks as parameters, each named after its page and line."""
    found = []
    for document in documents:
        text = document.read_text()
        for block in BLOCK.finditer(text):
            if block[2] in languages:
                line = text.count("\n", 0, block.start()) + 1
                found.append(pytest.param(textwrap.dedent(block[3]), id=f"{document.relative_to(ROOT)}:{line}"))
    return found


def is_program(source: str) -> bool:
    """Tell whether a block is a whole program: one that makes a server. Others are pieces, and only compiled."""
    return bool(re.search(r"\b(Server|Server\.from_config|Application)\(", source))


@pytest.mark.parametrize(
    "source",
    [block for block in blocks_of(PROGRAMS, "python", "py") if is_program(block.values[0])],  # type: ignore[attr-defined]
)
def test_program_that_is_shown_runs(source: str, tmp_path: Path) -> None:
    """It listens, answers on every path and socket that it names, and ends with status 0."""
    (tmp_path / "program.py").write_text(source)
    command = (sys.executable, "-c", ON_ANY_FREE_PORT, str(tmp_path / "program.py"))
    without_server = "Application(" in source
    with serving(command=command, port=None, faults=without_server) as server:
        assert server.port, "it listens"
        for path in re.findall(r"""\(["'](/[^"'{]+)["'], [A-Z]\w+\)""", source):
            assert server.get(path).status in (200, 400), path  # 400: a socket without an upgrade
        for method, path in re.findall(r"""^@server\.(get|post|put|patch|delete)\(["']([^"'{]+)["']""", source, re.M):
            answer = server.request(method.upper(), path, "{}" if method != "get" else None)
            assert answer.status < 400, (method, path, answer.text)
        for path in re.findall(r"""^@server\.websocket\(["']([^"'{]+)["']""", source, re.M):
            with connect(f"ws://127.0.0.1:{server.port}{path}", open_timeout=PATIENCE) as client:
                client.send("hello")
                assert "hello" in str(client.recv(timeout=PATIENCE))
        server.signal(signal.SIGINT)
        assert (server.exit_status() == 0) is not without_server, "one without a Server leaves Ctrl-C to Python"


def test_there_is_a_program_to_run() -> None:
    """Each of the two pages shows at least one, so that the test above has something to do."""
    for document in SHOWN:
        assert any(is_program(block.values[0]) for block in blocks_of([document], "python", "py"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("source", blocks_of(ALL, "python", "py"))
def test_python_that_is_shown_is_python(source: str) -> None:
    """Every block on every page can be compiled, with `await` at its top where it is a piece of something."""
    compile(source, "block", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("source", blocks_of(SHOWN, "yaml"))
def test_settings_that_are_shown_are_settings(source: str, tmp_path: Path) -> None:
    """Every block of YAML on the two pages is one that the server takes."""
    (tmp_path / "shown.yaml").write_text(source)
    try:
        load_settings(tmp_path / "shown.yaml", environ={})
    except ConfigurationError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("source", blocks_of(SHOWN, "sh", "shell", "bash", "console"))
def test_command_that_is_shown_exists(source: str) -> None:
    """Targets of make, commands and options of ours, files that are named: all are there."""
    for line in source.replace("\\\n", " ").splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words:
            check(words)


def check(words: list[str]) -> None:
    """Fail if a command cannot be what it says."""
    name, *arguments = words
    if name == "make":
        targets = re.findall(r"^([\w-]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in arguments if "=" not in word} <= set(targets)
    elif Path(name).name == "wshttp":
        command, *options = arguments
        told = CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"])
        assert told.exit_code == 0, f"there is no `wshttp {command}`"
        assert all(option in told.output for option in options if option.startswith("--"))
    elif Path(name).name in ("python", "python3"):
        assert arguments[0] == "-m" or (ROOT / arguments[0]).is_file() or Path(arguments[0]).name in programs()
    else:
        assert name in ELSEWHERE or shutil.which(name), f"nobody knows {name}"


def programs() -> set[str]:
    """Return the names under which the pages tell their readers to save a program."""
    text = "".join(document.read_text() for document in SHOWN)
    return set(re.findall(r"`([\w/]+\.py)`", text))


def test_links_lead_somewhere() -> None:
    """No page of the project points to a file of it that is not there."""
    dead = []
    for document in ALL:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]*)?\)", document.read_text()):
            if "://" not in target and not target.startswith("mailto:") and not (document.parent / target).exists():
                dead.append(f"{document.relative_to(ROOT)}: {target}")
    assert dead == []
