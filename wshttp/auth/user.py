"""Who somebody is, once the password is checked."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class User:
    """A user whose credentials are right; what `on_authenticate` returns to accept somebody.

    `version` is that of the credential: another one after every change of the password, and never the password
    or its hash. Sessions by `credentials` are bound to it, so an application that returns its own users should
    give one, such as the time of the last change. Empty means that a change cannot be noticed.
    """

    name: str
    roles: tuple[str, ...] = ()
    version: str = ""
    listed: bool = field(default=False, compare=False, repr=False)
    """The user is one of the users file, which may say otherwise at any time; set by ourselves."""
