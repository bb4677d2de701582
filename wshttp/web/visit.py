"""One request's relation to its session: who is it, which session, and what the client has to be told of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from wshttp.addresses import bucket
from wshttp.auth.basic import parse_basic
from wshttp.auth.tickets import Bearer
from wshttp.auth.user import User
from wshttp.config import SessionSettings
from wshttp.errors import BadCredentials, Forbidden, SessionEnded, UsageError
from wshttp.header_fields import Fields, fields_of
from wshttp.sessions import identity
from wshttp.sessions.identity import Presented, Recognised
from wshttp.sessions.ids import TOKEN_IDENTITIES
from wshttp.sessions.invalid_token import InvalidToken
from wshttp.sessions.patience import Patience
from wshttp.sessions.record import RENEWED, Reason
from wshttp.sessions.session import Session, whole_seconds
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.web.site import Site


class Visit:
    """What is known of a request's client, and what its response has to carry."""

    __slots__ = (
        "_bearer",
        "_cookies",
        "_ended",
        "_found",
        "_invalid",
        "_presented",
        "_request",
        "_settings",
        "_token",
        "announced",
        "ended_reason",
        "is_unsettled",
        "patience",
        "session",
        "site",
        "unit",
        "verified",
    )

    def __init__(self, site: Site, request: HTTPServerRequest) -> None:
        self.session: Session | None = None
        self.verified: User | None = None
        """Whose password came with this request and was right."""
        self.ended_reason: str | None = None
        """Why the session that the client asked for is over, where that is known."""
        self.is_unsettled = False
        """The client presented ids, and none of them names a live session."""
        self.announced = False
        """The answer's header has been sent, with what it says of the session."""
        self.unit = UnitOfWork()
        self.patience = Patience(site.settings.store.timeout)
        self.site = site
        self._settings: SessionSettings = site.settings.session
        self._request = request
        self._found: Recognised | None = None
        self._invalid: InvalidToken | None = None
        self._ended = False
        """This visit has ended its session."""
        self._presented: Presented | None = None
        self._bearer: Bearer | None = None
        self._cookies: Sequence[str] = ()
        self._token: str | None = None

    @property
    def user(self) -> str | None:
        """Who is logged in, by session or by the password that came with the request.

        Raises `SessionEnded` where the token that came with the request was renewed since, as a log-in does.
        """
        session = self._current()
        if session is not None and session.user is not None:
            return session.user
        return None if self.verified is None else self.verified.name

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of `user`; those that came with a password are the newer ones."""
        if self.verified is not None and self.verified.name == self.user:
            return self.verified.roles
        return self.session.roles if self.session is not None and self.user is not None else ()

    @property
    def outdated(self) -> bool:
        """Whether somebody else has renewed the session: what this request knows of it is over."""
        return self.session is not None and self.unit.is_outdated(self.session.record)

    def _current(self) -> Session | None:
        session = self.session
        if session is not None:
            self.unit.require_current(session.record)
        return session

    # --- coming -------------------------------------------------------------------------------------

    async def verify(self, *, basic: bool, ticket: bool) -> None:
        """Look at a Basic header, and with `ticket` at one in the query.

        Raises `BadCredentials`, `TooManyRequests`, and `SessionEnded` for a ticket that is none or was used.
        """
        if basic:
            self.verified = await self._verify_basic()
        if ticket and self._settings.enabled:
            self._bearer = await self._redeem()

    def take(self, found: Recognised, invalid: InvalidToken | None) -> None:
        """Hear which session it is, if any; it starts none. `invalid` is what was wrong with a token in a header or a URL."""
        self._found, self._invalid = found, invalid
        self.session = session = found.session
        if session is not None and found.key is not None:
            self.unit.bind(session.ref, found.key)
        if found.invalid is not None:
            self.ended_reason = found.invalid.reason
        self.is_unsettled = invalid is not None or (found.invalid_identity is not None and not found.tokens)
        if found.unknown_cookie:
            self._forget_cookies(found)

    async def _redeem(self) -> Bearer | None:
        """Take the ticket in the query, if there is one; it is gone then, whatever comes of the request."""
        presented = self._request.query_arguments.get("ticket", [])
        if not presented or self.site.tickets is None:
            return None
        bearer = await self.site.tickets.redeem(presented[-1].decode("latin-1"))
        if bearer is None:
            raise SessionEnded(None, None, "the ticket is unknown, was used, or is too old; get another one")
        return bearer

    async def begin(self, *, auto_start: bool, anew: bool = False) -> None:
        """Settle what an ended or unknown id leads to, and start a session where there is none.

        With `anew` the request is going to get another cookie: that its own was renewed is no reason to refuse it.
        Raises `SessionEnded` where the client has to learn of it, and as `SessionList.create` does.
        """
        if not self._settings.enabled:
            return
        if self.is_unsettled and self._found is not None:
            await self._settle_invalid(self._found, anew)
        if self.session is None and auto_start:
            await self.start()

    async def _settle_invalid(self, found: Recognised, anew: bool) -> None:
        """Ask `on_invalid_session`: `True` starts a successor, `False` refuses, `None` leaves it to our own rules."""
        decision = await self.site.callbacks.decide("invalid_session", self._request, self.ended_reason)
        if decision is False:
            raise SessionEnded(None, self.ended_reason)
        if decision is True:
            await self._start_successor(found)
        elif self._invalid is not None:
            raise self._invalid
        elif self.ended_reason == RENEWED and not anew:
            raise SessionEnded(None, RENEWED)

    async def _start_successor(self, found: Recognised) -> None:
        """Start a session like the one that is over: by the same kind of token, though the client's address has one."""
        if self.session is not None and self.session.identity != "ip":
            return
        start = found.invalid.start if found.invalid else None
        self._adopt(await self._start(start=start, identity=found.invalid_identity))

    async def start(self) -> Session:
        """Start a session, or return the one there is; the response carries its token.

        Raises `UsageError` where there is none, and the response has begun.
        """
        if self.announced and self.session is None:
            raise UsageError("start the session before the first flush: its cookie goes with the headers")
        if self.session is None or self.session.ended is not None:
            return self._adopt(await self._start())
        return self.require_session()

    async def _start(self, **options: Any) -> Session:
        session = await identity.start(self.site.sessions, self.presented(), **options)
        if self.verified is not None and session.user is not None:
            await self._require_holding(session, self.verified)
        return session

    async def log_in(self, user: User) -> Session:
        """Make the session that of a user, with another token, or start one. Raises as `sessions.identity.log_in` does,
        and `BadCredentials` where the user is gone, or has another password or other roles, by then.
        """
        session = await identity.log_in(self.site.sessions, self.presented(), self.session, user)
        await self._require_holding(session, user)
        return self._adopt(session)

    async def _require_holding(self, session: Session, user: User) -> None:
        """End a session that began too late: those who look for a dismissed user's sessions have been here already."""
        authenticator = self.site.authenticator
        if authenticator is None or authenticator.holds(user):
            return
        await self.site.sessions.end(session, Reason.CREDENTIALS)
        raise BadCredentials

    async def end(self) -> None:
        """End the session as its client asks, and have the client forget it; no error where there is none.

        Raises `SessionEnded` where the token that came with the request was renewed since.
        """
        session, self.session = self._current(), None
        if session is None:
            return
        self._ended = True
        await self.site.sessions.end(session)
        self._token = None
        if session.identity == "cookie":
            self._cookies = [self.site.cookie.take_back(self._request.protocol)]

    def _adopt(self, session: Session) -> Session:
        """Make a session that of this visit, and hand its token over if it has one."""
        self.session = session
        self.unit.bind(session.ref, session.record.key)
        token = session.id.value if session.id is not None and session.id.kind == "token" else None
        if token is not None and session.identity == "cookie":
            self._cookies = [self.site.cookie.give(token, self._request.protocol, session.record.absolute_timeout)]
        elif token is not None:
            self._token = token
        return session

    # --- what the client shows ------------------------------------------------------------------------

    def presented(self) -> Presented:
        """Return what the request shows of who it comes from."""
        if self._presented is None:
            request = self._request
            agents = fields_of(request.headers).get("User-Agent")
            agent = None if agents is None else ",".join(agents)
            self._presented = Presented(request.remote_ip or "", agent, self._tokens(), self.verified, self._bearer)
        return self._presented

    def _tokens(self) -> dict[str, Sequence[str]]:
        """Return what may be tokens, by identity: where it is listed, and something may be one."""
        tokens: dict[str, Sequence[str]] = {}
        for name in self._settings.identity:
            if name not in TOKEN_IDENTITIES:
                continue
            found = (
                self._in_cookies() if name == "cookie" else self._in_header() if name == "header" else self._in_url()
            )
            if found:
                tokens[name] = found
        return tokens

    def _in_cookies(self) -> Sequence[str]:
        lines = fields_of(self._request.headers).get("Cookie")
        return () if lines is None else self.site.cookie.values(lines, self._request.protocol)

    def _in_header(self) -> Sequence[str]:
        token = self._header_token()
        return () if token is None else (token,)

    def _in_url(self) -> Sequence[str]:
        found = self._request.query_arguments.get(self._settings.url.parameter, [])
        return [token.decode("latin-1") for token in found[-1:]]

    def _header_token(self) -> str | None:
        name = self._settings.header.name
        value = _field(self._request.headers, name)
        if value is None or name.lower() != "authorization":
            return value
        scheme, _, token = value.partition(" ")
        return token.strip() if scheme.lower() == "session" else None

    async def _verify_basic(self) -> User | None:
        """Verify a Basic header; it is ignored where there is no way to check one."""
        authenticator = self.site.authenticator
        header = _field(self._request.headers, "Authorization")
        if header is None or authenticator is None or not authenticator.can_verify:
            return None
        credentials = parse_basic(header)
        if credentials is None:
            return None
        where = bucket(self._request.remote_ip or "", self._settings.ipv6_prefix)
        return await authenticator.verify(credentials, where, self._request)

    # --- what the response carries ----------------------------------------------------------------------

    def _forget_cookies(self, found: Recognised) -> None:
        if found.live_cookie:
            host = self._request.host_name
            self._cookies = self.site.cookie.take_back_elsewhere(self._request.protocol, host, self._request.path)
        else:
            self._cookies = [self.site.cookie.take_back(self._request.protocol)]

    def announce(self, fields: Fields) -> None:
        """Add to a header what it has to say of the session, in the place of what it says otherwise."""
        settings = self._settings
        if self._cookies or self._token is not None:
            self._hand_over(fields)
        if "url" in settings.identity:
            fields["Referrer-Policy"] = ["no-referrer"]  # or every link would tell the token
        session = self.session
        if settings.announce and session is not None and session.ended is None:
            seconds = whole_seconds(session.expires_in)
            if seconds is not None:
                fields["Session-Expires-In"] = [str(seconds)]

    def _hand_over(self, fields: Fields) -> None:
        if self._cookies:
            fields.setdefault("Set-Cookie", []).extend(self._cookies)
        if self._token is not None:
            fields["Session-Token"] = [self._token]
        fields["Cache-Control"] = ["no-store"]

    def require_session(self) -> Session:
        """Return the session, or raise `SessionEnded`, and `UsageError` where there are no sessions at all."""
        session = self.session
        if session is not None:
            self.unit.require_current(session.record)
            return session
        if not self._settings.enabled:
            raise UsageError("there are no sessions: session.enabled is false")
        if self._ended or (self._found is not None and self._found.invalid_identity is not None):
            raise SessionEnded(None, self.ended_reason)
        start = f"; POST {self.site.prefix}/session starts one" if self.site.has_api else ""
        raise SessionEnded(None, None, f"there is no session{start}")

    def require_user(self, roles: tuple[str, ...]) -> None:
        """Raise `BadCredentials` where nobody is logged in, and `Forbidden` without one of the roles (empty: any user)."""
        if self.user is None:
            raise BadCredentials("this needs a user; send user and password")
        if roles and not set(roles) & set(self.roles):
            raise Forbidden("this needs another role")


def _field(headers: HTTPHeaders, name: str) -> str | None:
    """Do what `headers.get` does, in a fifth of the time where there is none: that raises and catches an error."""
    lines = headers.get_list(name)
    return ",".join(lines) if lines else None
