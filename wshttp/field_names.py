"""The names of header fields, with their capitals."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_LONGEST_REMEMBERED: Final = 64
_MOST_REMEMBERED: Final = 1000


class FieldNames(dict[str, str]):
    """`names[text]` is a field's name as in `Content-Type`; it is worked out once.

    Raises `ValueError` for what is no token (RFC 9110, section 5.6.2).
    """

    def __missing__(self, text: str) -> str:
        if _TOKEN.fullmatch(text) is None:
            raise ValueError(text)
        name = "-".join([word.capitalize() for word in text.split("-")])
        # Names are the peer's to choose: neither many nor long ones may fill the memory.
        if len(text) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[text] = name
        return name
