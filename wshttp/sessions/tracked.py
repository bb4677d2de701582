"""Lists and dictionaries that tell when they are changed.

A session hands out its own as `TrackedList` and `TrackedDict`: they refuse what is not JSON at once, and report every
change, however deep.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, SupportsIndex, TypeAlias, overload

from wshttp.sessions.data import MAX_DEPTH, Json, checked, checked_key

OnChange: TypeAlias = Callable[[], None]


def tracked(value: Json, on_change: OnChange, depth: int = 0) -> Json:
    """Return a copy as `checked` does, whose lists and dictionaries call `on_change` after every change."""
    if depth <= MAX_DEPTH and isinstance(value, dict):
        pairs = {checked_key(key): tracked(item, on_change, depth + 1) for key, item in value.items()}
        return TrackedDict(pairs, on_change, depth)
    if depth <= MAX_DEPTH and isinstance(value, list):
        return TrackedList([tracked(item, on_change, depth + 1) for item in value], on_change, depth)
    return checked(value, depth)


class TrackedDict(dict[str, Json]):
    """A dictionary inside a session."""

    __slots__ = ("_depth", "_on_change")

    def __init__(self, items: Mapping[str, Json], on_change: OnChange, depth: int) -> None:
        super().__init__(items)
        self._on_change = on_change
        self._depth = depth

    def _accept(self, value: Json) -> Json:
        return tracked(value, self._on_change, self._depth + 1)

    def __setitem__(self, key: str, value: Json) -> None:
        super().__setitem__(checked_key(key), self._accept(value))
        self._on_change()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._on_change()

    def __ior__(self, other: Any) -> TrackedDict:  # type: ignore[override,misc]  # dict's own overloads differ in detail
        self.update(other)
        return self

    def update(self, *others: Any, **pairs: Json) -> None:
        for key, value in dict(*others, **pairs).items():
            self[key] = value

    def setdefault(self, key: str, default: Json = None) -> Json:
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key: str, *default: Json) -> Json:
        value = super().pop(key, *default)
        self._on_change()
        return value

    def popitem(self) -> tuple[str, Json]:
        pair = super().popitem()
        self._on_change()
        return pair

    def clear(self) -> None:
        super().clear()
        self._on_change()

    def __reduce__(self) -> tuple[type[dict[str, Json]], tuple[dict[str, Json]]]:
        return dict, (dict(self),)  # a copy or a pickle is a plain dictionary


class TrackedList(list[Json]):
    """A list inside a session."""

    __slots__ = ("_depth", "_on_change")

    def __init__(self, items: Iterable[Json], on_change: OnChange, depth: int) -> None:
        super().__init__(items)
        self._on_change = on_change
        self._depth = depth

    def _accept(self, value: Json) -> Json:
        return tracked(value, self._on_change, self._depth + 1)

    @overload
    def __setitem__(self, index: SupportsIndex, value: Json) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[Json]) -> None: ...
    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(
            index, [self._accept(v) for v in value] if isinstance(index, slice) else self._accept(value)
        )
        self._on_change()

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        super().__delitem__(index)
        self._on_change()

    def __iadd__(self, items: Iterable[Json]) -> TrackedList:  # type: ignore[misc]  # list's own overloads differ in detail
        self.extend(items)
        return self

    def __imul__(self, times: SupportsIndex) -> TrackedList:
        super().__imul__(times)
        self[:] = list(self)  # the repeated containers become copies of their own, as in JSON
        return self

    def append(self, item: Json) -> None:
        super().append(self._accept(item))
        self._on_change()

    def extend(self, items: Iterable[Json]) -> None:
        super().extend([self._accept(item) for item in items])
        self._on_change()

    def insert(self, index: SupportsIndex, item: Json) -> None:
        super().insert(index, self._accept(item))
        self._on_change()

    def pop(self, index: SupportsIndex = -1) -> Json:
        item = super().pop(index)
        self._on_change()
        return item

    def remove(self, item: Json) -> None:
        super().remove(item)
        self._on_change()

    def clear(self) -> None:
        super().clear()
        self._on_change()

    def sort(self, **options: Any) -> None:
        try:
            super().sort(**options)
        finally:
            self._on_change()  # a sort that fails leaves the items in some order

    def reverse(self) -> None:
        super().reverse()
        self._on_change()

    def __reduce__(self) -> tuple[type[list[Json]], tuple[list[Json]]]:
        return list, (list(self),)
