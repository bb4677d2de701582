"""A live dashboard: the server publishes its numbers every second, and every page draws them.

    python examples/dashboard.py

Then open http://127.0.0.1:8080/. A page that comes later, or back, has the last hundred seconds at once: the topic's
history gives them.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from wshttp import Response, Server

PAGE = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")

server = Server.from_config(None, overrides=["session.identity=[cookie]"])
publishing = set()  # a task that nobody holds may be collected before it is done


@server.get("/")
async def page(request):
    return Response(PAGE, content_type="text/html; charset=UTF-8")


@server.on_subscribe
def may_look(connection, topic):
    return topic == "numbers"


@server.on_publish
def may_not_write(connection, topic, data):
    return False


async def publish_numbers():
    while True:
        numbers = {"load": os.getloadavg()[0], "sessions": await server.sessions.count(), "sockets": len(server.hub)}
        await server.hub.publish("numbers", numbers)
        await asyncio.sleep(1)


@server.on_startup
async def begin(server):
    publishing.add(asyncio.create_task(publish_numbers()))


@server.on_shutdown
async def stop(server):
    for task in publishing:
        task.cancel()


if __name__ == "__main__":
    server.run()
