"""WebSockets end to end, with the `websockets` library as the client."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from serving import farewell, fetch, new_server, raw, refusal, running, soon, until, websocket
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from wshttp import Server, User, attach
from wshttp.config import Settings
from wshttp.errors import Forbidden, LimitReached, StoreUnavailable
from wshttp.realtime.connection import Connection
from wshttp.sessions.session_list import SessionList
from wshttp.stores.memory import MemoryStore
from wshttp.testing import FakeClock
from wshttp.web.socket_handler import COMPRESSION, SessionWebSocketHandler


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def echoing(server: Server, path: str = "/echo") -> Server:
    """Give a server a socket that answers each message with itself."""

    @server.websocket(path)
    async def echo(connection: Connection, message: str | bytes) -> None:
        await connection.send(message)

    return server


def problem(answer: Any) -> dict[str, Any]:
    return json.loads(answer.body)


def cookie_of(headers: Any) -> str:
    """Return the session cookie of a response, as a client sends it back."""
    return headers["Set-Cookie"].partition(";")[0]


# --- one port -----------------------------------------------------------------------------------


@pytest.mark.feature("W1")
async def test_http_and_websocket_share_one_port() -> None:
    """One port answers requests and opens sockets."""
    server = echoing(new_server())

    @server.get("/hello")
    def hello(request: Any) -> str:
        return "hello"

    async with running(server) as base, websocket(base, "/echo") as socket:
        await socket.send("over the socket")
        assert await soon(socket.recv()) == "over the socket"
        assert (await fetch(base + "/hello")).body == b"hello"


async def test_messages_text_and_binary() -> None:
    """Text arrives as `str`, binary as `bytes`, and both go back as they came."""
    async with running(echoing(new_server())) as base, websocket(base, "/echo") as socket:
        for message in ("grüße 🎉", b"\x00\xff", "", b""):
            await socket.send(message)
            assert await soon(socket.recv()) == message


@pytest.mark.feature("W6")
async def test_message_in_fragments_arrives_whole() -> None:
    """A message in several frames is one message, with pings between them answered."""
    async with running(echoing(new_server())) as base, websocket(base, "/echo") as socket:

        async def parts() -> AsyncIterator[str]:
            yield "one "
            await soon(await socket.ping())
            yield "two "
            yield "three"

        await socket.send(parts())
        assert await soon(socket.recv()) == "one two three"


@pytest.mark.feature("W6")
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["b", "a"], "a"), (["b"], "b"), (["x"], None), (None, None)],
)
async def test_subprotocol_is_the_first_of_ours_that_is_offered(offered: list[str] | None, chosen: str | None) -> None:
    """The server's order of preference decides; without a common one, none is chosen."""
    server, seen = new_server(), []

    @server.websocket("/speak", subprotocols=("a", "b"))
    def speak(connection: Connection, message: str) -> None:
        """Nothing to say."""

    @server.on_connect
    def note(connection: Connection) -> None:
        seen.append(connection.subprotocol)

    async with running(server) as base, websocket(base, "/speak", subprotocols=offered) as socket:
        assert socket.subprotocol == chosen
        assert seen == [chosen]


@pytest.mark.feature("W6")
async def test_compression_is_off_by_default() -> None:
    """A client that offers permessage-deflate gets none unless the setting says so."""
    async with running(echoing(new_server())) as base, websocket(base, "/echo", compression="deflate") as socket:
        assert "Sec-WebSocket-Extensions" not in socket.response.headers


@pytest.mark.feature("W6", "M3")
async def test_compression_has_bounds() -> None:
    """With permessage-deflate messages go through, and one that inflates beyond the limit closes with 1009."""
    server = echoing(new_server(websocket={"compression": True, "max_message_size": 10_000}))
    async with running(server) as base, websocket(base, "/echo", compression="deflate") as socket:
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        await socket.send("a" * 10_000)
        assert await soon(socket.recv()) == "a" * 10_000
        await socket.send("a" * 10_001)
        assert (await farewell(socket))[0] == 1009
    assert COMPRESSION["mem_level"] <= 5


@pytest.mark.feature("W6")
@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=99",
        "permessage-deflate; client_max_window_bits=soup",
        "permessage-deflate; spice=1",
    ],
)
async def test_compression_offer_that_cannot_be_met_is_declined(offer: str) -> None:
    """RFC 7692, section 5.1: what cannot be agreed on is declined, and the socket opens without compression."""
    server = echoing(new_server(websocket={"compression": True}))
    async with running(server) as base, raw(base) as client:
        client.send(handshake("/echo", f"Sec-WebSocket-Extensions: {offer}"))
        answer = await client.until(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"Sec-Websocket-Extensions" not in answer


def handshake(
    path: str, *lines: str, method: str = "GET", version: str = "13", key: str = "AAAAAAAAAAAAAAAAAAAAAA=="
) -> bytes:
    """Return the bytes of a handshake, which may be a bad one."""
    fields = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Version: {version}",
        *([f"Sec-WebSocket-Key: {key}"] if key else []),
        *lines,
    ]
    return "\r\n".join([*fields, "", ""]).encode()


# --- refused before the 101 -----------------------------------------------------------------------


@pytest.mark.feature("W2")
async def test_handshake_without_session_is_refused() -> None:
    """Where nothing starts a session, a client without one gets 401."""
    server = echoing(new_server(session={"auto_start": False}))
    async with running(server) as base:
        answer = await refusal(base, "/echo")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Session"
        assert problem(answer)["type"] == "urn:wshttp:session-ended"
        assert len(server.hub) == 0


@pytest.mark.feature("W2")
async def test_handshake_of_an_ended_session_is_refused_with_the_reason() -> None:
    """A cookie whose session has ended opens nothing where none is started, and the answer says why it ended."""
    server = echoing(new_server(session={"auto_start": False, "identity": ["cookie"]}))
    async with running(server) as base:
        session = await server.sessions.create(remote_ip="127.0.0.1", identity="cookie")
        cookie = {"Cookie": f"wshttp={session.id.value}"}
        await server.sessions.end(session, "admin")
        answer = await refusal(base, "/echo", additional_headers=cookie, origin=base)
        assert (answer.status_code, problem(answer)["reason"]) == (401, "admin")


@pytest.mark.feature("W2", "U4")
async def test_handshake_with_bad_credentials_is_refused() -> None:
    """A Basic header has to be right, on a handshake as on any request."""
    server = echoing(new_server())

    @server.on_authenticate
    def check(user: str, password: str, request: Any) -> User | bool:
        return password == "right" and User(user, (), "1")

    async with running(server) as base:
        answer = await refusal(base, "/echo", additional_headers=basic("ann", "wrong"))
        assert (answer.status_code, problem(answer)["type"]) == (401, "urn:wshttp:bad-credentials")
        async with websocket(base, "/echo", additional_headers=basic("ann", "right")):
            assert [connection.user for connection in server.hub] == ["ann"]


@pytest.mark.feature("W2", "U6")
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://friend.example:81"},
    ],
)
async def test_handshake_from_another_site_is_refused(headers: dict[str, str]) -> None:
    """A foreign origin gets 403, compared as a whole, and no session is started for it."""
    server = echoing(new_server(websocket={"allowed_origins": ["http://friend.example"]}))
    async with running(server) as base:
        answer = await refusal(base, "/echo", additional_headers=headers)
        assert (answer.status_code, problem(answer)["type"]) == (403, "urn:wshttp:forbidden")
        assert await server.sessions.count() == 0


@pytest.mark.feature("U6")
async def test_handshake_from_an_allowed_origin_passes() -> None:
    """The server's own origin, those in `websocket.allowed_origins`, and clients that are no browser get in."""
    server = echoing(new_server(websocket={"allowed_origins": ["http://friend.example"]}))
    async with running(server) as base:
        for options in (
            {"origin": base},
            {"origin": "http://friend.example"},
            {"additional_headers": {"Origin": "http://friend.example", "Sec-Fetch-Site": "cross-site"}},
            {},
        ):
            async with websocket(base, "/echo", **options) as socket:
                await socket.send("hello")
                assert await soon(socket.recv()) == "hello"


@pytest.mark.feature("U6")
async def test_handshake_of_a_cookie_session_needs_an_origin() -> None:
    """A cookie comes along from anywhere, so a handshake that joins its session has to say where it comes from."""
    server = echoing(new_server(session={"identity": ["cookie"]}))
    async with running(server) as base:
        cookie = {"Cookie": cookie_of((await fetch(base + "/wshttp/session")).headers)}
        answer = await refusal(base, "/echo", additional_headers=cookie)
        assert (answer.status_code, problem(answer)["type"]) == (403, "urn:wshttp:forbidden")
        async with websocket(base, "/echo", additional_headers=cookie, origin=base):
            assert len(server.hub) == 1


@pytest.mark.feature("W2")
async def test_handshake_refused_by_on_connect() -> None:
    """`on_connect` sees the session and may say no: 403, and neither connection nor `on_disconnect` comes of it."""
    server, seen, gone = echoing(new_server()), [], []

    @server.on_connect
    async def refuse(connection: Connection) -> bool:
        seen.append(connection.session.ref)
        return False

    @server.on_disconnect
    def left(connection: Connection, code: int, reason: str) -> None:
        gone.append(connection)

    async with running(server) as base:
        answer = await refusal(base, "/echo")
        assert (answer.status_code, problem(answer)["type"]) == (403, "urn:wshttp:forbidden")
        assert seen == [session.ref async for session in server.sessions.scan()]
        assert len(server.hub) == 0
    assert gone == []


@pytest.mark.feature("W2")
async def test_handshake_is_refused_where_on_connect_fails() -> None:
    """A guard that falls over lets nobody in."""
    server = echoing(new_server())

    @server.on_connect
    def fall_over(connection: Connection) -> None:
        raise RuntimeError("no guard today")

    async with running(server) as base:
        assert (await refusal(base, "/echo")).status_code == 403
        assert len(server.hub) == 0


@pytest.mark.feature("W2")
async def test_handshake_while_the_server_drains() -> None:
    """A server that is about to go takes no new sockets: 503, with a time to come back."""
    server = echoing(new_server())
    async with running(server) as base:
        server.site.draining = True
        answer = await refusal(base, "/echo")
        assert (answer.status_code, problem(answer)["type"]) == (503, "urn:wshttp:store-unavailable")
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.feature("M2")
async def test_handshake_over_the_limit_per_session() -> None:
    """A session has `max_connections_per_session` sockets; one more is answered 429, until one has closed."""
    server = echoing(new_server(session={"max_connections_per_session": 2}))
    async with running(server) as base, websocket(base, "/echo"):
        async with websocket(base, "/echo"):
            answer = await refusal(base, "/echo")
            assert (answer.status_code, problem(answer)["type"]) == (429, "urn:wshttp:limit-reached")
            assert int(answer.headers["Retry-After"]) >= 1
        await until(lambda: len(server.hub) == 1)
        async with websocket(base, "/echo"):
            assert len(server.hub) == 2


@pytest.mark.feature("M2")
async def test_handshake_over_the_limit_in_all() -> None:
    """`server.max_connections` is answered 503, whether the listener meets it or, behind it, the hub."""
    server = echoing(new_server(server={"max_connections": 1}))
    async with running(server) as base, websocket(base, "/echo"):
        assert (await refusal(base, "/echo")).status_code == 503
        server._network.engine.limits = type(server._network.engine.limits)()
        answer = await refusal(base, "/echo")
        assert (answer.status_code, problem(answer)["type"]) == (503, "urn:wshttp:limit-reached")
        assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.feature("M2")
async def test_handshake_over_the_limit_per_address() -> None:
    """`server.max_connections_per_ip` is answered 429."""
    server = echoing(new_server(server={"max_connections_per_ip": 1}))
    async with running(server) as base, websocket(base, "/echo"):
        assert (await refusal(base, "/echo")).status_code == 429


@pytest.mark.feature("M2")
async def test_limit_per_address_behind_a_proxy_counts_clients() -> None:
    """Behind a trusted proxy the client's address counts, IPv6 by prefix, and not the proxy's."""
    server = echoing(new_server(server={"max_connections_per_ip": 1, "trusted_proxies": ["127.0.0.1"]}))

    def of(ip: str) -> dict[str, Any]:
        return {"additional_headers": {"X-Forwarded-For": ip}}

    async with running(server) as base, websocket(base, "/echo", **of("2001:db8::1")):
        async with websocket(base, "/echo", **of("192.0.2.1")), websocket(base, "/echo", **of("192.0.2.2")):
            for ip in ("192.0.2.1", "::ffff:192.0.2.2", "2001:db8::2"):
                answer = await refusal(base, "/echo", **of(ip))
                assert (answer.status_code, problem(answer)["type"]) == (429, "urn:wshttp:limit-reached")
        await until(lambda: len(server.hub) == 1)
        async with websocket(base, "/echo", **of("192.0.2.1")):
            assert len(server.hub) == 2


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (handshake("/echo", version="12"), b"426"),
        (handshake("/echo", key=""), b"400"),
        (handshake("/echo").replace(b"Connection: Upgrade", b"Connection: close"), b"400"),
        (handshake("/echo", method="HEAD"), b"400"),
    ],
    ids=["version", "key", "connection", "head"],
)
async def test_handshake_that_is_malformed_leaves_nothing_behind(request_bytes: bytes, status: bytes) -> None:
    """What RFC 6455 does not allow is refused, and no connection stays in the hub for it."""
    server = echoing(new_server())
    async with running(server) as base, raw(base) as client:
        client.send(request_bytes)
        assert (await client.until(b"\r\n")).split()[1] == status
        await until(lambda: len(server.hub) == 0)


async def test_socket_path_without_an_upgrade_is_a_bad_request() -> None:
    """A plain GET on a socket's path is told what is missing."""
    async with running(echoing(new_server())) as base:
        for headers in ({}, {"Upgrade": "h2c"}):
            refused = await fetch(base + "/echo", headers=headers)
            assert (refused.code, refused.headers["Content-Type"]) == (400, "application/problem+json")
            assert json.loads(refused.body)["type"] == "urn:wshttp:bad-request"
            assert "Upgrade: websocket" in json.loads(refused.body)["detail"]


@pytest.mark.feature("L2", "I5")
async def test_handshake_starts_a_session_and_sets_its_cookie() -> None:
    """Where `auto_start` is on, the 101 carries the new session's cookie, and may not be cached."""
    server = echoing(new_server(session={"identity": ["cookie"]}))
    async with running(server) as base, websocket(base, "/echo") as socket:
        cookie = {"Cookie": cookie_of(socket.response.headers)}
        assert socket.response.headers["Cache-Control"] == "no-store"
        answer = json.loads((await fetch(base + "/wshttp/session", headers=cookie)).body)
        [connection] = server.hub
        assert (answer["ref"], answer["connections"]) == (connection.session.ref, 1)


@pytest.mark.feature("L2")
@pytest.mark.parametrize(("server_wide", "own"), [(True, False), (False, True)])
async def test_socket_route_may_decide_by_itself_about_starting(server_wide: bool, own: bool) -> None:
    """`auto_start` of a socket's route outranks the setting."""
    server = new_server(session={"auto_start": server_wide})

    @server.websocket("/own", auto_start=own)
    def ignore(connection: Connection, message: str) -> None:
        """Nothing to do."""

    async with running(server) as base:
        if own:
            async with websocket(base, "/own"):
                assert await server.sessions.count() == 1
        else:
            assert (await refusal(base, "/own")).status_code == 401


@pytest.mark.feature("L1")
async def test_socket_where_sessions_are_off() -> None:
    """Without sessions sockets work all the same, and have none."""
    server = echoing(new_server(session={"enabled": False}))
    async with running(server) as base, websocket(base, "/echo") as socket:
        await socket.send("hello")
        assert await soon(socket.recv()) == "hello"
        [connection] = server.hub
        assert connection.session is None


# --- commits ----------------------------------------------------------------------------------------


@pytest.mark.feature("W2")
async def test_what_on_connect_changes_is_committed_before_the_101() -> None:
    """A client that sees the 101 can count on what the handshake has written."""
    server = echoing(new_server())

    @server.on_connect
    async def note(connection: Connection) -> None:
        connection.session["connected"] = True

    @server.get("/connected")
    def connected(request: Any) -> dict[str, Any]:
        return dict(request.session)

    async with running(server) as base, websocket(base, "/echo"):
        assert json.loads((await fetch(base + "/connected")).body) == {"connected": True}


@pytest.mark.feature("T4")
async def test_message_is_committed_after_it() -> None:
    """While a handler runs, what it writes is its own; afterwards all see it."""
    server, written, go_on = new_server(), asyncio.Event(), asyncio.Event()

    @server.websocket("/write")
    async def write(connection: Connection, message: str) -> None:
        connection.session["text"] = message
        written.set()
        await go_on.wait()

    @server.get("/read")
    def read(request: Any) -> dict[str, Any]:
        return {"text": request.session.get("text")}

    async with running(server) as base, websocket(base, "/write") as socket:
        await socket.send("news")
        await soon(written.wait())
        assert json.loads((await fetch(base + "/read")).body) == {"text": None}
        go_on.set()
        [connection] = server.hub
        await until(lambda: connection.session.record.data == {"text": "news"})


async def test_handler_that_raises_closes_with_1011_and_drops_its_changes() -> None:
    """A fault of the server closes its socket, and what the message changed until then is not kept."""
    server = new_server()

    @server.websocket("/fail")
    async def fail(connection: Connection, message: str) -> None:
        connection.session["half"] = "done"
        raise RuntimeError("in the middle")

    async with running(server) as base, websocket(base, "/fail") as socket:
        [connection] = server.hub
        await socket.send("go")
        assert await farewell(socket) == (1011, "internal error")
        assert connection.session.ended is None
        assert dict(connection.session) == {}


async def test_plain_function_is_a_handler_too() -> None:
    """A socket's function need not be a coroutine; what it raises closes with 1011 all the same."""
    server = new_server()

    @server.websocket("/plain")
    def plain(connection: Connection, message: str) -> None:
        connection.session["count"] = connection.session.get("count", 0) + 1
        connection.post(str(connection.session["count"]))
        if message == "fail":
            raise ValueError(message)

    async with running(server) as base, websocket(base, "/plain") as socket:
        for expected in ("1", "2"):
            await socket.send("count")
            assert await soon(socket.recv()) == expected
        await socket.send("fail")
        assert await soon(socket.recv()) == "3"
        assert await farewell(socket) == (1011, "internal error")


# --- messages ---------------------------------------------------------------------------------------


async def test_messages_of_one_connection_are_handled_in_order_one_at_a_time() -> None:
    """However slow a handler is, the next message waits for it; other connections do not."""
    server, handled, running_now, gates = new_server(), [], [0], [asyncio.Event() for _ in range(3)]

    @server.websocket("/slow")
    async def slow(connection: Connection, message: str) -> None:
        running_now[0] += 1
        assert running_now[0] == 1
        await gates[int(message)].wait()
        running_now[0] -= 1
        handled.append(message)

    async with running(echoing(server)) as base, websocket(base, "/slow") as socket:
        for number in range(3):
            await socket.send(str(number))
        gates[2].set()
        gates[1].set()
        async with websocket(base, "/echo") as other:
            await other.send("past the slow one")
            assert await soon(other.recv()) == "past the slow one"
        assert handled == []
        gates[0].set()
        await until(lambda: len(handled) == 3)
        assert handled == ["0", "1", "2"]


@pytest.mark.feature("M3")
async def test_message_over_the_limit_closes_with_1009() -> None:
    """A message at the limit passes; one byte more closes the socket, in one frame or in several."""
    server, gone = echoing(new_server(websocket={"max_message_size": 1000})), []

    @server.on_disconnect
    def left(connection: Connection, code: int, reason: str) -> None:
        gone.append(code)

    async with running(server) as base:
        async with websocket(base, "/echo") as socket:
            await socket.send("x" * 1000)
            assert await soon(socket.recv()) == "x" * 1000
            await socket.send("x" * 1001)
            assert (await farewell(socket))[0] == 1009
        async with websocket(base, "/echo") as socket:
            await socket.send(["x" * 600, "x" * 600])
            assert (await farewell(socket))[0] == 1009
        await until(lambda: len(gone) == 2)
    assert gone == [1009, 1009]


@pytest.mark.feature("M4")
async def test_messages_over_the_rate_close_with_1013() -> None:
    """A connection that sends more than `max_messages_per_second` is closed; one that keeps to it is not."""
    clock = FakeClock()
    server = echoing(new_server(clock, websocket={"max_messages_per_second": 2}))
    async with running(server) as base, websocket(base, "/echo") as socket:
        for _ in range(3):
            for _ in range(2):
                await socket.send("in time")
                assert await soon(socket.recv()) == "in time"
            clock.advance(1)
        for _ in range(3):
            await socket.send("too fast")
        assert await farewell(socket) == (1013, "rate")


@pytest.mark.parametrize(
    ("error", "close"),
    [
        (Forbidden("not this"), (1008, "policy")),
        (LimitReached("my.limit", 1, in_all=False), (1013, "capacity")),
        (KeyError("oops"), (1011, "internal error")),
    ],
)
async def test_error_of_a_handler_becomes_a_close_code(error: Exception, close: tuple[int, str]) -> None:
    """Errors that are meant for the client have their own code; all others are a fault of the server."""
    server = new_server()

    @server.websocket("/raise")
    def fail(connection: Connection, message: str) -> None:
        raise error

    async with running(server) as base, websocket(base, "/raise") as socket:
        await socket.send("go")
        assert await farewell(socket) == close


async def test_text_that_is_not_utf8_ends_the_connection() -> None:
    """A text message that is no UTF-8 reaches no handler, and the connection is over."""
    server, seen, gone = new_server(), [], asyncio.Event()

    @server.websocket("/text")
    def take(connection: Connection, message: str) -> None:
        seen.append(message)

    @server.on_disconnect
    def left(connection: Connection, code: int, reason: str) -> None:
        gone.set()

    async with running(server) as base, websocket(base, "/text") as socket:
        await socket.send(b"\xff\xfe", text=True)
        await soon(socket.wait_closed())
        await soon(gone.wait())
    assert seen == []


async def test_client_that_vanishes_in_the_middle_of_a_message() -> None:
    """Half a message is no message; the connection is forgotten, and `on_disconnect` says 1006."""
    server, seen, gone = new_server(), [], []

    @server.websocket("/half")
    def take(connection: Connection, message: str) -> None:
        seen.append(message)

    @server.on_disconnect
    def left(connection: Connection, code: int, reason: str) -> None:
        gone.append((code, reason))

    async with running(server) as base, raw(base) as client:
        client.send(handshake("/half"))
        await client.until(b"\r\n\r\n")
        client.send(b"\x81\xfe\x01\x00\x00\x00\x00\x00half")
        await until(lambda: len(server.hub) == 1)
        client.abort()
        await until(lambda: gone == [(1006, "")])
        assert len(server.hub) == 0
    assert seen == []


# --- closing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "seen"),
    [((1000, "bye"), (1000, "bye")), ((4321, "own"), (4321, "own")), ((1001, ""), (1001, ""))],
)
async def test_on_disconnect_gets_the_code_of_the_client(sent: tuple[int, str], seen: tuple[int, str]) -> None:
    """What the client closed with is what the application hears, once."""
    server, gone = echoing(new_server()), []

    @server.on_disconnect
    async def left(connection: Connection, code: int, reason: str) -> None:
        gone.append((code, reason))

    async with running(server) as base, websocket(base, "/echo") as socket:
        await socket.close(*sent)
        await until(lambda: bool(gone))
    assert gone == [seen]


async def test_on_disconnect_of_a_close_without_a_code_is_1005() -> None:
    """A browser's `close()` names no code: that is RFC 6455's 1005, and not a client that vanished."""
    server, gone = echoing(new_server()), []

    @server.on_disconnect
    def left(connection: Connection, code: int, reason: str) -> None:
        gone.append((code, reason))

    async with running(server) as base, raw(base) as client:
        client.send(handshake("/echo"))
        await client.until(b"\r\n\r\n")
        client.send(b"\x88\x80\x00\x00\x00\x00")
        await until(lambda: bool(gone))
    assert gone == [(1005, "")]


async def test_what_was_sent_before_the_close_is_handled_before_on_disconnect() -> None:
    """A client that says something and goes, without waiting for an answer, has said it."""
    server, story, go_on = new_server(), [], asyncio.Event()

    @server.websocket("/last-words")
    async def take(connection: Connection, message: str) -> None:
        await go_on.wait()
        story.append(message)

    @server.on_disconnect
    def left(connection: Connection, code: int, reason: str) -> None:
        story.append(code)

    async with running(server) as base:
        async with websocket(base, "/last-words", close_timeout=0.01) as socket:
            await socket.send("one")
            await socket.send("two")
        await until(lambda: len(server.hub) == 0)
        go_on.set()
        await until(lambda: len(story) == 3)
    assert story == ["one", "two", 1000]


async def test_handler_may_close_with_code_and_reason() -> None:
    """`connection.close` says goodbye; sending afterwards raises, and is no fault of the handler."""
    server = new_server()

    @server.websocket("/leave")
    async def leave(connection: Connection, message: str) -> None:
        await connection.send("last")
        connection.close(4000 + int(message), "enough")
        await connection.send("never")

    async with running(server) as base, websocket(base, "/leave") as socket:
        await socket.send("99")
        assert await soon(socket.recv()) == "last"
        assert await farewell(socket) == (4099, "enough")


async def test_closing_twice_keeps_the_first_code() -> None:
    """The first to close decides; a plain `close()` is 1000 `bye`."""
    server = new_server()

    @server.websocket("/twice")
    def twice(connection: Connection, message: str) -> None:
        connection.close()
        connection.close(4001, "again")

    async with running(server) as base, websocket(base, "/twice") as socket:
        await socket.send("go")
        assert await farewell(socket) == (1000, "bye")


# --- Tornado's own style ----------------------------------------------------------------------------


class Diary(SessionWebSocketHandler):
    """Write down what happens, in the session and in a list."""

    def initialize(self, story: list[Any], hold: asyncio.Event | None = None) -> None:
        self.story = story
        self.hold = hold

    async def open(self, *args: str, **kwargs: str) -> None:
        self.story.append(("open", args, kwargs))
        self.session["opened"] = True
        if self.hold is not None:
            await self.hold.wait()
        await self.connection.send("welcome")

    async def on_message(self, message: str | bytes) -> None:
        self.story.append(message)
        self.session["last"] = message
        if message == "leave":
            self.close(4444, "left")
        else:
            await self.write_message(message)

    def on_close(self) -> None:
        self.story.append(("close", self.close_code, self.close_reason))


async def test_tornado_handler_opens_commits_and_closes() -> None:
    """`open`, `on_message` and `on_close` are Tornado's; what they change in the session is committed."""
    server, story = new_server(), []
    server.add_handlers([(r"/diary/(?P<day>\w+)", Diary, {"story": story})])
    async with running(server) as base, websocket(base, "/diary/monday") as socket:
        assert await soon(socket.recv()) == "welcome"
        [connection] = server.hub
        await until(lambda: connection.session.record.data == {"opened": True})
        await socket.send("hello")
        assert await soon(socket.recv()) == "hello"
        await until(lambda: connection.session.record.data == {"opened": True, "last": "hello"})
        await socket.send("leave")
        assert await farewell(socket) == (4444, "left")
        await until(lambda: len(story) == 4)
    assert story[:3] == [("open", (), {"day": "monday"}), "hello", "leave"]
    assert story[3][0] == "close"


async def test_tornado_handler_handles_what_came_before_the_close_before_on_close() -> None:
    """`on_close` comes last, after the messages that the client sent before it left."""
    server, story, hold = new_server(), [], asyncio.Event()

    class Slow(Diary):
        async def on_message(self, message: str | bytes) -> None:
            await hold.wait()
            self.story.append(message)

    server.add_handlers([("/diary", Slow, {"story": story})])
    async with running(server) as base:
        async with websocket(base, "/diary", close_timeout=0.01) as socket:
            await socket.send("one")
            await socket.send("two")
        await until(lambda: len(server.hub) == 0)
        hold.set()
        await until(lambda: len(story) == 4)
    assert story == [("open", (), {}), "one", "two", ("close", 1000, None)]


async def test_tornado_handler_commits_what_on_close_changes() -> None:
    """The last change of a socket is as good as any other."""
    server, story = new_server(), []

    class Leaving(Diary):
        def on_close(self) -> None:
            self.session["left"] = True

    server.add_handlers([("/diary", Leaving, {"story": story})])
    async with running(server) as base:
        async with websocket(base, "/diary"):
            [session] = [connection.session for connection in server.hub]
        await until(lambda: session.record.data == {"opened": True, "left": True})


async def test_tornado_handler_whose_open_raises_closes_with_1011() -> None:
    """A fault in `open` closes the socket, and what `open` changed is dropped."""
    server = new_server()

    class Broken(SessionWebSocketHandler):
        def open(self, *args: str, **kwargs: str) -> None:
            self.session["half"] = "open"
            raise RuntimeError("not today")

        def on_message(self, message: str | bytes) -> None:
            """Never comes."""

    server.add_handlers([("/broken", Broken)])
    async with running(server) as base, websocket(base, "/broken") as socket:
        assert await farewell(socket) == (1011, "internal error")
        [session] = [session async for session in server.sessions.scan()]
        assert session.record.data == {}


async def test_tornado_handler_is_not_told_of_pings_before_it_has_opened() -> None:
    """They are answered all the same; `on_ping` may rely on what `open` prepares."""
    server, story, hold = new_server(), [], asyncio.Event()

    class Pinged(Diary):
        def on_ping(self, data: bytes) -> None:
            self.story.append(data)

    server.add_handlers([("/diary", Pinged, {"story": story, "hold": hold})])
    async with running(server) as base, websocket(base, "/diary") as socket:
        await soon(await socket.ping(b"early"))
        hold.set()
        assert await soon(socket.recv()) == "welcome"
        await soon(await socket.ping(b"late"))
        assert story == [("open", (), {}), b"late"]


async def test_tornado_handler_that_is_closed_before_it_opens_does_not_open() -> None:
    """Who is closed in `on_connect` has no `open`, and so no `on_close`."""
    server, story = new_server(), []
    server.add_handlers([("/diary", Diary, {"story": story})])

    @server.on_connect
    def refuse(connection: Connection) -> None:
        connection.close(4321, "not you")

    async with running(server) as base, websocket(base, "/diary") as socket:
        assert await farewell(socket) == (4321, "not you")
        await socket.wait_closed()
    assert story == []


@pytest.mark.feature("W5")
async def test_slow_open_is_no_dead_peer() -> None:
    """While `open` takes its time, pings are answered, messages wait, and a client that leaves is noticed."""
    clock, hold, story = FakeClock(), asyncio.Event(), []
    server = new_server(clock)
    server.add_handlers([("/diary", Diary, {"story": story, "hold": hold})])
    async with running(server) as base, websocket(base, "/diary") as socket:
        await socket.send("early")
        await soon(await socket.ping())
        for _ in range(5):
            clock.advance(19)
            await server.hub.beat(clock.monotonic())
            await soon(await socket.ping())
        assert story == [("open", (), {})]
        hold.set()
        assert await soon(socket.recv()) == "welcome"
        assert await soon(socket.recv()) == "early"


async def test_tornado_handler_without_on_message_closes_with_1011() -> None:
    """A class that forgot to say what it does with messages is at fault, and its socket closes."""
    server = new_server()
    server.add_handlers([("/bare", SessionWebSocketHandler)])
    async with running(server) as base, websocket(base, "/bare") as socket:
        await socket.send("anything")
        assert await farewell(socket) == (1011, "internal error")


# --- what goes wrong on the way ---------------------------------------------------------------------


async def test_101_comes_after_the_commit() -> None:
    """What the handshake has changed is written before it is answered: until then the client waits."""
    server, writing, go_on = echoing(new_server()), asyncio.Event(), asyncio.Event()
    apply = server.sessions.store.apply

    @server.on_connect
    def note(connection: Connection) -> None:
        connection.session["connected"] = True

    async def slowly(*arguments: Any) -> Any:
        writing.set()
        await go_on.wait()
        return await apply(*arguments)

    server.sessions.store.apply = slowly
    async with running(server) as base:
        opening = asyncio.create_task(websocket(base, "/echo").__aenter__())
        await soon(writing.wait())
        for _ in range(3):
            assert (await fetch(base + "/wshttp/health/live")).code == 200
        assert not opening.done()
        go_on.set()
        await (await soon(opening)).close()


async def test_handshake_is_refused_where_its_changes_cannot_be_written() -> None:
    """A store that is away means 503, and no socket."""
    server = echoing(new_server())

    @server.on_connect
    def note(connection: Connection) -> None:
        connection.session["connected"] = True

    async def fail(*arguments: Any) -> Any:
        raise StoreUnavailable

    server.sessions.store.apply = fail
    async with running(server) as base:
        answer = await refusal(base, "/echo")
        assert (answer.status_code, problem(answer)["type"]) == (503, "urn:wshttp:store-unavailable")
        assert len(server.hub) == 0


async def test_message_whose_changes_cannot_be_written_waits_for_the_store() -> None:
    """The next one is not handled before; `tests/realtime/test_outage.py` has the outage of a real store."""
    server = new_server()
    failures = [StoreUnavailable(), StoreUnavailable()]
    apply = server.sessions.store.apply

    @server.websocket("/write")
    async def write(connection: Connection, message: str) -> None:
        before = connection.session.get("text")
        connection.session["text"] = message
        await connection.send(f"{message} after {before}")

    async def fail(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await apply(*arguments)

    server.sessions.store.apply = fail
    async with running(server) as base, websocket(base, "/write") as socket:
        for message in ("one", "two"):
            await socket.send(message)
        assert [await soon(socket.recv()) for _ in range(2)] == ["one after None", "two after one"]
        assert failures == []


async def test_message_that_makes_a_session_too_large_closes_with_1011() -> None:
    """`session.max_data` holds for messages, too; nothing of the message is kept."""
    server = new_server(session={"max_data": 1000})

    @server.websocket("/fill")
    def fill(connection: Connection, message: str) -> None:
        connection.session["small"] = True
        connection.session["text"] = message

    async with running(server) as base, websocket(base, "/fill") as socket:
        [connection] = server.hub
        await socket.send("x" * 2000)
        assert await farewell(socket) == (1011, "internal error")
        assert connection.session.record.data == {}


async def test_on_connect_that_never_returns_refuses() -> None:
    """After `session.callback_timeout` the guard has failed, and nobody gets in."""
    server = echoing(new_server(session={"callback_timeout": "20ms"}))

    @server.on_connect
    async def never(connection: Connection) -> None:
        await asyncio.Event().wait()

    async with running(server) as base:
        assert (await refusal(base, "/echo")).status_code == 403
        assert len(server.hub) == 0


async def test_client_that_vanishes_during_its_handshake() -> None:
    """Who leaves while `on_connect` thinks is let in and found gone at once: nothing stays behind."""
    server, asked, go_on, gone = echoing(new_server()), asyncio.Event(), asyncio.Event(), []

    @server.on_connect
    async def think(connection: Connection) -> None:
        asked.set()
        await go_on.wait()

    @server.on_disconnect
    def left(connection: Connection, code: int, reason: str) -> None:
        gone.append(code)

    async with running(server) as base:
        async with raw(base) as client:
            client.send(handshake("/echo"))
            await soon(asked.wait())
            client.abort()
        await fetch(base + "/wshttp/health/live")
        go_on.set()
        await until(lambda: gone == [1006])
        assert len(server.hub) == 0
        await until(lambda: server._network.counts.open == 0)


async def test_message_right_behind_the_handshake_is_not_lost() -> None:
    """A client that does not wait for the 101 is heard all the same."""
    async with running(echoing(new_server())) as base, raw(base) as client:
        client.send(handshake("/echo") + b"\x81\x82\x00\x00\x00\x00hi")
        assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert await client.exactly(4) == b"\x81\x02hi"


# --- who it is ---------------------------------------------------------------------------------------


@pytest.mark.feature("U4", "I6")
async def test_socket_of_a_token_in_a_header_or_a_url() -> None:
    """Clients that can send headers, and those that cannot, join their session by its token."""
    server = echoing(new_server(session={"identity": ["header", "url"], "auto_start": False}))
    async with running(server) as base:
        session = await server.sessions.create(remote_ip="127.0.0.1", identity="header")
        token = session.id.value
        async with (
            websocket(base, "/echo", additional_headers={"Authorization": f"Session {token}"}),
            websocket(base, f"/echo?session={token}"),
        ):
            assert [connection.session for connection in server.hub] == [session, session]
        for options in ({"additional_headers": {"Authorization": f"Session {token[::-1]}"}}, {}):
            assert (await refusal(base, "/echo", **options)).status_code == 401


@pytest.mark.feature("U3", "U4")
async def test_protected_socket_needs_user_and_role() -> None:
    """`auth.protect` holds for sockets as for paths: 401 with a challenge, 403 without the role."""
    server = echoing(new_server(auth={"protect": [{"path": "/ec*", "roles": ["staff"]}]}))
    server.on_authenticate(lambda user, password, request: User(user, ("staff",) if user == "ann" else (), "1"))
    async with running(server) as base:
        answer = await refusal(base, "/%65cho")
        assert (answer.status_code, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert (await refusal(base, "/echo", additional_headers=basic("bob", "x"))).status_code == 403
        async with websocket(base, "/echo", additional_headers=basic("ann", "x")) as socket:
            await socket.send("hello")
            assert await soon(socket.recv()) == "hello"


# --- in an application of one's own ------------------------------------------------------------------


async def test_socket_in_an_attached_application() -> None:
    """In a plain Tornado application a handler has its session, commits `open` and messages, and closes at the end."""
    story: list[Any] = []
    sessions = SessionList(Settings().session.model_copy(update={"identity": ("cookie",)}), MemoryStore())
    application = Application([("/diary", Diary, {"story": story})], log_function=lambda handler: None)
    site = attach(application, sessions)
    ended: list[Any] = []
    sessions.callbacks.register("session_end", lambda session, reason: ended.append((str(reason), dict(session))))
    await sessions.open()
    server = HTTPServer(application)
    [listening] = bind_sockets(0, "127.0.0.1")
    server.add_socket(listening)
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        async with websocket(base, "/diary") as socket:
            assert await soon(socket.recv()) == "welcome"
            await socket.send("hello")
            assert await soon(socket.recv()) == "hello"
            [connection] = site.hub
            await until(lambda: connection.session.record.data == {"opened": True, "last": "hello"})
            await sessions.end(connection.session, "admin")
            assert await farewell(socket) == (4006, "session-ended:admin")
        await sessions.settled(10)
        assert ended == [("admin", {"opened": True, "last": "hello"})]
        await until(lambda: story[-1][:2] == ("close", 4006))
        assert story[:2] == [("open", (), {}), "hello"]
        assert (await refusal(base, "/diary", origin="http://evil.example")).status_code == 403
    finally:
        server.stop()
        await sessions.close()
