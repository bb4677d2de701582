"""Tornado's own tests, from the package that is installed, on the engines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conformance.engines import NEEDS_NATIVE, NEEDS_UVLOOP
from conformance.excused import EXCUSED
from processes import ROOT, environment

MODULES = ("web_test", "websocket_test", "httpserver_test", "security_corpus_test")

PATIENCE = 300.0
"""Seconds after which a module of tests, which takes three, has hung."""

ON = [
    pytest.param("stock", "asyncio"),
    pytest.param("stock", "uvloop", marks=NEEDS_UVLOOP),
    pytest.param("native", "asyncio", marks=NEEDS_NATIVE),
    pytest.param("native", "uvloop", marks=[NEEDS_NATIVE, NEEDS_UVLOOP]),
]


def outcomes(engine: str, loop: str, *names: str) -> dict[str, str]:
    """Run tests by their names below `tornado.test`, and return what became of each."""
    command = [sys.executable, "-m", "conformance.suites", engine, loop, *(f"tornado.test.{name}" for name in names)]
    # Tornado gives each of its tests 5 s, which is little on a machine that does something else, too.
    env = environment(ASYNC_TEST_TIMEOUT="30", PYTHONWARNINGS="default", PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}")
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stderr
    return {name.removeprefix("tornado.test."): outcome for name, outcome in json.loads(ran.stdout)}


def failures(outcomes: dict[str, str]) -> dict[str, str]:
    return {name: outcome for name, outcome in outcomes.items() if outcome not in ("ok", "skipped")}


def faults(engine: str, loop: str, module: str) -> dict[str, str]:
    """Run a module of tests, and return what failed that isn't excused, by its name.

    Some of Tornado's tests look at the clock, and a busy machine can fail them: what failed is tried once more, alone.
    """
    failed = failures(outcomes(engine, loop, module))
    again = {name for name in failed if name not in EXCUSED[engine]}
    alone = sorted({name.partition(" ")[0] for name in again})
    still = failures(outcomes(engine, loop, *alone)) if alone else {}
    return {name: outcome for name, outcome in still.items() if name not in EXCUSED[engine]} | {
        name: f"it passes, though it is excused: {reason}"
        for name, reason in EXCUSED[engine].items()
        if name.startswith(f"{module}.") and name not in failed
    }


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(("engine", "loop"), ON)
def test_tornados_tests_hold_but_for_those_excused(engine: str, loop: str, module: str) -> None:
    """And those that are excused fail, so that no excuse outlives its reason."""
    found = faults(engine, loop, module)
    assert not found, "\n\n".join(f"{name}: {outcome}" for name, outcome in found.items())


@pytest.mark.parametrize(("engine", "excuses"), EXCUSED.items(), ids=EXCUSED)
def test_excuses_are_for_tests_that_are_run(engine: str, excuses: dict[str, str]) -> None:
    """A slip of the pen excuses nothing."""
    assert {name.partition(".")[0] for name in excuses} <= set(MODULES)
    assert all(reason.endswith(".") for reason in excuses.values())
