"""The SQLite store: the contract, and what is its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from wshttp.sessions.store import Store
from wshttp.stores.sqlite import SqliteStore
from wshttp.testing import FakeClock, StoreContract


class TestSqliteStore(StoreContract):
    """The contract holds for the SQLite store, through kills too."""

    async def open_store(self, clock: FakeClock) -> Store:
        self.folder = Path(tempfile.mkdtemp())
        return await self._opened("0.db")

    async def _opened(self, name: str) -> SqliteStore:
        path = str(self.folder / name)
        store = SqliteStore(path, self.clock, timeout=20, tombstone=self.TOMBSTONE, warn_before=self.WARN_BEFORE)
        await store.open()
        return store

    async def kill(self, store: Store) -> Store:
        """What a killed process leaves is what is in its files at that moment, and not locked."""
        name = f"{len(list(self.folder.glob('*.db')))}.db"
        last = max(self.folder.glob("*.db"))
        for suffix in ("", "-wal"):
            shutil.copy(f"{last}{suffix}", f"{self.folder / name}{suffix}")
        return await self._opened(name)

    async def close_store(self, store: Store) -> None:
        await store.close()
        shutil.rmtree(self.folder, ignore_errors=True)
