"""Keeps a connection: whenever it is lost, it is made again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from wshttp.errors import BackendError
from wshttp.redis.backoff import Backoff
from wshttp.redis.greeting import cut

_log: Final = logging.getLogger("wshttp.redis")


class Keeper:
    """One connection at a time, for as long as it is open.

    `connect` makes one, and does on it what comes before all else. `duties` are done on it side by side; they go on for
    ever, and what the first of them raises is why the connection is lost. `lost` and `back` are called in between.
    `name` is what the log calls it.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Callable[[], Awaitable[AbstractConnection]],
        duties: Callable[[AbstractConnection], Iterable[Coroutine[Any, Any, None]]],
        lost: Callable[[], None],
        back: Callable[[], None],
    ) -> None:
        self._name = name
        self._connect = connect
        self._duties = duties
        self._lost = lost
        self._back = back
        self._backoff = Backoff()
        self._task: asyncio.Task[None] | None = None
        self.away_since: float | None = None
        """By the loop's clock; `None` while there is a connection."""
        self.reason = "it is not open"
        """Why there is no connection, for the operator."""

    @property
    def is_open(self) -> bool:
        """Whether a connection is kept, be it there or not."""
        return self._task is not None

    @property
    def available(self) -> bool:
        """Whether there is a connection."""
        return self._task is not None and self.away_since is None

    async def open(self) -> None:
        """Connect for the first time; raises what `connect` raises."""
        self._connection = await self._connect()
        self.away_since = None
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Close the connection, and make no other."""
        task, self._task = self._task, None
        self.reason = "it is closed"
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            await cut(self._connection)  # the task may never have begun

    def is_well(self) -> None:
        """Take note that the server does what it is there for: after a loss it may be tried again at once."""
        self._backoff.reset()

    def lose(self, since: float, reason: str) -> None:
        """Take note that the connection is of no use; only the first time counts."""
        if self.away_since is None:
            self.away_since = since
            self.reason = reason
            _log.warning("the %s is lost: %s", self._name, reason)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            reason = await self._serve()
            self.lose(loop.time(), reason)
            self._lost()
            self._connection = await self._reconnect()
            _log.info("the %s is back after %.1f s", self._name, loop.time() - (self.away_since or 0.0))
            self.away_since = None
            self._back()

    async def _serve(self) -> str:
        """Do the duties until the connection is lost; return why."""
        tasks = [asyncio.create_task(duty) for duty in self._duties(self._connection)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await cut(self._connection)
        return self._why(done.pop().exception())

    def _why(self, error: BaseException | None) -> str:
        if not isinstance(error, RedisError | BackendError):
            _log.error("the %s failed", self._name, exc_info=error)
        return str(error)

    async def _reconnect(self) -> AbstractConnection:
        """Connect again, however long it takes; each reason why it does not is logged once."""
        told = set()
        while True:
            await asyncio.sleep(self._backoff.next())
            try:
                return await self._connect()
            except BackendError as error:
                self.reason, trace = str(error), False
            except Exception as error:
                self.reason, trace = f"{type(error).__name__}: {error}", True
            if self.reason not in told:
                told.add(self.reason)
                _log.warning("the %s is tried again and again: %s", self._name, self.reason, exc_info=trace)
