"""Messages in their order, to a handler that takes one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Final, Protocol

from tornado.gen import convert_yielded

from wshttp.engine.websocket.messages import Message

BOUND: Final = 1024 * 1024
"""Bytes, or characters, of waiting messages after which no more are made of what was read: only those that were
compressed ever get there, as all others are no larger than what is read at a time."""

PER_TURN: Final = 256
"""Messages after which everybody else on the loop has a turn."""


class Handler(Protocol):
    """Who takes messages."""

    def on_message(self, message: Message) -> Awaitable[None] | None:
        """Take a message; what is returned is done when the next one may come."""


class Addressee(Protocol):
    """Whose inbox it is."""

    @property
    def handler(self) -> Handler:
        """Whom messages are for."""

    def failed(self) -> None:
        """Take note, within the `except` clause, that this raised; the next message has its turn all the same."""

    def caught_up(self) -> None:
        """Take note that nothing waits any more, after something did."""


class Inbox:
    """Hands messages over, one at a time, in `context`. It is busy from the beginning, until `open`."""

    __slots__ = ("_addressee", "_size", "_waiting", "busy", "context", "full")

    def __init__(self, addressee: Addressee, context: Context) -> None:
        self.busy = True
        """Whether a message that comes now has to wait."""
        self.full = False
        """Whether no more should be put in."""
        self.context = context
        self._addressee = addressee
        self._waiting: deque[Message] | None = None
        self._size = 0

    @property
    def holds(self) -> bool:
        """Whether messages wait."""
        return bool(self._waiting)

    def open(self) -> None:
        """Begin, or go on, with what has come already."""
        self.busy = False
        self._go_on()

    def put(self, message: Message) -> None:
        """Hand over a message, in its turn."""
        if self.busy:
            self._keep(message)
            return
        try:
            result = self.context.run(self._addressee.handler.on_message, message)
            if result is not None:
                self._wait_for(convert_yielded(result))
        except (Exception, asyncio.CancelledError):
            self._addressee.failed()
        except (SystemExit, KeyboardInterrupt) as stop:
            self._addressee.failed()
            # The loop is to hear of it: what its transports get to see ends nothing (uvloop 0.23).
            asyncio.get_running_loop().call_soon(_raise, stop)

    def _keep(self, message: Message) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append(message)
        self._measure(len(message))

    def _measure(self, more: int) -> None:
        self._size += more
        self.full = self._size >= BOUND

    def clear(self) -> None:
        """Drop what waits."""
        self._waiting = None
        self._measure(-self._size)

    def run(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the context in which messages are handled."""
        self.context.run(function, *args)

    def _wait_for(self, handling: asyncio.Future[None]) -> None:
        if handling.done():
            self._retrieve(handling)
        else:
            self.busy = True
            handling.add_done_callback(self._handled)

    def _retrieve(self, handling: asyncio.Future[None]) -> None:
        try:
            handling.result()
        except (Exception, asyncio.CancelledError):
            self._addressee.failed()

    def _handled(self, handling: asyncio.Future[None]) -> None:
        self._retrieve(handling)
        self.busy = False
        self._go_on()

    def _go_on(self) -> None:
        for _ in range(PER_TURN):
            if not self._waiting or self.busy:
                break
            message = self._waiting.popleft()
            self._measure(-len(message))
            self.put(message)
        if self.busy:
            return
        if self._waiting:
            self.busy = True
            asyncio.get_running_loop().call_soon(self.open)
        else:
            self._waiting = None
            self._addressee.caught_up()


def _raise(error: BaseException) -> None:
    raise error
