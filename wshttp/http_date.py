"""Dates as HTTP writes them: RFC 9110, section 5.6.7."""

from __future__ import annotations

import time
from email.utils import formatdate

_written = (0, "")


def http_date(at: float) -> str:
    """Return Unix seconds `at` as an HTTP date, whole seconds."""
    return formatdate(at, usegmt=True)


def date_now() -> str:
    """Return the time of day, for a `Date` field; it is written out once a second."""
    global _written
    second = int(time.time())
    if _written[0] != second:
        _written = (second, http_date(second))
    return _written[1]
