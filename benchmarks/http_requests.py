"""Requests per second of a function endpoint that has a session, beside Tornado's own handler that has none.

Ours finds the session by its cookie, touches it, calls the function, commits, and writes the access log.
"""

from __future__ import annotations

from benchmarks.load import http_conversation
from benchmarks.rates import table_of_rates
from benchmarks.table import Table


def tables(quick: bool) -> list[Table]:
    """Measure both."""
    return [table_of_rates("HTTP requests", "Answers", http_conversation, quick)]
