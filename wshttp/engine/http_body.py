"""A request's body: where it ends, and nothing of how it came. Bytes in, bytes or `Refused` out; no I/O."""

from __future__ import annotations

import re
from typing import Final

from wshttp.engine.byte_buffer import ByteBuffer
from wshttp.engine.refused import Refused

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_BEGUN_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{0,16}\r?\Z")
_BEGUN_LINE_END: Final = re.compile(rb"\r\n|\r?\Z")


class FixedBody:
    """A body of `length` bytes."""

    __slots__ = ("_left",)

    def __init__(self, length: int, most: int) -> None:
        if length > most:
            raise Refused(413, f"Content-Length too long: over {most} bytes")
        self._left = length

    def read(self, buffer: ByteBuffer, most: int) -> bytes | None:
        """Take the next bytes of it, at most so many; `None` where there are none yet, `b""` at its end."""
        if not self._left:
            return b""
        if not buffer:
            return None
        data = buffer.take(min(most, self._left))
        self._left -= len(data)
        return data


class ChunkedBody:
    """A body in chunks (RFC 9112, section 7.1), of at most `most` bytes together.

    Extensions and trailers are refused, as Tornado does (6.6): no client needs them, and proxies read them differently.
    """

    __slots__ = ("_chunk", "_is_last", "_left", "_most", "_owes_line_end")

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._chunk = 0
        """Bytes left of the chunk."""
        self._owes_line_end = False
        self._is_last = False

    def read(self, buffer: ByteBuffer, most: int) -> bytes | None:
        """As `FixedBody.read`; small chunks come together, so that they cost the reader no more than large ones."""
        pieces: list[bytes] = []
        while most and self._advance(buffer):
            piece = buffer.take(min(most, self._chunk))
            self._chunk -= len(piece)
            most -= len(piece)
            pieces.append(piece)
        if pieces:
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return b"" if self._is_last and not self._owes_line_end else None

    def _advance(self, buffer: ByteBuffer) -> bool:
        """Come to bytes of the body; false where there are none in the buffer."""
        while not self._chunk:
            if self._owes_line_end and not self._end_line(buffer):
                return False
            if self._is_last or not self._begin(buffer):
                return False
        return bool(buffer)

    def _begin(self, buffer: ByteBuffer) -> bool:
        size = buffer.match(_SIZE)
        if size is None:
            if buffer.match(_BEGUN_SIZE) is None:
                raise Refused(400, "invalid chunk size; extensions are not taken")
            return False
        self._chunk = int(size[1], 16)
        self._left -= self._chunk
        if self._left < 0:
            raise Refused(413, f"chunked body too large: over {self._most} bytes")
        self._owes_line_end = True
        self._is_last = not self._chunk
        buffer.skip(len(size[0]))
        return True

    def _end_line(self, buffer: ByteBuffer) -> bool:
        """Take the line end after a chunk, or the empty line after the last one."""
        if buffer.match(_BEGUN_LINE_END) is None:
            if self._is_last:
                raise Refused(400, "trailers are not taken: end the last chunk with an empty line")
            raise Refused(400, "improperly terminated chunk")
        if len(buffer) < 2:
            return False
        buffer.skip(2)
        self._owes_line_end = False
        return True
