"""A session that is about to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Final

from wshttp.addresses import bucket
from wshttp.config import SessionSettings
from wshttp.errors import InvalidValue, UsageError, nearest
from wshttp.sessions.changes import Changes, merge
from wshttp.sessions.data import Json, checked, checked_seconds
from wshttp.sessions.ids import SessionId, new_ref
from wshttp.sessions.record import Record


@dataclass(slots=True)
class Draft:
    """A session about to be created; `on_session_creating` may change it."""

    remote_ip: str
    identity: str
    user: str | None = None
    roles: tuple[str, ...] = ()
    version: str = ""
    user_agent: str | None = None
    idle_timeout: float = 0.0
    """Seconds; 0 is none."""
    absolute_timeout: float = 0.0
    start: dict[str, Json] = field(default_factory=dict)
    """Start parameters, for a successor to be started alike."""
    data: dict[str, Json] = field(default_factory=dict)


_OPTIONS: Final = {field.name for field in fields(Draft)} - {"remote_ip", "identity", "user"}
"""What `SessionList.create` takes besides its own parameters."""


def drafted(
    settings: SessionSettings,
    session_id: SessionId,
    remote_ip: str,
    user: str | None,
    identity: str | None,
    options: dict[str, Any],
) -> Draft:
    """Return a draft with these options, and else as the settings say. Raises `UsageError` for one that does not exist."""
    timeouts = {"idle_timeout": settings.idle_timeout, "absolute_timeout": settings.absolute_timeout}
    for name in options.keys() - _OPTIONS:
        raise UsageError(f"a session has no option {name!r}{nearest(name, sorted(_OPTIONS))}")
    given = {name: value for name, value in options.items() if value is not None}
    kind = "app" if session_id.kind == "token" else session_id.kind
    return Draft(remote_ip, identity or kind, user, **(timeouts | given))


def record_of(draft: Draft, settings: SessionSettings, session_id: SessionId, now: float) -> Record:
    """Return the record of a life under this id that begins now. Raises `InvalidValue`, `DataTooLarge`, `UsageError`."""
    if session_id.kind == "ip" and draft.user is not None:
        raise UsageError("an address is no secret: the session of an address carries no user")
    record = Record(
        ref=new_ref(),
        key=session_id.key,
        identity=draft.identity,
        remote_ip=draft.remote_ip,
        bucket=bucket(draft.remote_ip, settings.ipv6_prefix),
        created_at=now,
        last_access_at=now,
        restarted_at=now,
        idle_timeout=checked_seconds(draft.idle_timeout),
        absolute_timeout=checked_seconds(draft.absolute_timeout),
        user=draft.user,
        roles=checked_roles(draft.roles),
        version=draft.version,
        user_agent=draft.user_agent,
        start=checked(draft.start) or None,
    )
    merge(record, Changes(checked(draft.data)), settings.max_data)
    return record


def draft_of(record: Record) -> Draft:
    """Return what a temporary session is to be created from."""
    shared = {each.name: getattr(record, each.name) for each in fields(Draft)}
    return Draft(**shared | {"start": checked(record.start or {}), "data": checked(record.data)})


def checked_roles(roles: Iterable[Any]) -> tuple[str, ...]:
    """Return roles, or raise `InvalidValue` for what no store can keep."""
    found = tuple(roles)
    for role in found:
        if not isinstance(role, str):
            raise InvalidValue(f"a role is text, not {type(role).__name__}")
    return found
