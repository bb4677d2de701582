"""An answer's body that comes in parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from wshttp.web.response import Response


@asynccontextmanager
async def parts_of(response: Response) -> AsyncIterator[AsyncIterator[str | bytes]]:
    """Give what a response streams; what a generator cleans up is done at the end, whoever went away."""
    parts = cast("AsyncIterator[str | bytes]", response.body)
    try:
        yield parts
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()
