"""A client in a process of its own that makes a request every other millisecond or so, and notes how long each took."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

PAUSE = 0.001
"""Seconds between an answer and the next request: the client looks on, it is no load."""


@dataclass(frozen=True)
class Call:
    """When a request went out, on `time.perf_counter`, which all processes of a machine share; and seconds to its answer."""

    at: float
    took: float


def call_until_told(control: Connection, host: str, port: int, path: str) -> None:
    """Make requests over one connection until anything comes from `control`; then send back all `Call`s.

    Sends one first when the first answer is there.
    """
    calls: list[Call] = []
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answer = _exchange(connection, _request(host, path, None))
        request = _request(host, path, _cookie_of(answer))
        control.send(None)
        while not control.poll(PAUSE):
            begin = time.perf_counter()
            answer = _exchange(connection, request)
            calls.append(Call(begin, time.perf_counter() - begin))
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode())
    control.send(calls)


def _request(host: str, path: str, cookie: str | None) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", *([f"Cookie: {cookie}"] if cookie else []), "", ""]
    return "\r\n".join(lines).encode()


def _cookie_of(answer: bytes) -> str | None:
    lines = answer.decode().split("\r\n")
    return next((line[12:].partition(";")[0] for line in lines if line.startswith("Set-Cookie: ")), None)


def _exchange(connection: socket.socket, request: bytes) -> bytes:
    """Send a request and read its whole answer, whose body is short and has a Content-Length."""
    connection.sendall(request)
    answer = b""
    while True:
        received = connection.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        answer += received
        head, end, body = answer.partition(b"\r\n\r\n")
        if end and len(body) >= _content_length(head):
            return answer


def _content_length(head: bytes) -> int:
    return next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
