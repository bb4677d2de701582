"""The table of the guarantees: each run under faults adds its row, and the end of the run prints them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest

Guarantee: TypeAlias = Callable[[str, str, str, object], None]

_rows: list[str] = []


@pytest.fixture
def guarantee() -> Guarantee:
    """Add a row: what is promised, which fault, how often it was tried, what was seen."""

    def add(promise: str, fault: str, tried: str, seen: object) -> None:
        _rows.append(f"| {promise} | {fault} | {tried} | {seen} |")

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _rows:
        terminalreporter.section("guarantees")
        terminalreporter.write_line("| promise | fault | tried | seen |\n| --- | --- | --- | --- |")
        terminalreporter.write_line("\n".join(_rows))
