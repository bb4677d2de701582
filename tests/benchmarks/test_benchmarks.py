"""The benchmarks run, and print what they promise; what the figures are is nobody's concern here."""

from __future__ import annotations

import re

import pytest
from benchmarking import run, tables
from redis_servers import PROGRAMS

REDIS = pytest.mark.skipif(not PROGRAMS, reason="neither redis-server nor valkey-server is installed")


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
    done = run("--quick", name)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d+ cores, .*; Python 3\.\d+\.\d+, Tornado .*; \d{4}-\d\d-\d\d; load average ", done.stdout)
    found = tables(done.stdout)
    assert {title: len(rows) for title, rows in found.items()} == expected
    for rows in found.values():
        for row in rows:
            assert all(re.search(r"\d", cell) for cell in row[2:4])


def test_unknown_benchmark_is_named() -> None:
    """A slip of the pen says what there is."""
    done = run("memory_shop")
    assert done.returncode == 2
    assert "there is no memory_shop" in done.stderr
    assert "memory_store" in done.stderr
