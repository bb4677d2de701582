"""Requests at a steady rate, and how late their answers come, counted from the instant each was due.

So an answer that keeps others waiting counts for all of them.
It never sleeps: a timer of the system would add up to a millisecond of its own. Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import socket
from collections import deque
from time import perf_counter
from typing import Final

CONNECTIONS: Final = 32

PATIENCE: Final = 60.0
"""Seconds after the last request was due, until which all answers must be there."""

_COOKIE: Final = re.compile(rb"(?i)\r\nset-cookie: *([^;\r]*)")
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Speaker:
    """A connection: one request at a time."""

    def __init__(self, port: int, path: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.header = b""
        self._received = b""
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._meet()

    def _meet(self) -> None:
        """Ask once, for the cookie."""
        self.socket.settimeout(PATIENCE)
        self.socket.sendall(self._request)
        while not self.take():
            pass
        cookie = _COOKIE.search(self.header)
        if cookie:
            self._request = self._request[:-2] + b"Cookie: " + cookie[1] + b"\r\n\r\n"
        self.socket.setblocking(False)

    def ask(self, due: float) -> None:
        """Send the request that was due then."""
        self.due = due
        self.socket.sendall(self._request)

    def take(self) -> bool:
        """Read what there is; say whether the answer is complete. Raises `ConnectionError` for a bad one."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._received += data
        header, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(header)
        if not end or length is None or len(body) < int(length[1]):
            return False
        if not header.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"unexpected answer: {header[:100]!r}")
        self.header, self._received = header, b""
        return True


def latencies(speakers: list[Speaker], rate: float, seconds: float) -> list[float]:
    """Ask at this rate for so long; return how long each answer took, in seconds, sorted."""
    poll = select.epoll()
    of_file = {speaker.socket.fileno(): speaker for speaker in speakers}
    for file in of_file:
        poll.register(file, select.EPOLLIN)
    free, total = deque(speakers), max(1, int(rate * seconds))
    found: list[float] = []
    sent, begin = 0, perf_counter()
    while len(found) < total:
        now = perf_counter()
        if now > begin + seconds + PATIENCE:
            raise TimeoutError(f"{total - len(found)} answers are missing")
        while free and sent < total and begin + sent / rate <= now:
            free.popleft().ask(begin + sent / rate)
            sent += 1
        for file, _ in poll.poll(0):
            speaker = of_file[file]
            if speaker.take():
                found.append(perf_counter() - speaker.due)
                free.append(speaker)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--seconds", type=float, default=1.0)
    arguments = parser.parse_args()
    speakers = [Speaker(arguments.port, arguments.path) for _ in range(CONNECTIONS)]
    found = latencies(speakers, arguments.rate, arguments.seconds)
    p50, p99 = (found[min(len(found) - 1, int(len(found) * share))] for share in (0.5, 0.99))
    print(json.dumps({"answers": len(found), "p50": p50, "p99": p99}), flush=True)


main()
