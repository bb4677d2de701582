"""A working set as the file has it: after a start, and after a batch that could not be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from wshttp.sessions.changes import Scheduled
from wshttp.sessions.data import encoded_size
from wshttp.sessions.record import Record, Tombstone
from wshttp.sessions.store import Owed
from wshttp.stores import sqlite_schema as schema
from wshttp.stores.sqlite_file import SqliteFile, Statement
from wshttp.stores.sqlite_journal import event_of, record_of
from wshttp.stores.working_set import WorkingSet

LastAccess = Callable[[Record], float]

MAX_TIME: Final = 2.0**40
"""Seconds; no calendar is so far ahead, in some ten thousand years."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What the file says of itself."""

    secret: bytes | None
    closed: bool
    """Whether the last process that had it has closed it."""
    seen_at: float | None
    """The store's time at its last batch."""
    wall_at: float | None
    """Unix time, as the machine had it, at its last batch."""


@dataclass(slots=True)
class Restored:
    """What was found."""

    set: WorkingSet
    owed: list[Owed] = field(default_factory=list)
    """The ledger, oldest first."""
    useless: list[Statement] = field(default_factory=list)
    """What deletes the rows that mean nothing any more."""


def meta(file: SqliteFile) -> Meta:
    """Read what the file says of itself. Raises as `restore` does."""
    found = dict(file.rows(schema.ALL_META))
    try:
        times = _time(found.get("seen_at")), _time(found.get("wall_at"))
        return Meta(_secret(found.get("secret")), bool(found.get("closed")), *times)
    except (ValueError, TypeError) as error:
        raise file.broken(error) from error


def _secret(value: Any) -> bytes | None:
    if value is not None and not (isinstance(value, bytes) and value):
        raise ValueError("its secret is none")
    return value


def _time(value: Any) -> float | None:
    if value is not None and not 0 <= value < MAX_TIME:
        raise ValueError(f"{value!r} is no time")
    return None if value is None else float(value)


def restore(file: SqliteFile, empty: WorkingSet, last_access: LastAccess, revision: int) -> Restored:
    """Fill a working set from the file. `last_access` says from when on a session's idle time counts; blocks.

    Raises `StoreUnavailable`, and `StoreUnusable` where rows are not what we write.
    """
    try:
        return _restored(file, empty, last_access, revision)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise file.broken(error) from error


def _restored(file: SqliteFile, empty: WorkingSet, last_access: LastAccess, revision: int) -> Restored:
    found = Restored(empty)
    records = {row[0]: record_of(*row) for row in file.rows(schema.ALL_SESSIONS)}
    for ref, key, text in file.rows(schema.ALL_DATA):
        record = records.get(ref)
        if record is not None:
            value = record.data[key] = json.loads(text)
            record.size += encoded_size(key, value)
    _restore_lives(found, records, last_access, revision)
    for ref, event_id, due_at, call in file.rows(schema.ALL_CALLS):
        name, data = json.loads(call)
        empty.restore_call(ref, Scheduled(event_id, 0.0, name, data), due_at)
    for key, ref, reason, start, until in file.rows(schema.ALL_TOMBSTONES, empty.now()):
        tombstone = Tombstone(ref, reason, None if start is None else json.loads(start))
        empty.restore_grave(bytes(key), tombstone, until)
    _restore_ledger(found, file, records)
    found.useless.append((schema.DELETE_OLD_TOMBSTONES, (empty.now(),)))
    return found


def _restore_lives(found: Restored, records: dict[str, Record], last_access: LastAccess, revision: int) -> None:
    logged = {record.ref: record.last_access_at for record in records.values()}
    for record in records.values():
        record.revision = revision
        if record.reason is None:
            record.last_access_at = last_access(record)
    for record in sorted(records.values(), key=lambda record: record.last_access_at):
        if record.reason is None:
            found.set.restore_life(record, logged[record.ref])


def _restore_ledger(found: Restored, file: SqliteFile, records: dict[str, Record]) -> None:
    for row in file.rows(schema.ALL_EVENTS):
        event = event_of(*row)
        record = found.set.live(event.ref) or records.get(event.ref)
        if record is None or (event.kind == "scheduled" and record.reason is not None):
            found.useless.append((schema.DELETE_EVENT, (event.id,)))
            continue
        found.set.restore_owed(event)
        found.owed.append(Owed(record, event))
    needed = {owed.event.ref for owed in found.owed}
    for record in records.values():
        if record.reason is not None and record.ref not in needed:
            found.useless += [(schema.DELETE_SESSION, (record.ref,)), (schema.DELETE_DATA, (record.ref,))]
