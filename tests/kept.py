"""What is kept for clients to come, in memory and on a real Redis: inherit one of these to run a test on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis_servers import RedisServer, linked

from wshttp.sessions.shared import Shared
from wshttp.stores.memory_shared import MemoryShared
from wshttp.stores.redis.shared import RedisShared
from wshttp.testing import FakeClock


class InMemory:
    """On the memory of the process."""

    clock: FakeClock

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[Shared]:
        self.clock = FakeClock()
        yield MemoryShared(self.clock)

    def let_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)


class OnRedis:
    """On a Redis; `clock` is that of the node."""

    clock: FakeClock

    @pytest.fixture(autouse=True)
    def _at(self, redis_server: RedisServer, redis_prefix: str) -> None:
        self.server, self.prefix = redis_server, redis_prefix

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[Shared]:
        self.clock = FakeClock()
        async with linked(self.server.url()) as link:
            yield RedisShared(link, self.prefix, part="kept")

    def let_pass(self, seconds: float) -> None:
        """Shorten what is left of every key."""
        self.clock.advance(seconds)
        with self.server.client() as client:
            for key in list(client.scan_iter(f"{{{self.prefix}}}:*", count=1000)):
                client.pexpire(key, client.pttl(key) - int(seconds * 1000))
