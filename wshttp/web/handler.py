"""Base classes for Tornado's own style: handlers that know their session, and commit it before they answer."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from typing import Any, ClassVar

from wshttp.errors import UsageError, answer_for
from wshttp.sessions.session import Session
from wshttp.web.gate import Gate
from wshttp.web.site_handler import error_of
from wshttp.web.visit import Visit

_log = logging.getLogger("wshttp.web")


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

    _announced = False

    def starts_session(self) -> bool:
        if self.request.method == "OPTIONS" or self.request.method not in self.allowed_methods():
            return False
        return super().starts_session() if self.auto_start is None else self.auto_start

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
        visit = self._visit()
        if self._announced and visit.session is None:
            raise UsageError("start the session before the first flush: its cookie goes with the headers")
        return await visit.start()

    async def end_session(self) -> None:
        """End the session, with reason `logout`; its sockets close."""
        await self._visit().end()

    def _visit(self) -> Visit:
        if self.visit is None:
            raise UsageError(
                f"{type(self).__name__}.prepare must call `await super().prepare()` before the session is used"
            )
        return self.visit

    # --- committing before the answer -----------------------------------------------------------------

    def flush(self, include_footers: bool = False) -> Future[None]:
        if not self._announced and self.visit is not None:
            self._announced = True
            for name, value in self.visit.headers():
                (self.add_header if name == "Set-Cookie" else self.set_header)(name, value)
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
        self._committing = asyncio.ensure_future(self._commit_and_finish(self.visit))
        return self._committing

    async def _commit_and_finish(self, visit: Visit) -> None:
        try:
            await visit.unit.commit()
        except Exception as error:
            self._finished = False
            visit.unit.rollback()
            self._fail_to_commit(error)
        else:
            self._finished = False
            super().finish()

    def _fail_to_commit(self, error: Exception) -> None:
        if self._announced:
            _log.info("%s: cut short, since %s", self.request.path, error)
            self.cut()
        else:
            self.log_exception(type(error), error, error.__traceback__)
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
