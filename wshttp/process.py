"""A server as a process: its signals, its line on standard output, its exit status."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from wshttp import logs
from wshttp.collector import Collector
from wshttp.errors import ConfigurationError, StoreUnusable

if TYPE_CHECKING:
    from wshttp.server import Server

LAST_CLEANUP: Final = 1.0
"""Seconds that what still runs after a drain has to end once it is cancelled."""

_log = logging.getLogger("wshttp.server")


def serve(server: Server) -> int:
    """Run a server until SIGTERM or SIGINT, and return the process's exit status; see `Server.serve`."""
    logs.configure(server.settings.log.level, server.settings.log.format)
    try:
        asyncio.run(_serve(server))
    except ConfigurationError as error:
        for mistake in error.mistakes:
            print(mistake, file=sys.stderr)
        return 2
    except StoreUnusable as error:
        print(error, file=sys.stderr)
        return 1
    return 0


async def _serve(server: Server) -> None:
    stopping = asyncio.Event()
    with _signals(server, stopping):
        await server.start()
        async with Collector(lambda: server.sessions.busy):
            print(f"wshttp listening on {', '.join(server.addresses)}", flush=True)
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
def _signals(server: Server, stopping: asyncio.Event) -> Iterator[None]:
    """Have SIGTERM and SIGINT set `stopping`, the second of them end the process, and SIGHUP reload."""
    loop = asyncio.get_running_loop()
    asked = False
    reloads: set[asyncio.Task[None]] = set()

    # Not the loop's own signal handlers: in a program that never gives the loop back, nobody would hear the second.
    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os._exit(1)
        asked = True
        loop.call_soon_threadsafe(stopping.set)

    def reload_soon() -> None:
        reload = asyncio.ensure_future(server.reload())
        reloads.add(reload)  # the loop alone does not hold on to a task
        reload.add_done_callback(reloads.discard)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    loop.add_signal_handler(signal.SIGHUP, reload_soon)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
