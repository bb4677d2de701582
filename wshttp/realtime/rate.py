"""How often something may happen."""

from __future__ import annotations


class TokenBucket:
    """`rate` per second on the average, with bursts of up to one second's worth (1 at least); 0 is no limit."""

    __slots__ = ("_left", "_seen_at", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._left = max(1.0, rate)
        self._seen_at = now

    def take(self, now: float) -> bool:
        """Take one, if there is one."""
        if not self.rate:
            return True
        self._left = min(max(1.0, self.rate), self._left + (now - self._seen_at) * self.rate)
        self._seen_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
