"""How a session is stored, and read again: facts as JSON, numbers as doubles, each value of its data under a field of its own.

Nodes of two releases read each other's sessions. What a release adds to the lists in `f` and `r`, it adds at the end, and
goes without where an earlier one has written them; all else that it adds is a field of its own. What follows in a list,
and fields of other names, are of a newer release, and are left alone. What means something else needs another schema.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from wshttp.errors import StoreUnavailable
from wshttp.sessions.changes import ABSENT
from wshttp.sessions.data import Json
from wshttp.sessions.record import Ended, Event, Reason, Record

_NUMBERS: Final = Struct("<7d")
"""As in `session.lua`."""

_DATA: Final = b"d:"

_NO_ACCOUNT: Final = b'[[],""]'

_KINDS: Final = ("start", "end", "scheduled")


class Unreadable(StoreUnavailable):
    """A session is stored in a way that this release cannot read; a newer one may. `ref` is empty where it is not known."""

    def __init__(self, ref: str, error: Exception) -> None:
        self.ref = ref
        super().__init__(reason=f"session {ref or '?'} is stored in a way that cannot be read: {error!r}")


def encode(text: str) -> bytes:
    """Return text as it is stored, whatever it is."""
    return text.encode("utf-8", "surrogatepass")


def decode(raw: bytes) -> str:
    """Read text that was stored."""
    return raw.decode("utf-8", "surrogatepass")


def value_text(value: Json) -> bytes:
    """Return a value as it is stored: the form by which it is measured and compared. `ABSENT` is the empty text."""
    if value is ABSENT:
        return b""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def key_size(key: str) -> int:
    """Return the bytes that a key takes as JSON."""
    return len(json.dumps(key, ensure_ascii=False).encode())


def facts_text(value: Any) -> bytes:
    """Return what no step looks into; text that is no text is kept as well."""
    return json.dumps(value, separators=(",", ":")).encode()


def account_text(roles: tuple[str, ...], version: str) -> bytes:
    """Return what comes with a user."""
    return facts_text([roles, version])


def fields_of(record: Record) -> Iterator[str | bytes]:
    """Yield names and values of the fields that a new session has, besides those that `create.lua` makes."""
    yield "f"
    yield facts_text([record.ref, record.identity, record.remote_ip, record.created_at, record.user_agent])
    if record.roles or record.version:
        yield "r"
        yield account_text(record.roles, record.version)
    if record.start is not None:
        yield "t"
        yield facts_text(record.start)
    for key, value in record.data.items():
        yield _DATA + key.encode()
        yield value_text(value)


def read_record(fields: list[bytes], forgiven: float) -> Record:
    """Read a session; `forgiven` is that of the reply it came with. Raises `Unreadable`."""
    try:
        return _read_record(fields, forgiven)
    except _FAULTS as error:
        raise Unreadable(_ref_of(fields), error) from error


_FAULTS: Final = (ValueError, TypeError, LookupError, RecursionError, struct.error)
"""What comes of reading what was written otherwise, or was damaged. Of them is an end for a reason that is none yet."""


def _ref_of(fields: list[bytes]) -> str:
    """Return whose fields these are, as far as that can be told; for the log."""
    try:
        return str(json.loads(fields[fields.index(b"f") + 1])[0])
    except _FAULTS:
        return ""


def _read_record(fields: list[bytes], forgiven: float) -> Record:
    facts: dict[bytes, bytes] = {}
    keys, texts = [], []
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name[:2] == _DATA:
            keys.append(name[2:].decode())
            texts.append(value)
        else:
            facts[name] = value
    # All that is JSON is read at one go: a call for each would take most of the time.
    rest = (facts[b"f"], facts.get(b"r", _NO_ACCOUNT), facts.get(b"t", b"null"), *texts)
    constants, (roles, version, *_), start, *values = json.loads("[" + b",".join(rest).decode() + "]")
    idle, absolute, restarted, access, warned, size, revision = _NUMBERS.unpack(facts[b"n"])
    ref, identity, remote_ip, created_at, user_agent = constants[:5]
    user, reason = facts.get(b"u"), facts.get(b"y")
    return Record(
        ref=ref,
        key=facts[b"k"],
        identity=identity,
        remote_ip=remote_ip,
        bucket=decode(facts[b"b"]),
        created_at=created_at,
        last_access_at=access + forgiven,
        idle_timeout=idle,
        absolute_timeout=absolute,
        restarted_at=restarted,
        user=None if user is None else decode(user),
        roles=tuple(roles),
        version=version,
        user_agent=user_agent,
        start=start,
        data=dict(zip(keys, values, strict=True)),
        size=int(size),
        starting=b"o" in facts,
        revision=int(revision),
        warned=warned > 0,
        reason=None if reason is None else Reason(reason.decode()),
    )


def read_ended(shown: list[Any], forgiven: float) -> Ended:
    """Read an end as `shown_end` in `ending.lua` tells it."""
    _, attempt, elsewhere, fields = shown
    record = read_record(fields, forgiven)
    return Ended(record, end_event(record, attempt), elsewhere=bool(elsewhere))


def end_event(record: Record, attempt: int) -> Event:
    """Return the entry of a session's end."""
    return Event(f"{record.ref}-end", "end", record.ref, attempt, record.reason)


def read_entry(shown: list[Any], forgiven: float) -> tuple[Record, Event]:
    """Read an entry as `shown_entry` in `take_due.lua` tells it."""
    event_id, kind, attempt, payload, fields = shown
    record = read_record(fields, forgiven)
    if kind == b"end":
        return record, end_event(record, int(attempt))
    try:
        return record, _read_event(record.ref, event_id.decode(), kind.decode(), int(attempt), payload)
    except _FAULTS as error:
        raise Unreadable(record.ref, error) from error


def _read_event(ref: str, event_id: str, kind: str, attempt: int, payload: bytes | None) -> Event:
    if kind not in _KINDS:
        raise ValueError(f"an entry of an unknown kind, {kind!r}")
    name, data, *_ = json.loads(payload) if payload else ("", None)
    return Event(event_id, kind, ref, attempt, name=name, data=data)
