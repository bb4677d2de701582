"""Connections for administrators: listed, closed, spoken to."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from administering import API, admin_server, administrator, audit_of
from browsing import Browser, problem, read_json
from redis_servers import RedisServer
from serving import farewell, running, soon, until, websocket
from websockets.asyncio.client import ClientConnection

from wshttp.web.admin.connections import _conditions


async def welcomed(
    stack: AsyncExitStack, base: str, browser: Browser | None = None, path: str = "/wshttp/socket"
) -> Any:
    """Open a socket, and return it with its name and its session's."""
    headers = {"Origin": base}
    if browser is not None:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    socket = await stack.enter_async_context(websocket(base, path, additional_headers=headers))
    welcome = json.loads(await soon(socket.recv()))
    return socket, welcome["connection"], welcome["session"]["ref"]


async def app_message(socket: ClientConnection) -> Any:
    """Return the next message of the application."""
    while (found := json.loads(await soon(socket.recv())))["type"] != "app":
        pass
    return found


@pytest.mark.feature("A5")
async def test_connections_are_listed_and_found(users_file: str, ada: tuple[str, str], bob: tuple[str, str]) -> None:
    """Whose, from where, since when, in which topics; a page at a time."""
    server = admin_server(users_file, websocket={"topics": ["*"]})
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(running(server))
        visitor = Browser(base)
        await visitor.log_in(*bob)
        _, first, ref = await welcomed(stack, base, visitor)
        socket, second, other = await welcomed(stack, base)
        await socket.send('{"type": "subscribe", "topic": "chat"}')
        await until(lambda: "chat" in server.hub.topics)
        browser = administrator(base, ada)
        everything = read_json(await browser.get(f"{API}/connections"))
        assert (everything["total"], everything["node"], everything["others"], everything["cursor"]) == (
            2,
            "local",
            [],
            None,
        )
        by_name = {each["id"]: each for each in everything["connections"]}
        assert by_name[first] == {
            "id": first,
            "session": ref,
            "user": "bob",
            "ip": "127.0.0.1",
            "path": "/wshttp/socket",
            "over": "WebSocket",
            "subprotocol": None,
            "user_agent": by_name[first]["user_agent"],
            "opened_at": round(server.hub.get(first).opened_at, 3),  # type: ignore[union-attr]
            "topics": [],
        }
        assert by_name[second]["topics"] == ["chat"]

        async def found(query: str) -> list[str]:
            return [each["id"] for each in read_json(await browser.get(f"{API}/connections?{query}"))["connections"]]

        assert await found("user=bob") == await found(f"session={ref}") == [first]
        assert await found("topic=chat") == await found(f"session={other}") == [second]
        assert sorted(await found("ip=127.0.0.")) == sorted(await found("ip=127.0.0.1")) == sorted((first, second))
        assert sorted(await found("ip=::ffff:127.0.0.1")) == sorted((first, second)), "as sessions are"
        assert await found("ip=192.0.2.1") == []
        page = read_json(await browser.get(f"{API}/connections?limit=1"))
        rest = read_json(await browser.get(f"{API}/connections?limit=1&cursor={page['cursor']}"))
        assert {page["connections"][0]["id"], rest["connections"][0]["id"]} == {first, second}
        assert rest["cursor"] is None
        assert problem(await browser.get(f"{API}/connections?ref={ref}")) == (400, "bad-request")


def test_connections_of_an_address_are_those_of_its_network() -> None:
    """One rule for sessions and connections: a client owns all addresses of an IPv6 network."""
    here, there = (SimpleNamespace(remote_ip=ip) for ip in ("2001:db8::1", "2001:db8:0:1::1"))
    [holds] = _conditions({"ip": "2001:db8::99"}, 64)
    assert (holds(here), holds(there)) == (True, False)  # type: ignore[arg-type]  # all that is asked of them


@pytest.mark.feature("A5")
async def test_kicked_connection_is_told_to_stay_away(
    users_file: str, ada: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """4008; the session lives on, with its other sockets. A name that no connection has is 404 where there is one node."""
    server = admin_server(users_file)
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(running(server))
        visitor = Browser(base)
        await visitor.post("/wshttp/session")
        socket, name, ref = await welcomed(stack, base, visitor)
        _, _, same = await welcomed(stack, base, visitor)
        assert same == ref
        browser = administrator(base, ada)
        assert (await browser.delete(f"{API}/connections/{name}")).code == 204
        assert await farewell(socket) == (4008, "kicked")
        assert problem(await browser.delete(f"{API}/connections/{name}")) == (404, "not-found")
        assert len(server.hub) == 1
        assert (await visitor.get("/wshttp/session?touch=0")).code == 200
    [line] = audit_of(caplog)
    assert line["act"] == "connection closed"
    assert (line["connection"], line["ref"], line["remote_ip"]) == (name, ref, "127.0.0.1")


@pytest.mark.feature("A5")
async def test_connection_of_another_node_is_closed_there(
    redis_server: RedisServer,
    redis_prefix: str,
    users_file: str,
    ada: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """202, since only that node knows whether there is one; the list says how many each of the others has."""
    store = {"kind": "redis", "url": redis_server.url(), "prefix": redis_prefix}
    one, two = (admin_server(users_file, store=store) for _ in range(2))
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(one))
        second = await stack.enter_async_context(running(two))
        socket, name, _ = await welcomed(stack, first)
        node = one.hub.elsewhere.node
        async with asyncio.timeout(10):
            while two.hub.elsewhere.nodes().get(node) != 1:
                await asyncio.sleep(0)
        browser = administrator(second, ada)
        listed = read_json(await browser.get(f"{API}/connections"))
        assert listed["connections"] == []
        assert listed["others"] == [{"node": node, "connections": 1}]
        stats = read_json(await browser.get(f"{API}/stats"))
        assert {each["node"]: each["self"] for each in stats["nodes"]} == {node: False, listed["node"]: True}
        assert (await browser.delete(f"{API}/connections/{name}")).code == 202
        assert await farewell(socket) == (4008, "kicked")
    [line] = audit_of(caplog)
    assert line == {"act": "connection asked to close", "by": "ada", "by_ip": "127.0.0.1", "connection": name}


@pytest.mark.feature("A5")
async def test_message_goes_to_those_it_is_for(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """To everybody, a user, a session, a topic; the audit log has whom and how many, and not what."""
    server = admin_server(users_file, websocket={"topics": ["*"]})
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(running(server))
        visitor = Browser(base)
        await visitor.log_in(*bob)
        of_bob, _, _ = await welcomed(stack, base, visitor)
        other, _, ref = await welcomed(stack, base)
        await other.send('{"type": "subscribe", "topic": "chat"}')
        await until(lambda: "chat" in server.hub.topics)
        browser = administrator(base, ada)

        async def tell(**fields: Any) -> Any:
            return read_json(await browser.post(f"{API}/broadcast", json=fields))

        assert await tell(message="noon") == {"sent": 2, "others": 0}
        assert await tell(message={"at": 12}, user="bob") == {"sent": 1, "others": 0}
        assert await tell(message=[1], session=ref) == {"sent": 1, "others": 0}
        assert await tell(message=None, topic="chat") == {"sent": 1, "others": 0}
        assert await tell(message="both", topic="chat", user="bob") == {"sent": 0, "others": 0}
        assert [await app_message(of_bob) for _ in range(2)] == [
            {"type": "app", "data": "noon"},
            {"type": "app", "data": {"at": 12}},
        ]
        assert [(await app_message(other))["data"] for _ in range(3)] == ["noon", [1], None]
    lines = audit_of(caplog)
    assert [line["count"] for line in lines] == [2, 1, 1, 1, 0]
    assert (lines[1]["user"], lines[2]["ref"], lines[3]["topic"]) == ("bob", ref, "chat")
    assert "noon" not in str(lines)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "[]",
        "{}",
        '{"message": NaN}',
        '{"message": 1e999}',
        '{"message": "x", "to": "bob"}',
        '{"message": "x", "user": ""}',
        '{"message": "x", "session": 5}',
        '{"message": "x", "user": null}',
        '{"message": "x", "topic": null, "user": "bob"}',
        '{"message": "x", "user": "bob", "user": "zoe"}',
        '{"message": "x", "message": "y"}',
        '{"message": {"a": 1, "a": 2}}',
        '{"message": "\\ud800"}',
        "[" * 100_000,
        '{"message": ' + "[" * 200 + "]" * 200 + "}",
        b"\xff",
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_message_that_is_none_is_refused(body: str | bytes, users_file: str, ada: tuple[str, str]) -> None:
    """400, and nobody gets anything; an empty name must not mean everybody, nor one that is `null`."""
    async with running(admin_server(users_file)) as base:
        json_body = {"Content-Type": "application/json"}
        response = await administrator(base, ada).post(f"{API}/broadcast", body=body, headers=json_body)
        assert response.code in (400, 413)
        assert problem(response)[1] == "bad-request"


async def test_message_is_json_by_its_type_and_no_larger_than_allowed(users_file: str, ada: tuple[str, str]) -> None:
    """What a form of another page could send is refused; so is what is too much for everybody."""
    async with running(admin_server(users_file)) as base:
        browser = administrator(base, ada)
        for media_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            headers = {"Content-Type": media_type}
            response = await browser.post(f"{API}/broadcast", body='{"message": "x"}', headers=headers)
            assert problem(response) == (400, "bad-request")
        assert problem(await browser.post(f"{API}/broadcast", json={"message": "x" * 65536})) == (413, "bad-request")
