"""The log of a working set, as rows: what changes in one turn, and while the disk is busy, is written as one batch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any, Final

from wshttp.errors import StoreUnavailable
from wshttp.sessions.changes import ABSENT, Scheduled
from wshttp.sessions.data import Json
from wshttp.sessions.record import Event, Reason, Record, Tombstone
from wshttp.stores import sqlite_schema as schema
from wshttp.stores.sqlite_file import Statement
from wshttp.stores.working_set import Life

TOUCH_INTERVAL: Final = 10.0
"""Seconds for which further touches of a session are not written, or a twentieth of its idle time-out if that is less."""

_FACTS: Final = (
    "identity", "remote_ip", "bucket", "created_at", "idle_timeout", "absolute_timeout", "restarted_at",
    "user", "roles", "version", "user_agent", "start",
)  # fmt: skip


def touch_interval(record: Record) -> float:
    """Return for how many seconds touches need not be written: how far the last access may be ahead of what is on disk."""
    return min(TOUCH_INTERVAL, record.idle_timeout / 20) if record.idle_timeout else TOUCH_INTERVAL


def text_of(value: Json) -> str:
    """Return JSON in which anything can be, lone surrogates too."""
    return json.dumps(value, separators=(",", ":"))


def facts_of(record: Record) -> str:
    """Return what seldom changes of a session, as text."""
    return text_of({name: getattr(record, name) for name in _FACTS})


@dataclass(eq=False, slots=True)
class Batch:
    """Changes that are written together."""

    done: asyncio.Future[StoreUnavailable | None]
    """How it went. Never an exception, since nobody may be waiting."""
    statements: list[Statement] = field(default_factory=list)
    touched: set[Hashable] = field(default_factory=set)
    """The keys, refs and tokens that it is about."""
    ended: list[tuple[str, Reason | None]] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    """The ids of entries that are struck."""


class Journal:
    """Collects changes in a batch, and has it written as soon as the one before is on disk."""

    def __init__(
        self,
        write: Callable[[list[Statement]], Awaitable[None]],
        on_written: Callable[[Batch], None],
        on_failure: Callable[[list[Batch], StoreUnavailable], None],
    ) -> None:
        self._write = write
        self._on_written = on_written
        self._on_failure = on_failure
        self._current: Batch | None = None
        self._writing: Batch | None = None
        self._writer: asyncio.Task[None] | None = None

    def batch_of(self, *marks: Hashable) -> Batch | None:
        """Return the last batch that is not on disk yet and is about any of these; without any, the last one at all.

        What is in no hurry is about nobody, and nobody waits for it.
        """
        for batch in (self._current, self._writing):
            if batch is not None and (batch.touched.intersection(marks) if marks else batch.touched):
                return batch
        return None

    def put(self, mark: Hashable, *statements: Statement) -> None:
        """Have statements written; `mark` is whom they are about."""
        batch = self._put(*statements)
        batch.touched.add(mark)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_all(), context=Context())

    def _put(self, *statements: Statement) -> Batch:
        if self._current is None:
            self._current = Batch(asyncio.get_running_loop().create_future())
        self._current.statements.extend(statements)
        return self._current

    async def _write_all(self) -> None:
        while self._current is not None and self._current.touched:
            self._writing, self._current = self._current, None
            try:
                await self._write(self._writing.statements)
            except StoreUnavailable as error:
                self._fail(error)
                break
            except Exception as error:  # a fault of ours: one batch is lost and reported, not the store
                self._fail(StoreUnavailable(reason=f"a batch could not be written: {error!r}"))
                break
            batch, self._writing = self._writing, None
            self._on_written(batch)
            batch.done.set_result(None)
        self._writer = None

    def _fail(self, error: StoreUnavailable) -> None:
        # What came after the batch that failed was made on top of it.
        failed = [batch for batch in (self._writing, self._current) if batch is not None]
        self._writing = self._current = None
        self._on_failure(failed, error)
        for batch in failed:
            batch.done.set_result(error)

    async def drain(self) -> None:
        """Wait until there is nothing to write."""
        while self._writer is not None:
            await asyncio.wait({self._writer})

    async def give_up(self, error: StoreUnavailable) -> None:
        """Wait for the disk no longer; what is under way is done, or not."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait({self._writer})
            self._writer = None
        for batch in (self._writing, self._current):
            if batch is not None:
                batch.done.set_result(error)
        self._writing = self._current = None

    # --- what the working set tells --------------------------------------------------------------------

    def began(self, life: Life) -> None:
        self.changed(life)
        if life.data:
            self.wrote(life, life.data)
        self._mark(life.key)

    def changed(self, life: Life) -> None:
        life.logged_access_at = life.last_access_at
        self.put(life.ref, (schema.PUT_SESSION, (life.ref, life.key, facts_of(life), life.last_access_at)))
        self._mark(life.key)

    def wrote(self, life: Life, values: Mapping[str, Json]) -> None:
        ref = life.ref
        self.put(
            ref,
            *(
                (schema.DELETE_DATUM, (ref, key)) if value is ABSENT else (schema.PUT_DATA, (ref, key, text_of(value)))
                for key, value in values.items()
            ),
        )

    def touched(self, life: Life) -> None:
        if life.last_access_at - life.logged_access_at >= touch_interval(life):
            life.logged_access_at = life.last_access_at
            self.put(life.ref, (schema.TOUCH_SESSION, (life.last_access_at, life.ref)))

    def ended(self, life: Life) -> None:
        self.put(
            life.ref,
            (schema.END_SESSION, (life.reason, life.last_access_at, life.ref)),
            (schema.DELETE_CALLS, (life.ref,)),
        )
        self._mark(life.key)
        if self._current is not None:
            self._current.ended.append((life.ref, life.reason))

    def buried(self, key: bytes, tombstone: Tombstone, until: float) -> None:
        start = None if tombstone.start is None else text_of(tombstone.start)
        row = (key, tombstone.ref, str(tombstone.reason), start, until)
        self.put(key, (schema.PUT_TOMBSTONE, row))

    def exhumed(self, key: bytes) -> None:
        # In no hurry: its time is over, or there is a new life under the key.
        self._put((schema.DELETE_TOMBSTONE, (key,)))

    def scheduled(self, life: Life, scheduled: Scheduled, due_at: float) -> None:
        call = text_of([scheduled.name, scheduled.data])
        self.put(life.ref, (schema.PUT_CALL, (life.ref, scheduled.event_id, due_at, call)))

    def called(self, life: Life, event_id: str) -> None:
        self.put(life.ref, (schema.DELETE_CALL, (life.ref, event_id)))

    def owes(self, event: Event) -> None:
        body = text_of([event.kind, event.reason, event.name, event.data])
        self.put(event.ref, (schema.PUT_EVENT, (event.id, event.ref, event.attempt, body)))

    def settled(self, event: Event) -> None:
        self.put(event.ref, (schema.DELETE_EVENT, (event.id,)))
        if self._current is not None:
            self._current.settled.append(event.id)

    def forgotten(self, ref: str) -> None:
        self.put(ref, (schema.DELETE_SESSION, (ref,)), (schema.DELETE_DATA, (ref,)))

    def answered(self, token: str) -> None:
        if self._current is not None and self._current.touched:
            self._current.touched.add(token)

    def _mark(self, mark: Hashable) -> None:
        if self._current is not None:
            self._current.touched.add(mark)


def event_of(id: str, ref: str, attempt: int, body: str) -> Event:
    """Return an entry of the ledger from its row."""
    kind, reason, name, data = json.loads(body)
    return Event(id, kind, ref, attempt, None if reason is None else Reason(reason), name, data)


def record_of(ref: str, key: bytes, facts: str, last_access_at: float, reason: str | None) -> Record:
    """Return a session, still without data, from its row."""
    values: dict[str, Any] = json.loads(facts)
    values["roles"] = tuple(values["roles"])
    ended = None if reason is None else Reason(reason)
    return Record(ref=ref, key=bytes(key), last_access_at=last_access_at, reason=ended, **values)
