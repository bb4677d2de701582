"""A node's lease on what it owes: renewed for as long as the node lives."""

from __future__ import annotations

import asyncio
import logging

from wshttp.errors import StoreUnavailable
from wshttp.sessions.store import Store

_log = logging.getLogger("wshttp.sessions")


class Lease:
    """Renews the lease of this node in a store, where there is one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Renew it from now on."""
        if self._store.lease:
            self._task = asyncio.create_task(self._renew_for_ever())

    async def stop(self) -> None:
        """Renew it no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _renew_for_ever(self) -> None:
        """Renew it in time for two more tries."""
        is_away = False
        while True:
            await asyncio.sleep(self._store.lease / 3)
            try:
                if not await self._store.renew_lease():
                    _log.warning("the lease was lost; others may deliver again what this node was delivering")
                is_away = False
            except StoreUnavailable as error:
                if not is_away:
                    _log.warning("the lease could not be renewed; it is tried on until the store is back: %s", error)
                is_away = True
            except Exception:
                _log.exception("the lease could not be renewed; the next try follows")
