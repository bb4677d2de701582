"""The least that could keep sessions: a dictionary in order of last access, and a heap of deadlines.

What the memory store is compared with. It knows no users, addresses, limits, tombstones, ledger, locks or warnings,
and its heap keeps the entry of every session that was touched or ended until its old deadline comes.
"""

from __future__ import annotations

import heapq
import time
from collections import OrderedDict

from wshttp.sessions.record import Record


class PlainStore:
    """Records by key."""

    def __init__(self) -> None:
        self._by_key: OrderedDict[bytes, Record] = OrderedDict()
        self._deadlines: list[tuple[float, bytes]] = []

    async def create(self, record: Record) -> None:
        self._by_key[record.key] = record
        heapq.heappush(self._deadlines, (record.deadline, record.key))

    async def load(self, key: bytes) -> Record | None:
        """Find a record and touch it."""
        record = self._by_key.get(key)
        if record is not None:
            record.last_access_at = time.monotonic()
            self._by_key.move_to_end(key)
        return record

    async def sweep(self) -> int:
        """End what is due."""
        ended, now = 0, time.monotonic()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, key = heapq.heappop(self._deadlines)
            record = self._by_key.get(key)
            if record is None or now < record.deadline:
                if record is not None:
                    heapq.heappush(self._deadlines, (record.deadline, key))
                continue
            del self._by_key[key]
            ended += 1
        return ended
