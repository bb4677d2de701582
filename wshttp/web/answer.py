"""What an answer begins with: its status line and its header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http.client import responses
from typing import Final

from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.web import Finish, HTTPError

from wshttp.header_fields import Fields, headers_of
from wshttp.http_date import date_now
from wshttp.web.problems import CONTENT_TYPE, Problem
from wshttp.web.response import Response, kind_of

SERVER: Final = "wshttp"

HTML: Final = "text/html; charset=UTF-8"

_PHRASE: Final = re.compile(r"[\t \x21-\x3b\x3d-\x7e\x80-\xff]+")
"""A reason phrase (RFC 9112, section 4), without `<`: some programs show it as if it were markup."""

_LINES: Final = {status: ResponseStartLine("HTTP/1.1", status, phrase) for status, phrase in responses.items()}
"""The usual status lines."""


def default_fields(kind: str | None = None) -> Fields:
    """Return what every answer has in its header; `kind` is the content type."""
    fields = {"Server": [SERVER], "X-Content-Type-Options": ["nosniff"], "Date": [date_now()]}
    if kind is not None:
        fields["Content-Type"] = [kind]
    return fields


def fields_for(response: Response) -> Fields:
    """Return an answer's header. Raises `HTTPInputError` for what cannot be in one."""
    given, body = response.content_type, response.body
    fields = default_fields(kind_of(body) if given is None and body is not None else None)
    if given is not None or response.headers:
        _put_given(headers_of(fields), response)
    return fields


def _put_given(headers: HTTPHeaders, response: Response) -> None:
    if response.content_type is not None:
        _put(headers, "Content-Type", response.content_type)
    given: Mapping[str, object] = response.headers  # a number does, too
    for name, value in given.items():
        _put(headers, name, value)


def _put(headers: HTTPHeaders, name: str, value: object) -> None:
    """Set a field that the application has made, and that has to be looked at."""
    headers.pop(name, None)
    headers.add(name, str(value))


def start_line(status: int, phrase: str | None = None) -> ResponseStartLine:
    """Return a status line; `phrase` is what an application has for the usual one."""
    if phrase is None and status in _LINES:
        return _LINES[status]
    return ResponseStartLine("HTTP/1.1", status, phrase if phrase and _PHRASE.fullmatch(phrase) else "Unknown")


def is_bodiless(status: int) -> bool:
    """Tell whether an answer with this status has no body, not even an empty one (RFC 9110, section 6.4.1)."""
    return status in (204, 304) or status < 200


def response_to_finish(error: Finish) -> Response:
    """Return what `tornado.web.Finish` asks for: its one argument, or an empty page."""
    body = error.args[0] if error.args else ""
    return Response(body, content_type=HTML if isinstance(body, str | bytes) else None)


def response_of(problem: Problem, **more: str) -> Response:
    """Return the answer that describes a problem."""
    return Response(problem.text(), problem.status, {**problem.headers, **more}, CONTENT_TYPE)


def phrase_of(error: BaseException) -> str | None:
    """Return the reason phrase that an error brings, if it does."""
    return error.reason if isinstance(error, HTTPError) else None
