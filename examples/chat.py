"""A chat: rooms that the server knows, a name that lives in the session, and what was said before one came.

    python examples/chat.py

Then open http://127.0.0.1:8080/ in two browsers, or in one and in a private window of it.
"""

from __future__ import annotations

from pathlib import Path

from wshttp import Response, Server

ROOMS = {"room.lobby", "room.kitchen"}
PAGE = Path(__file__).with_suffix(".html").read_text(encoding="utf-8")

server = Server.from_config(None, overrides=["session.identity=[cookie]"])  # a session per browser


@server.get("/")
async def page(request):
    return Response(PAGE, content_type="text/html; charset=UTF-8")


@server.on_subscribe
def may_join(connection, topic):
    return topic in ROOMS


@server.on_publish
def sign(connection, topic, text):
    """Publish what was said with the name of who said it: a browser could claim any."""
    text = str(text).strip()[:500]
    return {"name": connection.session.get("name", "somebody"), "text": text} if text else False


@server.on_message
async def rename(connection, name):
    """Take what `client.request(name)` asks for, and answer with what it has become."""
    connection.session["name"] = str(name).strip()[:30] or "somebody"
    return connection.session["name"]


if __name__ == "__main__":
    server.run()
