"""How long a request waits for the store: all its calls together as long as one may take."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from wshttp.errors import StoreUnavailable

QUICK: Final = 0.1
"""An answer that comes within this part of a request's patience costs none of it: the store is well, and a request that
asks a thousand times is not to use it up on that."""

USED_UP: Final = "the request has waited for the store as long as it may"

T = TypeVar("T")

_current: ContextVar[Patience | None] = ContextVar("wshttp_patience", default=None)


class Patience:
    """The seconds that one request waits for the store, in all (0: without a bound).

    Time that it spends on something else gives it patience back, second by second, so that one that streams for hours is
    not counted to its end. It goes with the context, as a unit of work does, until it ends.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._now = now
        self._used = 0.0
        self._since = 0.0  # of no account before anything is used
        self._waiting = 0

    def enter(self) -> None:
        """Be the patience in force for the rest of the current task."""
        _current.set(self)

    def leave(self) -> None:
        """Be it no more, in the task that entered it: what goes on in its context keeps nothing of it."""
        _current.set(None)

    def end(self) -> None:
        """Bind nobody any more: who goes on in this context does so for itself."""
        self._seconds = 0.0

    @property
    def left(self) -> float:
        """Seconds for which it waits yet; infinite without a bound."""
        if not self._seconds:
            return math.inf
        passed = self._now() - self._since
        return self._seconds - (self._used + passed if self._waiting else max(0.0, self._used - passed))

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time until it is left; calls at the same time are one wait."""
        if not self._waiting:
            self._used, self._since = max(0.0, self._used - (self._now() - self._since)), self._now()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                waited, self._since = self._now() - self._since, self._now()
                self._used += waited if waited > self._seconds * QUICK else 0.0


def seconds_left(timeout: float) -> float:
    """Return for how long a call may wait that may wait for `timeout`. Raises `StoreUnavailable` where that is over."""
    patience = _current.get()
    left = math.inf if patience is None else patience.left
    if left <= 0:
        raise StoreUnavailable(reason=USED_UP)
    return min(timeout, left)


async def patiently(answer: Awaitable[T], timeout: float) -> T:
    """Wait for an answer as long as the request in force, if there is one, has patience.

    `timeout` is what whoever answers keeps to by itself: a request that has as much patience leaves it to them.
    Raises `StoreUnavailable` when it has none left; what was asked for may be done yet.
    """
    patience = _current.get()
    if patience is None:
        return await answer
    left = patience.left
    try:
        with patience.waiting():
            async with asyncio.timeout(left if left < timeout else None) as limit:
                return await answer
    except TimeoutError:
        if not limit.expired():
            raise
        raise StoreUnavailable(reason=USED_UP) from None
