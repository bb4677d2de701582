"""The HTTP API of a client, under `api.prefix`: its session, its log-in, its other sessions."""

from __future__ import annotations

import json
from typing import Any

from wshttp.addresses import bucket
from wshttp.auth.basic import BasicCredentials, parse_basic
from wshttp.auth.tickets import LIFETIME
from wshttp.errors import BadCredentials, BadRequest, NotFound
from wshttp.sessions.identity import login_identity
from wshttp.sessions.record import Record
from wshttp.web.handler import SessionHandler

MAX_LOGIN_BODY = 8 * 1024
"""Bytes of a log-in; a password has 72 at most."""


class ApiHandler(SessionHandler):
    """What the calls of the API have in common: JSON, and nothing that may be cached."""

    def answer(self, body: Any, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(body))


class CurrentSession(ApiHandler):
    """`/session`: look at it, start it, end it."""

    def _peeks(self) -> bool:
        return self.request.method in ("GET", "HEAD") and self.get_query_argument("touch", "1") == "0"

    def touches(self) -> bool:
        return not self._peeks() and self.request.method != "DELETE"

    def starts_session(self) -> bool:
        return self.request.method in ("GET", "HEAD") and not self._peeks() and super().starts_session()

    def get(self) -> None:
        self.answer(self.session.describe())

    async def post(self) -> None:
        existed = self.has_session
        session = await self.start_session()
        self.answer(session.describe(), 200 if existed else 201)

    async def delete(self) -> None:
        _ = self.session
        await self.end_session()
        self.set_status(204)


class Touch(ApiHandler):
    """`POST /session/touch`: keep it alive."""

    auto_start = False

    async def post(self) -> None:
        await self.session.touch()
        self.site.hub.changed(self.session.record)
        self.answer(self.session.describe())


class NewTicket(ApiHandler):
    """`POST /ticket`: what opens one WebSocket, or stream, once."""

    auto_start = False

    async def post(self) -> None:
        session = self.session
        if self.site.tickets is None:
            raise NotFound("there are no tickets here")
        ticket = await self.site.tickets.issue(session.ref, session.record.key, payer=_payer(session.record))
        self.answer({"ticket": ticket, "expires_in": int(LIFETIME)}, 201)


def _payer(record: Record) -> str:
    """Return who answers for the tickets of a session: its user, or else whoever is where it began."""
    if record.user is not None:
        return f"user:{record.user}"
    return f"ip:{record.bucket}" if record.bucket else f"ref:{record.ref}"


class OfUser(ApiHandler):
    """What is for the user who is logged in."""

    auto_start = False

    def _user(self) -> str:
        user = self.session.user
        if user is None:
            raise BadCredentials("log in first: these are the sessions of a user")
        return user


class OwnSessions(OfUser):
    """`/sessions`: those of the user who is logged in."""

    async def get(self) -> None:
        found = [
            s.describe() | {"current": s is self.session} async for s in self.site.sessions.scan(user=self._user())
        ]
        self.answer({"sessions": found})

    async def delete(self) -> None:
        """End all others."""
        ended = await self.site.sessions.end_all(user=self._user(), reason="logout", keep=self.session.ref)
        self.answer({"ended": ended})


class OwnSession(OfUser):
    """`/sessions/{ref}`: end one of them."""

    async def delete(self, ref: str = "") -> None:
        session = await self._find(ref)
        if session is self.session:
            await self.end_session()
        else:
            await self.site.sessions.end(session)
        self.set_status(204)

    async def _find(self, ref: str) -> Any:
        session = await self.site.sessions.get_by_ref(ref)
        if session is None or session.user != self._user():
            raise NotFound("you have no such session")
        return session


class Login(ApiHandler):
    """`POST /login`: a password for a session with a user, under a new token."""

    auto_start = False
    verifies_basic = False
    begins_anew = True  # or a browser that missed the answer to its last log-in could not log in

    async def post(self) -> None:
        site, visit = self.site, self._visit()
        login_identity(site.settings.session.identity)
        if site.authenticator is None or not site.authenticator.can_verify:
            raise BadCredentials("nobody can log in here: set auth.users_file, or register on_authenticate")
        credentials = self._credentials()
        where = bucket(self.request.remote_ip or "", site.settings.session.ipv6_prefix)
        user = await site.authenticator.verify(credentials, where, self.request)
        session = await visit.log_in(user)
        self.answer(session.describe())

    def _credentials(self) -> BasicCredentials:
        header = self.request.headers.get("Authorization")
        basic = parse_basic(header) if header is not None else None
        return basic or _from_json(self.request.body)


def _from_json(body: bytes) -> BasicCredentials:
    if len(body) > MAX_LOGIN_BODY:
        raise BadRequest("a log-in is a small thing")
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest('a log-in is a Basic header, or JSON {"user": …, "password": …}') from None
    user, password = (fields.get("user"), fields.get("password")) if isinstance(fields, dict) else (None, None)
    if not isinstance(user, str) or not isinstance(password, str):
        raise BadRequest("`user` and `password` are texts")
    return BasicCredentials(user, password)


class ApiNothing(SessionHandler):
    """What the API does not have."""

    wants_session = False

    async def prepare(self) -> None:
        await super().prepare()
        raise NotFound("the API has no such call; see docs/reference/wire.md")
