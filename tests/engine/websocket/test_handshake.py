"""Keys and subprotocols."""

from __future__ import annotations

import base64

import pytest

from wshttp.engine.websocket.handshake import accept_value, is_key, subprotocols


def test_accept_value_is_that_of_the_rfc() -> None:
    """RFC 6455, section 1.3, has an example."""
    assert accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("dGhlIHNhbXBsZSBub25jZQ==", True),
        (base64.b64encode(bytes(16)).decode(), True),
        (base64.b64encode(bytes(15)).decode(), False),
        (base64.b64encode(bytes(17)).decode(), False),
        ("dGhlIHNhbXBsZSBub25jZQ", False),
        ("dGhlIHNhbXBs*SBub25jZQ==", False),
        ("dGhlIHNhbXBsZSBub25jZQ==,dGhlIHNhbXBsZSBub25jZQ==", False),
        ("grüße", False),
        ("", False),
        (None, False),
    ],
)
def test_key_is_sixteen_bytes_in_base64(key: str | None, right: bool) -> None:
    """RFC 6455, section 4.2.1: nothing else is one."""
    assert is_key(key) is right


def test_subprotocols_of_several_lines_are_one_list() -> None:
    """In the client's order, without what is empty."""
    assert subprotocols(["a, b", "c,,", ""]) == ["a", "b", "c"]
