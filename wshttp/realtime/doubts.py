"""Sessions of which this node is not sure that it knows all: the store is asked, for many at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final, TypeGuard

from wshttp.errors import StoreUnavailable, UnknownReason
from wshttp.realtime.hub import Hub
from wshttp.sessions.record import Reason, Tombstone
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList

AT_ONCE: Final = 500
"""Sessions that the store is asked for in one call."""

SETTLING: Final = 0.05
"""Seconds before the store is asked: an end that was decided here is on its way, and brings its own last word."""

_log = logging.getLogger("wshttp.nodes")


class Doubts:
    """Ask about sessions that have sockets here or are kept here, in a task that lives only while there are some.

    `part` is called with the ref of each that is over, and why (`None`: nobody knows any more).
    While the store is away, they wait.
    """

    def __init__(self, hub: Hub, sessions: SessionList, part: Callable[[str, Reason | None], None]) -> None:
        self._hub = hub
        self._sessions = sessions
        self._part = part
        self._refs: dict[str, bool] = {}
        """Whether the sockets are to be told what the session is like."""
        self._task: asyncio.Task[None] | None = None

    def add(self, refs: Iterable[str], *, tell: bool = False) -> None:
        """Have sessions looked at; those of which there is nothing here are left alone."""
        for ref in refs:
            if ref in self._sessions.pinned or self._hub.connections_here(ref):
                self._refs[ref] = tell or self._refs.get(ref, False)
        if self._refs and self._task is None:
            self._task = asyncio.create_task(self._settle())

    async def close(self) -> None:
        """Leave it at that."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _settle(self) -> None:
        try:
            await asyncio.sleep(SETTLING)
            while self._refs:
                batch = {ref: self._refs.pop(ref) for ref in list(islice(self._refs, AT_ONCE))}
                try:
                    await self._ask(batch)
                except StoreUnavailable:
                    for ref, tell in batch.items():
                        self._refs[ref] = tell or self._refs.get(ref, False)
                    await self._sessions.outage.over()
                except Exception:
                    _log.exception("sessions were not looked at again")
        finally:
            self._task = None

    async def _ask(self, batch: dict[str, bool]) -> None:
        found = (self._hub.session(ref) or self._sessions.pinned.get(ref) for ref in batch)
        sessions = [session for session in found if _is_asked_for(session)]
        answers = await self._sessions.look_again(sessions)
        if not self._sessions.store.available:
            raise StoreUnavailable("it may have answered from what this node knew before")
        for session, left in zip(sessions, answers, strict=True):
            if left is not None:
                self._part(session.ref, _reason_of(left))
                continue
            self._hub.close_outdated(session.ref)
            if batch[session.ref]:
                self._hub.tell_session(session.ref)


def _is_asked_for(session: Session | None) -> TypeGuard[Session]:
    """Whether the store would know a session: those that have ended here are being taken care of."""
    return session is not None and not session.temporary and session.ended is None


def _reason_of(left: Tombstone) -> Reason | None:
    try:
        return Reason(left.reason)
    except UnknownReason:
        return None
