"""All sessions of one process, as plain objects: what the memory store is, and what the SQLite store works on.

No I/O and no waiting: one process, one event loop, so every method is atomic, and that is the whole of its locking.
Expiry is lazy: a touch writes one number, and a life that comes up too early is entered again where it belongs by then.
What is changed is told to a `Log`, in the same step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from wshttp.errors import LockLost, SessionEnded
from wshttp.sessions.changes import ABSENT, Changes, Scheduled, check_scheduled, merge, sum_for_increment
from wshttp.sessions.data import Json
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.record import RECORD_FIELDS, RENEWED, Ended, Event, Reason, Record, Tombstone
from wshttp.sessions.store import MAX_VICTIMS, Created, Creation, Due, Exists, Full, Holder, Limits, Owed, Renewed
from wshttp.stores.answers import Answers
from wshttp.stores.calendar import INTERVAL, Calendar
from wshttp.stores.index import Index
from wshttp.stores.ledger import Ledger
from wshttp.stores.locks import Locks
from wshttp.stores.log import Log

T = TypeVar("T")

MAX_TOMBSTONES: Final = 100_000
"""The oldest go first. Without a bound, whoever can make sessions end could fill the memory."""

_CLEARED_PER_GRAVE: Final = 2
"""Old tombstones that a new one clears away: one would do to keep up, and no caller pays for many."""

_SLOTS: Final = 4096
"""Dictionaries that share the refs, by their first three digits: none is ever so large that its growth is felt,
and a scan can say where it is."""


class Life(Record):
    """A live record, with its places in the order of last access and in the calendar."""

    __slots__ = ("calls", "logged_access_at", "newer", "older", "page")

    def __init__(self, record: Record) -> None:
        for name in RECORD_FIELDS:
            setattr(self, name, getattr(record, name))
        self.data = dict(record.data)
        self.older: Life | None = None
        self.newer: Life | None = None
        self.page: int | None = None
        self.calls: dict[str, _Call] | None = None
        self.logged_access_at = 0.0
        """The last access that the log has; the log's own note."""


class _Call:
    """A scheduled event; it goes with its life."""

    __slots__ = ("life", "page", "scheduled")

    def __init__(self, life: Life, scheduled: Scheduled) -> None:
        self.life = life
        self.scheduled = scheduled
        self.page: int | None = None


class _IdleOrder:
    """Anonymous lives from the longest idle to the most recent: a list linked through the lives, so a touch is O(1)."""

    def __init__(self) -> None:
        self.oldest: Life | None = None
        self._newest: Life | None = None

    def __iter__(self) -> Iterator[Life]:
        life = self.oldest
        while life is not None:
            yield life
            life = life.newer

    def add(self, life: Life) -> None:
        life.older, life.newer = self._newest, None
        if self._newest is None:
            self.oldest = life
        else:
            self._newest.newer = life
        self._newest = life

    def remove(self, life: Life) -> None:
        if life.older is None:
            self.oldest = life.newer
        else:
            life.older.newer = life.newer
        if life.newer is None:
            self._newest = life.older
        else:
            life.newer.older = life.older
        life.older = life.newer = None

    def to_newest(self, life: Life) -> None:
        if life is not self._newest:
            self.remove(life)
            self.add(life)


class _Grave:
    """A tombstone, and until when it stands."""

    __slots__ = ("key", "tombstone", "until")

    def __init__(self, key: bytes, tombstone: Tombstone, until: float) -> None:
        self.key = key
        self.tombstone = tombstone
        self.until = until


class WorkingSet:
    """Sessions, tombstones, scheduled calls and the ledger.

    `now` tells the time; `tombstone` is in seconds; `warn_before` (seconds, 0: never) is when `take_due` reports a
    session as expiring; `given` has the ids of entries that somebody here is delivering (`None`: all).
    Records are handed out as they are kept: they change when their session does.
    """

    def __init__(
        self,
        now: Callable[[], float],
        log: Log,
        locks: Locks,
        *,
        tombstone: float = 300.0,
        warn_before: float = 0.0,
        given: Container[str] | None = None,
    ) -> None:
        self.now = now
        self.log = log
        self.tombstone = tombstone
        self.warn_before = warn_before
        self.answers = Answers(now)
        self._locks = locks
        self._slots: dict[str, dict[str, Life]] = {f"{number:03x}": {} for number in range(_SLOTS)}
        self._last_slot = self._slots[f"{_SLOTS - 1:03x}"]
        self._by_key: dict[bytes, Life] = {}
        self._by_user = Index[str, Life]()
        self._by_bucket = Index[str, Life]()
        self._anonymous = _IdleOrder()
        self._calendar = Calendar[Life]()
        self._calls = Calendar[_Call]()
        self._overdue: deque[tuple[Life, Event]] = deque()
        self._ledger = Ledger(given)
        self._graves: dict[bytes, _Grave] = {}
        self._oldest_graves: deque[_Grave] = deque()

    # --- as it was written down -------------------------------------------------------------------

    def restore_life(self, record: Record, logged_access_at: float) -> None:
        """Take in a life that a log has kept; anonymous ones from the longest idle on."""
        life = Life(record)
        life.logged_access_at = logged_access_at
        self._take_in(life)

    def restore_call(self, ref: str, scheduled: Scheduled, due_at: float) -> None:
        """Take in what is scheduled for a life; no error where that is gone."""
        life = self.live(ref)
        if life is not None:
            self._schedule(life, scheduled, due_at)

    def restore_grave(self, key: bytes, tombstone: Tombstone, until: float) -> None:
        """Take in a tombstone; oldest first."""
        grave = self._graves[key] = _Grave(key, tombstone, until)
        self._oldest_graves.append(grave)

    def restore_owed(self, event: Event) -> None:
        """Take in an entry of the ledger; oldest first. Whoever it was owed by goes on with it, or nobody does yet."""
        self._ledger.enter(event)
        if event.kind == "start" and (life := self.live(event.ref)):
            life.starting = True

    def lives(self) -> Iterator[Life]:
        """Go through all lives."""
        return iter(self._by_key.values())

    def live(self, ref: str) -> Life | None:
        """Return a life as it stands, past its deadline or not."""
        return self._slots.get(ref[:3], self._last_slot).get(ref)  # as `_slot` has it: asked at every step

    def owes(self, event: Event) -> bool:
        """Return whether an entry is in the ledger, and this attempt is its last."""
        return self._ledger.has(event)

    # --- a life begins --------------------------------------------------------------------------

    def create(self, record: Record, limits: Limits, *, replace: bool = False) -> Creation:
        earlier = self.answers.get(record.ref)
        if isinstance(earlier, Created) and earlier.record.reason is None:
            return earlier
        present = self._alive(self._by_key.get(record.key), self.now())
        grave = self._graves.get(record.key)
        if grave is not None and grave.tombstone.ref == record.ref:  # asked for again, after it was there and has ended
            raise SessionEnded(record.ref, grave.tombstone.reason)
        if present is not None and not replace:
            return Exists(present)
        victims = self._make_room(record.user, record.bucket, limits, [present] if present else [])
        if isinstance(victims, Full):
            return victims
        ended = [self._end(life, Reason.REPLACED if life is present else Reason.LIMIT) for life in victims]
        life = Life(record)
        life.starting = True
        if self._graves.pop(life.key, None) is not None:
            self.log.exhumed(life.key)
        self._take_in(life)
        self.log.began(life)
        return self._remember(record.ref, Created(life, self._owe(Event(new_event_id(), "start", life.ref)), ended))

    def _remember(self, token: str, answer: T) -> T:
        if token:
            self.log.answered(token)
        return self.answers.keep(token, answer)

    def _take_in(self, life: Life) -> None:
        self._slot(life.ref)[life.ref] = life
        self._by_key[life.key] = life
        self._by_bucket.add(life.bucket, life)
        self._file_by_user(life)
        self._enter(life)

    def _make_room(self, user: str | None, bucket: str, limits: Limits, going: list[Life]) -> list[Life] | Full:
        """Return `going` and who must go besides to let one more in, or the limit that says no."""
        for setting, maximum, count, candidates in self._limits(user, bucket, limits, going):
            surplus = min(count - maximum + 1, MAX_VICTIMS) if maximum else 0
            if surplus <= 0:
                continue
            candidates = (life for life in candidates if life not in going) if limits.make_room else ()
            victims = list(islice(candidates, surplus))
            if len(victims) < surplus:
                return Full(setting, maximum)
            going += victims
        return going

    def _limits(
        self, user: str | None, bucket: str, limits: Limits, going: list[Life]
    ) -> Iterator[tuple[str, int, int, Iterable[Life]]]:
        """Yield each limit that may be reached: its setting, its value, how many count, and who could go, longest idle first."""
        theirs = self._by_user.get(user) if user is not None else ()
        if 0 < limits.max_sessions_per_user <= len(theirs):
            living = self._living(theirs)
            count = len(living) - sum(life.user == user for life in going)
            yield "session.max_sessions_per_user", limits.max_sessions_per_user, count, _longest_idle_first(living)
        there = self._by_bucket.get(bucket)
        if 0 < limits.max_sessions_per_ip <= len(there):
            living = self._living(there)
            count = len(living) - sum(life.bucket == bucket for life in going)
            anonymous = (life for life in _longest_idle_first(living) if life.user is None)
            yield "session.max_sessions_per_ip", limits.max_sessions_per_ip, count, anonymous
        while len(self._by_key) - len(going) >= limits.max_sessions > 0 and self._oldest_is_overdue():
            pass  # it made room by itself
        yield "session.max_sessions", limits.max_sessions, len(self._by_key) - len(going), self._anonymous

    def _living(self, lives: Collection[Life]) -> list[Life]:
        now = self.now()
        return [life for life in list(lives) if self._alive(life, now)]

    def _oldest_is_overdue(self) -> bool:
        oldest = self._anonymous.oldest
        return oldest is not None and self._alive(oldest, self.now()) is None

    # --- a life goes on -------------------------------------------------------------------------

    def load(self, key: bytes, *, touch: bool) -> Record | Tombstone | None:
        now = self.now()
        life = self._alive(self._by_key.get(key), now)
        if life is None:
            grave = self._graves.get(key)
            return grave.tombstone if grave and now < grave.until else None
        if touch:
            self._touch(life, now)
        return life

    def load_ref(self, ref: str, *, touch: bool) -> Record | None:
        now = self.now()
        life = self._alive(self.live(ref), now)
        if life is not None and touch:
            self._touch(life, now)
        return life

    def apply(self, ref: str, changes: Changes, max_data: int) -> Record:
        if changes.token and isinstance(earlier := self.answers.get(changes.token), Record):
            return earlier
        life = self.require(ref)
        if changes.lock is not None:
            self._require_lock(ref, changes.lock)
        if changes.scheduled:
            check_scheduled(changes.scheduled, life.calls or {})
        merge(life, changes, max_data)
        life.revision += 1
        if changes.values:
            self.log.wrote(life, changes.values)
        for scheduled in changes.scheduled:
            due_at = self.now() + scheduled.delay
            if self._schedule(life, scheduled, due_at):
                self.log.scheduled(life, scheduled, due_at)
        if changes.idle_timeout is not None or changes.absolute_timeout is not None:
            life.warned = False
            self._enter(life)
            self.log.changed(life)
        return self._remember(changes.token, life) if changes.token else life

    def increment(
        self,
        ref: str,
        key: str,
        by: Json,
        max_data: int,
        *,
        session_key: bytes | None = None,
        lock: str | None = None,
        token: str = "",
    ) -> int | float:
        earlier = self.answers.get(token)
        if isinstance(earlier, int | float):
            return earlier
        life = self.require(ref)
        if lock is not None:
            self._require_lock(ref, lock)
        total = sum_for_increment(life.data.get(key, ABSENT), by)
        merge(life, Changes({key: total}, key=session_key), max_data)
        life.revision += 1
        self.log.wrote(life, {key: total})
        return self._remember(token, total)

    def _require_lock(self, ref: str, holder: str) -> None:
        if self._locks.holder(ref) != holder:
            raise LockLost(ref)

    def renew(
        self,
        ref: str,
        key: bytes,
        limits: Limits,
        *,
        user: str | None,
        roles: tuple[str, ...],
        version: str,
        holder: Holder | None = None,
        token: str = "",
    ) -> Renewed | Full:
        earlier = self.answers.get(token)
        if isinstance(earlier, Renewed):
            return earlier
        life = self.require(ref)
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
        life.restarted_at = now = self.now()
        self._touch(life, now)
        self._enter(life)
        self.log.changed(life)
        return self._remember(token, Renewed(life, ended))

    def _touch(self, life: Life, now: float) -> None:
        life.last_access_at = now
        life.warned = False
        life.revision += 1
        if life.user is None:
            self._anonymous.to_newest(life)
        self.log.touched(life)

    def forgive(self, seconds: float) -> None:
        """Have idle clocks stand still for so long: nobody could be served."""
        now = self.now()
        for life in self.lives():
            life.last_access_at = max(life.last_access_at, min(life.last_access_at + seconds, now))
            life.revision += 1
            if life.warned:
                life.warned = False
                self._enter(life)

    def _change_key(self, life: Life, key: bytes) -> None:
        if key != life.key:
            del self._by_key[life.key]
            self._bury(life.key, Tombstone(life.ref, RENEWED))
            life.key = key
            self._by_key[key] = life

    def _change_user(self, life: Life, user: str, roles: tuple[str, ...], version: str) -> None:
        self._unfile_by_user(life)
        life.user, life.roles, life.version = user, roles, version
        self._file_by_user(life)

    def _file_by_user(self, life: Life) -> None:
        if life.user is None:
            self._anonymous.add(life)
        else:
            self._by_user.add(life.user, life)

    def _unfile_by_user(self, life: Life) -> None:
        if life.user is None:
            self._anonymous.remove(life)
        else:
            self._by_user.remove(life.user, life)

    # --- a life ends ----------------------------------------------------------------------------

    def end(self, ref: str, reason: Reason, *, token: str = "") -> Ended | None:
        earlier = self.answers.get(token)
        if isinstance(earlier, Ended):
            return earlier
        life = self._alive(self.live(ref), self.now())
        return None if life is None else self._remember(token, self._end(life, reason))

    def _end(self, life: Life, reason: Reason) -> Ended:
        return self._tell(life, self._take_out(life, reason))

    def _take_out(self, life: Life, reason: Reason) -> Event:
        """Take a life out of everything, in one step; the only place where one ends."""
        life.reason = reason
        del self._slot(life.ref)[life.ref]
        del self._by_key[life.key]
        self._by_bucket.remove(life.bucket, life)
        self._unfile_by_user(life)
        self._calendar.remove(life, life.page)
        for call in (life.calls or {}).values():
            self._calls.remove(call, call.page)
        life.calls = None
        life.revision += 1
        self._bury(life.key, Tombstone(life.ref, reason, life.start))
        self.log.ended(life)
        return self._owe(Event(new_event_id(), "end", life.ref, reason=reason))

    def _tell(self, life: Life, event: Event) -> Ended:
        """Return an end for who caused it, or came for it: they deliver it, unless nobody here has the start yet."""
        if self._ledger.may_follow(life.ref):
            return Ended(life, event)
        self.log.owes(self._ledger.wait(Owed(life, event)))
        return Ended(life, event, elsewhere=True)

    def _alive(self, life: Life | None, now: float) -> Life | None:
        """Return a life that goes on; one past its deadline ends here and now, and `take_due` will report it."""
        if life is None or (reason := life.due(now)) is None:
            return life
        self._overdue.append((life, self._take_out(life, reason)))
        return None

    def require(self, ref: str) -> Life:
        """Return a life that goes on, or raise `SessionEnded`."""
        life = self._alive(self.live(ref), self.now())
        if life is None:
            raise SessionEnded(ref)
        return life

    def _bury(self, key: bytes, tombstone: Tombstone) -> None:
        self.restore_grave(key, tombstone, until := self.now() + self.tombstone)
        self.log.buried(key, tombstone, until)
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
                self.log.exhumed(grave.key)

    # --- what time brings -----------------------------------------------------------------------

    def take_due(self, maximum: int) -> Due:
        due, now = Due(), self.now()
        self._clear_graves(maximum)
        for _ in range(maximum):
            if self._ledger.any_to_take:
                self._hand_out(due)
            elif self._overdue:
                due.ended.append(self._tell(*self._overdue.popleft()))
            elif (life := self._calendar.take(now)) is not None:
                self._come_up(life, now, due)
            elif (call := self._calls.take(now)) is not None:
                self._call(call, due)
            else:
                return due
        due.more = True  # a life that a touch has moved costs time too, and is in no list of what is due
        return due

    def _come_up(self, life: Life, now: float, due: Due) -> None:
        reason = life.due(now)
        if reason is not None:
            due.ended.append(self._end(life, reason))
            return
        if not life.warned and life.warning_at(self.warn_before) <= now:
            life.warned = True
            due.expiring.append(life)
        self._enter(life)

    def warn_again(self, lives: Iterable[Record]) -> None:
        """Have a warning that nobody heard given again."""
        for life in (self.live(record.ref) for record in lives):
            if life is not None and life.warned:
                life.warned = False
                self._enter(life)

    def _enter(self, life: Life) -> None:
        """Enter a life in the calendar where it next has to be looked at."""
        self._calendar.remove(life, life.page)
        next_at = life.deadline if life.warned else min(life.deadline, life.warning_at(self.warn_before))
        life.page = self._calendar.add(life, next_at)

    def _schedule(self, life: Life, scheduled: Scheduled, due_at: float) -> bool:
        """Enter a call; `False` where it is there already."""
        if life.calls is None:
            life.calls = {}
        elif scheduled.event_id in life.calls:
            return False
        call = life.calls[scheduled.event_id] = _Call(life, scheduled)
        call.page = self._calls.add(call, due_at)
        return True

    def _call(self, call: _Call, due: Due) -> None:
        life = self._alive(call.life, self.now())
        if life is None:
            return
        if life.ref not in _starts(due) and not self._ledger.may_follow(life.ref):
            call.page = self._calls.add(call, self.now() + INTERVAL)  # nobody works on it before its start is over
            return
        scheduled = call.scheduled
        if life.calls is not None:
            life.calls.pop(scheduled.event_id, None)
        self.log.called(life, scheduled.event_id)
        event = Event(scheduled.event_id, "scheduled", life.ref, name=scheduled.name, data=scheduled.data)
        due.scheduled.append((life, self._owe(event)))

    # --- the ledger -----------------------------------------------------------------------------

    def _owe(self, event: Event) -> Event:
        self._ledger.enter(event)
        self.log.owes(event)
        return event

    def unclaim(self, owed: Owed) -> None:
        """Have `take_due` hand an entry out, since who was to deliver it never will; in the order in which they came to be."""
        self._ledger.unclaim(owed)

    def _hand_out(self, due: Due) -> None:
        owed = self._ledger.take(_starts(due))
        if owed is not None:
            self.log.owes(owed.event)
            due.owed.append(owed)

    def settle(self, event: Event) -> bool:
        if not self._ledger.strike(event):
            return False  # settled, or somebody else's by now
        if event.kind == "start":
            self._has_started(event.ref)
        self.log.settled(event)
        if not self._ledger.any_of(event.ref) and self.live(event.ref) is None:
            self.log.forgotten(event.ref)
        return True

    def _has_started(self, ref: str) -> None:
        self.answers.forget(ref)  # whoever settles its start was told of it, and an answer keeps the session's data
        life = self.live(ref)
        if life is not None:
            life.starting = False
            life.revision += 1

    def owed(self) -> int:
        return len(self._ledger)

    # --- looking around -------------------------------------------------------------------------

    def count(self, user: str | None = None, bucket: str | None = None) -> int:
        group = self._group(user, bucket)
        if group is None:
            return len(self._by_key)
        now = self.now()
        return sum(life.due(now) is None for life in self._matching(group, bucket))

    def scan(
        self, cursor: str = "", *, user: str | None = None, bucket: str | None = None, maximum: int = 100
    ) -> tuple[list[Record], str]:
        found: list[Record] = []
        now = self.now()
        for lives in self._in_order(cursor, user, bucket, maximum):
            for life in sorted(lives, key=_ref):
                if life.ref <= cursor or self._alive(life, now) is None:
                    continue
                if len(found) == maximum:
                    return found, found[-1].ref
                found.append(life)
        return found, ""

    def _in_order(self, cursor: str, user: str | None, bucket: str | None, maximum: int) -> Iterator[Collection[Life]]:
        """Yield lives in groups; the groups follow each other in the order of refs."""
        group = self._group(user, bucket)
        if group is not None and len(group) ** 2 <= maximum * len(self._by_key):
            yield list(self._matching(group, bucket))
            return
        # To sort a large group at each step would take longer than to pass over those that are not in it.
        for slot in islice(self._slots.values(), _slot_number(cursor), None):
            yield [
                life
                for life in slot.values()
                if (user is None or life.user == user) and (bucket is None or life.bucket == bucket)
            ]

    def _group(self, user: str | None, bucket: str | None) -> Collection[Life] | None:
        """Return the smallest set of lives that has all that are meant; `None` for all."""
        if user is not None:
            return self._by_user.get(user)
        return None if bucket is None else self._by_bucket.get(bucket)

    def _matching(self, group: Collection[Life], bucket: str | None) -> Iterator[Life]:
        return (life for life in group if bucket is None or life.bucket == bucket)

    def _slot(self, ref: str) -> dict[str, Life]:
        """Return the dictionary that a ref is in; one that is no ref of ours is in the last, where it is not found."""
        return self._slots.get(ref[:3], self._last_slot)


def _starts(due: Due) -> set[str]:
    """Return the refs of the sessions whose start is handed out in the same call."""
    return {owed.event.ref for owed in due.owed if owed.event.kind == "start"}


def _ref(life: Life) -> str:
    return life.ref


def _longest_idle_first(lives: list[Life]) -> Iterator[Life]:
    yield from sorted(lives, key=_last_access)  # only where somebody asks


def _last_access(life: Life) -> float:
    return life.last_access_at


def _slot_number(ref: str) -> int:
    """Return at which of the dictionaries a scan goes on."""
    try:
        return int(ref[:3] or "0", 16)
    except ValueError:
        return _SLOTS - 1
