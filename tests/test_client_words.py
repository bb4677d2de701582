"""The words of the browser client are those of the server: close codes, types of messages, problems."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest

import wshttp.realtime.close_codes as close_codes
from wshttp import Reason, errors
from wshttp.auth.authenticator import OUTCOMES
from wshttp.close_codes import VANISHED
from wshttp.realtime.close_codes import Close, session_ended
from wshttp.realtime.format import SUBPROTOCOL
from wshttp.sessions.happenings import What

ROOT = Path(__file__).parents[1]
MODULE = (ROOT / "static" / "wshttp.js").read_text()
TYPES = (ROOT / "static" / "wshttp.d.ts").read_text()
WIRE = (ROOT / "docs" / "reference" / "wire.md").read_text()
CLIENT = (ROOT / "docs" / "reference" / "client.md").read_text()

ROW = re.compile(r'\{ code: (\d+), reason: "(.*?)", again: "(.*?)", text: "(.*?)" \},')

IN_WORDS = {"at once": {"at once"}, "soon": {"yes"}, "later": {"later", ""}, "never": {"no", "with a new session", "later", "after a log-in"}}  # fmt: skip
"""What the reference may say of a code, for each word of the client; a new session and a log-in are the page's to begin."""


def told() -> dict[Close, str]:
    """Return whether to come back, by code and reason, as the module says."""
    rows = {Close(int(code), reason): again for code, reason, again, _ in ROW.findall(MODULE)}
    assert len(rows) == MODULE.count("{ code: "), "each row is one line"
    return rows


def documented() -> dict[Close, str]:
    """Return whether to come back, by code and reason, as the reference says."""
    table = WIRE.partition("## Close codes")[2]
    found = {}
    for codes, reasons, _, again in re.findall(r"^\| ([\d, ]+) \| (.*?) ?\| (.*?) ?\| (.*?) ?\|$", table, re.MULTILINE):
        for code in codes.split(", "):
            for reason in re.findall(r"`(.*?)`", reasons) or [""]:
                found[Close(int(code), reason)] = again
    return found


def of_table(heading: str) -> set[str]:
    """Return the types of messages in a table of the reference."""
    section = WIRE.partition(f"### {heading}\n")[2].partition("\n#")[0]
    _, *rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def listed(name: str) -> set[str]:
    """Return the types of messages in one of the module's lists."""
    found = re.search(rf"^  {name}: \[(.*?)\]", MODULE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return set(re.findall(r'"(\w+)"', found[1]))


def test_client_knows_every_close_of_the_server() -> None:
    """Each code and reason that the server sends has its row, and so its words."""
    sent = {value for value in vars(close_codes).values() if isinstance(value, Close)}
    sent |= {session_ended(reason) for reason in Reason}
    assert sent <= set(told())


def test_closes_of_the_client_are_those_of_the_reference() -> None:
    """There is no row too many or too few; 1006 is a browser's own, and never on the wire."""
    assert set(told()) - {Close(VANISHED, "")} == set(documented())


def test_client_comes_back_as_the_reference_says() -> None:
    """Whether a client comes back is one rule, told in two places."""
    for close, again in documented().items():
        assert again in IN_WORDS[told()[close]], close


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.SHUTDOWN])
def test_client_stays_away_after_an_end(reason: Reason) -> None:
    """After each reason for which sessions end, nobody comes back without being told to."""
    assert told()[session_ended(reason)] == "never"


def test_client_has_words_for_every_close() -> None:
    """Each row says something for a person, in a sentence."""
    for _, _, _, text in ROW.findall(MODULE):
        assert re.fullmatch(r"[A-Z].*\.", text), text


def test_reasons_are_those_of_the_server() -> None:
    """The type `Reason` names every reason, and no other."""
    found = re.search(r"export type Reason = (.*?);", TYPES)
    assert found is not None
    assert {json.loads(reason) for reason in found[1].split(" | ")} == set(Reason)


OWN_CODES = {"http", "unreachable", "connection-lost", "queue-full", "timeout", "closed"}
"""Of what the client finds out by itself; never on the wire."""


def test_codes_of_errors_are_those_of_the_server() -> None:
    """The type `ErrorCode` names every problem that the server knows, and the client's own, and no other."""
    found = re.search(r"export type ErrorCode =(.*?);\n", TYPES, re.DOTALL)
    assert found is not None
    named = set(re.findall(r'\| "([\w-]+)"', found[1]))
    assert named == {answer.name for answer in errors._ANSWERS.values()} | OWN_CODES


@pytest.mark.parametrize(("heading", "name"), [("From the server", "received"), ("From the client", "sent")])
def test_types_of_messages_are_those_of_the_reference(heading: str, name: str) -> None:
    """The module's lists and the tables of the reference have the same types."""
    assert listed(name) == of_table(heading)


def test_every_type_that_is_received_is_handled() -> None:
    """Each has its place in the client; `pong` only shows that there is somebody, `closed` is the stream's own."""
    handlers = re.search(r"^  #received = \{\n(.*?)^  \};", MODULE, re.MULTILINE | re.DOTALL)
    assert handlers is not None
    handled = set(re.findall(r"^    (\w+): \(", handlers[1], re.MULTILINE))
    assert handled | {"pong", "closed"} == listed("received")


def test_subprotocol_is_that_of_the_server() -> None:
    """Both say the same in the handshake."""
    assert f'const SUBPROTOCOL = "{SUBPROTOCOL}";' in MODULE


def test_events_have_a_row() -> None:
    """`EVENTS`, the type of each event, and the table of the reference are the same."""
    found = re.search(r"EVENTS = Object.freeze\(\[(.*?)\]\)", MODULE, re.DOTALL)
    types = re.search(r"^export interface Events \{\n(.*?)^\}", TYPES, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert types is not None
    events = set(re.findall(r'"(\w+)"', found[1]))
    assert set(re.findall(r"^  (\w+): ", types[1], re.MULTILINE)) == events
    table = CLIENT.partition("## Events")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == events


def test_options_and_calls_have_a_row() -> None:
    """Each option and each call that has a type is in the reference, and the other way round."""
    for interface, heading in (("Options", "Options"), ("Client", "Calls")):
        types = re.search(rf"^export interface {interface} \{{\n(.*?)^\}}", TYPES, re.MULTILINE | re.DOTALL)
        assert types is not None
        names = set(re.findall(r"^  (?:readonly )?(\w+)\??[:(<]", types[1], re.MULTILINE))
        section = CLIENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        assert {name for row in rows for name in re.findall(r"`(\w+)[`(]", row)} == names


# --- the page of administration -------------------------------------------------------------------


def of_page(file: str, name: str) -> set[str]:
    """Return the keys of an object, or the texts of a list, that a module of the page has under a name."""
    text = (ROOT / "static" / "admin" / file).read_text()
    found = re.search(rf"^const {name} = ([{{\[])(.*?)[}}\]];$", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    if found[1] == "[":
        return set(re.findall(r'"(\w+)"', found[2]))
    return set(re.findall(r"^  (\w+):", found[2], re.MULTILINE))


def test_closes_with_a_meaning_are_counted_by_their_code() -> None:
    """Those that the server sends, and those for which the page has words, have a label of their own in the metrics."""
    sent = {value.code for value in vars(close_codes).values() if isinstance(value, Close)}
    sent |= {session_ended(reason).code for reason in Reason}
    assert sent | {int(code) for code in of_page("words.js", "CLOSED")} <= close_codes.KNOWN


@pytest.mark.parametrize(
    ("file", "name", "known"),
    [
        ("words.js", "ENDED", set(Reason)),
        ("overview.js", "REASONS", set(Reason)),
        ("overview.js", "OUTCOMES", set(OUTCOMES)),
        ("words.js", "HAPPENED", set(get_args(What))),
        ("stream.js", "EVENTS", set(get_args(What))),
    ],
)
def test_page_of_administration_knows_the_words_of_the_server(file: str, name: str, known: set[str]) -> None:
    """Each of its lists has all of them, and no other."""
    assert of_page(file, name) == known
