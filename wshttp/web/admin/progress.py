"""How far an end in steps has come."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from wshttp.errors import BadRequest

_CURSOR: Final = re.compile(r"([0-9]{1,11}\.[0-9]{1,9})-([0-9a-f]{1,64})")


@dataclass(frozen=True, slots=True)
class Progress:
    """When the first step began, on the store's clock, which all nodes share; and behind which ref the next one goes on."""

    began_at: float
    cursor: str = ""

    @classmethod
    def read(cls, text: str | None, now: float) -> Progress:
        """Read it; `None` is at the beginning, which is now. Raises `BadRequest`."""
        if text is None:
            return cls(round(now, 6))
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise BadRequest("cursor is what the step before gave")
        return cls(float(found[1]), found[2])

    def after(self, cursor: str) -> str | None:
        """Return what the next step is told; `None` where there is none."""
        return f"{self.began_at!r}-{cursor}" if cursor else None
