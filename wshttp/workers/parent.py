"""The parent of several workers: it starts them, passes on signals, and restarts them in turn.

It serves nobody: it has no session, no store and no connection, so that there is little that could end it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from wshttp.config import ServerSettings
from wshttp.network import bind
from wshttp.workers.place import Place
from wshttp.workers.worker_process import check_program, fate_of

FIXED: Final = ("host", "port", "unix_socket", "workers")
"""Settings of `server` that are the parent's, and that its workers cannot have otherwise."""

_log = logging.getLogger("wshttp.workers")


class Parent:
    """One process that has others serve, from `run` to its end.

    SIGTERM and SIGINT have all workers drain at once, the second of them ends all now; SIGHUP goes to all workers; SIGUSR2
    puts others in their place, one after the other.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._addresses = ""
        self._places: list[Place] = []
        self._stopping = asyncio.Event()
        self._rolling = asyncio.Event()

    async def run(self) -> int:
        """Return the exit status: of a worker that failed before the server listened, or else 0 after a clean drain.

        Raises `ConfigurationError` where an address cannot be had, or this program not be run again.
        """
        check_program()
        with self._signals():
            self._places = self._make_places()
            supervision = asyncio.create_task(self._supervise())
            stop = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({supervision, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            status = await self._end(supervision)
            return status if supervision.cancelled() else supervision.result()

    def _make_places(self) -> list[Place]:
        listeners = bind(self._settings, shared=True)
        self._addresses = ", ".join(listener.address for listener in listeners)
        fixed = {name: getattr(self._settings, name) for name in FIXED}
        twins = [[listener.twin() for listener in listeners] for _ in range(self._settings.workers - 1)]
        return [Place(number, each, fixed) for number, each in enumerate([listeners, *twins], 1)]

    async def _supervise(self) -> int:
        """Open all places and keep them, without end; return the exit status where one cannot be opened."""
        failed = await self._open()
        return await self._keep() if failed is None else failed

    async def _open(self) -> int | None:
        # The first alone: what is wrong with the settings, the store or the program, is said once.
        for places in (self._places[:1], self._places[1:]):
            for place, status in zip(places, await asyncio.gather(*(place.open() for place in places)), strict=True):
                if status is not None:
                    return _failure(place, status)
        return None

    async def _keep(self) -> NoReturn:
        print(f"wshttp listening on {self._addresses}", flush=True)
        async with asyncio.TaskGroup() as watchers:
            for place in self._places:
                place.keep(watchers)
            await self._roll()

    async def _roll(self) -> NoReturn:
        """Restart all workers in turn, each time that it is asked for."""
        while True:
            await self._rolling.wait()
            self._rolling.clear()
            _log.info("restarting %d workers in turn", len(self._places))
            now = asyncio.get_running_loop().time()
            for place in self._places:
                if not await place.renew(now):
                    _log.error("restart given up: the workers that are left go on as they were")
                    break
            else:
                _log.info("all workers restarted")

    async def _end(self, supervision: asyncio.Task[int]) -> int:
        supervision.cancel()
        await asyncio.wait({supervision})
        for place in self._places:
            place.close()  # before the workers stop accepting, or connections would wait in them for nobody
        drained = await asyncio.gather(*(place.end() for place in self._places))
        return 0 if all(drained) else 1

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        actions = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGHUP: self._reload,
            signal.SIGUSR2: self._rolling.set,
        }
        for number, action in actions.items():
            loop.add_signal_handler(number, action)
        try:
            yield
        finally:
            for number in actions:
                loop.remove_signal_handler(number)

    def _stop(self) -> None:
        if self._stopping.is_set():
            for place in self._places:
                for process in place.processes:
                    process.kill()
            os._exit(1)
        self._stopping.set()

    def _reload(self) -> None:
        for place in self._places:
            for process in place.processes:
                process.reload()


def _failure(place: Place, status: int) -> int:
    """Return the exit status for a worker that never listened; 1 and 2 have told their reason."""
    if status not in (1, 2):
        _log.error("worker %d %s before it listened", place.number, fate_of(status))
    return status if status > 0 else 1
