"""Who is at the other end: the canonical address, and what trusted proxies say.

Text in, text out; no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

FORWARDING_HEADERS = frozenset(
    {
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Proto",
        "X-Real-Ip",
        "X-Scheme",
    }
)
"""Headers in which proxies tell whom they speak for; from anybody else they are lies."""

_PORT = re.compile(r"(?:[0-9]{1,5}|_[A-Za-z0-9._-]+)")  # the second form is RFC 7239 section 6.3, an obfuscated port
_IPV4_WITH_PORT = re.compile(rf"([0-9.]+):{_PORT.pattern}")
_IN_BRACKETS = re.compile(rf"\[([^\[\]]*)\](?::{_PORT.pattern})?")
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}(?::[0-9]{1,5})?")
_FORWARDED_PAIR = re.compile(r"""\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=("(?:[^"\\]|\\.)*"|[^",;\s]*)\s*""")
_QUOTED_OR_PLAIN = re.compile(r'"(?:[^"\\]|\\.)*"|[^",]+')
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}  # Traefik sends ws and wss for handshakes


class HeaderLines(Protocol):
    """The lines of a message's header; Tornado's `HTTPHeaders` is one."""

    def get_list(self, name: str) -> list[str]:
        """Return the values of all lines of this name, in order."""


@dataclass(frozen=True)
class Origin:
    """Where a request comes from.

    `remote_ip` is canonical; `None` where nobody knows: a Unix socket without a word from a trusted proxy.
    `scheme` (`http`, `https`) and `host` are `None` where no trusted proxy named them.
    """

    remote_ip: str | None
    scheme: str | None = None
    host: str | None = None


def canonical_ip(text: str) -> str | None:
    """Return the one spelling of an address, or `None` for anything else.

    Takes `ip`, `ip:port`, `[v6]`, `[v6]:port`; an IPv4-mapped IPv6 address is its IPv4 one, a zone id is dropped.
    """
    address = _parsed(text)
    return None if address is None else str(address)


def valid_host(text: str) -> str | None:
    """Return `text` if it is the `name`, `name:port` or `[v6]:port` of a Host header, else `None`.

    Stricter than RFC 3986: letters, digits, `.`, `-` and `_`; other names travel as their ASCII form.
    """
    text = text.strip()
    if _HOST_NAME.fullmatch(text):
        return text
    literal = _IN_BRACKETS.fullmatch(text)
    return text if literal and ":" in literal[1] and "%" not in literal[1] and _parsed(literal[1]) else None


def networks(texts: Iterable[str | Network]) -> tuple[Network, ...]:
    """Return the networks; a single address is a network of one. Raises `ValueError` naming the first that is none."""
    return tuple(ip_network(text, strict=False) if isinstance(text, str) else text for text in texts)


def contains(networks: Iterable[Network], ip: str) -> bool:
    """Tell whether a canonical address is in one of the networks."""
    address = ip_address(ip)
    return any(address in network for network in networks)


class TrustedProxies:
    """The peers whose word on a client's address is taken, and the one header in which they give it.

    `networks` are those of the proxies, `unix` trusts whoever connects over a Unix socket.
    `header` is a list of addresses as in `X-Forwarded-For`, or `Forwarded` (RFC 7239).
    """

    def __init__(
        self, networks_: Iterable[str | Network] = (), unix: bool = False, header: str = "X-Forwarded-For"
    ) -> None:
        self.networks = networks(networks_)
        self.unix = unix
        self.header = header
        self._hops = _forwarded_hops if header.lower() == "forwarded" else _listed_hops
        believed = {header.lower(), "x-forwarded-proto", "x-forwarded-host"}
        # Names in a `HTTPHeaders` have capitals like these.
        self.spoken = FORWARDING_HEADERS | {"-".join(word.capitalize() for word in header.split("-"))}
        """Names of the headers in which those speak for others whose word is not taken."""
        self._never_believed = frozenset(name for name in FORWARDING_HEADERS if name.lower() not in believed)

    def trusts(self, peer_ip: str | None) -> bool:
        """Tell whether this peer is a trusted proxy; `None` is the peer of a Unix socket."""
        return self.unix if peer_ip is None else bool(self.networks) and contains(self.networks, peer_ip)

    def resolve(self, peer_ip: str | None, headers: HeaderLines) -> Origin:
        """Work out where a request comes from that arrived from `peer_ip` (canonical; `None`: a Unix socket).

        The header is read from right to left, all its lines as one list, up to the first hop that is not trusted.
        A hop that cannot be read ends it too: the last trusted hop before it is the answer.
        Scheme and host are the last values of `X-Forwarded-Proto` and `X-Forwarded-Host`.
        """
        if not self.trusts(peer_ip):
            return Origin(peer_ip)
        scheme = _SCHEMES.get(_last_value(headers, "X-Forwarded-Proto").lower())
        host = valid_host(_last_value(headers, "X-Forwarded-Host"))
        return Origin(self._first_untrusted(peer_ip, headers), scheme, host)

    def strip(self, headers: MutableMapping[str, str], *, trusted: bool) -> None:
        """Delete the headers in which a peer may not speak for others, so that no handler believes them."""
        rejected = self._never_believed if trusted else self.spoken
        if rejected.isdisjoint(headers):
            return
        for name in rejected.intersection(headers):
            del headers[name]

    def _first_untrusted(self, peer_ip: str | None, headers: HeaderLines) -> str | None:
        last = peer_ip
        for hop in self._hops(headers.get_list(self.header)):
            ip = canonical_ip(hop)
            if ip is None:
                break
            last = ip
            if not self.trusts(ip):
                break
        return last


def _parsed(text: str) -> Address | None:
    text = text.strip()
    if with_port := _IPV4_WITH_PORT.fullmatch(text):
        text = with_port[1]
    elif in_brackets := _IN_BRACKETS.fullmatch(text):
        text = in_brackets[1] if ":" in in_brackets[1] else ""
    if ":" in text:
        text = text.partition("%")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _last_value(headers: HeaderLines, name: str) -> str:
    lines = headers.get_list(name)
    return lines[-1].rpartition(",")[2].strip() if lines else ""


def _listed_hops(lines: list[str]) -> Iterator[str]:
    for line in reversed(lines):
        yield from reversed(line.split(","))


def _forwarded_hops(lines: list[str]) -> Iterator[str]:
    """Yield the `for` of each element of RFC 7239's header, from the right; what cannot be read is yielded as ``."""
    for line in reversed(lines):
        for element in reversed(_elements(line)):
            yield _forwarded_for(element)


def _elements(line: str) -> list[str]:
    """Split at commas outside of quoted strings; a line whose quotes don't close is one unreadable element."""
    pieces = [""]
    position = 0
    while position < len(line):
        if line[position] == ",":
            pieces.append("")
            position += 1
        elif token := _QUOTED_OR_PLAIN.match(line, position):
            pieces[-1] += token[0]
            position = token.end()
        else:
            return [""]
    return pieces


def _forwarded_for(element: str) -> str:
    found = ""
    for pair in _pairs(element):
        if pair is None:
            return ""
        name, value = pair
        if name.lower() == "for":
            if found:
                return ""  # RFC 7239 section 4: each parameter must not occur more than once per element
            found = value
    return found


def _pairs(element: str) -> Iterator[tuple[str, str] | None]:
    position = 0
    while position < len(element):
        pair = _FORWARDED_PAIR.match(element, position)
        if pair is None:
            yield None
            return
        name, value = pair.groups()
        yield name, re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        position = pair.end()
        if position < len(element):
            if element[position] != ";":
                yield None
                return
            position += 1
