"""Why a socket closes: a rule that its peer broke, or what a close frame carries."""

from __future__ import annotations

import struct
from typing import NamedTuple

from wshttp.close_codes import INVALID_DATA, MAX_REASON, NORMAL, PROTOCOL_ERROR, is_sendable


class Failure(Exception):
    """The peer broke a rule: with which code and reason the connection closes."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Close(NamedTuple):
    """A close frame; `code` is `None`, and `reason` empty, where it has none."""

    code: int | None
    reason: str


def read_close(payload: bytes) -> Close:
    """Read the payload of a close frame. Raises `Failure` where RFC 6455, section 5.5.1, does not allow it."""
    if not payload:
        return Close(None, "")
    if len(payload) == 1:
        raise Failure(PROTOCOL_ERROR, "half a close code")
    code = int.from_bytes(payload[:2])
    if not is_sendable(code):
        raise Failure(PROTOCOL_ERROR, "invalid close code")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        raise Failure(INVALID_DATA, "invalid UTF-8 in a close reason") from None


def write_close(code: int | None, reason: str | None = None) -> bytes:
    """Return the payload of a close frame; a reason without a code is a normal one.

    Raises `ValueError` for a code that may not be sent, or a reason over 123 bytes.
    """
    if code is None:
        if not reason:
            return b""
        code = NORMAL
    if not is_sendable(code):
        raise ValueError(f"{code} is no code that a close frame may carry")
    text = (reason or "").encode()
    if len(text) > MAX_REASON:
        raise ValueError(f"a close frame has no room for a reason of more than {MAX_REASON} bytes")
    return struct.pack("!H", code) + text
