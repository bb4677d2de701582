"""The built-in socket over server-sent events and POST, as a client meets it."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from browsing import problem, read_json
from listening import listening, session_of
from redis_servers import RedisServer
from serving import PATIENCE, fetch, new_server, running, soon, until, websocket

from wshttp import User
from wshttp.web import event_stream, stream

pytestmark = pytest.mark.feature("W7")

COOKIE = {"identity": ["cookie"]}


# --- down and up --------------------------------------------------------------------------------


async def test_stream_begins_with_the_welcome() -> None:
    """Headers that keep proxies and caches out of it, and the same first message as on a socket."""
    server = new_server(session=COOKIE, websocket={"topics": ["chat"]})
    async with running(server) as base:
        session, mine = await session_of(server)
        async with listening(base, **mine) as one:
            assert one.status == 200
            assert one.answer["Content-Type"] == "text/event-stream"
            assert one.answer["Cache-Control"] == "no-store"
            assert one.answer["X-Accel-Buffering"] == "no"
            assert int(one.answer["Session-Expires-In"]) > 1000
            [connection] = server.hub
            assert one.welcome["connection"] == connection.id
            assert one.welcome["session"]["ref"] == session.ref
            assert one.welcome["offers"]["stream"] is True
            assert session.connections == 1


async def test_stream_starts_a_session_as_any_route() -> None:
    """The cookie comes with the headers, before anything else; without `auto_start` it is 401."""
    server = new_server(session=COOKIE)
    async with running(server) as base, listening(base) as one:
        cookie = one.answer["Set-Cookie"].partition(";")[0]
        assert (
            read_json(await fetch(f"{base}/wshttp/session", headers={"Cookie": cookie}))["ref"]
            == (one.welcome["session"]["ref"])
        )
    async with running(new_server(session=COOKIE | {"auto_start": False})) as base:
        assert problem(await fetch(f"{base}/wshttp/stream")) == (401, "session-ended")


async def test_message_goes_up_by_post_and_its_answer_comes_down() -> None:
    """202 at once; `ok`, `error` and all that is published come as on a socket, to sockets and streams alike."""
    server = new_server(session=COOKIE, websocket={"topics": ["chat"]})
    async with running(server) as base:
        session, mine = await session_of(server, user="ann")
        async with listening(base, **mine) as one, websocket(base, "/wshttp/socket") as other:
            assert (await one.post({"type": "subscribe", "topic": "chat"})).code == 202
            assert (await one.read_until("presence"))["members"][0]["ref"] == session.ref
            assert (await one.read_until("resumed"))["offset"] == 0
            await other.send(json.dumps({"type": "subscribe", "topic": "chat", "id": 1}))
            while json.loads(await soon(other.recv()))["type"] != "ok":
                pass
            assert (await one.post({"type": "publish", "topic": "chat", "data": "grüße\n"})).code == 202
            heard = await one.read_until("message")
            assert (heard["data"], heard["from"]["user"], heard["offset"]) == ("grüße\n", "ann", 1)
            while (message := json.loads(await soon(other.recv())))["type"] != "message":
                pass
            assert message == heard
            assert (await one.ask(type="nonsense"))["code"] == "bad-request"
            assert (await one.ask(type="touch"))["type"] == "ok"


async def test_on_message_answers_and_commits() -> None:
    """Messages over a stream are messages: in order, each committed, with a reply."""
    server = new_server(session=COOKIE)

    @server.on_message
    async def count(connection: Any, data: Any) -> Any:
        connection.session["last"] = data
        return await connection.session.increment("n")

    async with running(server) as base:
        session, mine = await session_of(server)
        async with listening(base, **mine) as one:
            assert [(await one.ask(type="app", data=n))["data"] for n in range(3)] == [1, 2, 3]
            assert dict(session) == {"n": 3, "last": 2}
            [connection] = server.hub
            await until(lambda: connection._transport.unsent == 0)


async def test_post_is_as_much_activity_as_its_message(clock: Any) -> None:
    """A message keeps the session alive, and a `ping` does not."""
    server = new_server(clock, session=COOKIE | {"idle_timeout": 100, "warn_before": 0})
    async with running(server) as base:
        session, mine = await session_of(server)
        async with listening(base, **mine) as one:
            clock.advance(60)
            assert (await one.post({"type": "ping"})).code == 202
            assert await one.read_until("pong") == {"type": "pong"}
            assert session.expires_in == 40
            assert (await one.ask(type="unsubscribe", topic="x"))["expires_in"] == 100


async def test_resume_over_a_stream() -> None:
    """What was missed between two streams comes with the second."""
    server = new_server(session=COOKIE, websocket={"topics": ["chat"]})
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine) as one:
            await one.post({"type": "subscribe", "topic": "chat"})
            place = await one.read_until("resumed")
            one.raw.abort()
        await until(lambda: not len(server.hub))
        await server.hub.publish("chat", "missed")
        async with listening(base, **mine) as one:
            after = {"life": place["life"], "offset": place["offset"]}
            await one.post({"type": "subscribe", "topic": "chat", "after": after})
            assert (await one.read_until("message"))["data"] == "missed"
            assert (await one.read_until("resumed"))["whole"] is True


@pytest.mark.feature("W4")
async def test_queued_messages_come_over_a_stream() -> None:
    """After its welcome, as over a socket."""
    server = new_server(session=COOKIE)
    async with running(server) as base:
        session, mine = await session_of(server)
        await server.hub.send("waits", session=session, queue=True)
        async with listening(base, **mine) as one:
            assert await one.read_until("app") == {"type": "app", "data": "waits", "queued": True}


# --- who may ----------------------------------------------------------------------------------


@pytest.mark.feature("U4")
async def test_ticket_opens_a_stream_once() -> None:
    """An EventSource can send no header: it comes with a ticket."""
    server = new_server(session={"identity": ["header"]})
    async with running(server) as base:
        session = await server.sessions.create(remote_ip="127.0.0.1", identity="header")
        ticket = await server.site.tickets.issue(session.ref, session.record.key, payer="ada")
        path = f"/wshttp/stream?ticket={ticket}"
        async with listening(base, path) as one:
            assert one.welcome["session"]["ref"] == session.ref
            assert problem(await fetch(base + path)) == (401, "session-ended")
            one.headers = {"Authorization": f"Session {session.id.value}"}
            assert (await one.ask(type="touch"))["type"] == "ok"


@pytest.mark.feature("U6")
@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
async def test_other_sites_get_no_stream(headers: dict[str, str]) -> None:
    """Neither a stream nor a POST, not even where their WebSockets are allowed: answers of another origin are not read."""
    server = new_server(session=COOKIE, websocket={"allowed_origins": ["https://evil.example"]})
    async with running(server) as base:
        _, mine = await session_of(server)
        assert problem(await fetch(f"{base}/wshttp/stream", headers=mine | headers)) == (403, "forbidden")
        async with listening(base, **mine) as one:
            assert problem(await one.post({"type": "touch"}, headers=headers)) == (403, "forbidden")
        assert server.hub.statistics.opened == 1


async def test_only_its_own_session_sends_to_a_stream() -> None:
    """Others, and names of no connection, get 404; who has no session, 401."""
    server = new_server(session=COOKIE)
    seen: list[Any] = []
    server.on_message(lambda connection, data: seen.append(data))
    async with running(server) as base:
        _, mine = await session_of(server)
        _, other = await session_of(server)
        async with listening(base, **mine) as one:
            assert problem(await one.post({"type": "app", "data": 1}, headers=other)) == (404, "not-found")
            assert problem(await one.post({"type": "app"}, headers={"Cookie": "x=y"})) == (401, "session-ended")
            name, one.name = one.name, "0123456789abcdef"
            assert problem(await one.post({"type": "app", "data": 1})) == (404, "not-found")
            one.name = name
            assert (await one.ask(type="app", data=2))["type"] == "ok"
        assert seen == [2]


@pytest.mark.parametrize(
    "body", ["", "x", "[]", "{}", '{"connection": 1, "message": {}}', '{"connection": "x", "message": "y"}', '"\xff',
             '{"connection": "x", "message": {"a": ' + "[" * 100 + "]" * 100 + "}}", "[" * 20_000, '{"a": 1e999}']
)  # fmt: skip
async def test_post_of_what_is_no_message_is_refused(body: str) -> None:
    """400, and the stream goes on."""
    server = new_server(session=COOKIE)
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine) as one:
            assert problem(await one.post(None, body=body.encode("latin-1") or b" ")) == (400, "bad-request")
            assert (await one.ask(type="touch"))["type"] == "ok"


async def test_post_of_a_large_message_is_refused() -> None:
    """413 above `websocket.max_message_size`, where a socket would close with 1009."""
    server = new_server(session=COOKIE, websocket={"max_message_size": 2000})
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine) as one:
            assert problem(await one.post({"type": "app", "data": "x" * 5000})) == (413, "bad-request")
            assert (await one.ask(type="touch"))["type"] == "ok"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
async def test_stream_of_another_method_is_refused(method: str) -> None:
    """405, and 400 for HEAD, which opens nothing."""
    server = new_server(session=COOKIE)
    async with running(server) as base:
        answer = await fetch(f"{base}/wshttp/stream", method, "" if method in ("POST", "PUT") else None)
        assert answer.code == (400 if method == "HEAD" else 405)
        assert server.hub.statistics.opened == await server.sessions.count() == 0


async def test_on_connect_refuses_a_stream_and_limits_hold() -> None:
    """As for a WebSocket: 403, and 429 for one too many."""
    server = new_server(session=COOKIE | {"max_connections_per_session": 1})
    allowed = [True, True, False]
    closed: list[Any] = []
    server.on_connect(lambda connection: allowed.pop(0))
    server.on_disconnect(lambda connection, code, reason: closed.append(code))
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine) as one:
            assert problem(await fetch(f"{base}/wshttp/stream", headers=mine)) == (429, "limit-reached")
            one.raw.abort()
        await until(lambda: not len(server.hub))
        async with listening(base, **mine):
            pass
        await until(lambda: not len(server.hub))
        assert problem(await fetch(f"{base}/wshttp/stream", headers=mine)) == (403, "forbidden")
        await until(lambda: len(closed) == 2)
        assert closed == [1006, 1006]


async def test_full_inbox_is_429(scene: Any) -> None:
    """While a handler is far behind, POSTs are refused, and nothing is piled up."""
    server = new_server(session=COOKIE)

    @server.on_message
    async def slow(connection: Any, data: Any) -> None:
        await scene.hold()

    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine) as one:
            codes = []
            while not codes or codes[-1] == 202:
                codes.append((await one.post({"type": "app"})).code)
            assert codes[-1] == 429
            assert len(codes) < 100
            scene.release.set()


# --- the end ----------------------------------------------------------------------------------


@pytest.mark.feature("W11")
async def test_end_of_the_session_ends_the_stream() -> None:
    """`ended`, then `closed` with code and reason, then the end of the answer; the connection can be used again."""
    server = new_server(session=COOKIE)
    closed: list[Any] = []
    server.on_disconnect(lambda connection, code, reason: closed.append((code, reason)))
    async with running(server) as base:
        session, mine = await session_of(server)
        async with listening(base, **mine) as one:
            await server.sessions.end(session)
            assert await one.read_until("ended") == {"type": "ended", "reason": "logout"}
            assert await one.read() == {"type": "closed", "code": 4001, "reason": "session-ended:logout"}
            assert await one.read() is None
            await until(lambda: bool(closed))
            assert closed == [(4001, "session-ended:logout")]
            assert len(server.hub) == 0
            await one.open("/wshttp/health/live")
            assert one.status == 200


async def test_log_in_closes_the_stream_to_come_back() -> None:
    """4000, as for a socket: the client comes back with its new token."""
    server = new_server(session=COOKIE)
    server.on_authenticate(lambda user, password, request: User(user))
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine) as one:
            login = json.dumps({"user": "ann", "password": "x"})
            assert (await fetch(f"{base}/wshttp/login", "POST", login, headers=mine)).code == 200
            assert await one.read_until("closed") == {"type": "closed", "code": 4000, "reason": "session-renewed"}
            assert await one.read() is None


async def test_stream_of_a_server_that_drains_is_refused() -> None:
    """503, as a handshake is: it would be closed at once."""
    server = new_server(session=COOKIE)
    async with running(server) as base:
        _, mine = await session_of(server)
        server.site.draining = True
        assert problem(await fetch(f"{base}/wshttp/stream", headers=mine)) == (503, "store-unavailable")


@pytest.mark.feature("W10")
async def test_drain_ends_streams_with_1001() -> None:
    """They are asked to come back elsewhere, and the server stops in time."""
    server = new_server(session=COOKIE, server={"drain_timeout": 2})
    await server.start()
    base = server.addresses[0]
    _, mine = await session_of(server)
    async with listening(base, **mine) as one:
        stopping = asyncio.create_task(server.stop())
        assert await one.read_until("closed") == {"type": "closed", "code": 1001, "reason": "going away"}
        assert await one.read() is None
        await soon(stopping)


async def test_client_that_vanishes_is_noticed() -> None:
    """Its connection is gone from the hub, and `on_disconnect` hears 1006."""
    server = new_server(session=COOKIE)
    closed: list[Any] = []
    server.on_disconnect(lambda connection, code, reason: closed.append(code))
    async with running(server) as base:
        session, mine = await session_of(server)
        async with listening(base, **mine) as one:
            one.raw.abort()
            await until(lambda: bool(closed))
        assert closed == [1006]
        assert session.connections == 0


async def test_quiet_stream_sends_lines_that_mean_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that proxies keep it open, whatever the settings say of pings."""
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.01)
    server = new_server(session=COOKIE, websocket={"ping_interval": 0})
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine) as one:
            comments = 0
            while comments < 3:
                lines = await one.lines()
                comments += lines == [":"]


@pytest.mark.feature("W5")
@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
async def test_peer_that_vanished_is_noticed_by_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers nothing: what it acknowledges is all that is heard of it, and that ends as late as pongs do."""
    opened: list[Any] = []
    get = stream.Stream.get

    async def noted(handler: stream.Stream) -> None:
        opened.append(handler.request.connection)
        await get(handler)

    monkeypatch.setattr(stream.Stream, "get", noted)
    server = new_server(session=COOKIE, websocket={"ping_interval": "3s", "ping_timeout": "4s"})
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine):
            sock = opened[0].stream.socket
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


@pytest.mark.feature("W5")
async def test_stream_is_heard_of_by_what_it_takes(clock: Any) -> None:
    """It has no pongs: who takes the lines that mean nothing is there; who does not, is closed like any silent peer."""
    server = new_server(clock, session=COOKIE, websocket={"ping_interval": 20, "ping_timeout": 20})
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, **mine) as one:
            [connection] = server.hub
            for _ in range(5):
                clock.advance(21)
                await server.hub.beat(clock.monotonic())
                while await one.lines() != [":"]:
                    pass
                await until(lambda: connection._transport.heard_at == clock.monotonic())
            assert connection.closed is None
            connection._transport._is_writing = True  # as if the peer took nothing any more
            for _ in range(3):
                clock.advance(21)
                await server.hub.beat(clock.monotonic())
            assert connection.closed == (1011, "ping timeout")
            assert await one.raw.rest() == b""


@pytest.mark.parametrize("on_slow", ["close", "drop"])
async def test_slow_listener_costs_a_bounded_memory(on_slow: str) -> None:
    """Who takes nothing is closed with 1013, or its messages are dropped."""
    server = new_server(session=COOKIE, websocket={"send_buffer_limit": 100_000, "on_slow": on_slow})
    async with running(server) as base:
        session, mine = await session_of(server)
        async with listening(base, **mine) as one:
            [connection] = server.hub
            async with asyncio.timeout(PATIENCE):
                while not server.hub.statistics.slow:
                    await server.hub.send("x" * 50_000, session=session)
                    await asyncio.sleep(0)
            assert connection._transport.unsent <= 160_000
            if on_slow == "close":
                assert connection.closed == (1013, "slow")
                assert await one.read_until("closed") == {"type": "closed", "code": 1013, "reason": "slow"}
            else:
                assert connection.closed is None


async def test_slow_listener_that_takes_no_last_word_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it for long."""
    monkeypatch.setattr(event_stream, "LAST_WORDS", 0.05)
    server = new_server(session=COOKIE, websocket={"send_buffer_limit": "32MiB"})
    async with running(server) as base:
        session, mine = await session_of(server)
        async with listening(base, **mine) as one:
            [connection] = server.hub
            one.raw.writer.transport.pause_reading()
            async with asyncio.timeout(PATIENCE):
                while not server.hub.statistics.slow:
                    await server.hub.send("x" * 1_000_000, session=session)
                    await asyncio.sleep(0)
            await soon(connection._transport.over)
            one.raw.writer.transport.resume_reading()
            rest = await one.raw.rest()
            assert b'"type":"closed"' not in rest


@pytest.mark.feature("A4")
async def test_stream_is_no_slow_request(caplog: pytest.LogCaptureFixture) -> None:
    """It has its line in the log when it is over, without the query, and is in no histogram of answers."""
    caplog.set_level("INFO", "wshttp.access")
    server = new_server(session=COOKIE)
    async with running(server) as base:
        _, mine = await session_of(server)
        async with listening(base, "/wshttp/stream?x=secret", **mine):
            [connection] = server.hub
            connection.close()
            await until(lambda: any("/wshttp/stream" in record.getMessage() for record in caplog.records))
        assert "secret" not in caplog.text
        metrics = (await fetch(f"{base}/wshttp/metrics")).body.decode()
        assert "wshttp_request_seconds_count 0.0" in metrics


# --- several nodes ------------------------------------------------------------------------------


@pytest.mark.feature("W9")
async def test_post_at_another_node_finds_the_stream(redis_server: RedisServer, redis_prefix: str) -> None:
    """No stickiness is needed: the node that has the stream handles it; another session's POST changes nothing."""
    store = {"kind": "redis", "url": redis_server.url(), "prefix": redis_prefix}
    servers = [new_server(session=COOKIE, store=store) for _ in range(2)]
    seen: list[Any] = []
    for server in servers:
        server.on_message(lambda connection, data: seen.append(data) or data)
    async with running(servers[0]) as one, running(servers[1]) as two:
        _, mine = await session_of(servers[0])
        _, other = await session_of(servers[0])
        await until(lambda: all(server.hub.elsewhere.nodes() for server in servers))
        async with listening(one, **mine) as listener:
            answer = await listener.post({"type": "app", "data": "over there", "id": 1}, base=two)
            assert answer.code == 202
            assert (await listener.read_until("ok"))["data"] == "over there"
            foreign = await listener.post({"type": "app", "data": "not mine"}, base=two, headers=other)
            assert problem(foreign) == (404, "not-found")
            assert (await listener.ask(type="touch"))["type"] == "ok"
        assert seen == ["over there"]
