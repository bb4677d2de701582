"""What requests are answered while the store is away: 503 where a session is needed, and nothing else is touched."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from disks import Disk
from serving import fetch, new_server, refusal, running, soon, until, websocket
from tornado.httpclient import HTTPResponse
from tornado.web import RequestHandler

from wshttp import Server
from wshttp.realtime.connection import Connection
from wshttp.sessions.patience import seconds_left
from wshttp.stores.sqlite import SqliteStore
from wshttp.web.handler import SessionHandler


class Scene:
    """A server, its disk, and a client with a session of its own."""

    def __init__(self, server: Server, disk: Disk) -> None:
        self.server = server
        self.disk = disk
        self.base = ""
        self.cookie = ""

    async def ask(self, method: str, path: str, **options: Any) -> HTTPResponse:
        options.setdefault("headers", {"Cookie": self.cookie})
        return await fetch(f"{self.base}{path}", method, **options)

    async def begin(self) -> None:
        """Log the client in."""
        answer = await self.ask("POST", "/wshttp/login", headers={}, auth_username="ada", auth_password="correct horse")
        assert answer.code == 200
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]

    async def begin_outage(self) -> None:
        self.disk.fails = True
        assert (await self.ask("GET", "/count")).code == 503
        assert not self.server.sessions.store.available


class Plain(RequestHandler):
    """Knows no sessions."""

    def get(self) -> None:
        self.finish({"plain": True})


class Styled(SessionHandler):
    """Tornado's own style."""

    async def get(self) -> None:
        self.finish({"user": self.session.user})


Play = Callable[..., Any]


@pytest.fixture
def play(tmp_path: Path, users_file: str, monkeypatch: pytest.MonkeyPatch) -> Play:
    @asynccontextmanager
    async def play(**store: Any) -> AsyncIterator[Scene]:
        files = tmp_path / "files"
        files.mkdir()
        (files / "public.txt").write_text("public")
        (files / "private.txt").write_text("private")
        server = new_server(
            store={"kind": "sqlite", "path": str(tmp_path / "sessions.db"), "timeout": 20} | store,
            auth={"users_file": users_file, "protect": ["/private*", {"path": "/sent", "redirect": "/login.html"}]},
            session={"identity": ["credentials", "cookie"]},
            static={"root": str(files)},
        )
        server.get("/count")(count)
        server.get("/private")(count)
        server.get("/plain")(hello)
        server.add_handlers([(r"/tornado", Plain), (r"/styled", Styled)])
        assert isinstance(server.sessions.store, SqliteStore)
        scene = Scene(server, Disk(server.sessions.store, monkeypatch))
        async with running(server) as scene.base:
            await scene.begin()
            yield scene
            scene.disk.fails = False
            scene.disk.go.set()

    return play


async def count(request: Any) -> dict[str, Any]:
    return {"n": await request.session.increment("n")}


def hello(request: Any) -> str:
    return "hello"


def told(answer: HTTPResponse) -> tuple[int, str, str]:
    return answer.code, json.loads(answer.body)["type"], answer.headers["Retry-After"]


AWAY = (503, "urn:wshttp:store-unavailable", "1")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/count"),
        ("GET", "/plain"),
        ("GET", "/styled"),
        ("GET", "/private"),
        ("GET", "/private.txt"),
        ("HEAD", "/count"),
        ("GET", "/wshttp/session"),
        ("GET", "/wshttp/session?touch=0"),
        ("POST", "/wshttp/session"),
        ("POST", "/wshttp/session/touch"),
        ("DELETE", "/wshttp/session"),
        ("GET", "/wshttp/sessions"),
        ("DELETE", "/wshttp/sessions"),
        ("DELETE", "/wshttp/sessions/0123456789abcdef01234567"),
    ],
)
async def test_request_with_a_session_is_503(play: Play, method: str, path: str) -> None:
    """With `Retry-After`, whoever asks for what; afterwards the session is there as it was."""
    async with play() as scene:
        await scene.begin_outage()
        answer = await scene.ask(method, path)
        assert (answer.code, answer.headers["Retry-After"]) == AWAY[::2]
        assert method == "HEAD" or told(answer) == AWAY
        assert b"no space left" not in answer.body, "what is wrong with our disk is for our log"
        assert "Set-Cookie" not in answer.headers, "the client keeps its token"
        scene.disk.fails = False
        await until(lambda: scene.server.sessions.store.available)
        answer = await scene.ask("GET", "/wshttp/session")
        assert (answer.code, json.loads(answer.body)["user"]) == (200, "ada")


async def test_newcomers_are_503_and_nobody_is_let_in(play: Play) -> None:
    """No session can begin; an unknown token and a right password are no way around that."""
    async with play() as scene:
        await scene.begin_outage()
        for headers in ({}, {"Cookie": f"wshttp={'A' * 43}"}):
            assert told(await scene.ask("GET", "/count", headers=headers)) == AWAY
        who = {"auth_username": "ada", "auth_password": "correct horse", "headers": {}}
        assert told(await scene.ask("GET", "/private.txt", **who)) == AWAY
        assert told(await scene.ask("POST", "/wshttp/login", **who)) == AWAY
        wrong = who | {"auth_password": "wrong"}
        assert (await scene.ask("POST", "/wshttp/login", **wrong)).code == 401
        assert told(await scene.ask("GET", "/sent", headers={"Cookie": scene.cookie})) == AWAY


async def test_handshake_is_503(play: Play) -> None:
    """Before the 101, with `Retry-After`."""
    async with play() as scene:
        await scene.begin_outage()
        headers = {"Cookie": scene.cookie, "Origin": scene.base}
        answer = await refusal(scene.base, "/wshttp/socket", additional_headers=headers)
        assert (answer.status_code, json.loads(answer.body)["type"], answer.headers["Retry-After"]) == AWAY
        assert len(scene.server.hub) == 0


async def test_handshake_whose_hook_needs_the_store_is_503(play: Play) -> None:
    """`on_connect` that meets the outage itself has decided nothing: neither to refuse for good nor to let in."""
    async with play() as scene:

        @scene.server.on_connect
        async def note(connection: Connection) -> None:
            scene.disk.fails = True
            await connection.session.increment("connected")

        headers = {"Cookie": scene.cookie, "Origin": scene.base}
        answer = await refusal(scene.base, "/wshttp/socket", additional_headers=headers)
        assert (answer.status_code, json.loads(answer.body)["type"], answer.headers["Retry-After"]) == AWAY
        assert len(scene.server.hub) == 0


async def test_what_needs_no_session_is_served_regardless(play: Play) -> None:
    """Files, plain handlers, liveness, metrics; readiness says what is wrong, so that a load balancer goes elsewhere."""
    async with play() as scene:
        await scene.begin_outage()
        answer = await scene.ask("GET", "/public.txt")
        assert (answer.code, answer.body) == (200, b"public")
        assert (await scene.ask("GET", "/tornado")).code == 200
        assert (await scene.ask("GET", "/nothing")).code == 404
        assert (await scene.ask("GET", "/wshttp/health/live")).code == 200
        metrics = await scene.ask("GET", "/wshttp/metrics")
        assert metrics.code == 200
        assert b"wshttp_store_up 0.0" in metrics.body
        assert b"wshttp_ledger_owed" not in metrics.body, "nobody knows it"
        ready = await scene.ask("GET", "/wshttp/health/ready")
        assert (ready.code, json.loads(ready.body)) == (503, {"status": "store-unavailable"})
        scene.disk.fails = False
        await until(lambda: scene.server.sessions.store.available)
        assert (await scene.ask("GET", "/wshttp/health/ready")).code == 200
        assert b"wshttp_store_up 1.0" in (await scene.ask("GET", "/wshttp/metrics")).body


async def test_request_waits_no_longer_than_the_timeout(play: Play) -> None:
    """A disk that takes its time is answered for after `store.timeout`; what it was told before is written later."""
    async with play(timeout="50ms") as scene:
        scene.disk.go.clear()
        began = time.monotonic()
        assert told(await scene.ask("GET", "/count")) == AWAY
        assert time.monotonic() - began < 5
        scene.disk.go.set()
        await until(lambda: scene.server.sessions.store._journal.batch_of() is None)
        assert json.loads((await scene.ask("GET", "/count")).body) == {"n": 2}


async def test_all_calls_of_a_request_share_one_timeout(play: Play) -> None:
    """And what outlives the request, a task or a socket, is no longer bound by it."""
    async with play(timeout="3s") as scene:
        seen: list[float] = []
        answered = asyncio.Event()

        async def afterwards() -> None:
            await answered.wait()
            seen.append(seconds_left(60.0))

        @scene.server.get("/left")
        async def left(request: Any) -> None:
            seen.append(seconds_left(60.0))
            request.session.local["task"] = asyncio.create_task(afterwards())

        @scene.server.websocket("/left-socket")
        async def left_there(connection: Connection, message: str | bytes) -> None:
            await connection.send(seconds_left(60.0))

        assert (await scene.ask("GET", "/left")).code == 204
        answered.set()
        await until(lambda: len(seen) == 2)
        assert (0 < seen[0] <= 3.0, seen[1]) == (True, 60.0)
        headers = {"Cookie": scene.cookie, "Origin": scene.base}
        async with websocket(scene.base, "/left-socket", additional_headers=headers) as socket:
            await socket.send("?")
            assert json.loads(await soon(socket.recv())) == 60.0
