"""A real Chromium, driven with Playwright: Debian's, or the one that `WSHTTP_CHROMIUM` names."""

from __future__ import annotations

import os
import random
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from processes import PATIENCE, Process, serving
from visiting import DESKTOP, PASSWORD, USER, Serve, Visit, Visitor

from wshttp.auth.passwords import hash_password

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

FLAGS = [
    "--no-first-run",
    "--disable-background-networking",  # a test has a browser and a server, and nobody else
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-dev-shm-usage",  # /dev/shm of a container is small
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module; each has profiles of its own.

    Not for all: Playwright's loop runs in this thread as long as there is one, and no other test could run its own.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is missing: pip install '.[test]'")
    path = os.environ.get("WSHTTP_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no chromium: apt-get install chromium, or name one in WSHTTP_CHROMIUM")
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses to run as root
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS + as_root, timeout=2 * PATIENCE * 1000)
        yield browser
        browser.close()


def leave(context: BrowserContext) -> None:
    """Close all tabs; what a test has put in the way of requests is done with those that it has."""
    for each in (context, *context.pages):
        each.unroute_all(behavior="wait")
    context.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """Make visitors; options are those of Playwright's contexts."""
    with ExitStack() as leaving:

        def come(**options: Any) -> Visitor:
            context = chromium.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | options)
            leaving.callback(leave, context)
            return Visitor(context)

        yield come


@pytest.fixture(scope="session")
def users_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one user, whose password is cheap to check."""
    path = tmp_path_factory.mktemp("users") / "users.htpasswd"
    path.write_text(f"{USER}:{hash_password(PASSWORD, cost=4)}\n")
    return path


@pytest.fixture
def serve(tmp_path: Path, users_file: Path) -> Iterator[Serve]:
    """Start servers of the demo page: with a user and its counter, and with settings, section by section."""
    with ExitStack() as stopping:

        def start(port: int = 0, app: str | None = "wshttp.demo:setup", **sections: dict[str, Any]) -> Process:
            settings: dict[str, dict[str, Any]] = {
                "session": {"identity": ["credentials", "cookie"]},
                "auth": {"users_file": str(users_file)},
                "websocket": {"topics": ["room.*"]},
                "admin": {"users": [USER]},
            }
            for name, section in sections.items():
                settings[name] = settings.get(name, {}) | section
            path = tmp_path / "settings.yaml"
            path.write_text(yaml.safe_dump({"app": app} | settings))
            process = stopping.enter_context(serving("--config", str(path), port=port))
            assert process.port  # it listens
            return process

        yield start


@pytest.fixture
def lasting_port() -> int:
    """A port for a server that goes and comes back: no other gets it meanwhile, since systems give away higher ones."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
