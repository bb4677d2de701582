"""How messages look on a connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from wshttp.realtime.format import ENVELOPE, PLAIN, size_of, to_json
from wshttp.realtime.place import Place


@pytest.mark.parametrize(
    ("data", "message"),
    [("text", "text"), (b"\x00", b"\x00"), ({"a": [1, None]}, '{"a":[1,null]}'), (5, "5"), (None, "null"), ("ü", "ü")],
)
def test_plain_leaves_text_and_bytes_alone(data: Any, message: str | bytes) -> None:
    """Text and bytes go out as they are, other values as JSON; a topic makes no difference."""
    assert PLAIN.message(data) == PLAIN.published("news", data, {"ref": "r", "user": None}) == message


def test_envelope_says_what_a_message_is() -> None:
    """In `wshttp.v1` everything is an object with a type; what was published says where and by whom."""
    assert json.loads(ENVELOPE.message({"a": 1})) == {"type": "app", "data": {"a": 1}}
    assert json.loads(ENVELOPE.published("news", "hot", {"ref": "r", "user": "ann"})) == {
        "type": "message",
        "topic": "news",
        "data": "hot",
        "from": {"ref": "r", "user": "ann"},
    }
    assert json.loads(ENVELOPE.published("news", None, None))["from"] is None
    kept = json.loads(ENVELOPE.published("news", None, None, Place("a", 7)))
    assert (kept["life"], kept["offset"]) == ("a", 7)
    assert json.loads(ENVELOPE.queued(b"late")) == {"type": "app", "data": "late", "queued": True}


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ('{"type":"ping"}', {"type": "pong"}),
        (b'{"type": "ping", "id": [1]}', {"type": "pong", "id": [1]}),
        ('{"type":"touch","id":"ping"}', None),
        ('{"type":"ping","id":1e999}', None),
        ('{"type":"ping","id":NaN}', None),
        ("[" * 50 + '"ping"', None),
        (b'\xff"ping"', None),
        ('{"type":"ping","id":"' + "x" * 100 + '"}', None),
    ],
)
def test_ping_has_a_reflex(message: str | bytes, answer: Any) -> None:
    """A small message that says nothing else is answered at once; anything else goes its usual way."""
    reply = ENVELOPE.reflex(message)
    assert (reply if reply is None else json.loads(reply)) == answer
    assert PLAIN.reflex(message) is None


def test_envelope_carries_bytes_as_text() -> None:
    """JSON has no bytes: they are read as UTF-8, and what is none is replaced."""
    assert json.loads(ENVELOPE.message("grüße".encode()))["data"] == "grüße"
    assert json.loads(ENVELOPE.message(b"\xff"))["data"] == "\ufffd"


def test_json_is_short_and_strict() -> None:
    """No blanks, no escapes that UTF-8 doesn't need, and no numbers that JSON doesn't have."""
    assert to_json({"a": [1, "é"]}) == '{"a":[1,"é"]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(float("nan"))


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    ["é\u2028</", 1, -1.5e300, True, None, [], {}, [{}], {"": [1, {"a": None}]}, {1: 2, None: 3}, (1, 2), _nested(500)],
)
def test_json_is_what_the_standard_library_writes(value: Any) -> None:
    """It is the standard encoder, made once: byte for byte the same."""
    assert to_json(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@pytest.mark.parametrize(
    ("value", "error"), [(_circular(), ValueError), (_nested(100_000), RecursionError), ({1, 2}, TypeError)]
)
def test_json_refuses_what_the_standard_library_refuses(value: Any, error: type[Exception]) -> None:
    """What contains itself is told from what is merely deep, and nothing of it is left behind for the next."""
    with pytest.raises(error):
        to_json(value)
    assert to_json([[]]) == "[[]]"


@pytest.mark.parametrize(("message", "size"), [("", 0), ("abc", 3), ("é", 2), ("🎉", 4), (b"\xff\xff", 2)])
def test_size_is_in_bytes(message: str | bytes, size: int) -> None:
    """What counts against `send_buffer_limit` is what goes over the wire."""
    assert size_of(message) == size
