"""The collector: full collections wait for a quiet moment."""

from __future__ import annotations

import asyncio
import gc
import weakref

from wshttp import collector
from wshttp.collector import Collector

PATIENCE = 10.0
"""Seconds after which what a test waits for will not come."""

NEVER = 3600.0
"""Seconds between looks, where a test looks itself."""


class Knot:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.me = self


def _old_knot() -> weakref.finalize:
    """Make garbage that only a full collection finds; what is returned is alive until then."""
    knot = Knot()
    gc.collect(0)
    gc.collect(1)
    return weakref.finalize(knot, lambda: None)


def _grow() -> list[list[int]]:
    """Have enough come for a full collection to be worth it."""
    return [[n] for n in range(1_000_000)]


async def test_full_collection_comes_by_itself_after_growth() -> None:
    """A server that is not busy looks by itself, and collects."""
    gone = asyncio.Event()
    async with Collector(lambda: False, interval=0):
        knot = Knot()
        weakref.finalize(knot, gone.set)
        del knot
        grown = _grow()
        await asyncio.wait_for(gone.wait(), PATIENCE)
        assert grown


async def test_full_collection_waits_for_the_quiet_moment() -> None:
    """Old garbage stays while the process is busy, and goes when it is not."""
    busy = True
    async with Collector(lambda: busy, interval=NEVER) as watched:
        knot, grown = _old_knot(), _grow()
        watched.look()
        assert knot.alive
        busy = False
        watched.look()
        assert not knot.alive
        assert grown


async def test_full_collection_does_not_wait_for_ever() -> None:
    """Where the process is always busy, memory matters more than a pause."""
    async with Collector(lambda: True, interval=NEVER) as watched:
        knot, grown = _old_knot(), _grow()
        for _ in range(collector.PATIENCE):
            watched.look()
        assert knot.alive
        watched.look()
        assert not knot.alive
        assert grown


async def test_full_collection_comes_only_after_growth() -> None:
    """A server at rest is never interrupted; one that has grown, once."""
    async with Collector(lambda: False, interval=NEVER) as watched:
        knot = _old_knot()
        watched.look()
        assert knot.alive
        grown = _grow()
        watched.look()
        knot = _old_knot()
        watched.look()
        assert knot.alive
        assert grown


async def test_growth_alone_brings_no_full_collection() -> None:
    """However many objects come, Python runs none of its own."""
    generations: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        generations.append(info["generation"])

    async with Collector(lambda: True, interval=NEVER):
        gc.callbacks.append(note)
        try:
            assert _grow()
        finally:
            gc.callbacks.remove(note)
    assert set(generations) == {0, 1}


async def test_all_is_as_before_afterwards() -> None:
    """Thresholds are Python's again, and nothing stays out of the collector's sight."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    async with Collector(lambda: False, interval=NEVER):
        assert gc.get_freeze_count() > frozen
        assert gc.get_threshold() != before
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
