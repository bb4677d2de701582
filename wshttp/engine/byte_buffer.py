"""Bytes that have been read and not been used."""

from __future__ import annotations

import re


class ByteBuffer:
    """A queue of bytes: `append` at the one end, `take` from the other.

    One piece that is taken whole is never copied; otherwise the cost is linear in the bytes, however small the pieces.
    """

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._at = 0

    def __len__(self) -> int:
        return len(self._data) - self._at

    def append(self, data: bytes) -> None:
        if self._at == len(self._data):
            self._data, self._at = data, 0
            return
        if isinstance(self._data, bytearray):
            del self._data[: self._at]
        else:
            self._data = bytearray(memoryview(self._data)[self._at :])
        self._at = 0
        self._data += data

    def take(self, most: int) -> bytes:
        """Return the first bytes, `most` of them or all that there are, and forget them."""
        data, at = self._data, self._at
        if most >= len(data) - at:
            self._data, self._at = b"", 0
            return bytes(data) if at == 0 else bytes(data[at:])
        self._at = at + most
        return bytes(data[at : self._at])

    def skip(self, count: int) -> None:
        """Forget `count` bytes, which must be there."""
        self._at += count
        if self._at == len(self._data):  # a connection that waits must not keep what it has read
            self._data, self._at = b"", 0

    def find(self, what: bytes, start: int = 0) -> int:
        """Return how many bytes stand before `what`, or -1; `start`: those that are not looked at."""
        found = self._data.find(what, self._at + start)
        return -1 if found < 0 else found - self._at

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Match at the beginning."""
        return pattern.match(self._data, self._at)

    def search(self, pattern: re.Pattern[bytes], start: int = 0) -> re.Match[bytes] | None:
        return pattern.search(self._data, self._at + start)
