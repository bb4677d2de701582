"""Which close codes may be sent."""

from __future__ import annotations

from wshttp.close_codes import is_sendable


def test_codes_that_may_be_sent_are_those_of_the_registry() -> None:
    """IANA's, without those that only stand for something, and the ranges for libraries and applications."""
    registered = {1000, 1001, 1002, 1003, *range(1007, 1015)}
    assert {code for code in range(65536) if is_sendable(code)} == registered | set(range(3000, 5000))
