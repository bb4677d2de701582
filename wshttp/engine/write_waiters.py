"""Who has written, and waits until more may be written: futures, one for each write."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Iterable

from tornado.iostream import StreamClosedError


def resume(waiting: Iterable[Future[None]]) -> None:
    """Let all of them go on."""
    for future in waiting:
        if not future.done():
            future.set_result(None)


def fail(waiting: Iterable[Future[None]], error: BaseException | None) -> None:
    """Tell them that the connection is gone, with `StreamClosedError`."""
    for future in waiting:
        if not future.done():
            future.set_exception(StreamClosedError(error))
            future.exception()  # who does not wait for it has nothing to be told
