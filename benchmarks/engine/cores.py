"""Which core does what: servers have one to themselves, and the load another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def _cores() -> list[int]:
    """Return the cores that we may use; none where the system does not let a process choose (macOS)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


_OURS = _cores()

SERVERS = set(_OURS[-1:])
LOAD = set(_OURS[:1])


@contextmanager
def only(cores: set[int]) -> Iterator[None]:
    """Start processes on these cores: they inherit what this thread may use."""
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, _OURS)


def describe() -> str:
    """Say in a sentence what runs where."""
    if not _OURS:
        return "This system pins no process to a core: servers and load share all of them."
    if SERVERS == LOAD:
        return "There is one core only: servers and load share it, and the ratios mean little."
    return f"Servers run on core {min(SERVERS)}, the load on core {min(LOAD)}."
