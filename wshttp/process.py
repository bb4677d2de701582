"""A server as a process, or as several: its signals, its line on standard output, its exit status."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from wshttp import logs
from wshttp.collector import Collector
from wshttp.config import Settings
from wshttp.config.coherence import contradictions
from wshttp.errors import ConfigurationError, StoreUnavailable, StoreUnusable
from wshttp.network import loop_factory
from wshttp.workers.parent import Parent
from wshttp.workers.worker import Worker

if TYPE_CHECKING:
    from wshttp.server import Server

LAST_CLEANUP: Final = 1.0
"""Seconds that what still runs after a drain has to end once it is cancelled."""

_log = logging.getLogger("wshttp.server")


def serve(server: Server) -> int:
    """Run a server until SIGTERM or SIGINT, and return the process's exit status; see `Server.serve`."""
    worker = Worker.from_environment(os.environ)
    number = None if worker is None else worker.number
    logs.configure(server.settings.log.level, server.settings.log.format, worker=number)
    try:
        return _serve_in_place(server, worker)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        return 2
    except (StoreUnusable, StoreUnavailable) as error:
        print(error, file=sys.stderr)
        return 1


def _serve_in_place(server: Server, worker: Worker | None) -> int:
    """Serve, as a worker or alone, or have workers serve; return the exit status."""
    if worker is not None:
        with closing(worker):
            _check_for_worker(server.settings, worker)
            _run(server, worker)
        return 0
    if server.settings.server.workers > 1:
        return asyncio.run(Parent(server.settings.server).run())
    _run(server, None)
    return 0


def _run(server: Server, worker: Worker | None) -> None:
    with asyncio.Runner(loop_factory=loop_factory(server.settings.server)) as runner:
        runner.run(_serve(server, worker))


def _check_for_worker(settings: Settings, worker: Worker) -> None:
    """Say which settings are others than the parent's, and refuse those with which there cannot be several workers.

    They may have changed since the parent's start, and a program may have changed them after they were checked.
    Raises `ConfigurationError`.
    """
    for name, value in worker.fixed.items():
        if getattr(settings.server, name) != value:
            _log.warning("server.%s changed in the settings; it needs a restart of all, not in turn", name)
    several = settings.server.model_copy(update={"workers": worker.fixed["workers"]})
    mistakes = [
        f"{found.key}: {found.text}" for found in contradictions(settings.model_copy(update={"server": several}))
    ]
    if mistakes:
        raise ConfigurationError(mistakes)


async def _serve(server: Server, worker: Worker | None) -> None:
    stopping = asyncio.Event()
    with _signals(server, stopping, second_ends=worker is None):
        if worker is not None:
            worker.watch_parent(stopping.set)
        undelivered = 0
        if await _starts(server, worker, stopping):
            async with Collector(lambda: server.sessions.busy):
                if worker is None:
                    print(f"wshttp listening on {', '.join(server.addresses)}", flush=True)
                else:
                    worker.listening()
                await stopping.wait()
                undelivered = await server.stop()
        if undelivered:
            _log.error("%d sessions' end callbacks were not delivered", undelivered)
        hanging = await _cancel_what_runs()
        if hanging:
            _log.error("still running after the drain, and given up: %s", ", ".join(hanging))
        if undelivered or hanging:
            sys.stdout.flush()
            logging.shutdown()
            os._exit(1)  # Python itself would wait without end for a task that goes on, or for a thread


async def _starts(server: Server, worker: Worker | None, stopping: asyncio.Event) -> bool:
    """Start a server; false where it is to stop before it has started, which undoes what was done so far."""
    start = asyncio.create_task(server.start(sockets=None if worker is None else worker.sockets))
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
    if not start.done():
        _log.info("stopped before it listened")
        start.cancel()
        await asyncio.wait({start})
    if start.cancelled():
        return False
    start.result()
    return True


async def _cancel_what_runs() -> list[str]:
    """Cancel all tasks and wait for the threads behind `asyncio.to_thread`; say what did not end in time."""
    this = asyncio.current_task()
    ends: dict[asyncio.Future[Any], str] = {
        task: getattr(task.get_coro(), "__qualname__", task.get_name())
        for task in asyncio.all_tasks()
        if task is not this
    }
    for task in ends:
        task.cancel()
    ends[asyncio.ensure_future(asyncio.get_running_loop().shutdown_default_executor())] = "a thread"
    _, hanging = await asyncio.wait(ends, timeout=LAST_CLEANUP)
    return sorted(ends[each] for each in hanging)


@contextmanager
def _signals(server: Server, stopping: asyncio.Event, *, second_ends: bool) -> Iterator[None]:
    """Have SIGTERM and SIGINT set `stopping`, the second of them end the process, and SIGHUP reload.

    With `second_ends` false it does nothing: a service manager may send to a worker what its parent sends, too.
    """
    loop = asyncio.get_running_loop()
    asked = False
    reloads: set[asyncio.Task[None]] = set()

    # Not the loop's own signal handlers: in a program that never gives the loop back, nobody would hear the second.
    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and second_ends:
            os._exit(1)
        asked = True
        loop.call_soon_threadsafe(stopping.set)

    def reload_soon() -> None:
        reload = asyncio.ensure_future(server.reload())
        reloads.add(reload)  # the loop alone does not hold on to a task
        reload.add_done_callback(reloads.discard)

    def cannot_restart() -> None:
        _log.warning("SIGUSR2 is for the parent of workers, of which there is one with server.workers above 1")

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    loop.add_signal_handler(signal.SIGHUP, reload_soon)
    loop.add_signal_handler(signal.SIGUSR2, cannot_restart)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if second_ends else signal.SIG_IGN)
