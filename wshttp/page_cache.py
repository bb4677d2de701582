"""What of a file is in memory, so that reading it waits for no disk."""

from __future__ import annotations

import os
from typing import Final

_NOWAIT: Final = getattr(os, "RWF_NOWAIT", 0)
"""Read only what needs no waiting (`preadv2(2)`); 0 where the system cannot be asked: then everything may have to wait."""


def is_in_memory(file: int, offset: int, count: int) -> bool:
    """Tell whether `count` bytes from `offset` probably are; `False` also where the file system does not say.

    Asked of the first of them and of the last: a file is read ahead, and forgotten, in long stretches.
    """
    return _byte_is(file, offset) and _byte_is(file, offset + count - 1)


def _byte_is(file: int, offset: int) -> bool:
    try:
        return bool(_NOWAIT and os.preadv(file, [bytearray(1)], offset, _NOWAIT))
    except OSError:
        return False  # it is not, or the file system cannot tell, or it is broken, which whoever reads it will learn
