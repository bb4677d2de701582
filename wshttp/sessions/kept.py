"""What is kept for clients to come, on any node: tickets, queues and histories."""

from __future__ import annotations

from dataclasses import dataclass

from wshttp.sessions.shared import Shared


@dataclass(frozen=True, slots=True)
class Kept:
    """Three that have bounds of their own: who fills one, as any client can, washes away nothing of another.

    They are also apart from what counts how often a client asks: that holds him back.
    """

    tickets: Shared
    """What opens a connection, for seconds."""
    queues: Shared
    """What waits for sessions without a connection, for hours."""
    histories: Shared
    """What was published on topics of late."""
