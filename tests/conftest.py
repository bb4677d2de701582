"""What all tests share: coroutine tests, and a clock."""

from __future__ import annotations

import pytest

from wshttp.testing import FakeClock

pytest_plugins = ["wshttp.pytest_plugin"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
