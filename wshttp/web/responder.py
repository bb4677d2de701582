"""A handler that answers with what a function returned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from wshttp.web.handler import SessionHandler
from wshttp.web.paths import decoded_path
from wshttp.web.response import Response


class Responder(SessionHandler):
    """Turn results of functions into answers."""

    @property
    def decoded_path(self) -> str:
        """The request's path, decoded once and normalised."""
        return decoded_path(self.request.path)

    def compute_etag(self) -> str | None:
        """Leave Tornado's ETag away: it costs a hash of every answer."""
        return None

    async def respond(self, result: object) -> None:
        """Answer with what an endpoint returned; see `Response.of`."""
        response = Response.of(result)
        self.set_status(response.status)
        if response.body is None:
            self.clear_header("Content-Type")
        else:
            self.set_header("Content-Type", response.kind)
        for name, value in response.headers.items():
            self.set_header(name, value)
        if hasattr(response.body, "__aiter__"):
            await self._respond_in_parts(cast("AsyncIterator[str | bytes]", response.body))
        else:
            self.finish(response.content() or None)

    async def _respond_in_parts(self, parts: AsyncIterator[str | bytes]) -> None:
        """Send parts as they come, each when the client has taken the one before."""
        if self.request.method != "HEAD":
            async for part in parts:
                self.write(part)
                await self.flush()
        self.finish()
