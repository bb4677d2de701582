"""What one unit of work changes in one session, and how that is merged: per key."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from wshttp.errors import DataTooLarge, InvalidValue, SessionEnded
from wshttp.sessions.data import Json, checked, encoded_size, value_size
from wshttp.sessions.record import RENEWED, Record


class _Absent:
    """There is no such key."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()

MAX_SCHEDULED: Final = 1000
"""Calls that one session may have to come: more is an application that has lost count."""


@dataclass(frozen=True)
class Scheduled:
    """A call that is due `delay` seconds after the commit, unless the session ends first."""

    event_id: str
    delay: float
    name: str
    data: Json


class Changes:
    """What to write. Keys that are not named stay as they are, whoever wrote them."""

    __slots__ = (
        "absolute_timeout",
        "expected",
        "idle_timeout",
        "key",
        "lock",
        "scheduled",
        "sent_at",
        "token",
        "values",
    )

    def __init__(
        self,
        values: dict[str, Json] | None = None,
        expected: dict[str, Json] | None = None,
        scheduled: list[Scheduled] | None = None,
        idle_timeout: float | None = None,
        absolute_timeout: float | None = None,
        key: bytes | None = None,
        lock: str | None = None,
        token: str = "",
    ) -> None:
        self.values = {} if values is None else values
        """New values by key; `ABSENT` deletes."""
        self.expected = {} if expected is None else expected
        """What must still be there (`ABSENT`: nothing), or nothing is changed and `Conflict` is raised."""
        self.scheduled = [] if scheduled is None else scheduled
        self.idle_timeout = idle_timeout
        """A new idle time-out, in seconds; `None` leaves it."""
        self.absolute_timeout = absolute_timeout
        self.key = key
        """Under which the session must still be found, or nothing is changed and `SessionEnded` is raised; `None`: any."""
        self.lock = lock
        """Who must hold the session's lock, or nothing is changed and `LockLost` is raised; `None`: nobody need."""
        self.token = token
        """What the caller calls this change, where it may have to ask for it again; see `Store`."""
        self.sent_at: float | None = None
        """Since when it may have been made, by the store's clock, which notes it where it gave no answer; `None`: it was
        not."""


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
    if changes.expected:
        _require(record, changes.expected)
    size = record.size
    for key, value in changes.values.items():
        size += _growth(record, key, value)
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


def _require(record: Record, expected: dict[str, Json]) -> None:
    for key, value in expected.items():
        if _differs(record.data.get(key, ABSENT), value):
            raise Conflict


def check_size(record: Record, key: str, value: Json, max_data: int) -> None:
    """Raise `DataTooLarge` if this value makes a session larger than `max_data` bytes (0: no limit)."""
    if max_data:
        size = record.size + _growth(record, key, value)
        if size > max(max_data, record.size):  # one that a lowered limit made too large may shrink
            raise DataTooLarge(size, max_data)


def _growth(record: Record, key: str, value: Json) -> int:
    """Return how many bytes a session's data grows by, if this is written."""
    before = record.data.get(key, ABSENT)
    if before is ABSENT:
        return 0 if value is ABSENT else encoded_size(key, value)
    return -encoded_size(key, before) if value is ABSENT else value_size(value) - value_size(before)


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


def sum_for_increment(current: Json, by: Json) -> int | float:
    """Return `current + by` (an absent key counts as 0), or raise `InvalidValue` where that is no number."""
    base = 0 if current is ABSENT else current
    for number in (base, by):
        if number.__class__ is int:
            continue
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise InvalidValue(f"increment works on numbers, not {type(number).__name__}")
    total: int | float = checked(checked(base) + checked(by))
    return total
