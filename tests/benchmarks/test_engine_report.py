"""What follows from measurements: ratios, verdicts, one table."""

from __future__ import annotations

import pytest

from benchmarks.engine.effort import Effort
from benchmarks.engine.load import Expense, IdleSockets, Messages, Outcome
from benchmarks.engine.peer import Peer
from benchmarks.engine.report import legend, report
from benchmarks.engine.results import Results
from benchmarks.engine.row import Rival, Row

OURS = Peer("ours", "ours.py", ours=True)
THEIRS = Peer("theirs", "theirs.py")
BESIDE = Peer("beside", "beside.js")


def results(row: Row, **figures: list[float]) -> Results:
    """Return what was measured, by the names of the peers."""
    found = Results(row)
    for peer in row.peers:
        for figure in figures.get(peer.name, []):
            found.add(peer, Outcome(figure))
    return found


def rates(factor: float | None = 2.0) -> Row:
    return Row("rates", "some work", Messages(64), OURS, (Rival(THEIRS, factor), Rival(BESIDE)))


def sizes(limit: float | None = 10.0) -> Row:
    return Row("sizes", "some memory", IdleSockets(10), OURS, (Rival(THEIRS, 1.0),), limit=limit)


def test_ratio_of_a_machine_that_slows_down_is_that_of_each_round() -> None:
    """A round in which everything took twice as long changes nothing; the medians by themselves would say 4."""
    found = results(rates(), ours=[400.0, 200.0, 40.0], theirs=[200.0, 50.0, 20.0])
    assert found.ratio(THEIRS) == 2.0


def test_ratio_to_a_peer_without_figures_is_none() -> None:
    """Neither what was left out nor what did nothing in its time is divided by."""
    assert results(rates(), ours=[400.0]).ratio(THEIRS) is None
    assert results(rates(), ours=[400.0], theirs=[0.0]).ratio(THEIRS) is None


@pytest.mark.parametrize(("ours", "reached"), [(199.0, False), (200.0, True), (201.0, True)])
def test_factor_is_reached_from_itself_on_where_more_is_better(ours: float, reached: bool) -> None:
    """Only rivals with a factor have a verdict."""
    assert results(rates(), ours=[ours], theirs=[100.0], beside=[1e9]).verdicts() == [reached]


@pytest.mark.parametrize(("ours", "reached"), [(9.0, True), (10.0, True), (10.1, False)])
def test_factor_is_reached_up_to_itself_where_less_is_better(ours: float, reached: bool) -> None:
    """The factor, and the row's own limit."""
    assert results(sizes(), ours=[ours], theirs=[10.0]).verdicts() == [reached, reached]


def test_limit_without_figures_has_no_verdict() -> None:
    """What was not measured is neither reached nor missed."""
    assert results(sizes()).verdicts() == []


def test_cost_ratio_is_their_computing_by_ours() -> None:
    """More than one: an answer costs them more."""
    found = Results(rates())
    found.add(OURS, Outcome(10.0, Expense(answers=10, seconds=1.0, by_server=0.2, by_load=0.1)))
    found.add(THEIRS, Outcome(5.0, Expense(answers=5, seconds=1.0, by_server=0.4, by_load=0.1)))
    assert found.cost_ratio(THEIRS) == pytest.approx(4.0)
    assert found.cost_ratio(BESIDE) is None


def test_report_has_a_line_for_each_server() -> None:
    """Ours first; figures, ratios, what was to be reached, and whether it was."""
    found = Results(rates(), left_out={BESIDE: "node"})
    found.add(OURS, Outcome(3000.0, Expense(answers=3000, seconds=1.0, by_server=0.9, by_load=0.5)))
    found.add(THEIRS, Outcome(1000.0, Expense(answers=1000, seconds=1.0, by_server=1.0, by_load=0.2)))
    table = report([found], Effort(rounds=1, seconds=1.0))
    assert table.rows == [
        ["rates", "ours", "3,000", "3,000 to 3,000", "messages/s", "", "", "", "90 %, 50 %", "300.0", ""],
        ["", "theirs", "1,000", "1,000 to 1,000", "messages/s", "3.00", "≥ 2", "yes", "100 %, 20 %", "1000.0", "3.33"],
        ["", "beside", "–", "there is no node", "", "–", "", "", "", "", ""],
    ]
    assert "Reached: 1 of 1." in table.about
    assert legend([found]) == "- rates: some work"


def test_report_says_loudly_what_was_not_reached() -> None:
    """A row where less is better, beyond its limit."""
    table = report([results(sizes(), ours=[12.0], theirs=[10.0])], Effort())
    assert [row[5:8] for row in table.rows] == [["", "≤ 10", "NO"], ["1.20", "≤ 1", "NO"]]
    assert "Reached: 0 of 2." in table.about
