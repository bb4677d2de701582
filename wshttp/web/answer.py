"""What an answer begins with: its status line and its header."""

from __future__ import annotations

import re
from http.client import responses
from typing import Final

from tornado.httputil import HTTPHeaders, ResponseStartLine
from tornado.web import Finish, HTTPError

from wshttp import header_fields
from wshttp.http_date import date_now
from wshttp.web.problems import CONTENT_TYPE, Problem
from wshttp.web.response import Response
from wshttp.web.visit import Visit

SERVER: Final = "wshttp"

HTML: Final = "text/html; charset=UTF-8"

_PHRASE: Final = re.compile(r"[\t \x21-\x3b\x3d-\x7e\x80-\xff]+")
"""A reason phrase (RFC 9112, section 4), without `<`: some programs show it as if it were markup."""


def default_headers() -> HTTPHeaders:
    """Return what every answer has in its header."""
    return header_fields.headers_of({"Server": [SERVER], "X-Content-Type-Options": ["nosniff"], "Date": [date_now()]})


def headers_of(response: Response) -> HTTPHeaders:
    """Return an answer's header. Raises `HTTPInputError` for what cannot be in one."""
    headers = default_headers()
    if response.content_type is not None:
        _put(headers, "Content-Type", response.content_type)
    elif response.body is not None:
        headers["Content-Type"] = response.kind
    for name, value in response.headers.items():
        _put(headers, name, value)
    return headers


def say_of_session(headers: HTTPHeaders, visit: Visit) -> None:
    """Add what an answer has to say of the session, in the place of what it says otherwise."""
    for name, value in visit.headers():
        headers.add(name, value) if name == "Set-Cookie" else headers.__setitem__(name, value)


def _put(headers: HTTPHeaders, name: str, value: str) -> None:
    """Set a field that the application has made, and that has to be looked at."""
    headers.pop(name, None)
    headers.add(name, str(value))


def start_line(status: int, phrase: str | None = None) -> ResponseStartLine:
    """Return a status line; `phrase` is what an application has for the usual one."""
    if phrase is None or not _PHRASE.fullmatch(phrase):
        phrase = responses.get(status, "Unknown") if phrase is None else "Unknown"
    return ResponseStartLine("HTTP/1.1", status, phrase)


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
