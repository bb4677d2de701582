"""What was answered a moment ago, so that a change that is asked for again is not made again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

REMEMBERED: Final = 60.0
"""Seconds; who retries a lost call does so within the time-out of a request, a few seconds."""

MAX_ANSWERS: Final = 4096
"""The oldest go first."""

A = TypeVar("A")


class Answers:
    """Answers by the token of their call; the empty token is none."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._answers: OrderedDict[str, tuple[float, object]] = OrderedDict()

    def get(self, token: str) -> object:
        """Return what was answered, or `None`."""
        found = self._answers.get(token) if token else None
        return found[1] if found is not None and self._now() < found[0] else None

    def keep(self, token: str, answer: A) -> A:
        """Remember an answer, and return it."""
        if token:
            self._answers[token] = (self._now() + REMEMBERED, answer)
            for _ in range(2):
                if self._answers and self._oldest_is_too_much():
                    self._answers.popitem(last=False)
        return answer

    def forget(self, token: str) -> None:
        """Drop an answer: what it spoke of did not happen."""
        self._answers.pop(token, None)

    def _oldest_is_too_much(self) -> bool:
        until, _ = next(iter(self._answers.values()))
        return len(self._answers) > MAX_ANSWERS or until <= self._now()
