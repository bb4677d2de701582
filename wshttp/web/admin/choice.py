"""Which sessions are meant: by user, by address, by age."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias

from wshttp.errors import BadRequest
from wshttp.sessions.session import Session

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

SKEW: Final = 300.0
"""Seconds that a clock may be ahead of ours: what Kerberos recommends (RFC 4120, section 8.2)."""

_SECONDS: Final = re.compile(r"[0-9]{1,11}(?:\.[0-9]{1,9})?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")
_IPV4_PARTS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){0,2}\.?")
_IPV6_PARTS: Final = re.compile(r"[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,6}:")


@dataclass(frozen=True, slots=True)
class Choice:
    """Conditions that must all hold; none given is every session."""

    user: str | None = None
    address: str | None = None
    """Of a client (IPv6: of its network of `session.ipv6_prefix` bits)."""
    network: Network | None = None
    before: float | None = None
    """Created before this; Unix seconds."""
    until: float | None = None
    """Created at this or earlier; on the store's clock."""

    @classmethod
    def read(cls, given: Mapping[str, str], now: float) -> Choice:
        """Read it from parameters of a query; empty ones are none. Raises `BadRequest`. `now` is in Unix seconds."""
        address, network = read_addresses(given["ip"]) if given.get("ip") else (None, None)
        before = read_time(given["before"], now) if given.get("before") else None
        return cls(given.get("user") or None, address, network, before)

    @property
    def is_indexed(self) -> bool:
        """Whether stores find these sessions without a look at others."""
        return self.network is None and self.before is None

    def admits(self, session: Session) -> bool:
        """Whether a session that has the user and the address is one of those."""
        if self.before is not None and session.created_at >= self.before:
            return False
        if self.until is not None and session.record.created_at > self.until:
            return False
        return self.network is None or is_within(session.remote_ip, self.network)


def read_addresses(text: str) -> tuple[str | None, Network | None]:
    """Read an address, a network, or the beginning of an address in whole parts. Raises `BadRequest`."""
    if "/" in text:
        return None, _network(text)
    try:
        return str(ipaddress.ip_address(text)), None
    except ValueError:
        network = _beginning(text)
    if network is None:
        raise _no_addresses(text)
    return None, network


def _network(text: str) -> Network:
    """Read a network; one of which some bits are not its own may be mistyped in its length, and meet far more."""
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _no_addresses(text) from None
    if meant.prefixlen == 0:
        raise BadRequest(f"{text} is every address; leave ip out")
    if meant.network_address != ipaddress.ip_address(text.partition("/")[0]):
        raise BadRequest(f"{text} is no network: some of its bits are beyond its length; {meant} is one")
    return meant


def _no_addresses(text: str) -> BadRequest:
    return BadRequest(f"ip is an address, a network such as 192.0.2.0/24, or a beginning such as 192.0.; got {text!r}")


def _beginning(text: str) -> Network | None:
    try:
        if _IPV4_PARTS.fullmatch(text):
            parts = text.removesuffix(".").split(".")
            return ipaddress.IPv4Network((".".join(parts + ["0"] * (4 - len(parts))), 8 * len(parts)))
        if _IPV6_PARTS.fullmatch(text):
            return ipaddress.IPv6Network((f"{text}:", 16 * text.count(":")))
    except ValueError:
        pass  # a part over 255, or with a leading zero, which some read as octal
    return None


def read_time(text: str, now: float) -> float:
    """Read Unix seconds, or RFC 3339 with an offset; not ahead of `now`, as a slip would be. Raises `BadRequest`."""
    at = float(text) if _SECONDS.fullmatch(text) else _from_date(text)
    if at > now + SKEW:
        raise BadRequest("before is ahead of the server's clock; that is every session: leave it out, or use all=1")
    return at


def _from_date(text: str) -> float:
    try:
        date = datetime.fromisoformat(text) if _DATE.match(text) else None
    except ValueError:
        date = None
    if date is None or date.tzinfo is None:
        raise BadRequest(f"before is Unix seconds, or a date such as 2026-01-31T12:00:00Z; got {text!r}")
    return date.timestamp()


def is_within(remote_ip: str, network: Network) -> bool:
    """Whether an address is in a network; what is no address is in none."""
    address = _address(remote_ip)
    return address is not None and address in network


@lru_cache(maxsize=4096)
def _address(remote_ip: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(remote_ip.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def as_facts(given: Mapping[str, str]) -> dict[str, Any]:
    """Return what the audit log says of whom an end is to meet, in the words in which it was chosen."""
    chosen: dict[str, Any] = {name: given[name] for name in ("user", "ip", "before") if given.get(name)}
    return chosen | {name: True for name in ("expired", "all") if name in given}
