"""Where a request comes from, as the application sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wshttp.engine.address import TrustedProxies
from wshttp.engine.listeners import bind_unix
from wshttp.engine.stock import StockServer
from wshttp.errors import UsageError
from wshttp.testing import FakeClock

LOOPBACK = TrustedProxies(["127.0.0.0/8"])


async def test_request_knows_its_client(serving: Any, connect: Any) -> None:
    """Without proxies the client is the peer, and no header changes that or reaches the application."""
    async with serving() as (_, port, _), connect(port) as client:
        client.get("/", "X-Forwarded-For: 192.0.2.1", "X-Real-Ip: 192.0.2.1", "X-Forwarded-Host: evil.example")
        seen = (await client.response()).json()
        assert (seen["remote_ip"], seen["protocol"], seen["host"]) == ("127.0.0.1", "http", "example.org")
        assert seen["forwarded_host"] is None
        assert seen["headers"] == {"host": "example.org"}


async def test_request_of_a_trusted_proxy_knows_the_proxys_client(serving: Any, connect: Any) -> None:
    """Address, scheme and host are those that the client used, `request.host` and the Host header included."""
    async with serving(proxies=LOOPBACK) as (_, port, _), connect(port) as client:
        forwarded = ("X-Forwarded-For: 203.0.113.66, 192.0.2.1", "X-Forwarded-Proto: https")
        client.get("/", *forwarded, "X-Forwarded-Host: www.example.org", "X-Real-Ip: 203.0.113.1")
        seen = (await client.response()).json()
        assert (seen["remote_ip"], seen["protocol"]) == ("192.0.2.1", "https")
        assert seen["host"] == seen["forwarded_host"] == seen["headers"]["host"] == "www.example.org"
        assert "x-real-ip" not in seen["headers"]


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"], ids=["unknown", "local"])
async def test_proxy_header_that_names_nobody_lets_nobody_be_named(serving: Any, connect: Any, header: bytes) -> None:
    """The proxy passes on what a client sends: only where it names another proxy may that speak for others."""
    named = b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n"
    for first, expected in ((header, ("127.0.0.1", "http", None)), (named, ("192.0.2.1", "https", "www.example.org"))):
        async with serving(proxies=LOOPBACK, proxy_protocol=True) as (_, port, _), connect(port) as client:
            client.send(first)
            forwarded = ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https")
            client.get("/", *forwarded, "X-Forwarded-Host: www.example.org")
            seen = (await client.response()).json()
            assert (seen["remote_ip"], seen["protocol"], seen["forwarded_host"]) == expected
            assert ("x-forwarded-for" in seen["headers"]) is (first is named)


async def test_request_inherits_nothing_from_the_one_before(serving: Any, connect: Any) -> None:
    """A proxy's kept connection carries many clients; one's address is never the next one's."""
    async with serving(proxies=LOOPBACK) as (_, port, _), connect(port) as client:
        client.get("/", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example")
        client.get("/")
        assert (await client.response()).json()["remote_ip"] == "192.0.2.1"
        seen = (await client.response()).json()
        assert (seen["remote_ip"], seen["protocol"], seen["host"]) == ("127.0.0.1", "http", "example.org")
        assert seen["forwarded_host"] is None


async def test_request_behind_the_last_one_is_not_served(serving: Any, connect: Any, until: Any) -> None:
    """Not even without an answer: its client has been told nothing of it, and may send it again."""
    for last in ("Connection: close\r\n", "X: y\r\n"):
        async with serving() as (server, port, scene):
            async with connect(port) as client:
                version = "1.0" if last.startswith("X") else "1.1"
                first = f"GET / HTTP/{version}\r\nHost: a\r\n{last}\r\n"
                client.send(first.encode() + b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
                assert (await client.ended()).startswith(b"HTTP/1.1 200 ")
            await until(lambda: server.counts.open == 0)
            assert not scene.started.is_set()


async def test_forwarded_host_makes_no_bad_request_good(serving: Any, connect: Any) -> None:
    """Two Host headers are refused, whatever a proxy forwards."""
    async with serving(proxies=LOOPBACK) as (_, port, _), connect(port) as client:
        client.get("/", "Host: other.example", "X-Forwarded-Host: www.example.org")
        assert (await client.ended()).startswith(b"HTTP/1.1 400 ")


async def test_unix_socket_has_a_client_only_by_a_trusted_proxy(serving: Any, connect: Any, tmp_path: Path) -> None:
    """Without one the address is empty, not 0.0.0.0 for everybody; with one it is the client's."""
    for unix, expected in ((False, ""), (True, "192.0.2.1")):
        path = str(tmp_path / f"s{unix}")
        async with serving(proxies=TrustedProxies(unix=unix)) as (server, _, _):
            server.add_listeners([bind_unix(path)])
            async with connect(path=path) as client:
                client.get("/", "X-Forwarded-For: 192.0.2.1")
                assert (await client.response()).json()["remote_ip"] == expected


def test_xheaders_are_refused(clock: FakeClock) -> None:
    """Tornado's own way believes every peer."""
    with pytest.raises(UsageError, match=r"wshttp\.engine\.TrustedProxies"):
        StockServer(lambda request: None, xheaders=True)


async def test_websocket_origin_is_checked_against_the_forwarded_host(serving: Any, connect: Any) -> None:
    """Behind a proxy the page's origin is the name that the browser knows, on this request only."""
    handshake = (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Origin: https://www.example.org",
        "X-Forwarded-Proto: https",
    )
    async with serving(proxies=LOOPBACK) as (_, port, _):
        for host, status in (("www.example.org", 101), ("internal.example", 403)):
            async with connect(port) as client:
                client.get("/socket", *handshake, f"X-Forwarded-Host: {host}")
                assert (await client.response()).status == status
