"""Running `python -m benchmarks`, and reading what it prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

PATIENCE = 60.0
"""Seconds after which a benchmark has hung."""

PATIENCE_WITH_PEERS = 300.0
"""The same for one that starts eight programs, one after the other, on one core."""


def run(*arguments: str, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Run it with all processes that it starts in one group: if it hangs, all of them are ended."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            out, err = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def tables(output: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table, without headings, by its title."""
    found: dict[str, list[list[str]]] = {}
    for part in output.split("\n## ")[1:]:
        title, _, rest = part.partition("\n")
        rows = [line for line in rest.splitlines() if line.startswith("|")]
        found[title] = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
    return found
