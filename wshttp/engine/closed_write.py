"""What becomes of a write where nothing can be written any more."""

from __future__ import annotations

import asyncio
from asyncio import Future

from tornado.iostream import StreamClosedError


def closed_write() -> Future[None]:
    """Return a future that has failed with `StreamClosedError`; who does not wait for it is not told."""
    future: Future[None] = asyncio.get_running_loop().create_future()
    future.set_exception(StreamClosedError())
    future.exception()
    return future
