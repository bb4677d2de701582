"""How connections part: the handlers of their last messages come to an end, then `on_disconnect` runs, once for each."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from wshttp.sessions.callbacks import Callbacks

if TYPE_CHECKING:
    from wshttp.realtime.connection import Connection

LAST_PARTINGS: Final = 1.0
"""Seconds that `on_disconnect` of the last connections has when the hub stops; those of sessions have had theirs."""

LONGEST_LAST_MESSAGE: Final = 30.0
"""Seconds for which `on_disconnect` waits for the handler of the last message, where `session.callback_timeout` is 0."""

CLEANING_UP: Final = 1.0
"""Seconds that a cancelled handler gets before it is left to itself."""

_log = logging.getLogger("wshttp.connections")


class Partings:
    """The connections that are closed, and not yet over."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._under_way: dict[str, set[asyncio.Future[None]]] = {}
        self._outlasting: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return sum(map(len, self._under_way.values()))

    def begin(self, connection: Connection, last: asyncio.Future[None] | None) -> asyncio.Future[None]:
        """Let a connection part; what is returned is done when its `on_disconnect` has run, after `last`."""
        parting = asyncio.ensure_future(self._disconnect(connection, last))
        held = self._under_way.setdefault(connection.member_ref, set())
        held.add(parting)
        parting.add_done_callback(lambda _: self._parted(connection.member_ref, parting))
        return parting

    def of(self, ref: str) -> set[asyncio.Future[None]]:
        """Return those of a session."""
        return set(self._under_way.get(ref, ()))

    def outlast(self, connection: Connection, last: asyncio.Future[None]) -> None:
        """Let the handler of a message come to its end, though its connection was closed here; nothing waits for that."""
        task = asyncio.create_task(self._let_finish(connection, last))
        self._outlasting.add(task)
        task.add_done_callback(self._outlasting.discard)

    async def stop(self) -> None:
        """Let `on_disconnect` come to its end, for a while."""
        partings = [parting for held in self._under_way.values() for parting in held]
        if partings:
            _, hanging = await asyncio.wait(partings, timeout=LAST_PARTINGS)
            for parting in hanging:
                parting.cancel()
        for task in self._outlasting:
            task.cancel()

    def _parted(self, ref: str, parting: asyncio.Future[None]) -> None:
        held = self._under_way[ref]
        held.discard(parting)
        if not held:
            del self._under_way[ref]

    async def _disconnect(self, connection: Connection, last: asyncio.Future[None] | None) -> None:
        """Run `on_disconnect`, once per connection that `on_connect` let in."""
        if last is not None:
            await self._let_finish(connection, last)
        if await connection.was_admitted() and self._callbacks["disconnect"]:
            code, reason = connection.closed or (None, None)
            await self._callbacks.notify("disconnect", connection, code, reason)

    async def _let_finish(self, connection: Connection, last: asyncio.Future[None]) -> None:
        """Wait for the handler of the last messages. Nobody is there to hear it: in the end it is cancelled."""
        patience = self._callbacks.timeout or LONGEST_LAST_MESSAGE
        _, hanging = await asyncio.wait({last}, timeout=patience)
        if hanging:
            _log.error(
                "a handler of %s is cancelled: it was closed %g s ago", connection.path or "a connection", patience
            )
            last.cancel()
            await asyncio.wait({last}, timeout=CLEANING_UP)
