"""Both engines side by side on one loop of either kind, for tests that are no coroutines, as those of hypothesis.

from conformance.judges import Judges, judges
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest
from conformance.engines import LOOPS, NEEDS_UVLOOP
from conformance.verdicts import Heard, Stand, Verdict, standing


class Judges:
    """An engine of each kind; it stands from the first time it is asked."""

    def __init__(self, runner: asyncio.Runner, stack: ExitStack) -> None:
        self._runner = runner
        self._stack = stack
        self._stands: dict[str, Stand] = {}

    def verdict(self, engine: str, pieces: Sequence[bytes]) -> Verdict:
        return self._runner.run(self._stand(engine).verdict(pieces))

    def heard(self, engine: str, pieces: Sequence[bytes], compresses: bool = False) -> Heard:
        return self._runner.run(self._stand(engine).heard(pieces, compresses))

    def _stand(self, engine: str) -> Stand:
        if engine not in self._stands:
            stand = standing(engine, self._runner.run, self._runner.get_loop())
            self._stands[engine] = self._stack.enter_context(stand)
        return self._stands[engine]


def _new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "asyncio":
        return asyncio.new_event_loop()
    import uvloop

    return uvloop.new_event_loop()


@contextmanager
def sitting(loop: str) -> Iterator[Judges]:
    """Bring the engines together on a loop of this kind."""
    with asyncio.Runner(loop_factory=lambda: _new_loop(loop)) as runner, ExitStack() as stack:
        yield Judges(runner, stack)


@pytest.fixture(scope="module", params=[pytest.param(LOOPS[0]), pytest.param(LOOPS[1], marks=NEEDS_UVLOOP)])
def judges(request: pytest.FixtureRequest) -> Iterator[Judges]:
    with sitting(request.param) as both:
        yield both
