"""What the pages say of the engine in numbers and names is what the engine has."""

from __future__ import annotations

import re
from typing import Any

from processes import ROOT
from tornado.web import Application

from wshttp.engine import install, uninstall
from wshttp.engine.detached import DetachedStream
from wshttp.engine.http_answer import HttpAnswer
from wshttp.engine.http_head import MAX_FIELDS
from wshttp.engine.http_protocol import READ_AHEAD
from wshttp.engine.limits import Limits
from wshttp.engine.link import LINGER_SECONDS
from wshttp.engine.native import NativeServer
from wshttp.engine.transport_stream import TransportStream
from wshttp.engine.websocket.protocol import BACKLOG, CLOSE_TIMEOUT, EVENTS_PER_TURN, SIZE_PER_TURN, STALL
from wshttp.realtime.connection import INBOX, INBOX_BYTES, LAST_ANSWERS

ENGINE = ROOT / "wshttp" / "engine"
TOPIC = (ROOT / "docs" / "topics" / "engine.md").read_text()
HOWTO = (ROOT / "docs" / "howto" / "tornado.md").read_text()
SECTION = HOWTO.partition("## The native engine under any Tornado program\n")[2].partition("\n## ")[0]

NUMBERS = {2: "two", 5: "five"}


def rows_of(text: str) -> list[list[str]]:
    return [re.split(r"\s*\|\s*", row) for row in re.findall(r"^\| (.*?)\s*\|$", text, re.MULTILINE)]


def test_topic_has_each_status_that_the_engine_answers() -> None:
    """By itself, wherever it refuses."""
    code = "".join(path.read_text() for path in ENGINE.rglob("*.py"))
    refused = set(re.findall(r"\bRefused\((\d{3}),", code))
    assert {row[0] for row in rows_of(TOPIC) if row[0].isdigit()} == refused


def test_topic_has_the_bounds_that_the_code_has() -> None:
    """Bytes, messages and seconds, as the sentences have them."""
    assert f"{READ_AHEAD // 1024} KiB, and one read more" in TOPIC
    assert f"for {NUMBERS[LINGER_SECONDS]} seconds after the answer has been taken" in TOPIC
    turn = (
        f"after {EVENTS_PER_TURN} messages, fragments and control frames, or {SIZE_PER_TURN // 1024**2} MiB of messages"
    )
    assert turn in TOPIC
    assert f"while {BACKLOG // 1024**2} MiB of what it was sent is not taken" in TOPIC
    assert f"takes nothing for {STALL:.0f} seconds" in TOPIC
    assert f"from {INBOX} of them or {INBOX_BYTES // 1024**2} MiB" in TOPIC
    assert f"its answers have {NUMBERS[LAST_ANSWERS]} seconds" in TOPIC
    assert f"waits {NUMBERS[CLOSE_TIMEOUT]} seconds for the client's close frame" in TOPIC


def test_howto_has_the_limits_that_hold_by_default() -> None:
    """Each field of `Limits`, and the number of header fields, as the table writes them."""
    limits = Limits()
    told = {row[0]: row[1] for row in rows_of(SECTION)}
    assert told == told | {
        "a body": f"{limits.max_body_size // 1024**2} MiB, above 413",
        "a request line and header": f"{limits.max_header_size // 1024} KiB, above 414 or 431",
        "header fields": f"{MAX_FIELDS}, above 431",
        "silence between two requests": f"{limits.idle_timeout:.0f} s",
        "a header, from its first byte to its last": f"{limits.header_timeout:.0f} s, then 408",
        "no progress of a body": f"{limits.body_timeout:.0f} s, then 408",
        "no progress of an answer": f"{limits.write_timeout:.0f} s, then a reset",
        "open connections": f"{limits.max_connections:,}, above 503",
    }


async def test_howto_installs_the_engine_as_it_shows() -> None:
    """Its piece of a program serves an application with the limits and proxies that it names."""
    [piece] = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    server: list[Any] = []

    class Listening(Application):
        def listen(self, port: int, *arguments: Any, **options: Any) -> Any:
            server.append(super().listen(0, "127.0.0.1", **options))

    try:
        exec(compile(piece, "howto", "exec"), {"application": Listening()})
    finally:
        uninstall()
    assert type(server[0]) is NativeServer
    assert server[0].limits == Limits(max_connections=50_000, max_body_size=100 * 1024**2)
    assert server[0].proxies.trusts("10.1.2.3")
    await server[0].close()


async def test_tornados_names_for_limits_are_those_of_the_howto() -> None:
    """Each that it names changes what its row is about."""
    names = {name for row in rows_of(SECTION) for name in re.findall(r"`(\w+)=`", row[-1])} - {"limits"}
    before = Limits()
    install()
    try:
        for name in names:
            server = Application().listen(0, "127.0.0.1", **{name: 7})
            assert server.limits != before, name
            await server.close()
    finally:
        uninstall()
    assert names == {"max_body_size", "max_header_size", "idle_connection_timeout", "body_timeout"}


def test_howto_names_what_streams_and_answers_have() -> None:
    """What it says that they have is there."""
    detached, under = re.findall(r"^- `[\w.()]+` (?:returns a stream that )?has (.*)$", SECTION, re.MULTILINE)
    for told, kind in ((detached.partition(", and fails")[0], DetachedStream), (under, TransportStream)):
        names = set(re.findall(r"`(\w+)`", told))
        assert "io_loop" in names, "which each instance has"
        assert names <= {*dir(kind), "io_loop"}
    assert {"send_file", "sends_files", "set_max_body_size", "set_body_timeout", "stream"} <= set(dir(HttpAnswer))
