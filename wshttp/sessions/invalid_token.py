"""What is raised for a token that names no live session.

Apart from `identity`, which is compiled: no compiled class has a base with a state of its own that is not (docs/design.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wshttp.errors import SessionEnded
from wshttp.sessions.record import Tombstone

if TYPE_CHECKING:
    from wshttp.sessions.identity import Recognised


class InvalidToken(SessionEnded):
    """A header or a URL names no live session; `found` is what was learnt until then."""

    def __init__(self, found: Recognised, tombstone: Tombstone | None) -> None:
        self.found = found
        super().__init__(None, tombstone.reason if tombstone else None)
