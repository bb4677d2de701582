"""SQLite stores for tests: opened, filled, and found as a killed process leaves them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from wshttp.sessions.ids import SessionId, new_ref
from wshttp.sessions.record import Record
from wshttp.sessions.store import Created, Limits
from wshttp.stores.sqlite import SqliteStore
from wshttp.testing import FakeClock


@asynccontextmanager
async def opened(path: Path, clock: FakeClock, **options: Any) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(path), clock, **{"timeout": 20.0} | options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def create(store: SqliteStore, name: str = "s", **facts: Any) -> Created:
    created = await store.create(record(store, name, **facts), Limits())
    assert isinstance(created, Created)
    return created


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


def record(store: SqliteStore, name: str = "s", **facts: Any) -> Record:
    """Return the record of a session that is about to be created."""
    now = store.now()
    values: dict[str, Any] = {
        "ref": new_ref(), "key": SessionId.app(name).key, "identity": "app", "remote_ip": "ip", "bucket": "ip",
        "created_at": now, "last_access_at": now, "restarted_at": now, "idle_timeout": 1200.0, "absolute_timeout": 43_200.0,
    }  # fmt: skip
    return Record(**values | facts)


def killed(path: Path, name: str) -> Path:
    """Copy what is on disk: what a killed process leaves, without its lock."""
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{path.with_name(name)}{suffix}")
    return path.with_name(name)
