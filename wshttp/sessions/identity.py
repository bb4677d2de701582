"""Which session does a request belong to?

The rules of one list, in one place: what each identity presents, which outranks which, and how a new session starts.
No HTTP here: the caller says what the client presented, and carries out what the answer says about its cookie.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from wshttp.addresses import bucket
from wshttp.errors import BadCredentials, BadRequest, SessionEnded
from wshttp.sessions.data import Json
from wshttp.sessions.ids import LOGIN_IDENTITIES, TOKEN_IDENTITIES, SessionId
from wshttp.sessions.invalid_token import InvalidToken
from wshttp.sessions.record import RENEWED, Tombstone
from wshttp.sessions.session import Session
from wshttp.sessions.session_list import SessionList, log

ORDER_OF_NEW: Final = ("ip", *TOKEN_IDENTITIES)
"""By which identity a new anonymous session starts: the first of these that is listed."""


class Verified(Protocol):
    """A user whose password was verified with this request."""

    @property
    def name(self) -> str: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def version(self) -> str: ...


class Bearer(Protocol):
    """What a ticket stood for: a session as it was when the ticket was made."""

    @property
    def ref(self) -> str: ...
    @property
    def key(self) -> bytes: ...


_REFUSING: Final = ("prefix", "strict")
"""The drift policies under which a session may not be used from everywhere."""

_NO_TOKENS: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})
_NO_SESSIONS: Final[Mapping[str, Session]] = MappingProxyType({})


class Presented:
    """What a request shows of who it comes from."""

    __slots__ = ("bearer", "remote_ip", "tokens", "user_agent", "verified")

    def __init__(
        self,
        remote_ip: str,
        user_agent: str | None = None,
        tokens: Mapping[str, Sequence[str]] = _NO_TOKENS,
        verified: Verified | None = None,
        bearer: Bearer | None = None,
    ) -> None:
        self.remote_ip = remote_ip
        """Empty where nobody knows it: on a Unix socket whose proxy does not name the client."""
        self.user_agent = user_agent
        self.tokens = tokens
        """What may be tokens, by identity; several where there are several cookies of our name, in order."""
        self.verified = verified
        self.bearer = bearer
        """By the ticket that came with it; where one came and was none, nobody gets as far as this."""

    def usable(self, identity: str) -> bool:
        """Whether an identity can tell this client from others; all of unknown address would share one session."""
        return identity != "ip" or bool(self.remote_ip)


class Recognised:
    """The session that a request belongs to, and what else was found on the way."""

    session: Session | None = None
    key: bytes | None = None
    """Under which it was found."""
    unknown_cookie = False
    """A cookie names no session that is or recently was: the client is to forget it."""
    live_cookie = False
    """A cookie names a live session; with `unknown_cookie`, there are several cookies of one name."""
    invalid: Tombstone | None = None
    """What is left of the session that the client asked for, if it is over."""
    invalid_identity: str | None = None
    """By which identity the client asked for a session that is over or never was."""
    tokens: Mapping[str, Session] = _NO_SESSIONS

    def take(self, identity: str, session: Session, key: bytes) -> None:
        """Take note of a live token; of several cookies the first counts."""
        if identity not in self.tokens:
            self.tokens, self.key = {**self.tokens, identity: session}, key


async def recognise(sessions: SessionList, presented: Presented, *, touch: bool = True) -> Recognised:
    """Find the session of a request; never starts one.

    Raises `BadRequest` for two live sessions in one request, `BadCredentials` for a verified user in another user's
    session, `SessionEnded` for a header, a URL or a ticket that names none, `StoreUnavailable`.
    """
    found = Recognised()
    if presented.bearer is not None:
        await _by_ticket(sessions, presented, presented.bearer, found, touch)
    if presented.tokens:
        await _by_tokens(sessions, presented, found, touch)
    if found.tokens:
        found.session = _the_one_named(found, presented)
    if presented.verified is not None:
        await _with_user(sessions, presented, presented.verified, found, touch)
    elif found.session is None and "ip" in sessions.settings.identity and presented.usable("ip"):
        what = await sessions.find(sessions.ip_id(presented.remote_ip), touch=touch)
        found.session = what if isinstance(what, Session) else None
    if found.session is not None and (not found.tokens or found.session not in found.tokens.values()):
        found.key = found.session.record.key
    return found


async def _by_tokens(sessions: SessionList, presented: Presented, found: Recognised, touch: bool) -> None:
    for identity in TOKEN_IDENTITIES:
        if identity in presented.tokens and identity in sessions.settings.identity:
            for value in presented.tokens[identity]:
                what = await _take_token(sessions, presented, identity, value, found, touch)
                _note(found, identity, what)


def _note(found: Recognised, identity: str, what: Session | Tombstone | None) -> None:
    """Take note of what a token names, or raise `InvalidToken`."""
    if identity != "cookie":
        if not isinstance(what, Session):
            found.invalid = what
            raise InvalidToken(found, what)
    elif isinstance(what, Session):
        found.live_cookie = True
    else:
        found.invalid = found.invalid or what
        if what is None or what.reason != RENEWED:
            # A renewed token is refused, and the cookie left alone: its successor may be on its way to the client.
            found.unknown_cookie = True


def _the_one_named(found: Recognised, presented: Presented) -> Session:
    sessions = list(found.tokens.values())
    if len(sessions) > 1 and len({session.ref for session in sessions}) > 1:
        if presented.bearer is not None:
            raise SessionEnded(None, None, "the ticket is that of another session than the cookie or header")
        raise BadRequest("the request names two different sessions, by cookie and by header; send one of them")
    return sessions[0]


async def _by_ticket(
    sessions: SessionList, presented: Presented, bearer: Bearer, found: Recognised, touch: bool
) -> None:
    """Take the session of a ticket, if it is still the one for which the ticket was made."""
    session = await sessions.get_by_ref(bearer.ref)
    if session is None or session.record.key != bearer.key:
        what = await sessions.store.load(bearer.key, touch=False)
        is_known = isinstance(what, Tombstone) and what.ref == bearer.ref
        raise SessionEnded(None, what.reason if is_known and isinstance(what, Tombstone) else None)
    if not _at_home(sessions, session, presented):
        raise SessionEnded(None, None, "the ticket was made for another address or browser")
    if touch:
        session = await sessions.get_by_ref(session.ref, touch=True) or session
    found.take("ticket", session, bearer.key)


async def _take_token(
    sessions: SessionList, presented: Presented, identity: str, value: str, found: Recognised, touch: bool
) -> Session | Tombstone | None:
    """Find what a token names, and take note of it."""
    token = SessionId.presented_token(value)
    what = None if token is None else await _find_token(sessions, presented, token, touch)
    if token is not None and isinstance(what, Session):
        found.take(identity, what, token.key)
    else:
        found.invalid_identity = identity
    return what


async def _find_token(
    sessions: SessionList, presented: Presented, token: SessionId, touch: bool
) -> Session | Tombstone | None:
    drift = sessions.settings.drift
    may_refuse = drift.ip in _REFUSING or drift.user_agent in _REFUSING
    session = await sessions.find(token, touch=touch and not may_refuse)
    if not isinstance(session, Session):
        return session
    if not _at_home(sessions, session, presented):
        return None
    if touch and may_refuse:  # not before: who is refused does not keep it alive
        return await sessions.get_by_ref(session.ref, touch=True)
    return session


def _at_home(sessions: SessionList, session: Session, presented: Presented) -> bool:
    """Apply the drift policy: may this session be used from here, with this browser?"""
    drift, record = sessions.settings.drift, session.record
    browser = shortened(presented.user_agent)
    if record.user_agent == browser and record.remote_ip == presented.remote_ip:
        return True  # as nearly always
    here = bucket(presented.remote_ip, sessions.settings.ipv6_prefix)
    drifts = {
        "address": _drifts(drift.ip, record.remote_ip != presented.remote_ip, record.bucket != here),
        "user agent": _drifts(
            drift.user_agent, record.user_agent != browser, _unversioned(record.user_agent) != _unversioned(browser)
        ),
    }
    for what, verdict in drifts.items():
        if verdict is not None:
            extra = {"ref": session.ref, "remote_ip": presented.remote_ip}
            log.warning("session %s is used from another %s", session.ref, what, extra=extra)
    return "refuse" not in drifts.values()


def _drifts(policy: str, differs: bool, differs_in_prefix: bool) -> str | None:
    """Say what a difference leads to under a policy: `refuse`, `log`, or nothing."""
    if policy == "off" or not differs:
        return None
    if policy == "strict" or (policy == "prefix" and differs_in_prefix):
        return "refuse"
    return "log" if policy == "log" else None


def _unversioned(user_agent: str | None) -> str:
    """Return a user agent without its version numbers: what stays the same when a browser updates itself."""
    return re.sub(r"[\d._]+", "", user_agent or "")


async def _with_user(
    sessions: SessionList, presented: Presented, verified: Verified, found: Recognised, touch: bool
) -> None:
    """Settle who a request with a verified user is, beside what its token says."""
    held = found.session
    if held is not None and held.user == verified.name:
        return
    if held is not None and held.user is not None:
        raise BadCredentials("the session belongs to another user; log out first")
    if "credentials" in sessions.settings.identity:
        session_id = sessions.credentials_id(verified.name, verified.version, presented.remote_ip)
        found.session = await sessions.get(session_id, touch=touch)
    elif held is None and "ip" in sessions.settings.identity and presented.usable("ip"):
        found.session = await sessions.get(sessions.ip_id(presented.remote_ip), touch=touch)


async def start(
    sessions: SessionList, presented: Presented, *, start: dict[str, Json] | None = None, identity: str | None = None
) -> Session:
    """Start a session for a request that has none, by the identity that its client can hold.

    A verified user gets a `credentials` session where that is listed. `start` are start parameters; `identity` is the
    kind of token that the client is to hold (default: as `ORDER_OF_NEW` says).
    Raises as `SessionList.create` does.
    """
    options: dict[str, Any] = {"user_agent": shortened(presented.user_agent), "start": start}
    verified = presented.verified
    if verified is not None and "credentials" in sessions.settings.identity:
        session_id = sessions.credentials_id(verified.name, verified.version, presented.remote_ip)
        return await sessions.get_or_create(
            session_id,
            remote_ip=presented.remote_ip,
            user=verified.name,
            roles=verified.roles,
            version=verified.version,
            **options,
        )
    listed = [name for name in ORDER_OF_NEW if name in sessions.settings.identity]
    identity = identity or next(filter(presented.usable, listed), None)
    if identity is None and listed:
        raise BadRequest("sessions go by address here, and the proxy did not name the client's")
    if identity is None:
        raise BadCredentials("this server starts sessions for users only; send user and password")
    if identity == "ip":
        options["user_agent"] = None  # many browsers may be behind one address
        return await sessions.get_or_create(
            sessions.ip_id(presented.remote_ip), remote_ip=presented.remote_ip, **options
        )
    return await sessions.create(remote_ip=presented.remote_ip, identity=identity, **options)


def login_identity(listed: Sequence[str]) -> str:
    """Return by which identity a log-in hands over its token. Raises `BadRequest` where none of them is listed."""
    identity = next((name for name in LOGIN_IDENTITIES if name in listed), None)
    if identity is None:
        raise BadRequest("a log-in needs `cookie` or `header` in session.identity")
    return identity


async def log_in(sessions: SessionList, presented: Presented, held: Session | None, verified: Verified) -> Session:
    """Make a session of a cookie or header client that of a user; the token changes, the ref stays.

    A client that holds none gets one; another user's is ended with `replaced`, so that nothing of it is inherited.
    Where another log-in was first, the token of this one is over: it gets the session of the same user, under its present
    token, or else one of its own; another user's then stays as it is.
    Raises `BadRequest` where neither cookie nor header identity is listed, and as `SessionList.renew` does.
    """
    identity = login_identity(sessions.settings.identity)
    if held is not None and held.identity in TOKEN_IDENTITIES:
        try:
            if held.user in (None, verified.name):
                await sessions.renew(held, user=verified.name, roles=verified.roles, version=verified.version)
                return held
            await sessions.end(held, "replaced")
        except SessionEnded as error:
            if error.reason != RENEWED:
                raise
            if _is_logged_in(held, verified):
                return held
    return await sessions.create(
        remote_ip=presented.remote_ip,
        identity=identity,
        user=verified.name,
        roles=verified.roles,
        version=verified.version,
        user_agent=shortened(presented.user_agent),
    )


def _is_logged_in(session: Session, verified: Verified) -> bool:
    """Tell whether a session is that of a user already, and which token it has is known here."""
    record = session.record
    same = (record.user, record.version, record.roles) == (verified.name, verified.version, verified.roles)
    return same and record.reason is None and session.id is not None and session.id.key == record.key


def shortened(user_agent: str | None) -> str | None:
    """Return as much of a user agent as a session keeps; one string for all sessions of the same browser."""
    return sys.intern(user_agent[:256]) if user_agent else None
