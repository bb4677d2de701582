"""What ours and Tornado's server achieve, in turns, so that both meet the same machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import hello_servers
from benchmarks.hello_servers import HelloServer
from benchmarks.load import CONNECTIONS, Conversation, rate
from benchmarks.table import Table

ROUNDS = 3
SECONDS = 0.6


@dataclass(frozen=True)
class Round:
    """Answers, how many of them per second, and microseconds that the server computed for each."""

    answers: int
    rate: float
    cost: float


def table_of_rates(title: str, unit: str, conversation: Callable[[str], Conversation], quick: bool) -> Table:
    """Measure both servers with the same conversation. `unit` is what is counted."""
    seconds = SECONDS / 20 if quick else SECONDS
    table = Table(
        title,
        f"{unit} per second over {CONNECTIONS} connections, and µs that the server computes for each: "
        f"best (worst) of {ROUNDS} rounds, the two in turns.",
        ["server", "per second", "ratio", "µs", "ratio"],
    )
    with hello_servers.both() as servers:
        rounds = [[round_with(server, conversation, seconds) for server in servers] for _ in range(ROUNDS)]
    stock = [pair[1] for pair in rounds]
    for name, results in (("wshttp, with a session", [pair[0] for pair in rounds]), ("stock Tornado, without", stock)):
        rates, costs = [each.rate for each in results], [each.cost for each in results]
        table.add(
            name,
            f"{max(rates):,.0f} ({min(rates):,.0f})",
            f"{max(rates) / max(each.rate for each in stock):.2f}",
            f"{min(costs):.0f} ({max(costs):.0f})",
            f"{min(costs) / min(each.cost for each in stock):.2f}",
        )
    return table


def round_with(server: HelloServer, conversation: Callable[[str], Conversation], seconds: float) -> Round:
    """Talk with a server for so many seconds."""
    host = f"{hello_servers.HOST}:{server.port}"
    before = server.computed()
    answers, took = asyncio.run(rate(hello_servers.HOST, server.port, conversation(host), seconds))
    return Round(answers, answers / took, (server.computed() - before) / answers * 1e6)
