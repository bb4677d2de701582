"""What was published on topics of late, on any node: so that who was away for a moment can be given what it missed.

It stands on the `Shared` port. Two lists per topic:

    life:<topic>      its oldest item is the name of the present life
    history:<life>    the messages

What is appended gets its offset in the same step. So whoever hears of message 7 finds 1 to 6 in the list, as far as they
are kept: words between nodes may be lost or overtake each other, and nobody misses a message for that.

Offsets begin anew when a list is forgotten; then another life begins, under another name. A publisher keeps a life going
(`LIFE`) and then appends, and the list outlives that; so there is no list of a past life under a present name. Where a
failover has set back a list, the first who notices begins another life.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from wshttp.realtime.place import Place
from wshttp.sessions.clock import Clock
from wshttp.sessions.shared import Shared

LIFE: Final = 3600.0
"""Seconds for which a life goes on after the last message, at least half of it; its messages are kept for twice as long."""

MAX_ITEM: Final = 64 * 1024
"""Bytes of a message that is kept. Of a larger one only its place is: who missed it is told that something is missing."""

MAX_KNOWN: Final = 10_000
"""Topics of which a node knows by heart which life they are in."""

_NAMES: Final = 8
"""Names that a list of lives holds: the oldest counts, and the others are the same but for races."""


class Item(NamedTuple):
    """One message of a history; empty bytes are one that was too large to be kept."""

    place: Place
    message: bytes


@dataclass(slots=True)
class Kept:
    """What a history has for somebody who comes back: the messages after those that he has, and where the last one is."""

    missed: list[Item]
    last: Place
    whole: bool
    """Nothing is missing in between."""


@dataclass(slots=True)
class _Known:
    life: str
    last: int = 0
    until: float = 0.0
    """Monotonic seconds: as long as this, the life goes on for all."""


class History:
    """The histories of all topics. Methods raise `StoreUnavailable` as `Shared` does."""

    def __init__(self, shared: Shared, clock: Clock) -> None:
        self._shared = shared
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def append(self, topic: str, message: bytes, maximum: int) -> Place:
        """Keep a message, of which `maximum` are kept, and return its place."""
        item = message if len(message) <= MAX_ITEM else b""
        while True:
            known = await self._known_life(topic)
            before = known.last
            offset = await self._shared.append(_list_of(known.life), item, maximum=maximum, ttl=2 * LIFE)
            if offset > before:
                known.last = max(known.last, offset)
                return Place(known.life, offset)
            await self._end_life(topic, known.life)  # the list is not what it was: offsets come for the second time

    def note(self, topic: str, place: Place) -> None:
        """Take note of how far a topic is, as others say: offsets that are given out below that are wrong."""
        known = self._known.get(topic)
        if known is None or known.life != place.life:
            self._remember(topic, _Known(place.life, place.offset))
        else:
            known.last = max(known.last, place.offset)

    async def since(self, topic: str, after: Place | None) -> Kept:
        """Return what came after a place; after none, only where the last message is."""
        life = await self._life(topic)
        same = after is not None and after.life == life
        # From one before: where nothing was missed, that one tells where the last is.
        begin = max(after.offset - 1, 0) if after is not None and same else 0
        items = await self._items(life, begin)
        if not items and begin:
            items = await self._items(life, 0)
        last = items[-1].place if items else Place(life, 0)
        if after is None:
            return Kept([], last, whole=True)
        position = after.offset if same else 0
        missed = [item for item in items if item.place.offset > position and item.message]
        whole = same and position <= last.offset and len(missed) == last.offset - position
        return Kept(missed, last, whole)

    async def between(self, after: Place, before: int) -> list[Item]:
        """Return the messages of one life between two offsets, as far as they are kept."""
        items = await self._items(after.life, after.offset)
        return [item for item in items if item.place.offset < before and item.message]

    async def _items(self, life: str, after: int) -> list[Item]:
        oldest, messages = await self._shared.read(_list_of(life), after)
        first = max(oldest, after + 1)
        return [Item(Place(life, first + number), message) for number, message in enumerate(messages)]

    # --- lives --------------------------------------------------------------------------------------

    async def _known_life(self, topic: str) -> _Known:
        """Return the life that a message is to be appended to, and have it go on."""
        known = self._known.get(topic)
        now = self._clock.monotonic()
        if known is not None and now < known.until:
            self._known.move_to_end(topic)
            return known
        life = await self._life(topic)
        await self._shared.append(_life_of(topic), life.encode(), maximum=_NAMES, ttl=LIFE)
        life = await self._life(topic)  # another one, if that list was forgotten and begun anew in between
        known = self._known.get(topic)
        if known is None or known.life != life:
            known = self._remember(topic, _Known(life))
        known.until = now + LIFE / 2
        return known

    async def _life(self, topic: str) -> str:
        """Return the name of the present life, and begin one where there is none: of several who do, one is first."""
        key = _life_of(topic)
        _, names = await self._shared.read(key)
        if not names:
            await self._shared.append(key, secrets.token_hex(8).encode(), maximum=_NAMES, ttl=LIFE)
            _, names = await self._shared.read(key)
        return names[0].decode() if names else secrets.token_hex(8)

    async def _end_life(self, topic: str, life: str) -> None:
        self._known.pop(topic, None)
        if await self._life(topic) == life:
            await self._shared.forget(_life_of(topic))

    def _remember(self, topic: str, known: _Known) -> _Known:
        self._known.pop(topic, None)
        self._known[topic] = known
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return known


def _life_of(topic: str) -> str:
    # A name may be of any length, and have surrogates on their own.
    return f"life:{hashlib.sha256(topic.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _list_of(life: str) -> str:
    return f"history:{life}"
