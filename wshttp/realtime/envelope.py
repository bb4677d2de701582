"""The built-in socket: subprotocol `wshttp.v1`, its session's life and its topics.

docs/reference/wire.md describes it for those who write clients. A mistake of a client gets an `error` in answer,
and the connection lives; what no client may do is decided here, by `websocket.topics` and the application's hooks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

from wshttp.errors import BadRequest, ConnectionClosed, Forbidden, PeerError, WshttpError, answer_for
from wshttp.realtime.close_codes import INTERNAL_ERROR
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import Message, text_of
from wshttp.realtime.hub import Hub
from wshttp.realtime.incoming import Fields, checked_fields, id_of, place_of, read_object, topic_of, type_of
from wshttp.realtime.message_types import FromClient, ToClient
from wshttp.sessions.callbacks import FAILED, STORE_AWAY, Callbacks
from wshttp.sessions.data import Json, checked
from wshttp.sessions.session import whole_seconds

VERSION: Final = 1

MAX_TOPICS: Final = 100
"""Topics that one connection may be in."""

Action: TypeAlias = Callable[[Connection, Fields], Awaitable[Fields | None]]


class EnvelopeSocket:
    """What the built-in socket does with what clients send; `offers` is what else they are told that there is."""

    def __init__(self, hub: Hub, callbacks: Callbacks, offers: Callable[[], dict[str, Json]]) -> None:
        self._hub = hub
        self._callbacks = callbacks
        self._offers = offers
        self._actions: dict[str, Action] = {
            FromClient.SUBSCRIBE: self._subscribe,
            FromClient.UNSUBSCRIBE: self._unsubscribe,
            FromClient.PUBLISH: self._publish,
            FromClient.TOUCH: self._touch,
            FromClient.APP: self._app,
        }

    async def welcome(self, connection: Connection) -> None:
        """Say who is here and what is offered, and give what has waited for the session."""
        session = connection.session
        settings = self._hub.settings
        history = settings.history if self._hub.keeps_history else 0
        self._hub.tell(
            [connection],
            ToClient.WELCOME,
            version=VERSION,
            connection=connection.id,
            session=None if session is None else session.describe(),
            offers={**self._offers(), "topics": list(settings.topics), "history": history, "ping": True},
        )
        await self._hub.give_waiting(connection)

    async def handle(self, connection: Connection, message: Message) -> None:
        """Carry out what a client asks for, and answer it where it gave an `id`."""
        given: Fields = {}
        try:
            fields = read_object(message)
            given = id_of(fields)
            answer = await self._action_of(fields)(connection, checked_fields(fields))
        except PeerError as error:
            self._refuse(connection, given, error)
            return
        except STORE_AWAY as error:
            self._refuse(connection, given, error)
            raise  # so that nothing of it is committed
        if given:
            self._hub.tell([connection], ToClient.OK, **given, **_time_left(connection), **(answer or {}))

    def _action_of(self, fields: Fields) -> Action:
        name = type_of(fields)
        action = self._actions.get(name)
        if action is None:
            raise BadRequest(f"there is no type {name[:50]!r}; see docs/reference/wire.md")
        return action

    def _refuse(self, connection: Connection, given: Fields, error: WshttpError) -> None:
        answer = answer_for(error)
        if answer is None or answer.name == "session-ended":
            raise error
        detail = getattr(error, "detail", str(error))
        self._hub.tell([connection], ToClient.ERROR, code=answer.name, detail=detail, **given)

    # --- actions ------------------------------------------------------------------------------------

    async def _subscribe(self, connection: Connection, fields: Fields) -> None:
        topic, after = topic_of(fields), place_of(fields)
        if topic not in connection.topics and len(connection.topics) >= MAX_TOPICS:
            raise Forbidden(f"a connection joins up to {MAX_TOPICS} topics")
        if not await self._may_join(connection, topic):
            raise Forbidden(f"joining {topic!r} is not allowed here")
        connection.require_open()
        if self._hub.keeps_history:
            reader = self._hub.topics.join_reading(connection, topic)
            await self._tell_presence(connection, topic)
            await self._hub.topics.resume(connection, topic, reader, after)
        else:
            connection.subscribe(topic)
            await self._tell_presence(connection, topic)

    async def _tell_presence(self, connection: Connection, topic: str) -> None:
        """Say who is in a topic, as soon as what other nodes say in it is heard here."""
        await self._hub.topics.listening()
        members: list[Json] = [
            {**member.describe(), "connections": member.connections} for member in self._hub.topics.members(topic)
        ]
        self._hub.tell([connection], ToClient.PRESENCE, topic=topic, members=members)

    async def _may_join(self, connection: Connection, topic: str) -> bool:
        decision = await self._callbacks.decide("subscribe", connection, topic, on_failure=False)
        return self._is_public(topic) if decision is None else bool(decision)

    def _is_public(self, topic: str) -> bool:
        return any(fnmatchcase(topic, pattern) for pattern in self._hub.settings.topics)

    async def _unsubscribe(self, connection: Connection, fields: Fields) -> None:
        connection.unsubscribe(topic_of(fields))

    async def _publish(self, connection: Connection, fields: Fields) -> Fields:
        topic, data = topic_of(fields), fields.get("data")
        decision = await self._callbacks.decide("publish", connection, topic, data, on_failure=False)
        if decision is None:
            decision = topic in connection.topics or await self._may_join(connection, topic)
        if decision is False:
            raise Forbidden(f"publishing on {topic!r} is not allowed here")
        if decision is not True:
            data = checked(decision)
        return {"receivers": await self._hub.publish(topic, data, sender=connection)}

    async def _touch(self, connection: Connection, fields: Fields) -> None:
        if connection.session is not None:
            await connection.session.touch()
            self._hub.changed(connection.session.record)

    async def _app(self, connection: Connection, fields: Fields) -> Fields | None:
        if not self._callbacks["message"]:
            raise BadRequest("nothing here takes messages of type 'app'")
        answers = await self._callbacks.ask(
            "message",
            connection,
            fields.get("data"),
            commit=connection.commit,
            passes=STORE_AWAY,
            ref=None if connection.session is None else connection.session.ref,
        )
        if any(answer is FAILED for answer in answers):
            connection.close(*INTERNAL_ERROR)
            raise ConnectionClosed(*INTERNAL_ERROR)  # so that nothing of it is committed; the fault is reported already
        connection.require_open()
        answer = next((each for each in answers if each is not None), None)
        return None if answer is None or "id" not in fields else {"data": checked(text_of(answer))}


def _time_left(connection: Connection) -> Fields:
    """Say how long the session still lives: a message may have prolonged it."""
    return {} if connection.session is None else {"expires_in": whole_seconds(connection.session.expires_in)}
