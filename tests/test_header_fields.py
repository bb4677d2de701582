from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders

from wshttp.header_fields import field_name, fields_of, headers_of


def test_headers_are_as_tornado_makes_them() -> None:
    """What is filled past its public ways behaves like what came through them, also when it is changed then."""
    public = HTTPHeaders({"Host": "a", "X-One": "1"})
    public.add("x-one", "2")
    ours = headers_of({"Host": ["a"], "X-One": ["1", "2"]})
    assert vars(ours).keys() == vars(public).keys()
    assert fields_of(ours) == fields_of(public)
    for headers in (ours, public):
        assert headers["x-one"] == "1,2"
        headers.add("X-ONE", "3")
        assert headers.get_list("x-one") == ["1", "2", "3"]
        assert headers["X-One"] == "1,2,3"
        del headers["host"]
        assert list(headers.get_all()) == [("X-One", "1"), ("X-One", "2"), ("X-One", "3")]
    assert ours == public


def test_field_name_has_its_capitals() -> None:
    """As Tornado writes them, for short ones and for long ones."""
    assert field_name("x-FORWARDED-for") == "X-Forwarded-For"
    assert field_name("a" * 1000) == "A" + "a" * 999
    for bad in ("", "a b", "a:", "\xe4", "a" * 1000 + " "):
        with pytest.raises(ValueError):
            field_name(bad)
