"""Why a connection closes, in numbers and words: those of a WebSocket, which a stream sends as a message."""

from __future__ import annotations

from typing import Final, NamedTuple

from wshttp.close_codes import MAX_REASON, NO_STATUS, VANISHED, is_sendable
from wshttp.errors import UsageError
from wshttp.sessions.record import Reason


class Close(NamedTuple):
    """A close code and its reason text, as they go over the wire (RFC 6455, section 7.4)."""

    code: int
    reason: str


BYE: Final = Close(1000, "bye")
GOING_AWAY: Final = Close(1001, "going away")
INTERNAL_ERROR: Final = Close(1011, "internal error")
PING_TIMEOUT: Final = Close(1011, "ping timeout")
SLOW: Final = Close(1013, "slow")
RATE: Final = Close(1013, "rate")
RENEWED: Final = Close(4000, "session-renewed")
KICKED: Final = Close(4008, "kicked")

_ENDED: Final = {
    Reason.LOGOUT: 4001,
    Reason.IDLE: 4002,
    Reason.ABSOLUTE: 4003,
    Reason.REPLACED: 4004,
    Reason.LIMIT: 4005,
    Reason.ADMIN: 4006,
    Reason.CREDENTIALS: 4007,
}

KNOWN: Final = frozenset(
    (
        *range(1000, 1004),
        NO_STATUS,
        VANISHED,
        *range(1007, 1012),
        SLOW.code,
        RENEWED.code,
        *_ENDED.values(),
        KICKED.code,
    )
)
"""Codes that have a meaning here; peers may send any from 3000 to 4999 besides."""


def sendable(code: int, reason: str) -> Close:
    """Return a code and a reason as a close frame carries them. Raises `UsageError` where it cannot."""
    if not is_sendable(code):
        raise UsageError(f"{code} is no code to close with; 3000 to 4999 are free for applications and libraries")
    if len(reason.encode()) > MAX_REASON:
        raise UsageError(f"a reason to close with has up to {MAX_REASON} bytes")
    return Close(code, reason)


def session_ended(reason: Reason) -> Close:
    """Return what the sockets of an ended session are told; at a shutdown they are only asked to come back."""
    if reason is Reason.SHUTDOWN:
        return GOING_AWAY
    return Close(_ENDED[reason], f"session-ended:{reason}")
