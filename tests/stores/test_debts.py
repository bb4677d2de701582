"""What is owed, and to whom it is handed out."""

from __future__ import annotations

from typing import Any

from wshttp.sessions.record import Event, Reason
from wshttp.sessions.store import Owed
from wshttp.stores.debts import Debts

RECORD: Any = object()


def owed(event: Event) -> Owed:
    return Owed(RECORD, event)


def start(ref: str = "r") -> Event:
    return Event(f"start {ref}", "start", ref)


def end(ref: str = "r") -> Event:
    return Event(f"end {ref}", "end", ref, reason=Reason.LOGOUT)


def entered(debts: Debts, *events: Event) -> Debts:
    for event in events:
        debts.enter(event)
    return debts


def taken(debts: Debts) -> list[tuple[str, int]]:
    """Take all, as one caller; say each entry's id and attempt."""
    found: list[Owed] = []
    while debts.any_to_take:
        one = debts.take({each.event.ref for each in found if each.event.kind == "start"})
        found += [] if one is None else [one]
    return [(one.event.id, one.event.attempt) for one in found]


def test_entries_are_handed_out_as_they_came_to_be() -> None:
    """Whatever the order in which they are given up; each once, with an attempt more."""
    debts = entered(Debts(), start("a"), start("b"), end("a"))
    for event in (end("a"), start("b"), start("a"), start("a")):
        debts.unclaim(owed(event))
    assert taken(debts) == [("start a", 2), ("start b", 2), ("end a", 2)]
    assert len(debts) == 3


def test_entry_that_is_settled_is_not_handed_out() -> None:
    """Nor is one of which nothing is known, and neither can be settled twice, or with another attempt."""
    debts = entered(Debts(), start())
    debts.unclaim(owed(start()))
    assert not debts.strike(Event("start r", "start", "r", attempt=2))
    assert debts.strike(start())
    assert not debts.strike(start())
    debts.unclaim(owed(end()))
    assert taken(debts) == []
    assert (len(debts), debts.any_of("r")) == (0, False)


def test_end_is_given_to_nobody_before_its_start() -> None:
    """Where somebody elsewhere has that, it waits; where somebody here has, they get the end, too."""
    given: set[str] = set()
    debts = entered(Debts(given), start(), end())
    assert not debts.may_follow("r")
    debts.unclaim(owed(end()))
    assert taken(debts) == []
    debts.unclaim(owed(start()))
    assert taken(debts) == [("start r", 2)]
    assert debts.strike(Event("start r", "start", "r", attempt=2))
    assert taken(debts) == [("end r", 2)]
    given.add("start s")
    entered(debts, start("s"), end("s"))
    assert debts.may_follow("s")
    debts.unclaim(owed(end("s")))
    assert taken(debts) == [("end s", 2)]


def test_end_that_waits_for_its_start_is_the_first_attempt_then() -> None:
    """It cannot be settled before; if who was told of it did not hear it, it is the second."""
    for heard, attempt in ((True, 1), (False, 2)):
        debts = entered(Debts(set()), start(), end())
        debts.wait(owed(end()))
        assert not debts.strike(end())
        if not heard:
            debts.unclaim(owed(end()))
        assert taken(debts) == []
        debts.strike(start())
        assert taken(debts) == [("end r", attempt)]


def test_end_that_waited_waits_again_when_it_is_read_from_a_log() -> None:
    """Until its start is settled; where that was, it does not."""
    waiting = Event("end r", "end", "r", attempt=0, reason=Reason.LOGOUT)
    debts = entered(Debts({"start r"}), start(), waiting)
    debts.unclaim(owed(waiting))
    assert taken(debts) == []
    debts.strike(start())
    assert taken(debts) == [("end r", 1)]
    debts = entered(Debts(set()), waiting)
    debts.unclaim(owed(waiting))
    assert taken(debts) == [("end r", 1)]
