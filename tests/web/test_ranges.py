"""The part of a file that a `Range` header asks for."""

from __future__ import annotations

import pytest

from wshttp.web.ranges import ByteRange, Unsatisfiable, parse_range


@pytest.mark.feature("F2")
@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 10, ByteRange(0, 1)),
        ("bytes=2-5", 10, ByteRange(2, 6)),
        ("bytes=2-", 10, ByteRange(2, 10)),
        ("bytes=0-", 10, ByteRange(0, 10)),
        ("bytes=9-100", 10, ByteRange(9, 10)),
        ("bytes=-3", 10, ByteRange(7, 10)),
        ("bytes=-300", 10, ByteRange(0, 10)),
        ("BYTES= 2-5 ,", 10, ByteRange(2, 6)),
    ],
)
def test_range_within_the_file_is_that_part(header: str, size: int, expected: ByteRange) -> None:
    """One range that overlaps the file is answered with what they share."""
    assert parse_range(header, size) == expected


@pytest.mark.feature("F2")
@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=0x0-1",
        "bytes=٠-١",
        "bytes=" + "9" * 5000 + "-",
        "lines=0-1",
        "bytes=0-1,3-4",
        "bytes=0-,0-,0-",
    ],
)
def test_range_that_is_malformed_or_several_is_ignored(header: str) -> None:
    """What can't be read, or is more than one range, gets the whole file."""
    assert parse_range(header, 10) is None


@pytest.mark.feature("F2")
@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_range_outside_the_file_is_unsatisfiable(header: str, size: int) -> None:
    """A range that shares no byte with the file is an error of its own."""
    with pytest.raises(Unsatisfiable):
        parse_range(header, size)


def test_range_from_the_end_of_an_empty_file_is_the_whole() -> None:
    """The last bytes of nothing are nothing, which is the whole."""
    assert parse_range("bytes=-5", 0) is None
