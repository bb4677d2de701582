"""Sockets and requests while a real Redis is paused, or killed and started again."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis_servers import RedisServer
from serving import fetch, new_server, running, soon, until, websocket
from tornado.httpclient import HTTPResponse

from wshttp import Server
from wshttp.auth.passwords import hash_password
from wshttp.realtime.connection import Connection

TIMEOUT = 0.3
"""Of the store, in seconds."""

PASSWORD = "correct horse"

AWAY = "urn:wshttp:store-unavailable"


class Scene:
    """A server on a Redis of its own, and a browser that has a session there."""

    def __init__(self, server: Server, redis: RedisServer) -> None:
        self.server = server
        self.redis = redis
        self.base = ""
        self.cookie = ""
        server.websocket("/socket")(self.count)
        server.get("/count")(self.write)
        server.get("/look")(self.look)

    async def count(self, connection: Connection, message: str) -> None:
        session = connection.session
        session["n"] = session.get("n", 0) + 1
        if message == "kill":
            self.redis.kill()
        await connection.send(f"{message} {session['n']}")

    async def write(self, request: Any) -> dict[str, Any]:
        return {"n": await request.session.increment("n")}

    async def look(self, request: Any) -> dict[str, Any]:
        return {"ref": request.session.ref, "n": request.session.get("n", 0)}

    async def ask(self, path: str, **options: Any) -> HTTPResponse:
        return await fetch(f"{self.base}{path}", headers={"Cookie": self.cookie}, **options)

    async def begin(self) -> None:
        answer = await fetch(f"{self.base}/look")
        self.cookie = answer.headers["Set-Cookie"].partition(";")[0]

    def socket(self, path: str = "/socket") -> Any:
        return websocket(self.base, path, additional_headers={"Cookie": self.cookie, "Origin": self.base})

    @property
    def waiting(self) -> int:
        return len(self.server.sessions.outage)

    async def back(self) -> None:
        await until(lambda: self.server.sessions.store.available)


Play = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def play(make_redis: Callable[..., RedisServer], tmp_path: Path) -> Play:
    users = tmp_path / "users"
    users.write_text(f"ada:{hash_password(PASSWORD, 4)}\n")

    @asynccontextmanager
    async def play(**store: Any) -> AsyncIterator[Scene]:
        redis = make_redis(appendonly="yes", appendfsync="always")
        store = {"kind": "redis", "url": redis.url(), "timeout": TIMEOUT} | store
        server = new_server(
            store=store,
            session={"identity": ["cookie"]},
            auth={"users_file": str(users)},
            rate={"requests_per_second": 1000},
            websocket={"topics": ["chat"]},
        )
        scene = Scene(server, redis)
        async with running(scene.server) as scene.base:
            await scene.begin()
            yield scene

    return play


async def refused_in_time(scene: Scene, path: str, **options: Any) -> None:
    began = time.monotonic()
    answer = await scene.ask(path, **options)
    assert (answer.code, json.loads(answer.body)["type"]) == (503, AWAY)
    assert int(answer.headers["Retry-After"]) >= 1
    assert time.monotonic() - began < TIMEOUT + 5, "the rest is for a busy machine"


async def test_paused_redis_is_503_and_sockets_stay_open(play: Play) -> None:
    """Messages wait, pings are answered, readiness says no; all goes on when Redis does."""
    async with play() as scene, scene.socket() as socket:
        await socket.send("a")
        assert await soon(socket.recv()) == "a 1"
        scene.redis.pause()
        for message in "bc":
            await socket.send(message)
        await refused_in_time(scene, "/count")
        await until(lambda: scene.waiting == 1)
        await soon(await socket.ping())
        await refused_in_time(scene, "/look")
        for password in (PASSWORD, "wrong"):  # nobody guesses while nobody counts
            who = {"auth_username": "ada", "auth_password": password}
            await refused_in_time(scene, "/wshttp/login", method="POST", **who)
        assert (await scene.ask("/wshttp/health/ready")).code == 503
        assert (await scene.ask("/wshttp/health/live")).code == 200
        assert (await scene.ask("/index.html")).code == 200
        scene.redis.resume()
        assert [await soon(socket.recv()) for _ in "bc"] == ["b 2", "c 3"]
        await scene.back()
        assert json.loads((await scene.ask("/look")).body)["n"] == 3
        assert (await scene.ask("/wshttp/health/ready")).code == 200


async def test_killed_redis_delays_a_commit_and_loses_none(play: Play) -> None:
    """The session is as it was acknowledged, and the message's change comes when Redis is back."""
    async with play() as scene, scene.socket() as socket:
        await socket.send("a")
        assert await soon(socket.recv()) == "a 1"
        await socket.send("kill")
        assert await soon(socket.recv()) == "kill 2"
        await socket.send("b")
        await until(lambda: scene.waiting == 1)
        await refused_in_time(scene, "/look")
        scene.redis.start()
        assert await soon(socket.recv()) == "b 3"
        await scene.back()
        assert json.loads((await scene.ask("/count")).body) == {"n": 4}
        assert socket.close_code is None


async def test_grace_answers_reads_of_known_sessions_only(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """From this server's copy; what changes a session, starts one or comes with an unknown token is 503."""
    async with play(outage="grace:60s") as scene, scene.socket() as socket:
        store, told = scene.server.sessions.store, []
        drop = store.drop
        monkeypatch.setattr(store, "drop", lambda ref: (drop(ref), told.append(ref)))
        await socket.send("a")
        assert await soon(socket.recv()) == "a 1"
        await until(lambda: told)  # the word of that change drops the copies that are made before it comes
        known = json.loads((await scene.ask("/look")).body)
        scene.redis.pause()
        await refused_in_time(scene, "/count")
        answer = await scene.ask("/look")
        assert (answer.code, json.loads(answer.body)) == (200, known)
        assert (await scene.ask("/wshttp/health/ready")).code == 503
        await refused_in_time(scene, "/count")
        scene.cookie, own = f"wshttp={'A' * 43}", scene.cookie
        await refused_in_time(scene, "/look")
        scene.cookie = ""
        await refused_in_time(scene, "/look")
        scene.cookie = own
        scene.redis.resume()
        await scene.back()
        assert json.loads((await scene.ask("/count")).body)["n"] >= 2


async def subscribed(socket: Any, **after: Any) -> list[dict[str, Any]]:
    """Join the topic; return what came until it was joined, from `presence` on."""
    await socket.send(json.dumps({"type": "subscribe", "topic": "chat", **after}))
    told: list[dict[str, Any]] = []
    while not told or told[-1]["type"] != "resumed":
        told.append(json.loads(await soon(socket.recv())))
    return [each for each in told if each["type"] in ("presence", "message", "resumed")]


async def next_message(socket: Any) -> dict[str, Any]:
    while (message := json.loads(await soon(socket.recv())))["type"] != "message":
        pass
    return message


@pytest.mark.feature("C5")
@pytest.mark.parametrize("outage", ["paused", "killed"])
async def test_publish_reaches_sockets_while_redis_is_away(play: Play, outage: str) -> None:
    """The application's messages go out; who comes back is told of the gap, and gets none of them a second time.

    That holds too where a Redis that was only paused does late what it was asked in time.
    """
    async with play(timeout=5 * TIMEOUT) as scene, scene.socket("/wshttp/socket") as socket:
        publish = scene.server.hub.publish
        place = (await subscribed(socket))[-1]
        scene.redis.pause() if outage == "paused" else scene.redis.kill()
        for text in ("one", "two"):
            assert await publish("chat", text) == 1
            message = await next_message(socket)
            assert (message["data"], "offset" in message) == (text, False)
        scene.redis.resume() if outage == "paused" else scene.redis.start()
        await scene.back()
        assert await publish("chat", "after") == 1
        message = await next_message(socket)
        assert message["data"] == "after"
        assert message["offset"] > place["offset"] + 1
        async with scene.socket("/wshttp/socket") as again:
            told = await subscribed(again, after={"life": place["life"], "offset": place["offset"]})
        assert [each["data"] for each in told if each["type"] == "message"] == ["after"]
        assert told[-1]["whole"] is False
