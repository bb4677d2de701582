"""A map from a key to several values, cheap where most keys have one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Index(Generic[K, V]):
    """Values by key, in order of their addition. A lone value is kept bare: a dictionary for each would triple its cost."""

    def __init__(self) -> None:
        self._groups: dict[K, V | dict[V, None]] = {}

    def add(self, key: K, value: V) -> None:
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = value
        elif isinstance(group, dict):
            group[value] = None
        else:
            self._groups[key] = {group: None, value: None}

    def remove(self, key: K, value: V) -> None:
        group = self._groups.get(key)
        if isinstance(group, dict):
            group.pop(value, None)
            if not group:
                del self._groups[key]
        elif group is value:
            del self._groups[key]

    def get(self, key: K) -> Collection[V]:
        group = self._groups.get(key)
        if group is None:
            return ()
        return group.keys() if isinstance(group, dict) else (group,)
