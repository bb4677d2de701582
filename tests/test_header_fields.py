from __future__ import annotations

import pytest
from tornado.httputil import HTTPHeaders

from wshttp.field_names import FieldNames
from wshttp.header_fields import fields_of, headers_of


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
    """As Tornado writes them, for short ones and for long ones, each time."""
    names = FieldNames()
    for _ in range(2):
        assert names["x-FORWARDED-for"] == "X-Forwarded-For"
        assert names["a" * 1000] == "A" + "a" * 999
    for bad in ("", "a b", "a:", "\xe4", "a" * 1000 + " "):
        with pytest.raises(ValueError):
            names[bad]


def test_field_names_that_are_remembered_are_bounded() -> None:
    """Clients choose them: neither many nor long ones stay."""
    names = FieldNames()
    for number in range(3000):
        assert names[f"x-{number}"] == f"X-{number}"
        names["x" * 65 + str(number)]
    assert 0 < len(names) <= 1000
    assert all(len(name) <= 64 for name in names)
