"""A handler that answers with what a function returned."""

from __future__ import annotations

from wshttp.web.handler import SessionHandler
from wshttp.web.parts import send_each
from wshttp.web.response import Response


class ResultHandler(SessionHandler):
    """Turn results of functions into answers."""

    async def respond(self, result: object) -> None:
        """Answer with what an endpoint returned; see `Response.of`."""
        response = Response.of(result)
        await self.begin(response)
        self.finish(response.content() or None)

    async def begin(self, response: Response) -> None:
        """Prepare the answer, and send what is streamed of it; `finish` sends the rest."""
        self.set_status(response.status)
        if response.body is None:
            self.clear_header("Content-Type")
        else:
            self.set_header("Content-Type", response.kind)
        for name, value in response.headers.items():
            self.set_header(name, value)
        if response.is_streamed:
            await self._send_parts(response)

    async def _send_parts(self, response: Response) -> None:
        """Send parts as they come, each when the client has taken the one before."""
        if self.request.method == "HEAD":
            await self.flush()  # before `finish` takes the length for 0
            return
        await send_each(response, self._send_part)

    async def _send_part(self, part: str | bytes) -> None:
        self.write(part)
        await self.flush()
