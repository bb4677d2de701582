"""What was sent to sessions while they had no socket: in order, up to a number and a size, and given once.

It stands on the `Shared` port:

    queue:<ref>      the messages, each behind a name of its own
    given:<ref>      the offset and the name of the last message that was given
    giving:<ref>     whoever makes this counter 1 takes what is there; others leave it to him

He who takes dies or is cut off in the middle, at worst: what he took is lost then, and never given twice; what he did not
take yet waits until `TURN` is over and somebody looks again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final

from wshttp.sessions.clock import Clock
from wshttp.sessions.shared import Shared

KEPT: Final = 12 * 3600.0
"""Seconds after the last message for which a queue is kept: as long as a session lives at most, by default."""

MAX_BYTES: Final = 1024 * 1024
"""Bytes of a session's queue, in all: what a receiver that has a socket may leave unsent by default. The newest message
stays, however large."""

TURN: Final = 10.0
"""Seconds after which somebody else may take what one was about to."""

_NAME: Final = 8
"""Bytes of a message's name."""


@dataclass(slots=True)
class Taken:
    """Messages that were waiting, the oldest first, and how many before them were dropped."""

    messages: list[bytes] = field(default_factory=list)
    dropped: int = 0
    busy: bool = False
    """Somebody else was about to take what there is: if he dies, it waits on."""


class Queues:
    """The queues of all sessions. Methods raise `StoreUnavailable` as `Shared` does."""

    def __init__(self, shared: Shared, clock: Clock) -> None:
        self._shared = shared
        self._clock = clock

    async def append(self, ref: str, message: bytes, maximum: int) -> None:
        """Keep a message for a session; of more than `maximum`, or than `MAX_BYTES`, the oldest are dropped."""
        item = secrets.token_bytes(_NAME) + message
        await self._shared.append(f"queue:{ref}", item, maximum=maximum, max_bytes=MAX_BYTES, ttl=KEPT)

    async def take(self, ref: str) -> Taken:
        """Take all that waits; nothing where somebody else is doing so at this moment."""
        taken = Taken()
        _, items = await self._shared.read(f"queue:{ref}")
        while items:
            if await self._shared.add(f"giving:{ref}", ttl=TURN) > 1:
                taken.busy = True
                break
            last = await self._take_turn(ref, taken)
            await self._shared.forget(f"giving:{ref}")
            _, items = await self._shared.read(f"queue:{ref}", last)  # who came during the turn left it to us
        return taken

    async def _take_turn(self, ref: str, taken: Taken) -> int:
        began = self._clock.monotonic()
        oldest, items = await self._shared.read(f"queue:{ref}")
        given = _last_given(await self._shared.read(f"given:{ref}"), oldest, items)
        last = oldest + len(items) - 1
        waiting = items[max(given + 1 - oldest, 0) :]
        if not waiting or self._clock.monotonic() - began > TURN / 2:
            return last
        mark = b"%d:%s" % (last, items[-1][:_NAME])
        await self._shared.append(f"given:{ref}", mark, maximum=1, ttl=2 * KEPT)
        taken.dropped += max(oldest - given - 1, 0)
        taken.messages += [item[_NAME:] for item in waiting]
        return last

    async def forget(self, ref: str) -> None:
        """Drop the queue of a session that is over."""
        await self._shared.forget(f"queue:{ref}")
        await self._shared.forget(f"given:{ref}")


def _last_given(mark: tuple[int, list[bytes]], oldest: int, items: list[bytes]) -> int:
    """Return the offset of the last message that was given: 0 where none was, since the queue began."""
    if not mark[1]:
        return 0
    offset, _, name = mark[1][-1].partition(b":")
    place = int(offset) - oldest
    if place < 0 or (place < len(items) and items[place][:_NAME] == name):
        return int(offset)
    return 0  # that was another queue, which is forgotten
