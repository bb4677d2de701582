"""The answer to one request: what an application finds as `request.connection`."""

from __future__ import annotations

import asyncio
import os
from asyncio import Future
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tornado.escape import native_str
from tornado.httputil import (
    HTTPHeaders,
    HTTPOutputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from wshttp.engine.closed_write import closed_write
from wshttp.engine.detached import DetachedStream
from wshttp.engine.file_sending import RunInThread
from wshttp.engine.http_head import Head, list_elements
from wshttp.engine.receiver import Receiver
from wshttp.engine.request_context import RequestContext
from wshttp.engine.transport_stream import TransportStream
from wshttp.engine.websocket.protocol import NativeWebSocket
from wshttp.header_fields import Fields, fields_of
from wshttp.http_date import date_now

if TYPE_CHECKING:
    from tornado.websocket import WebSocketHandler, WebSocketProtocol

    from wshttp.engine.http_protocol import HttpProtocol

_ONE_WRITE: Final = 64 * 1024
"""Bytes of a body up to which copying it behind its header is cheaper than a second write."""


class HttpAnswer:
    """Write one answer, as a `tornado.httputil.HTTPConnection` in all but its base, which keeps a dictionary per object.

    Errors are Tornado's: `HTTPOutputError`, `StreamClosedError` (in the futures), `ValueError`.

    A future that is returned is done as soon as more may be written without filling the memory.
    """

    __slots__ = (
        "_chunking",
        "_head",
        "_http",
        "_left",
        "close_callback",
        "closes",
        "context",
        "finished",
        "max_body_size",
        "status",
    )

    context: RequestContext
    """Where the request comes from; the server says it before anybody has this."""

    def __init__(self, http: HttpProtocol, head: Head, max_body_size: int) -> None:
        self._http: Final = http
        self._head: Final = head
        self.max_body_size = max_body_size
        self.closes = not head.keep_alive
        """It is the last one on its connection."""
        self.status = 0
        """0 before its header."""
        self.finished = False
        self.close_callback: Callable[[], None] | None = None
        self._chunking = False
        self._left: int | None = None

    @property
    def started(self) -> bool:
        """Its header has been written; one that comes before the answer (RFC 9110, section 15.2) does not count."""
        return self.status >= 200 or self.status == 101

    @property
    def stream(self) -> TransportStream:
        """The little that applications ask of the stream under a request: `close`, `closed`, `socket.getpeercert`."""
        return TransportStream(self._http.transport)

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Have `callback` called if the client goes after its request, and before its answer has been finished."""
        self.close_callback = callback

    def set_max_body_size(self, size: int) -> None:
        """Take a body of up to `size` bytes for this request; for handlers that take it in pieces, in `prepare`."""
        self.max_body_size = size

    def set_body_timeout(self, timeout: float) -> None:
        """Give the client `timeout` seconds from now for the whole of this request's body."""
        self._http.limit_body_time(timeout)

    # --- the answer -----------------------------------------------------------------------------

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> Future[None]:
        assert isinstance(start_line, ResponseStartLine)  # noqa: S101  # an answer has no other; so does Tornado
        if self.finished:
            return closed_write()
        fields = fields_of(headers)
        self._frame(start_line.code, headers, fields)
        data = _header(start_line, fields)
        send = self._http.output.send
        if not chunk:
            return send(data)
        body = self._framed(chunk)
        if len(body) <= _ONE_WRITE:
            return send(data + body)
        send(data)
        return send(body)

    def write(self, chunk: bytes) -> Future[None]:
        if self.finished:
            return closed_write()  # or it would be in the next answer
        return self._http.output.send(self._framed(chunk))

    @property
    def sends_files(self) -> bool:
        """Whether there is `send_file`: not over TLS, where each byte has to pass through this process."""
        return self._http.output.is_clear and hasattr(os, "sendfile")

    async def send_file(self, file: int, offset: int, count: int, run: RunInThread) -> int:
        """Send a part of a file, without reading it, and return how many bytes have been sent.

        Fewer than `count` where the file ends before, or its file system has no `sendfile`: the rest is to be written.
        The header comes before, with a length; nothing else may be written meanwhile. `run` calls a function in a thread.
        What changes in the file before the client has it may be in what it gets.
        """
        if self.finished:
            raise StreamClosedError
        if self._left is None or count > self._left:
            self._http.close()
            raise HTTPOutputError("A file is sent in an answer that says its length, and is not longer than that")
        sent = await self._http.send_file(file, offset, count, run)
        self._left -= sent
        return sent

    def finish(self) -> None:
        if self.finished:
            return
        if self._left and not self._http.output.closing:
            self._http.close()
            raise HTTPOutputError(f"Tried to write {self._left} bytes less than Content-Length")
        if self._chunking:
            self._http.output.send(b"0\r\n\r\n")
        self.finished = True
        self._http.answered(self)

    def _frame(self, status: int, headers: HTTPHeaders, fields: Fields) -> None:
        """Decide how the body's end will be told, and whether the connection's comes with it."""
        method, _, version = self._head.start_line
        self.status = status
        self._chunking, self._left = False, None
        if status in (204, 304) or status < 200 or method == "HEAD":
            self._left = 0
        elif "Content-Length" in fields:
            self._left = _length_in(fields)
        elif version == "HTTP/1.1":
            self._chunking = True
            headers["Transfer-Encoding"] = "chunked"
        else:
            self._http.ends_openly()
            self.closes = True
        if status < 200:
            return
        if self._http.is_last() or ("Connection" in fields and "close" in list_elements(fields["Connection"])):
            self.closes = True
        if self.closes or version == "HTTP/1.0":
            self._say_whether_it_closes(headers, version)

    def _say_whether_it_closes(self, headers: HTTPHeaders, version: str) -> None:
        if not self.closes:
            headers["Connection"] = "Keep-Alive"
        elif version == "HTTP/1.1" or self._head.keep_alive:
            headers["Connection"] = "close"

    def _framed(self, chunk: bytes) -> bytes:
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                self._http.close()  # what follows could be taken for another answer
                raise HTTPOutputError("Tried to write more data than Content-Length")
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunking and chunk else chunk

    # --- no longer HTTP -------------------------------------------------------------------------

    def upgrade(self, receiver: Receiver) -> asyncio.Transport:
        """Hand the connection over: from now on its bytes go to `receiver`, beginning with those read already.

        Raises `StreamClosedError` where it is closed.
        """
        return self._http.hand_over(receiver)

    def websocket_protocol(self, handler: WebSocketHandler) -> WebSocketProtocol | None:
        """Return the engine's own framing for a handler's socket; see `WebSocketHandler.get_websocket_protocol`."""
        return NativeWebSocket.for_handler(handler)

    def detach(self) -> DetachedStream:
        """Hand the connection over as a stream like Tornado's; one that has been closed meanwhile is a closed stream."""
        stream = DetachedStream(self._http.transport, self._http.now)
        if not self._http.output.closing:
            self._http.hand_over(stream)
        return stream


def _length_in(fields: Fields) -> int:
    """Return what an answer says of its length. Raises `ValueError` where that is none."""
    length = ",".join(fields["Content-Length"])
    if not (length.isascii() and length.isdigit()):
        raise ValueError(f"not an integer: {length!r}")
    return int(length)


def _header(start_line: ResponseStartLine, fields: dict[str, list[Any]]) -> bytes:
    """Write a header. Raises `ValueError` for what would end a line of it too early."""
    _, code, reason = start_line
    lines = [f"HTTP/1.1 {code} {reason}"]
    lines += [
        # Not all of Tornado turns bytes into text first (6.6), whatever the types say.
        f"{name}: {value if value.__class__ is str else native_str(value)}"
        for name, values in fields.items()
        for value in values
    ]
    if "Date" not in fields and code >= 200:
        lines.append(f"Date: {date_now()}")
    if not "".join(lines).isprintable():
        _check_line_ends(lines)
    lines += ("", "")
    return "\r\n".join(lines).encode("latin-1")


def _check_line_ends(lines: list[str]) -> None:
    for line in lines:
        if "\r" in line or "\n" in line:
            raise ValueError(f"Illegal characters (CR or LF) in header: {line.encode('latin-1')!r}")
