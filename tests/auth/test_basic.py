"""The Basic scheme: every malformed header, and the ones that are well."""

from __future__ import annotations

import base64
import unicodedata

import pytest
from tornado.httputil import encode_username_password

from wshttp.auth.basic import MAX_LENGTH, BasicCredentials, challenge, parse_basic
from wshttp.errors import BadCredentials, UsageError, answer_for

pytestmark = pytest.mark.feature("U1")


def header(credentials: bytes, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(credentials).decode()}"


@pytest.mark.parametrize(
    ("value", "user", "password"),
    [
        (header(b"Aladdin:open sesame"), "Aladdin", "open sesame"),  # RFC 7617, section 2
        ("Basic dGVzdDoxMjPCow==", "test", "123\u00a3"),  # RFC 7617, section 2.1
        (header(b"a:b:c:"), "a", "b:c:"),
        (header(b":token"), "", "token"),
        (header(b"a:"), "a", ""),
        (header(b"a:b", "bAsIc"), "a", "b"),
        (header(b"a:b", "Basic  "), "a", "b"),
        (" " + header(b"a:b") + "\t", "a", "b"),
    ],
)
def test_header_that_is_well(value: str, user: str, password: str) -> None:
    """The first colon splits, the scheme's case does not matter, either part may be empty."""
    credentials = parse_basic(value)
    assert credentials is not None
    assert (credentials.user, credentials.password) == (user, password)


@pytest.mark.parametrize("value", ["", "Session abc", "Bearer YTpi", "BasicYTpi", "Basics YTpi", "Digest username=a"])
def test_header_of_another_scheme(value: str) -> None:
    """What is not Basic is somebody else's to read, not a mistake."""
    assert parse_basic(value) is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("Basic", "no colon"),
        ("Basic ", "no colon"),
        ("Basic !!!", "not base64"),
        ("Basic YTpi YTpi", "not base64"),
        ("Basic YTpiY", "not base64"),
        ("Basic YTpiYw", "not base64"),
        ("Basic YTpiYw==YTpi", "not base64"),
        ("Basic YTp-", "not base64"),
        ("Basic \u00e9\u00e9\u00e9\u00e9", "not base64"),
        (header(b"nobody"), "no colon"),
        (header(b"a:\xff"), "not UTF-8"),
        (header(b"a:\xc0\x80"), "not UTF-8"),
        (header(b"a:\xed\xa0\x80"), "not UTF-8"),
        ("Basic " + "A" * MAX_LENGTH, "characters"),
        *[(header(b"a%cb:c" % n), "control") for n in (0, 9, 10, 13, 31, 127)],
        *[(header(b"a:b%cc" % n), "control") for n in (0, 9, 10, 13, 31, 127)],
    ],
)
def test_header_that_is_malformed(value: str, says: str) -> None:
    """Each fault is refused with 401 and its own words, which hold nothing of what was sent."""
    with pytest.raises(BadCredentials, match=says) as caught:
        parse_basic(value)
    answer = answer_for(caught.value)
    assert answer is not None
    assert answer.status == 401
    assert caught.value.__cause__ is None


def test_names_in_two_spellings_are_one() -> None:
    """Composed and decomposed letters are brought to one form, the one that Tornado's client sends."""
    composed, decomposed = "Zo\u00eb", unicodedata.normalize("NFD", "Zo\u00eb")
    assert composed != decomposed
    raw = parse_basic(header(f"{decomposed}:{decomposed}".encode()))
    sent = parse_basic(header(encode_username_password(decomposed, decomposed)))
    assert raw == sent == BasicCredentials(composed, composed)


def test_credentials_hide_the_password() -> None:
    """A password is in no text that might be logged."""
    credentials = BasicCredentials("bob", "s3cret")
    assert "s3cret" not in repr(credentials) + str(credentials)
    assert "bob" in repr(credentials)


@pytest.mark.parametrize(
    ("user", "password"), [("a:b", "c"), ("a\x00", "b"), ("a", "b\n"), ("\ud800", "b"), ("a", "\udfff")]
)
def test_credentials_from_elsewhere_obey_the_same_rules(user: str, password: str) -> None:
    """What a JSON body can spell and a Basic header cannot is refused too, and never a fault of the server."""
    with pytest.raises(BadCredentials):
        BasicCredentials(user, password)


def test_challenge_quotes_the_realm() -> None:
    """Quotes and backslashes in a realm do not end it."""
    assert challenge("wshttp") == 'Basic realm="wshttp", charset="UTF-8"'
    assert challenge('a "b" \\c') == r'Basic realm="a \"b\" \\c", charset="UTF-8"'


@pytest.mark.parametrize("realm", ["a\r\nSet-Cookie: x", "a\x00", "B\u00fcro"])
def test_challenge_refuses_a_realm_that_is_no_header(realm: str) -> None:
    """Nothing in a realm can begin another header."""
    with pytest.raises(UsageError):
        challenge(realm)
