"""A client that keeps a server busy: several connections, each sending its next request when the answer is there.

It reads no more of an answer than its size, so that one core of it can load one core of a server.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

CONNECTIONS: Final = 16


@dataclass(frozen=True)
class Conversation:
    """What one connection says: first `greeting`, whose answer is a header and nothing else, then `request` for ever.

    `{cookie}` in the request is what the greeting's answer sets; each answer to it begins with `expected`.
    """

    greeting: bytes
    request: bytes
    expected: bytes


def http_conversation(host: str, path: str = "/") -> Conversation:
    """Get `path`, in the session that a HEAD starts."""
    greeting = f"HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {{cookie}}\r\n\r\n".encode()
    return Conversation(greeting, request, b"HTTP/1.1 200 ")


def websocket_conversation(host: str, payload: bytes) -> Conversation:
    """Send a short text message to `/echo`, and have it back (RFC 6455, sections 4.1 and 5.2)."""
    masked = bytes([0x81, 0x80 | len(payload), 0, 0, 0, 0]) + payload  # a mask of zeros changes nothing
    return Conversation(opening_handshake(host, "/echo") + b"\r\n", masked, bytes([0x81, len(payload)]) + payload)


def opening_handshake(host: str, path: str) -> bytes:
    """Return the header that asks for a WebSocket, but for its end (RFC 6455, section 4.1)."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    ).encode()


async def rate(host: str, port: int, conversation: Conversation, seconds: float) -> tuple[int, float]:
    """Talk for so many seconds, and until each has had an answer; return the number of answers and the time it took."""
    speakers = [_Speaker(conversation) for _ in range(CONNECTIONS)]
    loop = asyncio.get_running_loop()
    for speaker in speakers:
        await loop.create_connection(partial(_itself, speaker), host, port)
    begin = time.perf_counter()
    await asyncio.gather(asyncio.sleep(seconds), *(speaker.answered for speaker in speakers))
    for speaker in speakers:
        speaker.stop()
        if speaker.unexpected:
            raise RuntimeError(f"unexpected answer: {speaker.unexpected!r}")
    return sum(speaker.answers for speaker in speakers), time.perf_counter() - begin


def _itself(speaker: _Speaker) -> _Speaker:
    return speaker


class _Speaker(asyncio.Protocol):
    """One side of a conversation, over one connection."""

    def __init__(self, conversation: Conversation) -> None:
        self.answers = 0
        self.unexpected = b""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._conversation = conversation
        self._request = b""
        self._received = b""
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._conversation.greeting)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._request:
            self._take_greeting()
        elif len(self._received) >= (self._size or self._measure()):
            self._take_answer()

    def _take_greeting(self) -> None:
        header, end, _ = self._received.partition(b"\r\n\r\n")
        if end:
            self._request = self._conversation.request.replace(b"{cookie}", cookie_of(header) or b"none=none")
            self._received = b""
            self._transport.write(self._request)

    def _take_answer(self) -> None:
        if not self.answered.done():
            self.answered.set_result(None)
        if not self._received.startswith(self._conversation.expected):
            self.unexpected = self._received[:500]
            return
        self.answers += 1
        self._received = b""
        self._transport.write(self._request)

    def _measure(self) -> int:
        """Return the size of the answer, from the first one; all are of one size."""
        header, end, _ = self._received.partition(b"\r\n\r\n")
        lines = header.lower().split(b"\r\n")
        body = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
        if body is None:
            self._size = len(self._conversation.expected)
        elif end:
            self._size = len(header) + len(end) + body
        return self._size or len(self._received) + 1

    def stop(self) -> None:
        self._transport.abort()


def cookie_of(header: bytes) -> bytes:
    """Return name and value of the cookie that an answer sets; empty where it sets none."""
    lines = header.split(b"\r\n")
    return next((line[12:].partition(b";")[0] for line in lines if line.startswith(b"Set-Cookie: ")), b"")
