"""The programs in examples/: each runs as it is, does what its first lines say, and is what the pages show of it."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from processes import ON_ANY_FREE_PORT, PATIENCE, ROOT, Process, serving
from websockets.sync.client import ClientConnection, connect

EXAMPLES = ROOT / "examples"
QUOTE = re.compile(r"\((?:\.\./)*examples/(\w+\.py)\)[^\n]*\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@contextmanager
def running(name: str, faults: bool = False) -> Iterator[Process]:
    """Run an example on a free port."""
    with serving(
        command=(sys.executable, "-c", ON_ANY_FREE_PORT, str(EXAMPLES / name)), port=None, faults=faults
    ) as server:
        yield server


@contextmanager
def socket_of(server: Process) -> Iterator[ClientConnection]:
    """Open the built-in socket of a server, past its welcome."""
    url = f"ws://127.0.0.1:{server.port}/wshttp/socket"
    with connect(url, subprotocols=["wshttp.v1"], open_timeout=PATIENCE) as socket:  # type: ignore[list-item]
        assert receive(socket, "welcome")["version"] == 1
        yield socket


def send(socket: ClientConnection, **message: object) -> None:
    socket.send(json.dumps(message))


def receive(socket: ClientConnection, kind: str) -> dict[str, object]:
    """Return the next message of a type."""
    while True:
        message: dict[str, object] = json.loads(socket.recv(timeout=PATIENCE))
        if message["type"] == kind:
            return message


def test_chat_signs_what_is_said() -> None:
    """The name comes from the session, whatever a browser claims; an unknown room is refused, and so is silence."""
    with running("chat.py") as server:
        assert "text/html" in server.get("/").headers["Content-Type"]
        with socket_of(server) as socket:
            send(socket, type="app", data="  Ada ", id=1)
            assert receive(socket, "ok")["data"] == "Ada"
            send(socket, type="subscribe", topic="room.lobby", id=2)
            assert receive(socket, "ok")["id"] == 2
            send(socket, type="publish", topic="room.lobby", data="hello", id=3)
            assert receive(socket, "message")["data"] == {"name": "Ada", "text": "hello"}
            for refused in (
                {"type": "subscribe", "topic": "room.cellar"},
                {"type": "publish", "topic": "room.lobby", "data": " "},
            ):
                send(socket, **refused)
                assert receive(socket, "error")["code"] == "forbidden"
        server.signal(signal.SIGINT)
        assert server.exit_status() == 0


def test_dashboard_pushes_numbers() -> None:
    """They come by themselves, also those from before; nobody else may publish any."""
    with running("dashboard.py") as server:
        assert "text/html" in server.get("/").headers["Content-Type"]
        with socket_of(server) as socket:
            send(socket, type="subscribe", topic="numbers", after={"life": "", "offset": 0})
            for _ in range(2):
                assert set(receive(socket, "message")["data"]) == {"load", "sessions", "sockets"}  # type: ignore[call-overload]
            send(socket, type="publish", topic="numbers", data={})
            assert receive(socket, "error")["code"] == "forbidden"
        server.signal(signal.SIGINT)
        assert server.exit_status() == 0


def test_tornado_application_counts_visits() -> None:
    """The handler with a session counts, the other goes on as it was."""
    with running("tornado_app.py", faults=True) as server:  # Ctrl-C is Python's here, and shows a traceback
        assert [server.get("/").text for _ in range(2)] == ["Visits: 1", "Visits: 2"]
        assert server.get("/about").text == "A Tornado application"


def test_tornado_application_needs_five_lines() -> None:
    """As many as it says."""
    marks = re.findall(r"  # (\d)", (EXAMPLES / "tornado_app.py").read_text())
    assert marks == ["1", "2", "3", "4", "5"]


QUOTES = [
    pytest.param(name, text, id=f"{page.relative_to(ROOT)}: {name}")
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    for name, text in QUOTE.findall(page.read_text())
]


@pytest.mark.parametrize(("name", "text"), QUOTES)
def test_what_pages_quote_is_in_the_example(name: str, text: str) -> None:
    """Word for word."""
    assert text.strip() in (EXAMPLES / name).read_text()


def test_every_example_is_quoted() -> None:
    """An example that no page shows is found by nobody."""
    assert {quote.values[0] for quote in QUOTES} == {path.name for path in EXAMPLES.glob("*.py")}
