"""Taking connections off a listening socket, without starving the loop and without spinning when files run out."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

ACCEPTS_PER_TURN = 64
"""Connections taken before everybody else on the loop has a turn."""

PAUSE = 1.0
"""Seconds without accepting after the machine had no file descriptor or memory left; as asyncio's own server."""

_PASSING = (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH)
"""Faults of the one connection that was about to be accepted (Linux: accept(2), "Error handling")."""

log = logging.getLogger(__name__)


class Acceptor:
    """Accept on one listening socket, from `start` to `stop`, and give each connection to `on_socket`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        on_socket: Callable[[socket.socket, Any], None],
        *,
        pause: float = PAUSE,
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._on_socket = on_socket
        self._pause = pause
        self._resumption: asyncio.TimerHandle | None = None
        self._stopped = False
        self._trouble_is_logged = False

    def start(self) -> None:
        self._resumption = None
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def stop(self) -> None:
        """Accept no more; the socket stays open, and is the caller's to close."""
        if self._stopped:
            return
        self._stopped = True
        self._loop.remove_reader(self._listening.fileno())
        if self._resumption is not None:
            self._resumption.cancel()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._stopped:
                return
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _PASSING:
                    continue
                self._rest(error)
                return
            self._trouble_is_logged = False
            accepted.setblocking(False)
            self._on_socket(accepted, address)

    def _rest(self, error: OSError) -> None:
        # The socket stays readable while nothing can be accepted: listening on would spin at full speed.
        if not self._trouble_is_logged:
            log.error("cannot accept connections: %s; trying again every %g s", error.strerror, self._pause)
            self._trouble_is_logged = True
        self._loop.remove_reader(self._listening.fileno())
        self._resumption = self._loop.call_later(self._pause, self.start)
