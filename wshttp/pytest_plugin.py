"""For pytest: runs tests that are coroutines, such as those of the contracts in `wshttp.testing`.

In the `conftest.py` at the top of your tests:

    pytest_plugins = ["wshttp.pytest_plugin"]

Each test gets an event loop of its own, and fails after `TEST_TIMEOUT` seconds.
Where it uses a fixture `loop_factory`, the loop is what that makes; `None` is asyncio's own.
Tests marked `gen_test` are left to pytest-tornado. Not needed where another plugin awaits tests (pytest-asyncio, anyio).
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Final

import pytest

TEST_TIMEOUT: Final = 30.0
"""Seconds after which a coroutine test has hung."""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test; see the top of this file."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj) or pyfuncitem.get_closest_marker("gen_test"):
        return None
    parameters = inspect.signature(pyfuncitem.obj).parameters.values()
    arguments: dict[str, Any] = {p.name: pyfuncitem.funcargs[p.name] for p in parameters if p.default is p.empty}

    async def bounded() -> None:
        await asyncio.wait_for(pyfuncitem.obj(**arguments), TEST_TIMEOUT)

    loop_factory: Any = pyfuncitem.funcargs.get("loop_factory")
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(bounded())
    return True
