"""Measures a row: its servers are started, asked for the right answer, and measured in turns, round by round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.engine.answers import WrongAnswer
from benchmarks.engine.effort import Effort
from benchmarks.engine.environment import Environment
from benchmarks.engine.load import Load
from benchmarks.engine.peer import Peer
from benchmarks.engine.results import Results
from benchmarks.engine.row import Row
from benchmarks.engine.rows import FILES
from benchmarks.engine.running import Running, running

WARM_UP = 1.0
"""Seconds of each server's work before the first round: just-in-time compilers, caches."""


class Runner:
    """Measures rows, with the same effort for each; `say` is told what is being done."""

    def __init__(self, environment: Environment, effort: Effort, say: Callable[[str], None]) -> None:
        self._environment = environment
        self._effort = effort
        self._say = say

    def measure(self, row: Row) -> Results:
        """Measure a row. Raises `RuntimeError` or `WrongAnswer` where a server or a load fails."""
        results = Results(row, left_out={peer: missing for peer in row.peers if (missing := peer.missing())})
        peers = [peer for peer in row.peers if peer not in results.left_out]
        with _static_files() as files:
            if row.load.needs_fresh:
                self._one_by_one(row.load, peers, files, results)
            else:
                self._in_turns(row.load, peers, files, results)
        return results

    def _in_turns(self, load: Load, peers: list[Peer], files: Path, results: Results) -> None:
        with ExitStack() as stack:
            servers = [stack.enter_context(running(peer, self._environment, files)) for peer in peers]
            for server in servers:
                _check(load, server)
                if self._effort.rounds > 1:
                    load.measure(server, self._environment, Effort(1, WARM_UP, self._effort.part))
            for number in range(self._effort.rounds):
                first = number % len(servers)  # nobody always comes after the same
                for server in servers[first:] + servers[:first]:
                    self._measure(load, server, results)

    def _one_by_one(self, load: Load, peers: list[Peer], files: Path, results: Results) -> None:
        for _ in range(self._effort.rounds):
            for peer in peers:
                with running(peer, self._environment, files) as server:
                    _check(load, server)
                    self._measure(load, server, results)

    def _measure(self, load: Load, server: Running, results: Results) -> None:
        outcome = load.measure(server, self._environment, self._effort)
        results.add(server.peer, outcome)
        self._say(f"{results.row.name}: {server.peer.name}: {outcome.figure:,.2f} {load.unit}")


def _check(load: Load, server: Running) -> None:
    """Raise `WrongAnswer` unless the server does what it is measured at."""
    if not server.peer.pretends:
        try:
            load.check(server)
        except WrongAnswer as error:
            raise WrongAnswer(f"{server.peer.name}: {error}") from None


@contextmanager
def _static_files() -> Iterator[Path]:
    """Make the folder that is served, with random bytes, which nobody can compress."""
    with TemporaryDirectory(prefix="wshttp-bench-") as folder:
        files = Path(folder, "files")
        files.mkdir()
        for name, size in FILES.items():
            (files / name).write_bytes(os.urandom(size))
        yield Path(folder)
