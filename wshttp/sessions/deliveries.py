"""The delivery of what the ledger owes: in order per session, up to 64 sessions at once.

A start is delivered before the first answer, an end after its start, and each entry is settled when its callbacks have run.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Set
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from wshttp.sessions.callbacks import current_event
from wshttp.sessions.slices import Slices

AT_ONCE: Final = 64
"""Sessions whose callbacks run at the same time: enough to wait for a slow back end in parallel, and no flood of tasks."""

BACKLOG: Final = 512
"""Sessions with something to deliver, from which on `room` waits: enough to keep the workers busy. What has not been
taken from the store costs nothing; a hundred thousand queued deliveries cost memory, and time in Python's collector."""

Delivery: TypeAlias = Callable[[], Awaitable[None]]

_log = logging.getLogger("wshttp.deliveries")


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A delivery, what it waits for, and the future that tells that it has run."""

    delivery: Delivery
    after: asyncio.Future[Any] | None
    done: asyncio.Future[None]

    @property
    def may_run(self) -> bool:
        return self.after is None or self.after.done()


class Deliveries:
    """Run deliveries; those of one ref one after the other, in the order in which they came.

    They run in a context of their own, not in that of the request that caused them.
    """

    def __init__(self, slices: Slices) -> None:
        self._slices = slices
        self._queues: dict[str, deque[_Entry]] = {}
        self._ready: deque[str] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._for_room: dict[asyncio.Future[None], int] = {}

    @property
    def refs(self) -> Set[str]:
        """Which sessions have something to deliver."""
        return self._queues.keys()

    def deliver(
        self, ref: str, delivery: Delivery, *, after: asyncio.Future[Any] | None = None
    ) -> asyncio.Future[None]:
        """Queue a delivery behind those of the same ref. It must not raise; if it does, that is logged.

        It runs when `after` is done, however that came out; until then it is owed, and keeps nobody else waiting.
        The returned future is done when it has run, or when they have stopped and it never will.
        """
        entry = _Entry(delivery, after, asyncio.get_running_loop().create_future())
        queue = self._queues.get(ref)
        if queue is None:
            self._queues[ref] = deque([entry])
            self._idle.clear()
            self._hand_out(ref, entry)
        else:
            queue.append(entry)
        return entry.done

    def _hand_out(self, ref: str, first: _Entry) -> None:
        """Let a worker take a session's queue, as soon as its first entry may run."""
        if first.after is not None and not first.after.done():
            first.after.add_done_callback(lambda _: self._hand_out(ref, first))
            return
        if first.done.done():
            return  # they were stopped while it waited
        self._ready.append(ref)
        # A callback may wait for another session's start: it must not be able to take the last worker from it.
        if len(self._workers) < AT_ONCE or current_event() is not None:
            self._workers.add(asyncio.create_task(self._work(), context=Context()))

    async def room(self, backlog: int = BACKLOG) -> None:
        """Wait while `backlog` sessions or more have something to deliver; who waits longest goes on first."""
        if len(self._queues) >= backlog:
            turn = asyncio.get_running_loop().create_future()
            self._for_room[turn] = backlog
            try:
                await turn
            finally:
                self._for_room.pop(turn, None)

    def _make_room(self) -> None:
        for turn, backlog in list(self._for_room.items()):
            if len(self._queues) >= backlog:
                return
            del self._for_room[turn]
            if not turn.done():
                turn.set_result(None)

    async def settled(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to deliver, at most `timeout` seconds; tell whether that is so."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Give up what is left; in a store that outlives the process it stays owed."""
        for worker in list(self._workers):
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers.clear()
        for queue in self._queues.values():
            for entry in queue:
                entry.done.set_result(None)
        self._queues.clear()
        self._ready.clear()
        self._idle.set()
        self._make_room()

    async def _work(self) -> None:
        while self._ready:
            ref = self._ready.popleft()
            queue = self._queues[ref]
            while queue and queue[0].may_run:
                await self._run(queue[0].delivery)
                queue.popleft().done.set_result(None)
                await self._slices.pause()
            if queue:
                self._hand_out(ref, queue[0])
                continue
            del self._queues[ref]
            self._make_room()
        # At once, not when the loop comes round to it: what is delivered in between would count on this worker.
        self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if not self._queues:
            self._idle.set()

    async def _run(self, delivery: Delivery) -> None:
        try:
            await delivery()
        except Exception:
            _log.exception("a delivery failed")
