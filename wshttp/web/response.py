"""What a function endpoint answers with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wshttp.errors import UsageError
from wshttp.realtime.format import to_json

Body: TypeAlias = "str | bytes | dict[str, Any] | list[Any] | AsyncIterator[str | bytes] | None"

TEXT = "text/plain; charset=UTF-8"
BINARY = "application/octet-stream"
JSON = "application/json"


@dataclass(frozen=True)
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
        if self.content_type is not None:
            return self.content_type
        if isinstance(self.body, str):
            return TEXT
        return JSON if isinstance(self.body, dict | list) else BINARY

    @property
    def is_streamed(self) -> bool:
        """Whether the body comes in parts."""
        return hasattr(self.body, "__aiter__")

    def content(self) -> bytes:
        """Return the body of a response that is not streamed."""
        if isinstance(self.body, dict | list):
            return to_json(self.body).encode()
        if isinstance(self.body, str):
            return self.body.encode()
        return self.body if isinstance(self.body, bytes) else b""
