"""How what is sent to many looks on one connection: as it is, or in the envelope of `wshttp.v1`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from wshttp.realtime.message_types import FromClient, ToClient
from wshttp.realtime.place import Place
from wshttp.sessions.data import Json, read_json

SUBPROTOCOL: Final = "wshttp.v1"

Message: TypeAlias = str | bytes


def size_of(message: Message) -> int:
    """Return the bytes that a message takes, without its frame."""
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())


LONGEST_PING: Final = 100
"""Bytes of a message in which a `ping` is looked for."""


class Format(Protocol):
    """Turn what an application sends into what goes over a connection."""

    is_told: bool
    """Whether its clients understand what the server has to say itself, and that a message has waited."""

    def reflex(self, message: Message) -> Message | None:
        """Return what answers a message at once, whoever is busy; it is no activity, and no handler sees it."""

    def message(self, data: Json | bytes) -> Message:
        """Form a message of the application."""

    def queued(self, data: Json | bytes) -> Message:
        """Form a message of the application that has waited for a connection."""

    def published(self, topic: str, data: Json | bytes, sender: Json, place: Place | None = None) -> Message:
        """Form a message published on a topic; `sender` is who sent it, or `None` for the server.

        `place` is where it stands in the topic's history; `None`: it is not kept.
        """


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def to_json(value: Json) -> str:
    """Return JSON text, as short as it gets."""
    if _chunks is None:
        return _ENCODER.encode(value)
    try:
        return "".join(_chunks(value, 0))
    except RecursionError:
        return _ENCODER.encode(value)  # which tells what is merely deep from what contains itself


def _in_c() -> Callable[[Json, int], tuple[str, ...]] | None:
    """Return what `JSONEncoder.encode` has made for each value, made once; `None` where Python has it not in C.

    It does not look for values that contain themselves.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    text, separators = json.encoder.encode_basestring, (_ENCODER.key_separator, _ENCODER.item_separator)
    return make and make(None, _ENCODER.default, text, None, *separators, False, False, False)


_chunks: Final = _in_c()


def envelope(what: ToClient, **fields: Json) -> str:
    """Form a message of `wshttp.v1`."""
    return to_json({"type": what, **fields})


class Plain:
    """Messages as they are: text and bytes unchanged, anything else as JSON text."""

    is_told = False

    def reflex(self, message: Message) -> None:
        return None

    def message(self, data: Json | bytes) -> Message:
        return data if isinstance(data, (str, bytes)) else to_json(data)

    def queued(self, data: Json | bytes) -> Message:
        return self.message(data)

    def published(self, topic: str, data: Json | bytes, sender: Json, place: Place | None = None) -> Message:
        return self.message(data)


class Envelope:
    """Messages of `wshttp.v1`: JSON objects with a `type`."""

    is_told = True

    def reflex(self, message: Message) -> Message | None:
        text = message if isinstance(message, str) else message[: LONGEST_PING + 1].decode("utf-8", "replace")
        if len(text) > LONGEST_PING or '"ping"' not in text:
            return None
        try:
            fields = read_json(text)
            if not isinstance(fields, dict) or fields.get("type") != FromClient.PING:
                return None
            pong = envelope(ToClient.PONG, **{key: fields[key] for key in ("id",) if key in fields})
            pong.encode()  # an `id` may have half a character
            return pong
        except (ValueError, RecursionError):
            return None

    def message(self, data: Json | bytes) -> Message:
        return envelope(ToClient.APP, data=text_of(data))

    def queued(self, data: Json | bytes) -> Message:
        return envelope(ToClient.APP, data=text_of(data), queued=True)

    def published(self, topic: str, data: Json | bytes, sender: Json, place: Place | None = None) -> Message:
        where: dict[str, Json] = {} if place is None else {"life": place.life, "offset": place.offset}
        return envelope(ToClient.MESSAGE, topic=topic, data=text_of(data), **{"from": sender}, **where)


def text_of(data: Json | bytes) -> Json:
    """Return what stands for data in JSON."""
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else data


PLAIN: Final = Plain()
ENVELOPE: Final = Envelope()
