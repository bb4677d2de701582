"""HTTP/1 on one connection: requests one after the other, each answered before the next is looked at.

The parser says what the bytes are, the application (Tornado's delegate) what is to be done, an `HttpAnswer` what goes
back. What is here is the order of things: who waits for whom, and how a connection ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import select
from asyncio import Future
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Final, cast

from tornado.httputil import HTTPInputError, HTTPMessageDelegate
from tornado.iostream import StreamClosedError
from tornado.log import app_log, gen_log

from wshttp.engine.file_sending import RunInThread
from wshttp.engine.handover import Handover
from wshttp.engine.http_answer import HttpAnswer
from wshttp.engine.http_head import Head
from wshttp.engine.http_output import HttpOutput
from wshttp.engine.http_parser import HttpParser
from wshttp.engine.http_serving import HttpServing
from wshttp.engine.limits import Timeout
from wshttp.engine.link import Link
from wshttp.engine.receiver import Receiver
from wshttp.engine.refusals import last_answer
from wshttp.engine.refused import Refused
from wshttp.engine.sudden_end import reset_on_close

READ_AHEAD: Final = 64 * 1024
"""Bytes that may wait for the application before the client has to wait; one read may bring more."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_MALFORMED: Final = (400, 413, 505)
"""What Tornado logs as such (6.6); of the rest it says nothing, or says it elsewhere."""

_HUNG_UP: Final = sum(getattr(select, name, 0) for name in ("POLLRDHUP", "POLLHUP", "POLLERR"))
"""What a socket says whose peer has gone, though what it sent before has not been read; 0 where there is no `poll`."""

log: Final = logging.getLogger(__name__)


class State(Enum):
    """What a connection waits for."""

    HEAD = "a request"
    BEGUN = "the application, to look at the header and to want the body"
    BODY = "the body"
    ANSWER = "the answer; the request is complete"
    OVER = "nothing: no more HTTP is spoken"


class HttpProtocol(asyncio.Protocol):
    """One connection. Nothing that happens in the application gets out of it."""

    __slots__ = (
        "_answer",
        "_body_timer",
        "_context",
        "_delegate",
        "_ends_openly",
        "_is_pumping",
        "_link",
        "_owes_continue",
        "_parser",
        "_reading_is_paused",
        "_server",
        "_state",
        "_waiting",
        "first_read_at",
        "last_read_at",
        "last_sent_at",
        "output",
        "received",
        "transport",
    )

    transport: asyncio.Transport
    output: HttpOutput
    _context: contextvars.Context

    def __init__(self, server: HttpServing, link: Link) -> None:
        self._server: Final = server
        self._link: Final = link
        self._parser = HttpParser()
        self._state = State.HEAD
        self._is_pumping = False
        self._waiting: Future[object] | None = None
        self._answer: HttpAnswer | None = None
        self._delegate: HTTPMessageDelegate | None = None
        self._owes_continue = False
        self._body_timer: asyncio.TimerHandle | None = None
        self._reading_is_paused = False
        self._ends_openly = False
        self.received = 0
        self.first_read_at: float | None = None
        self.last_read_at = self.last_sent_at = server.now()

    # --- the transport --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.output = HttpOutput(self.transport, self._server.nothing_to_wait_for)
        self._context = contextvars.copy_context()
        self._link.carry(self)
        if self._link.closed:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        now = self._server.now()
        self.received += len(data)
        self.last_read_at = now
        if self.first_read_at is None:
            self.first_read_at = now
        if self._state is not State.OVER:
            self._parser.buffer.append(data)
            self._pump()

    def eof_received(self) -> None:
        """Nothing more comes: the transport closes, which is what Tornado's streams do, too."""

    def pause_writing(self) -> None:
        self.output.pause()

    def resume_writing(self) -> None:
        self.output.resume()
        self._pump()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self._link)
        self.output.fail(error)
        self._drop_request()

    # --- what the server asks of any stream (`link.LinkStream`) ---------------------------------

    @property
    def unsent(self) -> int:
        """Bytes not taken by the kernel yet."""
        return self.output.unsent

    def look(self) -> None:
        if self.output.has_moved():
            self.last_sent_at = self._server.now()
        if self._state is State.ANSWER and self._reading_is_paused and self._has_hung_up():
            self.close()

    def _has_hung_up(self) -> bool:
        if not _HUNG_UP or self.output.closing:
            return False
        poll = select.poll()
        poll.register(self.output.socket, _HUNG_UP)
        return bool(poll.poll(0))

    def now(self) -> float:
        return self._server.now()

    def reading(self) -> bool:
        return self._waiting is None

    def end(self) -> None:
        self._state = State.OVER
        self.output.ended = True
        self.transport.close()

    def close(self) -> None:
        if self._ends_openly and (self._state is not State.OVER or self.unsent):
            self._reset()
            return
        self.transport.abort()
        self._server.forget(self._link)

    def expire(self, which: Timeout) -> None:
        """Tell who is too slow with a request, and close."""
        if which == "write":
            self._reset()
        elif which == "idle" or not (self._parser.buffer or self._state is State.BODY):
            self.close()  # it has asked for nothing, and an answer could be taken for that to its next request
        else:
            self._refuse(Refused(408, f"the {which} of the request did not come in time"))

    def _reset(self) -> None:
        """Close now, and have the kernel drop what it could not send yet."""
        reset_on_close(self.transport.get_extra_info("socket"))
        self.transport.abort()
        self._server.forget(self._link)

    # --- the request ----------------------------------------------------------------------------

    def _pump(self, first: Callable[[], None] | None = None) -> None:
        """Go on with what has been read, until something has to be waited for; `first` is what was waited for."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            if first is not None:
                first()
            more = True
            while more and self._waiting is None:
                more = self._look_for_head() if self._state is State.HEAD else self._look_for_body()
        except Exception as error:
            self._fail(error)
        finally:
            self._is_pumping = False
        if self._reading_is_paused or self._parser.buffer.data:
            self._pace()

    # A step returns false where it needs more bytes, or somebody else.

    def _look_for_head(self) -> bool:
        server = self._server
        head = None if self.output.is_full else self._parser.head(server.max_header_size)
        if head is None:
            return False
        self._link.requests += 1
        self._state = State.BEGUN
        answer = self._answer = HttpAnswer(self, head, server.max_body_size)
        delegate = self._delegate = server.begin(self._link, head, answer)
        looking = delegate.headers_received(head.start_line, head.headers)
        if looking is None and head.length == 0:
            if self._state is State.BEGUN:
                self._end_body()
        else:
            self._wait_for_body(head, looking)
        return self._state is not State.HEAD  # answered already: other connections have their turn before the next one

    def _wait_for_body(self, head: Head, looking: Awaitable[object] | None) -> None:
        """Go on when the application has looked at the header."""
        if self._state is State.BEGUN:
            self._link.await_body(self._server.now())
        self._wait_for(looking, partial(self._begin_body, head))

    def _begin_body(self, head: Head) -> None:
        if self._state is not State.BEGUN:
            return  # answered or detached while the application looked at the header
        if head.length == 0:
            self._end_body()
            return
        assert self._answer is not None  # noqa: S101  # for the type checker: what `BEGUN` means
        self._parser.expect_body(head, self._answer.max_body_size)
        self._state = State.BODY
        self._owes_continue = head.expects_continue

    def _look_for_body(self) -> bool:
        if self._state is not State.BODY:
            return False
        assert self._delegate is not None  # noqa: S101  # for the type checker: what `BODY` means
        data = self._parser.body(self._server.chunk_size)
        if data:
            self._owes_continue = False  # RFC 9110 section 10.1.1: not needed any more
            self._wait_for(self._delegate.data_received(data))
        elif data is None:
            self._say_continue()
        else:
            self._end_body()
        return bool(data)  # after the end of it other connections have their turn, whoever has answered at once

    def _say_continue(self) -> None:
        """Answer `Expect: 100-continue`, now that somebody reads the body."""
        if self._owes_continue:
            self._owes_continue = False
            if self._answer is None or self._answer.started:
                return
            self.output.send(_CONTINUE)

    def _end_body(self) -> None:
        assert self._delegate is not None  # noqa: S101  # for the type checker: what `BODY` means
        if self._body_timer is not None:
            self._stop_body_timer()
        self._state = State.ANSWER
        self._link.await_answer()
        self._delegate.finish()

    def _wait_for(self, awaitable: Awaitable[object] | None, then: Callable[[], None] | None = None) -> None:
        """Go on when the application is ready: flow control by whoever takes the body."""
        if awaitable is None:
            if then is not None:
                then()
            return
        future: Future[object] = asyncio.ensure_future(awaitable)
        self._waiting = future
        future.add_done_callback(partial(self._waited, then), context=self._context)

    def _waited(self, then: Callable[[], None] | None, future: Future[object]) -> None:
        def go_on() -> None:
            future.result()
            if then is not None:
                then()

        self._waiting = None
        if future.cancelled():
            self.close()
        else:
            self._pump(go_on)

    def _pace(self) -> None:
        """Have the client wait where the application does not keep up."""
        parser = self._parser
        # What a head may have is the parser's to say, which can do nothing with less than all of it.
        pause = len(parser.buffer) > READ_AHEAD and not parser.lacks_head and self._state is not State.OVER
        if pause != self._reading_is_paused:
            self._reading_is_paused = pause
            self.transport.pause_reading() if pause else self.transport.resume_reading()

    def limit_body_time(self, timeout: float) -> None:
        """Refuse the request if its body is not there in `timeout` seconds."""
        self._stop_body_timer()
        self._body_timer = asyncio.get_running_loop().call_later(timeout, self._body_is_late)

    def _body_is_late(self) -> None:
        gen_log.info("Timeout reading body from %s", self._link)
        self._refuse(Refused(408, "the body of the request did not come in time"))

    def _stop_body_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    # --- the answer -----------------------------------------------------------------------------

    def ends_openly(self) -> None:
        """Take note that it is the connection's end that ends the answer's body: cut short, it must not look whole."""
        self._ends_openly = True

    def is_last(self) -> bool:
        """Tell whether the answer that begins now is the connection's last."""
        return self._state is not State.ANSWER or self._link.leaving or self._server.conn_params.no_keep_alive

    async def send_file(self, file: int, offset: int, count: int, run: RunInThread) -> int:
        """Send a part of a file, after what has been written; return how many bytes of it. See `HttpAnswer.send_file`."""
        await self.output.all_sent()
        if self.output.closing:
            raise StreamClosedError
        try:
            return await self.output.send_file(file, offset, count, run)
        except StreamClosedError:
            self.close()  # the transport may not read, and so not have noticed
            raise

    def answered(self, answer: HttpAnswer) -> None:
        """Go on after an answer has been written: with the next request, or with the end."""
        if answer is not self._answer or answer.status == 101:
            return  # it came too late, or the connection is about to be handed over
        if self._state is not State.ANSWER or answer.closes or self._link.over:
            self._end_politely(self._state is not State.ANSWER or bool(self._parser.buffer))
            return
        self._answer = self._delegate = None
        self._state = State.HEAD
        now = self._server.now()
        self._link.await_header(now)
        if self._parser.buffer.data:
            self.first_read_at = now
            # Not here: this runs in the handler's context, and deep in its calls.
            asyncio.get_running_loop().call_soon(self._pump, context=self._context)

    def _stop(self) -> None:
        """Speak no more HTTP."""
        self._state = State.OVER
        self.output.ended = True
        self._stop_body_timer()
        self._answer = self._delegate = None

    def _end_politely(self, more_may_come: bool) -> None:
        """Close after an answer, so that the client can read it.

        Closing with unread input resets the connection, and a reset destroys what the client has not read yet
        (RFC 9112, section 9.6). So where more may come it is read and dropped for a while.
        """
        self._stop()
        if not more_may_come:
            self.transport.close()
            return
        self._link.linger(self._server.now())
        self._parser = HttpParser()
        self._pace()
        if self.transport.can_write_eof() and not self.transport.is_closing():  # not over TLS
            self.transport.write_eof()

    def _fail(self, error: Exception) -> None:
        """End because of an error that came out of the parser, or of the application."""
        if isinstance(error, HTTPInputError):
            error = Refused(400, str(error))
        elif not isinstance(error, Refused):
            app_log.error("Uncaught exception", exc_info=error)
            error = Refused(500, "the server failed")
        self._refuse(error)

    def _refuse(self, refused: Refused) -> None:
        """End with an answer to what cannot be served, unless an answer has begun."""
        if self._state is State.OVER:
            return  # it has ended already, or is somebody else's
        if refused.status in _MALFORMED:
            gen_log.info("Malformed HTTP message from %s: %s", self._link, refused.detail)
        else:
            log.debug("refused a request of %s: %s", self._link, refused.detail)
        started = self._answer is not None and self._answer.started
        if started or self.output.closing:
            self.close()
            return
        kind = "about:blank" if refused.status == 500 else "urn:wshttp:bad-request"
        self.output.send(last_answer(refused.status, kind, refused.detail))
        delegate, state = self._delegate, self._state
        self._end_politely(True)
        if delegate is not None and state is not State.ANSWER:
            _tell(delegate.on_connection_close)

    # --- the end --------------------------------------------------------------------------------

    def hand_over(self, receiver: Receiver) -> asyncio.Transport:
        """Speak no more HTTP: give the transport, and what was read from it, to `receiver`."""
        transport = self.transport
        if self.output.closing:
            raise StreamClosedError
        self._stop()
        handover = Handover(receiver, transport, self._server, self._link)
        self._link.hand_over(handover.close)
        transport.set_protocol(handover)
        if self._reading_is_paused:
            transport.resume_reading()
        if self.output.is_full:
            receiver.pause_writing()
            self.output.resume()
        if self._parser.buffer:
            receiver.data_received(self._parser.buffer.take(len(self._parser.buffer)))
        return transport

    def _drop_request(self) -> None:
        """Tell the application that its client has gone: by its delegate until the request is complete, then by callback."""
        answer, delegate, state = self._answer, self._delegate, self._state
        self._stop()
        if answer is None or delegate is None or answer.finished:
            return
        if state is not State.ANSWER:
            _tell(delegate.on_connection_close)
        elif answer.close_callback is not None:
            _tell(answer.close_callback)


def _tell(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        app_log.error("Uncaught exception", exc_info=True)
