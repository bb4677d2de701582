"""Sessions and connections as administrators see them: public names, facts and sizes; no id, no value."""

from __future__ import annotations

from typing import Final

from wshttp.realtime.connection import Connection
from wshttp.sessions.data import Json, encoded_size
from wshttp.sessions.session import Session, whole_seconds

MOST_KEYS: Final = 1000
MOST_TOPICS: Final = 100
"""In one view: what clients make must not make it endless."""


def moment(at: float) -> float:
    """Return a point in time as it is shown."""
    return round(at, 3)


def session_view(session: Session, now: float) -> dict[str, Json]:
    """Return a session as a list has it; `now` is on the store's clock."""
    record = session.record
    return {
        "ref": record.ref,
        "user": record.user,
        "roles": list(record.roles),
        "ip": record.remote_ip,
        "identity": record.identity,
        "created_at": moment(session.created_at),
        "last_access_at": moment(session.last_access_at),
        "idle": int(max(0.0, now - record.last_access_at)),
        "expires_in": whole_seconds(session.expires_in),
        "absolute_expires_in": whole_seconds(session.absolute_expires_in),
        "connections": session.connections,
    }


def data_view(session: Session) -> dict[str, Json]:
    """Return what a session holds, by name and size in bytes; the largest first."""
    sizes = {key: encoded_size(key, value) for key, value in session.record.data.items()}
    largest = sorted(sizes, key=lambda key: (-sizes[key], key))[:MOST_KEYS]
    return {"size": session.record.size, "keys": [{"key": key, "size": sizes[key]} for key in largest]}


def connection_view(connection: Connection) -> dict[str, Json]:
    """Return a connection of this node."""
    record = None if connection.session is None else connection.session.record
    return {
        "id": connection.id,
        "session": None if record is None else record.ref,
        "user": None if record is None else record.user,
        "ip": connection.remote_ip,
        "path": connection.path,
        "over": connection.over,
        "subprotocol": connection.subprotocol,
        "user_agent": connection.user_agent,
        "opened_at": moment(connection.opened_at),
        "topics": list[Json](sorted(connection.topics)[:MOST_TOPICS]),
    }
