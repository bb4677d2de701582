"""The gate: what stands before every handler of a server."""

from __future__ import annotations

from typing import ClassVar

from tornado.web import HTTPError, RequestHandler

from wshttp.web.entrance import enter
from wshttp.web.methods import Methods
from wshttp.web.site_handler import SiteHandler
from wshttp.web.visit import Visit


class Gate(SiteHandler):
    """A handler that lets requests in, or not; see `Guest` for what it may be asked.

    Stands before every handler of a server, as a base class or mixed in by `gated`.
    """

    wants_session: ClassVar[bool] = False
    verifies_basic: ClassVar[bool] = True
    begins_anew: ClassVar[bool] = False
    is_handshake: ClassVar[bool] = False
    stays_open: ClassVar[bool] = False
    is_stream: ClassVar[bool] = False
    """Whether its answer goes on for as long as somebody listens: how long that was says nothing of the server."""
    is_protected: bool = False
    visit: Visit | None = None
    _entering = False

    async def enter(self) -> None:
        """Check what has to be checked before anything is done. Raises the errors that answer the request."""
        entering = enter(self)
        if entering is not None:
            await entering

    def touches(self) -> bool:
        """Whether this request counts as activity."""
        return True

    def starts_session(self) -> bool:
        """Whether this request starts a session where there is none."""
        return self.site.settings.session.auto_start

    async def prepare(self) -> None:
        if not self._entering:
            self._entering = True
            await self.enter()
        result = super().prepare()
        if result is not None:
            await result

    def on_finish(self) -> None:
        if self.visit is not None:
            self.visit.patience.end()
        super().on_finish()


def gated(handler: type[RequestHandler]) -> type[RequestHandler]:
    """Return a handler class with the gate before it, also where its own `prepare` forgets to call ours."""
    if not issubclass(handler, Gate):
        bases: tuple[type, ...] = (Gate, handler, Methods)
    elif handler.prepare is Gate.prepare:
        return handler
    else:
        bases = (_First, handler)
    return type(handler.__name__, bases, {})


class _First:
    """Has a handler pass its gate before it does anything of its own."""

    _entering = False

    async def prepare(self) -> None:
        if not self._entering:
            self._entering = True
            await self.enter()  # type: ignore[attr-defined]  # of the `Gate` that it is mixed into
        result = super().prepare()  # type: ignore[misc]  # likewise
        if result is not None:
            await result


class Nothing(Gate):
    """What no route took."""

    async def prepare(self) -> None:
        await super().prepare()
        if not self._finished:
            raise HTTPError(404)
