"""A disk that fails when a test says so: a real outage of a real store."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from wshttp.errors import StoreUnavailable
from wshttp.stores import sqlite
from wshttp.stores.sqlite import SqliteStore


class Disk:
    """A store's file, which can be made to fail, or to take its time."""

    def __init__(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fails = False
        self.go = threading.Event()
        self.go.set()
        self.batches: list[int] = []
        self._write = store._file.write
        monkeypatch.setattr(store._file, "write", self.write)
        monkeypatch.setattr(sqlite, "RETRY_INTERVAL", 0.001)

    def write(self, statements: Any) -> None:
        statements = list(statements)
        self.batches.append(len(statements))
        assert self.go.wait(20)
        if self.fails:
            raise StoreUnavailable(reason="no space left on device")
        self._write(statements)
