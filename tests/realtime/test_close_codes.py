"""The table of close codes, line by line: in itself, and as a client sees it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from serving import farewell, new_server, running, websocket

from wshttp.close_codes import MAX_REASON
from wshttp.errors import UsageError
from wshttp.realtime import close_codes
from wshttp.realtime.close_codes import sendable, session_ended
from wshttp.realtime.connection import Connection
from wshttp.sessions.record import Reason

ENDS = {
    "logout": (4001, "session-ended:logout"),
    "idle": (4002, "session-ended:idle"),
    "absolute": (4003, "session-ended:absolute"),
    "replaced": (4004, "session-ended:replaced"),
    "limit": (4005, "session-ended:limit"),
    "admin": (4006, "session-ended:admin"),
    "credentials": (4007, "session-ended:credentials"),
    "shutdown": (1001, "going away"),
}


def test_table_is_that_of_the_wire() -> None:
    """Codes and texts are fixed: clients and docs by others rely on them."""
    table = {name: tuple(close) for name, close in vars(close_codes).items() if isinstance(close, close_codes.Close)}
    assert table == {
        "BYE": (1000, "bye"),
        "GOING_AWAY": (1001, "going away"),
        "INTERNAL_ERROR": (1011, "internal error"),
        "PING_TIMEOUT": (1011, "ping timeout"),
        "SLOW": (1013, "slow"),
        "RATE": (1013, "rate"),
        "RENEWED": (4000, "session-renewed"),
        "KICKED": (4008, "kicked"),
    }
    assert {str(reason): tuple(session_ended(reason)) for reason in Reason} == ENDS


@pytest.mark.feature("W11")
@pytest.mark.parametrize("reason", ENDS)
async def test_end_of_a_session_closes_its_sockets_with_code_and_reason(reason: str) -> None:
    """Each way to end has its own code, on all sockets of the session and on no other."""
    server = new_server(session={"identity": ["cookie"]})
    server.websocket("/quiet")(lambda connection, message: None)
    async with running(server) as base, websocket(base, "/quiet") as other:
        session = await server.sessions.create(remote_ip="127.0.0.1", identity="cookie")
        cookie: dict[str, Any] = {"additional_headers": {"Cookie": f"wshttp={session.id.value}"}, "origin": base}
        async with websocket(base, "/quiet", **cookie) as one, websocket(base, "/wshttp/socket", **cookie) as two:
            await server.sessions.end(session, reason)
            assert await farewell(one) == await farewell(two) == ENDS[reason]
        assert [connection.session.ref != session.ref for connection in server.hub] == [True]
        assert other.close_code is None


@pytest.mark.feature("I9")
async def test_renewal_closes_with_4000() -> None:
    """A log-in changes the token: the session's sockets are asked to come back with the new one."""
    server = new_server(session={"identity": ["cookie"]})
    server.websocket("/quiet")(lambda connection, message: None)
    async with running(server) as base, websocket(base, "/quiet") as socket:
        [connection] = server.hub
        await server.sessions.renew(connection.session, user="ann")
        assert await farewell(socket) == (4000, "session-renewed")
        assert connection.session.ended is None


@pytest.mark.feature("A5")
async def test_kick_closes_with_4008() -> None:
    """A connection that an administrator closes is told to stay away; its session lives."""
    server = new_server()
    server.websocket("/quiet")(lambda connection, message: None)
    async with running(server) as base, websocket(base, "/quiet") as socket:
        [connection] = server.hub
        assert server.hub.kick(connection.id)
        assert await farewell(socket) == (4008, "kicked")
        assert not server.hub.kick(connection.id)
        assert connection.session.ended is None


@pytest.mark.feature("W10")
async def test_drain_closes_with_1001() -> None:
    """A server that stops asks its clients to go elsewhere."""
    server = new_server()
    server.websocket("/quiet")(lambda connection, message: None)
    async with running(server) as base, websocket(base, "/quiet") as socket:
        stopping = asyncio.create_task(server.stop())
        assert await farewell(socket) == (1001, "going away")
        assert await stopping == 0


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 1014, 3000, 4999])
def test_code_that_may_be_sent(code: int) -> None:
    """What is registered, and 3000 to 4999, may stand in a close frame, with a reason of up to 123 bytes."""
    assert sendable(code, "é" * (MAX_REASON // 2)) == (code, "é" * (MAX_REASON // 2))


@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 70_000])
def test_code_that_may_not_be_sent(code: int) -> None:
    """RFC 6455, section 7.4: other numbers mean nothing, or mean that no frame came."""
    with pytest.raises(UsageError, match="no code to close with"):
        sendable(code, "")


async def test_close_with_what_no_frame_can_carry_changes_nothing() -> None:
    """A mistake of the application raises where it is made, and the connection is still open."""
    server = new_server()

    @server.websocket("/mistake")
    async def mistake(connection: Connection, message: str) -> None:
        for code, reason in ((1006, ""), (4000, "é" * 62)):
            with pytest.raises(UsageError):
                connection.close(code, reason)
        connection.close(4000, "é" * 61)

    async with running(server) as base, websocket(base, "/mistake") as socket:
        await socket.send("go")
        assert await farewell(socket) == (4000, "é" * 61)
