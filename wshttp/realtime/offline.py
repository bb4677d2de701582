"""Messages for a session that may have no socket just now: they wait, and come when it has one."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from wshttp.errors import ConnectionClosed, StoreUnavailable, UsageError
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import PLAIN, size_of
from wshttp.realtime.letter import Letter
from wshttp.realtime.message_types import ToClient
from wshttp.realtime.queues import TURN, Queues
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
        self._giving: dict[str, bool] = {}
        """Sessions that are being given what waits; whether there may be more by now."""
        self._looks: dict[str, asyncio.TimerHandle] = {}
        self._errands: set[asyncio.Task[None]] = set()

    async def keep(self, ref: str, message: Json | bytes, maximum: int) -> None:
        """Keep a message for a session without a socket, and give it to one that it has got meanwhile."""
        if await self._append(ref, encode_letter(Letter(message, session=ref)), maximum):
            self._hub.elsewhere.queued(ref)
            self.give_soon(ref)

    async def _append(self, ref: str, message: bytes, maximum: int) -> bool:
        """Keep a message, unless the session is over: whoever ends it forgets what waited, but not what comes later."""
        self._remember(ref)
        await self._queues.append(ref, message, maximum)
        if await self._hub.lives(ref):
            return True
        self._queued.pop(ref, None)
        await self._forget(ref)
        return False

    def _remember(self, ref: str) -> None:
        self._queued[ref] = None
        self._queued.move_to_end(ref)
        if len(self._queued) > MAX_REMEMBERED:
            self._queued.popitem(last=False)

    def is_giving(self, ref: str) -> bool:
        """Whether a session is being given what waits: what is sent meanwhile comes after it."""
        return ref in self._giving

    def give_soon(self, ref: str) -> None:
        """Give what waits for a session, if it has a socket here that can take it."""
        taker = self._taker(ref)
        if taker is not None:
            self._run(self.give(taker))

    def _taker(self, ref: str, but: Connection | None = None) -> Connection | None:
        """Return the latest connection that can take what waits."""
        for connection in reversed(self._hub.of_session(ref)):
            if connection.format.is_told and connection.is_open and connection is not but:
                return connection
        return None

    async def give(self, connection: Connection) -> None:
        """Give a connection what waits for its session. While the store is away, it waits on.

        A session is given one after the other, so that the order stays, whichever of its connections gets them.
        """
        if connection.session is None:
            return
        ref = connection.session.ref
        if ref in self._giving:
            self._giving[ref] = True
            return
        self._giving[ref] = False
        try:
            went = await self._give(connection, ref)
        finally:
            more = self._giving.pop(ref)
        if connection.session.ended is not None:
            await self._forget(ref)
            return
        taker = self._taker(ref, but=None if went else connection) if more or not went else None
        if taker is not None:
            self._run(self.give(taker))

    async def _give(self, connection: Connection, ref: str) -> bool:
        """Give all that waits; `False` where the connection went in the middle of it."""
        try:
            taken = await self._queues.take(ref)
        except StoreUnavailable as error:
            _log.info("what waits for session %s waits on: %s", ref, error)
            return True
        if taken.busy:
            self._look_again(ref)
        if taken.dropped:
            self._hub.tell([connection], ToClient.QUEUE, dropped=taken.dropped)
        for number, message in enumerate(taken.messages):
            try:
                await connection.send_formed(_letter_of(message).form(connection.format))
            except ConnectionClosed:
                await self._put_back(ref, taken.messages[number:])
                return False
        return True

    async def _put_back(self, ref: str, messages: list[bytes]) -> None:
        """Keep what a connection did not take any more: for the next one."""
        for message in messages:
            if not await self._append(ref, message, max(self._hub.settings.queue, 1)):
                return

    def _look_again(self, ref: str) -> None:
        """Look later whether whoever was about to take what waits has done so."""
        if ref not in self._looks:
            self._looks[ref] = asyncio.get_running_loop().call_later(TURN, self._look, ref)

    def _look(self, ref: str) -> None:
        del self._looks[ref]
        self.give_soon(ref)

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
        for look in self._looks.values():
            look.cancel()
        for task in self._errands:
            task.cancel()
        await asyncio.gather(*self._errands, return_exceptions=True)


def require_fit(message: Json | bytes, maximum: int) -> None:
    """Raise `UsageError` for a message that is too large to wait: whether it has to, the sender does not know."""
    size = size_of(PLAIN.message(message))
    if 0 < maximum < size:
        raise UsageError(
            f"a message that may have to wait has up to {maximum} bytes (websocket.max_message_size), not {size}"
        )


def queueing(ref: str | None, *conditions: object) -> str:
    """Return whose queue a message goes to. Raises `UsageError` where it is not for one session and all of that."""
    if ref is None or any(condition is not None for condition in conditions):
        raise UsageError("queue=True is for send(message, session=...), without other conditions")
    return ref


def _letter_of(message: bytes) -> Letter:
    word = decode(message)
    if word is None:
        raise ValueError("a queue holds what is no message")
    return replace(decode_letter(word), queued=True)
