"""What handlers need of the server, in one place: an application's setting `wshttp`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from tornado.web import Application, RequestHandler

from wshttp.auth.authenticator import Authenticator
from wshttp.auth.tickets import Tickets
from wshttp.auth.watch import UsersWatch
from wshttp.config import Settings
from wshttp.errors import UsageError
from wshttp.realtime.envelope import EnvelopeSocket
from wshttp.realtime.hub import Hub
from wshttp.sessions.callbacks import Callbacks
from wshttp.sessions.data import Json
from wshttp.sessions.ids import LOGIN_IDENTITIES
from wshttp.sessions.session_list import SessionList
from wshttp.web.cookies import SessionCookie

KEY: Final = "wshttp"


class RatePolicy(Protocol):
    """Who may ask, and how often; the engine's `AddressRates` is one."""

    def is_active(self) -> bool:
        """Tell whether requests are counted, or any might be refused now."""

    def denied(self, ip: str) -> bool:
        """Tell whether an address is refused altogether."""

    def request(self, ip: str, bucket: str) -> float | None:
        """Count a request; seconds to wait where there were too many."""


@dataclass
class Site:
    """The parts that requests meet. `settings` may be exchanged while running."""

    settings: Settings
    sessions: SessionList
    hub: Hub
    callbacks: Callbacks
    authenticator: Authenticator | None = None
    users: UsersWatch | None = None
    """Looks at the users file, where there is somebody to authenticate by."""
    tickets: Tickets | None = None
    rates: RatePolicy | None = None
    loopback_only: bool = False
    """All listeners are on loopback addresses: then a foreign `Host` is an attack (DNS rebinding)."""
    has_api: bool = False
    """The HTTP API is served under `prefix`."""
    draining: bool = False
    on_drain: list[Callable[[], None]] = field(default_factory=list)
    """Called when draining begins: by who answers without an end, and has to come to one."""
    cookie: SessionCookie = field(init=False)
    envelope: EnvelopeSocket = field(init=False)

    def __post_init__(self) -> None:
        self.cookie = SessionCookie(self.settings.session.cookie)
        self.envelope = EnvelopeSocket(self.hub, self.callbacks, self.offers)
        self.hub.happenings = self.sessions.happenings
        self.hub.lives = self.sessions.lives

    async def open(self, *, sweep: bool = True) -> None:
        """Open the session list, and read and watch the users file. Before the first request. Raises what `Store.open` does.

        Who registers callbacks only after this opens without `sweep`, and calls `begin_sweeping` then.
        """
        await self.sessions.open(sweep=False)
        if self.users is not None:
            await self.users.open()
        if sweep:
            await self.begin_sweeping()

    async def begin_sweeping(self) -> None:
        """End the sessions of users who were changed while nothing ran, and do from now on what time brings."""
        if self.users is not None:
            await self.users.dismiss_outdated()
        self.sessions.begin_sweeping()

    async def close(self, timeout: float = 10.0) -> int:
        """Close the list, the sockets and the log-in; returns what `SessionList.close` does, with the same `timeout`."""
        undelivered = await self.sessions.close(timeout)
        await self.hub.stop()
        if self.users is not None:
            await self.users.close()
        return undelivered

    def begin_draining(self) -> None:
        """Be ready for no more requests, and end the answers that would never end."""
        self.draining = True
        for function in self.on_drain:
            function()

    def can_log_in(self) -> bool:
        """Whether a client of the API can log in: there are users, and a session that can hold one."""
        has_users = self.authenticator is not None and self.authenticator.has_users
        return has_users and not set(LOGIN_IDENTITIES).isdisjoint(self.settings.session.identity)

    def offers(self) -> dict[str, Json]:
        """Return what clients of the built-in socket are told that there is."""
        return {
            "login": self.can_log_in(),
            "ticket": self.has_api and self.tickets is not None,
            "stream": self.has_api,
        }

    @property
    def prefix(self) -> str:
        """Where the API is mounted, such as `/wshttp`."""
        return self.settings.api.prefix


def site_of(handler: RequestHandler) -> Site:
    """Return the site of a handler's application."""
    site = handler.application.settings.get(KEY)
    if not isinstance(site, Site):
        raise UsageError(
            f"{type(handler).__name__} needs sessions: call wshttp.attach(application, sessions) "
            "once after making the application"
        )
    return site


def put_site(application: Application, site: Site) -> None:
    """Make a site that of an application."""
    application.settings[KEY] = site
