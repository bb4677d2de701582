"""The two clocks: one that only runs forward, and the calendar."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tell the time. Deadlines use `monotonic`; only what people read uses `time`."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary point; never goes back, whatever happens to the calendar."""

    def time(self) -> float:
        """Return Unix seconds; may jump when somebody sets the machine's clock."""


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
