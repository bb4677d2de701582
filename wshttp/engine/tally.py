"""What addresses did on one node between two of its reports: the report itself, and its form in bytes.

Bounded: at most `MAX_TOLD` addresses of each kind; those that come first are told, as a node that meets more of them
within a quarter of a second has other troubles.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Final

MAX_TOLD: Final = 1000
"""Addresses of each kind in one report: 4,000 a second, or some 25 KB of requests a report."""


@dataclass(slots=True)
class Tally:
    """By address bucket: requests and connections that were let through, refusals that count as strikes, and bans.

    A ban is the seconds that are left of it, and how many there have been.
    """

    requests: dict[str, int] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)
    bans: dict[str, tuple[float, int]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.requests or self.connections or self.strikes or self.bans)

    def to_bytes(self) -> bytes:
        parts = (self.requests, self.connections, self.strikes, self.bans)
        return json.dumps(parts, separators=(",", ":")).encode()

    @classmethod
    def from_bytes(cls, report: bytes) -> Tally:
        requests, connections, strikes, bans = json.loads(report)
        return cls(requests, connections, strikes, {key: (left, times) for key, (left, times) in bans.items()})


def count(counts: dict[str, int], key: str) -> None:
    """Count one for a key, unless it would be one too many."""
    if key in counts or len(counts) < MAX_TOLD:
        counts[key] = counts.get(key, 0) + 1
