"""What clients did and were told, for the verdict afterwards. Times are nanoseconds of the machine's monotonic clock."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, TypeAlias

now = time.monotonic_ns

Line: TypeAlias = dict[str, Any]
"""What a callback has written; see `counting`."""


@dataclass(slots=True)
class Asked:
    """A request, or a message on a socket, and its answer, if one came."""

    kind: str
    """`hit`, `update`, `short`, `logout`, `login`, `look`, `message`."""
    ref: str
    """The session that the client has; empty while it has none."""
    node: str
    key: str = ""
    """What a hit or an update sets, under a key of the client's own."""
    value: int = 0
    sent: int = field(default_factory=now)
    answered: int = 0
    """0: nobody knows what became of it."""
    status: int = 0
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def took(self) -> float:
        """Seconds until the answer."""
        return (self.answered - self.sent) / 1e9

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def found(self) -> str:
        """The session that it had to do with: the one it was answered for, or else the client's."""
        return str(self.told.get("ref", self.ref)) if self.ok else self.ref


@dataclass(slots=True)
class Held:
    """A WebSocket: what its client saw of it."""

    ref: str
    node: str
    opened: int = field(default_factory=now)
    closed: int = 0
    """0: it is open."""
    code: int | None = None


@dataclass(slots=True)
class History:
    """All that clients did."""

    asked: list[Asked] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
