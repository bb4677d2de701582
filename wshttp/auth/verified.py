"""Credentials that were right a moment ago, so that not every request costs a hash."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from wshttp.auth.basic import BasicCredentials
from wshttp.auth.user import User
from wshttp.sessions.clock import Clock

MAX_BUCKETS: Final = 64
"""Addresses remembered with one entry."""


@dataclass(slots=True, eq=False)
class Verification:
    """What a check found out: `user` as a hook gave it, or the `version` of the line in the users file that was met.

    `buckets` are the addresses from which it was met since.
    """

    account: str
    user: User | None
    version: str
    expires_at: float = 0.0
    buckets: set[str] = field(default_factory=set)

    def seen_from(self, bucket: str) -> None:
        if len(self.buckets) >= MAX_BUCKETS:
            self.buckets.clear()
        self.buckets.add(bucket)


class VerifiedCredentials:
    """A cache, bounded in size and age; the oldest go first. Wrong credentials are never in it.

    Keys are HMACs of user and password under a key that this process drew and nobody else has:
    who reads its memory some other day cannot try passwords against them.
    """

    def __init__(self, clock: Clock, maximum: int) -> None:
        self._clock = clock
        self._maximum = maximum
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, Verification] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def key(self, credentials: BasicCredentials) -> bytes:
        """Return what finds these credentials here, and tells nothing about them elsewhere."""
        user, password = credentials.user.encode(), credentials.password.encode()
        return hmac.digest(self._key, len(user).to_bytes(8) + user + password, "sha256")

    def get(self, key: bytes) -> Verification | None:
        found = self._entries.get(key)
        if found is not None and found.expires_at <= self._clock.monotonic():
            del self._entries[key]
            return None
        return found

    def put(self, key: bytes, verified: Verification, lifetime: float) -> None:
        """Keep an entry for `lifetime` seconds; 0 keeps none."""
        self.drop(key)
        if lifetime <= 0:
            return
        while len(self._entries) >= self._maximum:
            self._entries.popitem(last=False)
        verified.expires_at = self._clock.monotonic() + lifetime
        self._entries[key] = verified

    def drop(self, key: bytes) -> None:
        self._entries.pop(key, None)

    def forget(self, user: str) -> None:
        """Drop all of one user, by the name presented or the name a hook gave."""
        for key, entry in list(self._entries.items()):
            if user == entry.account or (entry.user is not None and user == entry.user.name):
                del self._entries[key]
