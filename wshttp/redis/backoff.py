"""How long to wait before a server is tried again."""

from __future__ import annotations

import random
from typing import Final

SHORTEST: Final = 0.05
LONGEST: Final = 1.0
"""Seconds: the first wait, which doubles up to the last."""


class Backoff:
    """Waits that grow, with jitter, so that not all nodes come back in the same moment; the first try is at once."""

    def __init__(self) -> None:
        self._tries = 0

    def reset(self) -> None:
        """Begin again: the server is well."""
        self._tries = 0

    def next(self) -> float:
        """Return seconds to wait before the next try."""
        self._tries += 1
        if self._tries == 1:
            return 0.0
        longest = min(LONGEST, SHORTEST * 2.0 ** min(self._tries - 2, 16))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, decides nothing
