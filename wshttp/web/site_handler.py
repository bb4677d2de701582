"""What all our answers have in common: their headers, and what errors look like, to the client and in the log."""

from __future__ import annotations

from typing import Any

from tornado.web import RequestHandler

from wshttp.errors import answer_for
from wshttp.header_fields import headers_of
from wshttp.web.answer import HTML, default_fields
from wshttp.web.failures import log_failure
from wshttp.web.methods import Methods
from wshttp.web.problems import CONTENT_TYPE, challenge_of, problem
from wshttp.web.site import Site, site_of


class SiteHandler(Methods):
    """A handler whose errors become `application/problem+json`."""

    @property
    def site(self) -> Site:
        """What this application's handlers share."""
        return site_of(self)

    def clear(self) -> None:
        """Begin an answer, with what ours have in common.

        This is all that Tornado's does (6.6), which writes out the time of day for each request, and takes longer for
        these few fields than our parser for the whole request.
        """
        self._headers = headers_of(default_fields(HTML))
        self.set_default_headers()
        self._write_buffer: list[bytes] = []
        self.set_status(200)

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
        """Return how to log in."""
        return challenge_of(self.site, self.request.path, status, error)

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log what failed; see `web.failures`."""
        log_failure(self.request, value)


def error_of(kwargs: dict[str, Any]) -> BaseException | None:
    """Return the error that `send_error` and `write_error` are called for, if it is one."""
    error: BaseException | None = kwargs.get("exc_info", (None, None, None))[1]
    return error
