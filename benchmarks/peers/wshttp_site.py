"""wshttp: the same functions and handlers on either engine, settings as by default but for what the arguments say."""

from __future__ import annotations

import argparse

from wshttp import Connection, Request, Server, SessionHandler, Settings

parser = argparse.ArgumentParser()
parser.add_argument("files", help="the folder of the static files")
parser.add_argument("--engine", default="native")
parser.add_argument("--identity", default="cookie")
parser.add_argument("--handler", action="store_true", help="count in a `SessionHandler`, in place of a function")
parser.add_argument("--compression", action="store_true")
arguments = parser.parse_args()

server = Server(
    Settings.model_validate(
        {
            "server": {"port": 0, "engine": arguments.engine, "max_connections": 0},
            "session": {"identity": [arguments.identity]},
            "websocket": {"compression": arguments.compression},
            "static": {"root": arguments.files},
            "log": {"level": "warning"},  # no access log, as with the peers
        }
    )
)


async def count(request: Request) -> dict[str, int]:
    counted = request.session.get("count", 0) + 1
    request.session["count"] = counted
    return {"count": counted}


class Count(SessionHandler):
    async def get(self) -> None:
        counted = self.session.get("count", 0) + 1
        self.session["count"] = counted
        self.write({"count": counted})


@server.websocket("/echo")
async def echo(connection: Connection, message: str | bytes) -> None:
    await connection.send(message)


@server.websocket("/broadcast")
async def broadcast(connection: Connection, message: str | bytes) -> None:
    await server.hub.send(message)


if arguments.handler:
    server.add_handlers([("/count", Count)])
else:
    server.get("/count")(count)
server.run()
