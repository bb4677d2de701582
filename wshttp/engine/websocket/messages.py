"""Messages and control frames of a client, from bytes as they come.

The rules between frames are here (RFC 6455, section 5.4): what may follow what, what text is, how long a message
may get.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from wshttp.close_codes import INVALID_DATA, PROTOCOL_ERROR
from wshttp.engine.websocket.closing import Close, Failure, read_close
from wshttp.engine.websocket.deflate import Deflate, Inflater
from wshttp.engine.websocket.frames import (
    BINARY,
    CLOSE,
    COMPRESSED,
    FINAL,
    PING,
    TEXT,
    FrameReader,
)
from wshttp.engine.websocket.utf8 import Utf8Check


class Ping(NamedTuple):
    """A ping, which wants a pong with the same data."""

    data: bytes


class Pong(NamedTuple):
    """A pong, whether or not there was a ping."""

    data: bytes


class Part:
    """What completes nothing yet: something of a message."""

    __slots__ = ()


PART: Final = Part()
"""The only one: whoever reads events has to count them, too, as a frame may be without any payload."""

Message: TypeAlias = str | bytes
Event: TypeAlias = Message | Ping | Pong | Close | Part

_WHOLE_TEXT: Final = FINAL | TEXT
_WHOLE_BINARY: Final = FINAL | BINARY
_COMPRESSED_WHOLE: Final = FINAL | COMPRESSED


class Assembly:
    """A message that is not whole yet: inflated, checked and measured as far as it has come."""

    __slots__ = ("_body", "_check", "_inflater", "_limit")

    def __init__(self, opcode: int, limit: int, inflater: Inflater | None) -> None:
        self._body = bytearray()
        self._check = Utf8Check() if opcode == TEXT else None
        self._inflater = inflater
        self._limit = limit

    def add(self, payload: bytes) -> None:
        """Take the payload of the next frame. Raises `Failure`."""
        if self._inflater is not None:
            payload = self._inflater.inflate(payload, self._limit - len(self._body))
        self._put(payload)

    def finish(self) -> Message:
        """Return the message. Raises `Failure`."""
        if self._inflater is not None:
            self._put(self._inflater.end(self._limit - len(self._body)))
        if self._check is None:
            return bytes(self._body)
        self._check.take(b"", final=True)
        return self._body.decode()

    def _put(self, data: bytes) -> None:
        if self._check is not None:
            self._check.take(data)
        self._body += data


class MessageReader:
    """Messages and their parts, pings, pongs and at last a close, out of bytes; `limit` is the length of the longest message.

    What it keeps of a message is what has come of it, never more than `limit` bytes.
    After a close it returns nothing any more, and after a `Failure` it must not be asked.
    """

    __slots__ = ("_assembly", "_closed", "_inflater", "_limit", "frames")

    def __init__(self, limit: int, deflate: Deflate | None = None) -> None:
        self.frames = FrameReader(limit, compressed=deflate is not None)
        """What the bytes go to first, and wait in."""
        self._inflater = None if deflate is None else Inflater(deflate)
        self._limit = limit
        self._assembly: Assembly | None = None
        self._closed = False

    def feed(self, data: bytes) -> None:
        """Keep bytes until somebody asks for `next`."""
        if not self._closed:
            self.frames.feed(data)

    def next(self, data: bytes = b"") -> Event | None:
        """Take bytes, if there are any, and return what comes next; `None` before more have come. Raises `Failure`."""
        if self._closed or (frame := self.frames.next(data)) is None:
            return None
        head, payload = frame
        if self._assembly is None:
            if head == _WHOLE_TEXT:
                return _text(payload)
            if head == _WHOLE_BINARY:
                return payload
            if head & _COMPRESSED_WHOLE == _COMPRESSED_WHOLE and self._inflater is not None:
                whole = self._inflater.whole(payload, self._limit)
                return _text(whole) if head == _COMPRESSED_WHOLE | TEXT else whole
        return self._control(head, payload) if head & 0x08 else self._part(head, payload)

    def _control(self, head: int, payload: bytes) -> Event:
        opcode = head & 0x0F
        if opcode == CLOSE:
            self._closed = True
            return read_close(payload)
        return Ping(payload) if opcode == PING else Pong(payload)

    def _part(self, head: int, payload: bytes) -> Message | Part:
        """Take a frame of a message that is compressed or has several; return the message with the last."""
        opcode = head & 0x0F
        if opcode:
            if self._assembly is not None:
                raise Failure(PROTOCOL_ERROR, "new message before the end of another")
            inflater = self._inflater if head & COMPRESSED else None
            self._assembly = Assembly(opcode, self._limit, inflater)
        if self._assembly is None:
            raise Failure(PROTOCOL_ERROR, "continuation of nothing")
        self._assembly.add(payload)
        if not head & FINAL:
            return PART
        assembly, self._assembly = self._assembly, None
        return assembly.finish()


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise Failure(INVALID_DATA, "invalid UTF-8") from None
