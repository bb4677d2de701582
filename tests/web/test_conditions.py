"""Conditional requests."""

from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders

from wshttp.web.conditions import precondition, range_applies

TAG = '"abc"'
AT = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's example
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"


@pytest.mark.feature("F2")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"If-None-Match": '"abc"'}, 304),
        ({"If-None-Match": 'W/"abc"'}, 304),
        ({"If-None-Match": '"x", W/"abc" ,"y"'}, 304),
        ({"If-None-Match": '"x,\\"abc", "y"'}, None),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"x"'}, None),
        ({"If-None-Match": "abc"}, None),
        ({"If-None-Match": '"x"', "If-Modified-Since": DATE}, None),
        ({"If-Modified-Since": DATE}, 304),
        ({"If-Modified-Since": LATER}, 304),
        ({"If-Modified-Since": EARLIER}, None),
        ({"If-Modified-Since": "Sunday, 06-Nov-94 08:49:37 GMT"}, 304),
        ({"If-Modified-Since": "Sun Nov  6 08:49:37 1994"}, 304),
        ({"If-Modified-Since": "yesterday"}, None),
        ({"If-Modified-Since": "Sun, 06 Nov 99999 08:49:37 GMT"}, None),
        ({"If-Match": '"abc"'}, None),
        ({"If-Match": '"x", "abc"'}, None),
        ({"If-Match": "*"}, None),
        ({"If-Match": 'W/"abc"'}, 412),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": '"x"', "If-None-Match": '"abc"'}, 412),
        ({"If-Unmodified-Since": EARLIER}, 412),
        ({"If-Unmodified-Since": DATE}, None),
    ],
)
def test_precondition_follows_the_rfc(headers: dict[str, str], expected: int | None) -> None:
    """Tags go before dates; If-None-Match compares weakly, If-Match strongly."""
    assert precondition(HTTPHeaders(headers), TAG, AT) == expected


@pytest.mark.feature("F2")
def test_precondition_without_tag_and_date_matches_nothing() -> None:
    """A file that has neither now is always sent."""
    headers = HTTPHeaders({"If-None-Match": TAG, "If-Modified-Since": LATER})
    assert precondition(headers, None, None) is None
    assert precondition(HTTPHeaders({"If-Modified-Since": LATER}), None, None) is None


@pytest.mark.feature("F2")
@pytest.mark.parametrize(
    ("condition", "expected"),
    [("", True), (TAG, True), ('W/"abc"', False), ('"x"', False), (DATE, True), (LATER, False), ("abc", False)],
)
def test_range_applies_only_to_the_same_copy(condition: str, expected: bool) -> None:
    """If-Range wants the very same tag, or exactly the same date."""
    assert range_applies(HTTPHeaders({"If-Range": condition} if condition else {}), TAG, AT) is expected
