"""The counter of the tour: a request and a message raise one value of the session, and all its connections hear of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from browsing import Browser, read_json
from serving import new_server, running, soon, websocket

from wshttp.demo import setup


@pytest.mark.feature("W1")
async def test_request_and_message_raise_one_counter() -> None:
    """Each is told to the session's connections, with how it came; another session, and other messages, change nothing."""
    server = new_server(session={"identity": ["cookie"]})
    setup(server)
    async with running(server) as base:
        ada, guest = Browser(base), Browser(base)
        for browser in (ada, guest):
            await browser.get("/wshttp/session")
        headers = {"Cookie": f"wshttp={ada.cookies['wshttp']}", "Origin": base}
        async with websocket(base, "/wshttp/socket", additional_headers=headers, subprotocols=["wshttp.v1"]) as socket:

            async def told(kind: str) -> Any:
                while (message := json.loads(await soon(socket.recv())))["type"] != kind:
                    pass
                return message.get("data")

            assert (await ada.post("/counter")).code == 204
            assert await told("app") == {"counter": 1, "by": "request"}
            await guest.post("/counter")
            await socket.send('{"type": "app", "data": "count", "id": 1}')
            assert await told("app") == {"counter": 2, "by": "message"}
            for other in ('"counter"', "null", '{"count": 1}'):
                await socket.send(f'{{"type": "app", "data": {other}, "id": 2}}')
                await told("ok")
        counters = [read_json(await browser.get("/counter")) for browser in (ada, guest, Browser(base))]
        assert counters == [{"counter": 2}, {"counter": 1}, {"counter": 0}]


@pytest.mark.feature("W1")
async def test_end_amid_a_count_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A visitor who leaves while a message of theirs is counted puts no traceback into the log."""
    caplog.set_level("INFO")
    server = new_server(session={"identity": ["cookie"]})

    @server.on_message  # before that of the tour, so that the session is over when that one counts
    async def leave(connection: Any, message: Any) -> None:
        await server.sessions.end(connection.session)

    setup(server)
    async with running(server) as base:
        ada = Browser(base)
        await ada.get("/wshttp/session")
        headers = {"Cookie": f"wshttp={ada.cookies['wshttp']}", "Origin": base}
        async with websocket(base, "/wshttp/socket", additional_headers=headers, subprotocols=["wshttp.v1"]) as socket:
            await socket.send('{"type": "app", "data": "count", "id": 1}')
            await soon(socket.wait_closed())
            assert socket.close_code == 4001
    assert "by_message got no further" in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
