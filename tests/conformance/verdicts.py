"""What an engine makes of bytes: the requests that it saw in them, the answers that it gave, and whether it went on."""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.engines import server_of
from conformance.frames import CLOSE, HANDSHAKE, OFFERING, PONG, Frame, decode
from conformance.witness import ASKED, Seen, Witness, application

from wshttp.engine.listeners import bind_unix

QUIET_TURNS = 16
"""Turns of the loop in which nothing happens, after which nothing more will: on a Unix socket, bytes arrive at once."""

READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of one WebSocket."""

    messages: tuple[bytes, ...]
    """Those that came to the application, which sends each back."""
    pongs: tuple[bytes, ...]
    codes: tuple[int | None, ...]
    """That of the close frame, if one came."""
    ended: bool
    faults: tuple[str, ...] = ()


def agree(frames: Sequence[Frame], stock: Heard, native: Heard) -> bool:
    """Tell whether engines heard the same, up to where the native one may refuse, or stock Tornado answers late.

    When both end, stock Tornado may have answered a ping after the fault that ended the native engine: bad UTF-8 in the
    first fragment of a message.
    """
    alike = native.messages == stock.messages and native.ended == stock.ended
    if any(_is_refused_by_native_alone(frame) for frame in frames):
        alike = alike or (native.ended and _begins(stock.messages, native.messages))
    return alike and (native.pongs == stock.pongs or (native.ended and _begins(stock.pongs, native.pongs)))


def _is_refused_by_native_alone(frame: Frame) -> bool:
    """Tell whether stock Tornado takes a frame that may not be.

    A client's frame has a mask (RFC 6455, section 5.1), its length as few bytes as can be, and an opcode that is defined
    (section 5.2), which stock Tornado looks at when the message is whole.
    """
    return not frame.masked or not frame.is_minimal or 3 <= frame.opcode <= 7


def _begins(whole: tuple[bytes, ...], part: tuple[bytes, ...]) -> bool:
    return whole[: len(part)] == part


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one connection."""

    requests: tuple[tuple[str, str, bytes], ...]
    """Method, target and body of those that came to the application whole."""
    served: tuple[int, ...]
    """The statuses of the application's answers."""
    own: tuple[int, ...]
    """Those of the engine's own answers."""
    ended: bool
    """The engine closed the connection by itself."""
    cut: bool = False
    """It did so in the middle of a request."""
    faults: tuple[str, ...] = ()
    """What no engine may do, whatever it gets: errors in the log or in the loop, requests that end twice or never."""

    @property
    def refused(self) -> bool:
        """The engine found that what came is no request, and said so, or closed in its middle."""
        return self.ended and (self.cut or any(status >= 400 for status in self.own))

    def __str__(self) -> str:
        requests = ", ".join(f"{method} {target} {body!r}" for method, target, body in self.requests)
        end = " and closed" if self.ended else ""
        return f"[{requests}] -> {list(self.served)}, itself {list(self.own)}{end} {' '.join(self.faults)}"


class Stand:
    """An engine on a socket of its own, on the loop that runs."""

    def __init__(self, server: Any, path: str, witness: Witness, errors: list[str]) -> None:
        self._server = server
        self._path = path
        self._witness = witness
        self._errors = errors

    async def verdict(self, pieces: Sequence[bytes]) -> Verdict:
        """Send these one after the other, each when nothing happens any more after the one before."""
        async with self._visit() as line:
            await self._send(line, pieces)
            requests = tuple((seen.method, seen.target, bytes(seen.body)) for seen in self._seen("whole"))
            answers = list(_answers(bytes(line.received)))
            ended, cut = line.ended, line.ended and any(self._seen("lost"))
        served = tuple(status for status, of_application in answers if of_application)
        own = tuple(status for status, of_application in answers if not of_application)
        return Verdict(requests, served, own, ended, cut, tuple(self._faults()))

    async def heard(self, pieces: Sequence[bytes], compresses: bool = False) -> Heard:
        """Open a WebSocket, that may compress or not, and send these through it in the same way."""
        async with self._visit() as line:
            await self._send(line, [OFFERING if compresses else HANDSHAKE])
            head, _, early = bytes(line.received).partition(b"\r\n\r\n")
            assert (head[:13], early) == (b"HTTP/1.1 101 ", b""), line.received
            await self._send(line, pieces)
            frames = list(decode(bytes(line.received[len(head) + 4 :])))
            ended = line.ended
        return Heard(
            tuple(frame.payload for frame in frames if not frame.is_control),
            tuple(frame.payload for frame in frames if frame.opcode == PONG),
            tuple(int.from_bytes(frame.payload[:2]) or None for frame in frames if frame.opcode == CLOSE),
            ended,
            tuple(self._faults()),
        )

    @asynccontextmanager
    async def _visit(self) -> AsyncIterator[_Line]:
        """Connect, and stay until nothing happens any more after the connection has been closed."""
        self._witness.seen.clear()
        self._errors.clear()
        with socket.socket(socket.AF_UNIX) as client:
            client.setblocking(False)
            client.connect(self._path)
            yield (line := _Line(client))
        await self._quiet(line)

    async def _send(self, line: _Line, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            line.send(piece)
            await self._quiet(line)

    def _seen(self, end: str) -> Iterator[Seen]:
        return (seen for seen in self._witness.seen if seen.end == end)

    def _faults(self) -> Iterator[str]:
        yield from self._errors
        yield from (f"{seen}: {fault}" for seen in self._witness.seen for fault in seen.faults)
        yield from (f"{seen} has no end" for seen in self._seen("open"))
        if self._server.counts.open:
            yield f"{self._server.counts.open} connections are open that the client has closed"

    async def _quiet(self, line: _Line) -> None:
        state, still = None, 0
        while still < QUIET_TURNS:
            await asyncio.sleep(0)
            line.read()
            seen = self._witness.seen
            now = (len(line.received), line.ended, len(seen), [(len(s.body), s.end) for s in seen[-1:]])
            now += (len(self._errors), self._server.counts.open)
            still = still + 1 if now == state else 0
            state = now


class _Line:
    """The client's end of a connection."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self.received = bytearray()
        self.ended = False

    def send(self, data: bytes) -> None:
        try:
            self._client.sendall(data)
        except OSError:  # the engine has closed already
            pass

    def read(self) -> None:
        if self._client.fileno() < 0:
            return
        try:
            data = self._client.recv(READ)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self.received += data
        self.ended = self.ended or not data


def _answers(received: bytes) -> Iterator[tuple[int, bool]]:
    """Read the statuses of answers, and whose they are; a body without a length lasts until the end, and HEAD has none."""
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        start, *lines = head.decode("latin1").split("\r\n")
        status = int(start.split(" ")[1])
        if status == 100:
            continue
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        asked = headers.get(ASKED.lower())
        yield status, asked is not None
        if status == 101:
            return
        if asked != "HEAD" and status not in (204, 304):
            received = received[int(headers.get("content-length", len(received))) :]


class _Errors(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._errors = errors

    def emit(self, record: logging.LogRecord) -> None:
        self._errors.append(f"{record.getMessage()} {record.exc_info[1]!r}" if record.exc_info else record.getMessage())


@contextmanager
def standing(engine: str, run: Callable[..., Any], loop: asyncio.AbstractEventLoop) -> Iterator[Stand]:
    """Stand an engine up on a loop that `run` runs, and take it down afterwards."""
    errors: list[str] = []
    handler = _Errors(errors)
    logging.getLogger().addHandler(handler)
    loop.set_exception_handler(lambda _, context: errors.append(str(context)))
    # Not pytest's folder: a socket's name has at most some hundred characters.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wshttp-") as folder:
        path = str(Path(folder, "engine"))
        witness = Witness(application())

        async def start() -> Any:
            server = server_of(engine)(witness)
            server.add_listeners([bind_unix(path)])
            return server

        server = run(start())
        try:
            yield Stand(server, path, witness, errors)
        finally:
            run(server.close())
            logging.getLogger().removeHandler(handler)
