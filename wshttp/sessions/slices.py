"""Long work in short slices, so that nobody waits for it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

SLICE: Final = 0.001
"""Seconds of work at a time, over all who share one `Slices`: little of the 10 ms by which background work may delay
a request, since a request may meet two, and both may be longer by a run of Python's garbage collector."""

REST: Final = 8
"""Turns of the event loop that belong to others after each slice. A request takes 5 to 7 from its first byte to its
answer (own measurement, Tornado 6.6): it waits for a slice or two, not for one in each of its turns."""

LONGEST_REST: Final = 0.004
"""Seconds after which a rest is over before its last turn: on a busy server, background work still gets its third."""


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
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._running = False
        self._begins = False

    async def pause(self) -> None:
        """Let others run if the budget is spent; who waits longest goes on first."""
        if time.perf_counter() < self._until:
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if not self._running:
            self._rest(REST, time.perf_counter() + LONGEST_REST)
        await turn
        if self._begins:
            # Counted from here: where others take long before it is our turn, the slice would be over before it began.
            self._begins = False
            self._until = time.perf_counter() + self._seconds

    def _rest(self, turns: int, until: float) -> None:
        self._running = True
        if turns and time.perf_counter() < until:
            asyncio.get_running_loop().call_soon(self._rest, turns - 1, until)
        else:
            self._begins = True
            self._wake()

    def _wake(self) -> None:
        """Let one go on, and the next where that one leaves something of the budget: waking all would spend it on that."""
        if not self._begins and time.perf_counter() >= self._until:
            self._rest(REST, time.perf_counter() + LONGEST_REST)
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # cancelled
                turn.set_result(None)
                asyncio.get_running_loop().call_soon(self._wake)
                return
        self._running = False
