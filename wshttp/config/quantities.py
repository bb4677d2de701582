"""Durations and sizes as people write them: `30s`, `1h30m`, `64KiB`.

Writing and reading again gives the same number, to the last bit.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

LONGEST = 36_500 * 86_400.0
"""The longest duration, in seconds: a hundred years, well inside what timers and time stamps can carry."""

LARGEST = 2**63 - 1
"""The largest size, in bytes: what a file offset can carry."""

_SECONDS = {"d": Fraction(86_400), "h": Fraction(3_600), "m": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}
_BYTES = {"gib": 2**30, "mib": 2**20, "kib": 2**10, "gb": 10**9, "mb": 10**6, "kb": 10**3, "b": 1}
_NAMES = {"gib": "GiB", "mib": "MiB", "kib": "KiB", "gb": "GB", "mb": "MB", "kb": "KB"}

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_PART = re.compile(rf"({_NUMBER.pattern})(ms|s|m|h|d) ?")
_SIZE = re.compile(rf"({_NUMBER.pattern}) ?(gib|mib|kib|gb|mb|kb|b)")


def parse_duration(value: object) -> float:
    """Return seconds from `500ms`, `30s`, `20m`, `8h`, `7d`, `1h30m`, or a bare number of seconds.

    Raises `ValueError` for anything else, and for what is negative, not a number or over `LONGEST`.
    """
    seconds = _bare_number(value)
    exact = _sum_of_parts(str(value)) if seconds is None else seconds
    if not 0 <= exact <= LONGEST:
        raise ValueError("out of range")
    return float(exact)


def format_duration(seconds: float) -> str:
    """Return a duration in the largest unit that leaves a whole number; `0s` for none."""
    written = Decimal(repr(float(seconds)))
    for unit, size in _SECONDS.items():
        count = Fraction(written) / size
        if count and count.denominator == 1:
            return f"{count}{unit}"
    return f"{written.normalize():f}s"


def parse_size(value: object) -> int:
    """Return bytes from `512`, `64KiB`, `10MB`, `1.5GiB`; the case of the unit does not matter.

    Raises `ValueError` for anything else, and for what is negative, not a whole number of bytes or over `LARGEST`.
    """
    size = value if isinstance(value, int) and not isinstance(value, bool) else _whole_bytes(value)
    if not 0 <= size <= LARGEST:
        raise ValueError("out of range")
    return size


def format_size(size: int) -> str | int:
    """Return a size in the largest unit that leaves a whole number; plain bytes where none does."""
    for unit, name in _NAMES.items():
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{name}"
    return size


def _bare_number(value: object) -> float | None:
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    # The range is checked before `float`, which raises OverflowError for a very large int; NaN is in no range.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST:
        raise ValueError("not a number of seconds")
    return float(value)


def _sum_of_parts(text: str) -> Fraction:
    units = list(_SECONDS)
    total, position, largest_left = Fraction(0), 0, 0
    while position < len(text):
        part = _PART.match(text, position)
        if part is None or part[2] not in units[largest_left:]:
            raise ValueError("not a duration")
        total += Fraction(part[1]) * _SECONDS[part[2]]
        largest_left = units.index(part[2]) + 1
        position = part.end()
    if not text or text.endswith(" "):
        raise ValueError("not a duration")
    return total


def _whole_bytes(value: object) -> int:
    written = value.lower() if isinstance(value, str) else ""
    match = _SIZE.fullmatch(f"{written}b" if _NUMBER.fullmatch(written) else written)
    if match is None:
        raise ValueError("not a size")
    size = Fraction(match[1]) * _BYTES[match[2]]
    if size.denominator != 1:
        raise ValueError("not a whole number of bytes")
    return int(size)
