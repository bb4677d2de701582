"""Both engines make the same of the same bytes, however these arrive, but for what `differences.py` lists."""

from __future__ import annotations

import pytest
from conformance.differences import DIFFERENCES, Difference, agree, explained
from conformance.engines import EACH_ENGINE, ENGINES, NEEDS_NATIVE
from conformance.inputs import INPUTS
from conformance.judges import Judges, judges
from conformance.mutants import CUTS, MUTANTS, pieces
from hypothesis import HealthCheck, given, settings

__all__ = ["judges"]


def _bytewise(data: bytes) -> list[bytes]:
    """Cut bytes one by one at the ends, where the structure is, and a long middle once."""
    return pieces(data, [*range(400), *range(len(data) - 100, len(data))])


@pytest.mark.parametrize("engine", EACH_ENGINE)
def test_pieces_make_no_difference(judges: Judges, engine: str) -> None:
    """Every input comes to the same whole and byte by byte, and breaks no rule of the delegates."""
    found = {}
    for name, data in INPUTS.items():
        whole, bytewise = (judges.verdict(engine, cut) for cut in ([data], _bytewise(data)))
        if whole.faults or bytewise.faults or whole != bytewise:
            found[name] = f"{whole}, in pieces {bytewise}"
    assert not found, _lines(found)


@NEEDS_NATIVE
def test_engines_agree_on_every_input(judges: Judges) -> None:
    """On what is accepted, what is refused, and what goes on; where they do not, a line says why."""
    found = {}
    for name, data in INPUTS.items():
        stock, native = judges.verdict("stock", [data]), judges.verdict("native", [data])
        listed = any(name in difference.inputs for difference in DIFFERENCES)
        if not listed and not explained(data, stock, native):
            found[name] = f"stock {stock}, native {native}"
    assert not found, _lines(found)


@NEEDS_NATIVE
@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.what)
def test_engines_differ_as_listed(judges: Judges, difference: Difference) -> None:
    """Each example shows its difference, so that none is listed that has gone."""
    assert difference.inputs
    for name in difference.inputs:
        stock, native = (judges.verdict(engine, [INPUTS[name]]) for engine in ENGINES)
        shown = f"{name}: stock {stock}, native {native}"
        assert not agree(stock, native), shown
        assert difference.sign(INPUTS[name], stock), shown
        assert difference.explains(stock, native), shown


@NEEDS_NATIVE
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=MUTANTS, cuts=CUTS)
def test_engines_agree_on_any_bytes_in_any_pieces(judges: Judges, data: bytes, cuts: list[int]) -> None:
    """Bytes that are nearly requests: nothing raises, and both take and refuse the same."""
    stock, native = judges.verdict("stock", [data]), judges.verdict("native", pieces(data, cuts))
    assert not native.faults
    assert explained(data, stock, native), f"stock {stock}, native {native}"


def _lines(found: dict[str, str]) -> str:
    return "\n".join(f"{name}: {what}" for name, what in found.items())
