"""What the tour has of its own on the server: a counter in the session, raised by a request and by a message alike.

`config/demo.yaml` names it, and the page shows the counter; all else there is settings, and the browser client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wshttp import Connection, Request, Server, Session


def setup(server: Server) -> None:
    """Make a server count."""

    async def count(session: Session, by: str) -> None:
        counter = await session.increment("counter")
        await server.hub.send({"counter": counter, "by": by}, session=session)  # to all its tabs

    @server.get("/counter")
    async def read(request: Request) -> dict[str, Any]:
        return {"counter": request.session.get("counter", 0)}

    @server.post("/counter")
    async def by_request(request: Request) -> None:
        await count(request.session, "request")

    @server.on_message
    async def by_message(connection: Connection, message: Any) -> None:
        if message == "count" and connection.session is not None:
            await count(connection.session, "message")
