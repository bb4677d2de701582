"""Requests of one session, one at a time.

Apart from `exchange`, which is compiled: what is compiled does not wait with an error in hand (docs/design.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TypeVar

from wshttp.errors import TooManyRequests
from wshttp.sessions.session import Session

T = TypeVar("T")


async def alone(session: Session, wait: float, answer: Callable[[], Awaitable[T]]) -> T:
    """Do what answers a request while no other one of its session is handled.

    Raises `TooManyRequests` where the others take longer than `wait` seconds.
    """
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(session.lock(wait))
        except TimeoutError:
            raise TooManyRequests(1.0, "other requests of this session are still being handled") from None
        return await answer()
