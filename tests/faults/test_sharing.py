"""One session, worked on from all nodes at the same time."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from faults.background import Background
from faults.conftest import Guarantee
from faults.fleet import Fleet, fleet
from faults.history import now
from faults.http_connection import HttpConnection
from faults.load import Socket
from faults.sizes import size

INCREMENTS = size(100_000, small=3000)
LOG_OUTS = size(300, small=10)
CLIENTS = 4
"""On each node."""

LONGEST = 1200.0
"""Seconds for the increments at full size, on a slow machine."""


class Writer:
    """A client on one node, who increments the common number and sets keys of its own."""

    def __init__(self, number: int, address: str, cookie: str) -> None:
        self.own: dict[str, int] = {}
        self.told: list[int] = []
        self._random = random.Random(number)
        self._keys = [f"{number}-{key}" for key in range(5)]
        self._connection = HttpConnection(address)
        self._headers = {"Cookie": cookie}

    async def write(self, times: int) -> None:
        for _ in range(times):
            key, value = self._random.choice(self._keys), self._random.randrange(10**6)
            answer = await self._connection.ask("GET", f"/hit?key={key}&value={value}", self._headers)
            assert answer.status == 200, answer.body
            self.own[key] = value
            self.told.append(answer.json()["n"])
        self._connection.close()


def begin(nodes: Fleet) -> str:
    """Begin a session, and return its cookie."""
    answer = nodes.nodes[0].process.get("/timeouts?idle=1200")
    assert answer.status == 200
    return answer.headers["Set-Cookie"].partition(";")[0]


@pytest.mark.feature("T3", "E5")
def test_changes_from_all_nodes_all_arrive(tmp_path: Path, redis_program: str, guarantee: Guarantee) -> None:
    """No increment is lost, none counts twice, and each key has the last value that its writer gave it."""
    with fleet(tmp_path, redis_program) as nodes:
        cookie, background = begin(nodes), Background()
        writers = [
            Writer(number, nodes.nodes[number % len(nodes.nodes)].address, cookie)
            for number in range(CLIENTS * len(nodes.nodes))
        ]
        count = len(writers)
        shares = [(INCREMENTS + number) // count for number in range(count)]

        async def work() -> None:
            await asyncio.gather(*map(Writer.write, writers, shares))

        try:
            background.do(work(), LONGEST)
        finally:
            background.close()
        nodes.end_all()
        [end] = [line for line in nodes.lines() if line["kind"] == "end"]
    data: dict[str, Any] = end["data"]
    assert sorted(told for writer in writers for told in writer.told) == list(range(1, INCREMENTS + 1))
    assert data.pop("n") == INCREMENTS
    assert data == {key: value for writer in writers for key, value in writer.own.items()}
    guarantee(
        "3", "3 nodes write to one session at once",
        f"{INCREMENTS:,} increments and keys", "all there; each increment counted once",
    )  # fmt: skip


@pytest.mark.feature("T3", "W9")
def test_log_out_closes_sockets_on_all_nodes(tmp_path: Path, redis_program: str, guarantee: Guarantee) -> None:
    """With 4001, wherever the request of the log-out went."""
    with fleet(tmp_path, redis_program) as nodes:
        background, times = Background(), []
        try:
            for number in range(LOG_OUTS):
                times += background.do(_log_out(nodes, begin(nodes), number))
        finally:
            background.close()
        nodes.end_all()
    times.sort()
    middle, late = (1000 * times[int(len(times) * part)] for part in (0.5, 0.99))
    seen = f"{len(times)} sockets closed; the median after {middle:.0f} ms, p99 after {late:.0f} ms"
    guarantee("4", "a log-out on any node", f"{LOG_OUTS} times", seen)


async def _log_out(nodes: Fleet, cookie: str, number: int) -> list[float]:
    """Open a socket on each node, log out on one, and return how many seconds after that each was closed."""
    sockets = await asyncio.gather(*(Socket.open(node, cookie) for node in nodes.nodes))
    connection = HttpConnection(nodes.nodes[number % len(nodes.nodes)].address)
    began = now()
    answer = await connection.ask("DELETE", "/wshttp/session", {"Cookie": cookie})
    assert answer.status == 204, answer.body
    connection.close()
    times = []
    for socket in sockets:
        assert socket is not None
        await asyncio.wait_for(socket.reading, 20)
        assert socket.held.code == 4001
        times.append((socket.held.closed - began) / 1e9)
    return times
