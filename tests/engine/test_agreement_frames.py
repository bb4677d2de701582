"""Both engines hear the same messages in the same frames, however these arrive; the native one refuses some more frames."""

from __future__ import annotations

import itertools

from conformance.engines import NEEDS_NATIVE
from conformance.frames import CLOSE, COMPRESSED_STREAMS, STREAMS, TEXT, Frame
from conformance.judges import Judges, judges
from conformance.mutants import CUTS, pieces
from conformance.verdicts import agree
from hypothesis import HealthCheck, given, settings

__all__ = ["judges"]


@NEEDS_NATIVE
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(frames=STREAMS, cuts=CUTS)
def test_engines_hear_the_same(judges: Judges, frames: list[Frame], cuts: list[int]) -> None:
    """Messages in fragments, control frames between them, and now and then a frame that may not be."""
    data = b"".join(frame.encode() for frame in frames)
    stock, native = judges.heard("stock", [data]), judges.heard("native", pieces(data, cuts))
    assert not native.faults
    assert agree(frames, stock, native), f"stock {stock}, native {native}"


@NEEDS_NATIVE
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(frames=COMPRESSED_STREAMS, cuts=CUTS)
def test_engines_hear_the_same_where_messages_are_compressed(
    judges: Judges, frames: list[Frame], cuts: list[int]
) -> None:
    """Some are and some are not, whole or in fragments, and each with what was in those before."""
    data = b"".join(frame.encode() for frame in frames)
    stock = judges.heard("stock", [data], compresses=True)
    native = judges.heard("native", pieces(data, cuts), compresses=True)
    assert not native.faults
    assert agree(frames, stock, native), f"stock {stock}, native {native}"


@NEEDS_NATIVE
def test_fault_is_told_with_a_code(judges: Judges) -> None:
    """The native engine says why it closes, where stock Tornado drops the connection."""
    faults = {
        1002: [
            Frame(TEXT, b"x", rsv=1),
            Frame(3),
            Frame(0, b"x"),
            Frame(TEXT, b"x", masked=False),
            Frame(CLOSE, b"\x03\xe7"),
        ],
        1007: [Frame(TEXT, b"\xff")],
    }
    for code, frame in itertools.chain.from_iterable(
        itertools.product([code], frames) for code, frames in faults.items()
    ):
        heard = judges.heard("native", [frame.encode()])
        assert (heard.codes, heard.ended) == ((code,), True), frame
