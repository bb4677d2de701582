"""Runs test modules of Tornado's own on one of our engines, and prints what became of each test as JSON.

    PYTHONPATH=tests python -m conformance.suites ENGINE LOOP MODULE|TEST ...

A process of its own, as the engine, the loop and the log levels are taken for all of it.
What is printed is a list of `[test, outcome]`: `ok`, `skipped`, or the traceback of what failed.
A test made of parts (`subTest`) has a line for each part that failed, and then none of its own.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import unittest
import warnings
from typing import Any

from conformance.engines import take, use_loop


class Outcomes(unittest.TestResult):
    """What became of each test, in the order in which they ended."""

    def __init__(self) -> None:
        super().__init__(io.StringIO(), False, 0)
        self.outcomes: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.outcomes[test.id()] = "ok"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.outcomes[test.id()] = "skipped"

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.outcomes[test.id()] = "ok"

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        self.outcomes[test.id()] = "was expected to fail"

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.outcomes[test.id()] = self._exc_info_to_string(err, test)

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        self.addFailure(test, err)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            self.addFailure(subtest, err)


def main(engine: str, loop: str, *names: str) -> None:
    use_loop(loop)
    take(engine)
    # Tornado's own runner does this (tornado/test/runtests.py): a request that is refused on purpose is logged.
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    # Its tests look at the warnings they expect; that loops are made current is how they work.
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", DeprecationWarning)
    outcomes = Outcomes()
    unittest.defaultTestLoader.loadTestsFromNames(names).run(outcomes)
    json.dump(list(outcomes.outcomes.items()), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
