"""Every error that wshttp raises, and what each becomes on the wire.

    WshttpError
    ├── UsageError              ours: the program or its operator asked for what cannot be
    │   ├── ConfigurationError  settings that cannot be used, all mistakes at once
    │   ├── InvalidValue        a value that a session cannot hold
    │   │   └── DataTooLarge    session data above `session.max_data`
    │   ├── UnknownReason       an end for a reason that is none
    │   ├── SessionExists       `create` with an id that has a live session
    │   └── ConnectionClosed    a send on a connection that is closed
    ├── PeerError               the peer's: what a client sent, or was not allowed
    │   ├── BadRequest
    │   ├── BadCredentials
    │   ├── SessionEnded        work on a session that has ended
    │   ├── Forbidden
    │   ├── NotFound
    │   ├── ContentTooLarge
    │   ├── TooManyRequests     throttled or over a rate; carries when to come back
    │   ├── LimitReached        a limit on sessions or connections
    │   └── ClientDisconnected  the client went away in the middle of its request
    └── BackendError            the back end's: a store that does not answer
        ├── StoreUnavailable
        │   ├── RedisUnavailable    of `wshttp.redis`: with the code of a reply, if there was one
        │   └── Unreadable          of `wshttp.stores.redis`: a session that only another release can read
        ├── RedisRefused        of `wshttp.redis`: an error reply; what is above it makes it one of the others
        ├── StoreUnusable       a store that is there, and that this program must not use
        ├── LockLost            the lock of a session was somebody else's by the time of the commit
        ├── OutcomeUnknown      a change that may have been made, longer ago than anybody remembers
        └── StorageFull         the disk of an upload is full

Absent and expired are `None`, not errors.
An error keeps its facts as attributes and builds its text from them; no text contains an id, a token or a password.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class WshttpError(Exception):
    """The root of the tree."""


class UsageError(WshttpError):
    """The program or its operator asked for what cannot be."""


class PeerError(WshttpError):
    """The peer sent what cannot be accepted, or asked for what it may not have."""


class BackendError(WshttpError):
    """A part that the server depends on does not work."""


def nearest(given: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about a name that is none: which one may be meant, or else which there are."""
    names = list(known)
    close = difflib.get_close_matches(given, names, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"


# --- ours ---------------------------------------------------------------------------------------


class ConfigurationError(UsageError):
    """Settings that cannot be used.

    `mistakes` has one line each: `<file as given>:<line>: <key path>: <what is wrong>`.
    """

    def __init__(self, mistakes: list[str]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistakes))


class InvalidValue(UsageError, ValueError):
    """A value that a session cannot hold: not JSON, or outside what JSON carries safely."""


class DataTooLarge(InvalidValue):
    """A session's data would be larger than `session.max_data`."""

    def __init__(self, size: int, maximum: int) -> None:
        self.size = size
        self.maximum = maximum
        super().__init__(f"session data of {size} bytes is over session.max_data ({maximum} bytes)")


class UnknownReason(UsageError, ValueError):
    """A session was to end for a reason that is none; a `ValueError`, too, as every enumeration raises it."""

    def __init__(self, given: object, reasons: Iterable[str]) -> None:
        self.given = given
        super().__init__(f"{given!r} is no reason for an end; there are {', '.join(reasons)}")


class SessionExists(UsageError):
    """`create` was given an id that has a live session; `ref` is that session's."""

    def __init__(self, ref: str) -> None:
        self.ref = ref
        super().__init__(f"a live session ({ref}) has this id; use get_or_create, or create(replace=True)")


class ConnectionClosed(UsageError):
    """A message was sent on a connection that is closed or closing."""

    def __init__(self, code: int | None, reason: str | None) -> None:
        self.code = code
        self.reason = reason
        super().__init__(f"the connection is closed ({code} {reason or ''})".replace(" )", ")"))


# --- the peer's ---------------------------------------------------------------------------------


class BadRequest(PeerError):
    """The request is malformed; `detail` says how, for the client to read."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class BadCredentials(PeerError):
    """User and password do not match. The text never says which of the two."""

    def __init__(self, detail: str = "user or password is wrong") -> None:
        self.detail = detail
        super().__init__(detail)


class SessionEnded(PeerError):
    """The session has ended; `reason` is one of `Reason`, or `None` where no tombstone knows it.

    Also for a client that has none yet: then `detail` says how to get one.
    """

    def __init__(self, ref: str | None = None, reason: str | None = None, detail: str | None = None) -> None:
        self.ref = ref
        self.reason = reason
        self.detail = detail or (f"the session has ended ({reason})" if reason else "the session has ended")
        super().__init__(f"session {ref} has ended ({reason})" if ref else self.detail)


class Forbidden(PeerError):
    """The client is known well enough, and may not; `detail` is for the client to read."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class NotFound(PeerError):
    """There is nothing here."""

    def __init__(self, detail: str = "there is nothing here") -> None:
        self.detail = detail
        super().__init__(detail)


class ContentTooLarge(PeerError):
    """A body, a file or a field is over its limit; `detail` names the limit."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(detail)


class TooManyRequests(PeerError):
    """Too often; `retry_after` is in seconds from now."""

    def __init__(self, retry_after: float, detail: str = "too many requests") -> None:
        self.retry_after = retry_after
        self.detail = detail
        super().__init__(f"{detail}; retry in {retry_after:.0f} s")


class LimitReached(PeerError):
    """A limit is reached: `setting` names it, `maximum` is its value.

    `in_all` tells a limit over everybody (503) from one per user, address or session (429).
    """

    def __init__(self, setting: str, maximum: int, *, in_all: bool, retry_after: float = 10.0) -> None:
        self.setting = setting
        self.maximum = maximum
        self.in_all = in_all
        self.retry_after = retry_after
        self.detail = f"the limit {setting} ({maximum}) is reached"
        super().__init__(self.detail)


class ClientDisconnected(PeerError):
    """The client went away in the middle of its request; there is nobody to answer."""

    def __init__(self) -> None:
        super().__init__("the client went away")


# --- the back end's -----------------------------------------------------------------------------


class StoreUnavailable(BackendError):
    """The store did not answer within `store.timeout`, or failed; nothing was acknowledged.

    `detail` is for clients; `reason`, and the text, are for the operator, and may name files and hosts.
    """

    def __init__(
        self, detail: str = "the session store does not answer", retry_after: float = 1.0, *, reason: str = ""
    ) -> None:
        self.detail = detail
        self.reason = reason or detail
        self.retry_after = retry_after
        super().__init__(self.reason)


class StoreUnusable(BackendError):
    """The store cannot be used at all, and time will not change it; the text is one line for the operator."""


class LockLost(BackendError):
    """A commit under a session's lock came when the lock was no longer held; nothing was changed."""

    def __init__(self, ref: str, retry_after: float = 1.0) -> None:
        self.ref = ref
        self.retry_after = retry_after
        self.detail = "the lock of the session was lost"
        super().__init__(f"the lock of session {ref} was lost before the commit")


class OutcomeUnknown(BackendError):
    """A change was asked for again after an outage so long that nobody knows whether it was made; it is not made again."""

    def __init__(self, ref: str, retry_after: float = 1.0) -> None:
        self.ref = ref
        self.retry_after = retry_after
        self.detail = "nobody knows whether the last change was made"
        super().__init__(f"what was changed last in session {ref} may be lost: nobody remembers whether it was made")


class StorageFull(BackendError):
    """The disk, or a quota on it, is full; nothing of the upload was kept."""

    def __init__(self) -> None:
        self.detail = "there is no room left to keep the upload"
        super().__init__(self.detail)


# --- on the wire --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What an error becomes: an HTTP status, a problem type (`urn:wshttp:<name>`), a close code and its text.

    Without a close code the socket stays open: nothing is wrong with it, and it would find nothing better elsewhere.
    """

    status: int
    name: str
    close_code: int | None = None
    close_reason: str = ""


_ANSWERS: dict[type[WshttpError], Answer] = {
    BadRequest: Answer(400, "bad-request", 1008, "policy"),
    BadCredentials: Answer(401, "bad-credentials", 1008, "policy"),
    SessionEnded: Answer(401, "session-ended", 1008, "policy"),
    Forbidden: Answer(403, "forbidden", 1008, "policy"),
    NotFound: Answer(404, "not-found", 1008, "policy"),
    ContentTooLarge: Answer(413, "bad-request", 1009, ""),
    TooManyRequests: Answer(429, "too-many-requests", 1013, "rate"),
    LimitReached: Answer(429, "limit-reached", 1013, "capacity"),
    StoreUnavailable: Answer(503, "store-unavailable"),
    LockLost: Answer(503, "store-unavailable"),
    OutcomeUnknown: Answer(503, "store-unavailable"),
    StorageFull: Answer(507, "store-unavailable"),
}

_LIMIT_IN_ALL = Answer(503, "limit-reached", 1013, "capacity")


def answer_for(error: BaseException) -> Answer | None:
    """Look up what an error becomes on the wire; `None` is a fault of the server (500, 1011)."""
    if isinstance(error, LimitReached) and error.in_all:
        return _LIMIT_IN_ALL
    return next((_ANSWERS[kind] for kind in type(error).__mro__ if kind in _ANSWERS), None)
