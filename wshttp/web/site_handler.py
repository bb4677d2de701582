"""What all our answers have in common: their headers, and what errors look like, to the client and in the log."""

from __future__ import annotations

import logging
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from wshttp.auth.basic import challenge
from wshttp.errors import BadCredentials, ClientDisconnected, answer_for
from wshttp.web.methods import Methods
from wshttp.web.problems import CONTENT_TYPE, problem
from wshttp.web.site import Site, site_of

SERVER: str = "wshttp"

_log = logging.getLogger("wshttp.web")


class SiteHandler(Methods):
    """A handler whose errors become `application/problem+json`."""

    @property
    def site(self) -> Site:
        """What this application's handlers share."""
        return site_of(self)

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Server", SERVER)
        self.set_header("X-Content-Type-Options", "nosniff")

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = error_of(kwargs)
        answer = answer_for(error) if error is not None else None
        super().send_error(answer.status if answer else status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with a problem, unless the handler's own class says how its errors look."""
        if status_code == 405:
            self.set_header("Allow", ", ".join(self.allowed_methods()))
        if getattr(super().write_error, "__func__", None) is not RequestHandler.write_error:
            super().write_error(status_code, **kwargs)
            return
        error = error_of(kwargs)
        found = problem(status_code, error)
        found.body.update(self.problem_facts())
        for name, value in {**found.headers, **self._challenge(found.status, error)}.items():
            self.set_header(name, value)
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(found.text())

    def problem_facts(self) -> dict[str, Any]:
        """Return what a problem says besides, such as what had been done when it came."""
        return {}

    def _challenge(self, status: int, error: BaseException | None) -> dict[str, str]:
        """Return how to log in: with Basic where that is asked for; the API must not have browsers pop up a form."""
        if status != 401:
            return {}
        in_api = self.request.path.startswith(self.site.prefix + "/")
        if isinstance(error, BadCredentials) and not in_api:
            return {"WWW-Authenticate": challenge(self.site.settings.auth.realm)}
        return {"WWW-Authenticate": "Session"}

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log what failed. Tornado's own lines have the query in them, which may hold a token."""
        request = f"{self.request.method} {self.request.path}"
        if value is None or isinstance(value, ClientDisconnected | StreamClosedError):
            _log.info("%s: the client went away", request)
        elif isinstance(value, HTTPError):
            message = value.get_message()
            if message:
                _log.warning("%s %d: %s", request, value.status_code, message)
        elif answer_for(value) is not None:
            _log.info("%s: %s", request, value)
        else:
            _log.error("%s failed", request, exc_info=(typ, value, tb))


def error_of(kwargs: dict[str, Any]) -> BaseException | None:
    """Return the error that `send_error` and `write_error` are called for, if it is one."""
    error: BaseException | None = kwargs.get("exc_info", (None, None, None))[1]
    return error
