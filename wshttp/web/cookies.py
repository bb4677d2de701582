"""The session cookie: its name, its attributes, and how it is read (RFC 6265bis).

Tornado keeps one cookie per name; a browser may send several, and all of them have to be looked at.
"""

from __future__ import annotations

import re
from typing import Final

from wshttp.config import CookieSettings

MAX_AGE: Final = 400 * 24 * 3600
"""Seconds that a browser keeps a cookie at most: RFC 6265bis, section 5.5."""

_DOMAIN: Final = re.compile("[0-9A-Za-z._-]+")
_FOLDER: Final = re.compile("/[!-:<-~]+")
"""What may be an attribute's value: the client writes it, and after a semicolon it would write attributes of its own."""


class SessionCookie:
    """Read and write the cookie that holds a session's token.

    Over TLS its name begins with `__Host-`, so that no neighbouring host and no plain connection can plant one.
    """

    def __init__(self, settings: CookieSettings) -> None:
        self._settings = settings
        self._name = settings.prefix + settings.name
        self._secure_name = f"__Host-{self._name}"

    def secure(self, scheme: str) -> bool:
        """Whether the cookie is for encrypted connections only; `auto` follows the request."""
        return self._settings.secure == "on" or (self._settings.secure == "auto" and scheme == "https")

    def name(self, scheme: str) -> str:
        """Return the cookie's name on a connection."""
        return self._secure_name if self.secure(scheme) else self._name

    def values(self, headers: list[str], scheme: str) -> tuple[str, ...]:
        """Return the values of all our cookies in the request's `Cookie` headers, in order."""
        name = self.name(scheme)
        found: list[str] = []
        for header in headers:
            for pair in header.split(";"):
                key, _, value = pair.partition("=")
                if key.strip() == name:
                    found.append(value.strip().strip('"'))
        return tuple(found)

    def give(self, token: str, scheme: str, lifetime: float) -> str:
        """Return the `Set-Cookie` that hands a token over; `lifetime` (seconds, 0: for ever) is for a persistent one."""
        age = f"; Max-Age={min(int(lifetime) or MAX_AGE, MAX_AGE)}" if self._settings.persistent else ""
        return f"{self.name(scheme)}={token}{age}{self._attributes(scheme)}"

    def take_back(self, scheme: str) -> str:
        """Return the `Set-Cookie` that makes the client forget."""
        return f"{self.name(scheme)}=; Max-Age=0{self._attributes(scheme)}"

    def take_back_elsewhere(self, scheme: str, host: str, path: str) -> list[str]:
        """Return `Set-Cookie`s for cookies of our name that are not ours: of the whole domain, or of a path.

        They leave ours alone, which is of this host only and of `/`. With `__Host-` there can be no others.
        """
        if self.secure(scheme):
            return []
        folder = path.rpartition("/")[0]
        places = [f"; Path=/; Domain={host}"] if _DOMAIN.fullmatch(host) else []
        places += [f"; Path={folder}"] if _FOLDER.fullmatch(folder) else []
        return [f"{self.name(scheme)}=; Max-Age=0{place}" for place in places]

    def _attributes(self, scheme: str) -> str:
        secure = "; Secure" if self.secure(scheme) else ""
        return f"; Path=/; HttpOnly{secure}; SameSite={self._settings.same_site}"
