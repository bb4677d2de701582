"""Two servers that say hello: ours, with a session, and Tornado's, without one. Each runs in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from benchmarks.process import beside_a_process
from wshttp import Connection, Request, Server, Session, Settings, logs
from wshttp.collector import Collector

HOST = "127.0.0.1"


@dataclass(frozen=True)
class HelloServer:
    """A server in another process."""

    port: int
    pipe: Pipe

    def computed(self) -> float:
        """Return the seconds that it has computed so far: what other processes take from it is not in them."""
        self.pipe.send(None)
        seconds: float = self.pipe.recv()
        return seconds


@contextmanager
def both() -> Iterator[tuple[HelloServer, HelloServer]]:
    """Run both servers: ours, Tornado's."""
    with ours() as mine, beside_a_process(_serve_tornado) as tornado:
        yield mine, HelloServer(tornado.recv(), tornado)


@contextmanager
def ours(**store: Any) -> Iterator[HelloServer]:
    """Run ours, with these settings of the section `store`.

    `/` and `/echo` only look at the session; `/count` and `/tally` change it.
    """
    with beside_a_process(_serve_ours, store) as pipe:
        yield HelloServer(pipe.recv(), pipe)


async def _answer(parent: Pipe, port: int) -> None:
    """Tell the port, then the computing time as often as asked, until the parent closes its end."""
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    parent.send(port)
    loop.add_reader(parent.fileno(), asked.set)
    try:
        while True:
            await asked.wait()
            asked.clear()
            while parent.poll():
                parent.recv()
                parent.send(time.process_time())
    except EOFError:
        loop.remove_reader(parent.fileno())


# --- ours ---------------------------------------------------------------------------------------------


def _serve_ours(parent: Pipe, store: dict[str, Any]) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        logs.configure("info", "text")  # as by default
        asyncio.run(_ours(parent, store))


async def _ours(parent: Pipe, store: dict[str, Any]) -> None:
    sections = {"server": {"port": 0, "host": HOST}, "session": {"identity": ["cookie"]}, "store": store}
    server = Server(Settings.model_validate(sections))
    server.get("/")(_hello)
    server.get("/count")(_count)
    server.websocket("/echo")(_echo)
    server.websocket("/tally")(_tally)
    await server.start()
    async with Collector(lambda: server.sessions.busy):
        await _answer(parent, int(server.addresses[0].rpartition(":")[2]))
    await server.stop()


async def _hello(request: Request) -> str:
    return "Hello, world"


async def _count(request: Request) -> str:
    _add_one(request.session)
    return "Hello, world"


async def _echo(connection: Connection, message: str | bytes) -> None:
    await connection.send(message)


async def _tally(connection: Connection, message: str | bytes) -> None:
    if connection.session is not None:
        _add_one(connection.session)
    await connection.send(message)


def _add_one(session: Session) -> None:
    """Change the session as most applications do: read, write, and leave the commit to the server."""
    session["count"] = session.get("count", 0) % 9 + 1  # always of one size


# --- Tornado's ----------------------------------------------------------------------------------------


def _serve_tornado(parent: Pipe) -> None:
    logging.getLogger("tornado").setLevel(
        logging.CRITICAL
    )  # a client that leaves in the midst of an answer is an error there
    asyncio.run(_tornado(parent))


async def _tornado(parent: Pipe) -> None:
    sockets = bind_sockets(0, HOST)
    rules = [("/", _Hello), ("/echo", _Echo)]
    HTTPServer(Application(rules, log_function=lambda handler: None)).add_sockets(sockets)
    await _answer(parent, sockets[0].getsockname()[1])


class _Hello(RequestHandler):
    def get(self) -> None:
        self.write("Hello, world")

    head = get


class _Echo(WebSocketHandler):
    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message)
