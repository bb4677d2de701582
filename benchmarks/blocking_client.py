"""A client that makes one request after the other, and sees to it that each is answered as it should be."""

from __future__ import annotations

import socket

from benchmarks.load import cookie_of, opening_handshake


class BlockingClient:
    """One connection, with a session of its own once an answer has set a cookie."""

    def __init__(self, host: str, port: int) -> None:
        self._host = f"{host}:{port}"
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self.cookie = b""

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, method: str, path: str, status: int = 200) -> None:
        """Make a request and read the whole answer, which has this status."""
        self._socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n".encode() + self._cookie_header())
        head = self._head(status)
        length = next((line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b": 0")
        self._read(int(length.partition(b":")[2]))

    def open_websocket(self, path: str) -> None:
        """Make a WebSocket of this connection."""
        self._socket.sendall(opening_handshake(self._host, path) + self._cookie_header())
        self._head(101)

    def echo(self, payload: bytes) -> None:
        """Send a short text message, and have it back."""
        self._socket.sendall(bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload)
        frame = self._read(2 + len(payload))
        if frame != bytes([0x81, len(payload)]) + payload:
            raise RuntimeError(f"unexpected message: {frame!r}")

    def _cookie_header(self) -> bytes:
        return b"Cookie: " + self.cookie + b"\r\n\r\n" if self.cookie else b"\r\n"

    def _head(self, status: int) -> bytes:
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 %d " % status):
            raise RuntimeError(f"unexpected answer: {head!r}")
        self.cookie = cookie_of(head) or self.cookie
        return head

    def _read(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        found, self._received = self._received[:size], self._received[size:]
        return found

    def _receive(self) -> None:
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._received += received
