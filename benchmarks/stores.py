"""Requests per second with each store, side by side: one that reads its session, and one that changes it.

The same server, in a process of its own for each store; all run for the whole time, and are asked in turns.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import hello_servers
from benchmarks.hello_servers import HelloServer
from benchmarks.load import CONNECTIONS, Conversation, http_conversation
from benchmarks.rates import ROUNDS, SECONDS, Round, round_with
from benchmarks.redis_server import DURABLE, FORGETFUL, RedisServer, redis_server
from benchmarks.table import Table

CASES = {"reads": "/", "changes": "/count"}
"""What the request does with its session, and where."""


@dataclass(frozen=True)
class Candidate:
    """A server with one kind of store."""

    name: str
    server: HelloServer
    redis: RedisServer | None = None


@dataclass(frozen=True)
class Result:
    """One round, and the microseconds that Redis computed for each answer; 0 without a Redis."""

    round: Round
    redis: float


def tables(quick: bool) -> list[Table]:
    """Measure each case with all stores."""
    seconds = SECONDS / 20 if quick else SECONDS
    with _candidates() as candidates:
        return [
            _table(f"A request that {case}", candidates, partial(http_conversation, path=path), seconds)
            for case, path in CASES.items()
        ]


def _table(
    title: str, candidates: list[Candidate], conversation: Callable[[str], Conversation], seconds: float
) -> Table:
    table = Table(
        title,
        f"Answers per second over {CONNECTIONS} connections, µs that the server computes for each, and µs that Redis does: "
        f"best (worst) of {ROUNDS} rounds, all stores in turns.",
        ["store", "per second", "ratio", "µs", "ratio", "Redis µs"],
    )
    rounds = [[_ask(candidate, conversation, seconds) for candidate in candidates] for _ in range(ROUNDS)]
    first = [results[0].round for results in rounds]
    for candidate, results in zip(candidates, zip(*rounds, strict=True), strict=True):
        rates, costs = [each.round.rate for each in results], [each.round.cost for each in results]
        table.add(
            candidate.name,
            f"{max(rates):,.0f} ({min(rates):,.0f})",
            f"{max(rates) / max(each.rate for each in first):.2f}",
            f"{min(costs):.0f} ({max(costs):.0f})",
            f"{min(costs) / min(each.cost for each in first):.2f}",
            f"{min(each.redis for each in results):.0f}" if candidate.redis else "",
        )
    return table


def _ask(candidate: Candidate, conversation: Callable[[str], Conversation], seconds: float) -> Result:
    redis = candidate.redis
    if redis is None:
        return Result(round_with(candidate.server, conversation, seconds), 0.0)
    redis.forget_usage()
    found = round_with(candidate.server, conversation, seconds)
    return Result(found, redis.usage().computed / found.answers * 1e6)


@contextmanager
def _candidates() -> Iterator[list[Candidate]]:
    """Run a server with each store; the first is what the others are compared with."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        durable, forgetful = (stack.enter_context(redis_server(options)) for options in (DURABLE, FORGETFUL))

        def run(name: str, redis: RedisServer | None = None, **store: str) -> Candidate:
            return Candidate(name, stack.enter_context(hello_servers.ours(**store)), redis)

        yield [
            run("memory"),
            run("sqlite", kind="sqlite", path=str(Path(folder, "sessions"))),
            run("redis, `appendfsync always`", durable, kind="redis", url=durable.url),
            run("redis, nothing on disk", forgetful, kind="redis", url=forgetful.url),
            run("redis, `store.cache`", forgetful, kind="redis", url=forgetful.url, prefix="cached", cache="60s"),
        ]
