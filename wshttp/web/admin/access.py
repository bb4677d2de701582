"""Who may use administration, and the form of its answers."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection
from typing import Any, Final

from wshttp.addresses import bucket
from wshttp.auth.authenticator import Authenticator
from wshttp.auth.basic import challenge, parse_basic
from wshttp.auth.user import User
from wshttp.errors import BadCredentials, BadRequest, Forbidden
from wshttp.web.admin import audit
from wshttp.web.admin.desk import Desk
from wshttp.web.gate import Gate

MAX_LIMIT: Final = 1000
"""Entries in one answer, or ends in one step."""

_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_CURSOR: Final = re.compile(r"[0-9a-f]{1,64}")


class AdminGate(Gate):
    """Let in users of `admin.users` with their password, and nobody else. No session is looked for, started or touched.

    A log-in by session does not count: who gets hold of a cookie does not get hold of all sessions.
    """

    admin: User

    async def enter(self) -> None:
        await super().enter()
        self.admin = await self._require_admin()

    async def _require_admin(self) -> User:
        authenticator = self._require_configured()
        header = self.request.headers.get("Authorization")
        credentials = parse_basic(header) if header is not None else None
        if credentials is None:
            raise BadCredentials("administration needs a user of admin.users; send user and password")
        where = bucket(self.request.remote_ip or "", self.site.settings.session.ipv6_prefix)
        user = await authenticator.verify(credentials, where, self.request)
        if not self._is_listed(user):
            audit.record_refusal(user.name, self.request.remote_ip or "")
            raise Forbidden(f"{user.name} is not in admin.users")
        return user

    def _require_configured(self) -> Authenticator:
        if not self.site.settings.admin.users:
            raise Forbidden("nobody may use administration; to allow somebody, name their user in admin.users")
        authenticator = self.site.authenticator
        if authenticator is None or not authenticator.can_verify:
            raise Forbidden("no password can be checked; set auth.users_file, or register on_authenticate")
        return authenticator

    def _is_listed(self, user: User) -> bool:
        name = unicodedata.normalize("NFC", user.name)
        return any(name == unicodedata.normalize("NFC", each) for each in self.site.settings.admin.users)

    def may_still(self) -> bool:
        """Whether the user of a long answer would be let in again."""
        authenticator = self.site.authenticator
        return authenticator is not None and self._is_listed(self.admin) and authenticator.holds(self.admin)

    def record(self, act: str, **facts: Any) -> None:
        """Write what was done to the audit log."""
        audit.record(self.admin.name, self.request.remote_ip or "", act, **facts)

    def _challenge(self, status: int, error: BaseException | None) -> dict[str, str]:
        """Return how to log in: with Basic, which has browsers ask for it; the page is theirs."""
        return {"WWW-Authenticate": challenge(self.site.settings.auth.realm)} if status == 401 else {}


class AdminCall(AdminGate):
    """What the calls of administration have in common: JSON that nobody caches, asked for by no other site's page."""

    def initialize(self, desk: Desk) -> None:
        self.desk = desk

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Cache-Control", "no-store")

    async def enter(self) -> None:
        # Reading is refused, too: the browser would add the password, and every stream that is opened costs something.
        if self.request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise Forbidden("requests from another site are refused")
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
        return {name: self.get_query_argument(name, strip=False) for name in given}


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
