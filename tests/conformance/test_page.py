"""The page of conformance says what the lists say."""

from __future__ import annotations

import pytest
from conformance.differences import DIFFERENCES
from conformance.excused import EXCUSED
from processes import ROOT

PAGE = (ROOT / "docs" / "reference" / "conformance.md").read_text()


def test_page_has_each_difference() -> None:
    """With its reason, and no other."""
    rows = {f"| {listed.what} | {listed.kind} | {listed.reason} |" for listed in DIFFERENCES}
    section = PAGE.partition("## Where the engines differ")[2].partition("\n## ")[0]
    assert set(section.partition("| --- | --- | --- |\n")[2].partition("\n\n")[0].splitlines()) == rows


@pytest.mark.parametrize("engine", EXCUSED)
def test_page_has_each_excuse(engine: str) -> None:
    """With its reason."""
    missing = [name for name, reason in EXCUSED[engine].items() if f"| `{name}` | {reason} |" not in PAGE]
    assert not missing
