"""Ids: what finds a session, and what names it."""

from __future__ import annotations

import hashlib
import re

import pytest

from wshttp.sessions.ids import SessionId, new_event_id, new_ref

TOKEN = "A" * 43


@pytest.mark.feature("I1")
def test_token_is_256_random_bits() -> None:
    """A token is 43 characters of base64url, and no two are alike."""
    tokens = {SessionId.new_token().value for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)


@pytest.mark.feature("I1")
def test_token_is_recognised_when_presented() -> None:
    """What a client presents finds what was given to it, and only if it is the same to the last character."""
    token = SessionId.new_token()
    assert SessionId.presented_token(token.value) == token
    assert SessionId.presented_token(token.value.swapcase()) != token


@pytest.mark.parametrize(
    "value", ["", "A" * 42, "A" * 44, TOKEN + "\n", "A" * 42 + "=", "A" * 42 + "é", "A" * 42 + "+", "A" * 1_000_000]
)
def test_token_of_another_form_is_none(value: str) -> None:
    """What cannot be one of ours is refused without a look into the store."""
    assert SessionId.presented_token(value) is None


@pytest.mark.feature("I2")
def test_kinds_never_match_each_other() -> None:
    """The same text as an id of each kind is as many ids: no client can present one of another kind."""
    text = SessionId.credentials(b"secret", "user", "v", "192.0.2.1").value
    ids = [SessionId.app(text), SessionId.ip(text), SessionId("token", text), SessionId("credentials", text)]
    assert len({each.key for each in ids}) == len(set(ids)) == 4
    assert SessionId.app(f"token:{TOKEN}") != SessionId.presented_token(TOKEN)


@pytest.mark.feature("I4")
def test_credentials_id_depends_on_each_part() -> None:
    """Another user, credential, address or secret is another id, also where the texts run into each other."""
    ids = [
        SessionId.credentials(b"secret", "user", "v1", "192.0.2.1"),
        SessionId.credentials(b"secret", "User", "v1", "192.0.2.1"),
        SessionId.credentials(b"secret", "user", "v2", "192.0.2.1"),
        SessionId.credentials(b"secret", "user", "v1", "192.0.2.2"),
        SessionId.credentials(b"Secret", "user", "v1", "192.0.2.1"),
        SessionId.credentials(b"secret", "userv", "1", "192.0.2.1"),
        SessionId.credentials(b"secret", "user4", ":v1", "192.0.2.1"),
    ]
    assert len(set(ids)) == len(ids)
    assert ids[0] == SessionId.credentials(b"secret", "user", "v1", "192.0.2.1")
    assert "user" not in ids[0].value


@pytest.mark.feature("I2")
@pytest.mark.parametrize("value", ["", "any string", "é\0😀", "\ud800", "x" * 100_000])
def test_application_may_choose_any_string(value: str) -> None:
    """Any `str` is an id, also one that UTF-8 cannot carry."""
    assert SessionId.app(value) == SessionId.app(value)
    assert len(SessionId.app(value).key) == 32


def test_id_never_shows_its_value() -> None:
    """Neither in a log line nor in the store is there more than a digest."""
    token = SessionId.new_token()
    assert token.value not in f"{token!r} {token} {[token]}"
    assert token.key == hashlib.sha256(f"token:{token.value}".encode()).digest()


def test_id_is_no_other_thing() -> None:
    """An id equals ids only."""
    assert SessionId.app("a") != "a"
    assert SessionId.app("a") != SessionId.app("b")


def test_ref_is_hexadecimal() -> None:
    """Refs and event ids are 96 random bits, and look like no option or path."""
    names = {make() for make in (new_ref, new_event_id) for _ in range(500)}
    assert len(names) == 1000
    assert all(re.fullmatch("[0-9a-f]{24}", name) for name in names)
