"""Session lists on a fake clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wshttp.config import SessionSettings
from wshttp.sessions.session_list import SessionList
from wshttp.stores.memory import MemoryStore
from wshttp.testing import FakeClock

NewList = Callable[..., SessionList]


@pytest.fixture
def new_list(clock: FakeClock) -> NewList:
    """Make a session list with other settings than the defaults."""

    def make(*, store_timeout: float = 2.0, **settings: Any) -> SessionList:
        chosen = SessionSettings(**settings)
        return SessionList(chosen, MemoryStore(clock), clock=clock, store_timeout=store_timeout)

    return make


@pytest.fixture
def sessions(new_list: NewList) -> SessionList:
    return new_list()
