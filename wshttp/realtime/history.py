"""What was published on topics of late, on any node: so that who was away for a moment can be given what it missed.

It stands on the `Shared` port. Two lists per topic:

    life:<topic>      its oldest item is the name of the present life
    history:<life>    the messages, each behind a name of its own; one that is not kept has neither

and a counter per client:

    begun:<payer>     how many lives were begun for it of late

What is appended gets its offset in the same step. So whoever hears of message 7 finds 1 to 6 in the list, as far as they
are kept: words between nodes may be lost or overtake each other, and nobody misses a message for that.

While the store is away nothing is kept. What would have been leaves a hole: an item without a message, which takes a
place as soon as the store is back, so that whoever was away is told that something is missing.

Who begins a life pays for it: on behalf of one client, `MAX_BEGUN` topics get one within `WINDOW`. What is published on others
has no place and is kept for nobody, until somebody else begins theirs. So nobody washes away, by names that he makes up,
what is kept of the topics of others. What the application publishes is not counted.

After each message the store is asked which life it is, and a message that came too late for its life is kept once more, in
the next: what makes room in the store drops the longest unused, so that a list of lives that is not looked at would go
before its messages, and nodes would go on in different lives.

Offsets begin anew when a list is forgotten; then another life begins, under another name. A publisher keeps a life going
(`LIFE`) and then appends, and the list outlives that; so there is no list of a past life under a present name. Where a
failover has set back a list, the first who notices begins another life.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from wshttp.errors import StoreUnavailable
from wshttp.realtime.place import NOWHERE, Place
from wshttp.sessions.clock import Clock
from wshttp.sessions.shared import Shared

LIFE: Final = 3600.0
"""Seconds for which a life goes on after the last message, at least half of it; its messages are kept for twice as long."""

MAX_ITEM: Final = 64 * 1024
"""Bytes of a message that is kept. Of a larger one only its place is: who missed it is told that something is missing."""

MAX_BYTES: Final = 1024 * 1024
"""Bytes of a topic's messages, in all: above it the oldest are dropped, as above `websocket.history`."""

MAX_CLIENT_BYTES: Final = 128 * 1024
"""The same for what a client publishes: what one may begin has a tenth of what all histories may have together."""

SLICE: Final = 256 * 1024
"""Bytes that are read at once: what one who takes his time with it holds in memory."""

MAX_BEGUN: Final = 100
"""Lives that are begun for one client within `WINDOW`."""

WINDOW: Final = 2 * LIFE
"""Seconds."""

MAX_KNOWN: Final = 10_000
"""Topics of which a node knows by heart which life they are in, and of those with a hole; and messages that it could not
keep."""

_NAME: Final = 8
"""Bytes of a message's name."""

_NAMES: Final = 8
"""Names that a list of lives holds: the oldest counts, and the others are the same but for races."""


_Key = TypeVar("_Key")
_Fact = TypeVar("_Fact")


class Item(NamedTuple):
    """One message of a history; empty bytes are one that is not kept: it was too large, or the store was away."""

    place: Place
    message: bytes


@dataclass(slots=True)
class Missed:
    """What a history has for somebody who comes back: the messages after those that he has, and where the last one is."""

    items: list[Item]
    last: Place
    whole: bool
    """Nothing is missing in between."""
    more: bool = False
    """There may be more after the last one: it was read in slices."""


@dataclass(slots=True)
class _Known:
    life: str
    last: int = 0
    until: float = 0.0
    """Monotonic seconds: as long as this, the life need not be told to go on."""


@dataclass(frozen=True, slots=True, eq=False)
class _Hole:
    """Something was published that the store does not have; `maximum` is how many messages are kept."""

    maximum: int
    payer: str | None


class History:
    """The histories of all topics. Methods raise `StoreUnavailable` as `Shared` does."""

    def __init__(self, shared: Shared, clock: Clock) -> None:
        self._shared = shared
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._holes: OrderedDict[str, _Hole] = OrderedDict()
        self._unkept: OrderedDict[bytes, None] = OrderedDict()
        """Names of messages that the store may have all the same: it got them, and its answer did not come."""

    async def append(self, topic: str, message: bytes, maximum: int, *, payer: str | None = None) -> Place | None:
        """Keep a message, of which `maximum` are kept, and return its place.

        Where the topic has no life, one is begun for `payer`: who that client is; `None`: the application. Where that
        client has begun too many, nothing is kept, and there is no place.
        Where it raises, this node gives the message to nobody who comes back; it leaves a hole.
        """
        name = secrets.token_bytes(_NAME)
        item = name + message if len(message) <= MAX_ITEM else b""
        try:
            await self._fill_hole(topic)
            return await self._append(topic, item, maximum, payer)
        except StoreUnavailable:
            _remember(self._holes, topic, _Hole(maximum, payer))
            _remember(self._unkept, name, None)
            raise

    async def fill_holes(self) -> None:
        """Have all that was not kept take its place."""
        for topic in list(self._holes):
            await self._fill_hole(topic)

    async def _fill_hole(self, topic: str) -> None:
        hole = self._holes.get(topic)
        if hole is not None:
            await self._append(topic, b"", hole.maximum, hole.payer)
            if self._holes.get(topic) is hole:  # else there is another one by now
                del self._holes[topic]

    async def _append(self, topic: str, item: bytes, maximum: int, payer: str | None) -> Place | None:
        max_bytes = MAX_BYTES if payer is None else MAX_CLIENT_BYTES
        while True:
            known = await self._known_life(topic, payer)
            if known is None:
                return None
            before = known.last
            offset = await self._shared.append(
                _list_of(known.life), item, maximum=maximum, max_bytes=max_bytes, ttl=2 * LIFE
            )
            if offset <= before:  # the list is not what it was: offsets come for the second time
                await self._end_life(topic, known.life)
            elif await self._life(topic, payer) == known.life:
                known.last = max(known.last, offset)
                return Place(known.life, offset)
            else:  # it was over by then: nobody looks for the message there
                self._known.pop(topic, None)

    def note(self, topic: str, place: Place) -> None:
        """Take note of how far a topic is, as others say: offsets that are given out below that are wrong."""
        known = self._known.get(topic)
        if known is None or known.life != place.life:
            _remember(self._known, topic, _Known(place.life, place.offset))
        else:
            known.last = max(known.last, place.offset)

    async def since(self, topic: str, after: Place | None, *, payer: str | None = None) -> Missed:
        """Return what came after a place, the first of it where it is more than `SLICE`; after none, only where the last is.

        `payer` is as for `append`: where no life may be begun, the last is nowhere.
        """
        await self._fill_hole(topic)
        life = await self._life(topic, payer)
        if life is None:
            return Missed([], NOWHERE, whole=after is None)
        if after is None:
            return Missed([], await self._last(life), whole=True)
        same = after.life == life
        position = after.offset if same else 0
        # From one before: where nothing was missed, that one tells where the last is.
        begin = max(position - 1, 0)
        items, size = await self._slice(life, begin, SLICE)
        last = items[-1].place if items else await self._last(life) if begin else Place(life, 0)
        missed = [item for item in items if item.place.offset > position and item.message]
        whole = same and position <= last.offset and len(missed) == last.offset - position
        return Missed(missed, last, whole, more=size + _NAME + MAX_ITEM > SLICE)

    async def _last(self, life: str) -> Place:
        items = await self._items(life, 0)
        return items[-1].place if items else Place(life, 0)

    async def between(self, after: Place, before: int) -> list[Item]:
        """Return the messages of one life between two offsets, as far as they are kept."""
        items = await self._items(after.life, after.offset)
        return [item for item in items if item.place.offset < before and item.message]

    async def _items(self, life: str, after: int) -> list[Item]:
        items, _ = await self._slice(life, after)
        return items

    async def _slice(self, life: str, after: int, max_bytes: int = 0) -> tuple[list[Item], int]:
        """Return items, and how many bytes they are in all."""
        oldest, items = await self._shared.read(_list_of(life), after, max_bytes=max_bytes)
        first = max(oldest, after + 1)
        found = [Item(Place(life, first + number), self._message_of(item)) for number, item in enumerate(items)]
        return found, sum(map(len, items))

    def _message_of(self, item: bytes) -> bytes:
        """Return an item's message; none for one that was given out without its place: it must not come twice."""
        return b"" if item[:_NAME] in self._unkept else item[_NAME:]

    # --- lives --------------------------------------------------------------------------------------

    async def _known_life(self, topic: str, payer: str | None) -> _Known | None:
        """Return the life that a message is to be appended to, and have it go on."""
        known = self._known.get(topic)
        now = self._clock.monotonic()
        if known is not None and now < known.until:
            self._known.move_to_end(topic)
            return known
        begun = await self._life(topic, payer)
        if begun is None:
            return None
        await self._shared.append(_life_of(topic), begun.encode(), maximum=_NAMES, ttl=LIFE)
        life = await self._life(topic) or begun  # another one, if that list was forgotten and begun anew in between
        known = self._known.get(topic)
        if known is None or known.life != life:
            known = _remember(self._known, topic, _Known(life))
        known.until = now + LIFE / 2
        return known

    async def _life(self, topic: str, payer: str | None = None) -> str | None:
        """Return the name of the present life, and begin one where there is none: of several who do, one is first.

        `None`: there is none, and that client has begun as many as it may.
        """
        key = _life_of(topic)
        _, names = await self._shared.read(key)
        if not names:
            if payer is not None and await self._shared.add(_begun_by(payer), ttl=WINDOW) > MAX_BEGUN:
                return None
            await self._shared.append(key, secrets.token_hex(8).encode(), maximum=_NAMES, ttl=LIFE)
            _, names = await self._shared.read(key)
        return names[0].decode() if names else secrets.token_hex(8)

    async def _end_life(self, topic: str, life: str) -> None:
        self._known.pop(topic, None)
        if await self._life(topic) == life:
            await self._shared.forget(_life_of(topic))


def _remember(known: OrderedDict[_Key, _Fact], key: _Key, fact: _Fact) -> _Fact:
    """Note a fact, and forget the oldest where there are too many."""
    known.pop(key, None)
    known[key] = fact
    while len(known) > MAX_KNOWN:
        known.popitem(last=False)
    return fact


def _life_of(topic: str) -> str:
    return f"life:{_digest(topic)}"


def _list_of(life: str) -> str:
    return f"history:{life}"


def _begun_by(payer: str) -> str:
    return f"begun:{_digest(payer)}"


def _digest(name: str) -> str:
    """Return what stands for a name that may be of any length, and have surrogates on their own."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
