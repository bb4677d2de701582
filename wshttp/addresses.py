"""Addresses as keys: which clients count as one, in sessions, throttles, rates and limits alike."""

from __future__ import annotations

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4096)
def bucket(remote_ip: str, ipv6_prefix: int = 64) -> str:
    """Return what an address is counted and keyed by.

    IPv4 (and IPv4 mapped into IPv6) is itself; IPv6 is its network of `ipv6_prefix` bits,
    since one client owns at least a /64. What is no address (a test, a Unix socket) is returned as it is.
    """
    try:
        address = ipaddress.ip_address(remote_ip.partition("%")[0])
    except ValueError:
        return remote_ip
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, ipv6_prefix), strict=False))
    text = str(address)
    return remote_ip if text == remote_ip else text  # a session keeps both: the same string costs nothing
