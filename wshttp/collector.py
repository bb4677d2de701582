"""Python's garbage collector, kept from holding requests up.

A full collection looks at every object that is alive: a tenth of a second at 100,000 sessions, most of one at 1,000,000.
Left alone, Python runs it whenever its objects have grown by a quarter, in the midst of what makes them grow.
Requests and sessions leave no cycles behind and a connection leaves few, so it can wait for a quiet moment.
The measurements are in docs/reference/figures.md.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Final

YOUNG: Final = 700
"""Objects that come before the youngest are looked at: Python's own figure (3.11)."""

MIDDLE: Final = 5
"""Looks at the youngest before the middle generation is looked at: 4,200 objects at most, some 4 ms. Python's own figure,
10, would take nearly all of the 10 ms by which background work may delay a request."""

NEVER: Final = 2**31 - 1

GROWTH: Final = 1.5
"""Times as much memory in use as after the last full collection makes another one worth its pause."""

INTERVAL: Final = 1.0
"""Seconds between looks at whether it is; a look takes 1 ms at 1,000,000 sessions."""

PATIENCE: Final = 30
"""Looks for which a full collection is put off while the process is busy."""


class Collector:
    """Run full collections at quiet moments only, in the whole process, while this is entered.

        async with Collector(lambda: sessions.busy):
            await serve()

    What is there at the beginning - modules, settings, the application - is not looked at again until the end.
    """

    def __init__(self, is_busy: Callable[[], bool], interval: float = INTERVAL) -> None:
        self._is_busy = is_busy
        self._interval = interval
        self._thresholds = gc.get_threshold()
        self._blocks = 0
        self._put_off = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Collector:
        self._thresholds = gc.get_threshold()
        gc.set_threshold(YOUNG, MIDDLE, NEVER)
        self._collect()
        gc.freeze()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        gc.unfreeze()
        gc.set_threshold(*self._thresholds)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            self.look()

    def look(self) -> None:
        """Collect if that is worth it, and the moment is right or has been waited for long enough."""
        if sys.getallocatedblocks() < self._blocks * GROWTH:
            return
        if self._is_busy() and self._put_off < PATIENCE:
            self._put_off += 1
        else:
            self._collect()

    def _collect(self) -> None:
        gc.collect()
        self._blocks = sys.getallocatedblocks()
        self._put_off = 0
