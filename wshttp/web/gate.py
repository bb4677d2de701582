"""The gate: what stands before every handler of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from tornado.web import HTTPError, RequestHandler

from wshttp.eager import Eager
from wshttp.web.entrance import Entrance
from wshttp.web.methods import Methods
from wshttp.web.site_handler import SiteHandler


class Gate(SiteHandler, Entrance):
    """A handler that lets requests in, or not.

    Stands before every handler of a server, as a base class or mixed in by `gated`.
    """

    def _execute(self, *arguments: Any, **by_name: Any) -> Awaitable[None]:  # type: ignore[override]  # it is awaited by none
        """Deal with the request, without a task where it never waits.

        Tornado (6.6) has no public name for what it makes a task of.
        """
        executing = super()._execute(*arguments, **by_name)
        eager: Eager | None = getattr(self.application, "eager", None)
        if eager is None or self.is_handshake:
            return executing
        eager.run(executing)
        begun = asyncio.get_running_loop().create_future()
        begun.set_result(None)
        return begun

    async def prepare(self) -> None:
        await self.enter_once()
        result = super().prepare()
        if result is not None:
            await result

    def on_finish(self) -> None:
        if self.visit is not None:
            self.visit.patience.end()
        super().on_finish()


def gated(handler: type[RequestHandler]) -> type[RequestHandler]:
    """Return a handler class with the gate before it, also where its own `prepare` forgets to call ours."""
    bases = (_First, handler) if issubclass(handler, Gate) else (Gate, handler, Methods)
    return type(handler.__name__, bases, {})


class _First:
    """Has a handler pass its gate before it does anything of its own."""

    async def prepare(self) -> None:
        await self.enter_once()  # type: ignore[attr-defined]  # of the `Gate` that it is mixed into
        result = super().prepare()  # type: ignore[misc]  # likewise
        if result is not None:
            await result


class Nothing(Gate):
    """What no route took."""

    async def prepare(self) -> None:
        await super().prepare()
        if not self._finished:
            raise HTTPError(404)
