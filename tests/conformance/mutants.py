"""Bytes that are nearly requests, cut into pieces anywhere: what hypothesis tries on the engines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from conformance.inputs import INPUTS
from hypothesis import strategies as st

TOKENS: Final = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b"\x7f",
        b"\xff",
        b":",
        b",",
        b";",
        b"0",
        b"5",
        b"+",
        b"_",
    ),
    *(b"chunked", b"0\r\n\r\n", b"5\r\nhello\r\n", b"HTTP/1.0", b"HTTP/1.1", b"HEAD", b"OPTIONS * ", b"http://a/"),
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"X: " + b"x" * 300 + b"\r\n",
    b"GET /get HTTP/1.1\r\nHost: a\r\n\r\n",
)

SMALL: Final = tuple(data for data in INPUTS.values() if len(data) < 600)
"""The inputs that are worth changing; the long ones are long by repetition."""

GOOD: Final = tuple(
    INPUTS[name]
    for name in (
        *("one request after another", "length", "chunks", "chunk size with many zeros", "length on HEAD"),
        *("length on a method that nobody knows", "keep-alive in HTTP/1.0", "upgrade that is refused", "expect"),
        *("expect and chunks", "upgrade where there is none, with a length", "length on OPTIONS *"),
    )
)
"""Those with which both engines go on; what comes behind them is looked at, too."""

_EDIT: Final = st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(TOKENS) | st.binary(max_size=3))


def edited(data: bytes, edits: Sequence[tuple[float, int, bytes]]) -> bytes:
    """Put tokens in place of so many bytes; where is told by a fraction of the length."""
    for where, count, token in edits:
        start = int(where * len(data))
        data = data[:start] + token + data[start + count :]
    return data


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut bytes at these places, of which those beyond the end count from the beginning again."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(places)]


_GOOD: Final = st.lists(st.sampled_from(GOOD), max_size=2).map(b"".join)

MUTANTS: Final = st.builds(
    edited,
    st.builds(lambda *parts: b"".join(parts), _GOOD, st.sampled_from(GOOD) | st.sampled_from(SMALL), _GOOD),
    st.lists(_EDIT, max_size=3),
)
CUTS: Final = st.lists(st.integers(0, 2000), max_size=6)
