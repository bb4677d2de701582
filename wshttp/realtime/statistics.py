"""What the hub counts about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable


class HubStatistics:
    """Totals since the start of the process."""

    def __init__(self) -> None:
        self.opened = 0
        self.received = 0
        self.received_bytes = 0
        self.sent = 0
        self.sent_bytes = 0
        self.slow = 0
        """Messages that met a full buffer."""
        self.closed: Counter[int] = Counter()
        """Connections that closed, by code."""
        self.on_handled: Callable[[float], None] | None = None
        """Called with the seconds that the handling of a message took, without waiting for a store that is away."""
