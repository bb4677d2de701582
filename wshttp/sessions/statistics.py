"""What the session list counts about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from wshttp.sessions.record import Reason


@dataclass(slots=True)
class Statistics:
    """Totals since the start of the process."""

    started: int = 0
    ended: Counter[Reason] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Sessions that a limit kept out, by its setting; `callbacks`: too many callbacks were still owed."""
    on_lateness: Callable[[float], None] | None = None
    """Called with the seconds between a deadline and the end that it brought."""
