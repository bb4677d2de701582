"""What `wshttp.stores` and the pytest plugin give to the author of a store."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from processes import environment

from wshttp import stores
from wshttp.sessions import store as port

CONFTEST = 'pytest_plugins = ["wshttp.pytest_plugin"]\n'

TESTS = """
import asyncio
import pytest
from wshttp import MemoryStore
from wshttp.testing import StoreContract

class TestMyStore(StoreContract):
    async def open_store(self, clock):
        store = MemoryStore(clock)
        await store.open()
        return store

@pytest.fixture
def number():
    return 7

async def test_with_a_fixture(number, unused=3):
    await asyncio.sleep(0)
    assert (number, unused) == (7, 3)

async def test_that_fails():
    await asyncio.sleep(0)
    assert False, "as it should"
"""


def test_stores_has_all_that_the_port_speaks_of() -> None:
    """Each name of our own in the port's signatures can be imported from one place."""
    spoken_of = {
        name
        for method in vars(stores.Store).values()
        if inspect.isfunction(method)
        for annotation in method.__annotations__.values()
        for name in re.findall(r"[A-Z]\w+", str(annotation))
    }
    assert {name for name in spoken_of if hasattr(port, name)} - {"None", "Sequence"} <= set(stores.__all__)
    assert {"Record", "Changes", "Limits", "Due"} <= spoken_of


def test_store_of_ones_own_is_tested_by_the_contract_and_the_plugin(tmp_path: Path) -> None:
    """One line in a conftest runs the contract; a coroutine test that fails is seen to fail."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_my_store.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(
        command, env=environment(PYTHONWARNINGS=""), capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert "as it should" in done.stdout, done.stdout + done.stderr
    assert re.search(r"^1 failed, \d{2,} passed", done.stdout, re.MULTILINE), done.stdout
