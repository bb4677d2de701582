"""Tornado, as its documentation shows it: stock, or after `wshttp.engine.install()`."""

from __future__ import annotations

import argparse
import asyncio
import logging
from typing import Any, ClassVar

from listening import listen
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, StaticFileHandler
from tornado.websocket import WebSocketHandler

from wshttp.web.socket_handler import COMPRESSION

parser = argparse.ArgumentParser()
parser.add_argument("files", help="the folder of the static files")
parser.add_argument("--install", action="store_true")
parser.add_argument("--compression", action="store_true")
arguments = parser.parse_args()


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("Hello, world")


class Count(RequestHandler):
    """Tornado has no sessions; a signed cookie is what its documentation offers for the purpose."""

    def get(self) -> None:
        counted = int(self.get_signed_cookie("count") or 0) + 1
        self.set_signed_cookie("count", str(counted))
        self.write({"count": counted})


class Socket(WebSocketHandler):
    def get_compression_options(self) -> dict[str, Any] | None:
        return COMPRESSION if arguments.compression else None  # at the level of the others


class Echo(Socket):
    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message)


class Broadcast(Socket):
    everybody: ClassVar[set[WebSocketHandler]] = set()

    def open(self) -> None:
        self.everybody.add(self)

    def on_message(self, message: str | bytes) -> None:
        for each in self.everybody:
            each.write_message(message)

    def on_close(self) -> None:
        self.everybody.discard(self)


async def main() -> None:
    logging.getLogger("tornado").setLevel(logging.CRITICAL)
    rules = [
        ("/hello", Hello),
        ("/count", Count),
        ("/echo", Echo),
        ("/broadcast", Broadcast),
        ("/(files/.*)", StaticFileHandler, {"path": arguments.files}),
    ]
    application = Application(rules, cookie_secret="0123456789abcdef", log_function=lambda handler: None)
    listener = listen()
    listener.setblocking(False)  # as Tornado's own `bind_sockets` has it
    HTTPServer(application).add_sockets([listener])
    await asyncio.Event().wait()


if arguments.install:
    import uvloop

    from wshttp.engine import install

    install()
    uvloop.run(main())
else:
    asyncio.run(main())
