"""The end of an outage: who waits for a store that is away, and when they go on."""

from __future__ import annotations

import asyncio
import random
from typing import Final, Protocol

INTERVAL: Final = 0.1
"""Seconds between looks at the store, on average: the nodes that share one should not come back in step."""

AT_ONCE: Final = 200
"""How many go on at one look: a store that has just come back, or that answers and refuses to write, is not met by all
sockets in one instant."""


class Available(Protocol):
    """What may be away."""

    @property
    def available(self) -> bool:
        """Whether it answers."""


class Outage:
    """Waiting for a store; all who wait share one timer, which runs only while there are some."""

    def __init__(self, store: Available) -> None:
        self._store = store
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    async def over(self) -> None:
        """Wait until the store is worth another try: a moment at least, since not every failure is an outage of its own."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        self._look_later()
        try:
            await turn
        finally:
            self._waiting.pop(turn, None)

    def _look_later(self) -> None:
        if self._timer is None:
            delay = INTERVAL * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            self._timer = asyncio.get_running_loop().call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._store.available:
            for turn in list(self._waiting)[:AT_ONCE]:
                del self._waiting[turn]
                if not turn.done():
                    turn.set_result(None)
        if self._waiting:
            self._look_later()
