from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from wshttp.engine.byte_buffer import ByteBuffer


@given(st.lists(st.one_of(st.binary(max_size=5), st.integers(0, 8))))
def test_buffer_gives_what_it_got(steps: list[bytes | int]) -> None:
    """In order, whatever is appended and taken when; a number takes so many."""
    buffer, expected = ByteBuffer(), b""
    for step in steps:
        if isinstance(step, bytes):
            buffer.append(step)
            expected += step
        else:
            assert buffer.take(step) == expected[:step]
            expected = expected[step:]
        assert len(buffer) == len(expected)
        assert buffer.find(b"\0") == expected.find(b"\0")
        assert buffer.find(b"\0", 1) == expected.find(b"\0", 1)
    assert buffer.take(len(buffer)) == expected


def test_buffer_looks_from_where_it_is() -> None:
    """Patterns see nothing of what has been taken."""
    buffer = ByteBuffer()
    for piece in (b"ab", b"cd"):
        buffer.append(piece)
    buffer.skip(1)
    found = buffer.match(re.compile(b"b"))
    assert found is not None
    assert buffer.match(re.compile(b"a")) is None
    assert buffer.search(re.compile(b"d")) is not None
    assert buffer.search(re.compile(b"b"), 1) is None
    buffer.skip(3)
    assert len(buffer) == 0


def test_buffer_that_is_empty_keeps_nothing() -> None:
    """A connection may wait for long after a large piece."""
    buffer = ByteBuffer()
    buffer.append(bytes(1000))
    buffer.take(998)
    buffer.skip(2)
    assert not buffer.data
    one = bytes(1000)
    buffer.append(one)
    assert buffer.take(1000) is one
    assert not buffer.data
