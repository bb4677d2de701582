"""The way in: what is asked of every request before anything is done for it.

No handler here: Tornado's handlers pass it (`web.gate`), and so do function endpoints (`web.exchange`).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import ClassVar, Protocol

from tornado.httputil import HTTPServerRequest
from tornado.web import Finish

from wshttp.config import ProtectRule
from wshttp.header_fields import fields_of
from wshttp.sessions.identity import recognise
from wshttp.sessions.invalid_token import InvalidToken
from wshttp.web import checks
from wshttp.web.paths import decoded_path, protection_of
from wshttp.web.site import Site
from wshttp.web.visit import Visit


class Guest(Protocol):
    """What asks to be let in, and says what for."""

    wants_session: ClassVar[bool]
    """Whether the handler works on a session; others start and touch none."""
    verifies_basic: ClassVar[bool]
    """Whether a Basic header has to be right. A log-in looks at it itself."""
    begins_anew: ClassVar[bool]
    """Whether a cookie that was renewed is no obstacle, since the request brings the client another."""
    is_handshake: ClassVar[bool]
    stays_open: ClassVar[bool]
    """Whether the answer is a connection: no other site's page may open one, and a ticket may say whose it is."""
    is_protected: bool
    """Whether a rule of `auth.protect` says who may have the answer; known when the request is in."""
    visit: Visit | None
    """Who it is, once that has been found out."""
    request: HTTPServerRequest

    @property
    def site(self) -> Site: ...

    def redirect(self, url: str) -> None:
        """Answer with where to go instead."""

    def touches(self) -> bool:
        """Whether this request counts as activity."""

    def starts_session(self) -> bool:
        """Whether this request starts a session where there is none."""


def enter(guest: Guest) -> Awaitable[None] | None:
    """Let a request in, or raise the error that answers it; see `web.checks` for what is asked, in which order.

    Returns what is to be awaited for the rest of it, if there is any.
    """
    site, request = guest.site, guest.request
    checks.check_source(site, request, handshake=guest.is_handshake, stays_open=guest.stays_open)
    rules = site.settings.auth.protect
    rule = protection_of(decoded_path(request.path), rules) if rules else None
    guest.is_protected = rule is not None
    return come_in(guest, site, rule) if guest.wants_session or rule is not None else None


async def come_in(guest: Guest, site: Site, rule: ProtectRule | None = None) -> None:
    """Find out who it is, and whether they may; from here on, changes to sessions are those of this request."""
    guest.visit = visit = Visit(site, guest.request)
    visit.unit.enter()
    visit.patience.enter()
    settings = site.settings.session
    touch = guest.wants_session and guest.touches() and "http" in settings.touch
    if guest.stays_open or "Authorization" in fields_of(guest.request.headers):
        await visit.verify(basic=guest.verifies_basic, ticket=guest.stays_open)
    if settings.enabled:
        invalid = None
        try:
            found = await recognise(site.sessions, visit.presented(), touch=touch)
        except InvalidToken as error:
            found, invalid = error.found, error
        if guest.is_handshake and found.live_cookie:
            checks.require_origin(guest.request)
        visit.take(found, invalid)
    if rule is not None:
        _require_allowed(guest, visit, rule)
    if guest.wants_session and (visit.session is None or visit.is_unsettled):
        await visit.begin(auto_start=visit.session is None and guest.starts_session(), anew=guest.begins_anew)


def _require_allowed(guest: Guest, visit: Visit, rule: ProtectRule) -> None:
    request = guest.request
    if visit.user is None and rule.redirect and request.method in checks.SAFE_METHODS:
        guest.redirect(checks.login_redirect(rule.redirect, request))
        raise Finish
    visit.require_user(rule.roles)
