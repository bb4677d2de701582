"""What is owed, and to whom it is handed out."""

from __future__ import annotations

from typing import Any

import pytest

from wshttp.sessions.record import Event, Reason
from wshttp.sessions.store import Owed
from wshttp.stores.ledger import Ledger

RECORD: Any = object()


def owed(event: Event) -> Owed:
    return Owed(RECORD, event)


def start(ref: str = "r") -> Event:
    return Event(f"start {ref}", "start", ref)


def end(ref: str = "r") -> Event:
    return Event(f"end {ref}", "end", ref, reason=Reason.LOGOUT)


def entered(ledger: Ledger, *events: Event) -> Ledger:
    for event in events:
        ledger.enter(event)
    return ledger


def taken(ledger: Ledger) -> list[tuple[str, int]]:
    """Take all, as one caller; say each entry's id and attempt."""
    found: list[Owed] = []
    while ledger.any_to_take:
        one = ledger.take({each.event.ref for each in found if each.event.kind == "start"})
        found += [] if one is None else [one]
    return [(one.event.id, one.event.attempt) for one in found]


@pytest.mark.interpreted(reason="it has something else in the place of a record")
def test_entries_are_handed_out_as_they_came_to_be() -> None:
    """Whatever the order in which they are given up; each once, with an attempt more."""
    ledger = entered(Ledger(), start("a"), start("b"), end("a"))
    for event in (end("a"), start("b"), start("a"), start("a")):
        ledger.unclaim(owed(event))
    assert taken(ledger) == [("start a", 2), ("start b", 2), ("end a", 2)]
    assert len(ledger) == 3


def test_entry_that_is_settled_is_not_handed_out() -> None:
    """Nor is one of which nothing is known, and neither can be settled twice, or with another attempt."""
    ledger = entered(Ledger(), start())
    ledger.unclaim(owed(start()))
    assert not ledger.strike(Event("start r", "start", "r", attempt=2))
    assert ledger.strike(start())
    assert not ledger.strike(start())
    ledger.unclaim(owed(end()))
    assert taken(ledger) == []
    assert (len(ledger), ledger.any_of("r")) == (0, False)


@pytest.mark.interpreted(reason="it has something else in the place of a record")
def test_end_is_given_to_nobody_before_its_start() -> None:
    """Where somebody elsewhere has that, it waits; where somebody here has, they get the end, too."""
    given: set[str] = set()
    ledger = entered(Ledger(given), start(), end())
    assert not ledger.may_follow("r")
    ledger.unclaim(owed(end()))
    assert taken(ledger) == []
    ledger.unclaim(owed(start()))
    assert taken(ledger) == [("start r", 2)]
    assert ledger.strike(Event("start r", "start", "r", attempt=2))
    assert taken(ledger) == [("end r", 2)]
    given.add("start s")
    entered(ledger, start("s"), end("s"))
    assert ledger.may_follow("s")
    ledger.unclaim(owed(end("s")))
    assert taken(ledger) == [("end s", 2)]


@pytest.mark.interpreted(reason="it has something else in the place of a record")
def test_end_that_waits_for_its_start_is_the_first_attempt_then() -> None:
    """It cannot be settled before; if who was told of it did not hear it, it is the second."""
    for heard, attempt in ((True, 1), (False, 2)):
        ledger = entered(Ledger(set()), start(), end())
        ledger.wait(owed(end()))
        assert not ledger.strike(end())
        if not heard:
            ledger.unclaim(owed(end()))
        assert taken(ledger) == []
        ledger.strike(start())
        assert taken(ledger) == [("end r", attempt)]


@pytest.mark.interpreted(reason="it has something else in the place of a record")
def test_end_that_waited_waits_again_when_it_is_read_from_a_log() -> None:
    """Until its start is settled; where that was, it does not."""
    waiting = Event("end r", "end", "r", attempt=0, reason=Reason.LOGOUT)
    ledger = entered(Ledger({"start r"}), start(), waiting)
    ledger.unclaim(owed(waiting))
    assert taken(ledger) == []
    ledger.strike(start())
    assert taken(ledger) == [("end r", 1)]
    ledger = entered(Ledger(set()), waiting)
    ledger.unclaim(owed(waiting))
    assert taken(ledger) == [("end r", 1)]
