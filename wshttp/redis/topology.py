"""Where the primary is: at a fixed place, where sentinels say, or in a cluster where the slot of our keys is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot

from wshttp.config.redis_url import Place, RedisUrl, parse
from wshttp.errors import ConfigurationError, StoreUnusable
from wshttp.redis.greeting import Conversation, Greeter, Server, cut
from wshttp.redis.refusals import RedisRefused, RedisUnavailable


class Topology(Protocol):
    """Finds the primary anew for each connection, since it may have moved. As text it is where that is looked for."""

    async def connect(self) -> AbstractConnection:
        """Return a connection to the primary. Raises `RedisUnavailable`, and `StoreUnusable` where trying again
        would not help."""


def topology_of(url: str, *, root: str, timeout: float, client_name: str) -> Topology:
    """Return how the primary is found that a URL means; raises `ConfigurationError`.

    `timeout` bounds a whole attempt; `root` is a key in the slot that is meant.
    """
    parsed = _parsed(url)
    # A server that hangs must leave time to ask the others.
    share = timeout if parsed.kind == "single" else timeout / (len(parsed.places) + 1)
    greeter = Greeter(parsed.login, parsed.tls, share, client_name)
    if parsed.kind == "sentinel":
        return Sentinels(parsed, greeter, Greeter(parsed.sentinel_login, parsed.tls, share), timeout)
    return Cluster(parsed, greeter, root, timeout) if parsed.kind == "cluster" else Single(parsed, greeter)


def database_of(url: str) -> int:
    """Return the number of the database that a URL means; raises `ConfigurationError`.

    Keys are apart by it; channels are the same in all of a server's, and have to name it.
    """
    return _parsed(url).db


def _parsed(url: str) -> RedisUrl:
    try:
        return parse(url)
    except ValueError as error:
        raise ConfigurationError([f"store.url: {error}"]) from None


class Single:
    """One server at a fixed place."""

    def __init__(self, url: RedisUrl, greeter: Greeter) -> None:
        self._url = url
        self._greeter = greeter

    def __str__(self) -> str:
        return str(self._url)

    async def connect(self) -> AbstractConnection:
        place = self._url.places[0]
        connection, server = await self._greeter.connect(place, db=self._url.db)
        wrong = _wrong_kind(server, place)
        if wrong:
            await cut(connection)
            raise StoreUnusable(f"store.url: {wrong}")
        return connection


def _wrong_kind(server: Server, place: Place) -> str:
    """Say why a server is not one to keep anything in; empty if it is."""
    if server.mode == "sentinel":
        return f"{place} is a sentinel: redis+sentinel://{place}/service/0"
    if server.mode == "cluster":
        return f"{place} is part of a cluster: redis+cluster://{place}"
    if server.role != "master":
        return f"{place} is a read-only replica; name its primary, or the sentinels that know it"
    return ""


class Sentinels:
    """The primary that sentinels name for a service."""

    def __init__(self, url: RedisUrl, greeter: Greeter, sentinel_greeter: Greeter, timeout: float) -> None:
        self._url = url
        self._greeter = greeter
        self._sentinel_greeter = sentinel_greeter
        self._timeout = timeout
        self._sentinels = list(url.places)

    def __str__(self) -> str:
        return str(self._url)

    async def connect(self) -> AbstractConnection:
        return await _by_one_of(self._sentinels, self._connect_by, self._timeout)

    async def _connect_by(self, sentinel: Place) -> AbstractConnection:
        primary = await self._primary(sentinel)
        connection, server = await self._greeter.connect(primary, db=self._url.db)
        if server.role == "master":
            return connection
        await cut(connection)  # a sentinel that has not heard of the last failover, or does not yet know it is over
        raise RedisUnavailable(f"{primary} is no primary any more, though {sentinel} says so")

    async def _primary(self, sentinel: Place) -> Place:
        greeter = self._sentinel_greeter
        connection, server = await greeter.connect(sentinel)
        try:
            if server.mode != "sentinel":
                raise StoreUnusable(f"store.url: {sentinel} is no sentinel; a Redis itself is redis://{sentinel}/0")
            command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service)
            found = await _question(connection, greeter.timeout, sentinel, *command)
        finally:
            await cut(connection)
        if found is None:
            raise StoreUnusable(f"store.url: {sentinel} knows no service {self._url.service!r}")
        return Place(found[0].decode(), int(found[1]))


class Cluster:
    """The node of a cluster that has the slot of our keys; any node that is known is asked for it."""

    def __init__(self, url: RedisUrl, greeter: Greeter, root: str, timeout: float) -> None:
        self._url = url
        self._greeter = greeter
        self._slot = key_slot(root.encode())
        self._timeout = timeout
        self._nodes = list(url.places)

    def __str__(self) -> str:
        return str(self._url)

    async def connect(self) -> AbstractConnection:
        return await _by_one_of(self._nodes, self._connect_by, self._timeout)

    async def _connect_by(self, node: Place) -> AbstractConnection:
        primary = await self._primary(node)
        connection, server = await self._greeter.connect(primary)
        if server.role == "master":
            return connection
        await cut(connection)  # a node that has not heard of the last failover
        raise RedisUnavailable(f"{primary} is no primary any more, though {node} says so")

    async def _primary(self, node: Place) -> Place:
        connection, server = await self._greeter.connect(node)
        try:
            if server.mode != "cluster":
                raise StoreUnusable(f"store.url: {node} is not part of a cluster: redis://{node}/0")
            return self._learn(await _question(connection, self._greeter.timeout, node, "CLUSTER", "SLOTS"), node)
        finally:
            await cut(connection)

    def _learn(self, slots: list[Any], asked: Place) -> Place:
        """Remember which nodes there are, and return the primary of our slot."""
        primary = None
        known = dict.fromkeys([asked])
        for first, last, *nodes in slots:
            # A node that does not know its own name leaves it out: it is where we asked.
            places = [Place(host.decode() if host else asked.host, port) for host, port, *_ in nodes]
            known |= dict.fromkeys(places)
            if first <= self._slot <= last:
                primary = places[0]
        self._nodes[:] = known | dict.fromkeys(self._url.places)
        if primary is None:
            raise RedisUnavailable(f"{asked}: nobody in the cluster has slot {self._slot}")
        return primary


async def _question(connection: AbstractConnection, timeout: float, place: Place, *command: str) -> Any:
    try:
        return await Conversation(connection, timeout, place).ask(*command)
    except RedisUnavailable as error:
        named = error.reason if str(place) in error.reason else f"{place}: {error.reason}"
        raise RedisUnavailable(named, code=error.code) from None
    except RedisRefused as error:
        raise StoreUnusable(f"store.url: {place} does not answer {' '.join(command[:2])}: {error}") from None


async def _by_one_of(
    places: list[Place], connect: Callable[[Place], Awaitable[AbstractConnection]], timeout: float
) -> AbstractConnection:
    """Connect by the first that can help; one that cannot is asked last the next time."""
    errors: list[RedisUnavailable | StoreUnusable] = []
    try:
        async with asyncio.timeout(timeout):
            for place in list(places):
                try:
                    return await connect(place)
                except (RedisUnavailable, StoreUnusable) as error:
                    errors.append(error)
                    places.remove(place)
                    places.append(place)
    except TimeoutError:
        errors.append(RedisUnavailable(f"nothing was found within {timeout:g} s"))
    text = "; ".join(dict.fromkeys(map(str, errors)))
    # As long as one of them may come back, all may be well.
    hopeless = all(isinstance(error, StoreUnusable) for error in errors)
    raise StoreUnusable(text) if hopeless else RedisUnavailable(text)
