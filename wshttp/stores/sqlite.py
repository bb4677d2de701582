"""The SQLite store: the working set of the memory store, with a file as its log.

Every change is made in the working set at once, and its rows go into a batch. The batch is written by one thread, in one
transaction, synced; meanwhile the next one collects. A method returns when the batch with what it did, or with what it
saw, is on disk: what anybody has been told, no crash takes back.

When a batch cannot be written (a full disk, a broken one), it and what came after it are as if they had never been: all
who wait get `StoreUnavailable`, and the working set is made anew from the file as soon as that takes writes again.
Until then the store is not `available`. Idle clocks stand still meanwhile.
A batch that takes longer than the time-out makes the store unavailable too, until it is on disk: else what is refused to
callers, and done all the same, would pile up.

One process has the file: what another wrote would not be in its working set.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, TypeVar

from wshttp.errors import SessionEnded, StoreUnavailable, StoreUnusable
from wshttp.sessions.changes import Changes
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.patience import patiently, seconds_left
from wshttp.sessions.record import Ended, Event, Reason, Record, Tombstone
from wshttp.sessions.store import Created, Creation, Due, Exists, Full, Holder, Limits, Owed, Renewed
from wshttp.stores import sqlite_schema as schema
from wshttp.stores.locks import Locks
from wshttp.stores.sqlite_file import SqliteFile, Statement
from wshttp.stores.sqlite_journal import Batch, Journal, touch_interval
from wshttp.stores.sqlite_restored import LastAccess, Meta, Restored, meta, restore
from wshttp.stores.sqlite_thread import Worker
from wshttp.stores.working_set import WorkingSet

RETRY_INTERVAL: Final = 0.5
"""Seconds between attempts to get back to a file that could not be written."""

GENERATION: Final = 2**40
"""More revisions than a session has between two times at which the working set is made anew."""

JUMP: Final = 1.0
"""Seconds by which the machine's calendar is set before that is written down at once."""

LATE: Final = "the disk takes longer than store.timeout"

T = TypeVar("T")

_log = logging.getLogger("wshttp.store")


class SqliteStore:
    """Sessions in a file; see the top of this file for what is promised.

    `timeout` is in seconds and bounds the wait for the disk (0: no bound): what took longer may yet be done. `tombstone`
    and `warn_before` are as for the memory store.
    """

    outlives_process = True
    lease = 0.0

    def __init__(
        self,
        path: str,
        clock: Clock | None = None,
        *,
        timeout: float = 2.0,
        tombstone: float = 300.0,
        warn_before: float = 0.0,
    ) -> None:
        self._clock = clock or SystemClock()
        self._offset = self._clock.time() - self._clock.monotonic()
        self._ahead = 0.0  # seconds by which the calendar was ahead of `now` when that was last written
        self._timeout = timeout
        self._tombstone = tombstone
        self._warn_before = warn_before
        self._file = SqliteFile(path)
        self._thread: Worker | None = None
        self._locks = Locks()
        self._journal = Journal(self._write, self._on_written, self._on_failure)
        self._claimed: set[str] = set()  # entries that a caller of ours has been given, and has not settled
        self._set = self._empty_set()
        self._secret: bytes | None = None
        self._generation = 0
        self._away: str | None = "the store is not open"
        self._late_since = 0.0
        self.on_latency: Callable[[float], None] | None = None
        """See `sessions.store.Timed`: a write, which those wait for whose answer it is behind."""
        self._recovery: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        return self._away is None

    def now(self) -> float:
        """Return the time on a clock that goes on while no process runs, and never goes back.

        It begins at Unix time, and runs as the monotonic clock. While no process runs, it goes on by what the calendar
        has gone on: whether that is right, or was put right meanwhile, makes no difference.
        """
        return self._clock.monotonic() + self._offset

    def use(self, *, tombstone: float, warn_before: float) -> None:
        """Take over settings; see the class."""
        self._tombstone = self._set.tombstone = tombstone
        self._warn_before = self._set.warn_before = warn_before

    # --- opening and closing ----------------------------------------------------------------------

    async def open(self) -> None:
        self._thread = Worker("wshttp-sqlite")
        self._claimed.clear()
        self._generation += 1  # copies of records from before are older than what is read now
        try:
            await self._in_thread(self._file.open)
            self._start(await self._in_thread(self._read_at_start))
        except BaseException as error:
            await self._let_go()
            if isinstance(error, StoreUnavailable):
                raise StoreUnusable(f"store.path: {error}") from None
            raise

    def _read_at_start(self) -> Restored:
        found = meta(self._file)
        self._offset = self._time_at_start(found) - self._clock.monotonic()
        self._secret = found.secret

        def last_access(record: Record) -> float:
            # Touches that were not written yet are not to cost anybody the end of their session.
            return record.last_access_at if found.closed else self._at_most_now(record, touch_interval(record))

        restored = self._restored(last_access)  # first: nothing is written to a file that is not understood
        self._file.write([(schema.PUT_META, ("closed", 0)), *restored.useless, self._seen()])
        return restored

    def _time_at_start(self, found: Meta) -> float:
        calendar = self._clock.time()
        if found.seen_at is None:
            return calendar
        return found.seen_at + max(0.0, calendar - (found.seen_at if found.wall_at is None else found.wall_at))

    def _read_again(self, last_access: LastAccess) -> Restored:
        self._file.write([self._seen()])  # first: a file that takes no writes need not be read
        restored = self._restored(last_access)
        self._file.write(restored.useless)
        return restored

    def _restored(self, last_access: LastAccess) -> Restored:
        return restore(self._file, self._empty_set(), last_access, self._generation * GENERATION)

    def _seen(self) -> Statement:
        """Note what time it is, and what the calendar says: time goes on from there in the next process."""
        now, calendar = self.now(), self._clock.time()
        self._ahead = calendar - now
        return schema.PUT_TIME, (now, calendar)

    def _at_most_now(self, record: Record, forgiven: float) -> float:
        return max(record.last_access_at, min(record.last_access_at + forgiven, self.now()))

    def _empty_set(self) -> WorkingSet:
        return WorkingSet(
            self.now,
            self._journal,
            self._locks,
            tombstone=self._tombstone,
            warn_before=self._warn_before,
            given=self._claimed,
        )

    def _start(self, found: Restored) -> None:
        """Work on what was found from now on."""
        self._set = found.set
        for owed in found.owed:
            if owed.event.id not in self._claimed:
                self._set.unclaim(owed)
        self._away = None

    async def close(self) -> None:
        """Write down what was not yet, and let go of the file."""
        await self._stop_recovery()
        if self._away is None:
            await self._write_last_accesses()
        await self._drained()
        await self._stop_recovery()  # of what failed just now
        self._away = "the store is closed"
        self._locks.give_up(self._away)
        await self._let_go()

    async def _stop_recovery(self) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait({self._recovery})
            self._recovery = None

    async def _write_last_accesses(self) -> None:
        late = [life for life in self._set.lives() if life.last_access_at > life.logged_access_at]
        touches: list[Statement] = [(schema.TOUCH_SESSION, (life.last_access_at, life.ref)) for life in late]
        for life in late:
            life.logged_access_at = life.last_access_at
        self._journal.put("closing", *touches, (schema.PUT_META, ("closed", 1)))
        try:
            await self._on_disk("closing")
        except StoreUnavailable as error:
            _log.warning("the last accesses of sessions could not be written: %s", error)

    async def _drained(self) -> None:
        """Wait for the last batch, as long as anybody waits for the disk; then it is given up, as in a kill."""
        try:
            async with asyncio.timeout(self._timeout or None):
                await self._journal.drain()
        except TimeoutError:
            _log.error("%s; what is not on it is given up", LATE)
            await self._journal.give_up(StoreUnavailable(reason=LATE))

    async def _let_go(self) -> None:
        if self._thread is None:
            return
        closed = self._thread.submit(self._file.close)
        self._thread.stop()
        self._thread = None
        try:
            async with asyncio.timeout(self._timeout or None):
                await asyncio.shield(asyncio.wrap_future(closed))
        except TimeoutError:
            # The thread closes that one when the disk lets it.
            self._file = SqliteFile(self._file.path)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._thread is None:
            raise StoreUnavailable(reason="the store is not open")
        return await self._thread.run(function, *arguments)

    async def secret(self) -> bytes:
        self._working_set()
        if self._secret is None:
            self._secret = secrets.token_bytes(32)
            self._journal.put("secret", (schema.PUT_META, ("secret", self._secret)))
        made = self._secret
        await self._on_disk("secret")
        return made

    # --- to disk ------------------------------------------------------------------------------------

    def _working_set(self) -> WorkingSet:
        if self._away is not None:
            raise StoreUnavailable(reason=self._away)
        seconds_left(self._timeout)  # before anything is done
        return self._set

    async def _write(self, statements: list[Statement]) -> None:
        began = time.perf_counter()
        try:
            await self._in_thread(self._file.write, [*statements, self._seen()])
        finally:
            if self.on_latency is not None:
                self.on_latency(time.perf_counter() - began)

    def _on_written(self, batch: Batch) -> None:
        self._claimed.difference_update(batch.settled)
        for ref, reason in batch.ended:
            self._locks.end(ref, reason)
        if self._away == LATE and self._journal.batch_of() is None:
            self._away = None
            self._set.forgive(self.now() - self._late_since)
            _log.warning("the disk answers again, after %.1f s", self.now() - self._late_since)

    async def _on_disk(self, *marks: Hashable, owed: Iterable[Owed] = ()) -> None:
        """Return when all that was done so far, and concerns one of these, is on disk; raise where it never will be.

        `owed` is what the caller is about to be given. If it is not, others are.
        """
        batch = self._journal.batch_of(*marks)
        if batch is not None:
            try:
                async with asyncio.timeout(self._timeout or None):
                    error = await patiently(asyncio.shield(batch.done), self._timeout)
            except BaseException as interruption:
                self._disown(batch, owed)
                if isinstance(interruption, TimeoutError):
                    self._be_late(batch)
                    raise StoreUnavailable(reason=LATE) from None
                raise
            if error is not None:
                raise StoreUnavailable(reason=error.reason)
        self._claimed.update(one.event.id for one in owed if self._set.owes(one.event))

    def _be_late(self, batch: Batch) -> None:
        if self._away is None and not batch.done.done():
            self._away = LATE
            self._late_since = self.now() - self._timeout
            _log.error("%s; sessions are not available until it answers", LATE)

    def _disown(self, batch: Batch, owed: Iterable[Owed]) -> None:
        """Have `take_due` hand out what its caller will not hear of, once it is on disk."""
        generation = self._generation

        def written(done: asyncio.Future[StoreUnavailable | None]) -> None:
            if done.result() is None and self._generation == generation:
                for one in owed:
                    self._set.unclaim(one)

        batch.done.add_done_callback(written)

    # --- when the disk fails ------------------------------------------------------------------------

    def _on_failure(self, batches: list[Batch], error: StoreUnavailable) -> None:
        _log.error("sessions cannot be written, and are not available until they can: %s", error)
        self._away = error.reason
        self._locks.give_up(error.reason)
        self._generation += 1
        for batch in batches:
            for mark in batch.touched:
                if isinstance(mark, str):
                    self._set.answers.forget(mark)
                if mark == "secret":
                    self._secret = None
        self._recovery = asyncio.create_task(self._recover(self._set, self.now()))

    async def _recover(self, before: WorkingSet, since: float) -> None:
        """Make the working set anew from the file, as soon as that takes writes."""

        def last_access(record: Record) -> float:
            known = before.live(record.ref)
            if known is not None:
                record.last_access_at = max(record.last_access_at, known.last_access_at)
            unwritten = touch_interval(record) if known is None else 0.0
            return self._at_most_now(record, unwritten + self.now() - since)

        while True:
            try:
                found = await self._in_thread(self._read_again, last_access)
            except Exception as error:
                if not isinstance(error, StoreUnavailable):
                    _log.exception("sessions cannot be read")
                await asyncio.sleep(RETRY_INTERVAL)
                continue
            found.set.answers = before.answers
            self._locks.keep(found.set.live)
            found.set.tombstone, found.set.warn_before = self._tombstone, self._warn_before
            self._start(found)
            self._recovery = None
            _log.warning("sessions can be written again, after %.1f s", self.now() - since)
            return

    # --- a life begins --------------------------------------------------------------------------------

    async def create(self, record: Record, limits: Limits, *, replace: bool = False) -> Creation:
        outcome = await self._step(record.ref, lambda working: working.create(record, limits, replace=replace))
        if isinstance(outcome, Full):
            await self._on_disk()
            return outcome
        if isinstance(outcome, Exists):
            found = Exists(outcome.record.copy())
            await self._on_disk(record.key, found.record.ref)
            return found
        created = Created(outcome.record.copy(), outcome.event, _copies(outcome.ended))
        await self._on_disk(record.ref, owed=[Owed(outcome.record, outcome.event), *_owed(outcome.ended)])
        return created

    # --- a life goes on -------------------------------------------------------------------------------

    async def load(self, key: bytes, *, touch: bool) -> Record | Tombstone | None:
        found = self._working_set().load(key, touch=touch)
        if found is None:
            await self._on_disk(key)
            return None
        copy = found.copy() if isinstance(found, Record) else found
        await self._on_disk(key, found.ref)
        return copy

    async def load_ref(self, ref: str, *, touch: bool) -> Record | None:
        found = self._working_set().load_ref(ref, touch=touch)
        copy = None if found is None else found.copy()
        await self._on_disk(ref)
        return copy

    async def load_many(self, keys: Sequence[bytes]) -> list[Record | Tombstone | None]:
        return [await self.load(key, touch=False) for key in keys]

    async def apply(self, ref: str, changes: Changes, max_data: int) -> Record:
        applied = await self._step(ref, lambda working: working.apply(ref, changes, max_data))
        copy = applied.copy()
        await self._on_disk(ref)
        return copy

    async def increment(
        self,
        ref: str,
        key: str,
        by: int | float,
        max_data: int,
        *,
        session_key: bytes | None = None,
        lock: str | None = None,
        token: str = "",
    ) -> int | float:
        total = await self._step(
            ref,
            lambda working: working.increment(ref, key, by, max_data, session_key=session_key, lock=lock, token=token),
        )
        await self._on_disk(ref)
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
        token: str = "",
    ) -> Renewed | Full:
        outcome = await self._step(
            ref,
            lambda working: working.renew(
                ref, key, limits, user=user, roles=roles, version=version, holder=holder, token=token
            ),
        )
        if isinstance(outcome, Full):
            await self._on_disk()
            return outcome
        renewed = Renewed(outcome.record.copy(), _copies(outcome.ended))
        await self._on_disk(ref, owed=_owed(outcome.ended))
        return renewed

    async def _step(self, ref: str, step: Callable[[WorkingSet], T]) -> T:
        """Do something to a life. That it has ended is not said before that is on disk."""
        working = self._working_set()
        try:
            return step(working)
        except SessionEnded:
            await self._on_disk(ref)
            raise

    # --- a life ends, and what time brings --------------------------------------------------------------

    async def end(self, ref: str, reason: Reason, *, token: str = "") -> Ended | None:
        ended = self._working_set().end(ref, reason, token=token)
        if ended is None:
            await self._on_disk(ref)
            return None
        [copy] = _copies([ended])
        await self._on_disk(ref, owed=_owed([ended]))
        return copy

    async def take_due(self, maximum: int) -> Due:
        working = self._working_set()
        if abs(self._clock.time() - self.now() - self._ahead) > JUMP:
            self._journal.put("time")  # each batch says what the calendar says
        due = working.take_due(maximum)
        owed = [*due.owed, *_owed(due.ended), *(Owed(record, event) for record, event in due.scheduled)]
        copies = Due(
            [record.copy() for record in due.expiring],
            _copies(due.ended),
            [(record.copy(), event) for record, event in due.scheduled],
            [Owed(one.record.copy(), one.event) for one in due.owed],
            due.more,
        )
        if owed:
            try:
                await self._on_disk(*(one.event.ref for one in owed), owed=owed)
            except BaseException:
                working.warn_again(due.expiring)
                raise
        return copies

    async def settle(self, event: Event) -> bool:
        is_struck = self._working_set().settle(event)
        await self._on_disk(event.ref)
        return is_struck

    async def owed(self) -> int:
        count = self._working_set().owed()
        await self._on_disk()
        return count

    async def renew_lease(self) -> bool:
        return True

    # --- looking around ---------------------------------------------------------------------------------

    async def count(self, user: str | None = None, bucket: str | None = None) -> int:
        count = self._working_set().count(user, bucket)
        await self._on_disk()
        return count

    async def scan(
        self, cursor: str = "", *, user: str | None = None, bucket: str | None = None, maximum: int = 100
    ) -> tuple[list[Record], str]:
        found, cursor = self._working_set().scan(cursor, user=user, bucket=bucket, maximum=maximum)
        copies = [record.copy() for record in found]
        await self._on_disk()
        return copies, cursor

    # --- locks ------------------------------------------------------------------------------------------

    async def acquire(self, ref: str, holder: str, timeout: float) -> bool:
        await self._step(ref, lambda working: working.require(ref))
        return await self._locks.acquire(ref, holder, timeout)

    async def release(self, ref: str, holder: str) -> None:
        self._locks.release(ref, holder)


def _copies(ended: list[Ended]) -> list[Ended]:
    return [Ended(one.record.copy(), one.event, one.elsewhere) for one in ended]


def _owed(ended: list[Ended]) -> list[Owed]:
    return [Owed(one.record, one.event) for one in ended]
