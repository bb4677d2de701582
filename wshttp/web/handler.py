"""Base classes for Tornado's own style: handlers that know their session, and commit it before they answer."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Coroutine
from typing import Any, ClassVar

from wshttp.eager import Eager
from wshttp.errors import UsageError, answer_for
from wshttp.header_fields import fields_of, headers_of
from wshttp.sessions.session import Session
from wshttp.web.failures import log_cut
from wshttp.web.gate import Gate
from wshttp.web.site_handler import error_of
from wshttp.web.visit import Visit


class SessionHandler(Gate):
    """A `RequestHandler` with a session, for any `tornado.web.Application` (see `wshttp.attach`).

        class Visits(SessionHandler):
            async def get(self):
                self.write({"visits": await self.session.increment("visits")})

    What a request changes in its session is committed before the last byte of its answer is sent: with an ordinary
    answer, a redirect, an `HTTPError`, at the end of a streamed one. A handler that fails with a 500 drops it.
    If the session ended meanwhile by another's hand, the answer is 401 `session-ended`, or a cut stream.
    What it changes after `finish()` it commits itself: `await self.session.commit()`.
    A subclass that overrides `prepare` or `finish` calls ours.
    """

    wants_session = True
    auto_start: ClassVar[bool | None] = None
    """Whether to start a session where there is none; `None`: as `session.auto_start` says."""

    # --- the session ----------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The client's session. Raises `SessionEnded` (401) where it has none."""
        return self._visit().require_session()

    @property
    def has_session(self) -> bool:
        """Whether the client has a session."""
        return self._visit().session is not None

    def get_current_user(self) -> str | None:
        """Return who is logged in: what Tornado calls `current_user`."""
        return self._visit().user

    async def start_session(self) -> Session:
        """Start a session, or return the one there is. Before the first byte of the answer: it may carry a cookie."""
        return await self._visit().start()

    async def end_session(self) -> None:
        """End the session, with reason `logout`; its sockets close."""
        await self._visit().end()

    def _visit(self) -> Visit:
        if self.visit is None:
            raise UsageError(
                f"{type(self).__name__}.prepare must call `await super().prepare()` before the session is used"
            )
        return self.visit

    def starts_session(self) -> bool:
        if self.request.method == "OPTIONS" or self.request.method not in self.allowed_methods():
            return False
        return super().starts_session() if self.auto_start is None else self.auto_start

    def compute_etag(self) -> str | None:
        """Leave Tornado's ETag away: it hashes every answer, and what a session has a part in is seldom the same twice."""
        return None

    def check_etag_header(self) -> bool:
        """Look for the tag in the client's list only where the answer has one, which Tornado (6.6) finds out last."""
        return "Etag" in self._headers and super().check_etag_header()

    # --- committing before the answer -----------------------------------------------------------------

    @property
    def _announced(self) -> bool:
        """The answer's header has been sent, with what it says of the session."""
        return self.visit is not None and self.visit.announced

    def flush(self, include_footers: bool = False) -> Future[None]:
        if not self._announced and self.visit is not None:
            self.visit.announced = True
            fields = fields_of(self._headers)
            self.visit.announce(fields)
            self._headers = headers_of(fields)
        return super().flush(include_footers)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        """Commit, then send the rest of the answer; without changes it is sent at once."""
        if self._finished or self.visit is None or not self.visit.unit.dirty:
            return super().finish(chunk)
        if chunk is not None:
            self.write(chunk)
        # For Tornado and for the handler the answer is complete from here on: nothing more may be written, and an
        # error is only logged. Tornado has no public name for this (6.6).
        self._finished = True
        self._committing = self._run_at_once(self._commit_and_finish(self.visit))
        return self._committing

    def _run_at_once(self, errand: Coroutine[Any, Any, None]) -> Future[None]:
        """Run a coroutine, without a task where it never waits; the future is done when it is."""
        eager: Eager | None = getattr(self.application, "eager", None)
        if eager is None:
            return asyncio.ensure_future(errand)
        task = eager.run(errand)
        if task is not None:
            return task
        done: Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def _commit_and_finish(self, visit: Visit) -> None:
        try:
            try:
                await visit.unit.commit()
            finally:
                self._finished = False
            super().finish()
        except Exception as error:
            visit.unit.rollback()
            self._fail_to_finish(error)

    def _fail_to_finish(self, error: Exception) -> None:
        if self._announced and not self._finished:
            log_cut(self.request, error)
            self.cut()
            return
        self.log_exception(type(error), error, error.__traceback__)
        if not self._finished:
            self.send_error(500, exc_info=(type(error), error, error.__traceback__))

    def cut(self) -> None:
        """Close the connection in the middle of the answer: the only way to take back what has been sent."""
        self.detach().close()

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = error_of(kwargs)
        answer = answer_for(error) if error is not None else None
        if self.visit is not None and (answer.status if answer else status_code) >= 500:
            self.visit.unit.rollback()
        if self._announced and not self._finished:
            self.cut()
            return
        super().send_error(status_code, **kwargs)
