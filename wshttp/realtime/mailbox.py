"""Messages of other nodes that wait to be given to connections here: in order, and not too many."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from wshttp.realtime.letter import Letter

MAX_LETTERS: Final = 10_000
"""Messages that wait: seconds of work for a node that has many connections."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of them."""

_log = logging.getLogger("wshttp.nodes")


class Mailbox:
    """Deliver letters one after the other, in a task that lives only while there are some.

    Where others say more than can be delivered here, the oldest are dropped.
    """

    def __init__(self, deliver: Callable[..., Awaitable[int]]) -> None:
        self._deliver = deliver
        self._waiting: deque[tuple[Letter, int]] = deque()
        self._bytes = 0
        self._is_full = False
        self._task: asyncio.Task[None] | None = None

    def put(self, letter: Letter, size: int) -> None:
        """Take a letter of `size` bytes."""
        self._waiting.append((letter, size))
        self._bytes += size
        while len(self._waiting) > MAX_LETTERS or self._bytes > max(MAX_BYTES, size):
            self._drop_oldest()
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def _drop_oldest(self) -> None:
        _, size = self._waiting.popleft()
        self._bytes -= size
        if not self._is_full:
            _log.warning("other nodes send more than can be delivered here; the oldest messages are dropped")
        self._is_full = True

    async def _work(self) -> None:
        try:
            while self._waiting:
                letter, size = self._waiting.popleft()
                self._bytes -= size
                try:
                    await self._deliver(letter, letter.include, letter.exclude or None)
                except Exception:
                    _log.exception("a message of another node was not delivered")
            self._is_full = False
        finally:
            self._task = None

    async def close(self) -> None:
        """Drop what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._waiting.clear()
        self._bytes = 0
