"""Limits on connections, and how those over them are turned away."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest

from wshttp.engine import refusals
from wshttp.engine.address import TrustedProxies
from wshttp.engine.limits import Limits
from wshttp.errors import Forbidden
from wshttp.testing import FakeClock

PATIENCE = 10.0
PROXY_HEADER = b"PROXY TCP4 192.0.2.7 127.0.0.1 4096 80\r\n"
LOOPBACK = TrustedProxies(["127.0.0.0/8"])


@pytest.mark.feature("M2")
async def test_connection_over_the_limit_is_answered_503(serving: Any, connect: Any, until: Any) -> None:
    """The limit in all counts everybody; a place that is free again is given again."""
    async with serving(limits=Limits(max_connections=2)) as (server, port, _):
        async with connect(port) as first, connect(port) as second:
            for client in (first, second):
                client.get()
                assert (await client.response()).status == 200
            async with connect(port) as third:
                third.get()
                refused = await third.response()
                assert (refused.status, refused.headers["connection"]) == (503, "close")
                assert refused.headers["content-type"] == "application/problem+json"
                assert int(refused.headers["retry-after"]) > 0
                assert refused.json()["type"] == "urn:wshttp:limit-reached"
                assert await third.ended() == b""
            assert (server.counts.accepted, server.counts.refused, server.counts.open) == (3, 1, 2)
        await until(lambda: server.counts.open == 0)
        async with connect(port) as again:
            again.get()
            assert (await again.response()).status == 200


@pytest.mark.feature("M2")
async def test_connection_over_the_limit_per_address_is_answered_429(serving: Any, connect: Any) -> None:
    """One address has its share; another still gets in, and the limit can change while running."""
    async with serving(limits=Limits(max_connections_per_ip=1)) as (server, port, _), connect(port) as first:
        first.get()
        assert (await first.response()).status == 200
        async with connect(port) as second:
            assert (await second.response()).status == 429
        async with connect(port, local_addr=("127.0.0.2", 0)) as other:
            other.get()
            assert (await other.response()).status == 200
        server.limits = Limits(max_connections_per_ip=2)
        async with connect(port) as second:
            second.get()
            assert (await second.response()).status == 200


async def test_limit_per_address_does_not_count_a_proxy(serving: Any, connect: Any) -> None:
    """A trusted proxy carries many clients, so that its own address has no share."""
    options = {"proxies": LOOPBACK, "limits": Limits(max_connections_per_ip=1)}
    async with serving(**options) as (_, port, _), connect(port) as first, connect(port) as second:
        for client in (first, second):
            client.get()
            assert (await client.response()).status == 200


async def test_limit_per_address_counts_the_source_of_a_proxy_header(serving: Any, connect: Any, until: Any) -> None:
    """Behind the PROXY protocol each client has its own share, given back when it leaves."""
    options = {"proxies": LOOPBACK, "proxy_protocol": True, "limits": Limits(max_connections_per_ip=1)}
    async with serving(**options) as (server, port, _):
        async with connect(port) as first, connect(port) as second:
            first.send(PROXY_HEADER)
            first.get()
            assert (await first.response()).status == 200
            second.send(PROXY_HEADER)
            second.get()
            assert (await second.response()).status == 429
        await until(lambda: server.counts.open == 0)
        async with connect(port) as third:
            third.send(PROXY_HEADER)
            third.get()
            assert (await third.response()).status == 200


@pytest.mark.feature("M4")
async def test_connection_is_let_in_by_the_owners_hook(serving: Any, connect: Any) -> None:
    """A number refuses with 429 and when to come back; an error refuses in its own way."""
    asked: list[tuple[str, str]] = []
    answers: list[float | Exception | None] = [None, 2.5, Forbidden("not you")]

    def on_accept(ip: str, bucket: str) -> float | None:
        asked.append((ip, bucket))
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with serving(on_accept=on_accept) as (_, port, _):
        async with connect(port) as client:
            client.get()
            assert (await client.response()).status == 200
        async with connect(port) as client:
            refused = await client.response()
            assert (refused.status, refused.headers["retry-after"]) == (429, "3")
            assert refused.json()["type"] == "urn:wshttp:too-many-requests"
        async with connect(port) as client:
            refused = await client.response()
            assert (refused.status, refused.json()["detail"]) == (403, "not you")
            assert "retry-after" not in refused.headers
    assert asked == [("127.0.0.1", "127.0.0.1")] * 3


async def test_refused_connections_are_held_within_bounds(
    serving: Any, connect: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that don't close cost a few descriptors for a short time, and all get their answer."""
    monkeypatch.setattr(refusals, "MOST_LINGERING", 3)
    async with serving(limits=Limits(max_connections=1)) as (server, port, _), AsyncExitStack() as stack:
        first = await stack.enter_async_context(connect(port))
        first.get()
        await first.response()
        files = len(os.listdir("/proc/self/fd"))
        refused = [await stack.enter_async_context(connect(port)) for _ in range(8)]
        for client in refused:
            assert (await client.response()).status == 503
        assert len(os.listdir("/proc/self/fd")) == files + 8 + 3
        clock.advance(refusals.LINGER_SECONDS)
        server.tick()
        assert len(os.listdir("/proc/self/fd")) == files + 8
        for client in refused:
            assert await client.ended() == b""


async def test_refusals_are_one_line_in_the_log(serving: Any, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A flood is told once a look at the timers, not once a connection."""
    async with serving(on_accept=lambda ip, bucket: 1.0) as (server, port, _):
        for _ in range(5):
            async with connect(port) as client:
                assert (await client.response()).status == 429
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            server.tick()
            server.tick()
        assert [record.getMessage() for record in caplog.records] == [
            "refused 5 connections; the last: too many connections; retry in 1 s"
        ]


async def test_refused_client_that_has_sent_its_request_reads_the_answer_to_its_end(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing over unread input would reset the connection, even of one that is not lingered for."""
    monkeypatch.setattr(refusals, "MOST_LINGERING", 0)
    here, client = socket.socketpair()  # unlike TCP on loopback, its reset is seen for certain
    with client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        here.setblocking(False)
        refusals.Refusals(asyncio.get_running_loop(), clock.monotonic).answer(here, Forbidden("not you"))
        assert client.recv(4096).startswith(b"HTTP/1.1 403 ")
        assert client.recv(4096) == b""


async def test_fault_in_the_owners_hook_lets_nobody_in(serving: Any, connect: Any) -> None:
    """It is reported to the loop, the connection is closed, and the next one is asked about again."""
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context["exception"]))
    answers = [True, False]

    def on_accept(ip: str, bucket: str) -> None:
        if answers.pop(0):
            raise RuntimeError("a fault")

    async with serving(on_accept=on_accept) as (server, port, _):
        async with connect(port) as client:
            assert await client.ended() == b""
        assert [str(fault) for fault in faults] == ["a fault"]
        assert server.counts.open == 0
        async with connect(port) as client:
            client.get()
            assert (await client.response()).status == 200
