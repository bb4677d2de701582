"""How a handler, and a function endpoint, gets at its client's session."""

from __future__ import annotations

from wshttp.errors import UsageError
from wshttp.sessions.session import Session
from wshttp.web.entrance import Entrance
from wshttp.web.visit import Visit


class SessionAccess(Entrance):
    """The session of who has come in."""

    wants_session = True
    _announced = False
    """The answer's header has been sent."""

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
