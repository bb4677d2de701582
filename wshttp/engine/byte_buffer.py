"""Bytes that have been read and not been used."""

from __future__ import annotations

import re


class ByteBuffer:
    """A queue of bytes: `append` at the one end, `take` from the other.

    One piece that is taken whole is never copied; otherwise the cost is linear in the bytes, however small the pieces.
    To be read only: what is there is `data` from `at` on; where there is nothing, `data` is empty.
    """

    __slots__ = ("at", "data")

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""
        self.at = 0

    def __len__(self) -> int:
        return len(self.data) - self.at

    def append(self, data: bytes) -> None:
        if not self.data:
            self.data = data
            return
        if isinstance(self.data, bytearray):
            del self.data[: self.at]
        else:
            self.data = bytearray(memoryview(self.data)[self.at :])
        self.at = 0
        self.data += data

    def take(self, most: int) -> bytes:
        """Return the first bytes, `most` of them or all that there are, and forget them."""
        data, at = self.data, self.at
        if most >= len(data) - at:
            self.data, self.at = b"", 0
            return bytes(data) if at == 0 else bytes(data[at:])
        self.at = at + most
        return bytes(data[at : self.at])

    def skip(self, count: int) -> None:
        """Forget `count` bytes, which must be there."""
        self.at += count
        if self.at == len(self.data):  # a connection that waits must not keep what it has read
            self.data, self.at = b"", 0

    def find(self, what: bytes, start: int = 0) -> int:
        """Return how many bytes stand before `what`, or -1; `start`: those that are not looked at."""
        found = self.data.find(what, self.at + start)
        return -1 if found < 0 else found - self.at

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """Match at the beginning."""
        return pattern.match(self.data, self.at)

    def search(self, pattern: re.Pattern[bytes], start: int = 0) -> re.Match[bytes] | None:
        return pattern.search(self.data, self.at + start)
