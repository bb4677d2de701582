"""How long the runs under faults are: small, or `WSHTTP_FAULTS` per cent of the full size (`make faults` has 100)."""

from __future__ import annotations

import os

PERCENT = int(os.environ.get("WSHTTP_FAULTS", "0"))

FULL = PERCENT >= 100
"""Whether pauses take their full length, too."""


def size(full: int, *, small: int) -> int:
    """Return how often this run does something."""
    return max(small, full * PERCENT // 100)
