"""Echoed messages per second of a WebSocket that has a session, beside Tornado's own that has none.

Ours queues the message, touches the session, calls the function as a unit of work, and commits.
"""

from __future__ import annotations

from benchmarks.load import websocket_conversation
from benchmarks.rates import table_of_rates
from benchmarks.table import Table

PAYLOAD = b"0123456789abcdef"


def tables(quick: bool) -> list[Table]:
    """Measure both."""
    return [table_of_rates("WebSocket echo", "Messages", lambda host: websocket_conversation(host, PAYLOAD), quick)]
