"""How a session is stored, and read again: facts as JSON, numbers as doubles, each value of its data under a field of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from wshttp.sessions.changes import ABSENT
from wshttp.sessions.data import Json
from wshttp.sessions.record import Ended, Event, Reason, Record

_NUMBERS: Final = Struct("<7d")
"""As in `session.lua`."""

_DATA: Final = b"d:"

_NO_ACCOUNT: Final = b'[[],""]'


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
    """Read a session; `forgiven` is that of the reply it came with."""
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
    constants, (roles, version), start, *values = json.loads("[" + b",".join(rest).decode() + "]")
    idle, absolute, restarted, access, warned, size, revision = _NUMBERS.unpack(facts[b"n"])
    ref, identity, remote_ip, created_at, user_agent = constants
    user, reason = facts.get(b"u"), facts.get(b"y")
    return Record(
        ref,
        facts[b"k"],
        identity,
        remote_ip,
        decode(facts[b"b"]),
        created_at,
        access + forgiven,
        idle,
        absolute,
        restarted,
        None if user is None else decode(user),
        tuple(roles),
        version,
        user_agent,
        start,
        dict(zip(keys, values, strict=True)),
        int(size),
        b"o" in facts,
        int(revision),
        warned > 0,
        None if reason is None else Reason(reason.decode()),
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
    name, data = json.loads(payload) if payload else ("", None)
    return record, Event(event_id.decode(), kind.decode(), record.ref, int(attempt), name=name, data=data)


def copy_of(record: Record) -> Record:
    """Return a session that its holder may change. Values in its data are never changed in place, and are shared."""
    return Record(
        **{name: getattr(record, name) for name in Record.__slots__ if name != "data"}, data=dict(record.data)
    )
