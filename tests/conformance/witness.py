"""An application that takes down every request that an engine gives it, and how each ended."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

ASKED = "X-Asked"
"""In an answer of the application, the method of the request; one without it is the engine's own."""


@dataclass(slots=True)
class Seen:
    """One request, as the engine gave it to the application."""

    connection: object
    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    end: str = "open"
    """`whole`, `lost` (the connection ended before it did), `refused` (by the application), or `open` so far."""
    faults: list[str] = field(default_factory=list)
    """What the engine did to it that it may not do."""

    def close(self, end: str) -> None:
        """Note the end, of which there may be one; Tornado also tells an application that refused of the loss."""
        if self.end == "open":
            self.end = end
        elif (self.end, end) != ("refused", "lost"):
            self.faults.append(f"{end}, after it was {self.end}")

    def values(self, name: str) -> list[str]:
        """Return the values of a header, one by one as they came."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __str__(self) -> str:
        return f"{self.method} {self.target} {bytes(self.body)!r} {self.end}"


class Witness(HTTPServerConnectionDelegate):
    """Passes requests on to an application, and keeps a record of them."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self.seen: list[Seen] = []

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _Attested(self._application.start_request(server_conn, request_conn), server_conn, self.seen)

    def on_close(self, server_conn: object) -> None:
        self._application.on_close(server_conn)


class _Attested(HTTPMessageDelegate):
    def __init__(self, inner: HTTPMessageDelegate, connection: object, record: list[Seen]) -> None:
        self._inner = inner
        self._record = record
        self._seen = Seen(connection, "", "", [])

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        assert isinstance(start_line, RequestStartLine)
        seen = self._seen
        seen.method, seen.target, seen.headers = start_line.method, start_line.path, list(headers.get_all())
        self._record.append(seen)
        try:
            return self._inner.headers_received(start_line, headers)
        except BaseException:
            seen.close("refused")
            raise

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._seen.end != "open":
            self._seen.faults.append(f"given {chunk!r}, after it was {self._seen.end}")
        self._seen.body += chunk
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        self._seen.close("whole")
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._seen.close("lost")
        self._inner.on_connection_close()


class Echo(RequestHandler):
    """Say what was asked, and who asked it."""

    def set_default_headers(self) -> None:
        self.set_header(ASKED, str(self.request.method))

    def prepare(self) -> None:
        self.set_header("Content-Type", "text/plain")
        asked = [f"{self.request.method} {self.request.uri}", *self.request.headers.get_list("X-Front")]
        self.finish("\n".join(asked))


class EchoSocket(WebSocketHandler):
    """Say what was heard."""

    set_default_headers = Echo.set_default_headers

    def get_compression_options(self) -> dict[str, int]:
        return {}

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message, binary=isinstance(message, bytes))


def application() -> Application:
    """Answer everything, and open a WebSocket at `/ws`."""
    return Application([("/ws", EchoSocket), (".*", Echo)], log_function=lambda handler: None)
