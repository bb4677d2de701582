"""One worker, as its parent sees it: a process that runs the parent's own command."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from wshttp.errors import ConfigurationError
from wshttp.workers.worker import LISTENING, VARIABLE, commission

_FOLDER: Final = os.getcwd()
"""Where this program was started, if it imports us before it goes elsewhere: its command may name files from there."""

_FROM_INPUT: Final = sys.argv[:1] in ([""], ["-"])
"""Whether this program was read from standard input, as by `python -`: it is not there a second time."""


def check_program() -> None:
    """Raise `ConfigurationError` where this program cannot be run once more."""
    if _FROM_INPUT:
        raise ConfigurationError(
            [
                "server.workers: more than 1 needs a program in a file, which each of them runs;"
                " this one was read from standard input"
            ]
        )


class WorkerProcess:
    """A process that was started, from then until it has ended."""

    def __init__(self, number: int, process: Process, channel: socket.socket) -> None:
        self.number = number
        self.started_at = asyncio.get_running_loop().time()
        self.listening = False
        self._process = process
        self._channel = channel
        self._leaving = False
        self._owes_reload = False

    @classmethod
    async def start(cls, number: int, sockets: Sequence[socket.socket], fixed: Mapping[str, Any]) -> Self:
        """Run this program once more, with these sockets; `fixed` as `Worker` has it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable or sys.orig_argv[0],
                    *sys.orig_argv[1:],
                    cwd=_FOLDER,
                    env={**os.environ, VARIABLE: commission(number, theirs, sockets, fixed)},
                    stdin=DEVNULL,
                    pass_fds=[each.fileno() for each in (theirs, *sockets)],
                    start_new_session=True,  # Ctrl-C in a terminal is for the parent, who passes on what it means
                )
            except BaseException:
                ours.close()
                raise
        return cls(number, process, ours)

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return asyncio.get_running_loop().time() - self.started_at

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self._process.pid})"

    async def listens(self) -> bool:
        """Wait until it listens; false if it ends without."""
        word = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(self._channel, len(LISTENING)))
        end = asyncio.ensure_future(self._process.wait())
        try:
            # A program that it started may hold the channel open when it is no more.
            await asyncio.wait({word, end}, return_when=asyncio.FIRST_COMPLETED)
            self.listening = word.done() and word.result() == LISTENING
        finally:
            word.cancel()
            end.cancel()
        if self._owes_reload:
            self.reload()
        return self.listening

    async def ended(self) -> int:
        """Wait until it has ended, and return its exit status; `-9` is a death by signal 9."""
        status = await self._process.wait()
        self._channel.close()
        return status

    def reload(self) -> None:
        """Have it read its settings again; as soon as it can, if it cannot yet."""
        self._owes_reload = not self.listening
        if self.listening and not self._leaving:
            self._signal(signal.SIGHUP)

    def drain(self) -> None:
        """Ask it, once, to finish what it has begun, and to end."""
        if not self._leaving:
            self._leaving = True
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            self._process.send_signal(number)
        except ProcessLookupError:
            pass  # it has ended


def fate_of(status: int) -> str:
    """Say in words what an exit status tells."""
    if status < 0:
        return f"was killed by signal {-status} ({signal.strsignal(-status)})"
    return f"ended with status {status}"
