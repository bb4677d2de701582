"""Messages for a session that may have no socket just now: they wait, and come when it has one."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

from wshttp.errors import ConnectionClosed, StoreUnavailable, UsageError
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import ENVELOPE
from wshttp.realtime.letter import Letter
from wshttp.realtime.queues import Queues
from wshttp.realtime.words import decode, decode_letter, encode_letter
from wshttp.sessions.data import Json

if TYPE_CHECKING:
    from wshttp.realtime.hub import Hub

MAX_REMEMBERED: Final = 10_000
"""Sessions whose queues this node drops when they end; other queues go by themselves, some time later."""

_log = logging.getLogger("wshttp.connections")


class Offline:
    """The queues of sessions without a socket, over a hub.

    Whether a session has a socket on another node, is known as of a moment ago.
    """

    def __init__(self, hub: Hub, queues: Queues) -> None:
        self._hub = hub
        self._queues = queues
        self._queued: OrderedDict[str, None] = OrderedDict()
        self._errands: set[asyncio.Task[None]] = set()

    async def keep(self, ref: str, message: Json | bytes, maximum: int) -> None:
        """Keep a message for a session without a socket, and give it to one that it has got meanwhile."""
        self._remember(ref)
        await self._queues.append(ref, encode_letter(Letter(message, session=ref)), maximum)
        self._hub.elsewhere.queued(ref)
        self.give_soon(ref)

    def _remember(self, ref: str) -> None:
        self._queued[ref] = None
        self._queued.move_to_end(ref)
        if len(self._queued) > MAX_REMEMBERED:
            self._queued.popitem(last=False)

    def give_soon(self, ref: str) -> None:
        """Give what waits for a session, if it has a socket here that can take it."""
        sockets = [each for each in self._hub.of_session(ref) if each.format is ENVELOPE and each.is_open]
        if sockets:
            self._run(self.give(sockets[-1]))

    async def give(self, connection: Connection) -> None:
        """Give a connection what waits for its session. While the store is away, it waits on."""
        if connection.session is None:
            return
        ref = connection.session.ref
        try:
            taken = await self._queues.take(ref)
        except StoreUnavailable as error:
            _log.info("what waits for session %s waits on: %s", ref, error)
            return
        if taken.dropped:
            self._hub.tell([connection], {"type": "queue", "dropped": taken.dropped})
        for number, message in enumerate(taken.messages):
            try:
                await connection.send_formed(ENVELOPE.queued(_data_of(message)))
            except ConnectionClosed:
                await self._put_back(ref, taken.messages[number:])
                return

    async def _put_back(self, ref: str, messages: list[bytes]) -> None:
        """Keep what a connection did not take any more: for the next one."""
        for message in messages:
            await self._queues.append(ref, message, max(self._hub.settings.queue, 1))

    def forget(self, ref: str) -> None:
        """Drop what waits for a session that is over."""
        if ref in self._queued:
            del self._queued[ref]
            self._run(self._forget(ref))

    async def _forget(self, ref: str) -> None:
        try:
            await self._queues.forget(ref)
        except StoreUnavailable as error:
            _log.debug("the queue of session %s goes by itself: %s", ref, error)

    def _run(self, errand: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(errand)
        self._errands.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._errands.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a queue was not given", exc_info=task.exception())

    async def close(self) -> None:
        """Give nothing any more."""
        for task in self._errands:
            task.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)


def queueing(ref: str | None, *conditions: object) -> str:
    """Return whose queue a message goes to. Raises `UsageError` where it is not for one session and all of that."""
    if ref is None or any(condition is not None for condition in conditions):
        raise UsageError("queue=True is for send(message, session=...), without other conditions")
    return ref


def _data_of(message: bytes) -> Json | bytes:
    word = decode(message)
    if word is None:
        raise ValueError("a queue holds what is no message")
    return decode_letter(word).data
