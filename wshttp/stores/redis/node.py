"""What this node and the server say to each other: who calls, when, and what is owed between them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count, islice
from struct import Struct
from typing import Any, Final

from wshttp.errors import StoreUnavailable, StoreUnusable
from wshttp.redis.link import Call, RedisLink, RedisRefused, RedisUnavailable
from wshttp.redis.topology import database_of
from wshttp.sessions.clock import Clock
from wshttp.sessions.patience import patiently, seconds_left
from wshttp.stores.redis.recent import Recent
from wshttp.stores.redis.records import Unreadable
from wshttp.stores.redis.scripts import SCHEMA, Scripts
from wshttp.stores.redis.server_time import ServerTime
from wshttp.stores.redis.touches import TOLD_AT_ONCE, Touches

LEFT_AT_ONCE: Final = 500
"""Entries that are given back in one call."""

UNHEARD_AT_ONCE: Final = 200
"""Calls whose gifts are taken back in one call."""

_CLOCKS: Final = Struct("<dd")
"""What every reply begins with; see `clocks.lua`."""

_HEADER: Final = Struct("<8d")
"""What every call says of itself; see `caller.lua`."""

_NOT_ADMITTED: Final = (b"flushed", b"schema", b"late")
"""Answers of `admit.lua`: nothing was done, nor was anything taken in."""

_log = logging.getLogger("wshttp.store")


def rights(root: str) -> str:
    """Return what the user that nodes log in as has to be allowed, as ACL rules; in a cluster `+cluster|slots`, too."""
    return f"~{root}* &{root}* +@read +@write +@scripting +@pubsub +@connection +time"


class Reply(list[Any]):
    """What the server answers: after the clocks, a word and what belongs to it; `call` is which call it answers."""

    def __init__(self, said: list[Any], call: str) -> None:
        super().__init__(said)
        self.call = call


class Node:
    """A node as the server knows it: a name of its own from `open` to `close`, the first time `name`.

    `timeout`, `lease` and `copying`, for how long it keeps copies, are in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        clock: Clock,
        timeout: float,
        lease: float,
        scripts: Scripts,
        copying: float,
        name: str | None = None,
    ) -> None:
        self.root = f"{{{prefix}}}"
        self.name = name or secrets.token_hex(6)
        self.time = ServerTime(clock)
        self.touches = Touches()
        self.recent = Recent()
        self.secret = b""
        """What all nodes share, once it is known."""
        self.lease_was_lost = False
        """Others have taken over what this node owed, as far as it is known."""
        self.on_latency: Callable[[float], None] | None = None
        """See `sessions.store.Timed`."""
        self.tombstone = 0.0
        self.warn_before = 0.0
        self._prefix = prefix
        self._database = database_of(url)
        self._timeout = timeout
        self._lease = lease
        self._scripts = scripts
        self._copying = copying
        self.link = RedisLink(
            url, timeout=timeout, on_connect=self._join, root=self.root, client_name=f"wshttp-{self.name}"
        )
        self._was_open = False
        self._numbers = count()
        self.joins = 0
        """How often this node has come, or come back."""
        self._telling = asyncio.Lock()
        self._unheard: dict[str, float] = {}  # calls that gave us something we never heard of, and until when they may

    @property
    def available(self) -> bool:
        return self.link.available

    # --- coming and going ---------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and join, under a new name: what an earlier one of ours still owes is for everybody."""
        if self._was_open:
            self.name = secrets.token_hex(6)
        self._was_open = True
        self._unheard.clear()
        self.time.heard_at, self.lease_was_lost = 0.0, False
        await self.link.open()

    async def close(self) -> None:
        """Tell what is not told, give back what is owed, and leave."""
        try:
            if self.available:
                await self.tell_touches()
                while (await self.ask("leave", LEFT_AT_ONCE))[1] == b"more":
                    pass
        except StoreUnavailable as error:
            _log.warning("the store could not be told that this node leaves; its lease will tell: %s", error)
        await self.link.close()

    async def _join(self, call: Call) -> None:
        """Introduce this node on a fresh connection, before anything else is asked."""
        mark, is_back = self.time.mark(), self.time.heard_at > 0
        try:
            reply = await call(
                *("EVAL", self._scripts["join"].source, 1, self.root),
                *(self.name, self._lease, self.time.heard_at, self.secret, self._database),
            )
            self._joined(self._heard(reply, mark), is_back)
            self.joins += 1
            for again in self.recent.told_again(self.time.now()):
                arguments = self._arguments(self._next_call(), again)
                mark = self.time.mark()
                self._heard(await call("EVAL", self._scripts["replay"].source, 1, self.root, *arguments), mark)
        except RedisRefused as refused:
            if refused.code == "WRONGTYPE":
                raise StoreUnusable(self._foreign()) from None
            raise StoreUnusable(f"store.url: the server does not run our scripts: {refused}") from None
        except RedisUnavailable as error:
            if error.code == "NOPERM":
                raise StoreUnusable(self._no_rights(error.reason)) from None
            raise

    async def _join_again(self) -> None:
        """Introduce this node to a server that was emptied."""
        try:
            await self._join(self.link.call)
        except StoreUnusable as error:
            raise RedisUnavailable(str(error)) from None

    def _joined(self, reply: list[Any], is_back: bool) -> None:
        match reply[1]:
            case b"foreign":
                raise StoreUnusable(self._foreign())
            case b"schema":
                raise StoreUnusable(self._other_schema(reply[2]))
            case _ if is_back and not reply[2]:
                self.lease_was_lost = True

    def _foreign(self) -> str:
        return f"store.prefix: there are keys {self.root}:… of another program; choose another prefix than {self._prefix!r}"

    def _no_rights(self, reason: str) -> str:
        return f"store.url: the user has too few rights ({reason}); it needs {rights(self.root)}"

    def _other_schema(self, found: bytes) -> str:
        return (
            f"store.prefix: under {self._prefix!r} there are sessions of another version of wshttp "
            f"(their schema is {found.decode('ascii', 'replace')}, this one knows {SCHEMA})"
        )

    # --- a call -------------------------------------------------------------------------------------

    async def ask(self, name: str, *given: bytes | str | float, gives: bool = False, untold: bool = False) -> Reply:
        """Run a script and return its reply. Raises `StoreUnavailable`.

        `gives`: what it leads to is owed by this node, so it is not to be lost with its answer.
        `untold`: say that there are touches which it may want to know of first.
        """
        while True:
            reply = await self._ask(name, given, gives, untold)
            word = reply[1]
            if word == b"flushed":
                await self._join_again()
            elif word == b"untold":
                await self.tell_touches()
                untold = False
            elif word == b"late":
                raise RedisUnavailable("the server was asked too late")
            elif word == b"schema":
                raise RedisUnavailable(self._other_schema(reply[2]))
            else:
                return reply

    async def _ask(self, name: str, given: tuple[Any, ...], gives: bool, untold: bool) -> Reply:
        may_take = seconds_left(self._timeout)
        call, sent_at = self._next_call(), self.time.now()
        touches = self.touches.take(sent_at - self.time.forgiven)
        unheard = "".join(f"{earlier} " for earlier in self._unheard) if gives else ""
        arguments = self._arguments(
            call, given, touches, unheard=unheard, untold=untold and len(self.touches) > 0, may_take=may_take
        )
        mark, may_be_sent = self.time.mark(), self.departure()
        began = time.perf_counter()
        try:
            reply = await patiently(self.link.script(self._scripts[name], self.root, *arguments), self._timeout)
        except BaseException as error:
            self.touches.give_back(touches)
            if gives and may_be_sent():
                self._unheard[call] = sent_at + self._timeout
            if isinstance(error, RedisRefused):
                _log.error("the store refuses %s: %s %s", name, error, self._scripts.place(name, str(error)))
                raise RedisUnavailable(str(error)) from None
            raise
        finally:
            if self.on_latency is not None:
                self.on_latency(time.perf_counter() - began)
        if reply[1] in _NOT_ADMITTED:
            self.touches.give_back(touches)
        return Reply(self._heard(reply, mark), call)

    def departure(self) -> Callable[[], bool]:
        """Return what tells later whether a call of now may have been sent: not where there was no connection since."""
        was_away, joins = not self.available, self.joins
        return lambda: not (was_away and joins == self.joins)

    def _next_call(self) -> str:
        return f"{self.name}.{next(self._numbers):x}"

    def _arguments(
        self,
        call: str,
        given: Sequence[Any],
        touches: Iterable[tuple[str, float]] = (),
        *,
        unheard: str = "",
        untold: bool = False,
        may_take: float | None = None,
    ) -> list[Any]:
        now = self.time.now()
        may_take = self._timeout if may_take is None else may_take
        header = _HEADER.pack(
            *(now, now + may_take, self._lease, self.tombstone, self.warn_before),
            *(self._copying, untold, self._database),
        )
        return [self.name, call, header, unheard, len(given), *given, *chain.from_iterable(touches)]

    def _heard(self, reply: list[Any], mark: float) -> list[Any]:
        now, forgiven = _CLOCKS.unpack(reply[0])
        self.time.heard(now, forgiven, mark)
        return reply

    # --- what is owed between us ----------------------------------------------------------------------

    @contextmanager
    def understanding(self, reply: Reply) -> Iterator[None]:
        """Where a reply cannot be read, what its call gave is taken back, as if nobody had heard it: nobody has it."""
        try:
            yield
        except Unreadable:
            self._unheard[reply.call] = self.time.now()
            raise

    async def tell_touches(self) -> None:
        """Tell all touches that were not told yet; who comes meanwhile waits, since they may be on their way."""
        async with self._telling:
            for _ in range(0, len(self.touches), TOLD_AT_ONCE):
                self.touches.hurry()
                await self._ask("touches", (), gives=False, untold=False)

    def unheard(self) -> list[str]:
        """Return calls that will not be done any more, and whose answers were not heard; some of them, if there are many."""
        now = self.time.now()
        return list(islice((call for call, until in self._unheard.items() if until < now), UNHEARD_AT_ONCE))

    def took_back(self, calls: list[str]) -> None:
        """What these gave has been taken back."""
        for call in calls:
            self._unheard.pop(call, None)
