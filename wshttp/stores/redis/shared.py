"""The `Shared` port on Redis or Valkey: what all nodes of one prefix see alike.

Every method is one round trip, and one script that the server runs in one step.
All keys begin with `{prefix}:shared:1` (or another part of that prefix), in one slot of a cluster; the number is the version of what is stored there, so
that two versions of the program that store it in different ways do not meet.

A call that is sent again after a lost connection is applied once: its answer is kept under the call's id, for as long as
the link may send it, and five seconds more. A call that raises `StoreUnavailable` may have been applied, or be so yet: a
counter may then be higher than anybody was told, a value gone that nobody got; never lower, and never given out twice.

Memory is bounded by the number of keys, and of bytes where that is given, as in `memory_shared`; the server forgets what
expires by itself.
Where a new key would be too many, the one goes that has not been used for the longest time, not the one that expires
soonest: whoever fills the memory with long-lived keys does not thereby wash away the counter that holds him back.
Among the keys that count are some that have expired, at most about as many as those that live.
"""

from __future__ import annotations

import logging
import math
import secrets
from importlib.resources import files
from itertools import count
from typing import Any, Final

from wshttp.errors import UsageError
from wshttp.redis.link import RedisLink, RedisRefused, RedisUnavailable, Script

ANSWERS_KEPT: Final = 5.0
"""Seconds beyond the link's time-out, in which a call that was sent may still be on its way."""

_log = logging.getLogger("wshttp.store")


def _script(name: str, flags: str = "") -> Script:
    # The first line has a server without memory refuse a script as a whole, before it has done anything.
    parts = (files(__package__).joinpath(f"{part}.lua").read_text("utf-8") for part in ("shared", f"shared_{name}"))
    return Script(f"shared_{name}", f"#!lua{flags}\n" + "\n".join(parts))


_FREEING: Final = " flags=allow-oom"

_ADD = _script("add")
_COUNTER = _script("counter")
_FORGET = _script("forget", _FREEING)
_PUT = _script("put")
_TAKE = _script("take", _FREEING)
_APPEND = _script("append")
_READ = _script("read")


class RedisShared:
    """Counters, one-time values and bounded lists of all nodes whose links lead to one server.

    `timeout` is that of the link. `max_keys` bounds all three together (default 100,000, some 35 MB of counters),
    `max_bytes` the bytes that their callers gave them (default 0: no bound).
    `node` is a name that no other object has had; `None`: any.
    A key is of one kind: to use it as another raises `UsageError`, except that `put` replaces whatever is there.
    Those of another `part` have keys and a bound of their own.
    The link is opened and closed by whoever made it.
    """

    def __init__(
        self,
        link: RedisLink,
        prefix: str = "wshttp",
        *,
        timeout: float = 2.0,
        max_keys: int = 100_000,
        max_bytes: int = 0,
        node: str | None = None,
        part: str = "shared",
    ) -> None:
        if max_keys < 1:
            raise UsageError("max_keys must be 1 or more")
        self._link = link
        self._root = f"{{{prefix}}}:{part}:1"
        self._resent_for = _milliseconds(timeout + ANSWERS_KEPT)
        self._bounds = (max_keys, max_bytes)
        node = node or secrets.token_hex(6)
        self._calls = (f"{node}.{number:x}" for number in count())

    async def add(self, key: str, amount: int = 1, *, ttl: float) -> int:
        return int(await self._run(_ADD, key, amount, _milliseconds(ttl), *self._bounds))

    async def counter(self, key: str) -> tuple[int, float]:
        value, left = await self._run(_COUNTER, key)
        return int(value), left / 1000

    async def forget(self, key: str) -> None:
        await self._run(_FORGET, key)

    async def put(self, key: str, value: bytes, *, ttl: float) -> None:
        await self._run(_PUT, key, value, _milliseconds(ttl), *self._bounds)

    async def take(self, key: str) -> bytes | None:
        value: bytes | None = await self._run(_TAKE, key)
        return value

    async def append(self, key: str, item: bytes, *, maximum: int, ttl: float, max_bytes: int = 0) -> int:
        if maximum < 1:
            raise UsageError("maximum must be 1 or more")
        return int(await self._run(_APPEND, key, item, maximum, _milliseconds(ttl), max_bytes, *self._bounds))

    async def read(self, key: str, after: int = 0, *, max_bytes: int = 0) -> tuple[int, list[bytes]]:
        oldest, items = await self._run(_READ, key, after, max_bytes)
        return oldest, items

    async def _run(self, script: Script, key: str, *arguments: bytes | int) -> Any:
        try:
            return await self._link.script(script, self._root, next(self._calls), self._resent_for, key, *arguments)
        except RedisRefused as refused:
            if refused.code == "WRONGTYPE":
                raise UsageError("a shared key is used as two kinds") from refused
            _log.error("the store refuses %s: %s", script.name, refused)
            raise RedisUnavailable(str(refused), code=refused.code) from None


def _milliseconds(seconds: float) -> int:
    """Round up: what was to live at all lives, since an expiry of nothing would delete."""
    return max(math.ceil(seconds * 1000), 1)
