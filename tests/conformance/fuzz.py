"""Feeds both engines the same bytes for a while: atheris (libFuzzer) chooses them, or hypothesis where there is none.

    PYTHONPATH=tests python -m conformance.fuzz SECONDS

Atheris watches which lines of the native engine are reached, and goes where there are new ones; what it learned is kept
in `test-output/fuzz`, from where the next run goes on. A quarter of the time is for frames, which hypothesis chooses, as
bytes that are not masked and counted are none. A finding ends the run with status 1 or more, and is printed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from processes import ROOT

try:
    import atheris
except ImportError:
    atheris = None

if TYPE_CHECKING:
    from conformance.frames import Frame
    from conformance.verdicts import Verdict

KEPT: Final = ROOT / "test-output" / "fuzz"
CUTS: Final = 4
"""The first bytes that the fuzzer chooses say where the others are cut."""
MAX_LENGTH: Final = 2048
ROUND: Final = 1000

Judge = Callable[[bytes, list[bytes]], None]
JudgeFrames = Callable[["list[Frame]", list[int], bool], None]


@contextmanager
def judging() -> Iterator[Judge]:
    """Give a function that raises if the engines differ on some bytes, whole for stock Tornado and in pieces for ours."""
    from conformance.differences import explained
    from conformance.verdicts import standing

    logging.getLogger("tornado").setLevel(logging.ERROR)
    with (
        asyncio.Runner() as runner,
        standing("stock", runner.run, runner.get_loop()) as stock,
        standing("native", runner.run, runner.get_loop()) as native,
    ):

        def judge(data: bytes, cut: list[bytes]) -> None:
            of_stock: Verdict = runner.run(stock.verdict([data]))
            of_native: Verdict = runner.run(native.verdict(cut))
            if of_native.faults or not explained(data, of_stock, of_native):
                raise AssertionError(f"{cut!r}\nstock:  {of_stock}\nnative: {of_native}")

        yield judge


@contextmanager
def judging_frames() -> Iterator[JudgeFrames]:
    """Give the same for the frames of a WebSocket, that may compress or not."""
    from conformance.judges import sitting
    from conformance.mutants import pieces
    from conformance.verdicts import agree

    with sitting("asyncio") as judges:

        def judge(frames: list[Frame], cuts: list[int], compresses: bool) -> None:
            data = b"".join(frame.encode() for frame in frames)
            stock = judges.heard("stock", [data], compresses)
            native = judges.heard("native", pieces(data, cuts), compresses)
            if native.faults or not agree(frames, stock, native):
                raise AssertionError(f"{frames!r}, cut at {cuts}\nstock:  {stock}\nnative: {native}")

        yield judge


def frames_by_hypothesis(seconds: int) -> None:
    """Let hypothesis choose frames, a round after the other."""
    from conformance.frames import COMPRESSED_STREAMS, STREAMS
    from conformance.mutants import CUTS
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    streams = st.tuples(STREAMS, st.just(False)) | st.tuples(COMPRESSED_STREAMS, st.just(True))
    with judging_frames() as judge:

        @settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(stream=streams, cuts=CUTS)
        def one_round(stream: tuple[list[Frame], bool], cuts: list[int]) -> None:
            frames, compresses = stream
            judge(frames, cuts, compresses)

        rounds, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            one_round()
            rounds += 1
        print(f"{rounds * ROUND} streams of frames, and the engines agree", flush=True)


def by_atheris(seconds: int) -> None:
    """Let libFuzzer choose; it ends the process itself."""
    with atheris.instrument_imports(include=["wshttp.engine"]):
        from wshttp.engine import native

        assert native
    from conformance.inputs import INPUTS
    from conformance.mutants import TOKENS, pieces

    seeds = KEPT / "corpus"
    seeds.mkdir(parents=True, exist_ok=True)
    for data in INPUTS.values():
        if len(data) <= MAX_LENGTH:
            (seeds / sha256(data).hexdigest()).write_bytes(bytes(CUTS) + data)
    words = KEPT / "words"
    words.write_text("".join('"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in token)) for token in TOKENS))
    with judging() as judge:

        def try_one(chosen: bytes) -> None:
            data = chosen[CUTS:]
            judge(data, pieces(data, [8 * cut + index for index, cut in enumerate(chosen[:CUTS])]))

        options = [f"-max_total_time={seconds}", f"-max_len={MAX_LENGTH}", f"-dict={words}"]
        atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={KEPT}/", str(seeds)], try_one)
        atheris.Fuzz()


def by_hypothesis(seconds: int) -> None:
    """Let hypothesis choose, a round after the other."""
    from conformance.mutants import CUTS, MUTANTS, pieces
    from hypothesis import HealthCheck, given, settings

    with judging() as judge:

        @settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(data=MUTANTS, cuts=CUTS)
        def one_round(data: bytes, cuts: list[int]) -> None:
            judge(data, pieces(data, cuts))

        rounds, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            one_round()
            rounds += 1
        print(f"{rounds * ROUND} examples of hypothesis, and the engines agree")


if __name__ == "__main__":
    print(f"fuzzing for {sys.argv[1]} s with {'hypothesis' if atheris is None else 'atheris'}", flush=True)
    of_frames = int(sys.argv[1]) // 4
    frames_by_hypothesis(of_frames)
    (by_hypothesis if atheris is None else by_atheris)(int(sys.argv[1]) - of_frames)
