"""What happens to sessions and their sockets on this node, told to whoever watches.

It is for looking on: who has to act on a start or an end has callbacks and the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from wshttp.sessions.clock import Clock
from wshttp.sessions.record import Reason, Record

What: TypeAlias = Literal["started", "renewed", "warned", "ended", "connected", "disconnected"]


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened; `at` is in Unix seconds. Nothing in it finds a session, or says what is in it."""

    what: What
    at: float
    ref: str | None
    """`None` for a socket without a session, where those are off."""
    user: str | None
    remote_ip: str
    reason: Reason | None = None
    """Of an end."""
    connection: str | None = None
    """Which socket connected or disconnected."""
    code: int | None = None
    """With what it closed."""


Watch: TypeAlias = Callable[[Happening], None]


class Happenings:
    """Tell watchers what happens, at once and in order. A watcher must neither take long nor raise."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watches: list[Watch] = []

    def watch(self, watch: Watch) -> None:
        """Call this for everything that happens from now on."""
        self._watches.append(watch)

    def tell(self, what: What, record: Record, reason: Reason | None = None) -> None:
        """Tell what happened to a session."""
        if self._watches:
            self._pass_on(Happening(what, self._clock.time(), record.ref, record.user, record.remote_ip, reason))

    def tell_of_socket(
        self, what: What, connection: str, remote_ip: str, record: Record | None, code: int | None = None
    ) -> None:
        """Tell what happened to a socket; without a session where those are off."""
        if self._watches:
            ref, user = (None, None) if record is None else (record.ref, record.user)
            self._pass_on(Happening(what, self._clock.time(), ref, user, remote_ip, connection=connection, code=code))

    def _pass_on(self, happening: Happening) -> None:
        for watch in self._watches:
            watch(happening)
