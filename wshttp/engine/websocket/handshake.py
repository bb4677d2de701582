"""What a server answers to a handshake (RFC 6455, section 4.2), beside what is asked of any request."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import Final

VERSION: Final = "13"

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def is_key(text: str | None) -> bool:
    """Tell whether `Sec-WebSocket-Key` is what it has to be: 16 bytes in base64."""
    try:
        return text is not None and len(base64.b64decode(text.strip(), validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def accept_value(key: str) -> str:
    """Return the `Sec-WebSocket-Accept` that proves that a key was read."""
    digest = hashlib.sha1(key.strip().encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def subprotocols(lines: Iterable[str]) -> list[str]:
    """Return what the lines of `Sec-WebSocket-Protocol` offer, in the client's order."""
    return [name for line in lines for each in line.split(",") if (name := each.strip())]
