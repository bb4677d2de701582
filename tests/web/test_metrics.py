"""Numbers for Prometheus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Browser, problem
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from redis_servers import RedisServer
from serving import farewell, new_server, running, until, websocket
from tornado.httpclient import HTTPResponse

from wshttp.testing import FakeClock
from wshttp.web.timings import Timings


def samples(response: HTTPResponse) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return all values of an exposition, by name and labels."""
    families = text_string_to_metric_families(response.body.decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


@pytest.mark.feature("A6")
async def test_metrics_count_what_happens(clock: FakeClock) -> None:
    """Sessions by life and reason, requests by method and status, ends by lateness; in Prometheus' text format."""
    server = new_server(clock, session={"identity": ["cookie"], "max_sessions": 2, "on_limit": "refuse"})
    server.get("/x")(lambda request: "x")
    async with running(server) as base:
        one, two = Browser(base), Browser(base)
        await one.get("/x")
        await two.get("/x")
        await Browser(base).get("/x")
        await one.delete("/wshttp/session")
        clock.advance(1201)
        await server.sessions.sweep()
        await two.get("/x")
        response = await Browser(base).get("/wshttp/metrics")
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        assert response.headers["Cache-Control"] == "no-store"
        values = samples(response)
        assert values["wshttp_sessions", ()] == 1
        assert values["wshttp_sessions_started_total", ()] == 3
        assert values["wshttp_sessions_ended_total", (("reason", "logout"),)] == 1
        assert values["wshttp_sessions_ended_total", (("reason", "idle"),)] == 1
        assert values["wshttp_sessions_refused_total", (("limit", "session.max_sessions"),)] == 1
        assert values["wshttp_requests_total", (("method", "GET"), ("status", "200"))] == 3
        assert values["wshttp_requests_total", (("method", "GET"), ("status", "503"))] == 1
        assert values["wshttp_requests_total", (("method", "DELETE"), ("status", "204"))] == 1
        assert values["wshttp_request_seconds_count", ()] == 5
        assert values["wshttp_session_end_lateness_seconds_count", ()] == 1
        assert values["wshttp_ledger_owed", ()] == 0
        assert values["wshttp_connections", ()] == 0
        assert values["wshttp_tcp_connections_total", (("outcome", "accepted"),)] >= 6
        assert values["wshttp_tcp_connections_total", (("outcome", "refused"),)] == 0
        assert values["wshttp_tcp_connections_open", ()] >= 1
        phases = ("body", "header", "idle", "write")
        assert [values["wshttp_tcp_timeouts_total", (("waiting_for", phase),)] for phase in phases] == [0] * 4


@pytest.mark.feature("A6")
async def test_metrics_count_log_ins_and_messages(users_file: str, ada: tuple[str, str], clock: FakeClock) -> None:
    """How passwords came out, how long messages took, with what WebSockets closed; a code of the application is `other`."""
    auth = {"users_file": users_file, "max_failures": 1}
    server = new_server(clock, session={"identity": ["cookie"]}, auth=auth)

    @server.websocket("/close")
    async def close(connection: Any, message: str) -> None:
        connection.close(int(message), "")

    async with running(server) as base:
        await Browser(base).log_in(*ada)
        for user in ("nobody", "nobody"):
            await Browser(base).log_in(user, "wrong")
        for code in ("3456", "4008", "4567"):
            async with websocket(base, "/close", origin=base) as socket:
                await socket.send(code)
                await farewell(socket)
        await until(lambda: len(server.hub) == 0)
        values = samples(await Browser(base).get("/wshttp/metrics"))
        outcomes = {
            name: values["wshttp_logins_total", (("outcome", name),)] for name in ("succeeded", "failed", "throttled")
        }
        assert outcomes == {"succeeded": 1, "failed": 1, "throttled": 1}
        assert values["wshttp_message_seconds_count", ()] == 3
        closed = {
            code: values["wshttp_connections_closed_total", (("code", code),)] for code in ("4008", "other", "1006")
        }
        assert closed == {"4008": 1, "other": 2, "1006": 0}
        assert values["wshttp_nodes", ()] == 1
        assert values["wshttp_store_seconds_count", ()] == 0


@pytest.mark.feature("A6")
async def test_store_is_timed_where_its_answers_have_a_way_to_go(
    redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """Redis over its socket, SQLite to its disk; whatever store it is, under one name."""
    stores = [
        {"kind": "redis", "url": redis_server.url(), "prefix": redis_prefix},
        {"kind": "sqlite", "path": str(tmp_path / "sessions.db")},
    ]
    for store in stores:
        async with running(new_server(store=store, session={"identity": ["cookie"]})) as base:
            await Browser(base).get("/wshttp/session")
            values = samples(await Browser(base).get("/wshttp/metrics"))
            assert values["wshttp_store_seconds_count", ()] > 0
            assert 0 < values["wshttp_store_seconds_sum", ()] < 10


def test_timings_describe_the_latest() -> None:
    """Quantiles by the nearest rank, of the latest thousand; the count is of all."""
    timings = Timings("wshttp_x_seconds", "X.", (1.0,), CollectorRegistry())
    assert timings.describe() == {"count": 0, "p50": None, "p95": None, "p99": None, "max": None}
    timings.observe(3.0)
    assert timings.describe() == {"count": 1, "p50": 3.0, "p95": 3.0, "p99": 3.0, "max": 3.0}
    for value in range(1, 1001):
        timings.observe(value / 1000)
    assert timings.describe() == {"count": 1001, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


@pytest.mark.feature("A6")
async def test_labels_are_bounded_and_tell_nobody(users_file: str, ada: tuple[str, str]) -> None:
    """No path, user, address, ref or token is in a label; a method that somebody makes up is `other`."""
    server = new_server(session={"identity": ["cookie"]}, auth={"users_file": users_file})
    async with running(server) as base:
        browser = Browser(base)
        await browser.log_in(*ada)
        await browser("BREW", "/coffee")
        response = await browser.get("/wshttp/metrics")
        assert samples(response)["wshttp_requests_total", (("method", "other"), ("status", "405"))] == 1
        [session] = [session async for session in server.sessions.scan()]
        text = response.body.decode()
        for secret in ("ada", "BREW", "coffee", "127.0.0.1", session.ref, browser.cookies["wshttp"]):
            assert secret not in text


@pytest.mark.feature("A6")
@pytest.mark.parametrize(
    ("allow", "address", "status"),
    [
        (None, "127.0.0.1", 200),
        (None, "192.0.2.1", 403),
        (None, "::1", 200),
        (["192.0.2.0/24"], "192.0.2.1", 200),
        (["192.0.2.0/24"], "127.0.0.1", 403),
        ([], "127.0.0.1", 403),
    ],
)
async def test_metrics_are_for_the_networks_of_the_setting(allow: Any, address: str, status: int) -> None:
    """Who asks is the client, not the proxy; others get 403."""
    metrics = {} if allow is None else {"allow": allow}
    server = new_server(metrics=metrics, server={"trusted_proxies": ["127.0.0.1"]})
    async with running(server) as base:
        response = await Browser(base, X_Forwarded_For=address).get("/wshttp/metrics")
        assert response.code == status
        assert status == 200 or problem(response) == (403, "forbidden")
        assert await server.sessions.count() == 0


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8080", 200), ("localhost", 200), ("[::1]:8080", 200), ("192.0.2.7:8080", 200), ("evil.example", 403)],
)
async def test_metrics_are_for_no_page_that_has_its_name_lead_here(host: str, status: int) -> None:
    """A browser on this machine comes from an address that may; that its page is another site's, the name says."""
    server = new_server()
    async with running(server) as base:
        server.site.loopback_only = False  # as with a listener on 0.0.0.0
        assert (await Browser(base, Host=host).get("/wshttp/metrics")).code == status


async def test_metrics_can_be_switched_off() -> None:
    """`metrics.enabled: false` leaves nothing there."""
    async with running(new_server(metrics={"enabled": False})) as base:
        assert problem(await Browser(base).get("/wshttp/metrics")) == (404, "not-found")
