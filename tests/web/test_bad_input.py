"""What clients get wrong, over a WebSocket and over a stream: each gets a clear answer, and its connection lives on.

Only what breaks the WebSocket protocol itself closes a WebSocket; over a stream each POST has an answer of its own.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
from listening import Listener, listening, session_of
from serving import farewell, fetch, new_server, refusal, running, soon, websocket
from websockets.asyncio.client import ClientConnection

from wshttp import Server
from wshttp.auth.tickets import LIFETIME

pytestmark = pytest.mark.feature("C5", "W7")

COOKIE = {"identity": ["cookie"]}

Told = dict[str, Any]


class Speaker(Protocol):
    """A client of `wshttp.v1` that says what it likes."""

    welcome: Told

    async def say(self, text: str) -> Told:
        """Send a message as it is; return the error that answers it, with its `code`."""

    async def tell(self, **envelope: Any) -> None:
        """Send a message."""

    async def ask(self, **envelope: Any) -> Told:
        """Send a message with an `id`; return what answers it."""

    async def read_until(self, *types: str) -> Told:
        """Return the next message of one of these types."""


class OverSocket:
    """It speaks over a WebSocket."""

    welcome: Told

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def read_until(self, *types: str) -> Told:
        while (message := json.loads(await soon(self.socket.recv())))["type"] not in types:
            pass
        told: Told = message
        return told

    async def say(self, text: str) -> Told:
        await self.socket.send(text)
        return await self.read_until("error")

    async def tell(self, **envelope: Any) -> None:
        await self.socket.send(json.dumps(envelope))

    async def ask(self, **envelope: Any) -> Told:
        await self.tell(**envelope, id="?")
        answer = await self.read_until("ok", "error")
        assert answer["id"] == "?"
        return answer


class OverStream:
    """It speaks by POST, and hears server-sent events."""

    def __init__(self, listener: Listener) -> None:
        self.welcome: Told = listener.welcome
        self.listener = listener
        self.read_until = listener.read_until
        self.ask = listener.ask

    async def tell(self, **envelope: Any) -> None:
        assert (await self.listener.post(envelope)).code == 202

    async def say(self, text: str) -> Told:
        """A POST that is no message is refused at once; the answer to one that is comes down."""
        body = f'{{"connection": "{self.listener.name}", "message": {text}}}'
        answer = await self.listener.post(None, body=body)
        if answer.code == 202:
            return await self.read_until("error")
        problem: Told = json.loads(answer.body)
        return problem | {"code": problem["type"].removeprefix("urn:wshttp:")}


@asynccontextmanager
async def over_socket(server: Server) -> AsyncIterator[Speaker]:
    _, mine = await session_of(server)
    base = server.addresses[0]
    async with websocket(
        base, "/wshttp/socket", subprotocols=["wshttp.v1"], origin=base, additional_headers=mine
    ) as socket:
        speaker = OverSocket(socket)
        speaker.welcome = await speaker.read_until("welcome")
        yield speaker


@asynccontextmanager
async def over_stream(server: Server) -> AsyncIterator[Speaker]:
    _, mine = await session_of(server)
    async with listening(server.addresses[0], **mine) as listener:
        yield OverStream(listener)


WAYS = {"websocket": over_socket, "stream": over_stream}
PATHS = {"websocket": "/wshttp/socket", "stream": "/wshttp/stream"}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def speaking(way: str, server: Server) -> AbstractAsyncContextManager[Speaker]:
    return WAYS[way](server)


async def is_well(speaker: Speaker) -> bool:
    return (await speaker.ask(type="touch"))["type"] == "ok"


# --- tickets --------------------------------------------------------------------------------------


async def refused(way: str, server: Server, ticket: str, **headers: str) -> tuple[int, str]:
    """Open with a ticket; return the status and the name of the problem that comes instead."""
    base, path = server.addresses[0], f"{PATHS[way]}?ticket={ticket}"
    if way == "stream":
        answer = await fetch(base + path, headers=headers)
        return answer.code, json.loads(answer.body)["type"].removeprefix("urn:wshttp:")
    handshake = await refusal(base, path, origin=base, additional_headers=headers)
    return handshake.status_code, json.loads(handshake.body)["type"].removeprefix("urn:wshttp:")


@pytest.mark.feature("U4")
@pytest.mark.parametrize("fault", ["forged", "misshapen", "used", "expired", "foreign"])
async def test_ticket_that_opens_nothing_is_refused(way: str, fault: str, clock: Any) -> None:
    """401 in words, and neither a connection nor a session comes of it."""
    server = new_server(clock, session=COOKIE)
    async with running(server) as base:
        session, _ = await session_of(server)
        _, others = await session_of(server)
        ticket = await server.site.tickets.issue(session.ref, session.record.key, payer="ada")
        if fault == "used":
            async with websocket(base, f"/wshttp/socket?ticket={ticket}"):
                pass
        if fault == "expired":
            clock.advance(LIFETIME + 1)
        shown = {"forged": "A" * 43, "misshapen": "%00.." * 100}.get(fault, ticket)
        opened = server.hub.statistics.opened
        answer = await refused(way, server, shown, **(others if fault == "foreign" else {}))
        assert answer == (401, "session-ended")
        assert server.hub.statistics.opened == opened
        assert await server.sessions.count() == 2


# --- envelopes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        '["touch"]',
        "{}",
        '{"type": 7}',
        '{"type": "nonsense"}',
        '{"type": "welcome"}',
        '{"type": "touch", "deep": ' + "[" * 100 + "]" * 100 + "}",
        '{"type": "touch", "deep": ' + "[" * 20_000 + "]" * 20_000 + "}",
        '{"type": "touch", "many": [' + ",".join(["0"] * 20_000) + "]}",
        '{"type": "touch", "number": 1e999}',
    ],
    ids=lambda text: text[:24],
)
async def test_envelope_that_is_none_is_answered(way: str, text: str) -> None:
    """It is a `bad-request`, with a sentence that is not as long as the message."""
    server = new_server(session=COOKIE)
    async with running(server), speaking(way, server) as one:
        answer = await one.say(text)
        assert answer["code"] == "bad-request"
        assert 0 < len(answer["detail"]) < 200
        assert await is_well(one)


async def test_envelope_that_is_too_large_is_the_protocols_fault(way: str) -> None:
    """A WebSocket is closed with 1009, since what follows cannot be found any more; a POST is 413, and the stream lives."""
    server = new_server(session=COOKIE, websocket={"max_message_size": 2000})
    text = json.dumps({"type": "app", "data": "x" * 5000})
    async with running(server), speaking(way, server) as one:
        if isinstance(one, OverSocket):
            await one.socket.send(text)
            assert (await farewell(one.socket))[0] == 1009
        else:
            answer = await one.say(text)
            assert (answer["status"], answer["code"]) == (413, "bad-request")
            assert await is_well(one)


# --- topics -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic", ["a\nb", "a\x00", "\x7f", "\x9b", "x" * 10_240, "", None, ["a"]], ids=lambda t: repr(t)[:9]
)
@pytest.mark.parametrize("action", ["subscribe", "unsubscribe", "publish"])
async def test_name_that_is_no_topic_is_refused(way: str, action: str, topic: Any) -> None:
    """It is said what one is, and nobody is in any."""
    server = new_server(session=COOKIE, websocket={"topics": ["*"]})
    async with running(server), speaking(way, server) as one:
        answer = await one.ask(type=action, topic=topic, data=1)
        assert (answer["type"], answer["code"]) == ("error", "bad-request")
        assert "topic" in answer["detail"]
        assert len(answer["detail"]) < 200
        assert await is_well(one)
        assert server.hub.topics.counts() == {}


@pytest.mark.parametrize("fails", [False, True])
async def test_join_that_a_hook_refuses_is_forbidden(way: str, fails: bool) -> None:
    """By its word, or by its failing; what is published there does not come, and other topics may be joined."""
    server = new_server(session=COOKIE, websocket={"topics": ["*"]})

    @server.on_subscribe
    def guard(connection: Any, topic: str) -> bool:
        if topic == "secret" and fails:
            raise RuntimeError("the test's own")
        return topic != "secret"

    async with running(server), speaking(way, server) as one:
        answer = await one.ask(type="subscribe", topic="secret")
        assert (answer["type"], answer["code"]) == ("error", "forbidden")
        assert "secret" in answer["detail"]
        assert await server.hub.publish("secret", "not for you") == 0
        assert (await one.ask(type="subscribe", topic="open"))["type"] == "ok"
        assert await server.hub.publish("open", "for all") == 1
        assert (await one.read_until("message"))["data"] == "for all"


# --- resume -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [{"life": "another", "offset": 7}, {"life": "", "offset": 0}])
async def test_resume_from_another_life_is_not_whole(way: str, after: dict[str, Any]) -> None:
    """All that is kept of this one comes, and the client is told that it may not be all."""
    server = new_server(session=COOKIE, websocket={"topics": ["chat"]})
    async with running(server), speaking(way, server) as one:
        for text in ("one", "two"):
            await server.hub.publish("chat", text)
        await one.tell(type="subscribe", topic="chat", after=after)
        told = [await one.read_until("message", "resumed") for _ in range(3)]
        assert [each.get("data") for each in told] == ["one", "two", None]
        assert (told[-1]["type"], told[-1]["whole"], told[-1]["offset"]) == ("resumed", False, 2)
        assert await is_well(one)


@pytest.mark.parametrize(
    "after", ["yesterday", 7, {"life": "x"}, {"life": "x", "offset": -1}, {"life": 1, "offset": 1}]
)
async def test_resume_from_what_is_no_place_is_refused(way: str, after: Any) -> None:
    """It is said what one is, and nothing is joined."""
    server = new_server(session=COOKIE, websocket={"topics": ["chat"]})
    async with running(server), speaking(way, server) as one:
        answer = await one.ask(type="subscribe", topic="chat", after=after)
        assert (answer["type"], answer["code"]) == ("error", "bad-request")
        assert "`after`" in answer["detail"]
        assert server.hub.topics.counts() == {}
        assert await is_well(one)


# --- another version ----------------------------------------------------------------------------------


async def test_client_of_version_two_is_told_what_is_spoken_here(way: str) -> None:
    """Before the 101 where it speaks nothing else; over a stream, which has no such choice, by the welcome."""
    server = new_server(session=COOKIE)
    async with running(server) as base:
        if way == "websocket":
            answer = await refusal(base, PATHS[way], origin=base, subprotocols=["wshttp.v2"])
            problem = json.loads(answer.body)
            assert (answer.status_code, problem["type"]) == (400, "urn:wshttp:bad-request")
            assert "wshttp.v1" in problem["detail"]
            assert server.hub.statistics.opened == 0
        async with speaking(way, server) as one:
            assert one.welcome["version"] == 1


async def test_message_of_version_two_is_answered(way: str) -> None:
    """What is new to this server is refused by its name, and what is added to what it knows is passed over."""
    server = new_server(session=COOKIE, websocket={"topics": ["chat"]})
    async with running(server), speaking(way, server) as one:
        answer = await one.ask(type="subscribe-many", version=2, topics=["a", "b"])
        assert (answer["type"], answer["code"]) == ("error", "bad-request")
        assert "subscribe-many" in answer["detail"]
        assert (await one.ask(type="subscribe", version=2, topic="chat", filter={"new": True}))["type"] == "ok"
