"""What a node asks of Redis, kept, and sent later: as fast as Redis takes it, without the node's own computing."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hiredis

from benchmarks.redis_server import RedisServer
from benchmarks.steps import store_on
from wshttp.redis.packing import pack
from wshttp.redis.script import Script
from wshttp.stores.redis.store import RedisStore
from wshttp.testing import FakeClock

IN_FLIGHT = 64
"""Calls that are under way together: half of them are on their way while Redis works on the others."""


@dataclass(frozen=True)
class Calls:
    """Commands as they travel, and the source of a script that they need.

    `expected` is how their answers go on after the clocks; nothing takes any answer.
    """

    packed: Sequence[bytes]
    source: str = ""
    expected: tuple[Any, ...] = ()


AHEAD = 300.0
"""Seconds by which kept calls say that they were sent later than now: none is late when it is sent."""


async def silent_store(redis: RedisServer, *, time_script: str | None = None) -> RedisStore:
    """Return a store for `calls_of`: it has met Redis, and is closed again."""
    clock = FakeClock()
    async with store_on(redis, clock=clock, time_script=time_script) as store:
        pass
    clock.advance(AHEAD)
    return store


async def calls_of(store: RedisStore, steps: Iterable[Awaitable[object]], *expected: Any) -> Calls:
    """Return what each step asks of a silent store: a single call, and all of one script."""
    kept: list[bytes] = []
    sources: set[str] = set()

    async def keep(script: Script, root: str, *arguments: Any) -> None:
        kept.append(pack("EVALSHA", script.sha, 1, root, *arguments))
        sources.add(script.source)
        raise _KeptError

    instead = vars(store.link)  # a link has one way to ask, and this takes its place
    instead["script"] = keep
    try:
        for said in await asyncio.gather(*steps, return_exceptions=True):
            assert isinstance(said, _KeptError), said
    finally:
        del instead["script"]
    (source,) = sources
    return Calls(kept, source, expected)


class _KeptError(Exception):
    """A call is not made."""


def send(path: Path, calls: Calls, in_flight: int = IN_FLIGHT) -> float:
    """Make all calls, and return the seconds until all are answered. One that did not do what it was to do raises."""
    batch = max(1, in_flight // 2)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        if calls.source:
            connection.sendall(pack("SCRIPT", "LOAD", calls.source))
            _Answers(connection).wait_for(1)
        answers = _Answers(connection, calls.expected)
        begin = time.perf_counter()
        for first in range(0, len(calls.packed), batch):
            connection.sendall(b"".join(calls.packed[first : first + batch]))
            answers.wait_for(first + 2 * batch - in_flight)
        answers.wait_for(len(calls.packed))
        return time.perf_counter() - begin


class _Answers:
    """Counts what comes."""

    def __init__(self, connection: socket.socket, expected: tuple[Any, ...] = ()) -> None:
        self._connection = connection
        self._expected = expected
        self._reader = hiredis.Reader()
        self._count = 0

    def wait_for(self, count: int) -> None:
        """Wait until so many have come in all."""
        while self._count < count:
            received = self._connection.recv(1 << 16)
            if not received:
                raise ConnectionError("Redis closed the connection")
            self._reader.feed(received)
            while (answer := self._reader.gets()) is not False:
                self._check(answer)
                self._count += 1

    def _check(self, answer: Any) -> None:
        if isinstance(answer, hiredis.ReplyError):
            raise RuntimeError(str(answer))
        if self._expected and tuple(answer[1 : 1 + len(self._expected)]) != self._expected:
            raise RuntimeError(f"unexpected answer: {answer!r}")
