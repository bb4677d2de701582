"""Those who watch what happens, each with a bounded queue: who does not keep up is let go, and holds nobody up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from wshttp.errors import TooManyRequests
from wshttp.sessions.happenings import Happening

AT_ONCE: Final = 32
"""Watchers of one node."""

BACKLOG: Final = 1000
"""Happenings that may wait for one of them."""

COME_BACK: Final = 30.0
"""Seconds after which one who found no room may try again."""


class Watcher:
    """One who watches. `closed` is set when nothing more comes; `dropped` tells that it was slow."""

    def __init__(self, backlog: int) -> None:
        self.dropped = False
        self._backlog = backlog
        self._waiting: list[Happening] = []
        self._news = asyncio.Event()
        self._closed = asyncio.Event()

    def put(self, happening: Happening) -> None:
        """Have it know; one too many, and it is dropped with all that waited."""
        if self._closed.is_set():
            return
        if len(self._waiting) >= self._backlog:
            self.dropped = True
            self._waiting.clear()
            self.close()
            return
        self._waiting.append(happening)
        self._news.set()

    def close(self) -> None:
        """Say that nothing more comes."""
        self._closed.set()
        self._news.set()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def closed(self) -> None:
        """Wait until nothing more comes."""
        await self._closed.wait()

    async def next(self, patience: float) -> list[Happening]:
        """Wait for what happens, at most so many seconds, and return it all; empty where nothing did."""
        try:
            await asyncio.wait_for(self._news.wait(), patience)
        except TimeoutError:
            return []
        waiting, self._waiting = self._waiting, []
        if not self.is_closed:
            self._news.clear()
        return waiting


class Watchers:
    """All of a node."""

    def __init__(self, *, at_once: int = AT_ONCE, backlog: int = BACKLOG) -> None:
        self._at_once = at_once
        self._backlog = backlog
        self._watchers: set[Watcher] = set()
        self._is_closing = False

    def __len__(self) -> int:
        return len(self._watchers)

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        """Be told what happens meanwhile. Raises `TooManyRequests` where too many are."""
        if len(self._watchers) >= self._at_once:
            raise TooManyRequests(COME_BACK, f"{self._at_once} are watching already")
        watcher = Watcher(self._backlog)
        if self._is_closing:
            watcher.close()
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def tell(self, happening: Happening) -> None:
        """Tell all what happened."""
        for watcher in self._watchers:
            watcher.put(happening)

    def close(self) -> None:
        """Say to all, and to whoever comes yet, that nothing more comes."""
        self._is_closing = True
        for watcher in self._watchers:
            watcher.close()
