"""What all tests share: coroutine tests, and a clock."""

from __future__ import annotations

import pytest

from wshttp.testing import FakeClock

pytest_plugins = ["wshttp.pytest_plugin", "redis_servers"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
