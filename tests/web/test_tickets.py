"""Tickets at the handshake: whose session a WebSocket or a stream is, where no header can say it."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from browsing import Browser, basic, problem, read_json
from redis_servers import RedisServer
from serving import fetch, new_server, raw, refusal, running, soon, websocket

from wshttp import Server, User
from wshttp.auth.tickets import LIFETIME, MAX_TICKETS
from wshttp.logs import JsonFormatter, TextFormatter

pytestmark = pytest.mark.feature("U4")

HEADER = {"identity": ["header"]}


def echoing(server: Server) -> Server:
    @server.websocket("/echo")
    async def echo(connection: Any, message: Any) -> None:
        await connection.send([message, connection.session.ref])

    return server


async def begin(base: str) -> tuple[str, dict[str, str]]:
    """Start a session of header identity; return its ref, and the header that names it."""
    answer = await fetch(f"{base}/wshttp/session")
    return read_json(answer)["ref"], {"Authorization": f"Session {answer.headers['Session-Token']}"}


async def ticket_of(base: str, headers: dict[str, str]) -> str:
    answer = await fetch(f"{base}/wshttp/ticket", "POST", "", headers=headers)
    assert answer.code == 201, answer.body
    return read_json(answer)["ticket"]


async def refused(base: str, path: str, **options: Any) -> tuple[int, str, str | None]:
    """Return status, problem and reason with which a handshake is refused."""
    answer = await refusal(base, path, **options)
    body = json.loads(answer.body)
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, body["type"].removeprefix("urn:wshttp:"), body.get("reason")


async def test_ticket_opens_a_socket_of_its_session() -> None:
    """Without cookie or header: the built-in socket, and one of the application."""
    async with running(echoing(new_server(session=HEADER))) as base:
        ref, mine = await begin(base)
        answer = await fetch(f"{base}/wshttp/ticket", "POST", "", headers=mine)
        assert (answer.code, read_json(answer)["expires_in"]) == (201, LIFETIME)
        assert answer.headers["Cache-Control"] == "no-store"
        async with websocket(base, f"/wshttp/socket?ticket={read_json(answer)['ticket']}") as socket:
            assert json.loads(await soon(socket.recv()))["session"]["ref"] == ref
        async with websocket(base, f"/echo?ticket={await ticket_of(base, mine)}") as socket:
            await socket.send("hello")
            assert json.loads(await soon(socket.recv())) == ["hello", ref]


async def test_ticket_used_twice_is_refused() -> None:
    """The second handshake is 401 before the 101, and so is one that came at the same time."""
    async with running(echoing(new_server(session=HEADER))) as base:
        _, mine = await begin(base)
        path = f"/echo?ticket={await ticket_of(base, mine)}"
        async with websocket(base, path):
            assert await refused(base, path) == (401, "session-ended", None)
        path = f"/echo?ticket={await ticket_of(base, mine)}"

        async def opens() -> bool:
            try:
                async with websocket(base, path):
                    return True
            except Exception:
                return False

        assert sum(await asyncio.gather(*(opens() for _ in range(5)))) == 1


@pytest.mark.parametrize("forged", ["", "x", "A" * 43, "%00" * 43, "A" * 5000, "%ff%fe"])
async def test_forged_ticket_is_refused(forged: str) -> None:
    """It starts no session either, though one would be started without it."""
    server = echoing(new_server(session={"identity": ["cookie"]}))
    async with running(server) as base:
        expected = (401, "session-ended", None)
        if forged:  # an empty parameter is none at all, to Tornado
            assert await refused(base, f"/echo?ticket={forged}", origin=base) == expected
        assert await server.sessions.count() == 0


async def test_expired_ticket_is_refused(clock: Any) -> None:
    """Half a minute after it was made, a ticket opens nothing."""
    async with running(echoing(new_server(clock, session=HEADER))) as base:
        _, mine = await begin(base)
        ticket = await ticket_of(base, mine)
        clock.advance(LIFETIME + 1)
        assert await refused(base, f"/echo?ticket={ticket}") == (401, "session-ended", None)


async def test_ticket_of_a_session_that_is_over_is_refused_with_the_reason() -> None:
    """It ended, or was renewed by a log-in: the ticket was for who it was before."""
    server = echoing(new_server(session=HEADER))
    server.on_authenticate(lambda user, password, request: User(user))
    async with running(server) as base:
        _, mine = await begin(base)
        early = await ticket_of(base, mine)
        answer = await fetch(f"{base}/wshttp/login", "POST", json.dumps({"user": "ann", "password": "x"}), headers=mine)
        assert answer.code == 200, answer.body
        assert await refused(base, f"/echo?ticket={early}") == (401, "session-ended", "renewed")
        mine = {"Authorization": f"Session {answer.headers['Session-Token']}"}
        late = await ticket_of(base, mine)
        await fetch(f"{base}/wshttp/session", "DELETE", headers=mine)
        assert await refused(base, f"/echo?ticket={late}") == (401, "session-ended", "logout")


async def test_ticket_of_another_session_is_refused() -> None:
    """With the cookie or header of one session, the ticket of another opens neither; with its own, it does."""
    for identity, name in (("cookie", "Cookie"), ("header", "Authorization")):
        server = echoing(new_server(session={"identity": [identity]}))
        async with running(server) as base:
            mine, other = [await server.sessions.create(remote_ip="127.0.0.1", identity=identity) for _ in range(2)]
            value = f"{'wshttp=' if identity == 'cookie' else 'Session '}{mine.id.value}"
            options: dict[str, Any] = {"additional_headers": {name: value}, "origin": base}
            foreign = await server.site.tickets.issue(other.ref, other.record.key, payer="ada")
            assert await refused(base, f"/echo?ticket={foreign}", **options) == (401, "session-ended", None)
            own = await server.site.tickets.issue(mine.ref, mine.record.key, payer="ada")
            async with websocket(base, f"/echo?ticket={own}", **options) as socket:
                await socket.send("hello")
                assert json.loads(await soon(socket.recv()))[1] == mine.ref


async def test_ticket_holds_for_handshakes_only() -> None:
    """A request with one in its query is one without."""
    async with running(new_server(session=HEADER | {"auto_start": False})) as base:
        answer = await fetch(f"{base}/wshttp/session", "POST", "")
        mine = {"Authorization": f"Session {answer.headers['Session-Token']}"}
        ticket = await ticket_of(base, mine)
        assert problem(await fetch(f"{base}/wshttp/session?ticket={ticket}")) == (401, "session-ended")
        async with websocket(base, f"/wshttp/socket?ticket={ticket}"):
            pass  # nor was it used up by that


async def test_ticket_needs_a_session() -> None:
    """Who has none gets none, and none is started for it."""
    server = new_server(session={"identity": ["cookie"]})
    async with running(server) as base:
        assert problem(await fetch(f"{base}/wshttp/ticket", "POST", "")) == (401, "session-ended")
        assert await server.sessions.count() == 0


async def test_ticket_is_not_for_other_sites() -> None:
    """Neither to get one nor to use one, from a page of another origin."""
    async with running(echoing(new_server(session=HEADER))) as base:
        _, mine = await begin(base)
        foreign = {"Origin": "https://evil.example"}
        assert problem(await fetch(f"{base}/wshttp/ticket", "POST", "", headers=mine | foreign)) == (403, "forbidden")
        ticket = await ticket_of(base, mine)
        assert (await refused(base, f"/echo?ticket={ticket}", origin=foreign["Origin"]))[:2] == (403, "forbidden")


async def test_ticket_obeys_the_drift_policy() -> None:
    """Where a token is refused from another browser, so is a ticket."""
    server = echoing(new_server(session=HEADER | {"drift": {"user_agent": "strict"}}))
    async with running(server) as base:
        answer = await fetch(f"{base}/wshttp/session", headers={"User-Agent": "one"})
        mine = {"Authorization": f"Session {answer.headers['Session-Token']}", "User-Agent": "one"}
        ticket = await ticket_of(base, mine)
        assert (await refused(base, f"/echo?ticket={ticket}", user_agent_header="two"))[:2] == (401, "session-ended")
        ticket = await ticket_of(base, mine)
        async with websocket(base, f"/echo?ticket={ticket}", user_agent_header="one"):
            pass


async def test_user_of_a_ticket_is_that_of_its_session() -> None:
    """A password of somebody else beside it is refused, as with any session."""
    server = echoing(new_server(session=HEADER))
    server.on_authenticate(lambda user, password, request: User(user))
    async with running(server) as base:
        browser = Browser(base)
        mine = {"Authorization": f"Session {(await browser.log_in('ann', 'x')).headers['Session-Token']}"}
        path = f"/echo?ticket={await ticket_of(base, mine)}"
        answer = await refused(base, path, additional_headers={"Authorization": basic("bob", "x")})
        assert answer[:2] == (401, "bad-credentials")


async def test_too_many_tickets_are_429() -> None:
    """A session gets as many as it may have connections, and then has to wait."""
    async with running(new_server(session=HEADER)) as base:
        _, mine = await begin(base)
        for _ in range(MAX_TICKETS):
            await ticket_of(base, mine)
        answer = await fetch(f"{base}/wshttp/ticket", "POST", "", headers=mine)
        assert problem(answer) == (429, "too-many-requests")
        assert int(answer.headers["Retry-After"]) <= LIFETIME


async def test_tickets_of_many_sessions_of_one_address_are_429(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are free, so whoever begins many is counted as one; a ticket that somebody has stays good."""
    monkeypatch.setattr("wshttp.auth.tickets.MAX_FOR_PAYER", 3)
    async with running(echoing(new_server(session=HEADER))) as base:
        ref, mine = await begin(base)
        ticket = await ticket_of(base, mine)
        for _ in range(2):
            await ticket_of(base, (await begin(base))[1])
        answer = await fetch(f"{base}/wshttp/ticket", "POST", "", headers=(await begin(base))[1])
        assert problem(answer) == (429, "too-many-requests")
        async with websocket(base, f"/echo?ticket={ticket}") as socket:
            await socket.send("hello")
            assert json.loads(await soon(socket.recv()))[1] == ref


@pytest.mark.feature("A4")
async def test_ticket_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Accepted, refused, malformed, with a handler that fails: it is in no line."""
    caplog.set_level("DEBUG")
    server = new_server(session=HEADER)

    @server.websocket("/fault")
    def fault(connection: Any, message: Any) -> None:
        raise RuntimeError("inside")

    async with running(server) as base:
        _, mine = await begin(base)
        tickets = [await ticket_of(base, mine) for _ in range(4)]
        async with websocket(base, f"/fault?ticket={tickets[0]}") as socket:
            await socket.send("x")
            await soon(socket.wait_closed())
        await refusal(base, f"/fault?ticket={tickets[0]}")
        await refusal(base, f"/fault?ticket={tickets[1]}", origin="https://evil.example")
        await fetch(f"{base}/wshttp/socket?ticket={tickets[2]}")
        await fetch(f"{base}/nothing?ticket={tickets[3]}")
        async with raw(base) as connection:
            connection.send(f"GET /wshttp/socket?ticket={tickets[3]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await connection.until(b"\r\n\r\n")
    formatters: list[logging.Formatter] = [TextFormatter(), JsonFormatter()]
    ours = [record for record in caplog.records if not record.name.startswith("websockets")]
    text = "\n".join(formatter.format(record) for record in ours for formatter in formatters)
    assert "/fault" in text
    for ticket in tickets:
        assert ticket not in text


@pytest.mark.feature("W9")
async def test_ticket_of_one_node_opens_on_another_once(redis_server: RedisServer, redis_prefix: str) -> None:
    """Any load balancer will do."""
    store = {"kind": "redis", "url": redis_server.url(), "prefix": redis_prefix}
    servers = [echoing(new_server(session=HEADER, store=store)) for _ in range(2)]
    async with running(servers[0]) as one, running(servers[1]) as two:
        ref, mine = await begin(one)
        path = f"/echo?ticket={await ticket_of(one, mine)}"
        async with websocket(two, path) as socket:
            await socket.send("hello")
            assert json.loads(await soon(socket.recv()))[1] == ref
        assert (await refused(one, path))[0] == 401
        late = await ticket_of(one, mine)
        await fetch(f"{two}/wshttp/session", "DELETE", headers=mine)
        assert await refused(two, f"/echo?ticket={late}") == (401, "session-ended", "logout")
