"""The tables of the SQLite store, their versions, and how an older file is brought up to date.

Ids are there as SHA-256 only. What is text of others' choosing is inside JSON: it may be anything that a client can send.
Data is a row per key, so that a change costs what it changes: in sessions of 20 values of 100 bytes a change took 105 µs,
and 175 µs with a row per session (own measurement, batches of 50 on a virtual disk). The price is paid at the start of a
process: reading 2,000 of these sessions took 0.2 s instead of 0.04 s.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x77736874
"""`PRAGMA application_id`, which says whose file it is: `wsht`."""

_FIRST: Final = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    # A session stays here after its end, with `reason`, until its end callbacks have run: they are given its last data.
    "CREATE TABLE session (ref TEXT PRIMARY KEY, key BLOB NOT NULL, facts TEXT NOT NULL, last_access_at REAL NOT NULL,"
    " reason TEXT) WITHOUT ROWID",
    "CREATE TABLE data (ref TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (ref, key)) WITHOUT ROWID",
    "CREATE TABLE scheduled (ref TEXT, id TEXT, due_at REAL NOT NULL, call TEXT NOT NULL, PRIMARY KEY (ref, id))"
    " WITHOUT ROWID",
    "CREATE TABLE event (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, ref TEXT NOT NULL, attempt INTEGER NOT NULL,"
    " body TEXT NOT NULL)",
    "CREATE TABLE tombstone (key BLOB PRIMARY KEY, ref TEXT NOT NULL, reason TEXT NOT NULL, start TEXT,"
    " until REAL NOT NULL) WITHOUT ROWID",
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (_FIRST,)
"""What leads from each version to the next, from nothing on. `PRAGMA user_version` counts those that were made."""

VERSION: Final = len(MIGRATIONS)

PUT_META: Final = "INSERT OR REPLACE INTO meta VALUES (?, ?)"
PUT_TIME: Final = "INSERT OR REPLACE INTO meta VALUES ('seen_at', ?), ('wall_at', ?)"
PUT_SESSION: Final = "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, NULL)"
TOUCH_SESSION: Final = "UPDATE session SET last_access_at = ? WHERE ref = ?"
END_SESSION: Final = "UPDATE session SET reason = ?, last_access_at = ? WHERE ref = ?"
DELETE_SESSION: Final = "DELETE FROM session WHERE ref = ?"
PUT_DATA: Final = "INSERT OR REPLACE INTO data VALUES (?, ?, ?)"
DELETE_DATUM: Final = "DELETE FROM data WHERE ref = ? AND key = ?"
DELETE_DATA: Final = "DELETE FROM data WHERE ref = ?"
PUT_CALL: Final = "INSERT OR REPLACE INTO scheduled VALUES (?, ?, ?, ?)"
DELETE_CALL: Final = "DELETE FROM scheduled WHERE ref = ? AND id = ?"
DELETE_CALLS: Final = "DELETE FROM scheduled WHERE ref = ?"
PUT_EVENT: Final = (
    "INSERT INTO event (id, ref, attempt, body) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET attempt = excluded.attempt"
)
DELETE_EVENT: Final = "DELETE FROM event WHERE id = ?"
PUT_TOMBSTONE: Final = "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?, ?)"
DELETE_TOMBSTONE: Final = "DELETE FROM tombstone WHERE key = ?"
DELETE_OLD_TOMBSTONES: Final = "DELETE FROM tombstone WHERE until <= ?"

ALL_META: Final = "SELECT name, value FROM meta"
ALL_SESSIONS: Final = "SELECT ref, key, facts, last_access_at, reason FROM session ORDER BY last_access_at"
ALL_DATA: Final = "SELECT ref, key, value FROM data ORDER BY ref"
ALL_CALLS: Final = "SELECT ref, id, due_at, call FROM scheduled ORDER BY due_at"
ALL_EVENTS: Final = "SELECT id, ref, attempt, body FROM event ORDER BY number"
ALL_TOMBSTONES: Final = "SELECT key, ref, reason, start, until FROM tombstone WHERE until > ? ORDER BY until"
