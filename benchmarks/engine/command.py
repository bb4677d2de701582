"""`python -m benchmarks engine [--rounds N] [--seconds S] [--quick] [row ...]`"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from benchmarks import machine
from benchmarks.engine import cores
from benchmarks.engine.answers import WrongAnswer
from benchmarks.engine.effort import QUICK, Effort
from benchmarks.engine.environment import Environment, compiled, find
from benchmarks.engine.report import legend, report
from benchmarks.engine.results import Results
from benchmarks.engine.row import Row
from benchmarks.engine.rows import ROWS
from benchmarks.engine.runner import Runner


def main(arguments: Sequence[str]) -> None:
    """Measure, and print one table. Exits with 1 where a row failed; the others are in the table all the same."""
    effort, rows = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the servers end with us
    environment = Environment.chosen()
    if not environment.is_made:
        _say(f"installing the peers into {environment.folder}")
        environment.make()
    print(f"{machine.describe()}\n{environment.versions()}\n{cores.describe()}", flush=True)
    print(f"wshttp is {'compiled' if compiled() else 'not compiled'}", flush=True)
    runner = Runner(environment, effort, _say)
    found: list[Results] = []
    failed: list[str] = []
    for row in rows:
        if row.load.needs is not None and find(row.load.needs) is None:
            print(f"{row.name} is left out: there is no {row.load.needs}.", flush=True)
            continue
        try:
            found.append(runner.measure(row))
        except (RuntimeError, OSError, WrongAnswer) as error:
            _say(f"{row.name}: {error}")
            failed.append(row.name)
    if found:
        print(f"\n{report(found, effort)}\n\n{legend(found)}", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _parse(arguments: Sequence[str]) -> tuple[Effort, list[Row]]:
    parser = argparse.ArgumentParser("python -m benchmarks engine", description="Measure the engine beside its peers.")
    parser.add_argument("rows", nargs="*", metavar="row", help=f"which of {', '.join(_BY_NAME)}; default: all")
    parser.add_argument("--rounds", type=int, default=Effort.rounds, help=f"default: {Effort.rounds}")
    parser.add_argument("--seconds", type=float, default=Effort.seconds, help=f"of each; default: {Effort.seconds:g}")
    parser.add_argument("--quick", action="store_true", help="so small that the figures mean nothing")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.rows if name not in _BY_NAME]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(_BY_NAME)}")
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("there is at least one round, of more than no time")
    effort = QUICK if options.quick else Effort(options.rounds, options.seconds)
    return effort, [_BY_NAME[name] for name in options.rows or _BY_NAME]


def _say(what: str) -> None:
    """Tell what is being done, apart from the figures."""
    print(what, file=sys.stderr, flush=True)


_BY_NAME = {row.name: row for row in ROWS}
