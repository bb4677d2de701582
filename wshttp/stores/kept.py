"""How much is kept for clients to come; and that, in the memory of one process."""

from __future__ import annotations

from typing import Final, NamedTuple

from wshttp.sessions.clock import Clock
from wshttp.sessions.kept import Kept
from wshttp.stores.memory_shared import MemoryShared


class Bounds(NamedTuple):
    """Keys and bytes that a part may have; above it the longest unused go."""

    max_keys: int
    max_bytes: int


TICKETS: Final = Bounds(60_000, 4 * 1024 * 1024)
"""Up to three keys of some hundred bytes for each; as many as `wshttp.auth.tickets` makes have room, so that none goes."""

QUEUES: Final = Bounds(20_000, 64 * 1024 * 1024)
"""Two keys per session for which something waits, up to a mebibyte of it."""

HISTORIES: Final = Bounds(20_000, 128 * 1024 * 1024)
"""Two keys per topic, with up to a mebibyte of messages."""


def in_memory(clock: Clock) -> Kept:
    """Make what one process needs."""
    return Kept(*(MemoryShared(clock, **bounds._asdict()) for bounds in (TICKETS, QUEUES, HISTORIES)))
