"""What one unit of work changes in one session, and how that is merged: per key."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from wshttp.errors import DataTooLarge, InvalidValue, SessionEnded
from wshttp.sessions.data import Json, checked, encoded_size
from wshttp.sessions.record import RENEWED, Record


class _Absent:
    """There is no such key."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()

MAX_SCHEDULED: Final = 1000
"""Calls that one session may have to come: more is an application that has lost count."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A call that is due `delay` seconds after the commit, unless the session ends first."""

    event_id: str
    delay: float
    name: str
    data: Json


@dataclass(slots=True)
class Changes:
    """What to write. Keys that are not named stay as they are, whoever wrote them."""

    values: dict[str, Json] = field(default_factory=dict)
    """New values by key; `ABSENT` deletes."""
    expected: dict[str, Json] = field(default_factory=dict)
    """What must still be there (`ABSENT`: nothing), or nothing is changed and `Conflict` is raised."""
    scheduled: list[Scheduled] = field(default_factory=list)
    idle_timeout: float | None = None
    """A new idle time-out, in seconds; `None` leaves it."""
    absolute_timeout: float | None = None
    key: bytes | None = None
    """Under which the session must still be found, or nothing is changed and `SessionEnded` is raised; `None`: any."""
    lock: str | None = None
    """Who must hold the session's lock, or nothing is changed and `LockLost` is raised; `None`: nobody need."""
    token: str = ""
    """What the caller calls this change, where it may have to ask for it again; see `Store`."""
    sent_at: float | None = None
    """Since when it may have been made, by the store's clock, which notes it where it gave no answer; `None`: it was not."""


def same(one: Changes, other: Changes) -> bool:
    """Tell whether two changes write the same."""
    return (
        one.values.keys() == other.values.keys()
        and not any(_differs(value, other.values[key]) for key, value in one.values.items())
        and one.scheduled == other.scheduled
        and (one.idle_timeout, one.absolute_timeout) == (other.idle_timeout, other.absolute_timeout)
    )


def difference(record: Record, before: Record) -> Changes | None:
    """Return what makes one copy of a session into another, newer one; `None` where nothing has to."""
    changes = Changes(
        {
            key: record.data.get(key, ABSENT)
            for key in record.data.keys() | before.data.keys()
            if _differs(record.data.get(key, ABSENT), before.data.get(key, ABSENT))
        },
        idle_timeout=record.idle_timeout if record.idle_timeout != before.idle_timeout else None,
        absolute_timeout=record.absolute_timeout if record.absolute_timeout != before.absolute_timeout else None,
    )
    return None if same(changes, Changes()) else changes


class Conflict(Exception):
    """Another writer was first: an expected value is no longer there."""


def merge(record: Record, changes: Changes, max_data: int) -> None:
    """Write the values into the record, all or none of them.

    Raises `Conflict` when an expected value has gone, `DataTooLarge` above `max_data` bytes (0: no limit), and
    `SessionEnded` (`renewed`) where the session has another key by now.
    """
    if changes.key is not None and changes.key != record.key:
        raise SessionEnded(record.ref, RENEWED)
    for key, value in changes.expected.items():
        if _differs(record.data.get(key, ABSENT), value):
            raise Conflict
    size = record.size
    for key, value in changes.values.items():
        if key in record.data:
            size -= encoded_size(key, record.data[key])
        if value is not ABSENT:
            size += encoded_size(key, value)
    if max_data and size > max(max_data, record.size):
        raise DataTooLarge(size, max_data)
    for key, value in changes.values.items():
        if value is ABSENT:
            record.data.pop(key, None)
        else:
            record.data[key] = value
    record.size = size
    if changes.idle_timeout is not None:
        record.idle_timeout = changes.idle_timeout
    if changes.absolute_timeout is not None:
        record.absolute_timeout = changes.absolute_timeout


def check_scheduled(scheduled: Collection[Scheduled], present: Collection[str]) -> None:
    """Raise `InvalidValue` where these, and those with the ids that are `present`, are more calls than a session may have."""
    if scheduled and len({call.event_id for call in scheduled}.union(present)) > MAX_SCHEDULED:
        raise InvalidValue(f"a session has up to {MAX_SCHEDULED} scheduled events that are still to come")


def _differs(found: Json, expected: Json) -> bool:
    """Compare as JSON does: 1, 1.0 and True are three values."""
    if found is ABSENT or expected is ABSENT:
        return found is not expected
    return encoded_text(found) != encoded_text(expected)


def encoded_text(value: Json) -> str:
    """Return the JSON text by which two values are compared."""
    return json.dumps(value, sort_keys=True)


def sum_for_increment(current: Json, by: float) -> float:
    """Return `current + by` (an absent key counts as 0), or raise `InvalidValue` where that is no number."""
    base = 0 if current is ABSENT else current
    for number in (base, by):
        if number.__class__ is int:
            continue
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InvalidValue(f"increment works on numbers, not {type(number).__name__}")
    total: float = checked(checked(base) + checked(by))
    return total
