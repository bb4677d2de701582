"""What becomes of what an endpoint returns; over HTTP it is in test_endpoint.py."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from wshttp import Response
from wshttp.errors import UsageError
from wshttp.web.response import answer_of


@pytest.mark.parametrize("result", ["text", b"bytes", {"a": 1}, [1]])
def test_result_becomes_the_body(result: Any) -> None:
    """Status 200, no headers, the content type by the kind."""
    response = Response.of(result)
    assert (response.body, response.status, dict(response.headers), response.content_type) == (result, 200, {}, None)


@pytest.mark.parametrize("result", ["text", b"bytes", {"a": 1}, [1], Response("a", status=201), None])
def test_answer_is_that_of_the_response(result: Any) -> None:
    """What is shared by answers of one shape differs from a response of one's own in the body only."""
    own = Response.of(result)
    response, content = answer_of(result)
    assert content == own.content()
    for name in ("status", "headers", "content_type", "kind", "is_streamed"):
        assert getattr(response, name) == getattr(own, name), name
    assert (response.body is None) is (own.body is None)


def test_response_is_frozen_and_compared_by_what_it_says() -> None:
    """It is a value."""
    assert Response("a") == Response("a", 200, {}, None) != Response("b")
    assert repr(Response("a")) == "Response(body='a', status=200, headers={}, content_type=None)"
    with pytest.raises(FrozenInstanceError):
        Response("a").status = 201  # type: ignore[misc]
    assert replace(Response("a"), status=201) == Response("a", 201)


def test_response_stays_itself_and_none_has_no_content() -> None:
    """A Response is taken as it is; None is 204."""
    given = Response("x", status=418)
    assert Response.of(given) is given
    assert Response.of(None).status == 204


def test_iterator_is_known_by_its_method() -> None:
    """Any object with `__aiter__` is streamed."""

    class Parts:
        def __aiter__(self) -> Any:
            return self

    parts = Parts()
    assert Response.of(parts).body is parts
    assert Response.of(parts).content() == b""


@pytest.mark.parametrize("result", [0, 1.0, object(), (1,), {1}, iter("a")], ids=repr)
def test_anything_else_is_a_mistake(result: Any) -> None:
    """The message names what came and what could."""
    with pytest.raises(UsageError, match=f"returned {type(result).__name__}; it can return"):
        Response.of(result)


def test_content_type_can_be_given() -> None:
    """It goes before the kind's own."""
    assert Response("<p>", content_type="text/html").kind == "text/html"
    assert [Response(body).kind for body in ("", b"", {}, [], None)] == [
        "text/plain; charset=UTF-8",
        "application/octet-stream",
        "application/json",
        "application/json",
        "application/octet-stream",
    ]
