"""redis-py is an extra."""

from __future__ import annotations

import importlib
import sys

import pytest

from wshttp.errors import ConfigurationError


@pytest.mark.parametrize("missing", ["redis", "hiredis"])
def test_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Who chose Redis is told what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "wshttp.redis", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'wshttp\[redis\]'"):
        importlib.import_module("wshttp.redis")
