"""Steps of a store, made by many callers at the same time, as the requests of a node make them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from benchmarks.redis_server import RedisServer
from wshttp.sessions.clock import Clock
from wshttp.sessions.record import Ended, Reason, Record
from wshttp.sessions.store import Created, Limits, Store
from wshttp.stores.redis.store import RedisStore

CALLERS = 64

DATA = {"theme": "dark", "count": 1, "basket": ["a book", "another book"]}
"""What a session has, where it has some."""

T = TypeVar("T")


@asynccontextmanager
async def store_on(
    redis: RedisServer, *, clock: Clock | None = None, time_script: str | None = None
) -> AsyncIterator[RedisStore]:
    """Open a store that is patient: a busy machine is no outage."""
    store = RedisStore(redis.url, clock=clock, timeout=600, time_script=time_script)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def for_all(step: Callable[[T], Awaitable[object]], items: Iterable[T]) -> int:
    """Take a step for each item, `CALLERS` of them at the same time; return how many there were."""
    rest = enumerate(items, 1)
    last = 0

    async def call() -> None:
        nonlocal last
        for number, item in rest:
            last = number
            await step(item)

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(call())
    return last


async def begin(store: Store, record: Record) -> None:
    """Create a session, whose start runs no callbacks."""
    created = await store.create(record, Limits())
    assert isinstance(created, Created)
    await store.settle(created.event)


async def end(store: Store, record: Record) -> None:
    """End a session, likewise."""
    ended = await store.end(record.ref, Reason.LOGOUT)
    assert isinstance(ended, Ended)
    await store.settle(ended.event)
