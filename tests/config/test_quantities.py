"""Durations and sizes as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshttp.config import format_duration, format_size, parse_duration, parse_size
from wshttp.config.quantities import LARGEST, LONGEST


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("20m", 1200.0),
        ("8h", 28800.0),
        ("7d", 604800.0),
        ("1h30m", 5400.0),
        ("1d 2h 3m 4s 5ms", 93784.005),
        ("1.5h", 5400.0),
        ("1001ms", 1.001),
        ("0", 0.0),
        ("0s", 0.0),
        ("90", 90.0),
        (90, 90.0),
        (2.5, 2.5),
        ("36500d", LONGEST),
    ],
)
def test_duration_is_read_in_every_form(written: object, seconds: float) -> None:
    """Units from ms to d, combinations from large to small, and bare seconds are understood exactly."""
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        "soon", "", " ", "30 s", "30S", "1m1h", "1m1m", "1h30", "-1s", -1, "1e3", "s", "1..5s", ".5s", "1h ", " 1h", "١s",
        math.nan, math.inf, -math.inf, "nan", "inf", True, None, [], {}, "36500d1ms", 10**400, "9" * 400 + "d", "9" * 5000,
    ],
)  # fmt: skip
def test_duration_refuses_what_is_none(written: object) -> None:
    """Whatever is not a duration, is negative, not a number or over a hundred years raises ValueError, nothing else."""
    with pytest.raises(ValueError):
        parse_duration(written)


@given(st.floats(min_value=0, max_value=LONGEST))
def test_duration_survives_writing_and_reading(seconds: float) -> None:
    """Any duration, written and read again, is the same number to the last bit."""
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, 10**12), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_duration_in_whole_units_is_exact(count: int, unit: str) -> None:
    """A whole number of any unit is the float nearest to its value, with no error of summing."""
    size = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}[unit]
    if count * size <= LONGEST * 1000:
        assert parse_duration(f"{count}{unit}") == count * size / 1000


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0s"), (0.5, "500ms"), (75, "75s"), (5400, "90m"), (43200, "12h"), (604800, "7d"), (0.00001, "0.00001s")],
)
def test_duration_is_written_in_the_largest_whole_unit(seconds: float, written: str) -> None:
    """The printed form is the shortest that people would write."""
    assert format_duration(seconds) == written


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (512, 512),
        ("512", 512),
        ("512B", 512),
        ("64KiB", 65536),
        ("10MB", 10_000_000),
        ("10 MiB", 10 * 2**20),
        ("1.5GiB", 3 * 2**29),
        ("1kb", 1000),
        ("1GB", 10**9),
        (LARGEST, LARGEST),
    ],
)
def test_size_is_read_in_every_form(written: object, size: int) -> None:
    """Decimal and binary units in any case, and bare bytes, are understood exactly."""
    assert parse_size(written) == size


@pytest.mark.parametrize(
    "written",
    [
        "big",
        "",
        "1.5B",
        "0.1KB1",
        "-1",
        -1,
        1.0,
        math.nan,
        True,
        None,
        [],
        "1TB",
        "1 K",
        "KiB",
        LARGEST + 1,
        "9" * 5000,
    ],
)
def test_size_refuses_what_is_none(written: object) -> None:
    """Whatever is not a whole number of bytes, or is negative or beyond any file, raises ValueError, nothing else."""
    with pytest.raises(ValueError):
        parse_size(written)


@given(
    st.integers(0, LARGEST) | st.builds(lambda n, u: n * u, st.integers(0, 4096), st.sampled_from([1000, 1024, 2**30]))
)
def test_size_survives_writing_and_reading(size: int) -> None:
    """Any size, written and read again, is the same number."""
    assert parse_size(format_size(size)) == size


@given(st.text() | st.integers() | st.floats() | st.none() | st.booleans() | st.lists(st.integers()))
def test_quantity_refuses_anything_else_with_value_error(value: object) -> None:
    """No input at all raises anything but ValueError."""
    for read in (parse_duration, parse_size):
        try:
            assert read(value) >= 0  # type: ignore[operator]  # a union of two readers
        except ValueError:
            pass
