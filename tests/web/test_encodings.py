"""Which content coding a client gets."""

from __future__ import annotations

import pytest

from wshttp.web.encodings import preferred_encoding

OFFERED = ["br", "gzip"]


@pytest.mark.feature("F2")
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZIP", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip;q=1.0, br;q=0.9", "gzip"),
        ("br;q=0, gzip;q=0.001", "gzip"),
        ("br;q=0", None),
        ("*", "br"),
        ("*;q=0", None),
        ("br;q=0, *", "gzip"),
        ("identity", None),
        ("identity;q=0.5, gzip;q=0.4", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0", None),
        ("deflate", None),
        ("br;q=2, gzip;q=x", None),
        ("br;level=3", None),
        (",,;;=,gzip", "gzip"),
    ],
)
def test_encoding_follows_the_weights(accept: str, expected: str | None) -> None:
    """The highest weight wins, then the order of the server; what makes no sense is not listed."""
    assert preferred_encoding(accept, OFFERED) == expected


def test_encoding_that_is_not_there_is_not_chosen() -> None:
    """Only what is offered is given."""
    assert preferred_encoding("br, gzip;q=0.1", ["gzip"]) == "gzip"
