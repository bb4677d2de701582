"""The session list: the only door to sessions.

A life's way: `create` puts it into the store (atomic, under the limits, with its start owed), runs `on_session_start`,
and only then is it handed out. `end` decides in the store (one winner, with the end owed), closes the sockets and runs
`on_session_end`. Whoever ends a session - a log-out, a deadline, a limit, an administrator, a shutdown - it goes
through `_conclude`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from wshttp.addresses import bucket
from wshttp.config import SessionSettings
from wshttp.errors import (
    DataTooLarge,
    Forbidden,
    InvalidValue,
    LimitReached,
    LockLost,
    OutcomeUnknown,
    SessionEnded,
    SessionExists,
    StoreUnavailable,
    UsageError,
)
from wshttp.sessions import walks
from wshttp.sessions.callbacks import Callbacks, current_event
from wshttp.sessions.changes import ABSENT, Changes, difference, merge, sum_for_increment
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.data import Json, encoded_size
from wshttp.sessions.decorators import SessionDecorators
from wshttp.sessions.deliveries import BACKLOG
from wshttp.sessions.draft import Draft, checked_roles, draft_of, drafted, record_of
from wshttp.sessions.happenings import Happenings
from wshttp.sessions.ids import TOKEN_IDENTITIES, SessionId
from wshttp.sessions.lease import Lease
from wshttp.sessions.lifecycle import Lifecycle, facts
from wshttp.sessions.notifier import Notifier
from wshttp.sessions.outage import Outage
from wshttp.sessions.record import RENEWED, Ended, Reason, Record, Tombstone
from wshttp.sessions.session import Session
from wshttp.sessions.slices import Slices
from wshttp.sessions.statistics import Statistics
from wshttp.sessions.store import Created, Exists, Full, Holder, Limits, Store
from wshttp.sessions.sweeper import Sweeper
from wshttp.sessions.unit_of_work import UnitOfWork, current_unit

START_INTERVAL: Final = 0.05
"""Seconds between looks at a session that another node is starting."""

RECENT: Final = 1024
"""Sessions whose `Session` outlasts a request, those made last: to make one anew takes a fifth of the time that a request
that counts in its session spends on that (own measurement)."""

MOST_OWED: Final = 100_000
"""Sessions with callbacks that have not run, from which on none is created, where `session.max_sessions` is 0."""

T = TypeVar("T")

log = logging.getLogger("wshttp.sessions")


class SessionList(SessionDecorators):
    """All sessions, whoever holds them.

    `settings` are those of `session` in the configuration and may be exchanged while it runs (`use`);
    `store_timeout` is in seconds and bounds the wait for a session that another caller is just starting.

        sessions = SessionList(settings.session, MemoryStore())
        await sessions.open()
        session = await sessions.create(remote_ip="192.0.2.7")
        ...
        await sessions.close(timeout=10)
    """

    def __init__(
        self,
        settings: SessionSettings,
        store: Store,
        *,
        callbacks: Callbacks | None = None,
        clock: Clock | None = None,
        store_timeout: float = 2.0,
    ) -> None:
        self.store = store
        self.use(settings)
        self.callbacks = callbacks or Callbacks(settings.callback_timeout)
        self.statistics = Statistics()
        self.outage = Outage(store)
        self.secret = settings.secret.encode() if settings.secret else secrets.token_bytes(32)
        """Keys the ids that are derived from who a client is."""
        self._clock = clock or SystemClock()
        self._store_timeout = store_timeout
        self._known: WeakValueDictionary[str, Session] = WeakValueDictionary()
        self._recent: OrderedDict[str, Session] = OrderedDict()
        self._pinned: dict[str, Session] = {}
        self._releases: dict[Session, asyncio.Future[None]] = {}
        self._slices = Slices()
        self.happenings = Happenings(self._clock)
        self._lifecycle = Lifecycle(store, self.callbacks, self.statistics, self._slices, self.happenings)
        self._sweeper = Sweeper(store, self._lifecycle, self._slices, self.statistics, self._adopt, self._conclude)
        self._lease = Lease(store)
        self._closing = False

    def use(self, settings: SessionSettings) -> None:
        """Take over settings; sessions that live keep their time-outs."""
        self.settings = settings
        self.store.use(tombstone=settings.tombstone, warn_before=settings.warn_before)

    # --- opening and closing ----------------------------------------------------------------------

    async def open(self, *, sweep: bool = True) -> None:
        """Open the store and begin to sweep. Raises what `Store.open` does.

        A store that outlives the process may owe callbacks from before; the first sweep delivers them. Who registers
        callbacks only after this opens without `sweep`, and calls `begin_sweeping` then.
        """
        await self.store.open()
        if not self.settings.secret:
            failure: BaseException | None = None
            try:
                self.secret = await self.store.secret()
            except BaseException as error:
                failure = error
            if failure is not None:
                await self.store.close()
                raise failure
        self._closing = False
        self._lease.begin()
        if sweep:
            self.begin_sweeping()

    def begin_sweeping(self) -> None:
        """Do from now on what time brings, and what others have left undone."""
        self._sweeper.begin()

    async def close(self, timeout: float = 10.0) -> int:
        """Drain, and close the store; returns what `drain` does."""
        undelivered = await self.drain(timeout)
        await self._lease.stop()
        await self.store.close()
        self._recent.clear()
        self._known.clear()  # what others do to the sessions meanwhile is not known here
        self._pinned.clear()
        return undelivered

    async def drain(self, timeout: float = 10.0) -> int:
        """End all sessions with `shutdown` where the store does not outlive the process, and deliver what is owed.

        Waits at most `timeout` seconds; returns how many sessions' callbacks were still undelivered then.
        None is created from now on: `create` raises `StoreUnavailable`.
        """
        self._closing = True
        await self._sweeper.stop()
        if not self.store.outlives_process:
            await self.end_all(reason=Reason.SHUTDOWN)
            await self._sweeper.take_rest()  # those that were over already
        settled = await self.settled(timeout)
        undelivered = 0 if settled else self._lifecycle.undelivered
        await self._lifecycle.stop()
        if not undelivered and not self.store.outlives_process:
            return await self.store.owed()  # what no delivery has settled goes with the process
        return undelivered

    async def settled(self, timeout: float | None = None) -> bool:
        """Wait until all callbacks owed so far have run, at most `timeout` seconds; tell whether they have."""
        return await self._lifecycle.settled(timeout)

    @property
    def busy(self) -> bool:
        """Whether callbacks are owed, or what time has brought is just being taken from the store."""
        return self._sweeper.busy or self._lifecycle.busy

    @property
    def notifier(self) -> Notifier:
        """Who tells sockets what happens to their session; a list without sockets has one that tells nobody."""
        return self._lifecycle.notifier

    @notifier.setter
    def notifier(self, notifier: Notifier) -> None:
        self._lifecycle.notifier = notifier

    # --- time -------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the store's time: what the times in a `Record` are on."""
        return self.store.now()

    def to_unix(self, at: float) -> float:
        """Turn a time on the store's clock into Unix seconds."""
        return self._clock.time() + (at - self.store.now())

    # --- finding ----------------------------------------------------------------------------------

    def ip_id(self, remote_ip: str) -> SessionId:
        """Return the id of an address' anonymous session."""
        return SessionId.ip(bucket(remote_ip, self.settings.ipv6_prefix))

    def credentials_id(self, user: str, version: str, remote_ip: str) -> SessionId:
        """Return the id of the session of a verified user at an address."""
        return SessionId.credentials(self.secret, user, version, self._bucket(remote_ip))

    async def get(
        self,
        id: SessionId | str,
        *,
        remote_ip: str | None = None,
        touch: bool = True,
    ) -> Session | None:
        """Find a live session by its id; a `str` is one that the application chose.

        With `remote_ip`, only if it was started from the same address (IPv6: prefix).
        Raises `StoreUnavailable`, also when another caller is still starting it.
        """
        found = await self.find(id, touch=touch and remote_ip is None)
        if not isinstance(found, Session):
            return None
        if remote_ip is None:
            return found
        if found.record.bucket != self._bucket(remote_ip):
            return None  # and not touched: who comes from elsewhere does not keep it alive
        return await self.get_by_ref(found.ref, touch=touch)

    async def find(self, id: SessionId | str, *, touch: bool = True) -> Session | Tombstone | None:
        """Find a session, or what is left of it."""
        session_id = id if isinstance(id, SessionId) else SessionId.app(id)
        over: str | None = None
        while True:
            found = await self.store.load(session_id.key, touch=touch)
            if found is None or isinstance(found, Tombstone):
                return found
            if found.reason is not None:
                return None  # no store keeps such a life; to look again would not change it
            session = self._adopt(found, session_id)
            if session.starting is not None or session.record.starting:
                await self._started(session)
            if session.record.reason is None and session.record.key == session_id.key:
                return session  # else it has ended, or was renewed, while it started
            if session.ended is not None and session.ref == over:  # a failover has brought back what had ended
                return Tombstone(session.ref, session.ended, session.record.start)
            over = session.ref if session.ended is not None else None

    async def get_by_ref(self, ref: str, *, touch: bool = False) -> Session | None:
        """Find a live session by its public name."""
        record = await self.store.load_ref(ref, touch=touch)
        if record is None:
            return None
        session = self._adopt(record)
        await self._started(session)
        return session if session.ended is None else None

    async def lives(self, ref: str) -> bool:
        """Tell whether there is a live session of this public name; while the store is away, it counts as one."""
        try:
            record = await self.store.load_ref(ref, touch=False)
        except StoreUnavailable:
            return True
        return record is not None and record.reason is None

    async def get_or_create(self, id: SessionId | str, *, remote_ip: str, **options: Any) -> Session:
        """Find a session or create it; of several callers one creates it and all get it. Options as for `create`."""
        while True:
            found = await self.find(id)
            if isinstance(found, Session):
                return found
            try:
                return await self.create(id, remote_ip=remote_ip, **options)
            except SessionExists:
                continue

    async def count(self, *, user: str | None = None, remote_ip: str | None = None) -> int:
        """Count live sessions, in all or of a user or an address (IPv6: prefix)."""
        return await self.store.count(user, None if remote_ip is None else self._bucket(remote_ip))

    def scan(self, *, user: str | None = None, remote_ip: str | None = None) -> AsyncIterator[Session]:
        """Go through live sessions, in no particular order; each that lives throughout comes once."""
        return walks.adopted(self._records(user, remote_ip), self._adopt)

    async def page(
        self, cursor: str = "", *, user: str | None = None, remote_ip: str | None = None, maximum: int = 100
    ) -> tuple[list[Session], str]:
        """Return at most `maximum` live sessions, as `scan` goes through them, and where to go on.

        The empty cursor begins and ends; any other is the ref of the last session.
        """
        where = None if remote_ip is None else self._bucket(remote_ip)
        await self._slices.pause()
        records, cursor = await self.store.scan(cursor, user=user, bucket=where, maximum=maximum)
        return [self._adopt(record) for record in records], cursor

    def _records(self, user: str | None, remote_ip: str | None) -> AsyncIterator[Record]:
        return walks.records(self.store, self._slices, user, None if remote_ip is None else self._bucket(remote_ip))

    def _bucket(self, remote_ip: str) -> str:
        return bucket(remote_ip, self.settings.ipv6_prefix)

    def _adopt(self, record: Record, session_id: SessionId | None = None) -> Session:
        """Return this process' one `Session` for a record."""
        session = self._recent.get(record.ref)
        if session is None:
            session = self._known.get(record.ref)
        if session is None:
            session = Session(record, self, session_id)
            self._keep(session)
        if session.record is not record:
            _update(session, record)
        if session_id is not None and session_id.key == session.record.key:  # else renewed, while this was under way
            session.id = session_id
        return session

    def _keep(self, session: Session) -> None:
        """Have this be the `Session` of its ref, for as long as anybody works on it, and some time longer."""
        self._known[session.ref] = session
        if self.store.outlives_process or session.ended is not None:
            return  # a copy of a record may be out of date: who comes next is to see what there is
        self._recent[session.ref] = session
        if len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    async def _started(self, session: Session) -> None:
        """Wait for `on_session_start`, unless this is called from within the session's own callback."""
        if (session.starting is None and not session.record.starting) or session.ended is not None:
            return
        event = current_event()
        if event is not None and event.ref == session.ref:
            return
        try:
            async with asyncio.timeout(self._store_timeout or None):
                if session.starting is not None:
                    await asyncio.shield(session.starting)
                if session.record.starting:
                    await self._started_elsewhere(session)
        except TimeoutError:
            raise StoreUnavailable("the session is still starting") from None

    async def _started_elsewhere(self, session: Session) -> None:
        """Wait while another node delivers a session's start, or until a dead node's start is delivered here."""
        while session.starting is None and session.ended is None:
            record = await self.store.load_ref(session.ref, touch=False)
            if record is not None:
                _update(session, record)
            if record is None or not record.starting:
                return
            await asyncio.sleep(START_INTERVAL)
        if session.starting is not None:
            await asyncio.shield(session.starting)

    def pin(self, session: Session) -> None:
        """Keep the `Session` itself, since it holds objects that no store has, until it ends."""
        if session.record.reason is None and not session.temporary:
            self._pinned[session.ref] = session

    # --- what other nodes have done ---------------------------------------------------------------

    def take_note(self, ref: str, reason: Reason | None) -> None:
        """Take note that another node has ended a session, and delivers what is owed for it: it is over here, too.

        `None`: nobody knows any more why.
        """
        self._pinned.pop(ref, None)
        session = self._known.get(ref)
        if session is not None and session.ended is None and reason is not None:
            session.record = session.record.copy()
            session.record.reason = reason

    @property
    def pinned(self) -> Mapping[str, Session]:
        """Those that this node keeps for what is `local` in them, until it hears of their end."""
        return self._pinned

    async def look_again(self, sessions: Sequence[Session]) -> list[Tombstone | None]:
        """Bring many sessions up to date at once; return what is left of each that is over, `None` for those that live.

        Where nobody knows any more why one is over, the tombstone's reason is empty.
        """
        found = await self.store.load_many([session.record.key for session in sessions])
        return [await self._left_of(session, each) for session, each in zip(sessions, found, strict=True)]

    async def _left_of(self, session: Session, found: Record | Tombstone | None) -> Tombstone | None:
        if isinstance(found, Tombstone) and found.ref == session.ref and found.reason != RENEWED:
            return found
        if not isinstance(found, Record) or found.ref != session.ref:  # it may live on under another key
            found = await self.store.load_ref(session.ref, touch=False)
        if found is None:
            return Tombstone(session.ref, "")
        _update(session, found)
        return None

    # --- beginning --------------------------------------------------------------------------------

    async def create(
        self,
        id: SessionId | str | None = None,
        *,
        remote_ip: str,
        user: str | None = None,
        replace: bool = False,
        identity: str | None = None,
        **options: Any,
    ) -> Session:
        """Create a session and run `on_session_start`.

        Without `id` it gets a token (`session.id.value`). With `replace`, a live session under this id ends first.
        `identity` says how the client will be recognised (default: as the kind of id says).
        Options are the other fields of `Draft`: roles, version, user_agent, idle_timeout, absolute_timeout (seconds),
        start, data.

        Raises `SessionExists`, `LimitReached`, `Forbidden` (refused by `on_session_creating`), `InvalidValue`,
        `DataTooLarge`, `StoreUnavailable`.
        """
        session_id = SessionId.new_token() if id is None else _as_id(id)
        draft = drafted(self.settings, session_id, remote_ip, user, identity, options)
        await self._callbacks_keep_up()
        instead = await self._ask(draft)
        if instead is not None:
            return instead
        created = await self._create_in_store(record_of(draft, self.settings, session_id, self.store.now()), replace)
        session = self._adopt(created.record, session_id)
        if isinstance(created, Created):
            await self._begin(session, created)
        return session

    async def temporary(
        self,
        id: SessionId | str | None = None,
        *,
        remote_ip: str,
        user: str | None = None,
        identity: str | None = None,
        **options: Any,
    ) -> Session:
        """Make a session of this process only: in no list, with no event, under no limit.

        `await session.release()` is its `create`; unreleased, it vanishes. Options as for `create`.
        """
        session_id = SessionId.new_token() if id is None else _as_id(id)
        draft = drafted(self.settings, session_id, remote_ip, user, identity, options)
        session = Session(record_of(draft, self.settings, session_id, self.store.now()), self, session_id)
        session.temporary = True
        return session

    async def release(self, session: Session) -> None:
        """Put a temporary session into the list; see `Session.release`. Raises as `create` does."""
        while (earlier := self._releases.get(session)) is not None:
            await asyncio.wait({earlier})  # where it fails, this one is the next to try
        if not session.temporary:
            return
        done = self._releases[session] = asyncio.get_running_loop().create_future()
        try:
            await self._release(session)
        finally:
            del self._releases[session]
            done.set_result(None)

    async def _release(self, session: Session) -> None:
        await session.commit()
        _require_alive(session)
        created = await self._take_in(session)
        own, record = session.record, created.record
        failure: BaseException | None = None
        try:
            while changes := difference(own, record):  # it may be changed until it is in the list
                record = await self.store.apply(session.ref, changes, self.settings.max_data)
        except BaseException as error:
            failure = error
        session.temporary, session.record = False, record
        self._keep(session)
        if isinstance(created, Created):
            await self._begin(session, created)
        if failure is not None:
            raise failure
        if own.reason is not None:  # it was ended while the store took it in
            await self.end(session, own.reason)
            raise SessionEnded(session.ref, own.reason)

    async def _take_in(self, session: Session) -> Created | Exists:
        """Put a temporary session into the store, under a record that begins now.

        `Exists`: it is there, by a call whose answer was not heard; its start is delivered as what others have left undone.
        """
        await self._callbacks_keep_up()
        _require_alive(session)
        draft, before = draft_of(session.record), session.record.copy()
        if await self._ask(draft) is not None:
            raise Forbidden("the application has another session in its place")
        changed_meanwhile = difference(session.record, before)
        own = self._record_again(session, draft)
        if changed_meanwhile is not None:
            merge(own, changed_meanwhile, self.settings.max_data)
        return await self._create_in_store(own, replace=False)

    def _record_again(self, session: Session, draft: Draft) -> Record:
        """Give a temporary session, unless it has ended, a record that begins now."""
        _require_alive(session)
        if session.id is None:
            raise ValueError("a temporary session without an id")
        record = record_of(draft, self.settings, session.id, self.store.now())
        record.ref = session.ref
        session.record = record
        return record

    async def _callbacks_keep_up(self) -> None:
        """Wait while as many ended sessions are kept for their callbacks as may live: who comes without a cookie each time
        has another one end, and could fill the memory."""
        most = max(self.settings.max_sessions or MOST_OWED, BACKLOG)
        if self._lifecycle.keeps_up(most):
            return
        try:
            async with asyncio.timeout(self._store_timeout or None):
                await self._lifecycle.caught_up(most)
        except TimeoutError:
            self.statistics.refused["callbacks"] += 1
            raise StoreUnavailable("the callbacks of sessions that have ended do not keep up") from None

    async def _ask(self, draft: Draft) -> Session | None:
        """Let `on_session_creating` change a draft, refuse it (`Forbidden`), or give another session for it."""
        decision = await self.callbacks.decide("session_creating", draft, on_failure=False)
        if decision is False:
            raise Forbidden("the application refused to start a session")
        return decision if isinstance(decision, Session) else None

    async def _create_in_store(self, record: Record, replace: bool) -> Created | Exists:
        async def attempt(limits: Limits) -> Created | Exists | Full:
            if self._closing:
                raise StoreUnavailable("the session list is closing")
            if record.reason is not None:  # of a temporary session, while on_limit_reached was asked
                raise SessionEnded(record.ref, record.reason)
            return await self.store.create(record, limits, replace=replace)

        created: Created | Exists = await self._under_limits(attempt)
        if isinstance(created, Exists) and created.record.ref != record.ref:
            raise SessionExists(created.record.ref)
        return created

    async def _under_limits(self, attempt: Callable[[Limits], Awaitable[T | Full]]) -> T:
        """Try under the limits; where one says no, `on_limit_reached` is asked before anybody has to go for it."""
        limits = self._limits()
        while self.callbacks["limit_reached"]:
            outcome = await attempt(replace(limits, make_room=False))
            if not isinstance(outcome, Full):
                return outcome
            if await self.callbacks.decide("limit_reached", outcome) is not True:
                break
            limits = limits.without(outcome.setting)
        outcome = await attempt(limits)
        if isinstance(outcome, Full):
            self.statistics.refused[outcome.setting] += 1
            raise LimitReached(outcome.setting, outcome.maximum, in_all=outcome.setting == "session.max_sessions")
        return outcome

    def _limits(self) -> Limits:
        settings = self.settings
        return Limits(
            settings.max_sessions,
            settings.max_sessions_per_user,
            settings.max_sessions_per_ip,
            make_room=settings.on_limit == "oldest",
        )

    async def _begin(self, session: Session, created: Created) -> None:
        """Conclude who had to go for a new session, then begin it; if another node takes that over, wait for it."""
        for ended in created.ended:
            self._conclude(ended)
        await self._lifecycle.begin(session, created.event)
        await self._started(session)

    # --- going on ---------------------------------------------------------------------------------

    async def reload(self, session: Session, *, touch: bool = False) -> None:
        """Read a session's record again; with `touch`, move its idle deadline. Raises `SessionEnded`."""
        if session.temporary:
            if touch:
                _require_alive(session)
                session.record.last_access_at = self.now()
            return
        record = await self.store.load_ref(session.record.ref, touch=touch)
        if record is None:
            raise SessionEnded(session.ref, session.record.reason)
        if session.record is not record:
            _update(session, record)

    async def renew(
        self, session: Session, *, user: str | None = None, roles: Iterable[str] = (), version: str = ""
    ) -> None:
        """Log a user in: new token (`session.id`), same ref; both time-outs restart; sockets close with 4000, to come back.

        Without `user` only the token changes. The old token is refused from now on, and so is what came with it and is
        still under way; the caller goes on.
        An id that the application chose, or that is derived from who the client is, stays.
        Raises `LimitReached`, and `SessionEnded`; with `renewed` where somebody else was first.
        """
        unit = current_unit() or UnitOfWork()
        holder = Holder(unit.key_of(session.ref) or session.record.key, session.record.user)
        held_roles = checked_roles(roles)
        if session.identity == "ip" and user is not None:
            raise UsageError("an address is no secret: the session of an address carries no user")
        holds_token = session.id.kind == "token" if session.id else session.identity in TOKEN_IDENTITIES
        new_id = SessionId.new_token() if holds_token else session.id
        key = session.record.key if new_id is None else new_id.key
        try:
            renewed = await self._under_limits(
                lambda limits: self.store.renew(
                    session.ref, key, limits, user=user, roles=held_roles, version=version, holder=holder
                )
            )
        except SessionEnded as error:
            raise SessionEnded(session.ref, session.record.reason or error.reason) from None
        _update(session, renewed.record)
        session.id = new_id
        unit.renewed(session.ref, key)
        for ended in renewed.ended:
            self._conclude(ended)
        log.info("session renewed", extra=facts(session.record))
        self.happenings.tell("renewed", session.record)
        self.notifier.renewed(session.record)

    async def apply(self, session: Session, changes: Changes) -> None:
        """Write changes, as one atomic step. Raises `SessionEnded`, `Conflict`, `DataTooLarge`."""
        if session.temporary:
            _require_alive(session)
            merge(session.record, changes, self.settings.max_data)
            return
        if self.store.outlives_process:  # and may fall silent: who asks again says that it is the same change
            changes.token = changes.token or secrets.token_hex(12)
        try:
            record = await self.store.apply(session.record.ref, changes, self.settings.max_data)
        except SessionEnded as error:
            raise SessionEnded(session.ref, session.record.reason or error.reason) from None
        if session.record is not record:
            _update(session, record)
        if changes.idle_timeout is not None or changes.absolute_timeout is not None:
            self.notifier.changed(session.record)

    async def increment(
        self, session: Session, key: str, by: Json, *, session_key: bytes | None = None, lock: str | None = None
    ) -> int | float:
        """Add to a number, atomically; parameters and errors as those of `Store.increment`."""
        if session.temporary:
            total = sum_for_increment(session.record.data.get(key, ABSENT), by)
            merge(session.record, Changes({key: total}), self.settings.max_data)
            return total
        try:
            total = await self.store.increment(
                session.ref, key, by, self.settings.max_data, session_key=session_key, lock=lock
            )
        except SessionEnded as error:
            raise SessionEnded(session.ref, session.record.reason or error.reason) from None
        session.record.data[key] = total
        return total

    def check_event_size(self, name: str, data: Json) -> None:
        """Raise `DataTooLarge` if a scheduled event is larger than a session's data may be."""
        maximum, size = self.settings.max_data, encoded_size(name, data)
        if maximum and size > maximum:
            raise DataTooLarge(size, maximum)

    async def acquire(self, session: Session, holder: str, timeout: float) -> None:
        """Take a session's lock and read it again. Raises `TimeoutError` and `SessionEnded`."""
        if session.temporary:
            return
        try:
            if not await self.store.acquire(session.ref, holder, timeout):
                raise TimeoutError(f"session {session.ref} stayed locked for {timeout:g} s")
        except SessionEnded:
            raise SessionEnded(session.ref, session.record.reason) from None
        await self.reload(session)

    async def release_lock(self, session: Session, holder: str) -> None:
        """Give a session's lock back."""
        await self.store.release(session.ref, holder)

    # --- ending -----------------------------------------------------------------------------------

    async def end(self, session: Session | str, reason: Reason | str = Reason.LOGOUT) -> bool:
        """End a session (or the one with this ref); tell whether it was this call that did.

        What the caller has changed in it and not committed is committed first: it is the last data.
        Returns when its sockets are told (in a session's callback: at once); `on_session_end` follows (`settled` waits for
        it).
        """
        ref = session if isinstance(session, str) else session.ref
        if isinstance(session, Session) and session.temporary:
            was_first = session.ended is None
            session.record.reason = session.ended or Reason(reason)
            return was_first
        await self._commit_last_changes(ref)
        unit = current_unit()
        if unit is not None:
            unit.ended.add(ref)
        try:
            ended = await self.store.end(ref, Reason(reason))
        except StoreUnavailable:
            if unit is not None:
                unit.ended.discard(ref)  # another's end, should there be one, is not this unit's
            raise
        if ended is None:
            return False
        closed = self._conclude(ended)
        event = current_event()
        if event is None or not event.ref:  # the end of a session waits for its start, which may be what calls this
            await asyncio.shield(closed)
        return True

    async def _commit_last_changes(self, ref: str) -> None:
        session = self._known.get(ref)
        if session is None:
            return
        try:
            await session.unit().commit_session(session)
        except SessionEnded:
            pass  # somebody was first; the caller hears so of `end`
        except (InvalidValue, LockLost, OutcomeUnknown) as error:
            log.warning("the last changes of session %s are dropped: %s", ref, error)

    async def end_all(
        self,
        only_expired: bool = False,
        user: str | None = None,
        remote_ip: str | None = None,
        before: float | None = None,
        *,
        reason: Reason | str = Reason.ADMIN,
        keep: str | None = None,
    ) -> int:
        """End sessions and return how many: only those past their deadline, of a user, of an address, created before a time.

        `before` is in Unix seconds; `keep` is the ref of one to spare. All conditions given must hold.
        """
        if only_expired:
            return await self.sweep()
        count = 0
        async for record in self._records(user, remote_ip):
            if record.ref == keep or (before is not None and self.to_unix(record.created_at) >= before):
                continue
            count += await self._end_without_waiting(record.ref, Reason(reason))
        return count

    def end_each(self, sessions: Iterable[Session], reason: Reason | str = Reason.ADMIN) -> AsyncIterator[Session]:
        """End these, and yield each that it was this call that ended; their sockets are told meanwhile and afterwards.

        Raises `StoreUnavailable`; whether the one after the last that was yielded has ended, nobody knows then.
        """
        return walks.ended(
            sessions, lambda ref: self._end_without_waiting(ref, Reason(reason)), self._slices, self._lifecycle
        )

    async def _end_without_waiting(self, ref: str, reason: Reason) -> bool:
        ended = await self.store.end(ref, reason)
        if ended is not None:
            self._conclude(ended)
        return ended is not None

    async def sweep(self) -> int:
        """Do what time has brought: ends, warnings, scheduled events. Returns the number of ends; costs only what is due."""
        return await self._sweeper.sweep()

    def end_due(self) -> AsyncIterator[Session]:
        """Do what time has brought, as `sweep` does, and yield each session that it has ended."""
        return self._sweeper.end_due()

    def _conclude(self, ended: Ended) -> asyncio.Future[None]:
        """Carry out an end that the store has decided. The future is done when the session's sockets are told."""
        session = self._adopt(ended.record)
        self._recent.pop(session.ref, None)
        self._pinned.pop(session.ref, None)
        return self._lifecycle.conclude(session, ended.event, elsewhere=ended.elsewhere)


def _update(session: Session, record: Record) -> None:
    """Take over a newer copy of a session's record; a late one never brings an ended session back."""
    known = session.record
    if known.ref != record.ref or (record.revision >= known.revision and not (known.reason and not record.reason)):
        session.record = record


def _require_alive(session: Session) -> None:
    if session.ended is not None:
        raise SessionEnded(session.ref, session.ended)


def _as_id(given: SessionId | str) -> SessionId:
    return given if isinstance(given, SessionId) else SessionId.app(given)
