"""Errors as clients see them: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import http
import math
from dataclasses import dataclass, field
from typing import Any

from tornado.web import HTTPError

from wshttp.auth.basic import challenge
from wshttp.errors import BadCredentials, SessionEnded, answer_for
from wshttp.realtime.format import to_json
from wshttp.web.site import Site

CONTENT_TYPE = "application/problem+json"

_NAMES = {
    400: "bad-request",
    401: "bad-credentials",
    403: "forbidden",
    404: "not-found",
    413: "bad-request",
    429: "too-many-requests",
}
"""What a bare status is called, where Tornado or a handler gives no error of ours."""


@dataclass(frozen=True)
class Problem:
    """What a failed request is answered with."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        return to_json(self.body)


def problem(status: int, error: BaseException | None = None) -> Problem:
    """Describe an error; one that is not meant for clients shows its status only."""
    answer = answer_for(error) if error is not None else None
    status = answer.status if answer else status
    name = answer.name if answer else _NAMES.get(status)
    body: dict[str, Any] = {
        "type": f"urn:wshttp:{name}" if name else "about:blank",
        "title": _phrase(status),
        "status": status,
    }
    detail = _detail(error, known=answer is not None)
    if detail:
        body["detail"] = detail
    if isinstance(error, SessionEnded) and error.reason is not None:
        body["reason"] = str(error.reason)
    retry_after = getattr(error, "retry_after", None)
    headers = {} if retry_after is None else {"Retry-After": str(max(1, math.ceil(retry_after)))}
    return Problem(status, body, headers)


def challenge_of(site: Site, path: str, status: int, error: BaseException | None) -> dict[str, str]:
    """Return how to log in: with Basic where that is asked for; the API must not have browsers pop up a form."""
    if status != 401:
        return {}
    if isinstance(error, BadCredentials) and not path.startswith(site.prefix + "/"):
        return {"WWW-Authenticate": challenge(site.settings.auth.realm)}
    return {"WWW-Authenticate": "Session"}


def _detail(error: BaseException | None, *, known: bool) -> str | None:
    if isinstance(error, HTTPError):
        return error.reason
    return getattr(error, "detail", None) if known else None


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"
