"""One-time secrets that say whose session it is: for a WebSocket, where a browser can send neither cookie nor header.

A ticket ends up in a URL, and so perhaps in a log or a history. Therefore it opens one connection, once, and soon; and
what is stored of it is its SHA-256, so that who reads the store can open none.
It stands for a session as it is when the ticket is made: one that has ended or was renewed since is no longer meant.

The stored values are those of all nodes that have one `Shared`: it does not matter which of them makes a ticket and
which takes it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Final

from wshttp.errors import TooManyRequests
from wshttp.sessions.ids import TOKEN_BYTES
from wshttp.sessions.shared import Shared

LIFETIME: Final = 30.0
"""Seconds in which a ticket can be used."""

MAX_TICKETS: Final = 100
"""Tickets of one session in `LIFETIME`: as many as it may have connections by default."""

_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Admission:
    """What a ticket stood for: a session by its ref, and the key under which it was found then."""

    ref: str
    key: bytes


class Tickets:
    """Make tickets, and take them. Both methods raise `StoreUnavailable` as `Shared` does."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def issue(self, ref: str, key: bytes) -> str:
        """Make a ticket: 256 random bits. Raises `TooManyRequests` for a session that has many as it is."""
        if await self._shared.add(f"tickets:{ref}", ttl=LIFETIME) > MAX_TICKETS:
            raise TooManyRequests(LIFETIME, "the session has asked for too many tickets")
        ticket = secrets.token_urlsafe(TOKEN_BYTES)
        await self._shared.put(_key(ticket), f"{ref}:{key.hex()}".encode(), ttl=LIFETIME)
        return ticket

    async def redeem(self, ticket: str) -> Admission | None:
        """Take a ticket: of several callers one gets what it stands for, the others, and all later ones, `None`."""
        if not _FORM.fullmatch(ticket):
            return None
        stored = await self._shared.take(_key(ticket))
        if stored is None:
            return None
        ref, _, key = stored.decode().partition(":")
        return Admission(ref, bytes.fromhex(key))


def _key(ticket: str) -> str:
    return f"ticket:{hashlib.sha256(ticket.encode()).hexdigest()}"
