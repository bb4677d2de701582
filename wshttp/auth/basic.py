"""The Basic scheme (RFC 7617): what a client sends, and what asks for it."""

from __future__ import annotations

import base64
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Final

from wshttp.errors import BadCredentials, UsageError

MAX_LENGTH: Final = 8192
"""Characters of an `Authorization` header that are looked at; a longer one is refused undecoded. Own choice: room for
a token in the place of the password, in one memory page or two."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_QUOTABLE: Final = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """A user and a password as presented, not checked against anything yet.

    Both are in Unicode's form NFC, whatever the client typed, so that one name has one spelling.
    `BadCredentials` on what cannot come from a Basic header: a colon in the user, control characters in either
    (RFC 7617, section 2), text that UTF-8 cannot hold. So credentials from a JSON body obey the same rules.
    """

    user: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("user", "password"):
            object.__setattr__(self, name, unicodedata.normalize("NFC", getattr(self, name)))
        if ":" in self.user:
            raise BadCredentials("a user name has no colon")
        for text in (self.user, self.password):
            if _CONTROL.search(text):
                raise BadCredentials("user and password have no control characters")
            if not _is_unicode(text):
                raise BadCredentials("user and password must be valid Unicode")


def parse_basic(header: str) -> BasicCredentials | None:
    """Read the value of an `Authorization` header; `None` where its scheme is not Basic.

    A malformed one raises `BadCredentials` that says what is wrong with it: the answer to credentials that cannot be
    right is 401, as for those that are wrong (RFC 9110, section 11.4).
    """
    scheme, _, token = header.strip(" \t").partition(" ")
    if scheme.lower() != "basic":
        return None
    if len(header) > MAX_LENGTH:
        raise BadCredentials(f"the Basic header is over {MAX_LENGTH} characters")
    user, colon, password = _decode(token.lstrip(" ")).partition(":")
    if not colon:
        raise BadCredentials("the Basic header has no colon between user and password")
    return BasicCredentials(user, password)


def challenge(realm: str) -> str:
    """Build the value of `WWW-Authenticate` that asks for Basic credentials in UTF-8.

    `UsageError` on a realm that is not printable ASCII: no other has one meaning in all browsers.
    """
    if not _QUOTABLE.fullmatch(realm):
        raise UsageError("a realm must be printable ASCII")
    quoted = realm.replace("\\", r"\\").replace('"', r"\"")
    return f'Basic realm="{quoted}", charset="UTF-8"'


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token, validate=True).decode()
    except UnicodeDecodeError:
        raise BadCredentials("the Basic header is not UTF-8") from None
    except ValueError:  # binascii.Error is one, and so is what is not ASCII
        raise BadCredentials("the Basic header is not base64") from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON can spell it
        return False
    return True
