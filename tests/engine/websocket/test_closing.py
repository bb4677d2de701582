"""Close frames, both ways."""

from __future__ import annotations

import struct

import pytest

from wshttp.engine.websocket.closing import Close, Failure, read_close, write_close

VALID = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID)
def test_close_with_a_valid_code_is_read(code: int) -> None:
    """Code and reason come back as they were written."""
    assert read_close(write_close(code, "grüße")) == Close(code, "grüße")


@pytest.mark.parametrize("code", INVALID)
def test_close_with_an_invalid_code_is_a_protocol_error(code: int) -> None:
    """It is neither read nor written."""
    with pytest.raises(Failure) as failure:
        read_close(struct.pack("!H", code))
    assert failure.value.code == 1002
    with pytest.raises(ValueError, match=str(code)):
        write_close(code)


@pytest.mark.parametrize(
    ("payload", "code"), [(b"\x03", 1002), (b"\x03\xe8\xff", 1007), (b"\x03\xe8\xed\xa0\x80", 1007)]
)
def test_close_that_is_malformed_fails(payload: bytes, code: int) -> None:
    """Half a code, and a reason that is no UTF-8."""
    with pytest.raises(Failure) as failure:
        read_close(payload)
    assert failure.value.code == code


def test_close_without_a_code() -> None:
    """Nothing is read as nothing; a reason alone goes with 1000, since it can't be sent without a code."""
    assert read_close(b"") == Close(None, "")
    assert write_close(None) == write_close(None, "") == b""
    assert write_close(None, "bye") == b"\x03\xe8bye"


def test_reason_that_is_too_long_is_an_error() -> None:
    """A control frame carries 125 bytes, and the code takes two of them."""
    assert len(write_close(1000, "x" * 123)) == 125
    with pytest.raises(ValueError, match="123 bytes"):
        write_close(1000, "ü" * 62)
