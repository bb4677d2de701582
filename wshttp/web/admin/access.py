"""Who may use administration, and the form of its answers."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any, Final

from wshttp.addresses import bucket
from wshttp.auth.authenticator import Authenticator
from wshttp.auth.basic import BasicCredentials, challenge, parse_basic
from wshttp.auth.user import User
from wshttp.errors import (
    BadCredentials,
    BadRequest,
    ContentTooLarge,
    Forbidden,
    InvalidValue,
    StoreUnavailable,
    TooManyRequests,
)
from wshttp.sessions.data import checked, read_json
from wshttp.web import checks
from wshttp.web.admin import audit
from wshttp.web.admin.desk import Desk
from wshttp.web.gate import Gate

MAX_LIMIT: Final = 1000
"""Entries in one answer, or ends in one step."""

AGAIN: Final = 15.0
"""Seconds after which the password of somebody who gets a long answer is checked again."""

_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_CURSOR: Final = re.compile(r"[0-9a-f]{1,64}")


class AdminGate(Gate):
    """Let in users of `admin.users` with their password, and nobody else. No session is looked for, started or touched.

    A log-in by session does not count: who gets hold of a cookie does not get hold of all sessions.
    """

    admin: User
    _verified_at: float
    """On the monotonic clock."""

    def initialize(self, desk: Desk) -> None:
        self.desk = desk

    async def enter(self) -> None:
        await super().enter()
        self.admin = await self._require_admin()

    async def _require_admin(self) -> User:
        authenticator = self._require_configured()
        header = self.request.headers.get("Authorization")
        credentials = parse_basic(header) if header is not None else None
        if credentials is None:
            raise BadCredentials("administration needs a user of admin.users; send user and password")
        try:
            return await self._verified(authenticator, credentials)
        except (BadCredentials, Forbidden, TooManyRequests) as error:
            name = credentials.user
            self.desk.refusals.record(name, self.request.remote_ip or "", error, self._listed(name))
            raise

    async def _verified(self, authenticator: Authenticator, credentials: BasicCredentials) -> User:
        self._verified_at = self.site.hub.clock.monotonic()
        where = bucket(self.request.remote_ip or "", self.site.settings.session.ipv6_prefix)
        user = await authenticator.verify(credentials, where, self.request)
        if self._listed(user.name) is None:
            raise Forbidden(f"{user.name} is not in admin.users")
        return user

    def _require_configured(self) -> Authenticator:
        if not self.site.settings.admin.users:
            raise Forbidden("nobody may use administration; to allow somebody, name their user in admin.users")
        authenticator = self.site.authenticator
        if authenticator is None or not authenticator.can_verify:
            raise Forbidden("no password can be checked; set auth.users_file, or register on_authenticate")
        return authenticator

    def _listed(self, name: str) -> str | None:
        """Return a name as `admin.users` has it; `None` where it has not."""
        name = unicodedata.normalize("NFC", name)
        users = self.site.settings.admin.users
        return next((each for each in users if name == unicodedata.normalize("NFC", each)), None)

    async def may_still(self) -> bool:
        """Whether the user of a long answer would be let in again.

        What is known here is looked at each time; the password is checked again every `AGAIN` seconds, by the functions of
        `on_authenticate`, too, as soon as what they said is no longer remembered (`auth.cache`).
        """
        authenticator = self.site.authenticator
        if authenticator is None or self._listed(self.admin.name) is None or not authenticator.holds(self.admin):
            return False
        if self.site.hub.clock.monotonic() < self._verified_at + AGAIN:
            return True
        try:
            return await self._require_admin() == self.admin
        except (BadCredentials, Forbidden, TooManyRequests, StoreUnavailable):
            return False

    def record(self, act: str, **facts: Any) -> None:
        """Write what was done to the audit log."""
        audit.record(self.admin.name, self.request.remote_ip or "", act, **facts)

    def recording(self, act: str, **facts: Any) -> AbstractContextManager[dict[str, Any]]:
        """Write to the audit log what is being done, when it is over; see `audit.recording`."""
        return audit.recording(self.admin.name, self.request.remote_ip or "", act, **facts)

    def _challenge(self, status: int, error: BaseException | None) -> dict[str, str]:
        """Return how to log in: with Basic, which has browsers ask for it; the page is theirs."""
        return {"WWW-Authenticate": challenge(self.site.settings.auth.realm)} if status == 401 else {}


class AdminCall(AdminGate):
    """What the calls of administration have in common: JSON that nobody caches, asked for by no other site's page."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    async def enter(self) -> None:
        # Reading is refused, too: the browser would add the password, for a page on another port of this host as well,
        # and every stream that is opened costs something.
        checks.require_same_origin(self.request)
        await super().enter()

    def compute_etag(self) -> str | None:
        """Leave Tornado's ETag away: nothing here is asked for twice and the same."""
        return None

    def answer(self, body: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(body))

    # --- what is asked for ----------------------------------------------------------------------------

    def parameters(self, *names: str) -> dict[str, str]:
        """Return the query's parameters. Raises `BadRequest` for one that does not exist, or comes twice.

        What is misspelt must not be left out: it may be all that keeps an end from meeting everybody.
        """
        given = self.request.query_arguments
        _require_known(given.keys(), names)
        for name, values in given.items():
            if len(values) > 1:
                raise BadRequest(f"{name} is given {len(values)} times")
        return {name: _text(name, values[0]) for name, values in given.items()}

    def body(self, maximum: int) -> dict[str, Any]:
        """Return the JSON object that was sent. Raises `BadRequest`, and `ContentTooLarge` above so many bytes."""
        media_type = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise BadRequest("the body is JSON: send Content-Type: application/json")
        if len(self.request.body) > maximum:
            raise ContentTooLarge(f"the body has {maximum} bytes at most")
        try:
            found = checked(read_json(self.request.body.decode(), unique=True))
        except (ValueError, RecursionError, InvalidValue):
            raise BadRequest("this is not JSON that can be sent, with each name once") from None
        if not isinstance(found, dict):
            raise BadRequest("the body is a JSON object")
        return dict(found)


def _text(name: str, value: bytes) -> str:
    """Return a value as it is: Tornado's `get_query_argument` changes control characters, and users may have them."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"{name} is not UTF-8") from None


def _require_known(given: Collection[str], names: Collection[str]) -> None:
    for name in given:
        if name not in names:
            raise BadRequest(f"there is no parameter {name!r}; there are {', '.join(names)}")


def read_limit(text: str | None, default: int) -> int:
    """Read how many entries are wanted. Raises `BadRequest`."""
    if not text:
        return default
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise BadRequest(f"limit is a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def read_cursor(text: str | None) -> str:
    """Read where to go on; empty is at the beginning. Raises `BadRequest`."""
    if text and not _CURSOR.fullmatch(text):
        raise BadRequest("cursor is what the page before gave")
    return text or ""
