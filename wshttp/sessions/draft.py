"""A session that is about to be."""

from __future__ import annotations

from dataclasses import dataclass, field

from wshttp.sessions.data import Json


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
