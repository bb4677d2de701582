"""The part of a file that a client asks for: RFC 9110, section 14."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BYTES = re.compile(r"bytes=(.*)", re.IGNORECASE)
_SPEC = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")  # 18 digits are an exabyte; more is not meant seriously


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def content_range(self, size: int) -> str:
        """Return the `Content-Range` of this part of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


class Unsatisfiable(Exception):
    """The range lies outside the file: 416."""


def parse_range(header: str, size: int) -> ByteRange | None:
    """Return the part of `size` bytes that a `Range` header asks for, `None` for the whole.

    What is malformed, in another unit, or more than one range is answered with the whole, as RFC 9110 allows.
    Several ranges would need `multipart/byteranges`, which hardly anybody reads and which invites overlapping ones.
    Raises `Unsatisfiable`.
    """
    listed = _BYTES.fullmatch(header.strip())
    specs = [spec.strip() for spec in listed[1].split(",") if spec.strip()] if listed else []
    match = _SPEC.fullmatch(specs[0]) if len(specs) == 1 else None
    return _resolve(match[1], match[2], size) if match else None


def _resolve(first: str, last: str, size: int) -> ByteRange | None:
    if not first:
        return _suffix(int(last), size) if last else None
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable
    return ByteRange(start, min(int(last) + 1, size) if last else size)


def _suffix(length: int, size: int) -> ByteRange | None:
    """Resolve a range that counts from the end; of an empty file it is the whole, which no `Content-Range` can say."""
    if length == 0:
        raise Unsatisfiable
    return ByteRange(max(0, size - length), size) if size else None
