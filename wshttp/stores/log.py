"""What hears of every change of a working set: a file's journal, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from wshttp.sessions.changes import Scheduled
from wshttp.sessions.data import Json
from wshttp.sessions.record import Event, Tombstone

if TYPE_CHECKING:
    from wshttp.stores.working_set import Life


class Log(Protocol):
    """Hears of every change in the step in which it is made. What it is given will change: it takes what it needs."""

    def began(self, life: Life) -> None:
        """A life begins, with the data that it has."""

    def changed(self, life: Life) -> None:
        """Something other than data and last access is new: key, user, time-outs."""

    def wrote(self, life: Life, values: Mapping[str, Json]) -> None:
        """Data is new; `ABSENT` is deleted."""

    def touched(self, life: Life) -> None:
        """The last access is new."""

    def ended(self, life: Life) -> None:
        """A life is over; what was scheduled for it is gone."""

    def buried(self, key: bytes, tombstone: Tombstone, until: float) -> None:
        """A key has a tombstone now."""

    def exhumed(self, key: bytes) -> None:
        """A key has none any more."""

    def scheduled(self, life: Life, scheduled: Scheduled, due_at: float) -> None:
        """A call is to come."""

    def called(self, life: Life, event_id: str) -> None:
        """A call is no longer to come, since it is owed now."""

    def owes(self, event: Event) -> None:
        """An entry is in the ledger, or is there with another attempt."""

    def settled(self, event: Event) -> None:
        """An entry is struck."""

    def forgotten(self, ref: str) -> None:
        """A life is over, and nothing is owed for it any more: its last data is of no use."""

    def answered(self, token: str) -> None:
        """What was just changed is remembered under a token."""


class NoLog:
    """Keeps nothing."""

    def began(self, life: Life) -> None: ...
    def changed(self, life: Life) -> None: ...
    def wrote(self, life: Life, values: Mapping[str, Json]) -> None: ...
    def touched(self, life: Life) -> None: ...
    def ended(self, life: Life) -> None: ...
    def buried(self, key: bytes, tombstone: Tombstone, until: float) -> None: ...
    def exhumed(self, key: bytes) -> None: ...
    def scheduled(self, life: Life, scheduled: Scheduled, due_at: float) -> None: ...
    def called(self, life: Life, event_id: str) -> None: ...
    def owes(self, event: Event) -> None: ...
    def settled(self, event: Event) -> None: ...
    def forgotten(self, ref: str) -> None: ...
    def answered(self, token: str) -> None: ...
