"""HTTP/1 requests from the bytes of a connection, one after the other; no I/O.

A parser of our own: with `httptools` the fields of a browser's request take the same time, as most of it goes into the
calls back into Python, and it can neither wait between two pipelined requests nor tell of the extension of a chunk.
"""

from __future__ import annotations

import re
from typing import Final

from wshttp.engine.byte_buffer import ByteBuffer
from wshttp.engine.http_body import ChunkedBody, FixedBody
from wshttp.engine.http_head import Head, parse_head
from wshttp.engine.refused import Refused

_END_OF_HEAD: Final = b"\r\n\r\n"
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)+")
_LINE_FEED: Final = re.compile(rb"\n")
_LONE_LINE_FEED: Final = re.compile(rb"(?<!\r)\n")


class HttpParser:
    """Take `head`, then `body` until its end, then the next `head`, as far as `buffer` has them.

    It keeps what nobody has asked for, so that its user decides how much that may be.
    """

    __slots__ = ("_body", "_searched", "buffer")

    def __init__(self) -> None:
        self.buffer = ByteBuffer()
        """What has been read and not been asked for; whoever reads appends to it."""
        self._searched = 0
        self._body: FixedBody | ChunkedBody | None = None

    def head(self, most: int) -> Head | None:
        """Return the next request's head, `None` where it is not there yet. Raises `Refused` above `most` bytes."""
        buffer = self.buffer
        if buffer.data.startswith(b"\r", buffer.at):
            self._skip_empty_lines()
        start = self._searched - 3 if self._searched > 3 else 0
        end = buffer.data.find(_END_OF_HEAD, buffer.at + start)
        if end < 0:
            self._look_at_part(most)
            return None
        size = end + len(_END_OF_HEAD) - buffer.at
        if size > most:
            raise self._too_large(most)
        self._searched = 0
        return parse_head(buffer.take(size))

    def _skip_empty_lines(self) -> None:
        """Pass over what RFC 9112, section 2.2, allows before a request."""
        empty = self.buffer.match(_EMPTY_LINES)
        if empty is not None:
            self.buffer.skip(len(empty[0]))
            self._searched = 0

    @property
    def lacks_head(self) -> bool:
        """All that is here has been looked at, and a head does not end in it."""
        return self._searched == len(self.buffer)

    def expect_body(self, head: Head, most: int) -> None:
        """Begin with the body of a request. Raises `Refused` where it is announced to be longer than `most` bytes."""
        self._body = ChunkedBody(most) if head.length is None else FixedBody(head.length, most)

    def body(self, most: int) -> bytes | None:
        """Return the next bytes of the body, `most` or fewer; `None` where there are none yet, `b""` at its end.

        Raises `Refused` for what is no body.
        """
        assert self._body is not None  # noqa: S101  # `expect_body` comes first
        return self._body.read(self.buffer, most)

    def _too_large(self, most: int) -> Refused:
        if 0 <= self.buffer.find(b"\r\n") < most:
            return Refused(431, f"the header of a request has at most {most} bytes")
        return Refused(414, f"the target of a request, with its header, has at most {most} bytes")

    def _look_at_part(self, most: int) -> None:
        """Find what will never become a head, so that its sender need not wait for a time-out to learn it."""
        buffer = self.buffer
        if len(buffer) > most:
            raise self._too_large(most)
        # At the beginning there may be a CR before it that is not ours any more: the last byte of a body.
        if buffer.match(_LINE_FEED) or buffer.search(_LONE_LINE_FEED, self._searched):
            raise Refused(400, "lines end with CR LF, and neither stands alone")
        self._searched = len(buffer)
