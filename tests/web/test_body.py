"""A request's body as it comes in; over a socket it is in test_endpoint.py."""

from __future__ import annotations

import asyncio

import pytest
from serving import soon
from tornado.httputil import HTTPHeaders

from wshttp.errors import ClientDisconnected, ContentTooLarge
from wshttp.web.body import RequestBody, announced_length


async def test_chunk_is_held_until_it_is_taken() -> None:
    """The connection waits while a chunk is there that nobody has taken."""
    body = RequestBody(6)
    first = body.feed(b"abc")
    assert first is not None
    chunks = aiter(body)
    assert not first.done()
    assert await anext(chunks) == b"abc"
    assert first.done()
    second = body.feed(b"def")
    assert second is not None
    assert not second.done()
    assert await anext(chunks) == b"def"
    body.complete()
    with pytest.raises(StopAsyncIteration):
        await anext(chunks)


@pytest.mark.feature("M3")
async def test_body_over_the_maximum_is_refused_before_it_comes() -> None:
    """What is announced as too large is not waited for; what is not announced is stopped where it gets too large."""
    with pytest.raises(ContentTooLarge):
        await RequestBody(11).read(10)
    body = RequestBody(None)
    reading = asyncio.create_task(body.read(10))
    for _ in range(3):
        taken = body.feed(b"12345")
        if taken is not None:
            await asyncio.wait({taken, reading}, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(ContentTooLarge):
        await soon(reading)


async def test_limit_of_0_is_none() -> None:
    """`0` reads everything."""
    assert await RequestBody.of(b"x" * 1000).read(0) == b"x" * 1000
    assert await RequestBody.of(b"").read(0) == b""


async def test_client_that_goes_is_an_error_unless_all_has_come() -> None:
    """A body that ends too early is no body."""
    body = RequestBody(10)
    reading = asyncio.create_task(body.read(0))
    taken = body.feed(b"abc")
    assert taken is not None
    await soon(taken)
    body.lose()
    with pytest.raises(ClientDisconnected):
        await soon(reading)
    whole = RequestBody.of(b"abc")
    whole.lose()
    assert await whole.read(0) == b"abc"


async def test_what_nobody_wants_holds_nobody_up() -> None:
    """After `discard` chunks are dropped as they come; `drain` waits for their end, or for its time."""
    body = RequestBody(10)
    held = body.feed(b"abc")
    body.discard()
    assert held is not None
    assert held.done()
    assert body.feed(b"def") is None
    draining = asyncio.create_task(body.drain(60))
    await asyncio.sleep(0)
    assert not draining.done()
    body.complete()
    await soon(draining)
    await soon(RequestBody(10).drain(0))


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([], None),
        (["5"], 5),
        (["5", "5"], 5),
        (["5, 5"], 5),
        (["5,5", "5"], 5),
        (["5, 6"], None),
        (["5,"], None),
        ([""], None),
        (["+5"], None),
        (["-1"], None),
        (["1_0"], None),
        (["9" * 18], 10**18 - 1),
        (["9" * 19], None),
        (["9" * 5000], None),
    ],
)
def test_announced_length_is_what_tornado_reads(lines: list[str], length: int | None) -> None:
    """Equal values are one; what is no number of a sensible size is none, and Tornado refuses it."""
    headers = HTTPHeaders()
    for line in lines:
        headers.add("Content-Length", line)
    assert announced_length(headers) == length
