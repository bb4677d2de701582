"""Sends the Autobahn fuzzing client to the engines, and prints what it found as the table of the documentation.

    PYTHONPATH=tests python -m conformance.autobahn DIR [CASES ...]

DIR has `setup.sh ENVIRONMENT`, which makes an environment with the client, and `run.sh ENVIRONMENT URL REPORTS [CASES ...]`,
which runs it and leaves an `index.json` as the suite writes it. The reports are kept in `test-output/autobahn`.
The exit status is 1 if a case came out as it may not: see `AUTOBAHN` in `excused.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from conformance.engines import ENGINES, HAS_NATIVE, HAS_UVLOOP
from conformance.excused import AUTOBAHN
from processes import ROOT, environment

REPORTS = ROOT / "test-output" / "autobahn"
ENVIRONMENT = ROOT / ".venv" / "autobahn"

GOOD = {"OK", "INFORMATIONAL"}

SECTIONS = {
    "1": "framing",
    "2": "pings and pongs",
    "3": "reserved bits",
    "4": "opcodes",
    "5": "fragments",
    "6": "UTF-8",
    "7": "close handshake",
    "9": "limits and speed",
    "10": "sending in pieces",
    "12": "compression, by message",
    "13": "compression, by parameters",
}


@contextmanager
def echoing(engine: str) -> Iterator[str]:
    """Run an echo server on an engine, and give its address."""
    command = [sys.executable, "-m", "conformance.echo", engine, "uvloop" if HAS_UVLOOP else "asyncio"]
    env = environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}", PYTHONWARNINGS="default")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def judge(directory: Path, engine: str, cases: list[str]) -> dict[str, str]:
    """Return the outcome by case; a connection that ended badly is FAILED, as in the suite's own report."""
    reports = REPORTS / engine
    reports.mkdir(parents=True, exist_ok=True)
    with echoing(engine) as url:
        ran = subprocess.run([directory / "run.sh", ENVIRONMENT, url, reports, *cases], check=False)
    if ran.returncode not in (0, 1):
        raise SystemExit(f"the run of {engine} does not count: see {reports / 'log.txt'}")
    [results] = json.loads((reports / "index.json").read_text()).values()
    return {case: _outcome(result) for case, result in results.items()}


def _outcome(result: dict[str, Any]) -> str:
    bad_end = result["behaviorClose"] in ("FAILED", "UNCLEAN") and result["behavior"] != "UNIMPLEMENTED"
    return "FAILED" if bad_end else str(result["behavior"])


def table(outcomes: dict[str, dict[str, str]]) -> str:
    """Return the table: a row for each section, and what each engine got in it."""
    lines = [f"| section | cases | {' | '.join(outcomes)} |", f"| --- | --- |{' --- |' * len(outcomes)}"]
    for number, title in SECTIONS.items():
        of_section = [
            {case: found for case, found in result.items() if case.split(".")[0] == number}
            for result in outcomes.values()
        ]
        if of_section[0]:
            cells = " | ".join(_cell(found) for found in of_section)
            lines.append(f"| {number} {title} | {len(of_section[0])} | {cells} |")
    return "\n".join(lines)


def _cell(found: dict[str, str]) -> str:
    counts = Counter(found.values())
    if set(counts) == {"OK"}:
        return "all OK"
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))


def faults(engine: str, outcomes: dict[str, str]) -> Iterator[str]:
    """Say which cases came out as they may not, and which are excused without need."""
    excused = AUTOBAHN[engine]
    for case, outcome in outcomes.items():
        listed = any(fnmatchcase(case, pattern) for pattern in excused)
        if outcome not in GOOD and not listed:
            yield f"{engine}: {case} is {outcome}"
    for pattern in excused:
        met = [outcome for case, outcome in outcomes.items() if fnmatchcase(case, pattern)]
        if met and all(outcome in GOOD for outcome in met):
            yield f"{engine}: {pattern} is excused, and holds"


def main(directory: str, *cases: str) -> int:
    source = Path(directory).resolve()
    subprocess.run([source / "setup.sh", ENVIRONMENT], check=True)
    tried = [engine for engine in ENGINES if engine != "native" or HAS_NATIVE]
    outcomes = {engine: judge(source, engine, list(cases)) for engine in tried}
    found = [fault for engine, results in outcomes.items() for fault in faults(engine, results)]
    print("", table(outcomes), "", *found, sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
