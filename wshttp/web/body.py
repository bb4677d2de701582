"""A request's body, as it comes in: read only when somebody asks for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final

from tornado.httputil import HTTPHeaders

from wshttp.errors import ClientDisconnected, ContentTooLarge
from wshttp.header_fields import fields_of

_LENGTH: Final = re.compile("[0-9]{1,18}")
"""More digits are no length; Python itself refuses to read 4,301 of them."""


def announced_length(headers: HTTPHeaders) -> int | None:
    """Return the `Content-Length`; `None` where there is none, or none that Tornado reads a body by.

    Several equal values are one (RFC 9110, section 8.6).
    """
    lines = fields_of(headers).get("Content-Length")
    if not lines:
        return None
    values = {value.strip() for line in lines for value in line.split(",")}
    value = values.pop() if len(values) == 1 else ""
    return int(value) if _LENGTH.fullmatch(value) else None


class RequestBody:
    """The chunks of a body, one at a time: the client sends the next when this one has been taken.

    `announced` is the `Content-Length`, or `None` where there is none.
    """

    def __init__(self, announced: int | None) -> None:
        self.announced = announced
        self._chunk: bytes | None = None
        self._taken: asyncio.Future[None] | None = None
        self._arrived = asyncio.Event()
        self._complete = False
        self._wanted = True
        self._lost = False

    @classmethod
    def of(cls, content: bytes) -> RequestBody:
        """Make a body that is there as a whole."""
        body = cls(len(content))
        if content:
            body.feed(content)
        body.complete()
        return body

    # --- the connection's side --------------------------------------------------------------------

    def feed(self, chunk: bytes) -> asyncio.Future[None] | None:
        """Take in a chunk; while the returned future is not done, nothing more is read."""
        if not self._wanted:
            return None
        self._chunk = chunk
        self._arrived.set()
        self._taken = asyncio.get_running_loop().create_future()
        return self._taken

    def complete(self) -> None:
        """The last chunk was the last."""
        self._complete = True
        self._arrived.set()

    def lose(self) -> None:
        """The client went away."""
        self._lost = not self._complete
        self._arrived.set()

    def discard(self) -> None:
        """Nobody will read the rest."""
        self._wanted = False
        self._take()

    # --- the endpoint's side ----------------------------------------------------------------------

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the chunks. Raises `ClientDisconnected` where they end too early."""
        while True:
            await self._arrived.wait()
            chunk = self._take()
            if chunk is not None:
                yield chunk
            elif self._lost:
                raise ClientDisconnected
            elif self._complete:
                return

    async def read(self, maximum: int) -> bytes:
        """Return the whole body. Raises `ContentTooLarge` above `maximum` bytes (0: no limit), `ClientDisconnected`."""
        if maximum and (self.announced or 0) > maximum:
            raise _too_large(maximum)
        content = bytearray()
        async for chunk in self:
            content += chunk
            if maximum and len(content) > maximum:
                raise _too_large(maximum)
        return bytes(content)

    async def drain(self, timeout: float) -> None:
        """Drop the rest, and wait for its end, at most `timeout` seconds.

        A connection whose request was not read to the end can only be closed: lost to the client's next request,
        and to this one's answer where the client is still sending.
        """
        self.discard()
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError:
            pass  # it gets its answer all the same

    def _take(self) -> bytes | None:
        chunk, self._chunk = self._chunk, None
        if not (self._complete or self._lost):
            self._arrived.clear()
        taken, self._taken = self._taken, None
        if taken is not None and not taken.done():
            taken.set_result(None)
        return chunk


def _too_large(maximum: int) -> ContentTooLarge:
    return ContentTooLarge(f"the body is over server.max_body_size ({maximum} bytes)")
