"""One request's relation to its session: who is it, which session, and what the client has to be told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from wshttp.addresses import bucket
from wshttp.auth.basic import parse_basic
from wshttp.auth.tickets import Bearer
from wshttp.auth.user import User
from wshttp.config import SessionSettings
from wshttp.errors import BadCredentials, Forbidden, SessionEnded, UsageError
from wshttp.sessions import identity
from wshttp.sessions.identity import InvalidToken, Presented, Recognised
from wshttp.sessions.patience import Patience
from wshttp.sessions.record import RENEWED, Reason
from wshttp.sessions.session import Session, whole_seconds
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.web.checks import needs_origin
from wshttp.web.site import Site


class Visit:
    """What is known of a request's client, and what its response has to carry."""

    def __init__(self, site: Site, request: HTTPServerRequest) -> None:
        self.session: Session | None = None
        self.verified: User | None = None
        """Whose password came with this request and was right."""
        self.ended_reason: str | None = None
        """Why the session that the client asked for is over, where that is known."""
        self.unit = UnitOfWork()
        self.patience = Patience(site.settings.store.timeout)
        self._site = site
        self._settings: SessionSettings = site.settings.session
        self._request = request
        self._found = Recognised()
        self._invalid: InvalidToken | None = None
        self._ended = False
        """This visit has ended its session."""
        self._presented: Presented | None = None
        self._bearer: Bearer | None = None
        self._cookies: list[str] = []
        self._token: str | None = None

    @property
    def user(self) -> str | None:
        """Who is logged in, by session or by the password that came with the request.

        Raises `SessionEnded` where the token that came with the request was renewed since, as a log-in does.
        """
        self._require_current()
        if self.session is not None and self.session.user is not None:
            return self.session.user
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

    def _require_current(self) -> None:
        if self.session is not None:
            self.unit.require_current(self.session.record)

    # --- coming -------------------------------------------------------------------------------------

    async def identify(
        self, *, touch: bool = True, basic: bool = True, handshake: bool = False, ticket: bool = False
    ) -> None:
        """Find out who it is and which session is theirs; starts none. With `ticket`, one in the query counts.

        Raises `BadRequest`, `BadCredentials`, `TooManyRequests`, `StoreUnavailable`, for a handshake `Forbidden`, and
        `SessionEnded` for a ticket that is none, was used, or whose session is over or another one.
        """
        if basic and self._request.headers.get_list("Authorization"):
            self.verified = await self._verify_basic()
        if not self._settings.enabled:
            return
        if ticket:
            self._bearer = await self._redeem()
        touch = touch and "http" in self._settings.touch
        try:
            self._found = await identity.recognise(self._site.sessions, self._present(), touch=touch)
        except InvalidToken as error:
            self._found, self._invalid = error.found, error
        if handshake and self._found.live_cookie and needs_origin(self._request):
            raise Forbidden("a WebSocket that joins a cookie's session needs an Origin header; browsers send it")
        self.session = self._found.session
        if self.session is not None and self._found.key is not None:
            self.unit.bind(self.session.ref, self._found.key)
        self.ended_reason = self._found.invalid.reason if self._found.invalid else None
        if self._found.unknown_cookie:
            self._forget_cookies()

    async def _redeem(self) -> Bearer | None:
        """Take the ticket in the query, if there is one; it is gone then, whatever comes of the request."""
        presented = self._request.query_arguments.get("ticket", [])
        if not presented or self._site.tickets is None:
            return None
        bearer = await self._site.tickets.redeem(presented[-1].decode("latin-1"))
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
        if self._presented_only_invalid():
            await self._settle_invalid(anew)
        if self.session is None and auto_start:
            await self.start()

    def _presented_only_invalid(self) -> bool:
        return (self._found.invalid_identity is not None and not self._found.tokens) or self._invalid is not None

    async def _settle_invalid(self, anew: bool) -> None:
        """Ask `on_invalid_session`: `True` starts a successor, `False` refuses, `None` leaves it to our own rules."""
        decision = await self._site.callbacks.decide("invalid_session", self._request, self.ended_reason)
        if decision is False:
            raise SessionEnded(None, self.ended_reason)
        if decision is True:
            await self._start_successor()
        elif self._invalid is not None:
            raise self._invalid
        elif self.ended_reason == RENEWED and not anew:
            raise SessionEnded(None, RENEWED)

    async def _start_successor(self) -> None:
        """Start a session like the one that is over: by the same kind of token, though the client's address has one."""
        found = self._found
        if self.session is not None and self.session.identity != "ip":
            return
        start = found.invalid.start if found.invalid else None
        self._adopt(await self._start(start=start, identity=found.invalid_identity))

    async def start(self) -> Session:
        """Start a session, or return the one there is; the response carries its token."""
        if self.session is None or self.session.ended is not None:
            return self._adopt(await self._start())
        return self.require_session()

    async def _start(self, **options: Any) -> Session:
        session = await identity.start(self._site.sessions, self._present(), **options)
        if self.verified is not None and session.user is not None:
            await self._require_holding(session, self.verified)
        return session

    async def log_in(self, user: User) -> Session:
        """Make the session that of a user, with another token, or start one. Raises as `sessions.identity.log_in` does,
        and `BadCredentials` where the user is gone, or has another password or other roles, by then.
        """
        session = await identity.log_in(self._site.sessions, self._present(), self.session, user)
        await self._require_holding(session, user)
        return self._adopt(session)

    async def _require_holding(self, session: Session, user: User) -> None:
        """End a session that began too late: those who look for a dismissed user's sessions have been here already."""
        authenticator = self._site.authenticator
        if authenticator is None or authenticator.holds(user):
            return
        await self._site.sessions.end(session, Reason.CREDENTIALS)
        raise BadCredentials

    async def end(self) -> None:
        """End the session as its client asks, and have the client forget it; no error where there is none.

        Raises `SessionEnded` where the token that came with the request was renewed since.
        """
        self._require_current()
        session, self.session = self.session, None
        if session is None:
            return
        self._ended = True
        await self._site.sessions.end(session)
        self._token = None
        if session.identity == "cookie":
            self._cookies = [self._site.cookie.take_back(self._scheme)]

    def _adopt(self, session: Session) -> Session:
        """Make a session that of this visit, and hand its token over if it has one."""
        self.session = session
        self.unit.bind(session.ref, session.record.key)
        token = session.id.value if session.id is not None and session.id.kind == "token" else None
        if token is not None and session.identity == "cookie":
            self._cookies = [self._site.cookie.give(token, self._scheme, session.record.absolute_timeout)]
        elif token is not None:
            self._token = token
        return session

    # --- what the client shows ------------------------------------------------------------------------

    def _present(self) -> Presented:
        if self._presented is None:
            request = self._request
            self._presented = Presented(
                remote_ip=request.remote_ip or "",
                user_agent=_field(request.headers, "User-Agent"),
                tokens=self._tokens(),
                verified=self.verified,
                bearer=self._bearer,
            )
        return self._presented

    def _tokens(self) -> dict[str, Sequence[str]]:
        """Return what may be tokens, by identity: where it is listed, and something may be one."""
        tokens: dict[str, Sequence[str]] = {}
        for name in self._settings.identity:
            find = self._finders.get(name)
            if find is not None and (found := find(self)):
                tokens[name] = found
        return tokens

    def _in_cookies(self) -> Sequence[str]:
        lines = self._request.headers.get_list("Cookie")
        return self._site.cookie.values(lines, self._scheme) if lines else ()

    def _in_header(self) -> Sequence[str]:
        token = self._header_token()
        return () if token is None else (token,)

    def _in_url(self) -> Sequence[str]:
        found = self._request.query_arguments.get(self._settings.url.parameter, [])
        return [token.decode("latin-1") for token in found[-1:]]

    _finders: ClassVar[dict[str, Callable[[Visit], Sequence[str]]]] = {
        "cookie": _in_cookies,
        "header": _in_header,
        "url": _in_url,
    }

    def _header_token(self) -> str | None:
        name = self._settings.header.name
        value = _field(self._request.headers, name)
        if value is None or name.lower() != "authorization":
            return value
        scheme, _, token = value.partition(" ")
        return token.strip() if scheme.lower() == "session" else None

    async def _verify_basic(self) -> User | None:
        """Verify a Basic header; it is ignored where there is no way to check one."""
        authenticator = self._site.authenticator
        header = _field(self._request.headers, "Authorization")
        if header is None or authenticator is None or not authenticator.can_verify:
            return None
        credentials = parse_basic(header)
        if credentials is None:
            return None
        where = bucket(self._request.remote_ip or "", self._settings.ipv6_prefix)
        return await authenticator.verify(credentials, where, self._request)

    @property
    def _scheme(self) -> str:
        return self._request.protocol

    # --- what the response carries ----------------------------------------------------------------------

    def _forget_cookies(self) -> None:
        if self._found.live_cookie:
            host = self._request.host_name
            self._cookies = self._site.cookie.take_back_elsewhere(self._scheme, host, self._request.path)
        else:
            self._cookies = [self._site.cookie.take_back(self._scheme)]

    def headers(self) -> list[tuple[str, str]]:
        """Return what the response has to say of the session."""
        settings = self._settings
        headers = [("Set-Cookie", cookie) for cookie in self._cookies]
        if self._token is not None:
            headers.append(("Session-Token", self._token))
        if headers:
            headers.append(("Cache-Control", "no-store"))
        if "url" in settings.identity:
            headers.append(("Referrer-Policy", "no-referrer"))  # or every link would tell the token
        if settings.announce and self.session is not None and self.session.ended is None:
            seconds = whole_seconds(self.session.expires_in)
            if seconds is not None:
                headers.append(("Session-Expires-In", str(seconds)))
        return headers

    def require_session(self) -> Session:
        """Return the session, or raise `SessionEnded`, and `UsageError` where there are no sessions at all."""
        if self.session is not None:
            self._require_current()
            return self.session
        if not self._settings.enabled:
            raise UsageError("there are no sessions: session.enabled is false")
        if self._found.invalid_identity is not None or self._ended:
            raise SessionEnded(None, self.ended_reason)
        start = f"; POST {self._site.prefix}/session starts one" if self._site.has_api else ""
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
