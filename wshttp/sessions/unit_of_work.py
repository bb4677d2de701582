"""What one request, message or callback has changed and not yet committed.

All who work on one session in one process share one `Session`; what each has changed is its own until it commits.
The unit of work in force is found through the context, so it follows a handler into the tasks that it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING

from wshttp.errors import SessionEnded
from wshttp.sessions.changes import ABSENT, Changes, Scheduled
from wshttp.sessions.data import Json, checked, is_container

if TYPE_CHECKING:
    from wshttp.sessions.session import Session

_current: ContextVar[UnitOfWork | None] = ContextVar("wshttp_unit_of_work", default=None)


def current_unit() -> UnitOfWork | None:
    """Return the unit of work in force, or `None` outside of any."""
    return _current.get()


@dataclass(slots=True)
class Pending:
    """One unit's view of one session: its own changes over the committed data."""

    view: dict[str, Json] = field(default_factory=dict)
    """By key: what was written (`ABSENT`: deleted), and the containers that were read, which may be changed in place."""
    changed: set[str] = field(default_factory=set)
    """The keys of `view` that differ from what was read."""
    scheduled: list[Scheduled] = field(default_factory=list)
    idle_timeout: float | None = None
    absolute_timeout: float | None = None

    def read(self, key: str, committed: dict[str, Json]) -> Json:
        """Return the value as this unit sees it, or `ABSENT`."""
        if key in self.view:
            return self.view[key]
        value = committed.get(key, ABSENT)
        if value is not ABSENT and is_container(value):
            value = self.view[key] = checked(value, self._marker(key))
        return value

    def write(self, key: str, value: Json) -> None:
        self.view[key] = ABSENT if value is ABSENT else checked(value, self._marker(key))
        self.changed.add(key)

    def _marker(self, key: str) -> Callable[[], None]:
        return lambda: self.changed.add(key)

    def keys(self, committed: dict[str, Json]) -> list[str]:
        """Return the keys as this unit sees them: committed ones first, then its own."""
        own = [key for key in self.changed if key not in committed and self.view[key] is not ABSENT]
        return [key for key in committed if self.view.get(key) is not ABSENT] + sorted(own)

    def changes(self) -> Changes:
        """Return what is to be written, as plain values that later changes do not reach."""
        values = {key: ABSENT if self.view[key] is ABSENT else checked(self.view[key]) for key in self.changed}
        return Changes(
            values,
            scheduled=self.scheduled,
            idle_timeout=self.idle_timeout,
            absolute_timeout=self.absolute_timeout,
        )

    def settle(self) -> None:
        """Forget what is committed; containers stay, so that a reference held to one still reports its changes."""
        self.changed = set()
        self.view = {key: value for key, value in self.view.items() if is_container(value) and value is not ABSENT}
        self.scheduled = []
        self.idle_timeout = self.absolute_timeout = None

    def forget_reads(self) -> None:
        """Read again what was not changed."""
        self.view = {key: self.view[key] for key in self.changed}


class UnitOfWork:
    """Changes to sessions that are committed together, or dropped.

    with UnitOfWork() as unit:
        session["visits"] = 1      # seen by this unit only
        await unit.commit()        # now by all
    """

    def __init__(self) -> None:
        self._pending: dict[Session, Pending] = {}
        self._token: Token[UnitOfWork | None] | None = None
        self.ended: set[str] = set()
        """Refs of sessions that this unit ended itself: what it changed in them goes with them, without an error."""

    def enter(self) -> None:
        """Be the unit in force for the rest of the current task."""
        _current.set(self)

    def __enter__(self) -> UnitOfWork:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)

    def pending(self, session: Session) -> Pending:
        """Return this unit's view of a session."""
        found = self._pending.get(session)
        if found is None:
            found = self._pending[session] = Pending()
        return found

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        return any(pending.changes() for pending in self._pending.values())

    async def commit(self) -> None:
        """Write all changes. Raises `SessionEnded` where a changed session has ended meanwhile (by another's hand).

        Each session's changes are one atomic step. An error leaves the changes of the sessions not reached pending.
        """
        for session, pending in list(self._pending.items()):
            if changes := pending.changes():
                await self._commit_one(session, pending, changes)

    async def _commit_one(self, session: Session, pending: Pending, changes: Changes) -> None:
        pending.settle()
        try:
            await session.apply(changes)
        except SessionEnded:
            if session.ref not in self.ended:
                raise

    def rollback(self) -> None:
        """Drop what is not committed."""
        self._pending.clear()
