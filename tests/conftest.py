"""What all tests share: coroutine tests, and a clock."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from wshttp.engine import http_head
from wshttp.testing import FakeClock

# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

# A shell has what it starts in the background ignore Ctrl-C, and so would the servers that the tests start and stop.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["wshttp.pytest_plugin", "engines", "redis_servers"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not http_head.__file__.endswith(".py"):
        for item in items:
            if mark := item.get_closest_marker("interpreted"):
                item.add_marker(pytest.mark.skip(reason=f"the package is compiled: {mark.kwargs['reason']}"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
