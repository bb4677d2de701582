"""`SIGSTOP`: of Redis and of nodes, which then know nothing of the time that has passed."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from faults.conftest import Guarantee
from faults.fleet import LEASE, TIMEOUT, Fleet, fleet
from faults.load import load
from faults.sizes import FULL, size
from faults.test_kills import check
from faults.verdict import Allowed
from processes import until

PAUSE = 10.0 if FULL else 2.5
"""Seconds; the small size is longer than `store.timeout`, and than what is left of some leases."""


def pass_time() -> None:
    """Let the pause last: it is the fault itself, nothing is waited for."""
    threading.Event().wait(PAUSE)


class Sleepers:
    """Sessions of clients who are silent for the pause, each on its time-outs."""

    def __init__(self, nodes: Fleet, **timeouts: float) -> None:
        self._nodes = nodes
        self._cookies: dict[str, str] = {}
        query = "&".join(f"{name}={value}" for name, value in timeouts.items())
        for node in nodes.nodes * 3:
            answer = node.process.get(f"/timeouts?{query}")
            assert answer.status == 200, answer.text
            self._cookies[json.loads(answer.text)["ref"]] = answer.headers["Set-Cookie"].partition(";")[0]

    def statuses(self) -> set[int]:
        """Look at each, on all nodes in turn."""
        return {
            self._nodes.nodes[number % len(self._nodes.nodes)]
            .process.get("/wshttp/session?touch=0", {"Cookie": cookie})
            .status
            for number, cookie in enumerate(self._cookies.values())
        }


@pytest.mark.feature("T3", "T5", "E8")
def test_redis_that_is_paused_ends_nobody(tmp_path: Path, redis_program: str, guarantee: Guarantee) -> None:
    """Requests are refused in time, sockets stay open, and who was silent for longer than their idle time-out is there:
    idle clocks stood still. The absolute time-out did not."""
    rounds = size(5, small=1)
    with fleet(tmp_path, redis_program) as nodes, load(nodes) as clients:
        for _ in range(rounds):
            clients.answers(100)
            bound = Sleepers(nodes, absolute=PAUSE * 0.8)
            sleepers = Sleepers(nodes, idle=PAUSE * 0.8)
            nodes.redis.pause()
            clients.refusals(1)
            until(lambda: not any(node.is_ready for node in nodes.nodes))
            pass_time()
            nodes.redis.resume()
            nodes.ready()
            assert sleepers.statuses() == {200}
            assert bound.statuses() == {401}
        seen = check(nodes, clients, Allowed(late=PAUSE + 5, slow=TIMEOUT + 3, reasons={"idle", "absolute"}))
    guarantee(
        "1–4, 6",
        f"Redis is paused for {PAUSE:g} s, with `store.timeout: {TIMEOUT:g}s`", f"{rounds} times", seen,
    )  # fmt: skip


@pytest.mark.feature("T3", "T5", "E8")
def test_node_that_is_paused_is_replaced(tmp_path: Path, redis_program: str, guarantee: Guarantee) -> None:
    """Others deliver what it owes once its lease is over; when it wakes it does no harm, and closes its sockets."""
    rounds = size(5, small=1)
    with fleet(tmp_path, redis_program) as nodes, load(nodes, clients=16) as clients:
        for number in range(rounds):
            clients.answers(100)
            node = nodes.nodes[number % len(nodes.nodes)]
            node.pause()
            pass_time()
            node.resume()
        clients.answers(100)
        # A lease may be a third old when its node falls asleep, so that even a short sleep may outlast it.
        slept = {node.name for node in nodes.nodes[:rounds]}
        seen = check(nodes, clients, Allowed(late=PAUSE + LEASE + 7, slow=PAUSE + 10, overtaken=slept))
    guarantee(
        "1–4",
        f"a node is paused for {PAUSE:g} s, with `session.lease: {LEASE:g}s`", f"{rounds} times", seen,
    )  # fmt: skip
