"""What time brings - ends, warnings, scheduled events - and what other nodes have left undone: taken and delivered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from wshttp.errors import StoreUnavailable
from wshttp.sessions.lifecycle import Lifecycle
from wshttp.sessions.record import Ended, Record
from wshttp.sessions.session import Session
from wshttp.sessions.slices import Slices
from wshttp.sessions.statistics import Statistics
from wshttp.sessions.store import Due, Owed, Store
from wshttp.sessions.walks import AT_A_TIME

SWEEP_INTERVAL: Final = 0.25
"""Seconds between looks at what is due; with the calendar's interval an end is at most half a second late."""

_log = logging.getLogger("wshttp.sessions")


class Sweeper:
    """Takes from a store what is due, and has it carried out; `conclude` carries out an end."""

    def __init__(
        self,
        store: Store,
        lifecycle: Lifecycle,
        slices: Slices,
        statistics: Statistics,
        adopt: Callable[[Record], Session],
        conclude: Callable[[Ended], object],
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._slices = slices
        self._statistics = statistics
        self._adopt = adopt
        self._conclude = conclude
        self._task: asyncio.Task[None] | None = None
        self._sweeps = 0

    @property
    def busy(self) -> bool:
        """Whether what is due is just being taken."""
        return self._sweeps > 0

    def begin(self) -> None:
        """Sweep from now on, at intervals."""
        if self._task is None:
            self._task = asyncio.create_task(self._sweep_for_ever())

    async def stop(self) -> None:
        """Sweep no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def sweep(self) -> int:
        """Do what time has brought; returns the number of ends."""
        count = 0
        async for _ in self.end_due():
            count += 1
        return count

    async def end_due(self) -> AsyncIterator[Session]:
        """Do what time has brought, and yield each session that it has ended."""
        self._sweeps += 1
        try:
            await self._lifecycle.settle_again()
            while due := await self._store.take_due(AT_A_TIME):
                self._deliver(due)
                for ended in due.ended:
                    yield self._adopt(ended.record)
                await self._slices.pause()
                await self._lifecycle.room()
        finally:
            self._sweeps -= 1

    async def take_rest(self) -> None:
        """Take all that is due, without a pause: nobody else is served any more."""
        while due := await self._store.take_due(AT_A_TIME):
            self._deliver(due)

    def _deliver(self, due: Due) -> None:
        for owed in due.owed:
            self._deliver_again(owed)
        for record in due.expiring:
            self._lifecycle.warn(self._adopt(record))
        for record, event in due.scheduled:
            self._lifecycle.fire(self._adopt(record), event)
        for ended in due.ended:
            if self._statistics.on_lateness:
                self._statistics.on_lateness(max(0.0, self._store.now() - ended.record.deadline))
            self._conclude(ended)

    def _deliver_again(self, owed: Owed) -> None:
        """Deliver what others have left undone; its event says how often it was tried."""
        session = self._adopt(owed.record)
        match owed.event.kind:
            case "start":
                self._lifecycle.start(session, owed.event)
            case "end" if owed.event.attempt == 1 and owed.event.reason is not None:
                self._lifecycle.finish(session, owed.event, owed.event.reason)
            case "end":
                self._conclude(Ended(owed.record, owed.event))
            case _:
                self._lifecycle.fire(session, owed.event)

    async def _sweep_for_ever(self) -> None:
        is_away = False
        while True:
            try:
                await self.sweep()
                is_away = False
            except StoreUnavailable as error:
                if not is_away:
                    _log.warning("a sweep failed; it goes on when the store is back: %s", error)
                is_away = True
            except Exception:
                _log.exception("a sweep failed; the next one follows")
            await asyncio.sleep(SWEEP_INTERVAL)
