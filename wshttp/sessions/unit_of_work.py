"""What one request, message or callback has changed and not yet committed.

All who work on one session in one process share one `Session`; what each has changed is its own until it commits.
The unit of work in force is found through the context, so it follows a handler into the tasks that it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from wshttp.errors import SessionEnded, StoreUnavailable
from wshttp.sessions.changes import ABSENT, Changes, Scheduled, encoded_text, same
from wshttp.sessions.data import CONTAINERS, Json, checked
from wshttp.sessions.record import RENEWED, Record
from wshttp.sessions.tracked import tracked

if TYPE_CHECKING:
    from wshttp.sessions.session import Session

_current: ContextVar[UnitOfWork | None] = ContextVar("wshttp_unit_of_work", default=None)

current_unit: Final[Callable[[], UnitOfWork | None]] = _current.get
"""Return the unit of work in force, or `None` outside of any."""


class Pending:
    """One unit's view of one session: its own changes over the committed data."""

    __slots__ = (
        "_tracks",
        "absolute_timeout",
        "changed",
        "idle_timeout",
        "scheduled",
        "session",
        "sources",
        "under_way",
        "unheard",
        "view",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self._tracks = False
        """Whether there may be containers in `view`; else it has what was written, and no more."""
        self.view: dict[str, Json] = {}
        """By key: what was written (`ABSENT`: deleted), and the containers that were read, which may be changed in place."""
        self.changed: set[str] = set()
        """The keys of `view` that differ from what was read."""
        self.sources: dict[str, Json] = {}
        """By key: the committed container that the one in `view` is a copy of."""
        self.under_way: list[Changes] = []
        """Commits that the store has not answered yet; this unit sees what they write."""
        self.unheard: Changes | None = None
        """The last commit that the store did not answer; it may have been carried out."""
        self.scheduled: list[Scheduled] = []
        self.idle_timeout: float | None = None
        self.absolute_timeout: float | None = None

    def read(self, key: Any, committed: dict[str, Json]) -> Json:
        """Return the value as this unit sees it, or `ABSENT`: also of a key that no session can have."""
        if key in self.changed:
            return self.view[key]
        value = (self._base(committed) if self.under_way else committed).get(key, ABSENT)
        if not isinstance(value, CONTAINERS):
            return value
        if key not in self.view or self._is_outdated(key, value):
            self._track(key, value)
        self.sources[key] = value
        return self.view[key]

    def _is_outdated(self, key: str, value: Json) -> bool:
        source = self.sources[key]
        return source is not value and encoded_text(source) != encoded_text(value)

    def write(self, key: str, value: Json) -> None:
        """Change a value, to one that is `checked`, or `ABSENT`."""
        if isinstance(value, CONTAINERS):
            self._track(key, value)
        else:
            self.view[key] = value
        self.changed.add(key)

    def _track(self, key: str, value: Json) -> None:
        """Show a copy of `value` under `key`; its changes count for as long as it is what is shown there."""

        def mark() -> None:
            is_shown = self.view.get(key) is copy
            if self.session.ended is not None:
                if is_shown and key not in self.changed:
                    del self.view[key]  # reads give the last data
                raise SessionEnded(self.session.ref, self.session.ended)
            if is_shown:
                self.changed.add(key)

        self._tracks = True
        copy = self.view[key] = tracked(value, mark)

    def keys(self, committed: dict[str, Json]) -> list[str]:
        """Return the keys as this unit sees them: committed ones first, then its own."""
        base = self._base(committed) if self.under_way else committed
        own = [key for key in self.changed if key not in base and self.view[key] is not ABSENT]
        gone = {key for key in self.changed if self.view[key] is ABSENT}
        return [key for key in base if key not in gone] + sorted(own)

    def _base(self, committed: dict[str, Json]) -> dict[str, Json]:
        """Return what is committed, or just about to be."""
        values = dict(committed)
        for changes in self.under_way:
            values |= changes.values
        return {key: value for key, value in values.items() if value is not ABSENT}

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        if self.changed or self.scheduled:
            return True
        return self.idle_timeout is not None or self.absolute_timeout is not None

    def begin(self) -> Changes:
        """Return what is to be written, as plain values that later changes do not reach, and begin anew.

        Containers stay, so that a reference held to one still reports its changes.
        """
        changes = Changes(self._take(), None, self.scheduled, self.idle_timeout, self.absolute_timeout)
        if self.unheard is not None and same(self.unheard, changes):
            # If it was carried out, it is not to be once more, over what others wrote since.
            changes.token, changes.sent_at = self.unheard.token, self.unheard.sent_at
        self.unheard = None
        self.scheduled = []
        self.idle_timeout = self.absolute_timeout = None
        self.under_way.append(changes)
        return changes

    def _take(self) -> dict[str, Json]:
        """Return the values that were changed, and keep the containers only."""
        if self._tracks:
            values = {key: _plain(self.view[key]) for key in self.changed}
            self.view = {key: value for key, value in self.view.items() if isinstance(value, CONTAINERS)}
            self.sources = {key: values.get(key, self.sources.get(key)) for key in self.view}
        else:
            values, self.view = self.view, {}
        self.changed = set()
        return values

    def finish(self, changes: Changes) -> None:
        """Hear that the store has answered."""
        self.under_way.remove(changes)

    def restore(self, changes: Changes) -> None:
        """Take back what was not committed, unless it was changed again since."""
        for key in changes.values.keys() - self.changed:
            if self.sources.get(key, ABSENT) is changes.values[key] is not ABSENT:
                self.changed.add(key)  # a container, which somebody may hold a reference to
            else:
                self.write(key, changes.values[key])
        self.scheduled = changes.scheduled + self.scheduled
        self.idle_timeout = changes.idle_timeout if self.idle_timeout is None else self.idle_timeout
        self.absolute_timeout = changes.absolute_timeout if self.absolute_timeout is None else self.absolute_timeout
        self.unheard = changes


def _plain(value: Json) -> Json:
    """Return what shares nothing with a session's view; all that is in one is checked."""
    return checked(value) if isinstance(value, CONTAINERS) else value


class UnitOfWork:
    """Changes to sessions that are committed together, or dropped.

    with UnitOfWork() as unit:
        session["visits"] = 1      # seen by this unit only
        await unit.commit()        # now by all
    """

    # There is one for each request and each message, and most of them change nothing: what is seldom used is made when
    # it is.
    _token: Token[UnitOfWork | None] | None = None
    _locks: dict[Session, str] | None = None
    _ended: set[str] | None = None

    def __init__(self) -> None:
        self._pending: dict[Session, Pending] = {}
        self._keys: dict[str, bytes] = {}

    @property
    def locks(self) -> dict[Session, str]:
        """Under which name this unit holds the locks of sessions: what it changes there is committed under the lock only."""
        if self._locks is None:
            self._locks = {}
        return self._locks

    @property
    def ended(self) -> set[str]:
        """Refs of sessions that this unit ended itself: what it changed in them goes with them, without an error."""
        if self._ended is None:
            self._ended = set()
        return self._ended

    def bind(self, ref: str, key: bytes) -> None:
        """Work on a session under this key only, that by which the client was recognised.

        Once somebody else has renewed the session, which a log-in does, this unit may neither read nor change it:
        who knew the token before the log-in does nothing in the name of the user. Sessions that no client was
        recognised by, such as those that the application looks up, are not bound.
        """
        self._keys[ref] = key

    def key_of(self, ref: str) -> bytes | None:
        """Return the key under which this unit works on a session; `None`: any."""
        return self._keys.get(ref)

    def renewed(self, ref: str, key: bytes) -> None:
        """Go on under a new key, where this unit is bound: it renewed the session itself."""
        if ref in self._keys:
            self._keys[ref] = key

    def require_current(self, record: Record) -> None:
        """Raise `SessionEnded` (`renewed`) where the session has another key than this unit works under."""
        if self.is_outdated(record):
            raise SessionEnded(record.ref, RENEWED)

    def is_outdated(self, record: Record) -> bool:
        """Tell whether the session has another key than this unit works under."""
        return self._keys.get(record.ref, record.key) != record.key

    def enter(self) -> None:
        """Be the unit in force for the rest of the current task."""
        _current.set(self)

    def leave(self) -> None:
        """Be it no more, in the task that entered it: what goes on in its context keeps nothing of it."""
        _current.set(None)

    def __enter__(self) -> UnitOfWork:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _current.reset(self._token)

    def pending(self, session: Session) -> Pending:
        """Return this unit's view of a session. Raises as `require_current` does."""
        record = session.record
        if self._keys.get(record.ref, record.key) != record.key:
            raise SessionEnded(record.ref, RENEWED)
        found = self._pending.get(session)
        if found is None:
            found = self._pending[session] = Pending(session)
        return found

    @property
    def dirty(self) -> bool:
        """Whether there is anything to commit."""
        for pending in self._pending.values():  # noqa: SIM110 - asked of each request; a generator takes three times as long
            if pending.dirty:
                return True
        return False

    async def commit(self) -> None:
        """Write all changes. Raises `SessionEnded` where a changed session has ended meanwhile (by another's hand).

        Each session's changes are one atomic step. An error leaves the changes of the sessions not reached pending,
        and `StoreUnavailable` those of all: the commit may be tried again.
        """
        for session, pending in list(self._pending.items()):
            if pending.dirty:
                await self._commit_one(session, pending)

    async def commit_session(self, session: Session) -> None:
        """Write the changes of one session only: it is about to end, and they are its last. Raises as `commit` does."""
        pending = self._pending.get(session)
        if pending is not None and pending.dirty:
            await self._commit_one(session, pending)

    async def _commit_one(self, session: Session, pending: Pending) -> None:
        changes = pending.begin()
        changes.key = self._keys.get(session.record.ref)
        changes.lock = self._locks.get(session) if self._locks else None
        try:
            await session.apply(changes)
        except StoreUnavailable:
            pending.restore(changes)
            raise
        except SessionEnded:
            if session.ref not in self.ended:
                raise
        finally:
            pending.finish(changes)

    def rollback(self) -> None:
        """Drop what is not committed."""
        self._pending.clear()
