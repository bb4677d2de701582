"""A WebSocket as Tornado's handlers know it, over asyncio's transport and without a task of its own.

What happens to it comes as calls of its transport; from there to the handler everything keeps the order in which the
peer sent it: each message is handled before the next, and before the close that follows it. Pings alone do not wait.

No task or future is made for a message, unless the handler makes one or the peer is slow.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, Protocol, cast

from tornado.escape import json_encode, utf8
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketHandler, WebSocketProtocol

from wshttp.close_codes import NO_STATUS
from wshttp.engine.websocket import handshake
from wshttp.engine.websocket.closing import Close, Failure, write_close
from wshttp.engine.websocket.deflate import Deflate, DeflateLimits, Deflater, agree
from wshttp.engine.websocket.frames import (
    BINARY,
    CLOSE,
    COMPRESSED,
    FINAL,
    PING,
    TEXT,
    encode_control,
    encode_frame,
    encode_message,
)
from wshttp.engine.websocket.heartbeat import Heartbeat
from wshttp.engine.websocket.inbox import Inbox
from wshttp.engine.websocket.messages import PART, Event, MessageReader, Ping, Pong
from wshttp.engine.websocket.outlet import Outlet

EVENTS_PER_TURN: Final = 256
"""Messages, parts of messages and control frames that are read before everybody else on the loop has a turn."""

SIZE_PER_TURN: Final = 1024 * 1024
"""Bytes, or characters, of messages after which it is the others' turn, too: a few that were compressed can be that many."""

BACKLOG: Final = 1024 * 1024
"""Bytes that a peer does not take while it goes on sending, after which nothing more is read from it: what it sends
may be what makes handlers write."""

STALL: Final = 60.0
"""Seconds in which such a peer has to take something: as nothing is read from it, nobody would notice that it has gone."""

CLOSE_TIMEOUT: Final = 5.0
"""Seconds for which a peer may take its time to close, once we have (as Tornado 6.6)."""

LINGER: Final = 1.0
"""Seconds after a failure for which a peer may read our close frame, where it can't be told that nothing follows."""

_log = logging.getLogger(__name__)


class Ending(Protocol):
    """Who has a say before a socket ends by its peer's close frame, or since a rule was broken."""

    def unfinished(self) -> asyncio.Future[Any] | None:
        """Return what is done when messages from before are handled and answered: so long the end waits.

        It is for who returns it to bound the time. `None`: there is nothing to wait for.
        """

    def closing(self, code: int | None, reason: str | None) -> None:
        """Take note of the code and reason for which it closes now, before the connection is gone.

        It is not called after `close`.
        """


class NativeWebSocket(WebSocketProtocol):
    """One WebSocket, from its handshake to the end of its connection; a `Receiver` of the engine.

    `ping_timeout` is in seconds, `None` as long as `ping_interval`. `compression_options` are those of
    `WebSocketHandler.get_compression_options`; `window_bits`, 9 to 15, may be among them.
    """

    close_timeout = CLOSE_TIMEOUT

    def __init__(
        self,
        handler: WebSocketHandler,
        *,
        max_message_size: int,
        compression_options: dict[str, Any] | None = None,
        ping_interval: float | None = None,
        ping_timeout: float | None = None,
    ) -> None:
        super().__init__(cast(Any, handler))  # whatever takes what Tornado calls a delegate
        self.clock: Callable[[], float] = time.monotonic
        self.ending: Ending | None = None
        self._answering: asyncio.Future[Any] | None = None
        self.heard_at = 0.0
        """Seconds of `clock` at which bytes last came in."""
        self.listening_since: float | None = None
        """Seconds of `clock` since which it reads without a break; `None` while a handler keeps it from that."""
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self._limit = max_message_size
        self._compression_options = compression_options
        self._ping_interval = ping_interval or 0.0
        self._ping_timeout = self._ping_interval if ping_timeout is None else ping_timeout
        self._subprotocol: str | None = None
        self._transport: asyncio.Transport | None = None
        self.compresses = False
        """Whether permessage-deflate was agreed on, so that what `frame` makes is for this socket alone."""
        self._deflater: Deflater | None = None
        self._heartbeat: Heartbeat | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last: Close | Failure | None = None
        self._deaf = False
        self._opened = False
        self._resting = True
        """Whether what has come waits, for `open` at first."""
        self._backed_up = False
        self._stalled: asyncio.TimerHandle | None = None
        self._reading = True
        self._lost = False

    @classmethod
    def for_handler(cls, handler: WebSocketHandler) -> NativeWebSocket | None:
        """Return the socket of a handler; `None` for a version that is not spoken, which Tornado answers with 426.

        HTTP/1.0 has no upgrade (RFC 9110, section 7.8), so that nothing is spoken over it.
        """
        request = handler.request
        if request.headers.get("Sec-WebSocket-Version") != handshake.VERSION or request.version == "HTTP/1.0":
            return None
        return cls(
            handler,
            max_message_size=handler.max_message_size,
            compression_options=handler.get_compression_options(),
            ping_interval=handler.ping_interval,
            ping_timeout=handler.ping_timeout,
        )

    # --- the handshake --------------------------------------------------------------------------------

    async def accept_connection(self, handler: WebSocketHandler) -> None:
        """Answer the handshake and open; the socket then lives on without the request's task."""
        key = handler.request.headers.get("Sec-WebSocket-Key")
        if key is None or not handshake.is_key(key):
            handler.set_status(400)
            handler.finish("Missing/Invalid WebSocket headers")
            return
        deflate = self._agree(handler)
        self._answer(handler, key, deflate)
        try:
            self._begin(handler, deflate)
        except StreamClosedError:
            self._abort()  # it has gone before it was there
            return
        self.start_pinging()
        try:
            opening = handler.open(*handler.open_args, **handler.open_kwargs)
            if opening is not None:
                await opening
        except (Exception, asyncio.CancelledError):
            self.failed()
        else:
            self._opened = True
        self._inbox.context = contextvars.copy_context()  # with what `open` left in it
        self._resting = False
        self._inbox.open()

    def _agree(self, handler: WebSocketHandler) -> Deflate | None:
        self._subprotocol = self._choose(handler)
        if self._compression_options is None:
            return None
        offers = handler.request.headers.get_list("Sec-WebSocket-Extensions")
        return agree(offers, DeflateLimits.of(self._compression_options))

    def _choose(self, handler: WebSocketHandler) -> str | None:
        offered = handshake.subprotocols(handler.request.headers.get_list("Sec-WebSocket-Protocol"))
        chosen = handler.select_subprotocol(offered)
        if chosen and chosen not in offered:
            raise RuntimeError(f"select_subprotocol chose {chosen!r}, which the client does not offer")
        return chosen

    def _answer(self, handler: WebSocketHandler, key: str, deflate: Deflate | None) -> None:
        """Send the 101."""
        if self._subprotocol:
            handler.set_header("Sec-WebSocket-Protocol", self._subprotocol)
        if deflate is not None:
            handler.set_header("Sec-WebSocket-Extensions", deflate.answer)
        handler.clear_header("Content-Type")
        handler.set_status(101)
        handler.set_header("Upgrade", "websocket")
        handler.set_header("Connection", "Upgrade")
        handler.set_header("Sec-WebSocket-Accept", handshake.accept_value(key))
        handler.finish()

    def _begin(self, handler: WebSocketHandler, deflate: Deflate | None) -> None:
        """Take the connection over; what has been read of it already comes within `upgrade`."""
        self._deflater = None if deflate is None else Deflater(deflate)
        self.compresses = deflate is not None
        self._reader = MessageReader(self._limit, deflate)
        self._inbox = Inbox(self, contextvars.copy_context())
        self._loop = asyncio.get_running_loop()
        self.heard_at = self.listening_since = self.clock()
        for method in _NOT_FOR_WEBSOCKETS:
            setattr(handler, method, _not_supported)
        self._outlet = Outlet()
        transport: asyncio.Transport = handler.request.connection.upgrade(self)  # type: ignore[union-attr]
        self._outlet.attach(transport)
        self._transport = transport

    @property
    def selected_subprotocol(self) -> str | None:
        return self._subprotocol

    # --- what the transport says ----------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self.heard_at = self.clock()
        if self._deaf:
            return
        if self._resting or self._inbox.full:
            self._reader.feed(data)
            self._regulate()
        else:
            self._pump(data)

    def eof_received(self) -> None:
        """The transport closes itself, and says so: once the peer has taken what is left, or time is up."""
        self._outlet.flush()
        self._wait_for_close()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self.client_terminated = self.server_terminated = True
        if self._timer is not None:
            self._timer.cancel()
        self._stop_pinging()
        if self._transport is not None:
            self._outlet.lost()
            self._settle()

    def pause_writing(self) -> None:
        self._outlet.pause()

    def resume_writing(self) -> None:
        self._outlet.resume()
        if self._backed_up:
            self._backed_up = False
            self._stop_watching()
            self._regulate()

    # --- what has come --------------------------------------------------------------------------------

    def _pump(self, data: bytes = b"") -> None:
        """Make messages of the bytes that have come, as far as they may be made now; with `data`, some may."""
        reader, inbox = self._reader, self._inbox
        frames, events, room = reader.frames, EVENTS_PER_TURN, SIZE_PER_TURN
        try:
            while not (self._deaf or inbox.full):
                event = reader.next(data)
                if event is None:
                    break
                data = b""
                if isinstance(event, (str, bytes)):
                    inbox.put(event)
                    room -= len(event)
                elif event is not PART:
                    self._control(event)
                if not frames.more:
                    break
                events -= 1
                if events == 0 or room <= 0:
                    self._rest()
                    break
        except Failure as failure:
            self._end_with(failure)
        if inbox.busy or self._lost or self._last is not None or not self._reading or self._outlet.slow:
            self._settle()

    def _control(self, event: Event) -> None:
        if isinstance(event, Ping):
            if not self.server_terminated:
                self._outlet.pong(event.data)
            self._tell(self.handler.on_ping, event.data)
        elif isinstance(event, Pong):
            self._tell(self.handler.on_pong, event.data)
        elif isinstance(event, Close):
            self._end_with(event)

    def _tell(self, callback: Callable[[bytes], object], data: bytes) -> None:
        """Tell the handler of a control frame: at once, whatever messages wait."""
        if not self._lost:
            self._inbox.run(self._run_callback, callback, data)

    def _end_with(self, last: Close | Failure) -> None:
        """Read nothing after this; it takes effect after the messages before it."""
        self._last = last
        self._deaf = True

    def _rest(self) -> None:
        """Go on in the loop's next turn."""
        self._resting = True
        self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._resting = False
        self._pump()

    def caught_up(self) -> None:
        """The handlers have caught up."""
        if not self._resting:
            self._pump()

    def _settle(self) -> None:
        """See what follows from how far everything is."""
        if not self._inbox.busy and not self._resting:
            if self._last is not None and not self._is_answering():
                last, self._last = self._last, None
                self._end(last)
            if self._lost:
                self._report()
        self._regulate()

    def _is_answering(self) -> bool:
        """Whether answers may still go out to what came before the end."""
        if self._lost or self.server_terminated or self.ending is None:
            return False
        if self._answering is None:
            self._answering = self.ending.unfinished()
            if self._answering is not None:
                self._answering.add_done_callback(self._answered)
        return self._answering is not None and not self._answering.done()

    def _answered(self, _: asyncio.Future[Any]) -> None:
        if self._transport is not None:
            self._settle()

    def _regulate(self) -> None:
        """Read from the peer, or don't: while messages wait for a handler, or answers for the peer."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        inbox = self._inbox
        held_up = self._resting or inbox.holds or (inbox.busy and self._deaf)
        if not self._backed_up and self._outlet.unsent > BACKLOG:
            self._backed_up = True
            self._watch()
        reads = not held_up and not self._backed_up
        if reads is self._reading:
            return
        self._reading = reads
        if reads:
            transport.resume_reading()
        else:
            transport.pause_reading()
        self.listening_since = None if held_up else self.clock()

    def _watch(self) -> None:
        """See whether a peer that is not read takes something meanwhile."""
        self._stalled = self._loop.call_later(STALL, self._look, self._outlet.in_transport)

    def _look(self, before: int) -> None:
        if self._transport is not None and self._outlet.in_transport == before:
            self._abort()
        else:
            self._watch()

    def _stop_watching(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # --- the handler ----------------------------------------------------------------------------------

    def failed(self) -> None:
        """Log the error that is being handled, and cut the connection: who knows what the handler missed."""
        self.handler.log_exception(*sys.exc_info())
        self._abort()

    def _report(self) -> None:
        """Tell the handler that it is over: the last thing that happens. One that has not opened is not told (as Tornado)."""
        self._deaf = True
        self._transport = None
        inbox = self._inbox
        handler = self.handler
        del self._inbox, self.handler  # they refer to us: what is over shall not wait for the garbage collector
        self.ending = None
        if not self._opened:
            return
        try:
            inbox.run(handler.on_ws_connection_close, self.close_code, self.close_reason)
        except Exception:
            handler.log_exception(*sys.exc_info())

    # --- sending --------------------------------------------------------------------------------------

    @property
    def unsent(self) -> int:
        """Bytes that the peer is slow to take."""
        return self._outlet.unsent

    def frame(self, message: str | bytes) -> bytes:
        """Return the frame of a whole message: a compressed one has to be sent, and before any other."""
        if self._deflater is None:
            return encode_message(message)
        kind = TEXT if isinstance(message, str) else BINARY
        return self._data_frame(kind, utf8(message))

    def send(self, frame: bytes) -> asyncio.Future[None] | None:
        """Send a frame that was encoded before. What is returned is done when it is on its way; `None`: it is.

        Raises `WebSocketClosedError`.
        """
        if self.server_terminated:
            raise WebSocketClosedError
        return self._outlet.write(frame)

    def write_message(self, message: str | bytes | dict[str, Any], binary: bool = False) -> asyncio.Future[None]:
        """Send a message: Tornado's `write_message`, with its rules; the future is done when there is room for more."""
        payload = utf8(json_encode(message) if isinstance(message, dict) else message)
        frame = self._data_frame(BINARY if binary else TEXT, payload)
        return self.send(frame) or self._outlet.done()

    def _data_frame(self, kind: int, payload: bytes) -> bytes:
        if self._deflater is None:
            return encode_frame(FINAL | kind, payload)
        return encode_frame(FINAL | COMPRESSED | kind, self._deflater.deflate(payload))

    def write_ping(self, data: bytes) -> None:
        """Send a ping. Raises `ValueError` for more than 125 bytes of data."""
        ping = encode_control(PING, data)
        if not self.is_closing():
            self._outlet.write(ping)

    def set_nodelay(self, x: bool) -> None:
        """Do nothing: asyncio's transports send at once what is small (TCP_NODELAY)."""

    def start_pinging(self) -> None:
        """Ping from now on, where the handler has an interval for it."""
        if self._heartbeat is None and self._ping_interval > 0:
            self._heartbeat = Heartbeat(self, self._ping_interval, self._ping_timeout, self._loop)

    def _stop_pinging(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None

    # --- the pulse ------------------------------------------------------------------------------------

    def now(self) -> float:
        return self.clock()

    def give_up(self) -> None:
        """Close on a peer that does not answer pings: with Tornado's words."""
        self.close(reason="ping timed out")

    # --- closing --------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Tell whether either side has begun to close, or the connection is gone."""
        return (
            self.server_terminated
            or self.client_terminated
            or (self._transport is not None and self._transport.is_closing())
        )

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Send a close frame, once, and wait for the peer's as long as `close_timeout`.

        Raises `ValueError` for a code or reason that no close frame may carry.
        """
        farewell = encode_control(CLOSE, write_close(code, reason))
        if not self.server_terminated:
            self.server_terminated = True
            self._say(farewell)
        if self.client_terminated:
            self._hang_up()
        else:
            self._wait_for_close()

    def _say(self, farewell: bytes) -> None:
        """Send the last frame that there is."""
        self._stop_pinging()
        if self._transport is not None:
            self._outlet.end(farewell)

    def _wait_for_close(self) -> None:
        if self._timer is None and self._transport is not None and not self._lost:
            self._timer = self._loop.call_later(self.close_timeout, self._abort)

    def _hang_up(self) -> None:
        """Close the connection once the peer has taken what is left, or time is up."""
        if self._transport is not None:
            self._wait_for_close()
            self._transport.close()

    def _end(self, last: Close | Failure) -> None:
        """Do what the peer's last frame asks for."""
        if self._lost and isinstance(last, Failure):
            return
        if isinstance(last, Close):
            self.client_terminated = True
            self.close_code, self.close_reason = last.code, last.reason or None
            self._announce(NO_STATUS if last.code is None else last.code, last.reason)
            self.close(last.code)
        else:
            _log.debug("closing for %s", last)
            self._announce(last.code, last.reason)
            self.close(last.code, last.reason)
            self._stop_talking()

    def _announce(self, code: int, reason: str) -> None:
        if self.ending is not None and not self.server_terminated:
            self.ending.closing(code, reason)

    def _stop_talking(self) -> None:
        """After a failure: let the peer read the close frame. To close with input unread would reset the connection.

        The peer's own close frame can't be told from what else it sends: its end is waited for.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        else:  # TLS has no half of an end
            self._loop.call_later(LINGER, transport.close)

    def abort(self) -> None:
        """Cut the connection."""
        self._abort()

    def _abort(self) -> None:
        """Cut the connection; under the name by which Tornado calls it."""
        self.client_terminated = self.server_terminated = True
        self._deaf = True
        self._last = None
        self._stop_pinging()
        if self._transport is not None:
            self._inbox.clear()
            self._transport.abort()

    # --- what a client would need ---------------------------------------------------------------------

    def _process_server_headers(self, key: str | bytes, headers: Any) -> NoReturn:
        raise NotImplementedError("this is the side of a server")

    async def _receive_frame_loop(self) -> NoReturn:
        raise NotImplementedError("frames come as calls")


_NOT_FOR_WEBSOCKETS: Final = ("write", "redirect", "set_header", "set_cookie", "set_status", "flush", "finish")
"""Methods of a handler that have no meaning after the 101; Tornado disables the same."""


def _not_supported(*args: Any, **kwargs: Any) -> NoReturn:
    raise RuntimeError("Method not supported for Web Sockets")
