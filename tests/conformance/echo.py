"""A WebSocket that says what it hears, on one of the engines: what the Autobahn fuzzing client is sent to.

    PYTHONPATH=tests python -m conformance.echo ENGINE LOOP

It prints its address, and runs until it is ended.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from conformance.engines import take, use_loop
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application
from tornado.websocket import WebSocketHandler

MAX_MESSAGE = 1 << 26
"""Bytes; the largest message of the suite has 2^24."""


class Echo(WebSocketHandler):
    def get_compression_options(self) -> dict[str, Any]:
        return {}

    def on_message(self, message: str | bytes) -> Any:
        return self.write_message(message, binary=isinstance(message, bytes))


async def main(engine: str) -> None:
    take(engine)
    server = HTTPServer(Application([("/", Echo)], websocket_max_message_size=MAX_MESSAGE))
    sock, port = bind_unused_port()
    server.add_sockets([sock])
    print(f"ws://127.0.0.1:{port}/", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    use_loop(sys.argv[2])
    asyncio.run(main(sys.argv[1]))
