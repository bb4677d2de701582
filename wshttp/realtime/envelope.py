"""The built-in socket: subprotocol `wshttp.v1`, its session's life and its topics.

docs/reference/wire.md describes it for those who write clients. A mistake of a client gets an `error` in answer,
and the connection lives; what no client may do is decided here, by `websocket.topics` and the application's hooks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import Any, Final

from wshttp.errors import (
    BadRequest,
    ConnectionClosed,
    Forbidden,
    InvalidValue,
    PeerError,
    WshttpError,
    answer_for,
)
from wshttp.realtime.close_codes import INTERNAL_ERROR
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import Message, text_of
from wshttp.realtime.hub import Hub
from wshttp.realtime.place import Place
from wshttp.sessions.callbacks import FAILED, STORE_AWAY, Callbacks
from wshttp.sessions.data import Json, checked, read_json
from wshttp.sessions.session import whole_seconds

VERSION: Final = 1

MAX_VALUES: Final = 10_000
"""Values in a message, in all. To read and check that many takes about 5 ms (own measurement), by which one message delays
all others; a mebibyte of empty lists would take half a second."""

MAX_TOPIC: Final = 200
"""Characters in the name of a topic."""

MAX_LIFE: Final = 64
"""Characters in the name of a history's life, as clients send it back."""

MAX_TOPICS: Final = 100
"""Topics that one connection may be in."""

Envelope = dict[str, Json]


class EnvelopeSocket:
    """What the built-in socket does with what clients send; `offers` is what else they are told that there is."""

    def __init__(self, hub: Hub, callbacks: Callbacks, offers: Callable[[], dict[str, Json]]) -> None:
        self._hub = hub
        self._callbacks = callbacks
        self._offers = offers
        self._actions: dict[str, Callable[[Connection, Envelope], Awaitable[Envelope | None]]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "publish": self._publish,
            "touch": self._touch,
            "app": self._app,
        }

    async def welcome(self, connection: Connection) -> None:
        """Say who is here and what is offered, and give what has waited for the session."""
        session = connection.session
        settings = self._hub.settings
        history = settings.history if self._hub.keeps_history else 0
        self._hub.tell(
            [connection],
            {
                "type": "welcome",
                "version": VERSION,
                "connection": connection.id,
                "session": None if session is None else session.describe(),
                "offers": {**self._offers(), "topics": list(settings.topics), "history": history, "ping": True},
            },
        )
        await self._hub.give_waiting(connection)

    async def handle(self, connection: Connection, message: Message) -> None:
        """Carry out what a client asks for, and answer it where it gave an `id`."""
        envelope: Envelope = {}
        try:
            envelope = _parse(message)
            action = self._actions.get(envelope["type"])
            if action is None:
                raise BadRequest(f"there is no type {envelope['type'][:50]!r}; see docs/reference/wire.md")
            answer = await action(connection, envelope)
        except PeerError as error:
            self._refuse(connection, envelope, error)
            return
        except STORE_AWAY as error:
            self._refuse(connection, envelope, error)
            raise  # so that nothing of it is committed
        if "id" in envelope:
            self._hub.tell(
                [connection], {"type": "ok", "id": envelope["id"], **_time_left(connection), **(answer or {})}
            )

    def _refuse(self, connection: Connection, envelope: Envelope, error: WshttpError) -> None:
        answer = answer_for(error)
        if answer is None or answer.name == "session-ended":
            raise error
        reply: Envelope = {"type": "error", "code": answer.name, "detail": getattr(error, "detail", str(error))}
        if "id" in envelope:
            reply["id"] = envelope["id"]
        self._hub.tell([connection], reply)

    # --- actions ------------------------------------------------------------------------------------

    async def _subscribe(self, connection: Connection, envelope: Envelope) -> None:
        topic, after = _topic(envelope), _after(envelope)
        if topic not in connection.topics and len(connection.topics) >= MAX_TOPICS:
            raise Forbidden(f"a connection joins up to {MAX_TOPICS} topics")
        if not await self._may_join(connection, topic):
            raise Forbidden(f"joining {topic!r} is not allowed here")
        connection.require_open()
        if self._hub.keeps_history:
            reader = self._hub.subscribe_reading(connection, topic)
            await self._tell_presence(connection, topic)
            await self._hub.resume(connection, topic, reader, after)
        else:
            connection.subscribe(topic)
            await self._tell_presence(connection, topic)

    async def _tell_presence(self, connection: Connection, topic: str) -> None:
        """Say who is in a topic, as soon as what other nodes say in it is heard here."""
        await self._hub.listening()
        members: list[Json] = [
            {**member.describe(), "connections": member.connections} for member in self._hub.members(topic)
        ]
        self._hub.tell([connection], {"type": "presence", "topic": topic, "members": members})

    async def _may_join(self, connection: Connection, topic: str) -> bool:
        decision = await self._callbacks.decide("subscribe", connection, topic, on_failure=False)
        return self._is_public(topic) if decision is None else bool(decision)

    def _is_public(self, topic: str) -> bool:
        return any(fnmatchcase(topic, pattern) for pattern in self._hub.settings.topics)

    async def _unsubscribe(self, connection: Connection, envelope: Envelope) -> None:
        connection.unsubscribe(_topic(envelope))

    async def _publish(self, connection: Connection, envelope: Envelope) -> Envelope:
        topic, data = _topic(envelope), envelope.get("data")
        decision = await self._callbacks.decide("publish", connection, topic, data, on_failure=False)
        if decision is None:
            decision = topic in connection.topics or await self._may_join(connection, topic)
        if decision is False:
            raise Forbidden(f"publishing on {topic!r} is not allowed here")
        if decision is not True:
            data = checked(decision)
        return {"receivers": await self._hub.publish(topic, data, sender=connection)}

    async def _touch(self, connection: Connection, envelope: Envelope) -> None:
        if connection.session is not None:
            await connection.session.touch()
            self._hub.changed(connection.session.record)

    async def _app(self, connection: Connection, envelope: Envelope) -> Envelope | None:
        if not self._callbacks["message"]:
            raise BadRequest("nothing here takes messages of type 'app'")
        answers = await self._callbacks.ask(
            "message",
            connection,
            envelope.get("data"),
            commit=connection.commit,
            passes=STORE_AWAY,
        )
        if any(answer is FAILED for answer in answers):
            connection.close(*INTERNAL_ERROR)
            raise ConnectionClosed(*INTERNAL_ERROR)  # so that nothing of it is committed; the fault is reported already
        connection.require_open()
        answer = next((each for each in answers if each is not None), None)
        return None if answer is None or "id" not in envelope else {"data": checked(text_of(answer))}


def _time_left(connection: Connection) -> Envelope:
    """Say how long the session still lives: a message may have prolonged it."""
    return {} if connection.session is None else {"expires_in": whole_seconds(connection.session.expires_in)}


def _parse(message: Message) -> Envelope:
    """Read an envelope: a JSON object with a `type`, of values that a session could hold."""
    envelope = read_object(message)
    if not isinstance(envelope.get("type"), str):
        raise BadRequest("a message is a JSON object with a `type`")
    return envelope


def read_object(message: Message) -> Envelope:
    """Read a JSON object of values that a session could hold, and of not too many. Raises `BadRequest`."""
    try:
        text = message if isinstance(message, str) else message.decode()
        _require_few_values(text)
        found: Any = read_json(text)
    except (ValueError, RecursionError):
        raise BadRequest("a message is a JSON object with a `type`; this is not JSON") from None
    if not isinstance(found, dict):
        raise BadRequest("a message is a JSON object with a `type`")
    try:
        return dict(checked(found))
    except InvalidValue as error:
        raise BadRequest(str(error)) from None


def _require_few_values(text: str) -> None:
    """Raise `BadRequest` for text that holds far more than `MAX_VALUES` values, before the time is spent to read it."""
    if _is_crowded(text):
        unescaped = text.replace("\\\\", "").replace('\\"', "")
        quotes = unescaped.count('"')
        if quotes > 4 * MAX_VALUES or _is_crowded("".join(unescaped.split('"')[::2])):  # outside of strings
            raise BadRequest(f"a message holds up to {MAX_VALUES} values in all; send it in parts")


def _is_crowded(text: str) -> bool:
    """Whether there are more values than allowed: all but the first of a container follow a comma."""
    return text.count(",") >= MAX_VALUES or text.count("[") + text.count("{") > MAX_VALUES


def _after(envelope: Envelope) -> Place | None:
    """Read from where a client goes on."""
    after = envelope.get("after")
    if after is None:
        return None
    life, offset = (after.get("life"), after.get("offset")) if isinstance(after, dict) else (None, None)
    if not isinstance(life, str) or len(life) > MAX_LIFE or type(offset) is not int or offset < 0:
        raise BadRequest(
            '`after` is {"life": <text>, "offset": <whole number>}, as the last message or `resumed` had them'
        )
    return Place(life, offset)


def _topic(envelope: Envelope) -> str:
    topic = envelope.get("topic")
    if not isinstance(topic, str) or not 0 < len(topic) <= MAX_TOPIC:
        raise BadRequest(f"`topic` is a text of 1 to {MAX_TOPIC} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in topic):
        raise BadRequest("`topic` contains a control character")
    return topic
