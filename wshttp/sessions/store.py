"""The store port: atomic steps on sessions, not bytes.

What two parallel callers get
    Every method is one atomic step; no caller ever sees half of another's.
    - `create`: of N callers with one key, one gets `Created` and the others `Exists`; N callers under a limit of M leave M.
    - `apply`: both callers' keys are there afterwards; for one key the last one wins, unless it named what it expected.
    - `increment`: N callers adding 1 leave N.
    - `end`: one caller gets `Ended`, all others `None`. Whatever is written to that ref later raises `SessionEnded`.
    - `take_due`, `settle`: what one caller takes, no other gets.
    - `acquire`: callers wait in order; one holds the lock, and a change that names another holder raises `LockLost`.
    What a method returns is done for good: in a store that outlives the process, it is where a crash cannot undo it.
    What one caller was shown is that, too.

What a key is for
    A caller who was recognised under a key names it in `Changes.key`, `increment` and `renew`. Where the session has moved
    to another key, by a log-in, they raise `SessionEnded` with `renewed`, and nothing was changed: who knew the old
    token does nothing in the name of the user.

What a ref is for
    A write, a touch and an end say which life they mean: a late one never hits a successor under the same id.

Ends and starts are owed
    `create`, `end` and `take_due` append a ledger entry in the same step. It is owed until `settle`, by the node that was
    given it, for as long as that node renews its lease. `take_due` hands out what a dead node owed, and what was decided in
    a call whose caller was told nothing (a time-out, a cancellation): the same entry, with `attempt` one higher, and starts
    before ends. To settle an attempt that is no longer the last does nothing.
    Until its start is settled a session is `starting`. An end that is decided meanwhile where the start is not delivered - that
    is another node's, or, after a death, nobody's yet - is `elsewhere`: nobody but the node that owes the start is given its
    entry before that is settled; then `take_due` hands it out, with `attempt` 1.
    A session past its deadline is over for every method at once, even before `take_due` reports its end; only the count
    of all sessions, and the limit on it, may include it until then.

A call that is made again
    A caller that heard nothing may ask again with the same token (`create`: the same ref), for a minute. If the first call
    was carried out, the second changes nothing and gets the same answer. After that minute, a change of
    which nobody knows any more whether it was made is not made again: `OutcomeUnknown`.

Absence is `None`; a `Tombstone` says why, for a while.
An outage raises `StoreUnavailable`: then nothing was changed, except where the time ran out; that may be done yet.
Times are seconds on the store's own clock, `now()`; the only clock across nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from wshttp.sessions.changes import Changes
from wshttp.sessions.record import Ended, Event, Reason, Record, Tombstone


@dataclass(frozen=True)
class Owed:
    """An entry of the ledger that somebody else was to deliver, and its session: with the last data, if that has ended."""

    record: Record
    event: Event


MAX_VICTIMS: Final = 16
"""Sessions that have to go, at most, for each limit and each one that comes: as long as a limit that was lowered is
exceeded, each that comes brings it nearer."""


@dataclass(frozen=True)
class Limits:
    """How many sessions there may be; 0 is no limit."""

    max_sessions: int = 0
    max_sessions_per_user: int = 0
    max_sessions_per_ip: int = 0
    make_room: bool = True
    """At a limit end the longest idle anonymous session (for a limit per user: that user's), never a logged-in one
    to let an anonymous one in; where there is none, or if false, refuse."""

    def without(self, setting: str) -> Limits:
        """Return the same limits but for one, by the name of its setting."""
        without: dict[str, Any] = {setting.removeprefix("session."): 0}
        return replace(self, **without)


@dataclass(frozen=True)
class Created:
    """A new life, the entry for its start, and who had to go for it."""

    record: Record
    event: Event
    ended: list[Ended] = field(default_factory=list)


@dataclass(frozen=True)
class Exists:
    """There is a live session under this key."""

    record: Record


@dataclass(frozen=True)
class Full:
    """A limit is reached: the setting's name and its value."""

    setting: str
    maximum: int


@dataclass(frozen=True)
class Holder:
    """Who a session is renewed for: who holds it under this key, as this user."""

    key: bytes
    user: str | None


@dataclass(frozen=True)
class Renewed:
    """The session under its new key and user, and who had to go for it."""

    record: Record
    ended: list[Ended] = field(default_factory=list)


@dataclass
class Due:
    """What time has brought."""

    expiring: list[Record] = field(default_factory=list)
    """Sessions to warn; each once per deadline."""
    ended: list[Ended] = field(default_factory=list)
    scheduled: list[tuple[Record, Event]] = field(default_factory=list)
    owed: list[Owed] = field(default_factory=list)
    """What others have left undone; of one session, in the order in which it came to be."""
    more: bool = False
    """There may be more right now."""

    def __len__(self) -> int:
        return len(self.expiring) + len(self.ended) + len(self.scheduled) + len(self.owed)

    def __bool__(self) -> bool:
        return len(self) > 0 or self.more


Creation: TypeAlias = Created | Exists | Full


class Store(Protocol):
    """Where the session list keeps its sessions. See the top of this file for what is promised."""

    outlives_process: bool
    """Sessions are there after a restart: a shutdown then ends none."""
    lease: float
    """Seconds after which a node that has not called `renew_lease` counts as dead; 0: no other node could take over."""

    @property
    def available(self) -> bool:
        """Whether the store answers, as far as this node knows; while it does not, this node wants no requests."""

    def use(self, *, tombstone: float, warn_before: float) -> None:
        """Take over settings, in seconds, before the store is opened and while it is open.

        `tombstone` is how long it is known why a session ended; those that stand keep their time.
        `warn_before` is how long before its deadline `take_due` reports a session as expiring; 0 is never.
        """

    def now(self) -> float:
        """Return the store's time now, as well as this node knows it."""

    async def open(self) -> None:
        """Connect, and make what is missing. Raises `StoreUnavailable`, and `StoreUnusable` or `ConfigurationError`
        where trying again would not help."""

    async def close(self) -> None:
        """Let go of everything; the store may be opened again."""

    async def secret(self) -> bytes:
        """Return the secret that belongs to these sessions, the same for all nodes; made by whoever asks first."""

    async def create(self, record: Record, limits: Limits, *, replace: bool = False) -> Creation:
        """Begin a life. With `replace`, a live session under this key ends first, with reason `replaced`.

        Raises `SessionEnded` where this very life (its ref) was begun before, and has ended: none begins twice.
        """

    async def load(self, key: bytes, *, touch: bool) -> Record | Tombstone | None:
        """Find by id, and touch in the same step."""

    async def load_ref(self, ref: str, *, touch: bool) -> Record | None:
        """Find by ref, and touch in the same step; `None` once it has ended."""

    async def load_many(self, keys: Sequence[bytes]) -> list[Record | Tombstone | None]:
        """Find many by id at once, in the order of `keys`; touches none."""

    async def apply(self, ref: str, changes: Changes, max_data: int) -> Record:
        """Merge changes, all or none. Raises `SessionEnded`, `LockLost`, `Conflict`, `DataTooLarge`,
        `OutcomeUnknown`, and `InvalidValue` above `MAX_SCHEDULED` calls to come."""

    async def increment(
        self,
        ref: str,
        key: str,
        by: int | float,
        max_data: int,
        *,
        session_key: bytes | None = None,
        lock: str | None = None,
        token: str = "",
    ) -> int | float:
        """Add to a number (absent: 0) and return the new value.

        Raises `SessionEnded`, `LockLost`, `InvalidValue`, `DataTooLarge`. `session_key` is that under which the session
        must still be found, `None`: any; `lock` is who must hold its lock, `None`: nobody need.
        """

    async def renew(
        self,
        ref: str,
        key: bytes,
        limits: Limits,
        *,
        user: str | None,
        roles: tuple[str, ...],
        version: str,
        holder: Holder | None = None,
        token: str = "",
    ) -> Renewed | Full:
        """Move a life to a new key and begin both time-outs again; the old key is refused while its tombstone lasts.

        A session keeps its user where `user` is `None`. Raises `SessionEnded`, with `renewed` where `holder` is given
        and somebody else holds it: then nobody had to go.
        """

    async def end(self, ref: str, reason: Reason, *, token: str = "") -> Ended | None:
        """End a life; `None` where somebody was first."""

    async def take_due(self, maximum: int) -> Due:
        """Take at most `maximum` of what time has brought; what it returns is owed by this node.

        Go on while the answer is true: it may be empty and have `more`, so that no call takes long.
        """

    async def settle(self, event: Event) -> bool:
        """Strike an entry from the ledger: its callbacks have run.

        False, and no error, where it is struck already, or this attempt is not the last any more: then it is another's.
        """

    async def owed(self) -> int:
        """Count the ledger's entries that are not settled."""

    async def renew_lease(self) -> bool:
        """Say that this node lives, every third of `lease`. `False`: it came too late, and others may have taken over."""

    async def count(self, user: str | None = None, bucket: str | None = None) -> int:
        """Count live sessions, in all or of one user or address bucket."""

    async def scan(
        self, cursor: str = "", *, user: str | None = None, bucket: str | None = None, maximum: int = 100
    ) -> tuple[list[Record], str]:
        """Return some live sessions and where to go on; the empty cursor begins and ends.

        A session that lives throughout a whole scan is returned once; others may or may not be.
        """

    async def acquire(self, ref: str, holder: str, timeout: float) -> bool:
        """Take the lock of a session, waiting at most `timeout` seconds; not re-entrant. Raises `SessionEnded`."""

    async def release(self, ref: str, holder: str) -> None:
        """Give the lock to who waits longest; no error if `holder` does not hold it."""


@runtime_checkable
class Timed(Protocol):
    """What a store may have besides: its answers take a way, over a network or to a disk, and it says how long."""

    on_latency: Callable[[float], None] | None
    """Called with the seconds that an answer took, or that were waited for one in vain."""
