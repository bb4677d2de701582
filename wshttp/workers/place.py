"""One of the places for workers: its sockets, and a worker in it, come what may."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wshttp.workers.delay import Delay
from wshttp.workers.worker_process import WorkerProcess, fate_of

if TYPE_CHECKING:
    from wshttp.engine.listeners import Listener

_log = logging.getLogger("wshttp.workers")


class Place:
    """A worker, and whoever comes after it.

    Its sockets outlive a worker that drains: a successor takes over what waits in them, and no connection is lost.
    Of a worker that died they are closed; until another one is there, the kernel would go on giving them connections.
    `fixed` as `Worker` has it.
    """

    def __init__(self, number: int, listeners: Sequence[Listener], fixed: Mapping[str, Any]) -> None:
        self.number = number
        self.listeners = list(listeners)
        self.processes: set[WorkerProcess] = set()
        """Who lives: the worker, and for a while its predecessors and its successor."""
        self._fixed = fixed
        self._worker: WorkerProcess | None = None
        self._changing = asyncio.Lock()
        self._delay = Delay()
        self._watchers: asyncio.TaskGroup | None = None

    async def open(self) -> int | None:
        """Start its first worker, and wait until that listens; return the exit status of one that did not come to it."""
        try:
            self._worker = worker = await self._start()
        except OSError as error:
            _log.error("worker %d cannot be started: %s", self.number, error)
            return 1
        return None if await self._listens(worker) else await self._end_of(worker)

    def keep(self, watchers: asyncio.TaskGroup) -> None:
        """Put another worker in the place of each that dies, from now on, by tasks of this group."""
        self._watchers = watchers
        if self._worker is not None:
            self._watch_over(self._worker)

    async def renew(self, asked_at: float) -> bool:
        """Put another worker in the place of one that was started before then, once it listens; and have that one drain.

        Returns false where the successor did not come to listen: the old one stays.
        """
        async with self._changing:
            old = self._worker
            if old is None or old.started_at > asked_at:  # one that had died has a successor already
                return True
            obstacle = await self._start_another()
            if obstacle is not None:
                _log.error("%s; %s stays", obstacle, old)
                return False
        old.drain()
        status = await self._end_of(old)
        if status:
            _log.error("%s %s when it had to drain", old, fate_of(status))
        return True

    def close(self) -> None:
        """Close its sockets here; its processes have theirs."""
        for listener in self.listeners:
            listener.socket.close()

    async def end(self) -> bool:
        """Have all its processes drain, and wait until they have ended; false where one did not as it should have."""
        for process in self.processes:
            process.drain()
        ends = await asyncio.gather(*(self._end_cleanly(process) for process in tuple(self.processes)))
        for listener in self.listeners:
            listener.remove_file()
        return all(ends)

    async def _end_cleanly(self, process: WorkerProcess) -> bool:
        status = await self._end_of(process)
        if status and process.listening:  # else the signal met one that could not know it yet
            _log.error("%s %s", process, fate_of(status))
        return not (status and process.listening)

    async def _watch(self, worker: WorkerProcess) -> None:
        status = await self._end_of(worker)
        async with self._changing:
            if worker is self._worker:
                await self._replace(worker, status)

    async def _replace(self, dead: WorkerProcess, status: int) -> None:
        obstacle: str | None = f"{dead} {fate_of(status)}"
        lived = dead.age
        while obstacle is not None:
            seconds = self._delay.after(lived)
            self._open_sockets_anew()
            _log.error("%s; another one starts in %g s", obstacle, seconds)
            await asyncio.sleep(seconds)
            obstacle, lived = await self._start_another(), 0.0

    async def _start_another(self) -> str | None:
        """Start a worker, who is the one of this place from when it listens on; say why it did not come to that."""
        try:
            worker = await self._start()
        except OSError as error:
            return f"worker {self.number} cannot be started: {error}"
        if not await self._listens(worker):
            return f"{worker} {fate_of(await self._end_of(worker))} before it listened"
        self._worker = worker
        self._watch_over(worker)
        return None

    def _open_sockets_anew(self) -> None:
        try:
            twins = [listener.twin() for listener in self.listeners]
        except OSError as error:
            _log.error("connections to worker %d wait until there is one: no other socket: %s", self.number, error)
            return
        self.close()
        self.listeners = twins

    async def _start(self) -> WorkerProcess:
        worker = await WorkerProcess.start(self.number, [each.socket for each in self.listeners], self._fixed)
        self.processes.add(worker)
        return worker

    async def _listens(self, worker: WorkerProcess) -> bool:
        listens = await worker.listens()
        if listens:
            _log.info("%s listens", worker)
        return listens

    async def _end_of(self, worker: WorkerProcess) -> int:
        status = await worker.ended()
        self.processes.discard(worker)
        return status

    def _watch_over(self, worker: WorkerProcess) -> None:
        if self._watchers is not None:
            self._watchers.create_task(self._watch(worker))
