"""How a connection is let in, over whatever transport: registered, the application asked, its changes committed.

In this order, so that an end which comes in between finds the connection; and all before the first byte of the answer.
"""

from __future__ import annotations

from typing import Literal

from wshttp.errors import Forbidden, SessionEnded, StoreUnavailable
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import Format
from wshttp.web.handler import SessionHandler
from wshttp.web.site import Site
from wshttp.web.visit import Visit


async def admit(
    handler: SessionHandler,
    visit: Visit,
    *,
    format: Format,
    subprotocol: str | None = None,
    over: Literal["WebSocket", "stream"] = "WebSocket",
) -> Connection:
    """Make the connection that a request asks for. Raises what answers the request where it may not be."""
    site = handler.site
    if site.draining:
        raise StoreUnavailable("the server is closing; come back")
    if site.settings.session.enabled:
        visit.require_session()
    connection = Connection(
        site.hub,
        visit.session,
        remote_ip=handler.request.remote_ip or "",
        path=handler.request.path,
        user_agent=handler.request.headers.get("User-Agent"),
        subprotocol=subprotocol,
        format=format,
        over=over,
    )
    site.hub.register(connection)
    try:
        await _ask(site, connection)
        await visit.unit.commit()
    except BaseException:
        connection.admit(False)
        connection.lost(None, None)
        raise
    connection.admit(True)
    visit.patience.end()  # the messages, which are handled in this context, are no part of the handshake
    return connection


async def _ask(site: Site, connection: Connection) -> None:
    if await site.callbacks.decide("connect", connection, on_failure=False) is False:
        raise Forbidden("the application refused the connection")
    if connection.session is not None and connection.session.ended is not None:
        raise SessionEnded(connection.session.ref, connection.session.ended)  # it ended while we asked
