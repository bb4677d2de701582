"""The PROXY protocol on a real socket."""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_address
from typing import Any

import pytest

from wshttp.engine.address import TrustedProxies
from wshttp.engine.listeners import Listener, bind_tcp
from wshttp.engine.tls import TlsContext
from wshttp.testing import FakeClock

PATIENCE = 10.0
LOOPBACK = TrustedProxies(["127.0.0.0/8"])


V2_HEADER = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
    + ip_address("192.0.2.7").packed
    + ip_address("127.0.0.1").packed
    + b"\x10\x00\x00\x50"
)
"""PROXY, version 2: a client at 192.0.2.7."""


@pytest.mark.parametrize("header", [b"PROXY TCP4 192.0.2.7 127.0.0.1 4096 80\r\n", V2_HEADER])
async def test_proxy_header_gives_the_client(serving: Any, connect: Any, header: bytes) -> None:
    """Its source is the peer of all requests that follow, and HTTP headers of that peer are not believed."""
    async with serving(proxies=LOOPBACK, proxy_protocol=True) as (_, port, _), connect(port) as client:
        for byte in header:
            client.send(bytes([byte]))
            await client.writer.drain()
        client.get("/", "X-Forwarded-For: 203.0.113.1")
        assert (await client.response()).json()["remote_ip"] == "192.0.2.7"
        client.get("/")
        assert (await client.response()).json()["remote_ip"] == "192.0.2.7"


async def test_proxy_header_in_one_piece_with_a_request(serving: Any, connect: Any) -> None:
    """Nothing of what follows the header is lost."""
    async with serving(proxies=LOOPBACK, proxy_protocol=True) as (_, port, _), connect(port) as client:
        client.send(V2_HEADER + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.response()).json()["remote_ip"] == "192.0.2.7"


async def test_proxy_header_comes_before_tls(serving: Any, certificate: Any) -> None:
    """A TLS client behind a proxy that passes bytes is known by its own address."""
    files = certificate("one")
    options = {"tls": TlsContext(*files), "tls_listener": True, "proxies": LOOPBACK, "proxy_protocol": True}
    async with serving(**options) as (_, port, _):
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(V2_HEADER)
            plain.setblocking(False)
            trusting = ssl.create_default_context(cafile=files[0])
            reader, writer = await asyncio.open_connection(sock=plain, ssl=trusting, server_hostname="localhost")
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), PATIENCE)
            assert b'"remote_ip": "192.0.2.7", "protocol": "https"' in answer
            writer.close()


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PROXY TCP4 junk\r\n", b"\r\n\r\n\0\r\nQUIT\nxxxx"]
)
async def test_connection_without_its_proxy_header_is_dropped(serving: Any, connect: Any, sent: bytes) -> None:
    """A listener that wants the header speaks with nobody without it."""
    async with serving(proxies=LOOPBACK, proxy_protocol=True) as (server, port, _), connect(port) as client:
        client.send(sent)
        assert await client.ended() == b""
        assert (server.counts.refused, server.counts.open) == (1, 0)


async def test_proxy_header_of_an_untrusted_peer_is_dropped(serving: Any, connect: Any) -> None:
    """Anybody can write the header; only a trusted proxy may."""
    options = {"proxies": TrustedProxies(["10.0.0.1"]), "proxy_protocol": True}
    async with serving(**options) as (server, port, _), connect(port) as client:
        client.send(V2_HEADER + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await client.ended() == b""
        assert server.counts.refused == 1


async def test_proxy_header_that_does_not_come_times_out(
    serving: Any, connect: Any, clock: FakeClock, until: Any
) -> None:
    """Waiting for it is part of the time for a header."""
    async with serving(proxies=LOOPBACK, proxy_protocol=True) as (server, port, _), connect(port) as client:
        client.send(b"PROXY TCP4")
        await until(lambda: server.counts.open == 1)
        clock.advance(9.9)
        server.tick()
        assert server.counts.open == 1
        clock.advance(0.1)
        server.tick()
        assert await client.ended() == b""
        assert server.counts.timed_out["header"] == 1


async def test_listener_of_another_address_keeps_its_own_settings(serving: Any, connect: Any) -> None:
    """One server may speak the PROXY protocol on one port and not on the other."""
    async with serving(proxies=LOOPBACK) as (server, port, _):
        [proxied] = bind_tcp("127.0.0.1", 0)
        server.add_listeners([Listener(proxied.socket, proxy_protocol=True)])
        async with connect(port) as direct, connect(proxied.socket.getsockname()[1]) as behind:
            direct.get()
            assert (await direct.response()).json()["remote_ip"] == "127.0.0.1"
            behind.send(V2_HEADER)
            behind.get()
            assert (await behind.response()).json()["remote_ip"] == "192.0.2.7"
