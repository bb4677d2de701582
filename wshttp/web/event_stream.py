"""Server-sent events as a transport: what a connection sends goes down an answer that does not end.

The format is that of the HTML standard, section 9.2: a `data:` line and an empty one per message, and lines that begin
with a colon, which mean nothing, to see whether anybody is there.
Nothing comes up this way. What the peer has taken stands for its having been heard.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from tornado.web import RequestHandler

from wshttp.errors import ConnectionClosed
from wshttp.realtime.format import Message, envelope
from wshttp.realtime.message_types import ToClient
from wshttp.realtime.parcel import Parcel

CONTENT_TYPE: Final = "text/event-stream"

HEARTBEAT: Final = 15.0
"""Seconds between lines that mean nothing: proxies let go of what is silent for longer (HTML standard, 9.2.7)."""

LAST_WORDS: Final = 5.0
"""Seconds in which a peer may take what is left, once the stream is closed."""

NOTHING: Final = ":\n\n"
"""A line that means nothing, and shows whether anybody is there."""


def begin(handler: RequestHandler) -> None:
    """Give an answer the headers of a stream."""
    handler.set_header("Content-Type", CONTENT_TYPE)
    handler.set_header("Cache-Control", "no-store")
    handler.set_header("X-Accel-Buffering", "no")  # nginx would keep it to itself until there is a buffer full


def framed(data: str, event: str | None = None) -> str:
    """Form an event; `data` is JSON text, which has no line breaks, and without a name the event is a `message`."""
    name = "" if event is None else f"event: {event}\n"
    return f"{name}data: {data}\n\n"


class Answer(Protocol):
    """An answer that is being sent; its headers are."""

    def write_part(self, part: str) -> Future[None]:
        """Send a part; not before the one before it has gone out."""

    def end(self) -> None:
        """Send the end of the answer."""

    def cut(self) -> None:
        """Close the connection in the middle of the answer."""


@dataclass(slots=True, eq=False)
class _Part:
    """Text that is to go out, how many bytes of messages are in it, and who waits for it."""

    text: str
    size: int
    written: Future[None]


class EventStream:
    """The transport of a connection whose peer listens to server-sent events."""

    def __init__(self, answer: Answer, now: Callable[[], float]) -> None:
        self.unsent = 0
        self.heard_at = now()
        self.over: Future[None] = asyncio.get_running_loop().create_future()
        """Done when the answer has been sent to its end, or the peer is gone."""
        self._answer = answer
        self._now = now
        self._waiting: list[_Part] = []
        self._in_hand: list[_Part] = []
        self._is_writing = False
        self._is_closing = False
        self._timer = asyncio.get_running_loop().call_later(HEARTBEAT, self._beat)

    # --- transport ----------------------------------------------------------------------------------

    def write(self, parcel: Parcel) -> Future[None]:
        if self._is_closing or self.over.done():
            raise ConnectionClosed(None, None)
        return self._put(_event(parcel.message), parcel.size)

    def ping(self) -> None:
        if not self._is_closing and not self.over.done() and not self._is_writing:
            self._put(NOTHING, 0).add_done_callback(_retrieve)

    def close(self, code: int, reason: str) -> None:
        if self._is_closing or self.over.done():
            return
        last = _event(envelope(ToClient.CLOSED, code=code, reason=reason))
        self._put(last, 0).add_done_callback(_retrieve)
        self._is_closing = True
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(LAST_WORDS, self.abort)

    def abort(self) -> None:
        if not self.over.done():
            self.gone()
            self._answer.cut()

    def gone(self) -> None:
        """Take note that nobody listens any more."""
        if self.over.done():
            return
        self._timer.cancel()
        self.over.set_result(None)
        for part in self._in_hand + self._waiting:
            if not part.written.done():
                part.written.set_exception(ConnectionClosed(None, None))
        self._in_hand, self._waiting, self.unsent = [], [], 0

    # --- how it goes out ----------------------------------------------------------------------------

    def _beat(self) -> None:
        self.ping()
        self._timer = asyncio.get_running_loop().call_later(HEARTBEAT, self._beat)

    def _put(self, text: str, size: int) -> Future[None]:
        loop = asyncio.get_running_loop()
        part = _Part(text, size, loop.create_future())
        self._waiting.append(part)
        self.unsent += size
        if not self._is_writing:
            self._is_writing = True
            loop.call_soon(self._write)  # what is sent in one turn of the loop goes out together
        return part.written

    def _write(self) -> None:
        if self.over.done():
            return
        self._in_hand, self._waiting = self._waiting, []
        write = self._answer.write_part("".join(part.text for part in self._in_hand))
        write.add_done_callback(self._written)

    def _written(self, write: Future[None]) -> None:
        if write.cancelled() or write.exception() is not None:
            self.gone()
        if self.over.done():
            return
        self.heard_at = self._now()
        for part in self._in_hand:
            self.unsent -= part.size
            if not part.written.done():
                part.written.set_result(None)
        self._in_hand = []
        if self._waiting:
            self._write()
        else:
            self._is_writing = False
            if self._is_closing:
                self._end()

    def _end(self) -> None:
        self._timer.cancel()
        self.over.set_result(None)
        self._answer.end()


def _event(message: Message) -> str:
    return framed(message if isinstance(message, str) else message.decode("utf-8", "replace"))


def _retrieve(written: Future[None]) -> None:
    if not written.cancelled():
        written.exception()
