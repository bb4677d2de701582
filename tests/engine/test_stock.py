"""What holds for stock Tornado's HTTP alone: it closes where the native engine answers, and says 400 to what is too large."""

from __future__ import annotations

from typing import Any

import pytest

from wshttp.engine.limits import Limits

pytestmark = pytest.mark.parametrize("choice", ["stock"], indirect=True)


@pytest.mark.feature("M3")
async def test_header_over_its_size_closes(serving: Any, connect: Any, until: Any) -> None:
    """Also when the limit was lowered while the connection was open."""
    async with serving() as (server, port, _):
        async with connect(port) as client:
            client.get("/", "X: " + "x" * 5000)
            assert (await client.response()).status == 200
            server.limits = Limits(max_header_size=1000)
            client.get("/")
            assert (await client.response()).status == 200
            client.get("/", "X: " + "x" * 5000)
            assert await client.ended() == b""
        await until(lambda: server.counts.open == 0)


@pytest.mark.feature("M3")
async def test_body_over_its_size_is_refused(serving: Any, connect: Any) -> None:
    """By its announced length or by its chunks, before it is read into memory."""
    async with serving(limits=Limits(max_body_size=10)) as (_, port, _):
        async with connect(port) as client:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789")
            assert (await client.response()).json() == {"size": 10}
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n")
            assert (await client.ended()).startswith(b"HTTP/1.1 400 ")
        async with connect(port) as client:
            client.send(
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"
            )
            assert (await client.ended()).startswith(b"HTTP/1.1 400 ")
