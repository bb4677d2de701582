"""What a server keeps its sessions in, and what it shares with other nodes: as `store.kind` says."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wshttp.config import Settings
from wshttp.sessions.clock import Clock
from wshttp.sessions.kept import Kept
from wshttp.sessions.shared import Shared
from wshttp.sessions.store import Store
from wshttp.stores.kept import HISTORIES, QUEUES, TICKETS, in_memory
from wshttp.stores.memory import MemoryStore
from wshttp.stores.memory_shared import MemoryShared
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
    kept: Kept
    broker: Broker | None = None
    """`None` where this process is the only one."""
    copies: Copies | None = None
    """What keeps copies of sessions that other nodes may change."""
    node: str | None = None
    """The name by which other nodes know this one, and its connections are listed; no other process has had it."""


def backing_of(settings: Settings, clock: Clock, store: Store | None = None) -> Backing:
    """Make what the settings name; with a `store` of the caller's, what one process needs besides.

    Raises `ConfigurationError` where a package is missing.
    """
    if store is not None:
        return _in_process(store, clock)
    match settings.store.kind:
        case "redis":
            return _on_redis(settings, clock)
        case "sqlite":
            return _in_process(SqliteStore(settings.store.path, clock, timeout=settings.store.timeout), clock)
        case _:
            return _in_process(MemoryStore(clock), clock)


def _in_process(store: Store, clock: Clock) -> Backing:
    return Backing(store, MemoryShared(clock), in_memory(clock))


def _on_redis(settings: Settings, clock: Clock) -> Backing:
    # An extra: it says itself what to install, and is imported only where it is chosen.
    from wshttp.realtime.redis_broker import RedisBroker
    from wshttp.stores.redis.shared import RedisShared
    from wshttp.stores.redis.store import RedisStore

    chosen = settings.store
    node = secrets.token_hex(6)
    store = RedisStore(
        chosen.url,
        prefix=chosen.prefix,
        clock=clock,
        timeout=chosen.timeout,
        lease=settings.session.lease,
        cache=chosen.cache,
        grace=chosen.grace,
        node=node,
    )

    def shared(part: str, **bounds: int) -> RedisShared:
        name = f"{node}.{part}"
        return RedisShared(store.link, chosen.prefix, timeout=chosen.timeout, node=name, part=part, **bounds)

    return Backing(
        store,
        shared("shared"),
        Kept(
            shared("tickets", **TICKETS._asdict()),
            shared("queues", **QUEUES._asdict()),
            shared("histories", **HISTORIES._asdict()),
        ),
        RedisBroker(store.link, chosen.url, prefix=chosen.prefix, timeout=chosen.timeout, node=node),
        copies=store,
        node=node,
    )
