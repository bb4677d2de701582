"""How what is sent to many looks on one connection: as it is, or in the envelope of `wshttp.v1`."""

from __future__ import annotations

import json
from typing import Final, Protocol, TypeAlias

from wshttp.sessions.data import Json

SUBPROTOCOL: Final = "wshttp.v1"

Message: TypeAlias = str | bytes


def size_of(message: Message) -> int:
    """Return the bytes that a message takes, without its frame."""
    return len(message) if isinstance(message, bytes) or message.isascii() else len(message.encode())


class Format(Protocol):
    """Turn what an application sends into what goes over a connection."""

    def message(self, data: Json | bytes) -> Message:
        """Form a message of the application."""

    def published(self, topic: str, data: Json | bytes, sender: Json) -> Message:
        """Form a message published on a topic; `sender` is who sent it, or `None` for the server."""


def to_json(value: Json) -> str:
    """Return JSON text, as short as it gets."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Plain:
    """Messages as they are: text and bytes unchanged, anything else as JSON text."""

    def message(self, data: Json | bytes) -> Message:
        return data if isinstance(data, str | bytes) else to_json(data)

    def published(self, topic: str, data: Json | bytes, sender: Json) -> Message:
        return self.message(data)


class Envelope:
    """Messages of `wshttp.v1`: JSON objects with a `type`."""

    def message(self, data: Json | bytes) -> Message:
        return to_json({"type": "app", "data": _text(data)})

    def published(self, topic: str, data: Json | bytes, sender: Json) -> Message:
        return to_json({"type": "message", "topic": topic, "data": _text(data), "from": sender})


def _text(data: Json | bytes) -> Json:
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else data


PLAIN: Final = Plain()
ENVELOPE: Final = Envelope()
