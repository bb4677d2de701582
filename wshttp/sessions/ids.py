"""What finds a session in the list, and what names one life of it.

Two small types are kept apart: a `SessionId` is how a client is recognised and is never shown; a ref is the public name.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from functools import lru_cache
from typing import Final

TOKEN_BYTES: Final = 32
"""256 random bits; OWASP ASVS 5.0 (7.2.3) asks for 128 at least."""

TOKEN_IDENTITIES: Final = ("cookie", "header", "url")
"""The identities whose client holds a token, in the order in which they are looked at."""

LOGIN_IDENTITIES: Final = ("cookie", "header")
"""Those by which a log-in can hand over a token; the first of these that is listed takes it."""

_TOKEN_FORM: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class SessionId:
    """An id with its kind. Kinds never match each other, so no client can present an id of another kind.

    `ip:…` and `credentials:…` say who the client is, `app:…` was chosen by the application,
    `token:…` is what a cookie or header client holds.
    """

    __slots__ = ("key", "kind", "value")

    def __init__(self, kind: str, value: str) -> None:
        self.kind = kind
        self.value = value
        self.key = hashlib.sha256(f"{kind}:{value}".encode("utf-8", "surrogatepass")).digest()
        """What stores keep in place of the id: its SHA-256."""

    @classmethod
    def app(cls, value: str) -> SessionId:
        """Name a session as the application likes; any string."""
        return cls("app", value)

    @classmethod
    def ip(cls, bucket: str) -> SessionId:
        """Name the session of an address, or of an IPv6 prefix (see `addresses.bucket`)."""
        return _of_address(bucket)

    @classmethod
    def credentials(cls, secret: bytes, user: str, version: str, bucket: str) -> SessionId:
        """Name the session of a user at an address, under `session.secret`.

        `version` is that of the credential, never the password: who reads the store learns nothing to guess with.
        """
        text = "".join(f"{len(part)}:{part}" for part in (user, version, bucket))
        return cls("credentials", hmac.new(secret, text.encode("utf-8", "surrogatepass"), "sha256").hexdigest())

    @classmethod
    def new_token(cls) -> SessionId:
        """Draw a token that nobody can guess."""
        return cls("token", secrets.token_urlsafe(TOKEN_BYTES))

    @classmethod
    def presented_token(cls, value: str) -> SessionId | None:
        """Take a token from a client; `None` if it cannot be one of ours, without hashing what may be long."""
        return cls("token", value) if _TOKEN_FORM.fullmatch(value) else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionId) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<SessionId {self.kind}>"  # never the value: it may be a client's secret


@lru_cache(maxsize=4096)
def _of_address(bucket: str) -> SessionId:
    return SessionId("ip", bucket)


def new_ref() -> str:
    """Draw the public name of one life: 96 random bits, in hexadecimal so that it never looks like an option."""
    return secrets.token_hex(12)


def new_event_id() -> str:
    """Draw the stable id of one ledger entry."""
    return secrets.token_hex(12)
