"""HTTP/1 on one connection: requests one after the other, each answered before the next is looked at.

The parser says what the bytes are, the application (Tornado's delegate) what is to be done, an `HttpAnswer` what goes
back. What is here is the order of things: who waits for whom, and how a connection ends.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import select
import sys
from asyncio import Future
from collections.abc import Awaitable, Callable
from enum import Enum
from functools import partial
from typing import Final, Protocol, cast

from tornado.httputil import HTTPInputError, HTTPMessageDelegate
from tornado.iostream import StreamClosedError
from tornado.log import app_log, gen_log

from wshttp.engine import write_waiters
from wshttp.engine.closed_write import closed_write
from wshttp.engine.file_sending import FileSending, RunInThread
from wshttp.engine.handover import Handover
from wshttp.engine.http_answer import HttpAnswer
from wshttp.engine.http_head import Head
from wshttp.engine.http_parser import HttpParser
from wshttp.engine.limits import Limits, Timeout
from wshttp.engine.link import Link
from wshttp.engine.receiver import Receiver
from wshttp.engine.refusals import last_answer
from wshttp.engine.refused import Refused
from wshttp.engine.sudden_end import reset_on_close

READ_AHEAD: Final = 64 * 1024
"""Bytes that may wait for the application before the client has to wait; one read may bring more."""

_NO_LIMIT: Final = 100 * 1024 * 1024
"""Bytes of a header where none is set; as much as Tornado's read buffer."""

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_MALFORMED = (400, 413, 505)
"""What Tornado logs as such (6.6); of the rest it says nothing, or says it elsewhere."""

_HUNG_UP: Final = sum(getattr(select, name, 0) for name in ("POLLRDHUP", "POLLHUP", "POLLERR"))
"""What a socket says whose peer has gone, though what it sent before has not been read; 0 where there is no `poll`."""

log = logging.getLogger(__name__)


class HttpServing(Protocol):
    """What a connection needs of its server."""

    chunk_size: int
    """Bytes of a body that are given to the application at once, at most."""

    @property
    def nothing_to_wait_for(self) -> Future[None]:
        """A future that is done."""

    @property
    def limits(self) -> Limits:
        """The limits in force."""

    def now(self) -> float:
        """Seconds of the clock of time-outs."""

    def begin(self, link: Link, head: Head, answer: HttpAnswer) -> HTTPMessageDelegate:
        """Return who deals with a request; `answer` is told where it comes from."""

    def is_last(self, link: Link) -> bool:
        """Tell whether a connection must not have another request."""

    def forget(self, link: Link) -> None:
        """Take note that a connection has been closed."""


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
        "_head",
        "_is_pumping",
        "_is_stalled",
        "_link",
        "_owes_continue",
        "_parser",
        "_reading_is_paused",
        "_sending",
        "_sent",
        "_server",
        "_state",
        "_waiting",
        "_waiting_writes",
        "_written",
        "first_read_at",
        "last_read_at",
        "last_sent_at",
        "received",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: HttpServing, link: Link) -> None:
        self._server = server
        self._link = link
        self._parser = HttpParser()
        self._state = State.HEAD
        self._is_pumping = False
        self._waiting: Future[object] | None = None
        self._head: Head | None = None
        self._answer: HttpAnswer | None = None
        self._delegate: HTTPMessageDelegate | None = None
        self._owes_continue = False
        self._body_timer: asyncio.TimerHandle | None = None
        self._reading_is_paused = False
        self._waiting_writes: list[Future[None]] | None = None
        """Who waits until more may be written; `None` while it may."""
        self._sending: FileSending | None = None
        self._written = self._sent = 0
        self._is_stalled = False
        self._ends_openly = False
        self.received = 0
        self.first_read_at: float | None = None
        self.last_read_at = self.last_sent_at = server.now()

    # --- the transport --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
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
        if self._state is State.OVER:
            return
        self._parser.feed(data)
        self._pump()

    def eof_received(self) -> None:
        """Nothing more comes: the transport closes, which is what Tornado's streams do, too."""

    def pause_writing(self) -> None:
        self._waiting_writes = []

    def resume_writing(self) -> None:
        self._let_writes_go_on()
        self._pump()

    def connection_lost(self, error: Exception | None) -> None:
        self._server.forget(self._link)
        waiting, self._waiting_writes = self._waiting_writes or (), None
        write_waiters.fail(waiting, error)
        self._drop_request()

    # --- what the server asks of any stream (`link.LinkStream`) ---------------------------------

    @property
    def unsent(self) -> int:
        """Bytes not taken by the kernel yet."""
        return self.transport.get_write_buffer_size() + (0 if self._sending is None else self._sending.left)

    def look(self) -> None:
        unsent = self.unsent
        sent = self._written - unsent
        if not (unsent and self._is_stalled) or sent != self._sent:
            self.last_sent_at = self._server.now()
        self._sent, self._is_stalled = sent, unsent > 0
        if self._state is State.ANSWER and self._reading_is_paused and self._has_hung_up():
            self.close()

    def _has_hung_up(self) -> bool:
        if not _HUNG_UP or self.closing:
            return False
        poll = select.poll()
        poll.register(self.socket, _HUNG_UP)
        return bool(poll.poll(0))

    def now(self) -> float:
        return self._server.now()

    def reading(self) -> bool:
        return self._waiting is None

    def end(self) -> None:
        self._state = State.OVER
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
            while self._waiting is None and self._step():
                pass
        except Refused as refused:
            self._refuse(refused)
        except HTTPInputError as error:
            self._refuse(Refused(400, str(error)))
        except Exception:
            app_log.error("Uncaught exception", exc_info=True)
            self._refuse(Refused(500, "the server failed"))
        finally:
            self._is_pumping = False
        self._pace()

    def _step(self) -> bool:
        """Go one step; false where it needs more bytes, or somebody else."""
        if self._state is State.HEAD:
            return self._waiting_writes is None and self._look_for_head()
        return self._state is State.BODY and self._look_for_body()

    def _look_for_head(self) -> bool:
        head = self._parser.head(self._server.limits.max_header_size or _NO_LIMIT)
        if head is None:
            return False
        self._link.await_body(self._server.now())
        self._state = State.BEGUN
        self._head = head
        self._answer = HttpAnswer(self, head, self._server.limits.max_body_size or sys.maxsize)
        self._delegate = self._server.begin(self._link, head, self._answer)
        self._wait_for(self._delegate.headers_received(head.start_line, head.headers), self._begin_body)
        return self._state is not State.HEAD  # answered already: other connections have their turn before the next one

    def _begin_body(self) -> None:
        if self._state is not State.BEGUN:
            return  # answered or detached while the application looked at the header
        assert self._head is not None  # noqa: S101  # for the type checker: what `BEGUN` means
        assert self._answer is not None  # noqa: S101  # the same
        if self._head.length == 0:
            self._end_body()
            return
        self._parser.expect_body(self._head, self._answer.max_body_size)
        self._state = State.BODY
        self._owes_continue = self._head.expects_continue

    def _look_for_body(self) -> bool:
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
            self.send(_CONTINUE)

    def _end_body(self) -> None:
        assert self._delegate is not None  # noqa: S101  # for the type checker: what `BODY` means
        self._stop_body_timer()
        self._state = State.ANSWER
        self._link.await_answer(self._server.now())
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

    @property
    def closing(self) -> bool:
        """Nothing can be written any more."""
        return self._state is State.OVER or self.transport.is_closing()

    def ends_openly(self) -> None:
        """Take note that it is the connection's end that ends the answer's body: cut short, it must not look whole."""
        self._ends_openly = True

    def is_last(self) -> bool:
        """Tell whether the answer that begins now is the connection's last."""
        return self._state is not State.ANSWER or self._server.is_last(self._link)

    def send(self, data: bytes) -> Future[None]:
        """Write; the future is done when more may be written, and fails with `StreamClosedError`."""
        if self.closing:
            return closed_write()
        self._written += len(data)
        self.transport.write(data)
        return self._room_for_more()

    def _let_writes_go_on(self) -> None:
        waiting, self._waiting_writes = self._waiting_writes or (), None
        write_waiters.resume(waiting)

    def _room_for_more(self) -> Future[None]:
        if self._waiting_writes is None:
            return self._server.nothing_to_wait_for
        future: Future[None] = asyncio.get_running_loop().create_future()
        self._waiting_writes.append(future)
        return future

    @property
    def is_clear(self) -> bool:
        """What is written goes to the client as it is: there is no TLS."""
        return self.transport.get_extra_info("sslcontext") is None

    async def send_file(self, file: int, offset: int, count: int, run: RunInThread) -> int:
        """Send a part of a file, after what has been written; return how many bytes of it. See `HttpAnswer.send_file`."""
        await self._all_sent()
        if self.closing:
            raise StreamClosedError
        sending = self._sending = FileSending(self, file, offset, count, run)
        self._written += count
        try:
            await sending.send()
        except StreamClosedError:
            self.close()  # the transport may not read, and so not have noticed
            raise
        finally:
            self._written -= sending.left
            self._sending = None
        return count - sending.left

    @property
    def socket(self) -> int:
        """The descriptor of the socket; it is open while nothing is `closing`."""
        return cast(int, self.transport.get_extra_info("socket").fileno())

    async def send_all(self, data: bytes) -> None:
        """Write, and wait until the kernel has it. Raises `StreamClosedError`."""
        if self.closing:
            raise StreamClosedError
        self.transport.write(data)
        await self._all_sent()

    async def _all_sent(self) -> None:
        """Wait until the kernel has all that was written. Raises `StreamClosedError`."""
        if self.closing:
            raise StreamClosedError
        self.transport.set_write_buffer_limits(high=0)  # for once, it is to tell when there is nothing left
        await self._room_for_more()
        if not self.closing:
            self.transport.set_write_buffer_limits()

    def answered(self, answer: HttpAnswer) -> None:
        """Go on after an answer has been written: with the next request, or with the end."""
        if answer is not self._answer or answer.status == 101:
            return  # it came too late, or the connection is about to be handed over
        if self._state is not State.ANSWER or self._link.over or answer.closes:
            self._end_politely(self._state is not State.ANSWER or bool(self._parser.buffer))
            return
        self._forget_request()
        self._state = State.HEAD
        now = self._server.now()
        self._link.await_header(now)
        if self._parser.buffer:
            self.first_read_at = now
            # Not here: this runs in the handler's context, and deep in its calls.
            asyncio.get_running_loop().call_soon(self._pump, context=self._context)

    def _forget_request(self) -> None:
        self._head = self._answer = self._delegate = None

    def _end_politely(self, more_may_come: bool) -> None:
        """Close after an answer, so that the client can read it.

        Closing with unread input resets the connection, and a reset destroys what the client has not read yet
        (RFC 9112, section 9.6). So where more may come it is read and dropped for a while.
        """
        self._state = State.OVER
        self._stop_body_timer()
        self._forget_request()
        if not more_may_come:
            self.transport.close()
            return
        self._link.linger(self._server.now())
        self._parser = HttpParser()
        self._pace()
        if self.transport.can_write_eof() and not self.transport.is_closing():  # not over TLS
            self.transport.write_eof()

    def _refuse(self, refused: Refused) -> None:
        """End with an answer to what cannot be served, unless an answer has begun."""
        if self._state is State.OVER:
            return  # it has ended already, or is somebody else's
        if refused.status in _MALFORMED:
            gen_log.info("Malformed HTTP message from %s: %s", self._link, refused.detail)
        else:
            log.debug("refused a request of %s: %s", self._link, refused.detail)
        started = self._answer is not None and self._answer.started
        if started or self.closing:
            self.close()
            return
        kind = "about:blank" if refused.status == 500 else "urn:wshttp:bad-request"
        self.send(last_answer(refused.status, kind, refused.detail))
        delegate, state = self._delegate, self._state
        self._end_politely(True)
        if delegate is not None and state is not State.ANSWER:
            _tell(delegate.on_connection_close)

    # --- the end --------------------------------------------------------------------------------

    def hand_over(self, receiver: Receiver) -> asyncio.Transport:
        """Speak no more HTTP: give the transport, and what was read from it, to `receiver`."""
        transport = self.transport
        if self.closing:
            raise StreamClosedError
        self._state = State.OVER
        self._stop_body_timer()
        self._forget_request()
        handover = Handover(receiver, transport, self._server, self._link)
        self._link.hand_over(handover.close)
        transport.set_protocol(handover)
        if self._reading_is_paused:
            transport.resume_reading()
        if self._waiting_writes is not None:
            receiver.pause_writing()
            self._let_writes_go_on()
        if self._parser.buffer:
            receiver.data_received(self._parser.buffer.take(len(self._parser.buffer)))
        return transport

    def _drop_request(self) -> None:
        """Tell the application that its client has gone: by its delegate until the request is complete, then by callback."""
        answer, delegate, state = self._answer, self._delegate, self._state
        self._state = State.OVER
        self._stop_body_timer()
        self._forget_request()
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
