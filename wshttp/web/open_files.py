"""Large files that were asked for a moment ago, still open.

Finding a file asks the disk for each folder on the way to it, in a thread. That one which is open is still as it was, its
file system knows without a disk: what replaces it, even by a rename, is seen at once. What is seen only after `KEPT_FOR`
is what changes around it: a link or a folder that leads elsewhere, another precompressed neighbour.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from typing import TYPE_CHECKING, Final

from wshttp.web.file_cache import KEPT_FOR

if TYPE_CHECKING:
    from wshttp.web.file_root import OpenFile

MOST: Final = 64
"""Files; each takes a descriptor, of which a process has a thousand or more."""

_Key = tuple[str, str | None]


class OpenFiles:
    """Open files by the path that was asked for and, where that makes a difference, by `Accept-Encoding`."""

    def __init__(self) -> None:
        self._kept: dict[_Key, tuple[OpenFile, TimerHandle]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, path: str, accept_encoding: str) -> OpenFile | None:
        """Return a file that is still as it was, opened once more."""
        kept = self._kept.get((path, None)) or self._kept.get((path, accept_encoding))
        return kept[0].again() if kept is not None and kept[0].is_surely_as_it_was else None

    def keep(self, path: str, accept_encoding: str, file: OpenFile) -> None:
        """Keep a file that was found just now.

        Not one that is known by what was read of it, not yet known at all, or on a file system that could not tell.
        """
        key = (path, accept_encoding if file.varies else None)
        self._drop(key)
        is_known = file.content is None and file.etag is not None
        if not is_known or len(self) >= MOST or not file.is_surely_as_it_was:
            return
        try:
            kept = file.again()
        except OSError:
            return  # there are no more descriptors, and others need them more
        self._kept[key] = kept, asyncio.get_running_loop().call_later(KEPT_FOR, self._drop, key)

    def close(self) -> None:
        """Close them all."""
        for key in tuple(self._kept):
            self._drop(key)

    def _drop(self, key: _Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept[1].cancel()
            kept[0].close()
