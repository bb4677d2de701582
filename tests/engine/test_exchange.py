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


async def test_request_inherits_nothing_from_the_one_before(serving: Any, connect: Any) -> None:
    """A proxy's kept connection carries many clients; one's address is never the next one's."""
    async with serving(proxies=LOOPBACK) as (_, port, _), connect(port) as client:
        client.get("/", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.example")
        client.get("/")
        assert (await client.response()).json()["remote_ip"] == "192.0.2.1"
        seen = (await client.response()).json()
        assert (seen["remote_ip"], seen["protocol"], seen["host"]) == ("127.0.0.1", "http", "example.org")
        assert seen["forwarded_host"] is None


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
    with pytest.raises(UsageError, match="proxies"):
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
