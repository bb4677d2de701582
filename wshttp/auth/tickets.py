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

MAX_FOR_PAYER: Final = 1_000
"""Tickets of all sessions of one user, or begun from one address without a user, in `LIFETIME`."""

MAX_IN_ALL: Final = 10_000
"""Tickets in `LIFETIME`, so that the longest unused never has to go: the windows of `Shared` are fixed, so up to twice
as many live at a time, and one has three keys at most (its own, and the counters of its session and its payer)."""

_IN_ALL: Final = "tickets"

_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Bearer:
    """What a ticket stood for: a session by its ref, and the key under which it was found then."""

    ref: str
    key: bytes


class Tickets:
    """Make tickets, and take them. Both methods raise `StoreUnavailable` as `Shared` does."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def issue(self, ref: str, key: bytes, *, payer: str) -> str:
        """Make a ticket: 256 random bits. `payer` is who answers for it: a client has as many sessions as it likes.

        Raises `TooManyRequests` where the session, the payer or all together have many as it is.
        """
        await self._count(ref, f"tickets-for:{_digest(payer)}")
        ticket = secrets.token_urlsafe(TOKEN_BYTES)
        await self._shared.put(_key(ticket), f"{ref}:{key.hex()}".encode(), ttl=LIFETIME)
        return ticket

    async def _count(self, ref: str, of_payer: str) -> None:
        # Who will be refused is so before anything is kept of the session, or sessions without end would fill the store;
        # and what one session is refused does not count for others.
        for counter, maximum in ((of_payer, MAX_FOR_PAYER), (_IN_ALL, MAX_IN_ALL)):
            if (await self._shared.counter(counter))[0] >= maximum:
                raise _too_many()
        for counter, maximum in ((f"tickets:{ref}", MAX_TICKETS), (of_payer, MAX_FOR_PAYER), (_IN_ALL, MAX_IN_ALL)):
            if await self._shared.add(counter, ttl=LIFETIME) > maximum:
                raise _too_many()

    async def redeem(self, ticket: str) -> Bearer | None:
        """Take a ticket: of several callers one gets what it stands for, the others, and all later ones, `None`."""
        if not _FORM.fullmatch(ticket):
            return None
        stored = await self._shared.take(_key(ticket))
        if stored is None:
            return None
        ref, _, key = stored.decode().partition(":")
        return Bearer(ref, bytes.fromhex(key))


def _too_many() -> TooManyRequests:
    return TooManyRequests(LIFETIME, "too many tickets were asked for")


def _key(ticket: str) -> str:
    return f"ticket:{_digest(ticket)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
