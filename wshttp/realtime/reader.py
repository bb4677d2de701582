"""Where one connection stands in a topic with history: it is given each message once, in order."""

from __future__ import annotations

from collections import deque
from typing import Final

from wshttp.realtime.format import ENVELOPE, size_of
from wshttp.realtime.letter import Letter
from wshttp.realtime.place import Place

MAX_HELD: Final = 256
"""Messages that wait while a connection is given what it missed; above it, they are read from the history instead."""

MAX_HELD_BYTES: Final = 1024 * 1024
"""Bytes of them; one may be larger."""


class Reader:
    """While it `catches_up`, what is published waits; then it passes on what is past `place`."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self.catches_up = True
        self._held: deque[Letter] = deque()
        self._held_bytes = 0
        self._overflowed = False

    def takes(self, letter: Letter) -> bool:
        """Whether a message that has just been published goes out now."""
        if letter.place is None:
            return True
        if self.catches_up:
            self._hold(letter)
            return False
        if self._has(letter.place):
            return False
        self.place = letter.place
        return True

    def _hold(self, letter: Letter) -> None:
        if self._overflowed:
            return
        self._held.append(letter)
        self._held_bytes += size_of(letter.form(ENVELOPE))
        if len(self._held) > MAX_HELD or (self._held_bytes > MAX_HELD_BYTES and len(self._held) > 1):
            self._forget_held()
            self._overflowed = True

    def _forget_held(self) -> None:
        self._held.clear()
        self._held_bytes = 0

    def caught_up(self, place: Place) -> list[Letter] | None:
        """Go on from a place: return what has been published since; `None`: there was too much, read on."""
        if self._overflowed:
            self._overflowed = False
            return None
        self.place = place
        self.catches_up = False
        held = list(self._held)
        self._forget_held()
        return [letter for letter in held if self.takes(letter)]

    def _has(self, place: Place) -> bool:
        return self.place is not None and place.life == self.place.life and place.offset <= self.place.offset
