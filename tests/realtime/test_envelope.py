"""The built-in socket, `wshttp.v1`, as a client meets it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from serving import farewell, fetch, new_server, refusal, running, soon, until, websocket
from websockets.asyncio.client import ClientConnection

from wshttp import Server
from wshttp.auth.passwords import hash_password
from wshttp.errors import BadRequest
from wshttp.realtime.connection import Connection
from wshttp.realtime.envelope import MAX_TOPICS
from wshttp.realtime.incoming import MAX_TOPIC, read_object


class Client:
    """A client of `wshttp.v1`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, **envelope: Any) -> None:
        await self.socket.send(json.dumps(envelope))

    async def read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await soon(self.socket.recv()))
        return message

    async def read_until(self, *types: str) -> dict[str, Any]:
        """Read on to the next message of one of these types."""
        while (message := await self.read())["type"] not in types:
            pass
        return message

    async def ask(self, **envelope: Any) -> dict[str, Any]:
        """Send with an id, and return what answers it."""
        await self.send(**envelope, id="?")
        answer = await self.read_until("ok", "error")
        assert answer["id"] == "?"
        return answer

    async def is_well(self) -> bool:
        """Whether the connection still answers."""
        return (await self.ask(type="touch"))["type"] == "ok"


@asynccontextmanager
async def client(base: str, **options: Any) -> AsyncIterator[Client]:
    """Open the built-in socket and take its welcome."""
    async with websocket(base, "/wshttp/socket", subprotocols=["wshttp.v1"], **options) as socket:
        assert socket.subprotocol == "wshttp.v1"
        opened = Client(socket)
        opened.welcome = await opened.read()
        yield opened


def as_session(session: Any, base: str) -> dict[str, Any]:
    """Options that open a socket of a cookie session."""
    return {"additional_headers": {"Cookie": f"wshttp={session.id.value}"}, "origin": base}


async def new_session(server: Server, **options: Any) -> Any:
    return await server.sessions.create(remote_ip="127.0.0.1", identity="cookie", **options)


# --- the session --------------------------------------------------------------------------------


async def test_welcome_comes_first_and_says_who_is_here() -> None:
    """The first message has the version, the connection's name, the session, and what is offered."""
    server = new_server(websocket={"topics": ["chat.*"]})
    async with running(server) as base, client(base) as one:
        [connection] = server.hub
        assert one.welcome == {
            "type": "welcome",
            "version": 1,
            "connection": connection.id,
            "session": connection.session.describe(),
            "offers": {
                "login": False,
                "ticket": True,
                "stream": True,
                "topics": ["chat.*"],
                "history": 100,
                "ping": True,
            },
        }


@pytest.mark.feature("U4")
async def test_welcome_offers_a_log_in_where_there_is_one() -> None:
    """`offers.login` says whether there is anybody to log in as."""
    server = new_server()
    server.on_authenticate(lambda user, password, request: False)
    async with running(server) as base, client(base) as one:
        assert one.welcome["offers"]["login"] is True


@pytest.mark.feature("U4")
async def test_welcome_offers_no_log_in_while_there_are_no_users(tmp_path: Path) -> None:
    """A users file that is missing or empty has nobody to log in as; with its first line, who connects then is told."""
    path = tmp_path / "users"
    server = new_server(auth={"users_file": str(path)})
    async with running(server) as base:
        for content in (None, "# nobody yet\n", f"ada:{hash_password('x', cost=4)}\n"):
            if content is not None:
                path.write_text(content)
                server.site.authenticator.users_file.load()
            async with client(base) as one:
                assert one.welcome["offers"]["login"] is (content is not None and "ada" in content)


async def test_client_without_subprotocol_is_served_too() -> None:
    """A browser that names none gets none in the answer, and the same messages."""
    async with running(new_server()) as base, websocket(base, "/wshttp/socket") as socket:
        assert socket.subprotocol is None
        assert json.loads(await soon(socket.recv()))["type"] == "welcome"


async def test_client_of_another_version_is_told() -> None:
    """Before the 101, in words; one that speaks this version, too, is served."""
    async with running(new_server()) as base:
        answer = await refusal(base, "/wshttp/socket", subprotocols=["wshttp.v2"])
        assert answer.status_code == 400
        assert "wshttp.v1" in json.loads(answer.body)["detail"]
        async with websocket(base, "/wshttp/socket", subprotocols=["wshttp.v2", "wshttp.v1"]) as socket:
            assert socket.subprotocol == "wshttp.v1"
            assert json.loads(await soon(socket.recv()))["version"] == 1


@pytest.mark.feature("L8")
async def test_touch_moves_the_deadline_and_tells_all_sockets(clock: Any) -> None:
    """`touch` keeps the session alive; each of its sockets hears the new time to go."""
    server = new_server(clock, session={"identity": ["cookie"], "touch": ["http"], "idle_timeout": 100})
    async with running(server) as base:
        mine = as_session(await new_session(server), base)
        async with client(base, **mine) as one, client(base, **mine) as two:
            assert (await one.read_until("session"))["session"]["connections"] == 2
            clock.advance(60)
            assert await one.ask(type="touch") == {"type": "ok", "id": "?", "expires_in": 100}
            assert (await two.read_until("session"))["session"]["expires_in"] == 100


@pytest.mark.feature("C5", "W5")
async def test_ping_is_answered_at_once_and_is_no_activity(clock: Any) -> None:
    """Browsers cannot see the server's pings: they ask for a sign of life, which keeps no session alive."""
    server = new_server(clock, session={"idle_timeout": 100, "warn_before": 0})
    busy, release = asyncio.Event(), asyncio.Event()

    @server.on_message
    async def slow(connection: Connection, data: Any) -> None:
        busy.set()
        await release.wait()

    async with running(server) as base, client(base) as one:
        await one.send(type="app")
        await soon(busy.wait())
        clock.advance(60)
        for text in ('{"type":"ping"}', b'{ "type": "ping" }'):
            await one.socket.send(text)
            assert await one.read_until("pong", "error") == {"type": "pong"}
        await one.send(type="ping", id=7)
        assert await one.read_until("pong", "error") == {"type": "pong", "id": 7}
        release.set()
        clock.advance(50)
        await server.sessions.sweep()
        assert (await one.read_until("ended"))["reason"] == "idle"


@pytest.mark.parametrize(
    "text", ['{"type":"ping","id":1e999}', '"ping"', '["ping"', '{"type":["ping"]}', '{"ping":"ping"}']
)
async def test_what_only_looks_like_a_ping_is_a_message(text: str) -> None:
    """It is refused as any message of no known type."""
    async with running(new_server()) as base, client(base) as one:
        await one.socket.send(text)
        assert (await one.read_until("pong", "error"))["code"] == "bad-request"


@pytest.mark.feature("E9", "C1")
async def test_expiring_and_ended_are_told(clock: Any) -> None:
    """The warning comes before the end, and the end is told before the close frame."""
    server = new_server(clock, session={"idle_timeout": 100, "warn_before": 10})
    async with running(server) as base, client(base) as one:
        clock.advance(91)
        await server.sessions.sweep()
        assert await one.read_until("expiring") == {"type": "expiring", "seconds": 9}
        clock.advance(10)
        await server.sessions.sweep()
        assert await one.read_until("ended") == {"type": "ended", "reason": "idle"}
        assert await farewell(one.socket) == (4002, "session-ended:idle")


async def test_message_is_activity(clock: Any) -> None:
    """By default a message moves the idle deadline, and its answer says how long there is now."""
    server = new_server(clock, session={"idle_timeout": 100})
    async with running(server) as base, client(base) as one:
        clock.advance(99)
        assert (await one.ask(type="unsubscribe", topic="x"))["expires_in"] == 100
        clock.advance(99)
        assert await one.is_well()


# --- topics -------------------------------------------------------------------------------------


@pytest.mark.feature("W3")
async def test_publish_reaches_all_in_the_topic_and_its_sender() -> None:
    """Who has joined gets it, its sender too, with topic and sender; others do not."""
    server = new_server(session={"identity": ["cookie"]}, websocket={"topics": ["chat"]})
    async with running(server) as base:
        session = await new_session(server, user="ann")
        async with client(base, **as_session(session, base)) as ann, client(base) as bob, client(base) as eve:
            for each in (ann, bob):
                assert (await each.ask(type="subscribe", topic="chat"))["type"] == "ok"
            await ann.send(type="publish", topic="chat", data={"text": "hello"}, id=7)
            expected = {
                "type": "message",
                "topic": "chat",
                "data": {"text": "hello"},
                "from": {"ref": session.ref, "user": "ann"},
            }
            heard = await ann.read_until("message")
            assert heard == await bob.read_until("message") == expected | {"life": heard["life"], "offset": 1}
            answer = await ann.read_until("ok")
            assert (answer["id"], answer["receivers"]) == (7, 2)
            assert await eve.is_well()


@pytest.mark.feature("W12")
async def test_subscribe_answers_with_who_is_there_and_tells_the_others() -> None:
    """`presence` comes to who joins, `joined` and `left` to those who are in; sockets of one session are one member."""
    server = new_server(session={"identity": ["cookie"], "presence_grace": 0}, websocket={"topics": ["*"]})
    async with running(server) as base:
        first, second = await new_session(server, user="ann"), await new_session(server)
        async with client(base, **as_session(first, base)) as ann, client(base, **as_session(first, base)) as tab:
            await ann.send(type="subscribe", topic="room")
            assert await ann.read_until("presence") == {
                "type": "presence",
                "topic": "room",
                "members": [{"ref": first.ref, "user": "ann", "connections": 1}],
            }
            await tab.send(type="subscribe", topic="room")
            assert (await tab.read_until("presence"))["members"][0]["connections"] == 2
            async with client(base, **as_session(second, base)) as bob:
                await bob.send(type="subscribe", topic="room")
                assert len((await bob.read_until("presence"))["members"]) == 2
                joined = {"type": "joined", "topic": "room", "member": {"ref": second.ref, "user": None}}
                assert await ann.read_until("joined") == await tab.read_until("joined") == joined
            left = {"type": "left", "topic": "room", "member": {"ref": second.ref, "user": None}}
            assert await ann.read_until("left") == left
            assert (await tab.ask(type="unsubscribe", topic="room"))["type"] == "ok"
            assert [member.connections for member in server.hub.topics.presence.members("room")] == [1]


@pytest.mark.feature("W3")
async def test_topic_of_the_settings_is_open_and_others_are_not() -> None:
    """`websocket.topics` are globs; what none of them names may be neither joined nor published on."""
    server = new_server(websocket={"topics": ["chat.*"]})
    async with running(server) as base, client(base) as one:
        assert (await one.ask(type="subscribe", topic="chat.a"))["type"] == "ok"
        for action in ("subscribe", "publish"):
            answer = await one.ask(type=action, topic="secret")
            assert (answer["type"], answer["code"]) == ("error", "forbidden")
            assert "secret" in answer["detail"]
        assert server.hub.topics.counts() == {"chat.a": 1}


@pytest.mark.parametrize(
    ("decision", "topic", "allowed"),
    [
        (True, "closed", True),
        (False, "open", False),
        (None, "open", True),
        (None, "closed", False),
        (RuntimeError("a guard that falls over"), "open", False),
    ],
)
async def test_on_subscribe_decides_before_the_settings(decision: Any, topic: str, allowed: bool) -> None:
    """`True` and `False` are the last word, `None` leaves it to the settings, and a hook that fails lets nobody in."""
    server = new_server(websocket={"topics": ["open"]})

    @server.on_subscribe
    async def decide(connection: Connection, name: str) -> bool | None:
        if isinstance(decision, Exception):
            raise decision
        return decision

    async with running(server) as base, client(base) as one:
        assert ((await one.ask(type="subscribe", topic=topic))["type"] == "ok") is allowed
        assert ((await one.ask(type="publish", topic=topic, data=1))["type"] == "ok") is allowed
        assert await one.is_well()


@pytest.mark.parametrize(
    ("decision", "topic", "published"),
    [
        (None, "open", "data"),
        (None, "closed", None),
        (True, "open", "data"),
        (True, "closed", "data"),
        (False, "open", None),
        ({"replaced": [1]}, "open", {"replaced": [1]}),
        (RuntimeError("a guard that falls over"), "open", None),
    ],
)
async def test_on_publish_decides(decision: Any, topic: str, published: Any) -> None:
    """A hook may refuse, allow what the settings don't, or replace the data; one that fails refuses."""
    server = new_server(websocket={"topics": ["open"]})

    @server.on_publish
    def decide(connection: Connection, name: str, data: Any) -> Any:
        if isinstance(decision, Exception):
            raise decision
        return decision

    async with running(server) as base, client(base) as one, client(base) as listener:
        for connection in server.hub:
            if connection.id == listener.welcome["connection"]:
                connection.subscribe(topic)
        answer = await one.ask(type="publish", topic=topic, data="data")
        if published is None:
            assert (answer["type"], answer["code"]) == ("error", "forbidden")
            assert await listener.is_well()
        else:
            assert answer["receivers"] == 1
            assert (await listener.read_until("message"))["data"] == published


@pytest.mark.feature("W11")
@pytest.mark.parametrize("action", ["subscribe", "publish"])
async def test_what_waits_for_a_hook_when_its_session_ends_has_no_effect(action: str) -> None:
    """After the end nothing is published in its name, and it joins nothing, however late the hook says yes."""
    server, asked, answer = new_server(websocket={"topics": ["room"]}), asyncio.Event(), asyncio.Event()

    async def hook(connection: Connection, *_: Any) -> bool:
        asked.set()
        await answer.wait()
        return True

    async with running(server) as base, client(base) as listener:
        assert (await listener.ask(type="subscribe", topic="room"))["type"] == "ok"
        server.callbacks.register(action, hook)
        session = await new_session(server)
        async with client(base, **as_session(session, base)) as one:
            await one.send(type=action, topic="room", data="from the dead")
            await soon(asked.wait())
            [connection] = server.hub.of_session(session.ref)
            await server.sessions.end(session, "admin")
            answer.set()
            await until(lambda: connection._worker is None)
        assert connection.topics == set()
        assert await server.hub.publish("room", "next") == 1
        assert (await listener.read_until("message"))["data"] == "next"


async def test_publish_on_a_topic_that_was_joined_by_the_program() -> None:
    """Who has been put into a topic may publish on it, whatever the settings name."""
    server = new_server()

    @server.on_connect
    def put(connection: Connection) -> None:
        connection.subscribe("team")

    async with running(server) as base, client(base) as one:
        assert (await one.ask(type="publish", topic="team", data="hi"))["receivers"] == 1


# --- messages of the application ----------------------------------------------------------------


async def test_app_message_goes_to_on_message_and_is_committed() -> None:
    """`app` calls the application; what it changes in the session is committed before the answer."""
    server = new_server()

    @server.on_message
    async def take(connection: Connection, data: Any) -> None:
        connection.session["data"] = data
        await connection.send({"echo": data})

    async with running(server) as base, client(base) as one:
        await one.send(type="app", data=[1, 2])
        assert await one.read_until("app") == {"type": "app", "data": {"echo": [1, 2]}}
        assert await one.is_well()
        [connection] = server.hub
        assert connection.session.record.data == {"data": [1, 2]}


async def test_app_message_nobody_takes_is_a_bad_request() -> None:
    """Without `on_message` there is nobody to hear it."""
    async with running(new_server()) as base, client(base) as one:
        assert (await one.ask(type="app", data=1))["code"] == "bad-request"


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        "",
        "hello",
        "[1]",
        '"text"',
        "null",
        "{}",
        '{"type": 1}',
        '{"type": null}',
        '{"type": "touch", "n": NaN}',
        '{"type": "touch", "n": -Infinity}',
        '{"type": "touch", "n": 1e999}',
        '{"type": "touch", "n": 9007199254740993}',
        '{"type": "touch", "n": ' + "9" * 5000 + "}",
        '{"type": "touch", "id": "\\ud800"}',
        '{"type": "ping", "id": "\\ud800"}',
        '{"type": "touch", "deep": ' + "[" * 100 + "]" * 100 + "}",
        '{"type": "touch", "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"type": "touch", "many": [' + ",".join(["[]"] * 340_000) + "]}",
        '{"type": "touch", "many": [' + ",".join(['"[\\\\"'] * 20_000) + "]}",
        '{"type": "touch", "many": [' + "[{}]," * 5000 + "1]}",
        '{"type": "touch"} {"type": "touch"}',
        b"\xff\xfe\x00",
        b'{"type": "nonsense"}',
        '{"type": "__init__"}',
        '{"type": "welcome"}',
        '{"type": "' + "x" * 10_000 + '"}',
    ],
    ids=lambda message: repr(message[:30]),
)
async def test_bad_envelope_gets_an_error_and_the_connection_lives(message: str | bytes) -> None:
    """What is no message of `wshttp.v1` is answered, briefly, and harms nobody."""
    async with running(new_server()) as base, client(base) as one:
        await one.socket.send(message)
        answer = await one.read_until("error")
        assert answer["code"] == "bad-request"
        assert len(answer["detail"]) < 200
        assert await one.is_well()


@pytest.mark.parametrize("data", ["100000000000000000", '"\\ud83d"', "[" * 100 + "]" * 100])
async def test_refused_values_leave_the_id(data: str) -> None:
    """Who asked hears that it was this that was refused: what a page waits for would stay open for ever."""
    async with running(new_server(websocket={"topics": ["*"]})) as base, client(base) as one:
        await one.socket.send('{"type": "publish", "topic": "chat", "id": [7], "data": ' + data + "}")
        answer = await one.read_until("error")
        assert (answer["id"], answer["code"]) == ([7], "bad-request")
        await one.socket.send('{"type": "publish", "topic": "chat", "data": 1, "id": ' + data + "}")
        assert "id" not in await one.read_until("error")


async def test_crowded_message_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a mebibyte of empty lists would hold up all others for a quarter of a second."""
    monkeypatch.setattr("wshttp.realtime.incoming.read_json", lambda text: pytest.fail("it was read"))
    for data in (",".join(["[]"] * 340_000), ",".join(['"\\""'] * 100_000), '{"a":[' * 20_000):
        with pytest.raises(BadRequest):
            read_object('{"type": "touch", "many": [' + data)


async def test_long_text_is_not_crowded() -> None:
    """Commas and brackets in a text are no values, whatever is escaped in it."""
    server, text = new_server(), '[,]{,}"\\' * 5000
    server.on_message(lambda connection, data: connection.post(json.dumps({"type": "app", "data": data})))
    async with running(server) as base, client(base) as one:
        await one.send(type="app", data=text)
        assert (await one.read_until("app"))["data"] == text


@pytest.mark.parametrize(
    "topic",
    [None, 7, "", ["a"], "a\nb", "a\x00", "\x7f", "x" * (MAX_TOPIC + 1), "x" * 10_240],
    ids=lambda topic: repr(topic)[:20],
)
@pytest.mark.parametrize("action", ["subscribe", "unsubscribe", "publish"])
async def test_bad_topic_gets_an_error(action: str, topic: Any) -> None:
    """A topic is a text of 1 to 200 characters without control characters."""
    server = new_server(websocket={"topics": ["*"]})
    async with running(server) as base, client(base) as one:
        assert (await one.ask(type=action, topic=topic))["code"] == "bad-request"
        assert await one.is_well()
        assert server.hub.topics.counts() == {}


async def test_topic_at_its_longest() -> None:
    """200 characters of any script are a topic."""
    server = new_server(websocket={"topics": ["*"]})
    async with running(server) as base, client(base) as one:
        assert (await one.ask(type="subscribe", topic="ü" * MAX_TOPIC))["type"] == "ok"


async def test_topics_of_one_connection_are_bounded() -> None:
    """The 101st topic is refused; joining one again, and one after leaving another, is not."""
    server = new_server(websocket={"topics": ["*"]})
    async with running(server) as base, client(base) as one:
        for number in range(MAX_TOPICS):
            assert (await one.ask(type="subscribe", topic=str(number)))["type"] == "ok"
        assert (await one.ask(type="subscribe", topic="one more"))["code"] == "forbidden"
        assert (await one.ask(type="subscribe", topic="0"))["type"] == "ok"
        assert (await one.ask(type="unsubscribe", topic="0"))["type"] == "ok"
        assert (await one.ask(type="subscribe", topic="one more"))["type"] == "ok"
        assert len(server.hub.topics.counts()) == MAX_TOPICS


@pytest.mark.parametrize("id", [0, None, "a", [1, {"b": 2}], False])
async def test_id_of_any_kind_comes_back(id: Any) -> None:
    """The answer carries the id as it was sent, whether it went well or not; without an id success is silent."""
    async with running(new_server()) as base, client(base) as one:
        await one.send(type="touch")
        await one.send(type="touch", id=id)
        assert (await one.read_until("ok"))["id"] == id
        await one.send(type="nonsense", id=id)
        assert (await one.read_until("error"))["id"] == id


async def test_hook_that_publishes_what_is_no_json_is_a_fault_of_the_server() -> None:
    """The application's mistake is not blamed on the client: 1011."""
    server = new_server(websocket={"topics": ["*"]})
    server.on_publish(lambda connection, topic, data: object())
    async with running(server) as base, client(base) as one:
        await one.send(type="publish", topic="x", data=1)
        assert await farewell(one.socket) == (1011, "internal error")


async def test_request_sees_the_connections_of_its_session() -> None:
    """What the API says of a session counts its sockets."""
    server = new_server(session={"identity": ["cookie"]})
    async with running(server) as base:
        mine = as_session(await new_session(server), base)
        async with client(base, **mine), client(base, **mine):
            answer = await fetch(base + "/wshttp/session", headers=mine["additional_headers"])
            assert json.loads(answer.body)["connections"] == 2


@pytest.mark.feature("C5")
async def test_app_message_with_an_id_is_answered_with_what_on_message_returns() -> None:
    """Any JSON value, the first that is not `None`; without one, `ok` has no data, and without `id` there is no answer."""
    server = new_server()
    server.on_message(lambda connection, data: None)

    @server.on_message
    async def reply(connection: Connection, data: Any) -> Any:
        return {"bytes": b"\xc3\xa4", "list": [1, {"a": None}], "none": None, "false": False}[data]

    server.on_message(lambda connection, data: "second" if data == "list" else None)
    async with running(server) as base, client(base) as one:
        await one.send(type="app", data="list")
        answers = [await one.ask(type="app", data=data) for data in ("list", "bytes", "false", "none")]
        assert [answer.get("data", "nothing") for answer in answers] == [[1, {"a": None}], "ä", False, "nothing"]
        assert all(answer["type"] == "ok" and answer["expires_in"] for answer in answers)


@pytest.mark.feature("C5")
async def test_answer_that_is_no_json_is_a_fault_of_the_server() -> None:
    """The connection closes with 1011; the client is not left waiting."""
    server = new_server()
    server.on_message(lambda connection, data: object())
    async with running(server) as base, client(base) as one:
        await one.send(type="app", data=1)
        assert await one.is_well()
        await one.send(type="app", data=1, id=1)
        assert await farewell(one.socket) == (1011, "internal error")


@pytest.mark.parametrize("kind", ["raises", "never returns"])
async def test_on_message_that_fails_closes_with_1011_and_drops_its_changes(kind: str) -> None:
    """It is reported like any callback that fails; the connection is over, and half a change is none."""
    server, reported, asked = new_server(session={"callback_timeout": "20ms"}), [], []

    @server.on_message
    async def fail(connection: Connection, data: Any) -> None:
        connection.session["half"] = data
        if kind == "raises":
            raise RuntimeError("in the middle")
        await asyncio.Event().wait()

    @server.on_message
    def second(connection: Connection, data: Any) -> None:
        asked.append(data)

    @server.on_callback_error
    def report(event: Any, error: Exception) -> None:
        reported.append((event.kind, type(error)))

    async with running(server) as base, client(base) as one:
        [connection] = server.hub
        await one.send(type="app", data=1)
        assert await farewell(one.socket) == (1011, "internal error")
        assert connection.session.record.data == {}
    assert reported == [("message", RuntimeError if kind == "raises" else TimeoutError)]
    assert asked == [1]
