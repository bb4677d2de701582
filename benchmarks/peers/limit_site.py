"""What the loop allows: a bare protocol on uvloop that parses nothing and answers from a constant.

A request is what ends in an empty line, a message what has the announced number of bytes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import re

import uvloop
from listening import listen

parser = argparse.ArgumentParser()
parser.add_argument("files", help="not used")
parser.add_argument("--payload", type=int, default=64, help="bytes in each message, at most 125")
arguments = parser.parse_args()

BODY = b'{"count": 1}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
SWITCH = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
KEY = re.compile(rb"(?i)sec-websocket-key: *(\S+)")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

FRAME = bytes([0x81, arguments.payload]) + b"x" * arguments.payload
MASKED_SIZE = 2 + 4 + arguments.payload


class Limit(asyncio.Protocol):
    def __init__(self) -> None:
        self.is_socket = False
        self.received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.is_socket:
            count, self.received = divmod(self.received + len(data), MASKED_SIZE)
            self.transport.write(FRAME * count)
        elif key := KEY.search(data):
            self.is_socket = True
            self.transport.write(SWITCH % base64.b64encode(hashlib.sha1(key[1] + GUID).digest()))
        else:
            self.transport.write(ANSWER * data.count(b"\r\n\r\n"))


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Limit, sock=listen())
    await server.serve_forever()


uvloop.run(main())
