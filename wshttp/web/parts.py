"""An answer's body that comes in parts.

Apart from `exchange`, for the same reason as `alone`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from wshttp.web.response import Response


async def send_each(response: Response, send: Callable[[str | bytes], Awaitable[None]]) -> None:
    """Send what a response streams, each part when the client has taken the one before."""
    parts = cast("AsyncIterator[str | bytes]", response.body)
    try:
        async for part in parts:
            await send(part)
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()  # what a generator cleans up is done now, whoever went away
