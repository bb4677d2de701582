"""Connections that are answered and closed before they cost anything: over a limit, over a rate, not wanted."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from collections.abc import Callable
from http import HTTPStatus

from wshttp.engine.link import LINGER_SECONDS
from wshttp.errors import PeerError, answer_for
from wshttp.http_date import date_now

MOST_LINGERING = 64
"""Refused connections that may stay open until the client has read its answer; those beyond are closed at once."""

_READ_SIZE = 64 * 1024


def refusal(error: PeerError) -> bytes:
    """Return the whole HTTP response that refuses a connection."""
    answer = answer_for(error)
    if answer is None:
        raise TypeError(f"{type(error).__name__} has no answer")
    detail = getattr(error, "detail", HTTPStatus(answer.status).phrase)
    return last_answer(answer.status, f"urn:wshttp:{answer.name}", detail, getattr(error, "retry_after", None))


def last_answer(status: int, type_: str, detail: str, retry_after: float | None = None) -> bytes:
    """Return a whole HTTP response with `Connection: close` and problem+json (RFC 9457); `retry_after` is in seconds."""
    title = HTTPStatus(status).phrase
    body = json.dumps({"type": type_, "title": title, "status": status, "detail": detail}).encode()
    lines = [
        f"HTTP/1.1 {status} {title}",
        f"Date: {date_now()}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if retry_after is not None:
        lines.append(f"Retry-After: {max(1, math.ceil(retry_after))}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


class Refusals:
    """Answer refused connections, and see them off within bounds.

    A socket that is closed with unread input resets the connection, and a reset can destroy the answer on its way.
    So input is read and dropped until the client closes, for `LINGER_SECONDS`, by at most `MOST_LINGERING` at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._until: dict[socket.socket, float] = {}

    def __len__(self) -> int:
        """Count those that linger."""
        return len(self._until)

    def answer(self, sock: socket.socket, error: PeerError) -> None:
        """Refuse a connection in clear HTTP; the socket is ours from now on. It must not block."""
        try:
            sock.send(refusal(error))  # a new socket's buffer takes these few hundred bytes at once
            sock.shutdown(socket.SHUT_WR)
            gone = self._drop_input(sock)
        except OSError:
            gone = True
        if gone or len(self._until) >= MOST_LINGERING:
            sock.close()
            return
        self._until[sock] = self._clock() + LINGER_SECONDS
        self._loop.add_reader(sock.fileno(), self._on_readable, sock)

    def tick(self) -> None:
        """Close those whose time is over."""
        now = self._clock()
        for sock in [sock for sock, until in self._until.items() if until <= now]:
            self._close(sock)

    def close(self) -> None:
        """Close all."""
        for sock in list(self._until):
            self._close(sock)

    def _on_readable(self, sock: socket.socket) -> None:
        if self._drop_input(sock):
            self._close(sock)

    def _drop_input(self, sock: socket.socket) -> bool:
        """Read what is there; tell whether the client has closed."""
        try:
            return not sock.recv(_READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _close(self, sock: socket.socket) -> None:
        del self._until[sock]
        self._loop.remove_reader(sock.fileno())
        sock.close()
