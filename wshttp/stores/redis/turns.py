"""Who waits for the lock of a session on this node: woken when it may be theirs, and else looking now and then."""

from __future__ import annotations

import asyncio
from typing import Final

INTERVAL: Final = 0.05
"""Seconds between looks at a lock that another node holds."""


class Turns:
    """Waiters by session."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, asyncio.Event]] = {}

    def begin(self, ref: str, waiter: str) -> None:
        self._waiting.setdefault(ref, {})[waiter] = asyncio.Event()

    def finish(self, ref: str, waiter: str) -> None:
        waiting = self._waiting[ref]
        del waiting[waiter]
        if not waiting:
            del self._waiting[ref]

    async def wait(self, ref: str, waiter: str, seconds: float) -> None:
        """Return when this waiter was woken, or it is time to look."""
        woken = self._waiting[ref][waiter]
        try:
            async with asyncio.timeout(min(INTERVAL, seconds)):
                await woken.wait()
        except TimeoutError:
            return
        woken.clear()

    def wake(self, ref: str, waiter: str | None = None) -> None:
        """Have one waiter look, if it is of this node; without a name, all who wait for this session."""
        waiting = self._waiting.get(ref, {})
        for event in waiting.values() if waiter is None else filter(None, [waiting.get(waiter)]):
            event.set()
