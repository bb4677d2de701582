"""The types of messages: those of the reference, and no others."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path

import pytest

from wshttp.config import Settings
from wshttp.realtime.envelope import EnvelopeSocket
from wshttp.realtime.hub import Hub
from wshttp.realtime.message_types import FromClient, ToClient
from wshttp.sessions.callbacks import Callbacks
from wshttp.stores.kept import in_memory
from wshttp.testing import FakeClock

pytestmark = pytest.mark.feature("C2")

ROOT = Path(__file__).parents[2]
WIRE = (ROOT / "docs/reference/wire.md").read_text()
SOURCES = [*ROOT.glob("wshttp/realtime/*.py"), ROOT / "wshttp/web/event_stream.py"]


def rows(heading: str) -> set[str]:
    """Return the types in a table of the reference."""
    section = WIRE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    _, *found = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in found for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize(("heading", "types"), [("From the server", ToClient), ("From the client", FromClient)])
def test_every_type_has_a_row(heading: str, types: type[StrEnum]) -> None:
    """Whoever writes a client finds all of them in the reference, and nothing that there is not."""
    assert rows(heading) == set(types)


def test_every_type_from_a_client_is_answered() -> None:
    """Each has an action; a `ping` is answered before."""
    callbacks = Callbacks()
    socket = EnvelopeSocket(Hub(Settings(), callbacks, in_memory(FakeClock())), callbacks, dict)
    assert set(socket._actions) | {FromClient.PING} == set(FromClient)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_types_are_named_in_one_place(source: Path) -> None:
    """A type that is spelled out where it is sent would be in no table."""
    assert not re.search(r'"type": f?"', source.read_text())
