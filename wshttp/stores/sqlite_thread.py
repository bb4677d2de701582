"""The thread in which the SQLite store waits for its disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """Runs blocking calls, one after the other.

    A process exits while one still runs: a disk that never answers is not waited for, which that of a
    `ThreadPoolExecutor` would be.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        Thread(target=self._work, name=name, daemon=True).start()

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Wait for a call, behind all others. Who is cancelled takes it back, if it has not begun."""
        return await asyncio.wrap_future(self.submit(function, *arguments))

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a call run behind all others."""
        done: Future[T] = Future()

        def call() -> None:
            if done.set_running_or_notify_cancel():
                try:
                    done.set_result(function(*arguments))
                except BaseException as error:
                    done.set_exception(error)

        self._calls.put(call)
        return done

    def stop(self) -> None:
        """End the thread when it has run what it was given."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
