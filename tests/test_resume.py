"""Clients that come back, to any of several servers on one real Redis: what they missed, in order and once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis_servers import RedisServer
from serving import new_server, running, soon, until, websocket

from wshttp import Server

pytestmark = pytest.mark.feature("C5", "W9")


@asynccontextmanager
async def several(redis: RedisServer, prefix: str, count: int = 2, **websocket: Any) -> AsyncIterator[list[Server]]:
    """Servers that know each other."""
    store = {"kind": "redis", "url": redis.url(), "prefix": prefix}
    servers = [
        new_server(session={"identity": ["cookie"]}, store=store, websocket={"topics": ["*"]} | websocket)
        for _ in range(count)
    ]
    async with AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(running(server))
        await until(lambda: all(len(server.hub.elsewhere.nodes()) == count - 1 for server in servers))
        yield servers


@asynccontextmanager
async def client(server: Server, session: Any) -> AsyncIterator[Client]:
    base = server.addresses[0]
    headers = {"Cookie": f"wshttp={session.id.value}"}
    async with websocket(base, "/wshttp/socket", origin=base, additional_headers=headers) as socket:
        yield Client(socket)


class Client:
    """A client that notes messages and places."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.heard: list[Any] = []

    async def send(self, **envelope: Any) -> None:
        await self.socket.send(json.dumps(envelope))

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = json.loads(await soon(self.socket.recv()))
            if message["type"] in ("message", "app"):
                self.heard.append(message)
            if message["type"] == kind:
                return message

    async def subscribe(self, after: dict[str, Any] | None = None) -> dict[str, Any]:
        await self.send(type="subscribe", topic="chat", **({"after": after} if after else {}))
        return await self.until("resumed")


def place_of(message: dict[str, Any]) -> dict[str, Any]:
    return {"life": message["life"], "offset": message["offset"]}


async def test_client_resumes_anywhere(redis_server: RedisServer, redis_prefix: str) -> None:
    """It drops at one server, messages are published at both, and it comes back at the other: no gap, no double."""
    async with several(redis_server, redis_prefix) as servers:
        session = await servers[0].sessions.create(remote_ip="127.0.0.1", identity="cookie")
        async with client(servers[0], session) as one:
            await one.subscribe()
            await servers[1].hub.publish("chat", 0)
            last = place_of(await one.until("message"))
        for number in range(1, 7):
            await servers[number % 2].hub.publish("chat", number)
        async with client(servers[1], session) as two:
            resumed = await two.subscribe(last)
            assert ([each["data"] for each in two.heard], resumed["whole"]) == ([1, 2, 3, 4, 5, 6], True)
            await servers[0].hub.publish("chat", 7)
            assert (await two.until("message"))["data"] == 7
        assert [each["offset"] for each in two.heard] == list(range(2, 9))


async def test_publishers_on_all_servers_are_heard_in_one_order(redis_server: RedisServer, redis_prefix: str) -> None:
    """Three servers publish at once; every client, wherever it is, hears the same in the same order."""
    async with several(redis_server, redis_prefix, 3, history=1000) as servers:
        session = await servers[0].sessions.create(remote_ip="127.0.0.1", identity="cookie")
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client(server, session)) for server in servers]
            for each in clients:
                await each.subscribe()

            async def publish(number: int) -> None:
                for _ in range(100):
                    await servers[number].hub.publish("chat", number)

            publishing = asyncio.gather(*(publish(number) for number in range(3)))
            for each in clients:
                while len(each.heard) < 300:
                    await each.until("message")
            await publishing
            assert [each["offset"] for each in clients[0].heard] == list(range(1, 301))
            assert clients[0].heard == clients[1].heard == clients[2].heard


async def test_client_that_comes_and_goes_in_a_flood_misses_nothing(
    redis_server: RedisServer, redis_prefix: str
) -> None:
    """While messages pour in at both servers, it changes from one to the other, again and again."""
    async with several(redis_server, redis_prefix, history=5000) as servers:
        session = await servers[0].sessions.create(remote_ip="127.0.0.1", identity="cookie")
        going = True

        async def publish(server: Server) -> None:
            while going:
                await server.hub.publish("chat", "x")

        heard: list[int] = []
        async with client(servers[0], session) as first:
            place = place_of(await first.subscribe())
            begin = place["offset"]
        publishing = [asyncio.create_task(publish(server)) for server in servers]
        for turn in range(8):
            async with client(servers[turn % 2], session) as one:
                resumed = await one.subscribe(place)
                assert resumed["whole"]
                for _ in range(20):
                    await one.until("message")
                one.socket.transport.abort()
            heard += [each["offset"] for each in one.heard]
            place = place_of(one.heard[-1])
        going = False
        await asyncio.gather(*publishing)
        assert heard == list(range(begin + 1, begin + 1 + len(heard)))


@pytest.mark.feature("W4")
async def test_queue_is_given_once_by_whichever_server(redis_server: RedisServer, redis_prefix: str) -> None:
    """Messages from both servers wait for a session without a socket; of sockets that open at once, one gets each."""
    async with several(redis_server, redis_prefix) as servers:
        session = await servers[0].sessions.create(remote_ip="127.0.0.1", identity="cookie")
        for number in range(10):
            await servers[number % 2].hub.send(number, session=session.ref, queue=True)
        async with client(servers[0], session) as one, client(servers[1], session) as two:
            for each in (one, two):
                await each.send(type="touch", id=1)
                await each.until("ok")
            heard = one.heard + two.heard
            assert sorted(each["data"] for each in heard) == list(range(10))
            assert all(each["queued"] for each in heard)
