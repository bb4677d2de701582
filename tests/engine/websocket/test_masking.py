"""Both ways to mask give the same."""

from __future__ import annotations

import sys

import pytest
from framing import exhaustive
from hypothesis import given
from hypothesis import strategies as st

from wshttp.engine.websocket.masking import apply_mask, fastest, mask_in_python


@exhaustive
@given(st.binary(min_size=4, max_size=4), st.binary(max_size=70))
def test_mask_is_the_xor_of_each_byte_with_one_of_four(mask: bytes, data: bytes) -> None:
    """RFC 6455, section 5.3, byte by byte; and a mask applied twice is gone."""
    expected = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data))
    assert apply_mask(mask, data) == mask_in_python(mask, data) == expected
    assert mask_in_python(mask, expected) == data


def test_mask_without_tornados_extension_is_done_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Tornado has no C function, ours takes its place."""
    monkeypatch.setitem(sys.modules, "tornado.speedups", None)
    monkeypatch.delattr("tornado.speedups", raising=False)
    assert fastest() is mask_in_python
