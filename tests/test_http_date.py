"""Dates of HTTP."""

from __future__ import annotations

import time

import pytest

from wshttp.http_date import date_now, http_date

AT = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's example


def test_http_date_is_in_gmt() -> None:
    """Dates are IMF-fixdates, of whole seconds."""
    assert http_date(AT) == http_date(AT + 0.9) == "Sun, 06 Nov 1994 08:49:37 GMT"


def test_date_now_is_written_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second it is the very same text, and in the next another."""
    monkeypatch.setattr(time, "time", lambda: AT + 0.1)
    first = date_now()
    assert first == http_date(AT)
    monkeypatch.setattr(time, "time", lambda: AT + 0.9)
    assert date_now() is first
    monkeypatch.setattr(time, "time", lambda: AT + 1.0)
    assert date_now() == http_date(AT + 1)
