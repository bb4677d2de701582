"""What all tests share: coroutine tests, and a clock."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from wshttp.testing import FakeClock

TEST_TIMEOUT = 30.0
"""Seconds after which a coroutine test has hung."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests on a fresh event loop; those marked `gen_test` belong to pytest-tornado."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or pyfuncitem.get_closest_marker("gen_test"):
        return None
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def bounded() -> None:
        await asyncio.wait_for(pyfuncitem.obj(**arguments), TEST_TIMEOUT)

    asyncio.run(bounded())
    return True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
