"""Words that carry numbers, so that one that comes twice, or not at all, is noticed."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_SENDERS: Final = 4096
"""Senders whose last number is known: more than there are processes, with those of before the last restarts."""


class Verdict(Enum):
    """What the number of a word tells."""

    NEXT = auto()
    AFTER_GAP = auto()
    """Others before it were lost."""
    OLD = auto()
    """It was there before, or has been overtaken."""


@dataclass(slots=True)
class _Sender:
    last: int
    may_skip: bool = False


class Numbers:
    """The last number of each sender; those count from 1 by 1."""

    def __init__(self) -> None:
        self._senders: OrderedDict[str, _Sender] = OrderedDict()

    def judge(self, sender: str, number: int) -> Verdict:
        """Judge a word by its number; of a sender that was never heard, any is the next."""
        known = self._senders.get(sender)
        if known is None:
            self._add(sender, number)
            return Verdict.NEXT
        self._senders.move_to_end(sender)
        if number <= known.last:
            return Verdict.OLD
        is_next = number == known.last + 1 or known.may_skip
        known.last, known.may_skip = number, False
        return Verdict.NEXT if is_next else Verdict.AFTER_GAP

    def forgive(self) -> None:
        """Take the next number of each sender as it is: that words are missing is known already."""
        for sender in self._senders.values():
            sender.may_skip = True

    def _add(self, sender: str, number: int) -> None:
        self._senders[sender] = _Sender(number)
        if len(self._senders) > MAX_SENDERS:
            self._senders.popitem(last=False)
