"""UTF-8 that comes in pieces, checked as it comes."""

from __future__ import annotations

import codecs
from typing import Final

from wshttp.close_codes import INVALID_DATA
from wshttp.engine.websocket.closing import Failure

_DECODER: Final = codecs.getincrementaldecoder("utf-8")


class Utf8Check:
    """Whether what has come so far can still become UTF-8: the first byte that rules it out is noticed at once."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = _DECODER()

    def take(self, data: bytes, final: bool = False) -> None:
        """Check another piece. Raises `Failure`, also where the `final` one ends within a character."""
        try:
            self._decoder.decode(data, final)
        except UnicodeDecodeError:
            raise Failure(INVALID_DATA, "invalid UTF-8") from None
        # With two bytes of a surrogate Python waits for the third (3.11), since it might be told to let it pass.
        pending = self._decoder.getstate()[0]
        if pending[:1] == b"\xed" and pending[1:] >= b"\xa0":
            raise Failure(INVALID_DATA, "invalid UTF-8")
