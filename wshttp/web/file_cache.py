"""Small files that were asked for a moment ago, in memory.

What is kept is kept for `KEPT_FOR`, and then looked up like any other: so nothing has to be invalidated, and no disk is
asked on the loop. Content and ETag were taken from one state of the file and stay together.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

KEPT_FOR: Final = 1.0
"""Seconds; for so long a file may be answered as it was. A page asks for its files within less."""

LARGEST: Final = 64 * 1024
"""Bytes of a file that is kept; for a larger one, sending it takes longer than finding it."""

MOST: Final = 16 * 1024 * 1024
"""Bytes of all of them; those that were kept first go first."""

_ENTRY: Final = 1024
"""Bytes that an entry counts besides its content: paths and `Accept-Encoding` are the client's to choose."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """One state of a file, and what is said of it."""

    content: bytes
    etag: str
    modified_at: int
    last_modified: str
    """The same as an HTTP date."""
    kind: str
    """The content type."""
    encoding: str | None
    varies: bool
    """Whether another `Accept-Encoding` could have got another file."""


class FileCache:
    """Files by the path that was asked for and, where that makes a difference, by `Accept-Encoding`."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._kept: OrderedDict[tuple[str, str | None], tuple[KeptFile, float]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, path: str, accept_encoding: str) -> KeptFile | None:
        """Return a file that is still as good as new."""
        found = self._kept.get((path, None)) or self._kept.get((path, accept_encoding))
        if found is None or found[1] <= self._now():
            return None
        return found[0]

    def keep(self, path: str, accept_encoding: str, file: KeptFile) -> None:
        """Keep a file that was found just now."""
        now = self._now()
        key = (path, accept_encoding if file.varies else None)
        if len(file.content) > LARGEST or len(path) + len(accept_encoding) > _ENTRY:
            return
        self._drop(key)
        self._kept[key] = (file, now + KEPT_FOR)
        self._size += len(file.content) + _ENTRY
        while self._size > MOST or next(iter(self._kept.values()))[1] <= now:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: tuple[str, str | None]) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._size -= len(found[0].content) + _ENTRY
