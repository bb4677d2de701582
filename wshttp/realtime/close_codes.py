"""Why a WebSocket closes, in numbers and words."""

from __future__ import annotations

from typing import Final, NamedTuple

from wshttp.sessions.record import Reason


class Close(NamedTuple):
    """A close code and its reason text, as they go over the wire (RFC 6455, section 7.4)."""

    code: int
    reason: str


BYE: Final = Close(1000, "bye")
GOING_AWAY: Final = Close(1001, "going away")
POLICY: Final = Close(1008, "policy")
INTERNAL_ERROR: Final = Close(1011, "internal error")
PING_TIMEOUT: Final = Close(1011, "ping timeout")
SLOW: Final = Close(1013, "slow")
RATE: Final = Close(1013, "rate")
CAPACITY: Final = Close(1013, "capacity")
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


def session_ended(reason: Reason) -> Close:
    """Return what the sockets of an ended session are told; at a shutdown they are only asked to come back."""
    if reason is Reason.SHUTDOWN:
        return GOING_AWAY
    return Close(_ENDED[reason], f"session-ended:{reason}")
