"""Long ways through the sessions, in slices, so that nobody waits for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final

from wshttp.sessions.lifecycle import Lifecycle
from wshttp.sessions.record import Record
from wshttp.sessions.session import Session
from wshttp.sessions.slices import Slices
from wshttp.sessions.store import Store

AT_A_TIME: Final = 16
"""Sessions taken from the store: they are dealt with in one go, which takes most of a slice (`SLICE`)."""


async def records(store: Store, slices: Slices, user: str | None, bucket: str | None) -> AsyncIterator[Record]:
    """Go through live sessions, in no particular order; each that lives throughout comes once."""
    cursor = ""
    while True:
        found, cursor = await store.scan(cursor, user=user, bucket=bucket, maximum=AT_A_TIME)
        for record in found:
            yield record
        if not cursor:
            return
        await slices.pause()


async def adopted(found: AsyncIterator[Record], adopt: Callable[[Record], Session]) -> AsyncIterator[Session]:
    """Yield the `Session` of each record."""
    async for record in found:
        yield adopt(record)


async def ended(
    sessions: Iterable[Session], end: Callable[[str], Awaitable[bool]], slices: Slices, lifecycle: Lifecycle
) -> AsyncIterator[Session]:
    """End these, by their refs, and yield each that it was this call that ended."""
    for session in sessions:
        if await end(session.ref):
            yield session
        await slices.pause()
        await lifecycle.room()
