"""What clients of `wshttp.v1` send, and its reading: JSON objects with a `type`, of values that a session could hold."""

from __future__ import annotations

import unicodedata
from typing import Any, Final, TypeAlias

from wshttp.errors import BadRequest, InvalidValue
from wshttp.realtime.format import Message
from wshttp.realtime.place import Place
from wshttp.sessions.data import Json, checked, read_json

MAX_VALUES: Final = 10_000
"""Values in a message, in all. To read and check that many takes about 5 ms (own measurement), by which one message delays
all others; a mebibyte of empty lists would take half a second."""

MAX_TOPIC: Final = 200
"""Characters in the name of a topic."""

MAX_LIFE: Final = 64
"""Characters in the name of a history's life, as clients send it back."""

Fields: TypeAlias = dict[str, Json]


def read_object(message: Message) -> Fields:
    """Read a JSON object of not too many values, whatever they are. Raises `BadRequest`."""
    try:
        text = message if isinstance(message, str) else message.decode()
        _require_few_values(text)
        found: Any = read_json(text)
    except (ValueError, RecursionError):
        raise BadRequest("a message is a JSON object with a `type`; this is not JSON") from None
    if not isinstance(found, dict):
        raise BadRequest("a message is a JSON object with a `type`")
    return found


def checked_fields(fields: Fields) -> Fields:
    """Return fields whose values a session could hold. Raises `BadRequest`."""
    try:
        return dict(checked(fields))
    except InvalidValue as error:
        raise BadRequest(str(error)) from None


def id_of(fields: Fields) -> Fields:
    """Return what an answer carries of the `id` that a client gave, also to what is refused; nothing for one that is wrong."""
    try:
        return {"id": checked(fields["id"])} if "id" in fields else {}
    except InvalidValue:
        return {}


def type_of(fields: Fields) -> str:
    """Read what a client wants. Raises `BadRequest`."""
    found = fields.get("type")
    if not isinstance(found, str):
        raise BadRequest("a message is a JSON object with a `type`")
    return found


def topic_of(fields: Fields) -> str:
    """Read a topic. Raises `BadRequest`."""
    topic = fields.get("topic")
    if not isinstance(topic, str) or not 0 < len(topic) <= MAX_TOPIC:
        raise BadRequest(f"`topic` is a text of 1 to {MAX_TOPIC} characters")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in topic):
        raise BadRequest("`topic` contains a control character")
    return topic


def place_of(fields: Fields) -> Place | None:
    """Read from where a client goes on. Raises `BadRequest`."""
    after = fields.get("after")
    if after is None:
        return None
    life, offset = (after.get("life"), after.get("offset")) if isinstance(after, dict) else (None, None)
    if not isinstance(life, str) or len(life) > MAX_LIFE or type(offset) is not int or offset < 0:
        raise BadRequest(
            '`after` is {"life": <text>, "offset": <whole number>}, as the last message or `resumed` had them'
        )
    return Place(life, offset)


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
