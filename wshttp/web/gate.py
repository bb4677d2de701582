"""The gate: what stands before every handler of a server."""

from __future__ import annotations

import inspect
from typing import ClassVar

from tornado.web import Finish, HTTPError, RequestHandler

from wshttp.web import checks
from wshttp.web.methods import Methods
from wshttp.web.paths import decoded_path, protection_of
from wshttp.web.site_handler import SiteHandler
from wshttp.web.visit import Visit


class Gate(SiteHandler):
    """Let requests in, or not; see `web.checks` for what is asked, in which order.

    Stands before every handler of a server, as a base class or mixed in by `gated`.
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
    visit: Visit | None = None
    _entering = False

    async def prepare(self) -> None:
        await self.enter_once()
        result = super().prepare()
        if inspect.isawaitable(result):
            await result

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
        rule = protection_of(decoded_path(request.path), site.settings.auth.protect)
        if not self.wants_session and rule is None:
            return
        visit = await self.identify()
        if rule is not None:
            if visit.user is None and rule.redirect and request.method in checks.SAFE_METHODS:
                self.redirect(checks.login_redirect(rule.redirect, request))
                raise Finish
            visit.require_user(rule.roles)
        if self.wants_session:
            await visit.begin(auto_start=self.starts_session(), anew=self.begins_anew)

    async def identify(self) -> Visit:
        """Find out who it is; from here on, changes to sessions are those of this request."""
        self.visit = Visit(self.site, self.request)
        self.visit.unit.enter()
        self.visit.patience.enter()
        touch = self.wants_session and self.touches()
        await self.visit.identify(
            touch=touch, basic=self.verifies_basic, handshake=self.is_handshake, ticket=self.stays_open
        )
        return self.visit

    def on_finish(self) -> None:
        if self.visit is not None:
            self.visit.patience.end()
        super().on_finish()

    def touches(self) -> bool:
        """Whether this request counts as activity."""
        return True

    def starts_session(self) -> bool:
        """Whether this request starts a session where there is none."""
        return self.site.settings.session.auto_start


def gated(handler: type[RequestHandler]) -> type[RequestHandler]:
    """Return a handler class with the gate before it, also where its own `prepare` forgets to call ours."""
    bases = (_First, handler) if issubclass(handler, Gate) else (Gate, handler, Methods)
    return type(handler.__name__, bases, {})


class _First:
    """Has a handler pass its gate before it does anything of its own."""

    async def prepare(self) -> None:
        await self.enter_once()  # type: ignore[attr-defined]  # of the `Gate` that it is mixed into
        result = super().prepare()  # type: ignore[misc]  # likewise
        if inspect.isawaitable(result):
            await result


class Nothing(Gate):
    """What no route took."""

    async def prepare(self) -> None:
        await super().prepare()
        if not self._finished:
            raise HTTPError(404)
