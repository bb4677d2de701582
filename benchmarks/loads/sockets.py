"""WebSockets that keep a server busy, or only stay: a picows client that prints what happened as a line of JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import zlib
from collections.abc import Callable
from typing import Final

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

PATIENCE: Final = 60.0
"""Seconds until which every socket must have had an answer."""

AT_ONCE: Final = 64
"""Handshakes that are under way at the same time."""

OFFER: Final = "permessage-deflate; client_no_context_takeover; client_max_window_bits"


class Message:
    """What is sent: the payload of its frame is made once. An answer may be compressed in another way."""

    def __init__(self, size: int, deflate: bool) -> None:
        self.plain = (json_of(size) if deflate else "x" * size).encode()
        self.payload = compressed(self.plain) if deflate else self.plain
        self.deflate = deflate
        self.kind = WSMsgType.TEXT if deflate or size < 126 else WSMsgType.BINARY

    def send(self, transport: WSTransport) -> None:
        transport.send(self.kind, self.payload, True, self.deflate)

    def check(self, frame: WSFrame) -> None:
        """Raise `ValueError` for an answer that does not say the same; it must be the connection's first."""
        payload = frame.get_payload_as_bytes()
        if frame.rsv1:
            payload = zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + b"\x00\x00\xff\xff")
        if payload != self.plain or frame.rsv1 != self.deflate:
            raise ValueError(f"unexpected answer: {payload[:100]!r}")


def json_of(size: int) -> str:
    """Return the first so many bytes of JSON that looks like what applications send."""
    rows = [{"id": number, "name": f"item {number * 7919 % 1000}", "price": number * 31 % 97} for number in range(size)]
    return json.dumps(rows)[:size]


def compressed(plain: bytes) -> bytes:
    """Return a message without context, as RFC 7692, section 7.2.1 has it."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return (compressor.compress(plain) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Talk:
    """The sockets, and how many answers they have had together."""

    def __init__(self, message: Message, sockets: int) -> None:
        self.message = message
        self.sockets = sockets
        self.answers = 0
        self.listeners: list[Listener] = []
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, url: str, listener: Callable[[Talk], Listener]) -> None:
        """Open them all."""
        headers = [("Sec-WebSocket-Extensions", OFFER)] if self.message.deflate else []
        room = asyncio.Semaphore(AT_ONCE)

        async def connect() -> None:
            async with room:
                _, made = await ws_connect(
                    lambda: listener(self), url, extra_headers=headers, websocket_handshake_timeout=PATIENCE
                )
                self.listeners.append(made)  # type: ignore[arg-type]  # it returns what the factory made

        async with asyncio.TaskGroup() as tasks:
            for _ in range(self.sockets):
                tasks.create_task(connect())

    def fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    def leave(self) -> None:
        """Drop the connections; from now on it is no fault that they end."""
        self.failed.cancel()
        for listener in self.listeners:
            listener.transport.underlying_transport.abort()


class Listener(WSListener):
    """One socket. It looks at its first answer, and counts the others."""

    def __init__(self, talk: Talk) -> None:
        super().__init__()
        self.talk = talk
        self.checked = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if (self.checked or self._check(frame)) and frame.fin:
            self.talk.answers += 1
            self.answered(transport)

    def answered(self, transport: WSTransport) -> None:
        """Go on."""

    def _check(self, frame: WSFrame) -> bool:
        try:
            self.talk.message.check(frame)
        except (ValueError, zlib.error) as error:
            self.talk.fail(error)
        else:
            self.checked = True
        return self.checked

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.talk.fail(ConnectionError("the server closed a socket"))


class Echoing(Listener):
    """Sends its next message when the answer is there."""

    def answered(self, transport: WSTransport) -> None:
        message = self.talk.message
        transport.send(message.kind, message.payload, True, message.deflate)


class Hearing(Listener):
    """Hears what one of them had sent to all; the last to hear it has the next one sent."""

    def answered(self, transport: WSTransport) -> None:
        if self.talk.answers % self.talk.sockets == 0:
            self.talk.message.send(self.talk.listeners[0].transport)


async def until(seconds: float, talk: Talk) -> dict[str, float]:
    """Let them talk for so long, and until each has had an answer; return what happened."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await asyncio.wait({talk.failed}, timeout=seconds)
    while not talk.failed.done() and not all(listener.checked for listener in talk.listeners):
        if loop.time() > begin + seconds + PATIENCE:
            raise TimeoutError("a socket had no answer")
        await asyncio.wait({talk.failed}, timeout=0.05)
    if talk.failed.done():
        talk.failed.result()
    return {"answers": talk.answers, "seconds": loop.time() - begin}


async def echo(talk: Talk, url: str, seconds: float) -> None:
    """Print how many answers there were."""
    await talk.open(url, Echoing)
    print("begin", flush=True)
    for listener in talk.listeners:
        talk.message.send(listener.transport)
    print(json.dumps(await until(seconds, talk)), flush=True)


async def broadcast(talk: Talk, url: str, seconds: float) -> None:
    """Print how many messages arrived, at all sockets together."""
    await talk.open(url, Hearing)
    print("begin", flush=True)
    talk.message.send(talk.listeners[0].transport)
    print(json.dumps(await until(seconds, talk)), flush=True)


async def stay(talk: Talk, url: str, seconds: float) -> None:
    """Print when all are open, and wait for the end of the standard input."""
    await talk.open(url, Listener)
    print(json.dumps({"sockets": len(talk.listeners)}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if talk.failed.done():
        talk.failed.result()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["echo", "broadcast", "stay"])
    parser.add_argument("url")
    parser.add_argument("--sockets", type=int, default=32)
    parser.add_argument("--size", type=int, default=64, help="bytes of a message")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--deflate", action="store_true")
    arguments = parser.parse_args()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    talk = Talk(Message(arguments.size, arguments.deflate), arguments.sockets)
    await {"echo": echo, "broadcast": broadcast, "stay": stay}[arguments.work](talk, arguments.url, arguments.seconds)
    talk.leave()


uvloop.run(main())
