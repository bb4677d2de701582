"""Numbers of words: what comes twice is told from what is missing."""

from __future__ import annotations

import pytest

from wshttp.realtime import numbers as numbers_module
from wshttp.realtime.numbers import Numbers, Verdict


def verdicts(numbers: Numbers, *words: tuple[str, int]) -> list[Verdict]:
    return [numbers.judge(*word) for word in words]


@pytest.mark.feature("W9")
def test_numbers_tell_next_from_old_and_missing() -> None:
    """For each sender apart; the first that is heard of one is as good as any."""
    numbers = Numbers()
    assert verdicts(numbers, ("a", 7), ("a", 8), ("b", 1), ("a", 8), ("a", 7)) == [
        Verdict.NEXT,
        Verdict.NEXT,
        Verdict.NEXT,
        Verdict.OLD,
        Verdict.OLD,
    ]
    assert verdicts(numbers, ("a", 10), ("a", 9), ("a", 11)) == [Verdict.AFTER_GAP, Verdict.OLD, Verdict.NEXT]


def test_numbers_that_are_missing_are_forgiven_once() -> None:
    """Where it is known that words are missing, the next of each sender is no gap; what is old stays old."""
    numbers = Numbers()
    verdicts(numbers, ("a", 1), ("b", 1))
    numbers.forgive()
    assert verdicts(numbers, ("a", 1), ("a", 5), ("a", 7), ("b", 2), ("b", 4)) == [
        Verdict.OLD,
        Verdict.NEXT,
        Verdict.AFTER_GAP,
        Verdict.NEXT,
        Verdict.AFTER_GAP,
    ]


def test_numbers_of_senders_long_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were heard last are kept."""
    monkeypatch.setattr(numbers_module, "MAX_SENDERS", 2)
    numbers = Numbers()
    verdicts(numbers, ("a", 1), ("b", 1), ("a", 2), ("c", 1))
    assert len(numbers._senders) == 2
    assert verdicts(numbers, ("a", 2), ("b", 1)) == [Verdict.OLD, Verdict.NEXT]
