"""What happens, as server-sent events (the HTML standard's `text/event-stream`)."""

from __future__ import annotations

import asyncio
from typing import Final

from tornado.iostream import StreamClosedError

from wshttp.realtime.format import to_json
from wshttp.sessions.data import Json
from wshttp.sessions.happenings import Happening
from wshttp.web.admin.access import AdminCall
from wshttp.web.admin.views import moment
from wshttp.web.admin.watchers import Watcher
from wshttp.web.event_stream import HEARTBEAT, NOTHING, begin, framed

RETRY: Final = 3000
"""Milliseconds after which a browser comes back."""


def event_of(happening: Happening) -> str:
    """Form the event for what happened."""
    data: dict[str, Json] = {
        "at": moment(happening.at),
        "ref": happening.ref,
        "user": happening.user,
        "ip": happening.remote_ip,
    }
    details: dict[str, Json] = {
        "reason": happening.reason,
        "connection": happening.connection,
        "code": happening.code,
    }
    data |= {name: value for name, value in details.items() if value is not None}
    return framed(to_json(data), happening.what)


class Events(AdminCall):
    """`GET /admin/api/events`."""

    is_stream = True

    async def get(self) -> None:
        self.parameters()
        with self.desk.watchers.watching() as self._watcher:
            begin(self)
            try:
                await self._stream(self._watcher)
            except StreamClosedError:
                pass  # the client left

    def head(self, *args: str, **kwargs: str) -> None:
        """Answer without the stream."""
        self.parameters()
        begin(self)

    def on_connection_close(self) -> None:
        super().on_connection_close()
        watcher: Watcher | None = getattr(self, "_watcher", None)
        if watcher is not None:
            watcher.close()

    async def _stream(self, watcher: Watcher) -> None:
        hub = self.site.hub
        hello = framed(to_json({"node": hub.elsewhere.node, "at": moment(hub.clock.time())}), "hello")
        await self._send(watcher, f"retry: {RETRY}\n{hello}")
        while not watcher.is_closed:
            news = await watcher.next(HEARTBEAT)
            if not await self.may_still():
                return
            if news:
                await self._send(watcher, "".join(map(event_of, news)))
            elif not watcher.is_closed:
                await self._send(watcher, NOTHING)
        if watcher.dropped:
            self.write(framed(to_json({"at": moment(hub.clock.time())}), "dropped"))

    async def _send(self, watcher: Watcher, text: str) -> None:
        """Send, and wait until it has gone, or until nobody waits for it any more: a slow client is not waited for."""
        self.write(text)
        sending, closing = asyncio.ensure_future(self.flush()), asyncio.ensure_future(watcher.closed())
        try:
            await asyncio.wait((sending, closing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if sending.done():
            sending.result()
        else:
            sending.add_done_callback(_look_at)


def _look_at(sending: asyncio.Future[None]) -> None:
    """Take note of a failed write, so that it is not reported as forgotten: the client has left."""
    if not sending.cancelled():
        sending.exception()
