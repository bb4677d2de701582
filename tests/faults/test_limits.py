"""Limits hold on all nodes together, however many come at once."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import Counter
from pathlib import Path

import pytest
from faults.background import Background
from faults.conftest import Guarantee
from faults.fleet import Fleet, fleet
from faults.history import History
from faults.http_connection import Answer, HttpConnection
from faults.sizes import size
from faults.verdict import Allowed, Verdict

CLIENTS = size(2000, small=200)
"""Half of them log in, half are anonymous."""

USERS = [f"user-{number}" for number in range(CLIENTS // 40)]
ADDRESSES = [f"192.0.2.{number}" for number in range(10)]

PER_USER, PER_ADDRESS = 3, 4
IN_ALL = PER_USER * len(USERS) + 20


class Crowd:
    """Clients of all nodes who come at the same moment, and somebody who counts all the while."""

    def __init__(self, nodes: Fleet) -> None:
        self._addresses = [node.address for node in nodes.nodes]
        self._over = False
        self.most: Counter[str] = Counter()
        """Per user, per address and in all, the most sessions that were ever counted."""
        self.counts = 0
        self.statuses: Counter[int] = Counter()

    async def come(self) -> None:
        self._over = False
        counting = [asyncio.create_task(self._count(address)) for address in self._addresses]
        try:
            await asyncio.gather(*(self._one(number) for number in range(CLIENTS)))
        finally:
            self._over = True
            await asyncio.gather(*counting)

    async def _one(self, number: int) -> None:
        connection = HttpConnection(self._addresses[number % len(self._addresses)])
        try:
            self.statuses[(await self._enter(connection, number)).status] += 1
        finally:
            connection.close()

    async def _enter(self, connection: HttpConnection, number: int) -> Answer:
        if number % 2:
            return await connection.ask("GET", "/hit", {"X-Forwarded-For": ADDRESSES[number // 2 % len(ADDRESSES)]})
        basic = b64encode(f"{USERS[number // 2 % len(USERS)]}:right".encode()).decode()
        headers = {"X-Forwarded-For": f"198.51.100.{number % 250}", "Authorization": f"Basic {basic}"}
        return await connection.ask("POST", "/wshttp/login", headers)

    async def _count(self, address: str) -> None:
        """Count on one node, again and again."""
        connection = HttpConnection(address)
        while not self._over:
            for query in ("", *(f"?user={user}" for user in USERS[:2]), *(f"?remote_ip={ip}" for ip in ADDRESSES[:2])):
                answer = await connection.ask("GET", f"/count{query}", {})
                assert answer.status == 200, answer.body
                self.most[query] = max(self.most[query], answer.json()["sessions"])
                self.counts += 1
        connection.close()


@pytest.mark.feature("T3", "T5")
def test_limits_hold_for_all_nodes_together(tmp_path: Path, redis_program: str, guarantee: Guarantee) -> None:
    """Per user, per address and in all; nobody ever counts more, and whoever has to go has an end."""
    settings = (
        f"session.max_sessions_per_user={PER_USER}", f"session.max_sessions_per_ip={PER_ADDRESS}",
        f"session.max_sessions={IN_ALL}", "server.trusted_proxies=[127.0.0.0/8]", "store.timeout=20s", "session.lease=30s",
        "auth.max_failures=0",
    )  # fmt: skip
    with fleet(tmp_path, redis_program, *settings) as nodes:
        crowd, background = Crowd(nodes), Background()
        try:
            background.do(crowd.come(), 120)
        finally:
            background.close()
        assert crowd.statuses.keys() <= {200, 401}  # 401: had to go before its request was through
        counted = {
            query: json.loads(nodes.nodes[0].process.get(f"/count{query}").text)["sessions"] for query in crowd.most
        }
        limits = {query: IN_ALL if not query else PER_USER if "user" in query else PER_ADDRESS for query in crowd.most}
        assert {query: most for query, most in crowd.most.items() if most > limits[query]} == {}
        assert counted[""] == IN_ALL
        assert [counted[query] for query in counted if "user" in query] == [PER_USER] * 2
        nodes.end_all()
        verdict = Verdict(nodes.lines(), History(), Allowed(reasons={"limit"}))
    assert not verdict.faults, "\n".join(verdict.faults[:30])
    assert verdict.sessions == CLIENTS
    guarantee(
        "5", f"all come to 3 nodes at once; at most {PER_USER} sessions per user, {PER_ADDRESS} per address, {IN_ALL} in all",
        f"{CLIENTS:,} clients", f"never more, in {crowd.counts} counts meanwhile; one end for each who had to go",
    )  # fmt: skip
