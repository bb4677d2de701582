"""Close codes of a WebSocket (RFC 6455, section 7.4): what any of them may be, and those that a connection needs itself."""

from __future__ import annotations

from typing import Final

NORMAL: Final = 1000
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
"""What a close frame without a code stands for; never sent (section 7.1.5)."""

VANISHED: Final = 1006
"""What an end without a close frame stands for; never sent (section 7.1.5)."""

INVALID_DATA: Final = 1007
"""Text that is not UTF-8, or compressed data that can't be inflated."""

TOO_BIG: Final = 1009

MAX_REASON: Final = 123
"""Bytes of a reason: a control frame has room for 125, and the code takes two (section 5.5)."""

_REGISTERED: Final = frozenset({*range(1000, 1004), *range(1007, 1015)})
"""Codes below 3000 that may be sent: IANA's registry, without 1004, 1005, 1006 and 1015."""


def is_sendable(code: int) -> bool:
    """Tell whether a code may be in a close frame; 3000 to 4999 are for libraries and applications."""
    return code in _REGISTERED or 3000 <= code < 5000
