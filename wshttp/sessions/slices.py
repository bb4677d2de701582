"""Long work in short slices, so that nobody waits for it."""

from __future__ import annotations

import asyncio
import time
from typing import Final

SLICE: Final = 0.002
"""Seconds of work at a time, over all who share one `Slices`; a fifth of the 10 ms by which background work may delay
a request."""

REST: Final = 8
"""Turns of the event loop that belong to others after each slice. A request takes 5 to 7 from its first byte to its
answer (own measurement, Tornado 6.6): it waits for a slice or two, not for one in each of its turns."""


class Slices:
    """A budget of time between turns of the event loop, shared by several tasks.

        for session in many:
            work(session)
            await slices.pause()       # returns at once until the budget is spent

    Each task having a budget of its own would not do: 64 of them would spend 64 budgets in every turn.
    """

    def __init__(self, seconds: float = SLICE) -> None:
        self._seconds = seconds
        self._until = 0.0
        self._next: asyncio.Future[None] | None = None

    async def pause(self) -> None:
        """Let others run if the budget is spent."""
        while time.perf_counter() >= self._until:
            if self._next is None:
                loop = asyncio.get_running_loop()
                self._next = loop.create_future()
                loop.call_soon(self._rest, REST - 1)
            await asyncio.shield(self._next)

    def _rest(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._rest, turns - 1)
        else:
            self._begin()

    def _begin(self) -> None:
        turn, self._next = self._next, None
        self._until = time.perf_counter() + self._seconds
        if turn is not None:
            turn.set_result(None)
