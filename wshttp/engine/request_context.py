"""Where one request comes from, as far as its link and trusted proxies tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tornado.httputil import HTTPHeaders

from wshttp.engine.address import TrustedProxies
from wshttp.engine.link import Link
from wshttp.header_fields import fields_of


@dataclass(frozen=True)
class RequestContext:
    """Where one request comes from; Tornado makes `request.remote_ip` and `request.protocol` of it.

    `remote_ip` is canonical, and empty where nobody knows it: on a Unix socket without a trusted proxy's word.
    `forwarded_host` is what a trusted proxy gave as the host that the client asked for; then it is `request.host` too.
    `peer_ip` is who brought the request, a proxy perhaps; `None` for a Unix socket.
    """

    remote_ip: str
    protocol: str
    forwarded_host: str | None
    peer_ip: str | None

    def __str__(self) -> str:
        return self.remote_ip or "unix"


def request_context(link: Link, proxies: TrustedProxies, headers: HTTPHeaders) -> RequestContext:
    """Work out where a request comes from, and delete from its headers what its peer may not say."""
    peer_ip = link.peer_ip
    if not (link.may_forward and proxies.trusts(peer_ip)):
        if not proxies.spoken.isdisjoint(fields_of(headers)):
            proxies.strip(headers, trusted=False)
        return _own_context(peer_ip, link.protocol)
    origin = proxies.resolve(peer_ip, headers)
    proxies.strip(headers, trusted=True)
    # A request with no Host or with several is refused; a forwarded one must not make it good.
    if origin.host is not None and len(headers.get_list("Host")) == 1:
        headers["Host"] = origin.host
    return RequestContext(origin.remote_ip or "", origin.scheme or link.protocol, origin.host, peer_ip)


@lru_cache(4096)
def _own_context(peer_ip: str | None, protocol: str) -> RequestContext:
    """Return the context of a peer that speaks for itself: the same for all its requests."""
    return RequestContext(peer_ip or "", protocol, None, peer_ip)
