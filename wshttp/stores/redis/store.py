"""The store on Redis or Valkey: sessions that all nodes of one prefix share, and that outlive them.

Every step is a script that the server runs as a whole (`scripts.py` lists them; each is a file). Nothing is read to be
written back by a node.

What is stored, all of it under `{prefix}:`, in one slot of a cluster
    meta            hash: schema; secret; forgiven, seen, copied (see `clocks.lua`); seq, owed
    k:<key>         of the SHA-256 of an id: `s` and the ref of the live session, or `t` and a tombstone, which expires
    s:<ref>         hash: a live session. n: its numbers; k: its key; b: its bucket; u: its user; r: roles and version;
                    f: what never changes; t: start parameters; o: its start is owed; q: how many entries are;
                    w: when it was last changed under a token, and that token; d:<name>: a value of its data, as JSON
    e:<ref>         the same when it has ended, y: why; until all that is owed for it is settled
    all, u:<user>, b:<bucket>    sorted sets of refs, in their order
    idle            who is not logged in, by last access on the idle clock
    due             all who may expire, by when to look at them next: never too late, maybe too early
    calls, c:<ref>  scheduled events, by their time; and those of one session
    l:<id>, n:<node>, orphans, p:<ref>    the ledger; see `ledger.lua`
    nodes           who lives, by when that node's lease is over
    a:<token>       what was answered a moment ago; expires
    lock:<ref>, lockq:<ref>    who holds a session's lock, and who waits

A request        `load`: finds, touches if that is due, and returns all of the session.       1 round trip
                 `apply`, where something was changed.                                        1 more
A message        the same, by ref.
An end           `end`: out of all lists, a tombstone, an entry in the ledger.                1
                 `settle`, when its callbacks have run.                                       1
Time             `take_due`, four times a second: what is due, of this node and of those that have died.

A touch is due, and written, when the last one that is written lies back `min(5 s, idle time-out / 20)`. What was not
written, the node tells with one of its next calls, as late as that: nobody's session ends early while their node lives.

A call that was not answered is sent again by the link, with the same id, under which its answer is kept. A call that the
server gets to do only after its caller was told that it failed is refused, and does nothing. If it was done, and only
its answer was lost, what it gave this node to deliver is taken back, and handed out again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any, Final, TypeVar

from wshttp.config.kinds import KEY_PREFIX
from wshttp.errors import (
    DataTooLarge,
    InvalidValue,
    LockLost,
    OutcomeUnknown,
    SessionEnded,
    StoreUnavailable,
    UsageError,
)
from wshttp.redis.link import RedisLink
from wshttp.sessions.changes import ABSENT, MAX_SCHEDULED, Changes, Conflict, encoded_text, sum_for_increment
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.sessions.data import Json
from wshttp.sessions.record import RENEWED, Ended, Event, Reason, Record, Tombstone
from wshttp.sessions.store import Created, Creation, Due, Exists, Full, Holder, Limits, Owed, Renewed
from wshttp.stores.redis import records
from wshttp.stores.redis.copies import Copies
from wshttp.stores.redis.node import UNHEARD_AT_ONCE, Node
from wshttp.stores.redis.records import Unreadable
from wshttp.stores.redis.scripts import TOUCH_PATIENCE, TOUCHES_PER_TIMEOUT, Scripts
from wshttp.stores.redis.turns import Turns

FOUND_AT_ONCE: Final = 100
"""Sessions that `load_many` finds in one call."""

T = TypeVar("T")

_log = logging.getLogger("wshttp.store")


class RedisStore:
    """Sessions in a Redis or Valkey, version 7.0 or later; see the top of this file for how.

    Nodes with one `url` and `prefix` have the same sessions. `timeout` bounds every call, `lease` is how long a node may be
    silent before others deliver what it owes; both in seconds, as are `tombstone` and `warn_before` (see `Store.use`).
    `cache` (seconds, 0: never) is for how long a session is answered from this node's copy; whoever hears the broker
    calls `drop` and `trust`, and until then nothing is. `grace` (seconds, 0: not at all) is for how long after the store
    was last heard of a session this node goes on with its copy while the store is away.
    `node` is this node's name, which no other has had; `None`: any.
    `time_script` is Lua that defines `now()` in place of the server's own time, for tests.
    """

    outlives_process = True

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "wshttp",
        clock: Clock | None = None,
        timeout: float = 2.0,
        lease: float = 15.0,
        cache: float = 0.0,
        grace: float = 0.0,
        tombstone: float = 300.0,
        warn_before: float = 0.0,
        node: str | None = None,
        time_script: str | None = None,
    ) -> None:
        try:
            KEY_PREFIX.read(prefix)
        except ValueError:
            raise UsageError(f"a prefix is {KEY_PREFIX.wants}") from None
        self.lease = lease
        self._copies = Copies(cache, grace, kept_away=timeout + 1)
        self._node = Node(
            url,
            prefix=prefix,
            clock=clock or SystemClock(),
            timeout=timeout,
            lease=lease,
            scripts=Scripts(time_script),
            copying=self._copies.longest,
            name=node,
        )
        self._turns = Turns()
        self._waiters = count()
        self._to_release: set[tuple[str, str, str]] = set()  # locks that nobody here wants: session, holder, waiter
        self._releasing: set[asyncio.Task[None]] = set()
        self.use(tombstone=tombstone, warn_before=warn_before)

    @property
    def available(self) -> bool:
        return self._node.available

    @property
    def node(self) -> str:
        """This node's name in the store; another one each time it is opened again."""
        return self._node.name

    @property
    def on_latency(self) -> Callable[[float], None] | None:
        """See `sessions.store.Timed`."""
        return self._node.on_latency

    @on_latency.setter
    def on_latency(self, function: Callable[[float], None] | None) -> None:
        self._node.on_latency = function

    @property
    def link(self) -> RedisLink:
        """The connection, for what else nodes share; open as long as the store is."""
        return self._node.link

    def use(self, *, tombstone: float, warn_before: float) -> None:
        """Take over settings; see the class."""
        self._node.tombstone = tombstone
        self._node.warn_before = warn_before

    def now(self) -> float:
        return self._node.time.now()

    # --- opening and closing ------------------------------------------------------------------------

    async def open(self) -> None:
        self._copies.clear()
        await self._node.open()

    async def close(self) -> None:
        """Tell what is not told, give back what this node owes, and disconnect."""
        for task in self._releasing:
            task.cancel()
        await asyncio.gather(*self._releasing, return_exceptions=True)
        self._to_release.clear()
        await self._node.close()

    async def secret(self) -> bytes:
        reply = await self._node.ask("secret", secrets.token_bytes(32))
        self._node.secret = found = bytes(reply[2])
        return found

    # --- copies -------------------------------------------------------------------------------------

    def drop(self, ref: str) -> None:
        """Keep no copy of a session: somebody has changed it."""
        self._copies.drop(ref, self.now())

    def trust(self, trusted: bool) -> None:
        """Say whether this node hears of all changes; while it does not, its copies are not fresh."""
        self._copies.trust(trusted, self.now())

    # --- a life begins ------------------------------------------------------------------------------

    async def create(self, record: Record, limits: Limits, *, replace: bool = False) -> Creation:
        reply = await self._node.ask(
            "create",
            record.ref,
            record.key,
            _text(record.user),
            records.encode(record.bucket),
            limits.max_sessions,
            limits.max_sessions_per_user,
            limits.max_sessions_per_ip,
            int(limits.make_room),
            int(replace),
            record.idle_timeout,
            record.absolute_timeout,
            record.size,
            *records.fields_of(record),
            gives=True,
            untold=limits.make_room,
        )
        match reply[1]:
            case b"full":
                return Full(reply[2].decode(), reply[3])
            case b"exists":
                return Exists(self._read(reply[2]))
            case b"ended":
                raise SessionEnded(record.ref, reply[2].decode())
            case _:
                with self._node.understanding(reply):
                    begun, event = self._read(reply[3]), Event(f"{record.ref}-start", "start", record.ref, reply[2])
                return Created(begun, event, self._read_ends(reply[4]))

    def _read(self, fields: list[bytes]) -> Record:
        return self._aged(records.read_record(fields, self._node.time.forgiven))

    def _aged(self, record: Record) -> Record:
        """Have what is read on this connection count as newer than all that was read on an earlier one: the server may
        have lost its last writes in between, and counts on from where it was then."""
        record.revision += self._node.joins << 40
        return record

    def _read_ends(self, shown: list[Any]) -> list[Ended]:
        """Read ends that the server has just decided, and remember them."""
        return list(self._readable(self._read_end, shown))

    def _read_end(self, shown: list[Any]) -> Ended:
        self._forget(shown[0].decode())  # it is over, whatever else may be read of it
        ended = records.read_ended(shown, self._node.time.forgiven)
        self._aged(ended.record)
        self._node.recent.ended(ended.event, self.now())
        return ended

    def _readable(self, read: Callable[[Any], T], shown: Iterable[Any]) -> Iterator[T]:
        """Read each on its own, and leave out what cannot be read: one must not hold up the others.

        An entry for one is still this node's. It is not asked for again, and goes to another node when this one leaves:
        one that can read it is a newer one, in whose favour this one leaves.
        """
        for one in shown:
            try:
                yield read(one)
            except Unreadable as error:
                _log.error("left to a newer version, when this node leaves: %s", error)

    def _forget(self, ref: str) -> None:
        self._node.touches.forget(ref)
        self._copies.drop(ref, self.now())
        self._turns.wake(ref)

    # --- a life goes on -----------------------------------------------------------------------------

    async def load(self, key: bytes, *, touch: bool) -> Record | Tombstone | None:
        asked_at = self.now()
        copy = self._copies.fresh(self._copies.ref_of(key), asked_at)
        if copy is not None and not (touch and copy.warned):
            return self._seen(copy, touch)
        try:
            reply = await self._node.ask("load", key, int(touch))
        except StoreUnavailable:
            copy = self._in_grace(key)
            if copy is None:
                raise
            return self._seen(copy, touch)
        return self._found(reply[1:], asked_at, touch)

    async def load_ref(self, ref: str, *, touch: bool) -> Record | None:
        asked_at = self.now()
        copy = self._copies.fresh(ref, asked_at)
        if copy is not None and not (touch and copy.warned):
            return self._seen(copy, touch)
        try:
            reply = await self._node.ask("load_ref", records.encode(ref), int(touch))
        except StoreUnavailable:
            copy = self._copies.in_grace(ref, self.now())
            if copy is None:
                raise
            return self._seen(copy, touch)
        found = self._found(reply[1:], asked_at, touch)
        if found is None:
            self._copies.forget(ref)
        return found if isinstance(found, Record) else None

    async def load_many(self, keys: Sequence[bytes]) -> list[Record | Tombstone | None]:
        found: list[Record | Tombstone | None] = []
        for start in range(0, len(keys), FOUND_AT_ONCE):
            found += await self._load_some(keys[start : start + FOUND_AT_ONCE])
        return found

    async def _load_some(self, keys: Sequence[bytes]) -> list[Record | Tombstone | None]:
        asked_at = self.now()
        try:
            reply = await self._node.ask("load_many", *keys)
        except StoreUnavailable:
            copies = [self._in_grace(key) for key in keys]
            if None in copies:
                raise
            return [copy and self._seen(copy, touch=False) for copy in copies]
        return [self._found_among_many(one, asked_at) for one in reply[2]]

    def _found_among_many(self, said: list[Any], asked_at: float) -> Record | Tombstone | None:
        """As `_found`; one that cannot be read here is over for this node, so that the others are answered."""
        try:
            return self._found(said, asked_at, touch=False)
        except Unreadable as error:
            _log.error("over for this node: %s", error)
            return Tombstone(error.ref, "")

    def _in_grace(self, key: bytes) -> Record | None:
        return self._copies.in_grace(self._copies.ref_of(key), self.now())

    def _found(self, said: list[Any], asked_at: float, touch: bool) -> Record | Tombstone | None:
        """Read what a look-up says."""
        match said[0]:
            case b"found":
                record = self._read(said[1])
                self._copies.keep(record, asked_at)
                return self._seen(record, touch)
            case b"tombstone":
                ref, reason, start = said[1:4]
                self._copies.forget(records.decode(ref))
                return Tombstone(records.decode(ref), reason.decode(), json.loads(start) if start else None)
            case _:
                return None

    def _seen(self, record: Record, touch: bool) -> Record:
        """Remember a touch that is not written, and let a session show those that are not told yet."""
        touches, now = self._node.touches, self.now()
        if touch and record.last_access_at < now - 1e-6:
            touches.note(record.ref, now - self._node.time.forgiven, _patience(record.idle_timeout))
            self._copies.touched(record.ref, now)
        elif touch:
            touches.forget(record.ref)
        untold = touches.last(record.ref)
        if untold is not None:
            record.last_access_at = max(record.last_access_at, untold + self._node.time.forgiven)
        return record

    async def apply(self, ref: str, changes: Changes, max_data: int) -> Record:
        expected = {key: records.value_text(value) for key, value in changes.expected.items()}
        while True:
            asked_at = self.now()
            may_be_sent = self._node.departure()
            try:
                reply = await self._node.ask("apply", *_apply_arguments(ref, changes, expected, max_data))
            except StoreUnavailable:
                if changes.sent_at is None and may_be_sent():
                    changes.sent_at = asked_at
                raise
            match reply[1]:
                case b"applied":
                    record = self._read(reply[2])
                    self._copies.keep(record, asked_at)
                    return record
                case b"differs":
                    key, found = reply[2].decode(), reply[3]
                    if _says_another(found, changes.expected[key]):
                        raise Conflict
                    expected[key] = found  # the same in another order
                case b"calls":
                    raise InvalidValue(f"a session has up to {MAX_SCHEDULED} scheduled events that are still to come")
                case b"unlocked":
                    raise LockLost(ref)
                case b"unknown":
                    raise OutcomeUnknown(ref)
                case b"large":
                    raise DataTooLarge(int(reply[2]), max_data)
                case word:
                    raise SessionEnded(ref, RENEWED if word == b"renewed" else None)

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
        sum_for_increment(ABSENT, by)  # what is no number never is
        reply = await self._node.ask(
            "increment",
            records.encode(ref),
            key,
            records.key_size(key),
            records.value_text(by),
            max_data,
            session_key or b"",
            lock or "",
            token,
        )
        match reply[1]:
            case b"total":
                total: float = json.loads(reply[2])
                self._copies.forget(ref)
                return total
            case b"unlocked":
                raise LockLost(ref)
            case b"large":
                raise DataTooLarge(int(reply[2]), max_data)
            case b"no number":
                sum_for_increment(_value(reply[2]), by)  # which says why
                raise InvalidValue("increment works on numbers")
            case word:
                raise SessionEnded(ref, RENEWED if word == b"renewed" else None)

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
        asked_at = self.now()
        reply = await self._node.ask(
            "renew",
            records.encode(ref),
            key,
            _text(user),
            records.account_text(roles, version),
            token,
            int(holder is not None),
            holder.key if holder else b"",
            _text(holder.user if holder else None),
            limits.max_sessions_per_user,
            int(limits.make_room),
            gives=True,
            untold=limits.make_room,
        )
        match reply[1]:
            case b"full":
                return Full(reply[2].decode(), reply[3])
            case b"renewed":
                with self._node.understanding(reply):
                    record = self._read(reply[2])
                self._node.touches.forget(ref)
                self._copies.keep(record, asked_at)
                return Renewed(record, self._read_ends(reply[3]))
            case word:
                raise SessionEnded(ref, RENEWED if word == b"held" else None)

    # --- a life ends, and what time brings ------------------------------------------------------------

    async def end(self, ref: str, reason: Reason, *, token: str = "") -> Ended | None:
        reply = await self._node.ask("end", records.encode(ref), reason, token, gives=True)
        if reply[1] != b"ended":
            return None
        with self._node.understanding(reply):
            return self._read_end(reply[2])

    async def take_due(self, maximum: int) -> Due:
        await self._release_again()
        unheard = self._node.unheard()
        reply = await self._node.ask("take_due", maximum, *unheard, gives=True)
        self._node.took_back(unheard)
        _, _, expiring, ended, scheduled, owed, more, aside = reply
        for problem in aside:
            _log.error("put aside, since another program has written there: %s", records.decode(problem))
        return Due(
            list(self._readable(self._read, expiring)),
            self._read_ends(ended),
            list(self._readable(self._read_entry, scheduled)),
            [Owed(*entry) for entry in self._readable(self._read_entry, owed)],
            bool(more) or len(unheard) == UNHEARD_AT_ONCE,
        )

    def _read_entry(self, shown: list[Any]) -> tuple[Record, Event]:
        record, event = records.read_entry(shown, self._node.time.forgiven)
        self._aged(record)
        if event.kind == "end":
            self._node.recent.ended(event, self.now())
            self._forget(record.ref)
        return record, event

    async def settle(self, event: Event) -> bool:
        reply = await self._node.ask("settle", event.id, event.attempt)
        if reply[2]:
            self._node.recent.settled(event, self.now())
        return bool(reply[2])

    async def owed(self) -> int:
        return int((await self._node.ask("owed"))[2])

    async def renew_lease(self) -> bool:
        reply = await self._node.ask("lease")
        was_lost, self._node.lease_was_lost = self._node.lease_was_lost, False
        return bool(reply[2]) and not was_lost

    # --- looking around -------------------------------------------------------------------------------

    async def count(self, user: str | None = None, bucket: str | None = None) -> int:
        if user is not None and bucket is not None:
            return await self._count_both(user, bucket)
        field = "" if user is None and bucket is None else "bucket" if user is None else "user"
        return int((await self._node.ask("count", field, _text(user if bucket is None else bucket)))[2])

    async def _count_both(self, user: str, bucket: str) -> int:
        total, cursor = 0, ""
        while True:
            found, cursor = await self.scan(cursor, user=user, bucket=bucket)
            total += len(found)
            if not cursor:
                return total

    async def scan(
        self, cursor: str = "", *, user: str | None = None, bucket: str | None = None, maximum: int = 100
    ) -> tuple[list[Record], str]:
        reply = await self._node.ask("scan", cursor, maximum, _text(user), _text(bucket))
        return list(self._readable(self._read, reply[2])), records.decode(reply[3])

    # --- locks ----------------------------------------------------------------------------------------

    async def acquire(self, ref: str, holder: str, timeout: float) -> bool:
        waiter = f"{self._node.name}.{next(self._waiters):x}"
        self._turns.begin(ref, waiter)
        try:
            has_it = await self._wait_for_turn(ref, holder, waiter, timeout)
        except SessionEnded:
            raise
        except BaseException:
            self._to_release.add((ref, holder, waiter))
            self._release_soon()
            raise
        finally:
            self._turns.finish(ref, waiter)
        if not has_it:
            await self._release(ref, holder, waiter)
        return has_it

    async def _wait_for_turn(self, ref: str, holder: str, waiter: str, timeout: float) -> bool:
        until = time.monotonic() + timeout
        while True:
            reply = await self._node.ask("acquire", records.encode(ref), holder, waiter)
            if reply[1] == b"ended":
                raise SessionEnded(ref)
            left = until - time.monotonic()
            if reply[1] == b"held" or left <= 0:
                return bool(reply[1] == b"held")
            await self._turns.wait(ref, waiter, left)

    async def release(self, ref: str, holder: str) -> None:
        await self._release(ref, holder, "")

    async def _release(self, ref: str, holder: str, waiter: str) -> None:
        """Give up a lock, or waiting for it; what fails is tried again: nobody else can while this node lives."""
        self._to_release.add((ref, holder, waiter))
        reply = await self._node.ask("release", records.encode(ref), holder, waiter)
        self._to_release.discard((ref, holder, waiter))
        if len(reply) > 2 and reply[2]:
            self._turns.wake(ref, reply[2].decode())

    def _release_soon(self) -> None:
        task = asyncio.create_task(self._release_again())
        self._releasing.add(task)
        task.add_done_callback(self._released)

    async def _release_again(self) -> None:
        for each in list(self._to_release):
            await self._release(*each)

    def _released(self, task: asyncio.Task[None]) -> None:
        self._releasing.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _log.warning("the lock of a session is not released yet: %s", error)  # the next sweep tries again


def _patience(idle_timeout: float) -> float:
    """Return for how many seconds a touch need not be told; as `touch` in `session.lua`."""
    return min(TOUCH_PATIENCE, idle_timeout / TOUCHES_PER_TIMEOUT) if idle_timeout else TOUCH_PATIENCE


def _apply_arguments(
    ref: str, changes: Changes, expected: dict[str, bytes], max_data: int
) -> list[bytes | str | float]:
    arguments: list[bytes | str | float] = [
        records.encode(ref),
        changes.key or b"",
        changes.lock or "",
        max_data,
        changes.token,
        "" if changes.sent_at is None else changes.sent_at,
        "" if changes.idle_timeout is None else changes.idle_timeout,
        "" if changes.absolute_timeout is None else changes.absolute_timeout,
        len(expected),
        len(changes.values),
        len(changes.scheduled),
    ]
    for key, text in expected.items():
        arguments += (key, text)
    for key, value in changes.values.items():
        arguments += (key, records.value_text(value), records.key_size(key))
    for call in changes.scheduled:
        arguments += (call.event_id, call.delay, records.facts_text([call.name, call.data]))
    return arguments


def _text(text: str | None) -> bytes:
    """Return what `given_text` in `caller.lua` reads."""
    return b"" if text is None else b"+" + records.encode(text)


def _value(text: bytes) -> Json:
    return json.loads(text) if text else ABSENT


def _says_another(found: bytes, expected: Json) -> bool:
    """Tell whether a text does not say what was expected, in whatever form; see `changes.merge`."""
    value = _value(found)
    if value is ABSENT or expected is ABSENT:
        return value is not expected
    return encoded_text(value) != encoded_text(expected)
