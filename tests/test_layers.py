"""Imports point one way.

    errors, config  <-  sessions  <-  stores, realtime, auth  <-  web  <-  server  <-  cli

`engine` stands beside, known to `network` alone; `addresses`, `close_codes`, `eager`, `field_names`, `header_fields`,
`http_date`, `logs` and `page_cache` are as low as `errors`, and `collector` and `demo` know nobody. `network`, `process`
and `setup` are what `server` is wired from.
The imports are read, not run: those inside functions count, too, and those for the type checker alone, which never
run, do not.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "wshttp"

LOWEST = {
    "errors",
    "addresses",
    "close_codes",
    "config",
    "eager",
    "field_names",
    "header_fields",
    "http_date",
    "logs",
    "page_cache",
}
LOWER = LOWEST | {"sessions"}
MIDDLE = LOWER | {"stores", "realtime", "auth"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "addresses": set(),
    "close_codes": set(),
    "eager": set(),
    "field_names": set(),
    "header_fields": {"field_names"},
    "http_date": set(),
    "logs": set(),
    "page_cache": set(),
    "config": {"errors"},
    "redis": {"errors", "addresses", "config"},
    "sessions": LOWEST,
    "stores": LOWER | {"redis"},
    "realtime": LOWER | {"redis"},
    "auth": LOWER,
    "web": MIDDLE,
    "engine": {"errors", "addresses", "close_codes", "header_fields", "http_date", "page_cache"},
    "collector": set(),
    "demo": set(),
    "network": LOWER | {"engine"},
    "workers": LOWEST | {"network"},
    "process": LOWEST | {"collector", "network", "workers"},
    "backing": MIDDLE,
    "rate_sharing": LOWER,
    "setup": {"errors"},
    "server": MIDDLE | {"web", "network", "process", "setup", "backing", "rate_sharing"},
    "admin_answers": set(),
    "admin_client": {"errors", "admin_answers"},
    "cli_sessions": {"errors", "admin_answers", "admin_client"},
    "cli": MIDDLE | {"web", "server", "cli_sessions"},
    "testing": {"errors", "sessions", "stores", "realtime"},
    "pytest_plugin": set(),
    "__init__": MIDDLE | {"web", "server"},
    "__main__": {"cli"},
}
"""By part of the package, the other parts that it may import."""

OUTSIDE: dict[str, set[str]] = {
    "errors": set(),
    "addresses": set(),
    "close_codes": set(),
    "eager": set(),
    "field_names": set(),
    "header_fields": {"tornado"},
    "http_date": set(),
    "logs": set(),
    "page_cache": set(),
    "config": {"yaml", "pydantic", "pydantic_core"},
    "redis": {"redis", "hiredis"},
    "sessions": set(),
    "stores": {"pytest"},
    "realtime": set(),
    "auth": {"bcrypt"},
    "web": {"tornado", "multipart", "prometheus_client"},
    "engine": {"tornado"},
    "collector": set(),
    "demo": set(),
    "network": {"tornado", "uvloop"},
    "workers": set(),
    "process": set(),
    "backing": set(),
    "rate_sharing": set(),
    "setup": set(),
    "server": set(),
    "admin_answers": {"pydantic"},
    "admin_client": {"pydantic"},
    "cli_sessions": {"typer"},
    "cli": {"tornado", "typer"},
    "testing": set(),
    "pytest_plugin": {"pytest"},
    "__init__": set(),
    "__main__": set(),
}
"""By part, what it may import of others' packages; the standard library is everybody's."""

CHOSEN = ("wshttp.redis", "wshttp.stores.redis", "wshttp.realtime.redis_broker")
"""What needs a package that is an extra: who chooses one of these imports it in the function that does."""

NO_SOCKETS = {"socket", "ssl", "selectors", "socketserver", "http", "urllib"}
"""What a session knows nothing of."""

MODULES = sorted(PACKAGE.rglob("*.py"))


def part_of(module: str) -> str:
    """Return the part of a dotted name within the package: `wshttp.web.site` is of `web`."""
    return module.split(".")[1] if "." in module else "__init__"


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything that a module imports."""
    unreal = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            unreal.update(id(inner) for statement in node.body for inner in ast.walk(statement))
        elif id(node) in unreal:
            continue
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: imports are absolute"
            base = node.module or ""
            # `from wshttp import logs` imports a part, and not the package's front door.
            whole = [f"{base}.{alias.name}" for alias in node.names] if base == "wshttp" else [base]
            yield from ((node.lineno, name) for name in whole)


def ours_in(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of what a module imports of this package."""
    return ((line, name) for line, name in imports_of(source, module) if name.split(".")[0] == "wshttp")


def faults_of(source: str, module: str) -> list[str]:
    """Say which imports of a module point the wrong way."""
    own = part_of(module)
    faults = []
    for line, name in imports_of(source, module):
        top = name.split(".")[0]
        if top == "wshttp":
            wrong = part_of(name) not in MAY_IMPORT[own] | {own}
        elif top in sys.stdlib_module_names:
            wrong = own == "sessions" and top in NO_SOCKETS
        else:
            wrong = top not in OUTSIDE[own]
        if wrong:
            faults.append(f"{module}:{line}: {own} must not import {name}")
    return faults


def test_every_import_points_the_right_way() -> None:
    """No module of the package imports what lies above it, or a library that is not its part's."""
    assert [fault for path in MODULES for fault in faults_of(path.read_text(), name_of(path))] == []


def test_every_part_has_its_place() -> None:
    """A new folder or file at the top has to say where it belongs."""
    assert {part_of(name_of(path)) for path in MODULES} == set(MAY_IMPORT) == set(OUTSIDE)


def test_extras_are_needed_only_where_they_are_chosen() -> None:
    """Nothing that is imported with the package imports a part that needs an extra."""
    program = "import sys, wshttp, wshttp.cli, wshttp.testing; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert [name for name in loaded.stdout.split() if name.startswith(CHOSEN) or name in ("redis", "hiredis")] == []


def test_parts_do_not_go_round_in_circles() -> None:
    """What may be imported is an order: nothing may import, over any number of others, itself."""
    above = {part: set(others) for part, others in MAY_IMPORT.items()}
    while leaves := {part for part, others in above.items() if not others}:
        above = {part: others - leaves for part, others in above.items() if part not in leaves}
    assert above == {}


def test_engine_is_imported_by_one_file_alone() -> None:
    """It can be replaced, as long as only one file knows that there is one."""
    importing = {
        module
        for path in MODULES
        for module in [name_of(path)]
        if part_of(module) != "engine" and "engine" in {part_of(name) for _, name in ours_in(path.read_text(), module)}
    }
    assert importing == {"wshttp.network"}


def test_engine_imports_all_that_it_may() -> None:
    """An arrow that nobody uses is an invitation."""
    used: dict[str, set[str]] = {part: set() for part in MAY_IMPORT}
    for path in MODULES:
        own = part_of(name_of(path))
        used[own] |= {part_of(name) for _, name in ours_in(path.read_text(), name_of(path))} - {own}
    assert used["engine"] == MAY_IMPORT["engine"]


WINDOWS = """
import asyncio, os, select, selectors, socket, sys
from tornado.httpclient import AsyncHTTPClient
from tornado.web import Application, RequestHandler

loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
for missing in ("fcntl", "resource", "pwd", "grp", "termios", "uvloop"):
    sys.modules[missing] = None
for name in ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_PATH", "sendfile", "preadv", "pread"):
    delattr(os, name)
for name in [name for name in dir(select) if "poll" in name.lower()]:
    delattr(select, name)
del socket.AF_UNIX

import wshttp.engine
wshttp.engine.install()

class Hello(RequestHandler):
    def get(self):
        self.write("hello")

async def main():
    server = Application([("/", Hello)], log_function=lambda handler: None).listen(0, "127.0.0.1")
    port = server._accepting[0][1].socket.getsockname()[1]
    print((await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}/")).body)
    await server.close()

loop.run_until_complete(main())
loop.close()
"""


def test_engine_does_without_what_windows_lacks() -> None:
    """It is of use under any Tornado program, though the server of this package is not."""
    done = subprocess.run([sys.executable, "-c", WINDOWS], capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("b'hello'\n", "")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wshttp.sessions.session", "from wshttp.web.site import Site"),
        ("wshttp.sessions.session", "def f():\n    import wshttp.stores.memory"),
        ("wshttp.sessions.session", "import socket"),
        ("wshttp.sessions.session", "from tornado.web import HTTPError"),
        ("wshttp.sessions.session", "from wshttp import Server"),
        ("wshttp.web.site", "from wshttp.engine.rates import AddressRates"),
        ("wshttp.web.site", "from wshttp.server import Server"),
        ("wshttp.engine.stock", "from wshttp.sessions.clock import Clock"),
        ("wshttp.realtime.hub", "from wshttp.auth.user import User"),
        ("wshttp.stores.memory", "import redis.asyncio"),
        ("wshttp.server", "import uvloop"),
        ("wshttp.server", "from wshttp.engine.stock import StockServer"),
        ("wshttp.process", "from wshttp.server import Server"),
        ("wshttp.config.load", "from wshttp import logs"),
        ("wshttp.errors", "from wshttp.config import Settings"),
    ],
)
def test_arrow_the_wrong_way_is_found(module: str, source: str) -> None:
    """The reading above sees what it is there to see."""
    assert faults_of(source, module)


def test_arrow_for_the_type_checker_is_none() -> None:
    """What never runs makes nothing depend on anything."""
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from wshttp.web.site import Site\n"
    assert faults_of(source, "wshttp.sessions.session") == []
