"""What every request passes before its handler runs, in this order.

address      denied networks, and how often one may ask
host         DNS rebinding, and `server.allowed_hosts`
origin       cross-site requests
identity     who is it, where the route wants to know or the path is protected
protection   may they
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import quote

from tornado.httputil import HTTPServerRequest

from wshttp.addresses import bucket
from wshttp.errors import Forbidden, TooManyRequests
from wshttp.web.paths import decoded_path, encoded_path
from wshttp.web.site import RatePolicy, Site

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS", "TRACE")
"""Methods that change nothing: RFC 9110, section 9.2.1."""

_USUAL_LOOPBACK: Final = ("127.0.0.1", "localhost")


def check_source(site: Site, request: HTTPServerRequest, *, handshake: bool, stays_open: bool) -> None:
    """Ask for address, host and origin, and raise what `check_address`, `check_host` and `check_origin` do.

    What they ask first, and answer nearly always, is asked here: that is most of what most requests are asked.
    """
    if site.rates is not None and site.rates.is_active():
        check_address(site.rates, site, request)
    if not (site.loopback_only and request.host_name in _USUAL_LOOPBACK):
        check_host(site, request)
    if handshake or stays_open or request.method not in SAFE_METHODS:
        check_origin(site, request, handshake=handshake)


def check_address(rates: RatePolicy, site: Site, request: HTTPServerRequest) -> None:
    """Raise `Forbidden` for a denied address and `TooManyRequests` for one that asks too often."""
    if not request.remote_ip:
        return
    if rates.denied(request.remote_ip):
        raise Forbidden("requests from this address are not served")
    wait = rates.request(request.remote_ip, bucket(request.remote_ip, site.settings.session.ipv6_prefix))
    if wait is not None:
        raise TooManyRequests(wait)


def check_host(site: Site, request: HTTPServerRequest) -> None:
    """Raise `Forbidden` for a `Host` that this server is not known by.

    A page of another site can have its own name resolve to 127.0.0.1 and so read what is served there;
    its requests still carry that name (DNS rebinding).
    """
    allowed = site.settings.server.allowed_hosts
    if not (site.loopback_only or allowed):
        return
    name = _host(request)
    if site.loopback_only and _is_loopback(name):
        return
    if name not in (host.lower().strip("[]") for host in allowed):
        raise _unknown(name)


def require_unspoofed_host(site: Site, request: HTTPServerRequest) -> None:
    """Raise `Forbidden` for a `Host` that could be another site's name, from a peer on this machine (DNS rebinding).

    For what is served to loopback by its address, on a server that listens elsewhere, too: an address, a loopback name
    and those of `server.allowed_hosts` pass.
    """
    name = _host(request)
    allowed = site.settings.server.allowed_hosts
    if _is_loopback(request.remote_ip or "") and not (allowed or _is_loopback(name) or _is_address(name)):
        raise _unknown(name)


def _host(request: HTTPServerRequest) -> str:
    return request.host_name.strip("[]").rstrip(".")


def _unknown(name: str) -> Forbidden:
    return Forbidden(f"this server is not known as {name!r}; server.allowed_hosts can name it")


def _is_loopback(name: str) -> bool:
    if name in _USUAL_LOOPBACK or name.endswith(".localhost"):
        return True
    return _is_address(name) and ipaddress.ip_address(name).is_loopback


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def check_origin(site: Site, request: HTTPServerRequest, *, handshake: bool) -> None:
    """Raise `Forbidden` for what another site has a browser send; asked of unsafe methods, and all that opens a connection.

    A request with neither `Sec-Fetch-Site` nor `Origin` comes from no browser's page and passes.
    `websocket.allowed_origins` holds for handshakes only.
    """
    origin = request.headers.get("Origin")
    fetch_site = request.headers.get("Sec-Fetch-Site", "").lower()
    if handshake and origin is not None and origin in site.settings.websocket.allowed_origins:
        return
    if fetch_site == "cross-site" or (origin is not None and not _is_same_origin(origin, request)):
        remedy = "; websocket.allowed_origins can name it" if handshake else ""
        raise Forbidden(f"requests from another origin are refused{remedy}")


def require_same_origin(request: HTTPServerRequest) -> None:
    """Raise `Forbidden` for what a page of any other origin has a browser send, also of another port of this host.

    `none` is what a person asked for by hand. `websocket.allowed_origins` does not count.
    """
    origin = request.headers.get("Origin")
    fetch_site = request.headers.get("Sec-Fetch-Site", "none").lower()
    if fetch_site not in ("same-origin", "none") or (origin is not None and not _is_same_origin(origin, request)):
        raise Forbidden("requests from another origin are refused")


def _is_same_origin(origin: str, request: HTTPServerRequest) -> bool:
    """Compare host and port. The scheme is left out: a proxy that ends TLS need not tell us of it."""
    _, separator, host = origin.partition("://")
    return bool(separator) and host.lower() == request.host.lower()


def require_origin(request: HTTPServerRequest) -> None:
    """Raise `Forbidden` for a handshake without the `Origin` that it needs to join a cookie session."""
    if "Origin" not in request.headers:
        raise Forbidden("a WebSocket that joins a cookie's session needs an Origin header; browsers send it")


def login_redirect(target: str, request: HTTPServerRequest) -> str:
    """Return where an anonymous visitor of a protected path is sent: the rule's page, told where to come back to."""
    joint = "&" if "?" in target else "?"
    here = encoded_path(decoded_path(request.path))  # as it came, it may begin with `//`, which names a host
    query = f"?{request.query}" if request.query else ""
    return f"{target}{joint}next={quote(here + query, safe='')}"
