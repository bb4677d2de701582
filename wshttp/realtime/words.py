"""The form of what nodes tell each other: a JSON array that begins with the word's name; what follows the first line is data.

    ["ended","5f2b8c0e9a41d7736c1e40aa","logout"]

`relay` says what each means. A word never changes its meaning: what means something else has another name, and what is
added comes at the end. So nodes of two versions understand each other as far as they can, and ignore the rest.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from wshttp.realtime.format import to_json
from wshttp.realtime.letter import Letter
from wshttp.realtime.place import Place
from wshttp.sessions.data import Json


class Word(NamedTuple):
    """A word that was heard: its name, its facts, and what came with it."""

    name: str
    facts: list[Any]
    payload: bytes = b""


def encode(name: str, *facts: Json, payload: bytes = b"") -> bytes:
    """Form a word."""
    header = json.dumps([name, *facts], separators=(",", ":")).encode()
    return b"\n".join((header, payload)) if payload else header


def decode(raw: bytes) -> Word | None:
    """Read a word; `None` for what is none."""
    header, _, payload = raw.partition(b"\n")
    try:
        facts = json.loads(header)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, list) or not facts or not isinstance(facts[0], str):
        return None
    return Word(facts[0], facts[1:], payload)


def encode_letter(letter: Letter) -> bytes:
    """Form the word `message`. Raises `TypeError` and `ValueError` for data that is no JSON."""
    form, payload = _pack(letter.data)
    target: dict[str, Json] = {
        name: value
        for name in ("connection", "session", "user", "topic")
        if (value := getattr(letter, name)) is not None
    }
    if letter.include is not None:
        target["include"] = sorted(letter.include)
    if letter.exclude:
        target["exclude"] = sorted(letter.exclude)
    place = () if letter.place is None else letter.place
    return encode("message", target, form, letter.published, letter.origin, *place, payload=payload)


def decode_letter(word: Word) -> Letter:
    """Read the word `message`. Raises `ValueError` and the like for what is none."""
    target, form, published, origin = word.facts[:4]
    include = target.get("include")
    return Letter(
        _unpack(form, word.payload),
        **{name: target.get(name) for name in ("connection", "session", "user", "topic")},
        include=None if include is None else frozenset(include),
        exclude=frozenset(target.get("exclude", ())),
        published=published,
        origin=origin,
        place=Place(*word.facts[4:6]) if len(word.facts) >= 6 else None,
    )


def _pack(data: Json | bytes) -> tuple[str, bytes]:
    if isinstance(data, bytes):
        return "bytes", data
    if isinstance(data, str):
        return "text", data.encode()
    return "json", to_json(data).encode()


def _unpack(form: str, payload: bytes) -> Json | bytes:
    match form:
        case "bytes":
            return payload
        case "text":
            return payload.decode()
        case "json":
            data: Json = json.loads(payload.decode())
            return data
    raise ValueError(f"a message of an unknown form, {form!r}")
