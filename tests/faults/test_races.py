"""Ends that race writes, on three nodes without HTTP, as often as they can."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.conftest import Guarantee
from faults.sizes import size
from processes import PATIENCE, environment
from redis_servers import RedisServer

RACES = size(100_000, small=1000)
AT_ONCE = 100
NAMES = ("a", "b", "c")


class Racers:
    """Processes that all get the same job at the same moment."""

    def __init__(self, url: str, ends: Path) -> None:
        program = Path(__file__).with_name("racing.py")
        self._processes = [
            subprocess.Popen(
                [sys.executable, program, url, ends, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(),
            )
            for name in NAMES
        ]

    def ask_one(self, number: int, **job: Any) -> Any:
        self._send(self._processes[number], job)
        return self._result(self._processes[number])

    def ask_all(self, **job: Any) -> list[Any]:
        for process in self._processes:
            self._send(process, job)
        return [self._result(process) for process in self._processes]

    def _send(self, process: subprocess.Popen[str], job: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()

    def _result(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the node has failed; see what it wrote"
        return json.loads(line)

    def stop(self) -> None:
        """Let them end, and see that they do it well."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait(PATIENCE) for process in self._processes] == [0] * len(NAMES)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait(PATIENCE)
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()


@contextmanager
def racing(url: str, ends: Path) -> Iterator[Racers]:
    racers = Racers(url, ends)
    try:
        yield racers
        racers.stop()
    finally:
        racers.close()


@pytest.mark.feature("T3", "E1")
def test_nothing_is_written_to_a_session_that_has_ended(
    tmp_path: Path, make_redis: Callable[..., RedisServer], guarantee: Guarantee
) -> None:
    """What was answered to have been written is in the last data; what came later was refused; nobody is there again."""
    ends, told = tmp_path / "ends", {}
    with racing(make_redis().url(), ends) as racers:
        for number in range(RACES // AT_ONCE):
            refs = racers.ask_one(number % len(NAMES), create=AT_ONCE)
            results = racers.ask_all(race=refs, seed=str(number))
            told |= {ref: [result[ref] for result in results] for ref in refs}
            assert racers.ask_all(look=refs) == [[], [], []]
    lines = [json.loads(line) for line in ends.read_text().splitlines()]
    assert sorted(line["ref"] for line in lines) == sorted(told)
    for line in lines:
        nodes, data = told[line["ref"]], line["data"]
        assert data.get("n", 0) == sum(node["added"] for node in nodes)
        assert [data.get(name, 0) for name in NAMES] == [node["set"] for node in nodes]
        assert max(node["written"] for node in nodes) <= min(node["over"] for node in nodes)
    writes = sum(node["added"] + bool(node["set"]) for nodes in told.values() for node in nodes)
    guarantee(
        "2, 3", "3 nodes write to and end one session at once",
        f"{len(told):,} sessions", f"{writes:,} writes before the ends, all of them in the last data",
    )  # fmt: skip
