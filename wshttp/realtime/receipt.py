"""What became of a message that a session sent, by a request, for a connection of its own."""

from __future__ import annotations

from enum import StrEnum


class Receipt(StrEnum):
    """Said by the node that has the connection. The values go over the wire between nodes."""

    TAKEN = "taken"
    FULL = "full"
    """The messages before it are still being handled."""
    UNKNOWN = "unknown"
    """The session has no such connection there."""
