"""What a request asks of Redis: counted there, with MONITOR, while real requests go to a server in a process of its own.

Everything that arrives counts, but for what comes without any request: sweeps, leases, and words between servers that
both are alive. What a script does inside is no round trip.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks import hello_servers
from benchmarks.blocking_client import BlockingClient
from benchmarks.redis_server import RedisServer, redis_server
from benchmarks.table import Table
from wshttp.stores.redis.scripts import Scripts

TIMES = 500
QUICK_TIMES = 5

CACHE = "60s"

STEPS = ("load", "load_ref", "create", "apply", "increment", "renew", "end", "settle", "acquire", "release")
"""The scripts that a request leads to."""

BACKGROUND = ("take_due", "lease", "touches")
"""Those that the passing of time leads to."""

ALIVE = '["alive",'
"""How the word begins that servers say to each other now and then."""

READS = "a request that reads"
"""What the others are compared with."""

MARK = "done"


def tables(quick: bool) -> list[Table]:
    """Count for each kind of request, without and with copies."""
    times = QUICK_TIMES if quick else TIMES
    table = Table(
        "Round trips",
        f"Commands that arrive at Redis for each request or message: mean of {times:,} of each kind.",
        ["what a client does", "round trips", "ratio", "of which"],
    )
    with redis_server() as redis:
        counts = _count_all(redis, times)
    reads = counts[READS].total()
    for name, found in counts.items():
        parts = (f"{command} {number / times:.2f}" for command, number in found.most_common() if number / times > 0.01)
        table.add(name, f"{found.total() / times:.2f}", f"{found.total() / reads:.2f}", ", ".join(parts) or "0")
    return [table]


def _count_all(redis: RedisServer, times: int) -> dict[str, Counter[str]]:
    with hello_servers.ours(kind="redis", url=redis.url) as server:
        counts = dict(_count_each(redis, server.port, times))
    with hello_servers.ours(kind="redis", url=redis.url, cache=CACHE) as server, _client(server.port) as client:
        client.ask("GET", "/")  # of which a copy is kept
        counts["a request that reads, `store.cache`"] = _count(redis, times, lambda: client.ask("GET", "/"))
        counts["a request that changes, `store.cache`"] = _count(redis, times, lambda: client.ask("GET", "/count"))
        client.open_websocket("/echo")
        counts["a message that reads, `store.cache`"] = _count(redis, times, lambda: client.echo(b"hello"))
    return counts


def _count_each(redis: RedisServer, port: int, times: int) -> Iterator[tuple[str, Counter[str]]]:
    with _client(port) as client:
        client.ask("GET", "/")
        yield READS, _count(redis, times, lambda: client.ask("GET", "/"))
        yield "a request that changes", _count(redis, times, lambda: client.ask("GET", "/count"))
        client.open_websocket("/echo")
        yield "a message that reads", _count(redis, times, lambda: client.echo(b"hello"))
    with _client(port) as client:
        client.ask("GET", "/")
        client.open_websocket("/tally")
        yield "a message that changes", _count(redis, times, lambda: client.echo(b"hello"))
    newcomers = [_client(port) for _ in range(times + 1)]
    waiting = iter(newcomers)
    yield "a request that starts a session", _count(redis, times, lambda: next(waiting).ask("GET", "/"))
    waiting = iter(newcomers)
    yield "a log-out", _count(redis, times, lambda: next(waiting).ask("DELETE", "/wshttp/session", 204))
    for client in newcomers:
        client.close()


def _client(port: int) -> BlockingClient:
    return BlockingClient(hello_servers.HOST, port)


def _count(redis: RedisServer, times: int, act: Callable[[], None]) -> Counter[str]:
    """Act so often, and return what arrived for it, by script or command."""
    act()  # for the first time a script travels with its source
    with _monitor(redis) as arrived:
        for _ in range(times):
            act()
    return Counter(name for name in arrived if name not in BACKGROUND)


@contextmanager
def _monitor(redis: RedisServer) -> Iterator[list[str]]:
    """Collect what arrives; complete when this is left."""
    names = {script.sha: script.name for script in map(Scripts().__getitem__, (*STEPS, *BACKGROUND))}
    arrived: list[str] = []
    with redis.client.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py has no types there
        yield arrived
        redis.client.echo(MARK)
        for line in monitor.listen():
            command, _, rest = line["command"].partition(" ")
            argument = rest.partition(" ")[0]
            if (command, argument) == ("ECHO", MARK):
                return
            if line["client_type"] != "lua" and ALIVE not in rest:
                arrived.append(names[argument] if command == "EVALSHA" else command)
