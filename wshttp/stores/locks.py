"""The locks of sessions within one process: one holds, the others wait in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from wshttp.errors import SessionEnded, StoreUnavailable


@dataclass
class _Lock:
    """Who holds a session's lock, and who waits, in order."""

    holder: str
    waiting: deque[tuple[str, asyncio.Future[None]]] = field(default_factory=deque)


class Locks:
    """Locks by ref. Their lease is the life of the process: nobody else can hold one of them."""

    def __init__(self) -> None:
        self._locks: dict[str, _Lock] = {}

    def __len__(self) -> int:
        return len(self._locks)

    def __contains__(self, ref: object) -> bool:
        return ref in self._locks

    def holder(self, ref: str) -> str | None:
        """Return who holds a session's lock."""
        lock = self._locks.get(ref)
        return None if lock is None else lock.holder

    async def acquire(self, ref: str, holder: str, timeout: float) -> bool:
        """See `Store.acquire`; that the session lives is the caller's to know."""
        lock = self._locks.get(ref)
        if lock is None:
            self._locks[ref] = _Lock(holder)
            return True
        turn = asyncio.get_running_loop().create_future()
        lock.waiting.append((holder, turn))
        try:
            async with asyncio.timeout(timeout):
                await turn
        except BaseException as error:
            # The turn may have come in the same instant in which the waiter gave up: then it goes to the next.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.release(ref, holder)
            elif (holder, turn) in lock.waiting:
                lock.waiting.remove((holder, turn))
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def release(self, ref: str, holder: str) -> None:
        """See `Store.release`."""
        lock = self._locks.get(ref)
        if lock is None or lock.holder != holder:
            return
        while lock.waiting:
            lock.holder, turn = lock.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._locks[ref]

    def give_up(self, reason: str) -> None:
        """Tell all who wait that the store is away; who holds a lock holds it still."""
        for lock in self._locks.values():
            for _, turn in lock.waiting:
                if not turn.done():
                    turn.set_exception(StoreUnavailable(reason=reason))
            lock.waiting.clear()

    def keep(self, lives: Callable[[str], object]) -> None:
        """Drop the locks of sessions that neither live nor have ended: those that were never written down."""
        self._locks = {ref: lock for ref, lock in self._locks.items() if lives(ref)}

    def end(self, ref: str, reason: str | None) -> None:
        """Drop the lock of a session that has ended; who waits for it is told."""
        lock = self._locks.pop(ref, None)
        for _, turn in lock.waiting if lock else ():
            if not turn.done():
                turn.set_exception(SessionEnded(ref, reason))
