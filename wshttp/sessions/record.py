"""One session as the store keeps it, and the small facts about it that travel between store and list."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final, NamedTuple

from wshttp.errors import UnknownReason
from wshttp.sessions.data import Json


class Reason(StrEnum):
    """Why a session ended."""

    LOGOUT = "logout"
    IDLE = "idle"
    ABSOLUTE = "absolute"
    REPLACED = "replaced"
    """Another session was put in its place on purpose."""
    LIMIT = "limit"
    ADMIN = "admin"
    CREDENTIALS = "credentials"
    """The user's password was changed, or the user removed."""
    SHUTDOWN = "shutdown"

    @classmethod
    def _missing_(cls, value: object) -> None:
        raise UnknownReason(value, cls)


RENEWED: Final = "renewed"
"""Not the end of a session, but of a token: what a tombstone says of one that was changed at log-in."""


RECORD_FIELDS: Final = (
    "ref",
    "key",
    "identity",
    "remote_ip",
    "bucket",
    "created_at",
    "last_access_at",
    "idle_timeout",
    "absolute_timeout",
    "restarted_at",
    "user",
    "roles",
    "version",
    "user_agent",
    "start",
    "data",
    "size",
    "starting",
    "revision",
    "warned",
    "reason",
)
"""In the order in which `Record` takes them."""


class Record:
    """A session's state. Times are seconds on the store's clock (`Store.now`).

    The memory store hands out its own live object; others hand out a copy, which is as it was. Only a store writes to it.
    """

    __slots__ = RECORD_FIELDS

    def __init__(
        self,
        ref: str,
        key: bytes,
        identity: str,
        remote_ip: str,
        bucket: str,
        created_at: float,
        last_access_at: float,
        idle_timeout: float,
        absolute_timeout: float,
        restarted_at: float,
        user: str | None = None,
        roles: tuple[str, ...] = (),
        version: str = "",
        user_agent: str | None = None,
        start: dict[str, Json] | None = None,
        data: dict[str, Json] | None = None,
        size: int = 0,
        starting: bool = False,
        revision: int = 0,
        warned: bool = False,
        reason: Reason | None = None,
    ) -> None:
        self.ref = ref
        self.key = key
        """The SHA-256 of the id."""
        self.identity = identity
        """Which rule recognises the client: `ip`, `credentials`, `cookie`, `header`, `url` or `app`."""
        self.remote_ip = remote_ip
        self.bucket = bucket
        self.created_at = created_at
        self.last_access_at = last_access_at
        self.idle_timeout = idle_timeout
        """Seconds; 0 is none."""
        self.absolute_timeout = absolute_timeout
        """Seconds since `restarted_at`; 0 is none."""
        self.restarted_at = restarted_at
        """When both time-outs last began: creation or log-in."""
        self.user = user
        self.roles = roles
        self.version = version
        """Of the credential that `user` logged in with."""
        self.user_agent = user_agent
        self.start = start
        """The start parameters: what a successor may be started with."""
        self.data: dict[str, Json] = {} if data is None else data
        self.size = size
        """Bytes of `data` as JSON."""
        self.starting = starting
        """Its start is still owed: nobody but the start's own callbacks works on it yet."""
        self.revision = revision
        """Grows with every change and touch: of two copies, the one with the higher is the newer."""
        self.warned = warned
        """The warning for the current deadline has been given."""
        self.reason = reason
        """Set once, at the end."""

    def copy(self) -> Record:
        """Return it as it is now. Values in its data are never changed in place, and are shared."""
        copy = Record(*_values_of(self))
        copy.data = dict(self.data)
        return copy

    @property
    def idle_deadline(self) -> float:
        return self.last_access_at + self.idle_timeout if self.idle_timeout else math.inf

    @property
    def absolute_deadline(self) -> float:
        return self.restarted_at + self.absolute_timeout if self.absolute_timeout else math.inf

    @property
    def deadline(self) -> float:
        """When it ends if nothing happens; infinite if never."""
        idle = self.last_access_at + self.idle_timeout if self.idle_timeout else math.inf
        absolute = self.restarted_at + self.absolute_timeout if self.absolute_timeout else math.inf
        return idle if idle < absolute else absolute

    def warning_at(self, warn_before: float) -> float:
        """Return when to warn of the deadline.

        At most half the idle time-out ahead: a touch after the warning then always leaves time for the next one.
        """
        if not warn_before:
            return math.inf
        return self.deadline - (min(warn_before, self.idle_timeout / 2) if self.idle_timeout else warn_before)

    def due(self, now: float) -> Reason | None:
        """Return why the session is over at `now`, or `None` while it is not."""
        idle, absolute = self.idle_timeout, self.absolute_timeout
        if (not idle or now < self.last_access_at + idle) and (not absolute or now < self.restarted_at + absolute):
            return None  # as `deadline` says; asked at every step, so without the calls
        return Reason.IDLE if self.idle_deadline <= self.absolute_deadline else Reason.ABSOLUTE


_values_of: Final[Callable[[Record], tuple[Any, ...]]] = attrgetter(*RECORD_FIELDS)


class Tombstone(NamedTuple):
    """What is left of an ended session, or of a renewed token, for a while. No data."""

    ref: str
    reason: str
    """A `Reason`, or `RENEWED`."""
    start: dict[str, Json] | None = None


@dataclass(frozen=True)
class Event:
    """One owed callback; the id stays the same when it is delivered again."""

    id: str
    kind: str
    """`start`, `end`, `scheduled`; and, not in the ledger, the name of any other callback."""
    ref: str = ""
    attempt: int = 1
    """How often it has been handed out or tried."""
    reason: Reason | None = None
    """Of an end."""
    name: str = ""
    """Of a scheduled event."""
    data: Json = None
    """Of a scheduled event."""


@dataclass(frozen=True)
class Ended:
    """A session that ended, with the last data, and the ledger's entry for it."""

    record: Record
    event: Event
    elsewhere: bool = False
    """Another node, or nobody yet, delivers its start: who is told of the end closes the session's sockets, and leaves its
    callbacks to whom `take_due` gives the entry once the start is settled."""
