"""What a server keeps its sessions in, and what it shares with other nodes: as `store.kind` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wshttp.config import Settings
from wshttp.errors import ConfigurationError
from wshttp.sessions.clock import Clock
from wshttp.sessions.shared import Shared
from wshttp.sessions.store import Store
from wshttp.stores.memory import MemoryStore
from wshttp.stores.memory_shared import MAX_KEPT, MemoryShared
from wshttp.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from wshttp.realtime.broker import Broker
    from wshttp.realtime.relay import Copies


@dataclass(frozen=True, slots=True)
class Backing:
    """The parts of a server that another store exchanges. All of them work only while the store is open."""

    store: Store
    shared: Shared
    """What holds back who asks too often."""
    kept: Shared
    """What is there for clients to come: tickets, histories, queues. Apart, so that nobody who fills this, message by
    message, washes away the counters that hold him back."""
    broker: Broker | None = None
    """`None` where this process is the only one."""
    copies: Copies | None = None
    """What keeps copies of sessions that other nodes may change."""


def backing_of(settings: Settings, clock: Clock, store: Store | None = None) -> Backing:
    """Make what the settings name; with a `store` of the caller's, what one process needs besides.

    Raises `ConfigurationError` where a package is missing.
    """
    if store is not None:
        return Backing(store, MemoryShared(clock), MemoryShared.for_clients(clock))
    match settings.store.kind:
        case "redis":
            return _on_redis(settings, clock)
        case "sqlite":
            store = SqliteStore(settings.store.path, clock, timeout=settings.store.timeout)
            return Backing(store, MemoryShared(clock), MemoryShared.for_clients(clock))
        case _:
            return Backing(MemoryStore(clock), MemoryShared(clock), MemoryShared.for_clients(clock))


def _on_redis(settings: Settings, clock: Clock) -> Backing:
    try:  # the packages are an extra, and wanted only where they are chosen
        from wshttp.realtime.redis_broker import RedisBroker
        from wshttp.stores.redis.shared import RedisShared
        from wshttp.stores.redis.store import RedisStore
    except ModuleNotFoundError as error:
        if error.name not in ("redis", "hiredis"):
            raise
        raise ConfigurationError([f"store.kind: redis needs {error.name}: pip install 'wshttp[redis]'"]) from None
    chosen = settings.store
    store = RedisStore(
        chosen.url,
        prefix=chosen.prefix,
        clock=clock,
        timeout=chosen.timeout,
        lease=settings.session.lease,
        cache=chosen.cache,
        grace=chosen.grace,
    )
    return Backing(
        store,
        RedisShared(store.link, chosen.prefix, timeout=chosen.timeout),
        RedisShared(store.link, chosen.prefix, timeout=chosen.timeout, part="kept", max_keys=MAX_KEPT),
        RedisBroker(store.link, chosen.url, prefix=chosen.prefix, timeout=chosen.timeout),
        copies=store,
    )
