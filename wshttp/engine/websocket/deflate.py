"""permessage-deflate (RFC 7692): what is agreed on, and both directions of it.

zlib's objects are made with the first message that needs them: until then compression costs a socket nothing.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from wshttp.close_codes import INVALID_DATA, TOO_BIG
from wshttp.engine.websocket.closing import Failure

NAME: Final = "permessage-deflate"
MAX_WINDOW_BITS: Final = 15

_NARROWEST: Final = {"server_max_window_bits": 9, "client_max_window_bits": 8}
"""zlib reads a window of 8 bits, and can't write one without a zlib header (1.2.9, `deflateInit2`)."""

_TAIL: Final = b"\x00\x00\xff\xff"
"""The end of a flushed block, which senders leave out (RFC 7692, section 7.2.1)."""

_FINAL_BLOCKS: Final = 16
"""Streams that a message may consist of (RFC 7692, section 7.2.3.4): each costs a new object, and only two bytes."""

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER: Final = re.compile(rf'\s*;\s*({_WORD})(?:\s*=\s*(?:({_WORD})|"({_WORD})"))?')
_PIECE: Final = re.compile(r',|[^",]+|"(?:[^"\\]|\\.)*+"')
_BITS: Final = re.compile(r"[89]|1[0-5]")


@dataclass(frozen=True)
class DeflateLimits:
    """What a server spends on compression.

    Per socket that sends compressed messages, zlib takes 2 ** (`window_bits` + 2) + 2 ** (`mem_level` + 9) bytes, and
    up to 2 ** `window_bits` for one that receives them, where its client can be told so.
    """

    level: int = 6
    mem_level: int = 8
    window_bits: int = MAX_WINDOW_BITS

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> DeflateLimits:
        """Read what `get_compression_options` of a handler returns: Tornado's keys, and `window_bits`, 9 to 15."""
        return cls(
            level=options.get("compression_level", 6),
            mem_level=options.get("mem_level", 8),
            window_bits=options.get("window_bits", MAX_WINDOW_BITS),
        )


@dataclass(frozen=True)
class Deflate:
    """What server and client agree on; `answer` is the value of `Sec-WebSocket-Extensions`."""

    limits: DeflateLimits
    server_bits: int
    client_bits: int
    server_takes_over: bool
    client_takes_over: bool
    answer: str


def agree(lines: Iterable[str], limits: DeflateLimits) -> Deflate | None:
    """Return the agreement on the first offer that can be met, `None` where there is none.

    `lines` are the values of the `Sec-WebSocket-Extensions` headers.
    What can't be met, or read, is declined, and the next offer is looked at (RFC 7692, section 5.1).
    """
    for line in lines:
        for offer in _offers(line):
            parameters = _parameters(offer)
            if parameters is not None:
                return _met(parameters, limits)
    return None


def _offers(line: str) -> list[str]:
    """Split at commas outside of quoted strings; a line whose quotes don't close has nothing that can be read."""
    offers = [""]
    position = 0
    while position < len(line):
        piece = _PIECE.match(line, position)
        if piece is None:
            return []
        position = piece.end()
        if piece[0] == ",":
            offers.append("")
        else:
            offers[-1] += piece[0]
    return [offer.strip() for offer in offers]


def _parameters(offer: str) -> dict[str, int | None] | None:
    """Return the parameters of an offer, with what the wide windows are; `None` where it can't be met."""
    name = re.match(_WORD, offer)
    if name is None or name[0].lower() != NAME:
        return None
    found: dict[str, int | None] = {}
    position = name.end()
    while position < len(offer):
        parameter = _PARAMETER.match(offer, position)
        if parameter is None:
            return None
        position = parameter.end()
        key, value = parameter[1], parameter[2] or parameter[3]
        if key in found or not _is_understood(key, value):
            return None
        found[key] = None if value is None else int(value)
    return found


def _is_understood(key: str, value: str | None) -> bool:
    """Tell whether a parameter is one of RFC 7692, section 7.1, with a value that it may have."""
    if key in ("server_no_context_takeover", "client_no_context_takeover"):
        return value is None
    if key not in _NARROWEST:
        return False
    if value is None:
        return key == "client_max_window_bits"
    return _BITS.fullmatch(value) is not None and int(value) >= _NARROWEST[key]


def _met(parameters: dict[str, int | None], limits: DeflateLimits) -> Deflate:
    server_bits = min(parameters.get("server_max_window_bits") or MAX_WINDOW_BITS, limits.window_bits)
    client_bits = MAX_WINDOW_BITS
    if "client_max_window_bits" in parameters:  # else the client can't be told (section 7.1.2.2)
        client_bits = min(parameters["client_max_window_bits"] or MAX_WINDOW_BITS, limits.window_bits)
    answers = [NAME]
    answers += [key for key in ("server_no_context_takeover", "client_no_context_takeover") if key in parameters]
    if server_bits < MAX_WINDOW_BITS or "server_max_window_bits" in parameters:
        answers.append(f"server_max_window_bits={server_bits}")
    if client_bits < MAX_WINDOW_BITS:
        answers.append(f"client_max_window_bits={client_bits}")
    return Deflate(
        limits,
        server_bits,
        client_bits,
        "server_no_context_takeover" not in parameters,
        "client_no_context_takeover" not in parameters,
        "; ".join(answers),
    )


class Deflater:
    """What compresses messages."""

    __slots__ = ("_agreed", "_compressor")

    def __init__(self, agreed: Deflate) -> None:
        self._agreed = agreed
        self._compressor: Any = None

    def deflate(self, data: bytes) -> bytes:
        """Compress a message."""
        if self._compressor is None:
            limits = self._agreed.limits
            self._compressor = zlib.compressobj(
                limits.level, zlib.DEFLATED, -self._agreed.server_bits, limits.mem_level
            )
        deflated: bytes = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        if not self._agreed.server_takes_over:
            self._compressor = None
        return deflated.removesuffix(_TAIL) or b"\x00"  # an empty message is one byte (section 7.2.3.6)


class Inflater:
    """What inflates messages, piece by piece, and none beyond a limit."""

    __slots__ = ("_agreed", "_decompressor", "_streams")

    def __init__(self, agreed: Deflate) -> None:
        self._agreed = agreed
        self._decompressor: Any = None
        self._streams = 0

    def whole(self, data: bytes, room: int) -> bytes:
        """Inflate a message that is there in one piece. Raises as `inflate` does."""
        return self._ended(self.inflate(data + _TAIL, room))

    def inflate(self, data: bytes, room: int) -> bytes:
        """Inflate a piece of a message. Raises `Failure` for what is not deflated, or longer than `room` bytes."""
        inflated = b""
        while data and len(inflated) <= room:
            decompressor = self._decompressor
            if decompressor is None:
                decompressor = self._decompressor = self._new_decompressor()
            try:
                inflated += decompressor.decompress(data, room + 1 - len(inflated))
            except zlib.error:
                raise Failure(INVALID_DATA, "invalid compressed data") from None
            data = b""
            if decompressor.eof:
                data = decompressor.unused_data
                self._decompressor = None
        if len(inflated) > room:
            raise Failure(TOO_BIG, "message too big after inflation")
        return inflated

    def end(self, room: int) -> bytes:
        """Inflate the end that the sender of a message leaves out."""
        return self._ended(self.inflate(_TAIL, room))

    def _ended(self, inflated: bytes) -> bytes:
        """Return the last of a message, and begin anew."""
        self._streams = 0
        if not self._agreed.client_takes_over:
            self._decompressor = None
        return inflated

    def _new_decompressor(self) -> Any:
        self._streams += 1
        if self._streams > _FINAL_BLOCKS:
            raise Failure(INVALID_DATA, "compressed message of too many streams")
        return zlib.decompressobj(-self._agreed.client_bits)
