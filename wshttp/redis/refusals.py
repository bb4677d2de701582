"""What a server answers instead of doing what it was asked, and what becomes of it.

An error reply begins with a code: `READONLY You can't write against a read only replica.`
"""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from wshttp.errors import BackendError, StoreUnavailable

ELSEWHERE: Final = frozenset(
    ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "BUSY", "UNKILLABLE")
)
"""Not here or not now, and nothing was done: look for the primary again, and ask that."""

FAILING: Final = frozenset(("OOM", "MISCONF", "NOREPLICAS", "NOAUTH", "NOPERM"))
"""Nothing was changed, and nothing will be before somebody has seen to the server."""

_CODES: Final[dict[type[RedisError], str]] = {
    MovedError: "MOVED",
    AskError: "ASK",
    TryAgainError: "TRYAGAIN",
    MasterDownError: "MASTERDOWN",
    ClusterDownError: "CLUSTERDOWN",
    BusyLoadingError: "LOADING",
    ReadOnlyError: "READONLY",
    OutOfMemoryError: "OOM",
    NoScriptError: "NOSCRIPT",
    NoPermissionError: "NOPERM",
    AuthenticationError: "NOAUTH",
}
"""redis-py takes these codes off the text."""

_NO_RIGHTS: Final = ("The user executing the script can't", "ACL failure in script")
"""How Redis 7.0, and how later ones, begin to say within a script what is NOPERM outside."""


class RedisUnavailable(StoreUnavailable):
    """The server does not answer, or cannot do what it is there for; `reason` and the text are for the operator.

    `code` is that of an error reply, if there was one. Clients are shown `detail`, which names no host.
    """

    def __init__(self, reason: str, *, code: str = "") -> None:
        super().__init__(reason=reason)
        self.code = code


class RedisRefused(BackendError):
    """The server answered with an error: `code` is its first word (`WRONGTYPE`), `text` the rest. Nothing was changed,
    unless a script had changed something before it failed."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"{code} {text}")


def is_reply(error: RedisError) -> bool:
    """Tell an error that the server answered with from one of the connection."""
    return isinstance(error, ResponseError | BusyLoadingError | AuthenticationError)


def refusal(error: RedisError) -> RedisRefused:
    """Return code and text of an error reply as redis-py raises it."""
    text = str(error)
    known = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), None)
    if known is not None:
        return RedisRefused(known, text)
    if text.startswith(_NO_RIGHTS):
        return RedisRefused("NOPERM", text)
    first, _, rest = text.partition(" ")
    return RedisRefused(first, rest) if first.isupper() and first.isalpha() else RedisRefused("ERR", text)
