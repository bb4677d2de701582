"""Frames of a client, from bytes as they come; frames for it.

A frame is passed on as soon as there is something of it: one that is not whole yet comes as a fragment, and what
follows as continuations, as any intermediary might have cut it (RFC 6455, section 5.4).
So nothing is kept here but the beginning of a head, or of a control frame, and every rule is checked at the first byte
that can break it.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from wshttp.close_codes import PROTOCOL_ERROR, TOO_BIG
from wshttp.engine.websocket.closing import Failure
from wshttp.engine.websocket.masking import apply_mask

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

FINAL: Final = 0x80
COMPRESSED: Final = 0x40
"""RSV1, which permessage-deflate has on the first frame of a compressed message (RFC 7692, section 6)."""

_CONTROL: Final = 0x08
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_SHORT: Final = 125
"""The longest payload whose length fits the second byte; no control frame has a longer one."""

_PLAIN_HEADS: Final = frozenset(
    {CONTINUATION, TEXT, BINARY} | {FINAL | opcode for opcode in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG)}
)
_HEADS: Final = {
    False: _PLAIN_HEADS,
    True: _PLAIN_HEADS | {COMPRESSED | head for head in (TEXT, BINARY, FINAL | TEXT, FINAL | BINARY)},
}
"""All first bytes that a frame may have, by whether messages may be compressed."""

_ALONE: Final = {
    compressed: frozenset(head for head in heads if head & FINAL and head != FINAL | CONTINUATION)
    for compressed, heads in _HEADS.items()
}
"""Those of frames that are messages by themselves, or control frames."""

Frame: TypeAlias = tuple[int, bytes]
"""The first byte of a frame, and its payload without the mask."""

_pack_short: Final = struct.Struct("!BB").pack
_pack_medium: Final = struct.Struct("!BBH").pack
_pack_long: Final = struct.Struct("!BBQ").pack


class FrameReader:
    """Frames out of bytes. `limit`: bytes of the longest message; of a compressed one, a little more may be sent."""

    __slots__ = ("_alone", "_at", "_data", "_end", "_heads", "_left", "_limit", "_mask", "_room", "_size", "more")

    def __init__(self, limit: int, *, compressed: bool = False) -> None:
        self.more = False
        """Whether there are bytes that have not been looked at since they came, or are not enough for a frame."""
        self._limit = limit
        self._heads = _HEADS[compressed]
        self._alone = _ALONE[compressed]
        self._data = b""
        self._at = 0
        self._room = limit
        """Bytes that the message in hand may have."""
        self._size = 0
        """Bytes of the message in hand, as far as its frames have been announced."""
        self._left = 0
        """Bytes of the frame in hand that have not come."""
        self._mask = b""
        self._end = 0
        """`FINAL` where the frame in hand ends its message."""

    def feed(self, data: bytes) -> None:
        """Keep bytes until somebody asks for `next`."""
        self._data = self._data[self._at :] + data if self.more else data
        self._at, self.more = 0, len(self._data) > 0

    def next(self, data: bytes = b"") -> Frame | None:
        """Take bytes, if there are any, and return the next frame, or what there is of it.

        `None` before more have come. Raises `Failure`.
        """
        if data:
            self._data = self._data[self._at :] + data if self.more else data
            self._at, self.more = 0, True
        elif not self.more:
            return None
        return self._continue() if self._left else self._whole() or self._begin()

    def _whole(self) -> Frame | None:
        """Return a frame that stands alone and is all there, as nearly all are; `None`: `_begin` sees what is the matter."""
        data, at = self._data, self._at
        have = len(data) - at
        if have < 6 or (head := data[at]) not in self._alone:
            return None
        begin, size = at + 6, data[at + 1] - _MASKED
        if size > _SHORT:
            announced = None if head & _CONTROL else self._announced(size)
            if announced is None:
                return None
            begin, size = at + 4 + announced[0], announced[1]
        end = begin + size
        if size < 0 or size > self._limit or end > len(data):
            return None
        self._at, self.more = end, end < len(data)
        if not self.more:
            self._data = b""
        return head, apply_mask(data[begin - 4 : begin], data[begin:end])

    def _pass(self, end: int) -> None:
        """Be done with the bytes before `end`, and keep nothing where they are all: most sockets are idle."""
        self._at, self.more = end, end < len(self._data)
        if not self.more:
            self._data = b""

    def _begin(self) -> Frame | None:
        """Read the head of a frame, as far as it has come."""
        data, at = self._data, self._at
        have = len(data) - at
        head = data[at]
        if head not in self._heads:
            raise _wrong(head)
        if have < 2:
            return None
        second = data[at + 1]
        if second < _MASKED:
            raise Failure(PROTOCOL_ERROR, "frame without a mask")
        if head & _CONTROL:
            return self._control(head, second - _MASKED)
        announced = self._announced(second - _MASKED)
        if announced is None:
            return None
        size, length = announced
        if head & 0x0F:
            self._size = 0
            self._room = _slack(self._limit) if head & COMPRESSED else self._limit
        if self._size + length > self._room:  # before its payload is there
            raise Failure(TOO_BIG, "message too big")
        if have < size + 4:
            return None
        self._size += length
        return self._data_frame(head, at + size, length)

    def _control(self, head: int, length: int) -> Frame | None:
        """Return a control frame once it is whole."""
        if length > _SHORT:
            raise Failure(PROTOCOL_ERROR, "control frame over 125 bytes")
        data, begin = self._data, self._at + 6
        end = begin + length
        if len(data) < end:
            return None
        self._pass(end)
        return head, apply_mask(data[begin - 4 : begin], data[begin:end])

    def _announced(self, code: int) -> tuple[int, int] | None:
        """Return how long the head is, without the mask, and how long the payload; `None` before that is known."""
        if code <= _SHORT:
            return 2, code
        size, shortest = (4, _SHORT + 1) if code == _SHORT + 1 else (10, 1 << 16)
        begin = self._at + 2
        if len(self._data) < self._at + size:
            return None
        length = int.from_bytes(self._data[begin : self._at + size])
        if length < shortest or length >> 63:
            raise Failure(PROTOCOL_ERROR, "length of a frame not in its shortest form, or over 63 bits")
        return size, length

    def _data_frame(self, head: int, mask_at: int, length: int) -> Frame:
        self._mask = self._data[mask_at : mask_at + 4]
        self._at = mask_at + 4
        self._left = length
        self._end = head & FINAL
        return head & ~FINAL | self._final_here(), self._payload()

    def _continue(self) -> Frame:
        return CONTINUATION | self._final_here(), self._payload()

    def _final_here(self) -> int:
        return self._end if self._left <= len(self._data) - self._at else 0

    def _payload(self) -> bytes:
        """Take what has come of the payload, and turn the mask for what follows."""
        end = min(self._at + self._left, len(self._data))
        payload = apply_mask(self._mask, self._data[self._at : end])
        turn = len(payload) % 4
        self._mask = self._mask[turn:] + self._mask[:turn]
        self._left -= len(payload)
        self._pass(end)
        return payload


def _slack(limit: int) -> int:
    """Return how long a message may be that is compressed, and no longer than `limit` without.

    At its worst zlib makes data an eighth longer, and a few bytes (1.3, `deflateBound`).
    """
    return limit + limit // 4 + 64


def _wrong(head: int) -> Failure:
    """Say what is wrong with the first byte of a frame."""
    if head in _HEADS[True]:
        return Failure(PROTOCOL_ERROR, "compressed, though permessage-deflate was not agreed on")
    if head & _RESERVED:
        return Failure(PROTOCOL_ERROR, "reserved bits are set")
    if (head & 0x07) > 2:  # of data and control frames, each the first three are known
        return Failure(PROTOCOL_ERROR, "unknown opcode")
    return Failure(PROTOCOL_ERROR, "control frame in fragments")


def encode_frame(head: int, payload: bytes) -> bytes:
    """Return a frame of a server, which has no mask; `head` is its first byte."""
    size = len(payload)
    if size <= _SHORT:
        return _pack_short(head, size) + payload
    if size < 1 << 16:
        return _pack_medium(head, _SHORT + 1, size) + payload
    return _pack_long(head, _SHORT + 2, size) + payload


def encode_message(message: str | bytes) -> bytes:
    """Return a whole message in one frame, not compressed: text for `str`, binary for `bytes`."""
    if isinstance(message, str):
        return encode_frame(FINAL | TEXT, message.encode())
    return encode_frame(FINAL | BINARY, message)


def encode_control(opcode: int, payload: bytes) -> bytes:
    """Return a control frame. Raises `ValueError` for a payload over 125 bytes."""
    if len(payload) > _SHORT:
        raise ValueError("the payload of a control frame may not exceed 125 bytes")
    return encode_frame(FINAL | opcode, payload)
