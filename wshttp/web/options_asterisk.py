"""`OPTIONS *`: what the server as a whole can do (RFC 9110, section 9.3.7)."""

from __future__ import annotations

from typing import Final

from wshttp.web.endpoint import METHODS
from wshttp.web.gate import Gate

ASTERISK: Final = "*"
"""The target, in the place of a path."""


class OptionsAsterisk(Gate):
    """Answers behind the gate, where everything is asked: whom a rate or a denial keeps out gets nothing here, either."""

    def options(self, *args: str, **kwargs: str) -> None:
        self.set_header("Allow", ", ".join((*METHODS, "HEAD", "OPTIONS")))
        self.set_status(204)
