"""The memory store: the model of the store port, and nothing but the working set."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from wshttp.sessions.changes import Changes
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.data import Json
from wshttp.sessions.record import Ended, Event, Reason, Record, Tombstone
from wshttp.sessions.store import Creation, Due, Full, Holder, Limits, Renewed
from wshttp.stores.locks import Locks
from wshttp.stores.log import NoLog
from wshttp.stores.working_set import Life, WorkingSet


class _Unlocking(NoLog):
    """Has the lock of a session go with it."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    def ended(self, life: Life) -> None:
        self._locks.end(life.ref, life.reason)


class MemoryStore:
    """Sessions in this process; a crash loses them.

    `tombstone` and `warn_before` are as in `use`, which a session list calls with those of its settings.
    """

    outlives_process = False
    lease = 0.0
    available = True

    def __init__(self, clock: Clock | None = None, *, tombstone: float = 300.0, warn_before: float = 0.0) -> None:
        self._clock = clock or SystemClock()
        self._locks = Locks()
        self._secret = secrets.token_bytes(32)
        log = _Unlocking(self._locks)
        self._set = WorkingSet(self._clock.monotonic, log, self._locks, tombstone=tombstone, warn_before=warn_before)

    def now(self) -> float:
        return self._clock.monotonic()

    def use(self, *, tombstone: float, warn_before: float) -> None:
        """Take over settings; see the class."""
        self._set.tombstone = tombstone
        self._set.warn_before = warn_before

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def secret(self) -> bytes:
        return self._secret

    async def create(self, record: Record, limits: Limits, *, replace: bool = False) -> Creation:
        return self._set.create(record, limits, replace=replace)

    async def load(self, key: bytes, *, touch: bool) -> Record | Tombstone | None:
        return self._set.load(key, touch=touch)

    async def load_ref(self, ref: str, *, touch: bool) -> Record | None:
        return self._set.load_ref(ref, touch=touch)

    async def load_many(self, keys: Sequence[bytes]) -> list[Record | Tombstone | None]:
        return [self._set.load(key, touch=False) for key in keys]

    async def apply(self, ref: str, changes: Changes, max_data: int) -> Record:
        return self._set.apply(ref, changes, max_data)

    async def increment(
        self,
        ref: str,
        key: str,
        by: Json,
        max_data: int,
        *,
        session_key: bytes | None = None,
        lock: str | None = None,
        token: str = "",
    ) -> int | float:
        return self._set.increment(ref, key, by, max_data, session_key=session_key, lock=lock, token=token)

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
        return self._set.renew(ref, key, limits, user=user, roles=roles, version=version, holder=holder, token=token)

    async def end(self, ref: str, reason: Reason, *, token: str = "") -> Ended | None:
        return self._set.end(ref, reason, token=token)

    async def take_due(self, maximum: int) -> Due:
        return self._set.take_due(maximum)

    async def settle(self, event: Event) -> bool:
        return self._set.settle(event)

    async def owed(self) -> int:
        return self._set.owed()

    async def renew_lease(self) -> bool:
        return True

    async def count(self, user: str | None = None, bucket: str | None = None) -> int:
        return self._set.count(user, bucket)

    async def scan(
        self, cursor: str = "", *, user: str | None = None, bucket: str | None = None, maximum: int = 100
    ) -> tuple[list[Record], str]:
        return self._set.scan(cursor, user=user, bucket=bucket, maximum=maximum)

    async def acquire(self, ref: str, holder: str, timeout: float) -> bool:
        self._set.require(ref)
        return await self._locks.acquire(ref, holder, timeout)

    async def release(self, ref: str, holder: str) -> None:
        self._locks.release(ref, holder)
