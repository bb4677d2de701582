"""The store on Redis and Valkey: the contract, on a real server."""

from __future__ import annotations

import pytest
from redis_clock import TEST_TIME, end_leases, set_time
from redis_servers import RedisServer

from wshttp.stores import Store
from wshttp.stores.redis.store import RedisStore
from wshttp.testing import FakeClock, StoreContract


@pytest.mark.feature("T3", "W9")
class TestRedisStore(StoreContract):
    """What every store must keep, with a clock of the test's own on both sides."""

    @pytest.fixture(autouse=True)
    def _server(self, redis_server: RedisServer, redis_prefix: str) -> None:
        self.server, self.prefix = redis_server, redis_prefix
        self.stores: list[RedisStore] = []

    async def open_store(self, clock: FakeClock) -> RedisStore:
        self.server.flush()
        await self.advance(0)
        return await self._opened()

    async def _opened(self) -> RedisStore:
        store = RedisStore(self.server.url(), prefix=self.prefix, clock=self.clock, timeout=20, time_script=TEST_TIME)
        await store.open()
        self.stores.append(store)
        store.use(tombstone=self.TOMBSTONE, warn_before=self.WARN_BEFORE)
        return store

    async def kill(self, store: Store) -> RedisStore:
        assert isinstance(store, RedisStore)
        await store.link.close()  # without a word, as when the process dies
        end_leases(self.server, self.prefix)
        return await self._opened()

    async def another(self, store: Store) -> RedisStore:
        return await self._opened()

    async def arrive(self) -> None:
        for store in self.stores * 2:  # a script that the server does not know yet is sent twice
            if store.available:
                await store.owed()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        set_time(self.server, self.prefix, self.clock)
