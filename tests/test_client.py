"""The browser client, where there is a `node`: its own tests, its types, and the package that npm makes of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from processes import PATIENCE, ROOT

CLIENT = ROOT / "tests" / "client"
PACKAGE = ("package.json", "wshttp.js", "wshttp.d.ts")

LEAST_NODE = 20
"""The first that has the test runner and the web's own classes that the tests use."""


def node() -> str:
    """Return the path of a `node` that is new enough, or skip the test."""
    path = shutil.which("node")
    if path is None:
        pytest.skip(f"there is no node; the tests of the browser client need {LEAST_NODE} or newer")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    if int(version.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        pytest.skip(f"node is {version.strip()}; the tests of the browser client need {LEAST_NODE} or newer")
    return path


def compiler() -> str:
    """Return the path of `tsc`, or skip the test; `WSHTTP_NODE_MODULES` names a folder that npm has installed it in."""
    modules = os.environ.get("WSHTTP_NODE_MODULES")
    path = shutil.which("tsc", path=None if modules is None else str(Path(modules) / ".bin"))
    if path is None:
        pytest.skip(
            "there is no tsc; `npm install --prefix FOLDER typescript`, and WSHTTP_NODE_MODULES=FOLDER/node_modules"
        )
    return path


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A folder in which the client is installed as npm would install it."""
    installed = tmp_path / "node_modules" / "wshttp"
    installed.mkdir(parents=True)
    for name in PACKAGE:
        shutil.copy(ROOT / "static" / name, installed)
    return tmp_path


def run(*command: str, cwd: Path) -> None:
    """Run a program to its end; fail, and show what it wrote, where it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=6 * PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.feature("C1", "C2", "C3", "C4", "C5", "C6", "I7", "W7")
def test_client_passes_its_own_tests() -> None:
    """`node --test` runs every file of tests/client, with a server, a clock and a page that are not real."""
    run(node(), "--test", *map(str, sorted(CLIENT.glob("*.test.mjs"))), cwd=CLIENT)


def test_types_fit_an_example(page: Path) -> None:
    """`tsc --noEmit` takes a program that uses every call, and refuses what is a mistake in it."""
    node()
    for name in ("example.ts", "tsconfig.json"):
        shutil.copy(CLIENT / name, page)
    run(compiler(), "--noEmit", "--project", str(page), cwd=page)


def test_client_is_imported_by_its_name(page: Path) -> None:
    """What npm installs is found as `wshttp`, in a place without a browser too."""
    program = 'import { connect, CLOSE } from "wshttp"; if (!connect || !CLOSE.length) process.exit(1);'
    run(node(), "--input-type=module", "--eval", program, cwd=page)
