"""The JSON values that a session holds: what they are, and how large."""

from __future__ import annotations

import json
import math
from json.encoder import encode_basestring
from typing import Any, Final, TypeAlias

from wshttp.errors import InvalidValue

Json: TypeAlias = Any
"""`str`, `bool`, `None`, `int` within ±2^53, finite `float`, and lists and `str`-keyed dictionaries of these."""

MAX_INTEGER: Final = 2**53
"""Beyond it a JSON reader that has only doubles (every browser) loses digits: RFC 8259, section 6."""

MAX_SECONDS: Final = 1e11
"""Some three thousand years: added to any time there is, it is still one that can be reckoned with."""

MAX_DEPTH: Final = 64
"""Nesting that a session accepts; a value that contains itself ends here too."""

CONTAINERS: Final = (list, dict)
"""All JSON values that hold others."""


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
    return value_size(key) + value_size(value) + 2


def value_size(value: Json) -> int:
    """Return the bytes that a value takes as JSON text in UTF-8."""
    if value.__class__ is int:  # this and the next take a tenth of the encoder's time
        return len(str(value))
    text = encode_basestring(value) if value.__class__ is str else _ENCODE(value)
    return len(text) if text.isascii() else len(text.encode())


def checked(value: Json, depth: int = 0) -> Json:
    """Return a copy of `value` that shares nothing with it, or raise `InvalidValue`.

    `depth` is that of `value` in what holds it.
    """
    if depth > MAX_DEPTH:
        raise InvalidValue(f"a session holds values nested up to {MAX_DEPTH} deep")
    if value.__class__ is int and -MAX_INTEGER <= value <= MAX_INTEGER:
        return value  # most of what sessions hold; what follows looks at one kind after the other
    if isinstance(value, dict):
        return {checked_key(key): checked(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [checked(item, depth + 1) for item in value]
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


def checked_seconds(value: object) -> float:
    """Return a time-out or delay, or raise `InvalidValue` for what is no number from 0 to `MAX_SECONDS`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_SECONDS:
        raise InvalidValue(f"a time-out or delay is a number of seconds from 0 to {MAX_SECONDS:g}")
    return float(value)


def checked_key(key: object) -> str:
    """Return a dictionary key as plain text, or raise `InvalidValue`."""
    if type(key) is str and key.isascii():
        return key  # most of them; what follows looks for what UTF-8 cannot carry
    if not isinstance(key, str):
        raise InvalidValue(f"keys are text, not {type(key).__name__}")
    return _checked_text(key)
