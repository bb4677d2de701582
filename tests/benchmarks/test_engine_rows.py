"""The engine's benchmark measures: every program starts, answers rightly, and gets its ratio, whatever that is."""

from __future__ import annotations

import re

import pytest
from benchmarking import PATIENCE_WITH_PEERS, run, tables

from benchmarks.engine.environment import Environment, find
from benchmarks.engine.row import Row
from benchmarks.engine.rows import ROWS

NEEDED = ("node", "wrk", "nginx")

pytestmark = [
    pytest.mark.skipif(not Environment.chosen().is_made, reason="the peers are not installed"),
    pytest.mark.skipif(not all(map(find, NEEDED)), reason=f"one of {', '.join(NEEDED)} is not installed"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row_is_measured_beside_all_its_rivals(row: Row) -> None:
    """A round of a fraction of a second: figures for all, a ratio for each rival, a verdict where there is an aim."""
    done = run("engine", "--quick", row.name, patience=PATIENCE_WITH_PEERS)
    assert done.returncode == 0, done.stderr
    (lines,) = tables(done.stdout).values()
    assert [line[1] for line in lines] == [peer.name for peer in row.peers]
    assert all(re.fullmatch(r"[\d,.-]+", line[2]) for line in lines)
    assert all(re.fullmatch(r"-?[\d.]+", line[5]) for line in lines[1:])
    aims = [row.limit, *(rival.factor for rival in row.rivals)]
    assert [line[7] in ("yes", "NO") for line in lines] == [aim is not None for aim in aims]


def test_row_that_does_not_exist_is_named() -> None:
    """A slip of the pen says what there is."""
    done = run("engine", "echos")
    assert done.returncode == 2
    assert "there is no echos" in done.stderr
    assert "echo-64k" in done.stderr
