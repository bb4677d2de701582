"""A clock for tests; `wshttp.testing` is where it is public."""

from __future__ import annotations


class FakeClock:
    """A `Clock` that moves only when told.

    clock = FakeClock()
    clock.advance(60)      # a minute passes
    clock.jump(-3600)      # somebody sets the calendar back an hour; `monotonic` does not notice
    """

    def __init__(self, monotonic: float = 1000.0, time: float = 1_800_000_000.0) -> None:
        self._monotonic = monotonic
        self._time = time

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._time

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._monotonic += seconds
        self._time += seconds

    def jump(self, seconds: float) -> None:
        """Set the calendar forward (or back, if negative) by `seconds`."""
        self._time += seconds
