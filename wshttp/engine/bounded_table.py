"""A dictionary with an end: what stands behind everything that is kept per address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

_EVICTION_SAMPLE = 16

State = TypeVar("State")


class BoundedTable(OrderedDict[str, State], Generic[State]):
    """A bounded dictionary that evicts, of the least recently used keys, the one that `loss` finds the cheapest."""

    def __init__(self, max_keys: int, loss: Callable[[State], float]) -> None:
        super().__init__()
        self._max_keys = max_keys
        self._loss = loss

    def keep(self, key: str, state: State) -> None:
        if key not in self and len(self) >= self._max_keys:
            oldest = islice(self.items(), _EVICTION_SAMPLE)
            del self[min(oldest, key=lambda item: self._loss(item[1]))[0]]
        self[key] = state
        self.move_to_end(key)
