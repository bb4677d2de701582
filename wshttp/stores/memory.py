"""The memory store: the model of the store port.

One process, one event loop: a method that never awaits is atomic, and that is the whole of its locking.
Expiry is lazy: a touch writes one number, and a life that comes up too early is entered again where it belongs by then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields
from typing import Final

from wshttp.errors import SessionEnded
from wshttp.sessions.changes import ABSENT, Changes, Scheduled, merge, sum_for_increment
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.record import RENEWED, Ended, Event, Reason, Record, Tombstone
from wshttp.sessions.store import Created, Creation, Due, Exists, Full, Holder, Limits, Renewed
from wshttp.stores.calendar import Calendar
from wshttp.stores.index import Index

MAX_TOMBSTONES: Final = 100_000
"""The oldest go first. Without a bound, whoever can make sessions end could fill the memory."""

_CLEARED_PER_GRAVE: Final = 2
"""Old tombstones that a new one clears away: one would do to keep up, and no caller pays for many."""

_SLOTS: Final = 4096
"""Dictionaries that share the refs, by their first three digits: none is ever so large that its growth is felt,
and a scan can say where it is."""


@dataclass(slots=True, eq=False)
class _Life(Record):
    """A live record, with its places in the order of last access and in the calendar."""

    older: _Life | None = None
    newer: _Life | None = None
    page: int | None = None
    calls: set[_Call] | None = None


@dataclass(slots=True, eq=False)
class _Call:
    """A scheduled event; it goes with its life."""

    life: _Life
    scheduled: Scheduled
    page: int | None = None


class _IdleOrder:
    """Anonymous lives from the longest idle to the most recent: a list linked through the lives, so a touch is O(1)."""

    def __init__(self) -> None:
        self.oldest: _Life | None = None
        self._newest: _Life | None = None

    def __iter__(self) -> Iterator[_Life]:
        life = self.oldest
        while life is not None:
            yield life
            life = life.newer

    def add(self, life: _Life) -> None:
        life.older, life.newer = self._newest, None
        if self._newest is None:
            self.oldest = life
        else:
            self._newest.newer = life
        self._newest = life

    def remove(self, life: _Life) -> None:
        if life.older is None:
            self.oldest = life.newer
        else:
            life.older.newer = life.newer
        if life.newer is None:
            self._newest = life.older
        else:
            life.newer.older = life.older
        life.older = life.newer = None

    def to_newest(self, life: _Life) -> None:
        if life is not self._newest:
            self.remove(life)
            self.add(life)


@dataclass(slots=True, eq=False)
class _Grave:
    """A tombstone, and until when it stands."""

    key: bytes
    tombstone: Tombstone
    until: float


@dataclass(slots=True)
class _Lock:
    """Who holds a session's lock, and who waits, in order."""

    holder: str
    waiting: deque[tuple[str, asyncio.Future[None]]] = field(default_factory=deque)


class MemoryStore:
    """Sessions in this process; a crash loses them.

    `tombstone` and `warn_before` are as in `use`, which a session list calls with those of its settings.
    """

    outlives_process = False

    def __init__(self, clock: Clock | None = None, *, tombstone: float = 300.0, warn_before: float = 0.0) -> None:
        self.use(tombstone=tombstone, warn_before=warn_before)
        self._clock = clock or SystemClock()
        self._slots: list[dict[str, _Life]] = [{} for _ in range(_SLOTS)]
        self._by_key: dict[bytes, _Life] = {}
        self._by_user = Index[str, _Life]()
        self._by_bucket = Index[str, _Life]()
        self._anonymous = _IdleOrder()
        self._calendar = Calendar[_Life]()
        self._calls = Calendar[_Call]()
        self._overdue: deque[Ended] = deque()
        self._owed: set[str] = set()
        self._graves: dict[bytes, _Grave] = {}
        self._oldest_graves: deque[_Grave] = deque()
        self._locks: dict[str, _Lock] = {}

    def use(self, *, tombstone: float, warn_before: float) -> None:
        self._tombstone = tombstone
        self._warn_before = warn_before

    def now(self) -> float:
        return self._clock.monotonic()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to let go of."""

    # --- a life begins --------------------------------------------------------------------------

    async def create(self, record: Record, limits: Limits, *, replace: bool = False) -> Creation:
        present = self._alive(self._by_key.get(record.key))
        if present is not None and not replace:
            return Exists(present)
        victims = self._make_room(record.user, record.bucket, limits, [present] if present else [])
        if isinstance(victims, Full):
            return victims
        ended = [self._end(life, Reason.REPLACED if life is present else Reason.LIMIT) for life in victims]
        life = _Life(**{f.name: getattr(record, f.name) for f in _RECORD_FIELDS})
        self._graves.pop(life.key, None)
        self._slot(life.ref)[life.ref] = life
        self._by_key[life.key] = life
        self._by_bucket.add(life.bucket, life)
        self._file_by_user(life)
        self._enter(life)
        return Created(life, self._owe(Event(new_event_id(), "start", life.ref)), ended)

    def _make_room(self, user: str | None, bucket: str, limits: Limits, going: list[_Life]) -> list[_Life] | Full:
        """Return `going` and who must go besides to let one more in, or the limit that says no."""
        for setting, maximum, count, candidates in self._limits(user, bucket, limits, going):
            if not maximum or count < maximum:
                continue
            victim = next((life for life in candidates if life not in going), None) if limits.make_room else None
            if victim is None:
                return Full(setting, maximum)
            going.append(victim)
        return going

    def _limits(
        self, user: str | None, bucket: str, limits: Limits, going: list[_Life]
    ) -> Iterator[tuple[str, int, int, Iterator[_Life] | list[_Life]]]:
        """Yield each limit that applies: its setting, its value, how many count, and who could go, longest idle first."""
        if user is not None and limits.max_sessions_per_user:
            theirs = sorted(self._living(self._by_user.get(user)), key=_last_access)
            count = len(theirs) - sum(life.user == user for life in going)
            yield "session.max_sessions_per_user", limits.max_sessions_per_user, count, theirs
        if limits.max_sessions_per_ip:
            there = self._living(self._by_bucket.get(bucket))
            count = len(there) - sum(life.bucket == bucket for life in going)
            anonymous = sorted((life for life in there if life.user is None), key=_last_access)
            yield "session.max_sessions_per_ip", limits.max_sessions_per_ip, count, anonymous
        while len(self._by_key) - len(going) >= limits.max_sessions > 0 and self._oldest_is_overdue():
            pass  # it made room by itself
        count = len(self._by_key) - len(going)
        yield "session.max_sessions", limits.max_sessions, count, iter(self._anonymous)

    def _living(self, lives: Collection[_Life]) -> list[_Life]:
        return [life for life in list(lives) if self._alive(life)]

    def _oldest_is_overdue(self) -> bool:
        oldest = self._anonymous.oldest
        return oldest is not None and self._alive(oldest) is None

    # --- a life goes on -------------------------------------------------------------------------

    async def load(self, key: bytes, *, touch: bool) -> Record | Tombstone | None:
        life = self._alive(self._by_key.get(key))
        if life is None:
            grave = self._graves.get(key)
            return grave.tombstone if grave and self.now() < grave.until else None
        if touch:
            self._touch(life)
        return life

    async def load_ref(self, ref: str, *, touch: bool) -> Record | None:
        life = self._alive(self._slot(ref).get(ref))
        if life is not None and touch:
            self._touch(life)
        return life

    async def apply(self, ref: str, changes: Changes, max_data: int) -> Record:
        life = self._require(ref)
        merge(life, changes, max_data)
        for scheduled in changes.scheduled:
            self._schedule(life, scheduled)
        if changes.idle_timeout is not None or changes.absolute_timeout is not None:
            life.warned = False
            self._enter(life)
        return life

    async def increment(
        self, ref: str, key: str, by: float, max_data: int, *, session_key: bytes | None = None
    ) -> float:
        life = self._require(ref)
        total = sum_for_increment(life.data.get(key, ABSENT), by)
        merge(life, Changes({key: total}, key=session_key), max_data)
        return total

    async def renew(
        self,
        ref: str,
        key: bytes,
        limits: Limits,
        *,
        user: str | None,
        roles: tuple[str, ...],
        version: str,
        holder: Holder | None = None,
    ) -> Renewed | Full:
        life = self._require(ref)
        if holder is not None and holder != Holder(life.key, life.user):
            raise SessionEnded(ref, RENEWED)
        ended: list[Ended] = []
        if user is not None and user != life.user:
            per_user = Limits(max_sessions_per_user=limits.max_sessions_per_user, make_room=limits.make_room)
            victims = self._make_room(user, life.bucket, per_user, [])
            if isinstance(victims, Full):
                return victims
            ended = [self._end(victim, Reason.LIMIT) for victim in victims]
        self._change_key(life, key)
        if user is not None:
            self._change_user(life, user, roles, version)
        life.restarted_at = self.now()
        self._touch(life)
        self._enter(life)
        return Renewed(life, ended)

    def _touch(self, life: _Life) -> None:
        life.last_access_at = self.now()
        life.warned = False
        if life.user is None:
            self._anonymous.to_newest(life)

    def _change_key(self, life: _Life, key: bytes) -> None:
        if key != life.key:
            del self._by_key[life.key]
            self._bury(life.key, Tombstone(life.ref, RENEWED))
            life.key = key
            self._by_key[key] = life

    def _change_user(self, life: _Life, user: str, roles: tuple[str, ...], version: str) -> None:
        self._unfile_by_user(life)
        life.user, life.roles, life.version = user, roles, version
        self._file_by_user(life)

    def _file_by_user(self, life: _Life) -> None:
        if life.user is None:
            self._anonymous.add(life)
        else:
            self._by_user.add(life.user, life)

    def _unfile_by_user(self, life: _Life) -> None:
        if life.user is None:
            self._anonymous.remove(life)
        else:
            self._by_user.remove(life.user, life)

    # --- a life ends ----------------------------------------------------------------------------

    async def end(self, ref: str, reason: Reason) -> Ended | None:
        life = self._alive(self._slot(ref).get(ref))
        return None if life is None else self._end(life, reason)

    def _end(self, life: _Life, reason: Reason) -> Ended:
        """Take a life out of everything, in one step; the only place where one ends."""
        life.reason = reason
        del self._slot(life.ref)[life.ref]
        del self._by_key[life.key]
        self._by_bucket.remove(life.bucket, life)
        self._unfile_by_user(life)
        self._calendar.remove(life, life.page)
        for call in life.calls or ():
            self._calls.remove(call, call.page)
        life.calls = None
        self._bury(life.key, Tombstone(life.ref, reason, life.start))
        lock = self._locks.pop(life.ref, None)
        for _, turn in lock.waiting if lock else ():
            if not turn.done():
                turn.set_exception(SessionEnded(life.ref, reason))
        return Ended(life, self._owe(Event(new_event_id(), "end", life.ref, reason=reason)))

    def _alive(self, life: _Life | None) -> _Life | None:
        """Return a life that goes on; one past its deadline ends here and now, and `take_due` will report it."""
        if life is None or (reason := life.due(self.now())) is None:
            return life
        self._overdue.append(self._end(life, reason))
        return None

    def _require(self, ref: str) -> _Life:
        life = self._alive(self._slot(ref).get(ref))
        if life is None:
            raise SessionEnded(ref)
        return life

    def _bury(self, key: bytes, tombstone: Tombstone) -> None:
        grave = self._graves[key] = _Grave(key, tombstone, self.now() + self._tombstone)
        self._oldest_graves.append(grave)
        self._clear_graves(_CLEARED_PER_GRAVE)

    def _clear_graves(self, maximum: int) -> None:
        """Forget tombstones that are past their time or one too many, `maximum` of them."""
        graves = self._oldest_graves
        for _ in range(maximum):
            if not graves or (self.now() < graves[0].until and len(graves) <= MAX_TOMBSTONES):
                return
            grave = graves.popleft()
            if self._graves.get(grave.key) is grave:
                del self._graves[grave.key]

    # --- what time brings -----------------------------------------------------------------------

    async def take_due(self, maximum: int) -> Due:
        due, now = Due(), self.now()
        self._clear_graves(maximum)
        for _ in range(maximum):
            if self._overdue:
                due.ended.append(self._overdue.popleft())
            elif (life := self._calendar.take(now)) is not None:
                self._come_up(life, now, due)
            elif (call := self._calls.take(now)) is not None:
                self._call(call, due)
            else:
                return due
        due.more = True  # a life that a touch has moved costs time too, and is in no list of what is due
        return due

    def _come_up(self, life: _Life, now: float, due: Due) -> None:
        reason = life.due(now)
        if reason is not None:
            due.ended.append(self._end(life, reason))
            return
        if not life.warned and life.warning_at(self._warn_before) <= now:
            life.warned = True
            due.expiring.append(life)
        self._enter(life)

    def _enter(self, life: _Life) -> None:
        """Enter a life in the calendar where it next has to be looked at."""
        self._calendar.remove(life, life.page)
        next_at = life.deadline if life.warned else min(life.deadline, life.warning_at(self._warn_before))
        life.page = self._calendar.add(life, next_at)

    def _schedule(self, life: _Life, scheduled: Scheduled) -> None:
        call = _Call(life, scheduled)
        call.page = self._calls.add(call, self.now() + scheduled.delay)
        if life.calls is None:
            life.calls = set()
        life.calls.add(call)

    def _call(self, call: _Call, due: Due) -> None:
        life = self._alive(call.life)
        if life is None:
            return
        if life.calls is not None:
            life.calls.discard(call)
        scheduled = call.scheduled
        event = Event(scheduled.event_id, "scheduled", life.ref, name=scheduled.name, data=scheduled.data)
        due.scheduled.append((life, self._owe(event)))

    # --- the ledger -----------------------------------------------------------------------------

    def _owe(self, event: Event) -> Event:
        self._owed.add(event.id)
        return event

    async def settle(self, event_id: str) -> None:
        self._owed.discard(event_id)

    async def owed(self) -> int:
        return len(self._owed)

    # --- looking around -------------------------------------------------------------------------

    async def count(self, user: str | None = None, bucket: str | None = None) -> int:
        if user is None and bucket is None:
            return len(self._by_key)
        now = self.now()
        return sum(life.due(now) is None for life in self._matching(user, bucket))

    async def scan(
        self, cursor: str = "", *, user: str | None = None, bucket: str | None = None, maximum: int = 100
    ) -> tuple[list[Record], str]:
        found: list[Record] = []
        for lives in self._in_order(cursor, user, bucket):
            for life in sorted(lives, key=_ref):
                if life.ref <= cursor or self._alive(life) is None:
                    continue
                if len(found) == maximum:
                    return found, found[-1].ref
                found.append(life)
        return found, ""

    def _in_order(self, cursor: str, user: str | None, bucket: str | None) -> Iterator[Collection[_Life]]:
        """Yield lives in groups; the groups follow each other in the order of refs."""
        if user is not None or bucket is not None:
            yield list(self._matching(user, bucket))
        else:
            yield from (list(slot.values()) for slot in self._slots[_slot_number(cursor) :])

    def _matching(self, user: str | None, bucket: str | None) -> Iterator[_Life]:
        group = self._by_user.get(user) if user is not None else self._by_bucket.get(bucket or "")
        return (life for life in group if bucket is None or life.bucket == bucket)

    def _slot(self, ref: str) -> dict[str, _Life]:
        return self._slots[_slot_number(ref)]

    # --- locks ----------------------------------------------------------------------------------

    async def acquire(self, ref: str, holder: str, timeout: float) -> bool:
        self._require(ref)
        lock = self._locks.get(ref)
        if lock is None:
            self._locks[ref] = _Lock(holder)
            return True
        turn = asyncio.get_running_loop().create_future()
        lock.waiting.append((holder, turn))
        try:
            async with asyncio.timeout(timeout):
                await turn
        except BaseException as error:
            # The turn may have come in the same instant in which the waiter gave up: then it goes to the next.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                await self.release(ref, holder)
            elif (holder, turn) in lock.waiting:
                lock.waiting.remove((holder, turn))
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    async def release(self, ref: str, holder: str) -> None:
        lock = self._locks.get(ref)
        if lock is None or lock.holder != holder:
            return
        while lock.waiting:
            lock.holder, turn = lock.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._locks[ref]


_RECORD_FIELDS: Final = fields(Record)


def _ref(life: _Life) -> str:
    return life.ref


def _last_access(life: _Life) -> float:
    return life.last_access_at


def _slot_number(ref: str) -> int:
    """Return which of the dictionaries a ref is in; one that is no ref of ours is in the last, where it is not found."""
    try:
        return int(ref[:3] or "0", 16)
    except ValueError:
        return _SLOTS - 1
