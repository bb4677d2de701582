"""What a function endpoint answers with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType
from typing import Any, Final, TypeAlias

from wshttp.errors import UsageError
from wshttp.realtime.format import to_json

Body: TypeAlias = "str | bytes | dict[str, Any] | list[Any] | AsyncIterator[str | bytes] | None"

TEXT = "text/plain; charset=UTF-8"
BINARY = "application/octet-stream"
JSON = "application/json"


_WHOLE = (dict, str, bytes, list, NoneType)


@dataclass(frozen=True, init=False)
class Response:
    """An answer in full.

        return Response("<h1>Hello</h1>", content_type="text/html; charset=UTF-8")
        return Response(status=303, headers={"Location": "/rooms"})

    `body` may be text, bytes, a dictionary or list (sent as JSON), an asynchronous iterator of text or bytes
    (streamed, at the client's pace), or `None`.
    """

    body: Body = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    """Default: by the kind of body; text is `text/plain`, so that nothing becomes markup by accident."""

    def __init__(
        self,
        body: Body = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> None:
        # What a frozen class is given by `dataclass` takes four times as long.
        own = self.__dict__
        own["body"] = body
        own["status"] = status
        own["headers"] = {} if headers is None else headers
        own["content_type"] = content_type

    @classmethod
    def of(cls, result: object) -> Response:
        """Make a response of what an endpoint returned; `None` is 204. Raises `UsageError` for anything unforeseen."""
        if isinstance(result, Response):
            return result
        if result is None:
            return cls(status=204)
        if isinstance(result, str | bytes | dict | list) or hasattr(result, "__aiter__"):
            return cls(result)  # type: ignore[arg-type]  # an asynchronous iterator is known by its method
        raise UsageError(
            f"an endpoint returned {type(result).__name__}; it can return str, bytes, dict, list, Response, "
            "an async iterator of str or bytes, or None"
        )

    @property
    def kind(self) -> str:
        """The content type, given or by the kind of body."""
        return kind_of(self.body) if self.content_type is None else self.content_type

    @property
    def is_streamed(self) -> bool:
        """Whether the body comes in parts."""
        return self.body.__class__ not in _WHOLE and hasattr(self.body, "__aiter__")

    def content(self) -> bytes:
        """Return the body of a response that is not streamed."""
        return content_of(self.body)


_OF_SHAPE: Final[dict[type, Response]] = {
    kind: Response(kind(), headers=MappingProxyType({})) for kind in (dict, list, str)
}
"""Answers of which only the content differs, and which all requests share."""


def answer_of(result: Any) -> tuple[Response, bytes]:
    """Return the response that an endpoint's result makes, as `Response.of` does, and its content.

    The response may be one that others get, too; its `body` is not the result's then. The content is.
    """
    response = _OF_SHAPE.get(type(result))
    if response is not None:
        return response, content_of(result)
    response = Response.of(result)
    return response, response.content()


def kind_of(body: Body) -> str:
    """Return the content type that a kind of body has."""
    if isinstance(body, dict | list):
        return JSON
    return TEXT if isinstance(body, str) else BINARY


def content_of(body: Body) -> bytes:
    """Return a body as it is sent; one that is streamed has nothing yet."""
    if isinstance(body, dict | list):
        return to_json(body).encode()
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else b""
