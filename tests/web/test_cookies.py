"""The session cookie, read and written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshttp.config import CookieSettings
from wshttp.web.cookies import MAX_AGE, SessionCookie


def cookie(**settings: Any) -> SessionCookie:
    return SessionCookie(CookieSettings.model_validate(settings))


@pytest.mark.feature("I5")
@pytest.mark.parametrize(
    ("secure", "scheme", "name"),
    [
        ("auto", "http", "wshttp"),
        ("auto", "https", "__Host-wshttp"),
        ("on", "http", "__Host-wshttp"),
        ("off", "https", "wshttp"),
    ],
)
def test_name_says_whether_the_cookie_is_secure(secure: str, scheme: str, name: str) -> None:
    """`__Host-` and Secure come together, as browsers demand."""
    found = cookie(secure=secure)
    assert found.name(scheme) == name
    assert ("; Secure" in found.give("t", scheme, 0)) == name.startswith("__Host-")
    assert ("; Secure" in found.take_back(scheme)) == name.startswith("__Host-")


@pytest.mark.feature("I7")
def test_prefix_stands_before_the_name() -> None:
    """A prefix of the application comes after `__Host-`, which has to be first."""
    assert cookie(prefix="chat_").name("http") == "chat_wshttp"
    assert cookie(prefix="chat_").name("https") == "__Host-chat_wshttp"


@pytest.mark.parametrize(("lifetime", "age"), [(60, 60), (60.9, 60), (0, MAX_AGE), (10 * MAX_AGE, MAX_AGE)], ids=str)
def test_persistent_cookie_lives_as_long_as_browsers_allow(lifetime: float, age: int) -> None:
    """The absolute time-out, at most 400 days, which is also what 0 (never) means."""
    assert f"; Max-Age={age};" in cookie(persistent=True).give("t", "http", lifetime)
    assert "Max-Age" not in cookie().give("t", "http", lifetime)


@pytest.mark.feature("I10")
@pytest.mark.parametrize(
    ("headers", "values"),
    [
        ([], ()),
        (["other=1"], ()),
        (["wshttp=a"], ("a",)),
        (["a=1; wshttp=b;wshttp=c", "wshttp=d"], ("b", "c", "d")),
        (['wshttp="quoted"'], ("quoted",)),
        (["wshttp = spaced "], ("spaced",)),
        (["wshttp"], ("",)),
        (["WSHTTP=a; xwshttp=b; wshttpx=c; __Host-wshttp=d"], ()),
        (["wshttp=a=b"], ("a=b",)),
    ],
)
def test_all_cookies_of_our_name_are_read(headers: list[str], values: tuple[str, ...]) -> None:
    """Every line and every pair, in order; names are compared exactly."""
    assert cookie().values(headers, "http") == values


@given(st.lists(st.text(alphabet=st.characters(max_codepoint=255)), max_size=3))
def test_no_header_makes_reading_fail(headers: list[str]) -> None:
    """Whatever a client sends, reading it gives texts."""
    assert all(isinstance(value, str) for value in cookie().values(headers, "http"))


@pytest.mark.feature("I10")
def test_cookies_of_other_places_are_taken_back_there() -> None:
    """Those of the whole domain and of the path's folder, never our own; with `__Host-` there can be none."""
    assert cookie().take_back_elsewhere("http", "shop.example", "/a/b") == [
        "wshttp=; Max-Age=0; Path=/; Domain=shop.example",
        "wshttp=; Max-Age=0; Path=/a",
    ]
    assert cookie().take_back_elsewhere("http", "shop.example", "/a") == [
        "wshttp=; Max-Age=0; Path=/; Domain=shop.example"
    ]
    assert cookie().take_back_elsewhere("https", "shop.example", "/a/b") == []


@pytest.mark.feature("I10")
@pytest.mark.parametrize("host", ["evil;Path=/", "shop example", "", "[::1]", "a\r\nSet-Cookie"])
def test_client_writes_no_attributes_into_a_cookie(host: str) -> None:
    """A path or a host with a semicolon would, and take back our own cookie: such a place is left alone."""
    assert cookie().take_back_elsewhere("http", host, "/x;Path=/;q/y") == []
