"""A session, as an application sees it."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from wshttp.errors import InvalidValue, SessionEnded
from wshttp.sessions.changes import ABSENT, Changes, Conflict, Scheduled, check_size
from wshttp.sessions.data import Json, checked, checked_key, checked_seconds
from wshttp.sessions.ids import SessionId, new_event_id
from wshttp.sessions.record import Reason, Record
from wshttp.sessions.unit_of_work import Pending, UnitOfWork, current_unit

if TYPE_CHECKING:
    from wshttp.sessions.session_list import SessionList


MISSING: Final[Any] = None
"""What `update` gets from a caller who takes it for that of a dictionary; it says so."""


class Session(MutableMapping[str, Json]):
    """One client's state between requests: a mutable mapping of JSON values, and some facts about the client.

    In one process all who work on a session share one `Session`: its requests, its sockets, its callbacks.
    What a request, a message or a callback changes, nested or not, it alone sees until it is committed, which the
    server does before the answer; changes to different keys never lose each other.
    A value is copied when it is assigned.
    Outside of requests, messages and callbacks, call `await session.commit()`.

    Assigning what is not JSON raises `InvalidValue`; after the end, every change raises `SessionEnded`,
    and reads give the last data.
    """

    def __init__(self, record: Record, sessions: SessionList, id: SessionId | None = None) -> None:
        self.record = record
        self.id = id
        """How the client is recognised, or `None` where the session was found by its ref: stores keep only a digest."""
        self.temporary = False
        self._sessions = sessions
        self._own_unit: UnitOfWork | None = None
        self.starting: asyncio.Future[None] | None = None
        """Pending while `on_session_start` runs; nobody else works on the session until then."""
        self._local: dict[Any, Any] | None = None

    # --- facts ------------------------------------------------------------------------------------

    @property
    def ref(self) -> str:
        """The public name of this life, the same from birth to end; no secret."""
        return self.record.ref

    @property
    def identity(self) -> str:
        """Which rule recognises the client: `ip`, `credentials`, `cookie`, `header`, `url` or `app`."""
        return self.record.identity

    @property
    def user(self) -> str | None:
        """Who is logged in; `None` for an anonymous session.

        Raises `SessionEnded` in a request or message whose token somebody has renewed since, as all reading of data does:
        who knew the token before the log-in does not become the user.
        """
        self._require_current()
        return self.record.user

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the user. Raises `SessionEnded` as `user` does."""
        self._require_current()
        return self.record.roles

    @property
    def remote_ip(self) -> str:
        """The client's address when the session started."""
        return self.record.remote_ip

    @property
    def created_at(self) -> float:
        """Unix seconds."""
        return self._sessions.to_unix(self.record.created_at)

    @property
    def last_access_at(self) -> float:
        """Unix seconds of the last touch."""
        return self._sessions.to_unix(self.record.last_access_at)

    @property
    def expires_at(self) -> float:
        """Unix seconds at which it ends if nothing happens; infinite if never."""
        return self._sessions.to_unix(self.record.deadline)

    @property
    def expires_in(self) -> float:
        """Seconds until it ends if nothing happens; infinite if never."""
        return max(0.0, self.record.deadline - self._sessions.now())

    @property
    def absolute_expires_in(self) -> float:
        """Seconds until it ends whatever happens; infinite if never."""
        return max(0.0, self.record.absolute_deadline - self._sessions.now())

    @property
    def ended(self) -> Reason | None:
        """Why it has ended, or `None` while it lives (as far as this node knows)."""
        return self.record.reason

    @property
    def connections(self) -> int:
        """How many sockets it has open."""
        return self._sessions.notifier.connections(self.ref)

    @property
    def start_parameters(self) -> dict[str, Json]:
        """What it was started with, for a successor to be started alike; a copy."""
        return dict(checked(self.record.start or {}))

    def describe(self) -> dict[str, Json]:
        """Return what the client is told of its session; times in whole seconds, `None` for never."""
        return {
            "ref": self.ref,
            "user": self.record.user,
            "roles": list(self.record.roles),
            "identity": self.identity,
            "created_at": int(self.created_at),
            "expires_in": whole_seconds(self.expires_in),
            "absolute_expires_in": whole_seconds(self.absolute_expires_in),
            "connections": self.connections,
        }

    @property
    def local(self) -> dict[Any, Any]:
        """Any Python objects, on this node only and not shared; gone with the session."""
        if self._local is None:
            self._local = {}
            self._sessions.pin(self)
        return self._local

    def __repr__(self) -> str:
        return f"<Session {self.ref} {self.identity}{f' {self.record.user!r}' if self.record.user else ''}>"

    __eq__ = object.__eq__  # a session is itself, whatever data it has
    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        """Be true, also while empty: `if session` asks whether there is one."""
        return True

    # --- data -------------------------------------------------------------------------------------

    def unit(self) -> UnitOfWork:
        """Return the unit of work in force; outside of any, one that all share."""
        unit = current_unit() or self._own_unit
        if unit is None:
            unit = self._own_unit = UnitOfWork()
        return unit

    def _pending(self) -> Pending:
        return (current_unit() or self.unit()).pending(self)

    def _require_current(self) -> None:
        unit = current_unit()
        if unit is not None:
            unit.require_current(self.record)

    def _writable(self) -> Pending:
        if self.record.reason is not None:
            raise SessionEnded(self.ref, self.record.reason)
        return self._pending()

    def __getitem__(self, key: str) -> Json:
        value = self._pending().read(key, self.record.data)
        if value is ABSENT:
            raise KeyError(key)
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, or `default` where there is none."""
        value = self._pending().read(key, self.record.data)
        return default if value is ABSENT else value

    def __setitem__(self, key: str, value: Json) -> None:
        pending = self._writable()
        key, value = checked_key(key), checked(value)
        check_size(self.record, key, value, self._sessions.settings.max_data)
        pending.write(key, value)

    def __delitem__(self, key: str) -> None:
        pending = self._writable()
        if pending.read(key, self.record.data) is ABSENT:
            raise KeyError(key)
        pending.write(key, ABSENT)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pending().keys(self.record.data))

    def __len__(self) -> int:
        return len(self._pending().keys(self.record.data))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._pending().read(key, self.record.data) is not ABSENT

    def setdefault(self, key: str, default: Json = None) -> Json:
        """Return a value, after setting it where there is none: what the session holds, so that changes to it count."""
        if key not in self:
            self[key] = default
        return self[key]

    async def increment(self, key: str, by: float = 1) -> float:
        """Add to a number and return the new value; atomic, and committed at once.

        An absent key counts as 0. Raises `InvalidValue` where there is no number, `SessionEnded`, and in `lock` `LockLost`.
        """
        pending, key = self._writable(), checked_key(key)
        if key in pending.changed:
            await self.unit().commit()
        unit = self.unit()
        return await self._sessions.increment(
            self, key, by, session_key=unit.key_of(self.ref), lock=unit.locks.get(self)
        )

    def update(self, key: str, function: Callable[[Json], Json] = MISSING, default: Json = None) -> Awaitable[Json]:  # type: ignore[override]  # DESIGN gives the word to the atomic change of one key
        """Replace a value by what `function` makes of it and return that; atomic, and committed at once.

        `function` gets the value (`default` where there is none) and is called again when another writer was first,
        so it should do nothing else. Raises `InvalidValue`, `SessionEnded`, and in `lock` `LockLost`.
        """
        if not callable(function):
            raise InvalidValue("session.update(key, function) changes one key atomically; assign keys to set several")
        return self._update(checked_key(key), function, default)

    async def _update(self, key: str, function: Callable[[Json], Json], default: Json) -> Json:
        pending = self._writable()
        if key in pending.changed:
            await self.unit().commit()
        while True:
            found = self.record.data.get(key, ABSENT)
            value = checked(function(checked(default) if found is ABSENT else checked(found)))
            unit = self.unit()
            changes = Changes({key: value}, expected={key: found}, key=unit.key_of(self.ref), lock=unit.locks.get(self))
            try:
                await self._sessions.apply(self, changes)
            except Conflict:
                await self._sessions.reload(self)
                continue
            return checked(value)

    async def commit(self) -> None:
        """Write what this request, message or callback (outside of them: anybody) has changed. Raises `SessionEnded`."""
        await self.unit().commit()

    def apply(self, changes: Changes) -> Coroutine[Any, Any, None]:
        """Write changes as one atomic step; what `commit` and the unit of work do."""
        return self._sessions.apply(self, changes)

    # --- life -------------------------------------------------------------------------------------

    def set_timeouts(self, *, idle: float | None = None, absolute: float | None = None) -> None:
        """Change this session's own time-outs, in seconds (0: none, `None`: as it is), with the next commit."""
        pending = self._writable()
        idle = None if idle is None else checked_seconds(idle)
        absolute = None if absolute is None else checked_seconds(absolute)
        pending.idle_timeout = pending.idle_timeout if idle is None else idle
        pending.absolute_timeout = pending.absolute_timeout if absolute is None else absolute

    def schedule(self, delay: float, name: str, data: Json = None) -> str:
        """Have the function registered with `@server.scheduled(name)` called after `delay` seconds, with session and data.

        Committed with the other changes, and dropped with the session. Returns the event's id.
        A session may have 1,000 of them to come, each with data up to `session.max_data`; beyond that, this or the commit
        raises `InvalidValue`.
        """
        pending = self._writable()
        if not isinstance(name, str):
            raise InvalidValue(f"a scheduled event has a name, not {type(name).__name__}")
        scheduled = Scheduled(new_event_id(), checked_seconds(delay), name, checked(data))
        self._sessions.check_event_size(name, scheduled.data)
        pending.scheduled.append(scheduled)
        return scheduled.event_id

    def touch(self) -> Coroutine[Any, Any, None]:
        """Move the idle deadline. Raises `SessionEnded`."""
        return self._sessions.reload(self, touch=True)

    def refresh(self) -> Coroutine[Any, Any, None]:
        """Read what others have written since. Raises `SessionEnded`."""
        return self._sessions.reload(self)

    async def store_back(self) -> None:
        """Wait until the store that failed is worth another try: while it is away, and a moment at least."""
        await self._sessions.outage.over()

    async def release(self) -> None:
        """Put a temporary session into the list: from now on it is one like any other. See `SessionList.temporary`."""
        await self._sessions.release(self)
        if self._local is not None:
            self._sessions.pin(self)

    @asynccontextmanager
    async def lock(self, timeout: float = 10.0) -> AsyncIterator[Session]:
        """Work on the session alone: reads are fresh, and changes are committed before the next holder comes.

        Waits at most `timeout` seconds, then raises `TimeoutError`. Not re-entrant. Raises `SessionEnded`, and `LockLost`
        where the lock went to another before the changes were committed (its node was away for longer than its lease).
        A list or dictionary that was read before may be out of date: read it again.

            async with session.lock(timeout=5):
                session["total"] = session["total"] + price
        """
        holder = secrets.token_hex(8)
        try:
            await self._sessions.acquire(self, holder, timeout)
            unit = self.unit()
            unit.locks[self] = holder
            try:
                yield self
                await unit.commit()
            finally:
                unit.locks.pop(self, None)
        finally:
            await self._sessions.release_lock(self, holder)


def whole_seconds(seconds: float) -> int | None:
    """Return a time to go as it is announced: rounded down, so that nobody is told of time that is not there."""
    return None if math.isinf(seconds) else int(seconds)
