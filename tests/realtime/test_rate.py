"""How often something may happen."""

from __future__ import annotations

import pytest

from wshttp.realtime.rate import TokenBucket


def taken(bucket: TokenBucket, now: float, tries: int) -> int:
    return sum(bucket.take(now) for _ in range(tries))


@pytest.mark.feature("M4")
def test_rate_allows_a_second_at_once_and_then_its_pace() -> None:
    """A burst is one second's worth; after it, time brings more, and never more than that."""
    bucket = TokenBucket(5, now=100.0)
    assert taken(bucket, 100.0, 10) == 5
    assert taken(bucket, 100.4, 10) == 2
    assert taken(bucket, 1000.0, 10) == 5


def test_rate_below_one_per_second_allows_one() -> None:
    """A slow rate still lets the first one through, and the next when its time has come."""
    bucket = TokenBucket(0.1, now=0.0)
    assert [bucket.take(now) for now in (0.0, 5.0, 9.9, 10.1, 10.2)] == [True, False, False, True, False]


def test_rate_of_zero_is_no_limit() -> None:
    """0 is none, as for every limit."""
    assert taken(TokenBucket(0, now=0.0), 0.0, 10_000) == 10_000
