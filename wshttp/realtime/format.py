"""How what is sent to many looks on one connection: as it is, or in the envelope of `wshttp.v1`."""

from __future__ import annotations

import json
from typing import Final, Protocol, TypeAlias

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

    def reflex(self, message: Message) -> Message | None:
        """Return what answers a message at once, whoever is busy; it is no activity, and no handler sees it."""

    def message(self, data: Json | bytes) -> Message:
        """Form a message of the application."""

    def published(self, topic: str, data: Json | bytes, sender: Json, place: Place | None = None) -> Message:
        """Form a message published on a topic; `sender` is who sent it, or `None` for the server.

        `place` is where it stands in the topic's history; `None`: it is not kept.
        """


def to_json(value: Json) -> str:
    """Return JSON text, as short as it gets."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


class Plain:
    """Messages as they are: text and bytes unchanged, anything else as JSON text."""

    def reflex(self, message: Message) -> None:
        return None

    def message(self, data: Json | bytes) -> Message:
        return data if isinstance(data, str | bytes) else to_json(data)

    def published(self, topic: str, data: Json | bytes, sender: Json, place: Place | None = None) -> Message:
        return self.message(data)


class Envelope:
    """Messages of `wshttp.v1`: JSON objects with a `type`."""

    def reflex(self, message: Message) -> Message | None:
        text = message if isinstance(message, str) else message[: LONGEST_PING + 1].decode("utf-8", "replace")
        if len(text) > LONGEST_PING or '"ping"' not in text:
            return None
        try:
            envelope = read_json(text)
            if not isinstance(envelope, dict) or envelope.get("type") != "ping":
                return None
            return to_json({"type": "pong", **{key: envelope[key] for key in ("id",) if key in envelope}})
        except (ValueError, RecursionError):
            return None

    def message(self, data: Json | bytes) -> Message:
        return to_json({"type": "app", "data": text_of(data)})

    def queued(self, data: Json | bytes) -> Message:
        """Form a message of the application that has waited for a connection."""
        return to_json({"type": "app", "data": text_of(data), "queued": True})

    def published(self, topic: str, data: Json | bytes, sender: Json, place: Place | None = None) -> Message:
        envelope: dict[str, Json] = {"type": "message", "topic": topic, "data": text_of(data), "from": sender}
        return to_json(envelope if place is None else {**envelope, "life": place.life, "offset": place.offset})


def text_of(data: Json | bytes) -> Json:
    """Return what stands for data in JSON."""
    return data.decode("utf-8", "replace") if isinstance(data, bytes) else data


PLAIN: Final = Plain()
ENVELOPE: Final = Envelope()
