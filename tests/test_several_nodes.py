"""The three promises across nodes: several servers, one real Redis, real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis_servers import RedisServer
from serving import farewell, fetch, new_server, running, soon, until, websocket

from wshttp import Server
from wshttp.sessions.session import Session


class Nodes:
    """Servers that have nothing in common but a store, and one list of what happened to sessions."""

    def __init__(self, count: int, url: str, prefix: str, **sections: Any) -> None:
        self.story: list[tuple[Any, ...]] = []
        self.bases: list[str] = []
        session = {"identity": ["cookie"], "lease": 3} | sections.pop("session", {})
        store = {"kind": "redis", "url": url, "prefix": prefix} | sections.pop("store", {})
        self.servers = [self._server(number, session, store, sections) for number in range(count)]

    def _server(self, number: int, session: dict[str, Any], store: dict[str, Any], sections: dict[str, Any]) -> Server:
        server = new_server(session=session, store=store, **sections)

        @server.on_session_start
        async def started(session: Session) -> None:
            self.story.append(("start", session.ref))

        @server.on_session_end
        async def ended(session: Session, reason: str) -> None:
            self.story.append(("end", session.ref, str(reason), dict(session)))

        @server.on_disconnect
        def disconnected(connection: Any, code: int, reason: str) -> None:
            self.story.append(("disconnect", number, code, reason))

        @server.get("/hit")
        async def hit(request: Any) -> Any:
            request.session[f"by{number}"] = True
            return {"ref": request.session.ref, "n": await request.session.increment("n")}

        @server.websocket("/echo")
        async def echo(connection: Any, message: str) -> None:
            await connection.send([message, await connection.session.increment("n")])

        return server

    def ends(self) -> list[tuple[Any, ...]]:
        return [one for one in self.story if one[0] == "end"]


@asynccontextmanager
async def nodes(count: int, redis: RedisServer, prefix: str, **sections: Any) -> AsyncIterator[Nodes]:
    """Start servers with their sessions in one Redis; stop them afterwards."""
    several = Nodes(count, redis.url(), prefix, **sections)
    async with AsyncExitStack() as stack:
        several.bases = [await stack.enter_async_context(running(server)) for server in several.servers]
        yield several


async def begin(base: str) -> tuple[str, dict[str, str]]:
    """Start a session; return its ref, and the header that names it."""
    answer = await fetch(f"{base}/hit")
    assert answer.code == 200, answer.body
    return json.loads(answer.body)["ref"], {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


@pytest.mark.feature("W9", "T3", "T6")
async def test_session_of_one_node_is_that_of_all(redis_server: RedisServer, redis_prefix: str) -> None:
    """Requests and sockets at three nodes see one session, and lose none of each other's changes."""
    async with nodes(3, redis_server, redis_prefix) as several:
        ref, cookie = await begin(several.bases[0])
        answers = [json.loads((await fetch(f"{base}/hit", headers=cookie)).body) for base in several.bases]
        assert answers == [{"ref": ref, "n": number} for number in (2, 3, 4)]
        async with websocket(several.bases[1], "/echo", additional_headers=cookie, origin=several.bases[1]) as socket:
            await socket.send("hello")
            assert json.loads(await soon(socket.recv())) == ["hello", 5]
        session = await several.servers[2].sessions.get_by_ref(ref)
        assert session is not None
        assert dict(session) == {"by0": True, "by1": True, "by2": True, "n": 5}
        assert several.story[0] == ("start", ref)
        assert await several.servers[1].sessions.count() == 1


@pytest.mark.feature("W11", "E1", "W9")
async def test_logout_on_one_node_closes_sockets_on_all(redis_server: RedisServer, redis_prefix: str) -> None:
    """They are told why; the callback runs once, with the last data, and nothing finds the session any more."""
    async with nodes(3, redis_server, redis_prefix) as several, AsyncExitStack() as stack:
        ref, cookie = await begin(several.bases[0])
        sockets = [
            await stack.enter_async_context(websocket(base, "/echo", additional_headers=cookie, origin=base))
            for base in several.bases
        ]
        assert (await fetch(f"{several.bases[0]}/wshttp/session", "DELETE", headers=cookie)).code == 204
        for socket in sockets:
            assert await farewell(socket) == (4001, "session-ended:logout")
        await until(lambda: len(several.ends()) == 1)
        assert several.ends() == [("end", ref, "logout", {"n": 1, "by0": True})]
        for base in several.bases:
            answer = await fetch(f"{base}/wshttp/session?touch=0", headers=cookie)
            assert answer.code == 401
            assert json.loads(answer.body)["reason"] == "logout"
    assert len(several.ends()) == 1


@pytest.mark.feature("W3", "W12", "W9")
async def test_messages_and_presence_span_nodes(redis_server: RedisServer, redis_prefix: str) -> None:
    """Who publishes at one node is read at the other, and each sees the other come and go."""
    async with nodes(2, redis_server, redis_prefix, websocket={"topics": ["room"]}) as several:
        first, second = [(await begin(base))[1] for base in several.bases]
        api = "/wshttp/socket"
        async with (
            websocket(
                several.bases[0], api, additional_headers=first, origin=several.bases[0], subprotocols=["wshttp.v1"]
            ) as one,
            websocket(
                several.bases[1], api, additional_headers=second, origin=several.bases[1], subprotocols=["wshttp.v1"]
            ) as two,
        ):
            await one.send(json.dumps({"type": "subscribe", "topic": "room", "id": 1}))
            await read(one, "presence")
            await two.send(json.dumps({"type": "subscribe", "topic": "room", "id": 1}))
            await read(two, "presence")
            joined = await read(one, "joined")
            hub = several.servers[1].hub
            await until(lambda: len(hub.topics.members("room")) == 2)
            await two.send(json.dumps({"type": "publish", "topic": "room", "data": "hello", "id": 2}))
            for socket in (one, two):
                message = await read(socket, "message")
                assert (message["topic"], message["data"]) == ("room", "hello")
                assert message["from"]["ref"] == joined["member"]["ref"]
            assert await several.servers[0].hub.send("all of you") == 1
            assert [(await read(socket, "app"))["data"] for socket in (one, two)] == ["all of you"] * 2


async def read(socket: Any, kind: str) -> dict[str, Any]:
    """Read until an envelope of this type comes."""
    while True:
        envelope: dict[str, Any] = json.loads(await soon(socket.recv()))
        if envelope["type"] == kind:
            return envelope


@pytest.mark.feature("M1", "W9")
async def test_limit_per_user_holds_for_all_nodes_together(redis_server: RedisServer, redis_prefix: str) -> None:
    """Log-ins at the same moment on three nodes leave as many as one node would."""
    async with nodes(3, redis_server, redis_prefix, session={"max_sessions_per_user": 5}) as several:
        lists = [server.sessions for server in several.servers]
        await asyncio.gather(*(lists[number % 3].create(remote_ip="192.0.2.1", user="ada") for number in range(60)))
        assert await lists[0].count(user="ada") == 5
        await until(lambda: len(several.ends()) == 55)
        assert {reason for _, _, reason, _ in several.ends()} == {"limit"}


@pytest.mark.feature("L13", "E1")
async def test_sessions_go_on_when_all_nodes_have_gone(redis_server: RedisServer, redis_prefix: str) -> None:
    """A stop ends none of them, and what was written is there for those who come after."""
    async with nodes(2, redis_server, redis_prefix) as several:
        ref, cookie = await begin(several.bases[0])
    assert several.ends() == []
    async with nodes(1, redis_server, redis_prefix) as later:
        answer = await fetch(f"{later.bases[0]}/hit", headers=cookie)
        assert json.loads(answer.body) == {"ref": ref, "n": 2}


async def test_node_has_one_name(redis_server: RedisServer, redis_prefix: str) -> None:
    """In the list of connections, among the nodes of the store, and in what it says."""
    async with nodes(2, redis_server, redis_prefix) as several:
        names = set()
        for server in several.servers:
            assert server._relay is not None
            assert server._rate_sharing is not None
            names.add(server._relay.node)
            assert server._rate_sharing._node == server._relay.node.encode()
            await until(lambda: len(several.servers[0]._relay.directory._views) == 1)  # type: ignore[union-attr]
        assert len(names) == 2
        in_store = redis_server.ask("ZRANGE", f"{{{redis_prefix}}}:nodes", 0, -1)
        with redis_server.client() as client:
            listed = {each["name"] for each in client.client_list()}
            client.ping()
        assert {name.decode() for name in in_store} == names
        assert listed >= {f"wshttp-{name}{rest}" for name in names for rest in ("", "-words")}
