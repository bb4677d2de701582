"""The PROXY protocol, versions 1 and 2: bytes in, the client's address out; no I/O.

Numbers and rules are those of HAProxy's `proxy-protocol.txt`, sections 2.1 and 2.2.
Whom to believe is the caller's to decide, before the first byte: the header says nothing about who sent it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from wshttp.engine.address import canonical_ip
from wshttp.errors import BadRequest

V1_MAXIMUM = 107
"""Bytes of the longest version 1 line, its CRLF included (section 2.1)."""

V2_MAXIMUM = 4096
"""Bytes of the longest version 2 header that is taken; the format allows 65,551, real ones stay below 600."""

_V1_START = b"PROXY "
_V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = 16
_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the high half, the command in the low one
_ADDRESS_SIZE = {0x00: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}
_IPV4, _IPV6 = (0x11, 0x12), (0x21, 0x22)


@dataclass(frozen=True, slots=True)
class NeedMore:
    """All bytes so far belong to a header that has not ended."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The header has ended.

    `source_ip` is canonical; `None` means that the connection's own endpoints hold
    (a health check of the proxy itself, or an address family that we don't speak).
    `consumed` bytes of the last `feed` belong to the header; what follows them is the client's.
    """

    source_ip: str | None
    consumed: int


class ProxyHeaderParser:
    """Parse one header, in pieces as they come. `feed` raises `BadRequest` for what is none; then drop the peer."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> NeedMore | Parsed:
        before = len(self._data)
        self._data += data
        if _matches(self._data, _V2_START):
            end = _v2_end(self._data)
        elif _matches(self._data, _V1_START):
            end = _v1_end(self._data)
        else:
            raise BadRequest("the connection does not begin with a PROXY header")
        if end is None:
            return NeedMore()
        header = self._data[:end]
        return Parsed(_v2_source(header) if header.startswith(_V2_START) else _v1_source(header), end - before)


def _matches(data: bytes, start: bytes) -> bool:
    return data[: len(start)] == start[: len(data)]


def _v1_end(data: bytes) -> int | None:
    newline = data.find(b"\n", 0, V1_MAXIMUM)
    if newline >= 0:
        return newline + 1
    if len(data) >= V1_MAXIMUM:
        raise BadRequest(f"a PROXY line has no end within {V1_MAXIMUM} bytes")
    return None


def _v1_source(line: bytes) -> str | None:
    if not line.endswith(b"\r\n") or not line.isascii():
        raise BadRequest("a PROXY line ends with CR LF and is ASCII")
    words = line[:-2].decode("ascii").split(" ")
    if words[1] == "UNKNOWN":
        return None
    families: dict[str, type[IPv4Address] | type[IPv6Address]] = {"TCP4": IPv4Address, "TCP6": IPv6Address}
    if words[1] not in families or len(words) != 6:
        raise BadRequest("a PROXY line names TCP4 or TCP6, two addresses and two ports, or UNKNOWN")
    source = _address(families[words[1]], words[2])
    _address(families[words[1]], words[3])
    _check_port(words[4])
    _check_port(words[5])
    return source


def _address(family: type[IPv4Address] | type[IPv6Address], text: str) -> str | None:
    try:
        family(text)
    except ValueError as error:
        raise BadRequest("a PROXY line has an address that is none of its family") from error
    return canonical_ip(text)


def _check_port(text: str) -> None:
    if not (text.isdecimal() and len(text) <= 5 and int(text) <= 65535):
        raise BadRequest("a PROXY line has a port that is none")


def _v2_end(data: bytes) -> int | None:
    if len(data) < _V2_FIXED:
        return None
    total = _V2_FIXED + int.from_bytes(data[14:16])
    if total > V2_MAXIMUM:
        raise BadRequest(f"a PROXY header of {total} bytes is over {V2_MAXIMUM}")
    return total if len(data) >= total else None


def _v2_source(header: bytes) -> str | None:
    command, family, body = header[12], header[13], header[_V2_FIXED:]
    if command == _LOCAL:
        return None  # section 2.2: the proxy speaks for itself, and the block is discarded, its family too
    if command != _PROXY:
        raise BadRequest("a PROXY header has a version or command that is unknown")
    if family not in _ADDRESS_SIZE or len(body) < _ADDRESS_SIZE[family]:
        raise BadRequest("a PROXY header has an unknown address family, or is too short for its own")
    if family in _IPV4:
        return str(IPv4Address(body[:4]))
    if family in _IPV6:
        return canonical_ip(str(IPv6Address(body[:16])))
    return None
