"""A part of a file on its way to a client without passing through this process: `sendfile`.

Not the loop's: uvloop has none, and asyncio's tells of no progress and reads nothing meanwhile, so that a client that
takes nothing looks like one that is slow, and so does one that has gone.

What is in memory goes to the socket on the loop, a piece at a time, as a thread for it would cost more than sending it.
What has to come from a disk is sent in a thread.
Where the socket is full, a few bytes go the transport's way: it tells when they are sent, so that no second watch on the
socket is needed, and no descriptor for it.
"""

from __future__ import annotations

import asyncio
import errno
import os
from asyncio import Future
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol

from tornado.iostream import StreamClosedError

from wshttp.page_cache import is_in_memory

RunInThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Calls a blocking function in a thread: whoever reads from a disk may have to wait for it."""

_ONE_CALL: Final = 512 * 1024
"""Bytes after which others have their turn, on the loop or in the thread; a socket seldom takes so many at once."""

_FEW: Final = 16 * 1024
"""Bytes that wait in this process until a socket that is full takes them."""

_NOT_HERE: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""How a file system says that it has no `sendfile`."""


class Outlet(Protocol):
    """The connection, to which nobody else writes meanwhile."""

    @property
    def socket(self) -> int:
        """The descriptor."""

    @property
    def closing(self) -> bool:
        """Nothing can be written any more; the socket is open until then."""

    async def send_all(self, data: bytes) -> None:
        """Write, and wait until the kernel has it. Raises `StreamClosedError`."""


class FileSending:
    """Send `count` bytes from `offset` of `file`, a descriptor that stays its owner's; nothing is left to be sent before."""

    def __init__(self, outlet: Outlet, file: int, offset: int, count: int, run: RunInThread) -> None:
        self.left = count
        """Bytes that have not been sent yet."""
        self._outlet = outlet
        self._file = file
        self._offset = offset
        self._run = run

    async def send(self) -> None:
        """Send as far as the file goes, and as its file system can. Raises `StreamClosedError` where the client has gone.

        Where there are no descriptors for a thread, it is as if the file system could not.
        """
        while self.left:
            wanted = min(self.left, _ONE_CALL)
            sent: int | None = await self._do(_send_part, wanted)
            if not sent:
                return
            if sent > 0:
                self._count(sent)
            if sent == wanted:
                await asyncio.sleep(0)
            elif self.left:
                few: bytes | None = await self._do(_read_part, min(self.left, _FEW))
                if not few:
                    return
                self._count(len(few))
                await self._outlet.send_all(few)

    def _count(self, sent: int) -> None:
        self.left -= sent
        self._offset += sent

    async def _do(self, what: Callable[[int, int, int, int], Any], count: int) -> Any:
        """Call `what` for the next part, in a thread where a disk may be slow; `None` where that cannot be."""
        if self._outlet.closing:
            raise StreamClosedError
        sock = self._outlet.socket
        if is_in_memory(self._file, self._offset, count):
            return what(sock, self._file, self._offset, count)
        # Its own descriptors: the owners may close theirs while the thread is at work.
        own: list[int] = []
        try:
            own += [os.dup(sock)]
            own += [os.dup(self._file)]
        except OSError:
            _close(own)
            return None
        working = asyncio.ensure_future(self._run(partial(what, own[0], own[1], self._offset, count)))
        working.add_done_callback(partial(_release, own))
        return await asyncio.shield(working)


def _send_part(sock: int, file: int, offset: int, count: int) -> int:
    """Return how many bytes have been sent: 0 where there are no more, -1 where there is no room for any."""
    try:
        return os.sendfile(sock, file, offset, count)
    except BlockingIOError:
        return -1
    except ConnectionError as error:
        raise StreamClosedError(error) from error
    except OSError as error:
        if error.errno in _NOT_HERE:
            return 0
        raise


def _read_part(sock: int, file: int, offset: int, count: int) -> bytes:
    return os.pread(file, count, offset)


def _release(descriptors: list[int], working: Future[Any]) -> None:
    if not working.cancelled():
        working.exception()  # who was cancelled has nothing to be told
    _close(descriptors)


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
