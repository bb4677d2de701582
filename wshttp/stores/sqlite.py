"""The SQLite store: the working set of the memory store, with a file as its log.

Every change is made in the working set at once, and its rows go into a batch. The batch is written by one thread, in one
transaction, synced; meanwhile the next one collects. A method returns when the batch with what it did, or with what it
saw, is on disk: what anybody has been told, no crash takes back.

When a batch cannot be written (a full disk, a broken one), it and what came after it are as if they had never been: all
who wait get `StoreUnavailable`, and the working set is made anew from the file as soon as that takes writes again.
Until then the store is not `available`. Idle clocks stand still meanwhile.

One process has the file: what another wrote would not be in its working set.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any, Final, TypeVar

from wshttp.errors import SessionEnded, StoreUnavailable, StoreUnusable
from wshttp.sessions.changes import Changes
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.record import Ended, Event, Reason, Record, Tombstone
from wshttp.sessions.store import Created, Creation, Due, Exists, Full, Holder, Limits, Owed, Renewed
from wshttp.stores import sqlite_schema as schema
from wshttp.stores.locks import Locks
from wshttp.stores.sqlite_file import SqliteFile, Statement
from wshttp.stores.sqlite_journal import Batch, Journal, touch_interval
from wshttp.stores.sqlite_restored import Restored, restore
from wshttp.stores.working_set import RECORD_FIELDS, WorkingSet

RETRY_INTERVAL: Final = 0.5
"""Seconds between attempts to get back to a file that could not be written."""

GENERATION: Final = 2**40
"""More revisions than a session has between two times at which the working set is made anew."""

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
        self._timeout = timeout
        self._tombstone = tombstone
        self._warn_before = warn_before
        self._file = SqliteFile(path)
        self._thread: ThreadPoolExecutor | None = None
        self._locks = Locks()
        self._journal = Journal(self._write, self._on_written, self._on_failure)
        self._set = self._empty_set()
        self._secret: bytes | None = None
        self._claimed: set[str] = set()  # entries that a caller of ours has been given, and has not settled
        self._generation = 0
        self._away: str | None = "the store is not open"
        self.on_latency: Callable[[float], None] | None = None
        """See `sessions.store.Timed`: a write, which those wait for whose answer it is behind."""
        self._recovery: asyncio.Task[None] | None = None

    @property
    def available(self) -> bool:
        return self._away is None

    def now(self) -> float:
        """Return the time on a clock that goes on while no process runs, and never goes back.

        It begins at Unix time, or at the last time in the file if that is later, and then runs as the monotonic clock.
        """
        return self._clock.monotonic() + self._offset

    def use(self, *, tombstone: float, warn_before: float) -> None:
        """Take over settings; see the class."""
        self._tombstone = self._set.tombstone = tombstone
        self._warn_before = self._set.warn_before = warn_before

    # --- opening and closing ----------------------------------------------------------------------

    async def open(self) -> None:
        self._thread = ThreadPoolExecutor(1, "wshttp-sqlite")
        self._claimed.clear()
        try:
            await self._in_thread(self._file.open)
            self._start(await self._in_thread(self._read_at_start))
        except BaseException as error:
            await self._let_go()
            if isinstance(error, StoreUnavailable):
                raise StoreUnusable(f"store.path: {error}") from None
            raise

    def _read_at_start(self) -> Restored:
        meta = dict(self._file.rows(schema.ALL_META))
        self._offset = max(self._clock.time(), meta.get("seen_at", 0.0)) - self._clock.monotonic()
        self._secret = meta.get("secret")
        was_closed = bool(meta.get("closed"))

        def last_access(record: Record) -> float:
            # Touches that were not written yet are not to cost anybody the end of their session.
            return record.last_access_at if was_closed else self._at_most_now(record, touch_interval(record))

        return self._restored(last_access, [(schema.PUT_META, ("closed", 0))])

    def _restored(self, last_access: Callable[[Record], float], first: list[Statement]) -> Restored:
        """Read everything, after a write that shows that the file takes some. Blocks; raises `StoreUnavailable`."""
        self._file.write([*first, (schema.PUT_META, ("seen_at", self.now()))])
        found = restore(self._file, self._empty_set(), last_access, self._generation * GENERATION)
        self._file.write(found.useless)
        return found

    def _at_most_now(self, record: Record, forgiven: float) -> float:
        return max(record.last_access_at, min(record.last_access_at + forgiven, self.now()))

    def _empty_set(self) -> WorkingSet:
        return WorkingSet(
            self.now, self._journal, self._locks, tombstone=self._tombstone, warn_before=self._warn_before
        )

    def _start(self, found: Restored) -> None:
        """Work on what was found from now on."""
        self._set = found.set
        for owed in found.owed:
            if owed.event.id not in self._claimed:
                self._set.unclaim(owed.record, owed.event)
        self._away = None

    async def close(self) -> None:
        """Write down what was not yet, and let go of the file."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait({self._recovery})
            self._recovery = None
        if self._away is None:
            await self._write_last_accesses()
        self._away = "the store is closed"
        self._locks.give_up(self._away)
        await self._let_go()

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

    async def _let_go(self) -> None:
        if self._thread is not None:
            await self._journal.drain()
            await self._in_thread(self._file.close)
            self._thread.shutdown(wait=False)
            self._thread = None

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

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
        return self._set

    async def _write(self, statements: list[Statement]) -> None:
        began = time.perf_counter()
        try:
            await self._in_thread(self._file.write, [*statements, (schema.PUT_META, ("seen_at", self.now()))])
        finally:
            if self.on_latency is not None:
                self.on_latency(time.perf_counter() - began)

    def _on_written(self, batch: Batch) -> None:
        for ref, reason in batch.ended:
            self._locks.end(ref, reason)

    async def _on_disk(self, *marks: Hashable, owed: Iterable[Owed] = ()) -> None:
        """Return when all that was done so far, and concerns one of these, is on disk; raise where it never will be.

        `owed` is what the caller is about to be given. If it is not, others are.
        """
        batch = self._journal.batch_of(*marks)
        if batch is not None:
            try:
                async with asyncio.timeout(self._timeout or None):
                    error = await asyncio.shield(batch.done)
            except BaseException as interruption:
                self._disown(batch, owed)
                if isinstance(interruption, TimeoutError):
                    raise StoreUnavailable(reason="the disk takes longer than store.timeout") from None
                raise
            if error is not None:
                raise StoreUnavailable(reason=error.reason)
        self._claimed.update(one.event.id for one in owed)

    def _disown(self, batch: Batch, owed: Iterable[Owed]) -> None:
        """Have `take_due` hand out what its caller will not hear of, once it is on disk."""
        generation = self._generation

        def written(done: asyncio.Future[StoreUnavailable | None]) -> None:
            if done.result() is None and self._generation == generation:
                for one in owed:
                    self._set.unclaim(one.record, one.event)

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
                found = await self._in_thread(self._restored, last_access, [])
            except Exception as error:
                if not isinstance(error, StoreUnavailable):
                    _log.exception("sessions cannot be read")
                await asyncio.sleep(RETRY_INTERVAL)
                continue
            found.set.answers = before.answers
            found.set.tombstone, found.set.warn_before = self._tombstone, self._warn_before
            self._start(found)
            self._recovery = None
            _log.warning("sessions can be written again, after %.1f s", self.now() - since)
            return

    # --- a life begins --------------------------------------------------------------------------------

    async def create(self, record: Record, limits: Limits, *, replace: bool = False) -> Creation:
        outcome = self._working_set().create(record, limits, replace=replace)
        if isinstance(outcome, Full):
            return outcome
        if isinstance(outcome, Exists):
            found = Exists(_copy(outcome.record))
            await self._on_disk(record.key, found.record.ref)
            return found
        created = Created(_copy(outcome.record), outcome.event, _copies(outcome.ended))
        owed = [Owed(outcome.record, outcome.event), *(Owed(one.record, one.event) for one in outcome.ended)]
        await self._on_disk(record.ref, owed=owed)
        return created

    # --- a life goes on -------------------------------------------------------------------------------

    async def load(self, key: bytes, *, touch: bool) -> Record | Tombstone | None:
        found = self._working_set().load(key, touch=touch)
        if found is None:
            await self._on_disk(key)
            return None
        copy = _copy(found) if isinstance(found, Record) else found
        await self._on_disk(key, found.ref)
        return copy

    async def load_ref(self, ref: str, *, touch: bool) -> Record | None:
        found = self._working_set().load_ref(ref, touch=touch)
        copy = None if found is None else _copy(found)
        await self._on_disk(ref)
        return copy

    async def load_many(self, keys: Sequence[bytes]) -> list[Record | Tombstone | None]:
        return [await self.load(key, touch=False) for key in keys]

    async def apply(self, ref: str, changes: Changes, max_data: int) -> Record:
        applied = await self._step(ref, lambda working: working.apply(ref, changes, max_data), changes.token)
        copy = _copy(applied)
        await self._on_disk(ref)
        return copy

    async def increment(
        self,
        ref: str,
        key: str,
        by: float,
        max_data: int,
        *,
        session_key: bytes | None = None,
        token: str = "",
    ) -> float:
        total = await self._step(
            ref,
            lambda working: working.increment(ref, key, by, max_data, session_key=session_key, token=token),
            token,
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
            token,
        )
        if isinstance(outcome, Full):
            return outcome
        renewed = Renewed(_copy(outcome.record), _copies(outcome.ended))
        await self._on_disk(ref, owed=[Owed(one.record, one.event) for one in outcome.ended])
        return renewed

    async def _step(self, ref: str, step: Callable[[WorkingSet], T], token: str = "") -> T:
        """Do something to a life. That it has ended is not said before that is on disk."""
        working = self._working_set()
        try:
            answer = step(working)
        except SessionEnded:
            await self._on_disk(ref)
            raise
        self._journal.mark(token)
        return answer

    # --- a life ends, and what time brings --------------------------------------------------------------

    async def end(self, ref: str, reason: Reason, *, token: str = "") -> Ended | None:
        ended = self._working_set().end(ref, reason, token=token)
        if ended is None:
            await self._on_disk(ref)
            return None
        self._journal.mark(token)
        await self._on_disk(ref, owed=[Owed(ended.record, ended.event)])
        return Ended(_copy(ended.record), ended.event)

    async def take_due(self, maximum: int) -> Due:
        due = self._working_set().take_due(maximum)
        owed = [
            *due.owed,
            *(Owed(one.record, one.event) for one in due.ended),
            *(Owed(record, event) for record, event in due.scheduled),
        ]
        copies = Due(
            [_copy(record) for record in due.expiring],
            _copies(due.ended),
            [(_copy(record), event) for record, event in due.scheduled],
            [Owed(_copy(one.record), one.event) for one in due.owed],
            due.more,
        )
        if owed:
            await self._on_disk(*(one.event.ref for one in owed), owed=owed)
        return copies

    async def settle(self, event: Event) -> None:
        self._working_set().settle(event)
        await self._on_disk(event.ref)
        self._claimed.discard(event.id)

    async def owed(self) -> int:
        return self._working_set().owed()

    async def renew_lease(self) -> bool:
        return True

    # --- looking around ---------------------------------------------------------------------------------

    async def count(self, user: str | None = None, bucket: str | None = None) -> int:
        return self._working_set().count(user, bucket)

    async def scan(
        self, cursor: str = "", *, user: str | None = None, bucket: str | None = None, maximum: int = 100
    ) -> tuple[list[Record], str]:
        found, cursor = self._working_set().scan(cursor, user=user, bucket=bucket, maximum=maximum)
        copies = [_copy(record) for record in found]
        await self._on_disk()
        return copies, cursor

    # --- locks ------------------------------------------------------------------------------------------

    async def acquire(self, ref: str, holder: str, timeout: float) -> bool:
        await self._step(ref, lambda working: working.require(ref))
        return await self._locks.acquire(ref, holder, timeout)

    async def release(self, ref: str, holder: str) -> None:
        self._locks.release(ref, holder)


_values = attrgetter(*RECORD_FIELDS)


def _copy(record: Record) -> Record:
    """Return a session as it is now. Values in its data are never changed in place, and are shared."""
    copy = Record(*_values(record))
    copy.data = dict(record.data)
    return copy


def _copies(ended: list[Ended]) -> list[Ended]:
    return [Ended(_copy(one.record), one.event) for one in ended]
