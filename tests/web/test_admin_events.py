"""The stream of what happens, and the numbers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from administering import API, admin_server, administrator
from browsing import Browser, basic, problem, read_json
from serving import Raw, fetch, new_server, raw, running, soon, until, websocket

from wshttp import User
from wshttp.sessions.happenings import Happening
from wshttp.testing import FakeClock


class Stream:
    """The events of one watcher, read from the wire."""

    def __init__(self, connection: Raw) -> None:
        self.connection = connection

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Return the next event's name and data."""
        while True:
            chunk = await self._chunk()
            fields = dict(line.split(": ", 1) for line in chunk.splitlines() if ": " in line)
            if "event" in fields:
                return fields["event"], json.loads(fields["data"])

    async def _chunk(self) -> str:
        """Return up to the next empty line of what is inside of chunked coding."""
        text = (await self.connection.until(b"\n\n")).decode()
        return "\n".join(line for line in text.splitlines() if not _is_size(line))


def _is_size(line: str) -> bool:
    return bool(line) and all(digit in "0123456789abcdefABCDEF" for digit in line.strip())


@asynccontextmanager
async def watching(base: str, login: tuple[str, str]) -> AsyncIterator[Stream]:
    async with raw(base) as connection:
        host = base.removeprefix("http://")
        head = f"GET {API}/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: {basic(*login)}\r\n\r\n"
        connection.send(head.encode())
        answer = (await connection.until(b"\r\n\r\n")).decode()
        assert answer.startswith("HTTP/1.1 200")
        assert "Content-Type: text/event-stream" in answer
        assert "Cache-Control: no-store" in answer
        stream = Stream(connection)
        assert (await stream.next())[0] == "hello"
        yield stream


@pytest.mark.feature("A1", "A5")
async def test_stream_tells_what_happens(users_file: str, ada: tuple[str, str]) -> None:
    """Starts, sockets and ends, with ref and address; never an id."""
    server = admin_server(users_file)
    async with running(server) as base, watching(base, ada) as stream:
        visitor = Browser(base)
        ref = read_json(await visitor.post("/wshttp/session"))["ref"]
        cookie = visitor.cookies["wshttp"]
        headers = {"Cookie": f"wshttp={cookie}", "Origin": base}
        async with websocket(base, "/wshttp/socket", additional_headers=headers) as socket:
            await socket.recv()
            await visitor.delete("/wshttp/session")
        events = [await stream.next() for _ in range(4)]
        assert [name for name, _ in events] == ["started", "connected", "ended", "disconnected"]
        assert {data["ref"] for _, data in events} == {ref}
        assert {data["ip"] for _, data in events} == {"127.0.0.1"}
        details = [set(data) - {"at", "ref", "user", "ip"} for _, data in events]
        assert details == [set(), {"connection"}, {"reason"}, {"connection", "code"}]
        assert (events[2][1]["reason"], events[3][1]["code"]) == ("logout", 4001)
        assert cookie not in str(events)


async def test_stream_ends_when_the_server_drains(users_file: str, ada: tuple[str, str], clock: FakeClock) -> None:
    """Nobody waits for it: the server stops at once, and the stream is whole."""
    server = admin_server(users_file, clock, server={"port": 0, "drain_timeout": "1h"})
    await server.start()
    async with watching(server.addresses[0], ada) as stream:
        stopping = asyncio.create_task(server.stop())
        assert (await stream.connection.rest()).endswith(b"0\r\n\r\n")
        assert await soon(stopping) == 0


async def test_watcher_who_leaves_is_forgotten(
    users_file: str, ada: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its place is free again, without an event that would have shown that it is gone; nothing is wrong with that."""
    server = admin_server(users_file)
    async with running(server) as base:
        browser = administrator(base, ada)
        async with watching(base, ada):
            assert read_json(await browser.get(f"{API}/stats"))["watchers"] == 1
        async with asyncio.timeout(10):
            while read_json(await browser.get(f"{API}/stats"))["watchers"]:
                pass
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_watcher_that_does_not_read_is_dropped(users_file: str, ada: tuple[str, str]) -> None:
    """With a thousand events before it: it must not hold anything up, nor keep more than that."""
    server = admin_server(users_file)
    async with running(server) as base:
        browser = administrator(base, ada)
        async with watching(base, ada):
            long = "x" * 10_000
            happening = Happening("started", 1.0, "ab", long, "192.0.2.7")
            happenings = server.sessions.happenings
            async with asyncio.timeout(10):
                while True:
                    for _ in range(100):
                        happenings._pass_on(happening)
                    if read_json(await browser.get(f"{API}/stats"))["watchers"] == 0:
                        break


async def test_stream_ends_for_who_may_not_look_any_more(users_file: str, ada: tuple[str, str]) -> None:
    """A user who was removed sees nothing of what happens after that."""
    server = admin_server(users_file)
    async with running(server) as base, watching(base, ada) as stream:
        Path(users_file).write_text("")
        users = server.site.authenticator.users_file  # type: ignore[union-attr]  # there is one
        async with asyncio.timeout(10):
            while users.find("ada") is not None:  # type: ignore[union-attr]
                await server.poll_users()
        await Browser(base).post("/wshttp/session")
        rest = await stream.connection.until(b"0\r\n\r\n")
        assert b"started" not in rest


async def test_stream_ends_for_whom_the_application_refuses_by_now(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`on_authenticate` is asked again when its answer is no longer remembered, though nobody asks for anything."""
    monkeypatch.setattr("wshttp.web.admin.events.HEARTBEAT", 0.001)
    may = [True]
    server = new_server(clock, auth={"cache": "1m"}, admin={"users": ["zoe"]})
    server.on_authenticate(lambda user, password, request: User(user) if may[0] else False)
    async with running(server) as base, watching(base, ("zoe", "right")) as stream:
        clock.advance(61)
        await stream.connection.until(b"\r\n:\n\n\r\n")
        may.clear()
        may.append(False)
        clock.advance(61)
        await stream.connection.until(b"0\r\n\r\n")


async def test_silence_is_broken_so_that_proxies_keep_the_stream(
    users_file: str, ada: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a line that means nothing."""
    monkeypatch.setattr("wshttp.web.admin.events.HEARTBEAT", 0.001)
    async with running(admin_server(users_file)) as base, watching(base, ada) as stream:
        await stream.connection.until(b"\r\n:\n\n\r\n")


async def test_watchers_are_so_many_at_most(
    users_file: str, ada: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 with `Retry-After`: the others go on watching."""
    monkeypatch.setattr("wshttp.web.admin.watchers.Watchers.__init__.__kwdefaults__", {"at_once": 1, "backlog": 10})
    server = admin_server(users_file)
    async with running(server) as base, watching(base, ada):
        response = await administrator(base, ada).get(f"{API}/events")
        assert problem(response) == (429, "too-many-requests")
        assert response.headers["Retry-After"] == "30"


async def test_head_of_the_stream_is_no_stream(users_file: str, ada: tuple[str, str]) -> None:
    """It is answered, and over."""
    async with running(admin_server(users_file)) as base:
        response = await administrator(base, ada)("HEAD", f"{API}/events")
        assert response.code == 200
        assert response.headers["Content-Type"] == "text/event-stream"


@pytest.mark.feature("A1", "A6")
async def test_stats_count_what_happens(users_file: str, ada: tuple[str, str], clock: FakeClock) -> None:
    """Sessions by life and reason, sockets, messages, requests, ends by lateness, log-ins, the store."""
    server = admin_server(users_file, clock)
    server.websocket("/echo")(lambda connection, message: connection.send(message))
    async with running(server) as base:
        visitor = Browser(base)
        await visitor.log_in(*ada)
        await Browser(base).log_in("ada", "wrong")
        await Browser(base).post("/wshttp/session")
        headers = {"Cookie": f"wshttp={visitor.cookies['wshttp']}", "Origin": base}
        async with websocket(base, "/echo", additional_headers=headers) as socket:
            await socket.send("hello")
            await soon(socket.recv())
        await until(lambda: len(server.hub) == 0)
        clock.advance(1201)
        await server.sessions.sweep()
        stats = read_json(await administrator(base, ada).get(f"{API}/stats"))
        assert stats["sessions"] == {"live": 0, "started": 2, "ended": {"idle": 2}, "refused": {}}
        assert stats["connections"] == {"open": 0, "opened": 1, "closed": {"1000": 1}}
        assert stats["logins"] == {"succeeded": 2, "failed": 1, "throttled": 0}, "remembered for five minutes"
        assert stats["requests"]["answered"] == 4
        assert stats["requests"]["by_status"] == {"1xx": 1, "2xx": 2, "4xx": 1}
        assert stats["requests"]["seconds"]["count"] == 4
        assert (stats["messages"]["received"], stats["messages"]["received_bytes"]) == (1, 5)
        assert stats["messages"]["seconds"]["count"] == 1
        assert stats["lateness"]["count"] == 2
        assert 0.9 <= stats["lateness"]["max"] <= 1.1
        assert stats["store"] == {
            "kind": "memory",
            "up": True,
            "owed": 0,
            "waiting": 0,
            "seconds": {"count": 0, "p50": None, "p95": None, "p99": None, "max": None},
        }
        assert stats["nodes"] == [{"node": "local", "connections": 0, "self": True}]
        assert (stats["at"], stats["uptime"]) == (round(clock.time(), 3), 1201)


async def test_page_of_administration_is_its_own(users_file: str, ada: tuple[str, str]) -> None:
    """No frame around it, nothing from elsewhere; without the slash it is the same page."""
    async with running(admin_server(users_file)) as base:
        browser = administrator(base, ada)
        entrance = await browser.get("/wshttp/admin")
        assert (entrance.code, entrance.headers["Location"]) == (302, "/wshttp/admin/")
        page = await browser.get("/wshttp/admin/")
        for part in ("frame-ancestors 'none'", "form-action 'none'"):
            assert part in page.headers["Content-Security-Policy"]
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert (await fetch(f"{base}/wshttp/admin/../session?touch=0")).code == 401
        assert (await browser.get("/wshttp/admin/%2e%2e/index.html")).code == 404
