"""A worker's side of its parent: the sockets that it has from it, and the channel by which each hears of the other's end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, Self

VARIABLE: Final = "_WSHTTP_WORKER"
"""In the environment of a worker, what `commission` wrote. Not `WSHTTP_`, which settings begin with."""

LISTENING: Final = b"+"
"""What a worker says once it listens. There is nothing else to say."""


class Worker:
    """This process, where it is one of several.

    `number` is its place among them, from 1 on; `None`: its parent is of a release that does not say. `sockets` are bound and wait for `listen`.
    `fixed` are settings of `server` that its parent has, and that a worker cannot have otherwise.
    """

    def __init__(
        self, number: int | None, channel: socket.socket, sockets: Sequence[socket.socket], fixed: Mapping[str, Any]
    ) -> None:
        self.number = number
        self.sockets = list(sockets)
        self.fixed = fixed
        self._channel = channel

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self | None:
        """Return what this process was commissioned to be, once; `None` where it is nobody's worker."""
        written = environ.pop(VARIABLE, None)  # the programs that it starts are none
        if written is None:
            return None
        given = json.loads(written)
        if not _is_ours(given["channel"], given["inode"]):
            return None
        channel, *sockets = (socket.socket(fileno=each) for each in (given["channel"], *given["sockets"]))
        for each in (channel, *sockets):
            each.set_inheritable(False)
            each.setblocking(False)
        return cls(given.get("number"), channel, sockets, given["fixed"])

    def listening(self) -> None:
        """Tell the parent that this worker listens."""
        try:
            self._channel.send(LISTENING)
        except OSError:
            pass  # it has died, of which `watch_parent` tells

    def watch_parent(self, on_death: Callable[[], None]) -> None:
        """Have `on_death` called on this loop when the parent is no more, however it died."""
        loop = asyncio.get_running_loop()

        def on_readable() -> None:
            loop.remove_reader(self._channel)  # a parent says nothing: this is the end of the stream
            on_death()

        loop.add_reader(self._channel, on_readable)

    def close(self) -> None:
        """Close what came from the parent, as far as it is open."""
        for each in (self._channel, *self.sockets):
            each.close()


def commission(number: int, channel: socket.socket, sockets: Sequence[socket.socket], fixed: Mapping[str, Any]) -> str:
    """Return what to put into the environment of a worker that inherits these."""
    given = {
        "number": number,
        "channel": channel.fileno(),
        "inode": os.fstat(channel.fileno()).st_ino,
        "sockets": [each.fileno() for each in sockets],
        "fixed": dict(fixed),
    }
    return json.dumps(given)


def _is_ours(number: int, inode: int) -> bool:
    """Tell whether a file descriptor is the one that was meant.

    A program that a worker starts before it comes to `Worker.from_environment` has the variable, and not the channel.
    """
    try:
        return os.fstat(number).st_ino == inode
    except OSError:
        return False
