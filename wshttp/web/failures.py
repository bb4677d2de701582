"""Errors as the log shows them. Tornado's own lines have the query in them, which may hold a token."""

from __future__ import annotations

import logging

from tornado.httputil import HTTPServerRequest
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from wshttp.errors import ClientDisconnected, answer_for

_log = logging.getLogger("wshttp.web")


def log_failure(request: HTTPServerRequest, error: BaseException | None) -> None:
    """Log what a request failed with; a fault of ours with its traceback."""
    what = f"{request.method} {request.path}"
    if error is None or isinstance(error, ClientDisconnected | StreamClosedError):
        _log.info("%s: the client went away", what)
    elif isinstance(error, HTTPError):
        message = error.get_message()
        if message:
            _log.warning("%s %d: %s", what, error.status_code, message)
    elif answer_for(error) is not None:
        _log.info("%s: %s", what, error)
    else:
        _log.error("%s failed", what, exc_info=error)


def log_cut(request: HTTPServerRequest, error: BaseException) -> None:
    """Log that an answer ends before its end: its header is out, and could not say so any more."""
    _log.info("%s: cut short, since %s", request.path, error)
