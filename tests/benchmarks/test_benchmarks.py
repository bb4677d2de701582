"""The benchmarks run, and print what they promise; what the figures are is nobody's concern here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redis_servers import PROGRAMS

ROOT = Path(__file__).parents[2]

PATIENCE = 60.0
"""Seconds after which a benchmark has hung."""

REDIS = pytest.mark.skipif(not PROGRAMS, reason="neither redis-server nor valkey-server is installed")


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with all processes that it starts in one group: if it hangs, all of them are ended."""
    command = [sys.executable, "-m", "benchmarks", *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _tables(output: str) -> dict[str, list[list[str]]]:
    """Return the rows of each table, without headings, by its title."""
    tables: dict[str, list[list[str]]] = {}
    for part in output.split("\n## ")[1:]:
        title, _, rest = part.partition("\n")
        rows = [line for line in rest.splitlines() if line.startswith("|")]
        tables[title] = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]
    return tables


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("memory_store", {"Memory store: time": 10, "Memory store: memory": 2}),
        ("mass_end", {"End of 1,000 sessions that are due at once": 4}),
        ("http_requests", {"HTTP requests": 2}),
        ("websocket_echo", {"WebSocket echo": 2}),
        pytest.param("round_trips", {"Round trips": 9}, marks=REDIS),
        pytest.param("stores", {"A request that reads": 5, "A request that changes": 5}, marks=REDIS),
        pytest.param("logout", {"Log-out to closed sockets, 6 per session": 4}, marks=REDIS),
        pytest.param("lateness", {"Lateness of 300 ends": 5}, marks=REDIS),
        pytest.param(
            "capacity",
            {"Redis: memory": 9, "Redis: steps": 12, "Redis: disk": 3, "Redis: the node's side": 5},
            marks=REDIS,
        ),
    ],
)
def test_benchmark_prints_its_tables(name: str, expected: dict[str, int]) -> None:
    """Each row is there, and every figure is a number."""
    run = _run("--quick", name)
    assert run.returncode == 0, run.stderr
    assert re.match(r"\d+ cores, .*; Python 3\.\d+\.\d+, Tornado .*; \d{4}-\d\d-\d\d; load average ", run.stdout)
    tables = _tables(run.stdout)
    assert {title: len(rows) for title, rows in tables.items()} == expected
    for rows in tables.values():
        for row in rows:
            assert all(re.search(r"\d", cell) for cell in row[2:4])


def test_unknown_benchmark_is_named() -> None:
    """A slip of the pen says what there is."""
    run = _run("memory_shop")
    assert run.returncode == 2
    assert "there is no memory_shop" in run.stderr
    assert "memory_store" in run.stderr
