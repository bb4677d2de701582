"""Frames of a WebSocket client, as they may and as they may not be, and those that a server answers with."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from conformance.inputs import KEY, UPGRADE, ask
from hypothesis import strategies as st

HANDSHAKE: Final = ask("GET", "/ws", *UPGRADE, *KEY)
OFFERING: Final = ask("GET", "/ws", *UPGRADE, *KEY, "Sec-WebSocket-Extensions: permessage-deflate")
"""A handshake after which messages may be compressed."""

COMPRESSED: Final = 4
"""The reserved bit of the first frame of a compressed message (RFC 7692, section 6)."""
_FLUSHED: Final = b"\x00\x00\xff\xff"
"""What a compressed message leaves out at its end (section 7.2.1)."""

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MASK: Final = b"\x37\xfa\x21\x3d"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `size` is how many bytes its length takes beyond the first: 0, 2 or 8; `None` is as few as can be."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    masked: bool = True
    size: int | None = None

    def encode(self) -> bytes:
        first = self.fin << 7 | self.rsv << 4 | self.opcode
        payload = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(self.payload)) if self.masked else self.payload
        return bytes([first]) + self._length() + (MASK if self.masked else b"") + payload

    def _length(self) -> bytes:
        count, mask = len(self.payload), self.masked << 7
        size = self.size if self.size is not None else 0 if count < 126 else 2
        if size == 0:
            return bytes([mask | count])
        return struct.pack("!BH", mask | 126, count) if size == 2 else struct.pack("!BQ", mask | 127, count)

    @property
    def is_control(self) -> bool:
        return self.opcode >= CLOSE

    @property
    def is_minimal(self) -> bool:
        return self.size is None or self.size == (0 if len(self.payload) < 126 else 2)


def decode(data: bytes) -> Iterator[Frame]:
    """Read the frames of a server, which have no mask, and inflate those that are compressed."""
    inflater = zlib.decompressobj(-15)
    while data:
        first, count = data[0], data[1]
        assert count < 128, "a server masks nothing"
        start = {126: 4, 127: 10}.get(count, 2)
        count = int.from_bytes(data[2:start]) if start > 2 else count
        payload = data[start : start + count]
        assert len(payload) == count, "a frame is cut short"
        rsv = first >> 4 & 7
        if rsv == COMPRESSED:
            payload, rsv = inflater.decompress(payload + _FLUSHED), 0
        yield Frame(first & 15, payload, fin=bool(first & 128), rsv=rsv, masked=False)
        data = data[start + count :]


_TEXT: Final = st.text(max_size=40).map(str.encode) | st.sampled_from([b"", "ä€😀".encode(), b"x" * 126, b"x" * 200])
_ANY: Final = _TEXT | st.binary(max_size=140)
_SMALL: Final = st.binary(max_size=125)
_CODE: Final = st.sampled_from([1000, 1001, 1002, 1003, 1007, 1011, 3000, 4000, 4999])


def _message(opcode: int, payload: bytes, cuts: list[int], between: list[Frame], rsv: int = 0) -> list[Frame]:
    """Cut a message into fragments, with control frames between them; `rsv` is for the first."""
    places = sorted({cut % (len(payload) + 1) for cut in cuts})
    parts = [payload[start:end] for start, end in zip([0, *places], [*places, len(payload)], strict=True)]
    frames = []
    for at, part in enumerate(parts):
        first, fin = at == 0, at == len(parts) - 1
        frame = Frame(opcode if first else CONTINUATION, part, fin=fin, rsv=rsv if first else 0)
        frames += [frame, *between[at : at + 1]]
    return frames


def _compressed(messages: list[tuple[int, bytes, bool, list[int], list[Frame]]]) -> list[Frame]:
    """Compress some of the messages of a client, each with what was in those before.

    Control frames come behind them: at one between its fragments, stock Tornado (6.6) forgets that a message is compressed.
    """
    squeezer, frames = zlib.compressobj(wbits=-15), []
    for opcode, payload, is_squeezed, cuts, between in messages:
        if is_squeezed:
            payload = (squeezer.compress(payload) + squeezer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_FLUSHED)
            frames += [*_message(opcode, payload, cuts, [], COMPRESSED), *between]
        else:
            frames += _message(opcode, payload, cuts, between)
    return frames


_PINGS: Final = st.builds(Frame, st.sampled_from([PING, PONG]), _SMALL)
_CUTS: Final = st.lists(st.integers(0, 200), max_size=3)
_MESSAGES: Final = st.one_of(
    st.builds(_message, st.just(TEXT), _TEXT, _CUTS, st.lists(_PINGS, max_size=3)),
    st.builds(_message, st.just(BINARY), _ANY, _CUTS, st.lists(_PINGS, max_size=3)),
    _PINGS.map(lambda frame: [frame]),
)
_CLOSES: Final = st.builds(
    lambda code, reason: [Frame(CLOSE, struct.pack("!H", code) + reason)], _CODE, st.text(max_size=20).map(str.encode)
)
_SUSPECT: Final = st.builds(
    Frame,
    st.sampled_from([CONTINUATION, TEXT, BINARY, 3, 7, CLOSE, PING, PONG, 11, 15]),
    _ANY,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 1, 2, 4]),
    masked=st.sampled_from([True, True, True, False]),
    size=st.sampled_from([None, None, None, 8]),
).map(lambda frame: [frame])

STREAMS: Final = st.lists(_MESSAGES | _MESSAGES | _MESSAGES | _SUSPECT | _CLOSES, min_size=1, max_size=8).map(
    lambda groups: [frame for group in groups for frame in group]
)
"""What a client sends after the handshake: mostly messages, with a frame among them here and there that may be none."""

_SQUEEZED: Final = st.lists(
    st.tuples(st.just(TEXT), _TEXT, st.booleans(), _CUTS, st.lists(_PINGS, max_size=3))
    | st.tuples(st.just(BINARY), _ANY, st.booleans(), _CUTS, st.lists(_PINGS, max_size=3)),
    min_size=1,
    max_size=6,
)

COMPRESSED_STREAMS: Final = st.tuples(_SQUEEZED, st.just([]) | _SUSPECT | _CLOSES).map(
    lambda two: [*_compressed(two[0]), *two[1]]
)
"""What a client sends that may compress: messages with and without that, and at the end perhaps what may not be."""
