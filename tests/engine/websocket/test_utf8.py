"""UTF-8 in pieces."""

from __future__ import annotations

import re

import pytest
from framing import exhaustive
from hypothesis import given
from hypothesis import strategies as st

from wshttp.engine.websocket.closing import Failure
from wshttp.engine.websocket.utf8 import Utf8Check

WHOLE = (
    rb"[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    rb"|\xed[\x80-\x9f][\x80-\xbf]|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
"""A character, as RFC 3629, section 4, has it."""

BEGUN = (
    rb"[\xc2-\xf4]|\xe0[\xa0-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xed[\x80-\x9f]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]?|[\xf1-\xf3][\x80-\xbf]{1,2}|\xf4[\x80-\x8f][\x80-\xbf]?"
)
"""What one begins with."""

POSSIBLE = re.compile(rb"(?:%b)*(?:%b)?" % (WHOLE, BEGUN))
"""What text begins with."""


def refused_after(data: bytes) -> int | None:
    """Return how many bytes, one at a time, it took to refuse them; `None` if they were taken."""
    check = Utf8Check()
    for count, byte in enumerate(data, 1):
        try:
            check.take(bytes([byte]))
        except Failure:
            return count
    return None


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80", 13),  # a surrogate; Autobahn's 6.3.1
        (b"\xf4\x90\x80\x80", 2),  # above U+10FFFF; Autobahn's 6.4.2
        (b"\xc0\xaf", 1),
        (b"\xe0\x80\xaf", 2),
        (b"\xf0\x80\x80\xaf", 2),
        (b"\xf5", 1),
        (b"\xfe", 1),
        (b"\x80", 1),
        (b"a\xe2\x82a", 4),
    ],
)
def test_text_that_is_no_utf8_is_refused_at_the_byte_that_rules_it_out(data: bytes, count: int) -> None:
    """Overlong forms, surrogates and what is beyond Unicode are noticed before the character is whole."""
    assert refused_after(data) == count


AWKWARD = st.lists(
    st.sampled_from(bytes.fromhex("7f80 8f90 9fa0 bfc1 c2df e0e1 eced eeef f0f1 f3f4 f5")), max_size=6
).map(bytes)
"""Bytes at the bounds of the grammar."""


@exhaustive
@given(st.binary(max_size=12) | st.text(max_size=8).map(str.encode) | AWKWARD)
def test_text_is_refused_at_the_first_byte_after_which_it_can_be_none(data: bytes) -> None:
    """No earlier, and no later."""
    expected = next((count for count in range(1, len(data) + 1) if not POSSIBLE.fullmatch(data[:count])), None)
    assert refused_after(data) == expected


def test_text_that_ends_within_a_character_is_refused() -> None:
    """The last piece has to end a character."""
    check = Utf8Check()
    check.take("grüße".encode()[:3])
    with pytest.raises(Failure, match="1007"):
        check.take(b"", final=True)
