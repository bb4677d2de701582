"""All that a store of one's own is made of.

`Store` is the port: what it promises is said in `wshttp.sessions.store`, and tried by `wshttp.testing.StoreContract`.
"""

from __future__ import annotations

from wshttp.sessions.changes import ABSENT, Changes, Conflict, Scheduled, merge, sum_for_increment
from wshttp.sessions.ids import new_event_id
from wshttp.sessions.record import RENEWED, Ended, Event, Reason, Record, Tombstone
from wshttp.sessions.store import Created, Creation, Due, Exists, Full, Holder, Limits, Owed, Renewed, Store

__all__ = [
    "ABSENT",
    "RENEWED",
    "Changes",
    "Conflict",
    "Created",
    "Creation",
    "Due",
    "Ended",
    "Event",
    "Exists",
    "Full",
    "Holder",
    "Limits",
    "Owed",
    "Reason",
    "Record",
    "Renewed",
    "Scheduled",
    "Store",
    "Tombstone",
    "merge",
    "new_event_id",
    "sum_for_increment",
]
