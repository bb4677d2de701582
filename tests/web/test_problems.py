"""Errors as clients see them (RFC 9457)."""

from __future__ import annotations

import json

import pytest
from tornado.web import HTTPError

from wshttp.errors import (
    BadCredentials,
    BadRequest,
    ContentTooLarge,
    DataTooLarge,
    Forbidden,
    InvalidValue,
    LimitReached,
    NotFound,
    SessionEnded,
    StorageFull,
    StoreUnavailable,
    TooManyRequests,
)
from wshttp.sessions.record import Reason
from wshttp.web.problems import problem

CASES = [
    (SessionEnded(None, "idle"), 401, "session-ended"),
    (BadCredentials(), 401, "bad-credentials"),
    (LimitReached("session.max_sessions", 1, in_all=True), 503, "limit-reached"),
    (LimitReached("session.max_sessions_per_ip", 1, in_all=False), 429, "limit-reached"),
    (TooManyRequests(1), 429, "too-many-requests"),
    (StoreUnavailable(), 503, "store-unavailable"),
    (Forbidden("no"), 403, "forbidden"),
    (NotFound(), 404, "not-found"),
    (BadRequest("no"), 400, "bad-request"),
    (ContentTooLarge("no"), 413, "bad-request"),
    (StorageFull(), 507, "store-unavailable"),
]


@pytest.mark.parametrize(("error", "status", "name"), CASES, ids=lambda case: type(case).__name__)
def test_error_has_its_status_and_type(error: Exception, status: int, name: str) -> None:
    """The status comes from the error, whatever the caller said; type, title, status and detail are there."""
    found = problem(500, error)
    body = json.loads(found.text())
    assert (found.status, body["status"], body["type"]) == (status, status, f"urn:wshttp:{name}")
    assert body["title"]
    assert body["detail"]


@pytest.mark.parametrize("reason", list(Reason))
def test_end_of_a_session_says_why(reason: Reason) -> None:
    """`reason` is there where a tombstone knows it, and not a null where it does not."""
    assert json.loads(problem(401, SessionEnded("ref", reason)).text())["reason"] == str(reason)
    assert "reason" not in problem(401, SessionEnded()).body


def test_end_of_a_session_does_not_tell_whose() -> None:
    """The ref of another client's session is not for the one who asks."""
    assert "5ec3e7" not in problem(401, SessionEnded("5ec3e7", "idle")).text()


@pytest.mark.parametrize(("seconds", "header"), [(0, "1"), (0.2, "1"), (1, "1"), (1.01, "2"), (59.5, "60")])
def test_retry_after_is_whole_seconds_rounded_up(seconds: float, header: str) -> None:
    """Who comes back when told to must not be too early."""
    assert problem(429, TooManyRequests(seconds)).headers == {"Retry-After": header}


@pytest.mark.parametrize("error", [RuntimeError("secret"), InvalidValue("secret"), DataTooLarge(2, 1), None], ids=repr)
def test_fault_shows_its_status_only(error: Exception | None) -> None:
    """What went wrong inside is for the log."""
    assert problem(500, error).body == {"type": "about:blank", "title": "Internal Server Error", "status": 500}


def test_bare_status_has_the_name_that_fits() -> None:
    """Tornado's own errors get our types where there is one, `about:blank` where there is none."""
    assert problem(404, HTTPError(404, "logged only")).body == {
        "type": "urn:wshttp:not-found",
        "title": "Not Found",
        "status": 404,
    }
    assert problem(418, HTTPError(418, reason="short and stout")).body["detail"] == "short and stout"
    assert problem(405).body["type"] == "about:blank"
    assert problem(599).body["title"] == "Error"
