"""The JSON values that a session holds, and containers that tell when they are changed.

A session hands out its lists and dictionaries as `TrackedList` and `TrackedDict`: they are lists and dictionaries,
refuse what is not JSON at once, and report every change, however deep.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from json.encoder import encode_basestring
from typing import Any, Final, SupportsIndex, TypeAlias, overload

from wshttp.errors import InvalidValue

Json: TypeAlias = Any
"""`str`, `bool`, `None`, `int` within ±2^53, finite `float`, and lists and `str`-keyed dictionaries of these."""

MAX_INTEGER: Final = 2**53
"""Beyond it a JSON reader that has only doubles (every browser) loses digits: RFC 8259, section 6."""

MAX_SECONDS: Final = 1e11
"""Some three thousand years: added to any time there is, it is still one that can be reckoned with."""

MAX_DEPTH: Final = 64
"""Nesting that a session accepts; a value that contains itself ends here too."""

_SCALARS: Final = (str, int, float, bool, type(None))

OnChange: TypeAlias = Callable[[], None]


def read_json(text: str | bytes, *, unique: bool = False) -> Json:
    """Read JSON as RFC 8259 has it, or raise `ValueError` (`RecursionError` for what is nested without end).

    Python's own parser takes `NaN` and `Infinity`, too. With `unique`, an object that has a name twice is none, either.
    """
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique if unique else None)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")  # of which RFC 8259, section 4, leaves open which one counts
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")  # RFC 8259, section 6


_ENCODE: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def encoded_size(key: str, value: Json) -> int:
    """Return the bytes that one key and its value take as JSON text in UTF-8, with colon and comma."""
    if value.__class__ is int:  # the same in a tenth of the time, for what is counted
        return len(encode_basestring(key).encode()) + len(str(value)) + 2
    return len(_ENCODE({key: value}).encode()) - 1


def checked(value: Json, on_change: OnChange | None = None, depth: int = 0) -> Json:
    """Return a copy of `value` that shares nothing with it, or raise `InvalidValue`.

    With `on_change`, lists and dictionaries in the copy are tracked and call it after every change.
    `depth` is that of `value` in what holds it.
    """
    if depth > MAX_DEPTH:
        raise InvalidValue(f"a session holds values nested up to {MAX_DEPTH} deep")
    if value.__class__ is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value  # most of what sessions hold; what follows looks at one kind after the other
    if isinstance(value, dict):
        pairs = {checked_key(key): checked(item, on_change, depth + 1) for key, item in value.items()}
        return pairs if on_change is None else TrackedDict(pairs, on_change, depth)
    if isinstance(value, list):
        items = [checked(item, on_change, depth + 1) for item in value]
        return items if on_change is None else TrackedList(items, on_change, depth)
    return _checked_scalar(value)


def _checked_scalar(value: Json) -> Json:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return _checked_text(value)
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise InvalidValue("a session holds whole numbers within ±2^53; keep a larger one as text")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidValue("a session holds finite numbers only")
        return float(value)
    raise InvalidValue(
        f"a session holds JSON values, not {type(value).__name__}; session.local holds any object, on this node"
    )


def _checked_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue("a session holds text that UTF-8 can carry; this has a lone surrogate") from None
    return str.__str__(value)  # that of an enumeration's member would be its name


def checked_seconds(value: float) -> float:
    """Return a time-out or delay, or raise `InvalidValue` for what is no number from 0 to `MAX_SECONDS`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        raise InvalidValue(f"a time-out or delay is a number of seconds from 0 to {MAX_SECONDS:g}")
    return float(value)


def checked_key(key: object) -> str:
    """Return a dictionary key as plain text, or raise `InvalidValue`."""
    if not isinstance(key, str):
        raise InvalidValue(f"keys are text, not {type(key).__name__}")
    return _checked_text(key)


class TrackedDict(dict[str, Json]):
    """A dictionary inside a session."""

    __slots__ = ("_depth", "_on_change")

    def __init__(self, items: Mapping[str, Json], on_change: OnChange, depth: int) -> None:
        super().__init__(items)
        self._on_change = on_change
        self._depth = depth

    def _accept(self, value: Json) -> Json:
        return checked(value, self._on_change, self._depth + 1)

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
        return checked(value, self._on_change, self._depth + 1)

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


def is_container(value: Json) -> bool:
    """Tell whether a JSON value is a list or a dictionary."""
    return not isinstance(value, _SCALARS)
