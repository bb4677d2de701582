"""What becomes of what an endpoint returns; over HTTP it is in test_endpoint.py."""

from __future__ import annotations

from typing import Any

import pytest

from wshttp import Response
from wshttp.errors import UsageError


@pytest.mark.parametrize("result", ["text", b"bytes", {"a": 1}, [1]])
def test_result_becomes_the_body(result: Any) -> None:
    """Status 200, no headers, the content type by the kind."""
    response = Response.of(result)
    assert (response.body, response.status, dict(response.headers), response.content_type) == (result, 200, {}, None)


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
