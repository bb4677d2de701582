"""The way in: what is asked of every request before anything is done for it.

No handler here: Tornado's handlers pass it (`web.gate`), and so do function endpoints (`web.exchange`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tornado.web import Finish

from wshttp.web import checks
from wshttp.web.paths import decoded_path, protection_of
from wshttp.web.visit import Visit

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from wshttp.web.site import Site


class Entrance:
    """Let a request in, or not; see `web.checks` for what is asked, in which order.

    Mixed into what has `request`, `site`, and `redirect`.
    """

    wants_session: ClassVar[bool] = False
    """Whether the handler works on a session; others start and touch none."""
    verifies_basic: ClassVar[bool] = True
    """Whether a Basic header has to be right. A log-in looks at it itself."""
    begins_anew: ClassVar[bool] = False
    """Whether a cookie that was renewed is no obstacle, since the request brings the client another."""
    is_handshake: ClassVar[bool] = False
    stays_open: ClassVar[bool] = False
    """Whether the answer is a connection: no other site's page may open one, and a ticket may say whose it is."""
    is_stream: ClassVar[bool] = False
    """Whether its answer goes on for as long as somebody listens: how long that was says nothing of the server."""
    is_protected: bool = False
    """Whether a rule of `auth.protect` says who may have the answer; known when the request is in."""
    visit: Visit | None = None
    _entering = False

    if TYPE_CHECKING:
        request: HTTPServerRequest

        @property
        def site(self) -> Site: ...

        def redirect(self, url: str) -> None: ...

    async def enter_once(self) -> None:
        """Enter, unless that was done before."""
        if not self._entering:
            self._entering = True
            await self.enter()

    async def enter(self) -> None:
        """Check what has to be checked before anything is done. Raises the errors that answer the request."""
        site, request = self.site, self.request
        checks.check_address(site, request)
        checks.check_host(site, request)
        checks.check_origin(site, request, handshake=self.is_handshake, stays_open=self.stays_open)
        rules = site.settings.auth.protect
        rule = protection_of(decoded_path(request.path), rules) if rules else None
        self.is_protected = rule is not None
        if not self.wants_session and rule is None:
            return
        visit = await self.identify()
        if rule is not None:
            if visit.user is None and rule.redirect and request.method in checks.SAFE_METHODS:
                self.redirect(checks.login_redirect(rule.redirect, request))
                raise Finish
            visit.require_user(rule.roles)
        if self.wants_session:
            await visit.begin(auto_start=visit.session is None and self.starts_session(), anew=self.begins_anew)

    async def identify(self) -> Visit:
        """Find out who it is; from here on, changes to sessions are those of this request."""
        self.visit = visit = Visit(self.site, self.request)
        visit.unit.enter()
        visit.patience.enter()
        touch = self.wants_session and self.touches()
        await visit.identify(
            touch=touch, basic=self.verifies_basic, handshake=self.is_handshake, ticket=self.stays_open
        )
        return visit

    def touches(self) -> bool:
        """Whether this request counts as activity."""
        return True

    def starts_session(self) -> bool:
        """Whether this request starts a session where there is none."""
        return self.site.settings.session.auto_start
