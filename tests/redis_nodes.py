"""Nodes on one Redis, as tests want them: with a clock that obeys, on both sides, and a wire that can be cut."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from faults.proxy import Proxy
from redis_clock import TEST_TIME, set_time
from redis_servers import RedisServer

from wshttp.sessions.changes import Changes
from wshttp.sessions.ids import SessionId, new_ref
from wshttp.sessions.record import Record
from wshttp.stores import Created, Due, Limits, Store
from wshttp.stores.redis.store import RedisStore
from wshttp.testing import FakeClock


class Cluster:
    """Stores on one prefix of a server; `keys` are those of the prefix, without it."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self.clock = FakeClock()
        self.advance(0)

    def advance(self, seconds: float) -> None:
        """Let time pass, for all nodes and the server."""
        self.clock.advance(seconds)
        set_time(self.server, self.prefix, self.clock)

    def store(self, url: str | None = None, **options: Any) -> RedisStore:
        """Return a store, not open yet."""
        options = {"clock": self.clock, "time_script": TEST_TIME, "timeout": 20} | options
        return RedisStore(url or self.server.url(), prefix=self.prefix, **options)

    async def kill(self, store: Store) -> None:
        """Have a node be gone without a word, and its lease be over."""
        assert isinstance(store, RedisStore)
        await store.link.close()
        self.server.ask("ZADD", f"{{{self.prefix}}}:nodes", 0, store.node)

    @asynccontextmanager
    async def node(self, url: str | None = None, **options: Any) -> AsyncIterator[RedisStore]:
        """Keep a store open."""
        store = self.store(url, **options)
        await store.open()
        try:
            yield store
        finally:
            await store.close()

    @contextmanager
    def wire(self) -> Iterator[tuple[Proxy, str]]:
        """Return a wire to the server, and the URL by which a node uses it."""
        with Proxy(str(self.server.socket)) as proxy:
            yield proxy, f"redis://127.0.0.1:{proxy.port}/0"

    def keys(self) -> dict[str, int]:
        """Return what is stored, with the milliseconds that each has left to live (-1: for good)."""
        own = f"{{{self.prefix}}}:"
        with self.server.client() as client:
            names = [name for name in client.keys("*") if name.startswith(own.encode())]
            return {str(name.decode("latin-1")).removeprefix(own): client.pttl(name) for name in names}


async def create(store: RedisStore, id: str | None = None, *, limits: Limits = Limits(), **facts: Any) -> Created:  # noqa: B008 -- it is frozen
    """Create a session that must be let in."""
    created = await store.create(new_record(store, id, **facts), limits)
    assert isinstance(created, Created), created
    return created


def new_record(store: RedisStore, id: str | None = None, **facts: Any) -> Record:
    """Return the record of a session that is about to be created; without `id`, under an id of its own."""
    now, ref = store.now(), new_ref()
    return Record(
        ref=ref,
        key=SessionId.app(ref if id is None else id).key,
        identity="app",
        remote_ip="192.0.2.1",
        bucket="192.0.2.1",
        created_at=now,
        last_access_at=now,
        restarted_at=now,
        idle_timeout=facts.pop("idle_timeout", 1200.0),
        absolute_timeout=facts.pop("absolute_timeout", 43_200.0),
        **facts,
    )


async def write(store: RedisStore, ref: str, **values: Any) -> Record:
    """Change data."""
    return await store.apply(ref, Changes(values), 0)


async def due(store: RedisStore) -> Due:
    """Take all that is due."""
    everything = Due()
    while taken := await store.take_due(100):
        for name in ("expiring", "ended", "scheduled", "owed"):
            getattr(everything, name).extend(getattr(taken, name))
    return everything
