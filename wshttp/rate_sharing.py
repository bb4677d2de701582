"""Rates that nodes have in common: what one of them let through, all others debit.

Every node decides at once, by its own buckets, and no request waits for another node.
Four times a second it tells the others what each address was let through, and hears what they did, in one exchange with
what they share: a list of reports, kept for as long as a slow reader needs.

What N nodes together let one address through, in any t seconds, is at most

    N x burst + rate x (t + N x 0.5)

with 0.5 s for two beats; a beat that takes longer adds its delay. In the long run the rate is the rate, whatever the
number of nodes. What they multiply is the burst, for an address that was quiet long enough to have all of it everywhere:
once it has spent that, it owes it to all of them, and waits until it is paid.
Strikes and bans spread in the same time.

A client within the rate is refused no sooner than by one node, unless `burst` is less than half a second of the rate.

During an outage of what they share every node goes on by its own buckets, and nothing of that time is told afterwards.
A node that has just started knows nothing of what was before, and gives every address its burst.
More than `engine.tally.MAX_TOLD` addresses in a beat are not told: the limits of the others hold per node.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final, Protocol

from wshttp.errors import StoreUnavailable
from wshttp.sessions.clock import Clock
from wshttp.sessions.shared import Shared

BEAT: Final = 0.25
"""Seconds."""

MAX_REPORTS: Final = 256
"""Reports that are kept: 4 s of 16 nodes. Most have a few addresses, none is over 100 KB (`engine.tally`)."""

KEPT_FOR: Final = 60.0
"""Seconds after the last report."""

_KEY: Final = "rates:1"
"""The number is the version of the reports: nodes that write another one don't hear these."""

_log = logging.getLogger("wshttp.rates")


class TellingRates(Protocol):
    """Rates that can be told; the engine's `AddressRates` are."""

    @property
    def limited(self) -> bool:
        """Whether there is any rate."""

    def tell(self) -> bytes | None:
        """Return what was counted here since the last call; `None`: nothing."""

    def hear(self, report: bytes, since: float) -> None:
        """Count what another node told; it was not earlier than `since` (monotonic)."""


class RateSharing:
    """Tells other nodes what the rates of this one count, and the rates what others told.

    `rates` returns those in force: another object may take their place while running.
    `node` is this node's name, in one line; `None`: any. Where no rate is set, nothing is sent.
    """

    def __init__(
        self, rates: Callable[[], TellingRates], shared: Shared, clock: Clock, node: str | None = None
    ) -> None:
        self._rates = rates
        self._shared = shared
        self._clock = clock
        self._node = (node or secrets.token_hex(6)).encode()
        self._heard_at: float | None = None
        self._offset = 0
        self._newest = b""  # the report at that offset: what is read begins with it, unless the list is another one
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to exchange reports."""
        self._task = asyncio.create_task(self._beat_for_ever())

    async def close(self) -> None:
        """Exchange no more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def beat(self) -> None:
        """Tell and hear once, with both calls under way at the same time; an outage is as if nobody had said anything."""
        rates = self._rates()
        report = rates.tell()
        if not rates.limited:
            return
        try:
            async with asyncio.TaskGroup() as calls:
                if report is not None:
                    calls.create_task(self._tell(report))
                calls.create_task(self._hear(rates))
        except* StoreUnavailable:
            pass  # the local buckets go on alone, and what was to be told is dropped: it would be told too late

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                await self.beat()
            except Exception:
                _log.exception("rates could not be shared; the next beat follows")

    async def _tell(self, report: bytes) -> None:
        await self._shared.append(_KEY, self._node + b"\n" + report, maximum=MAX_REPORTS, ttl=KEPT_FOR)

    async def _hear(self, rates: TellingRates) -> None:
        now = self._clock.monotonic()
        news = self._news_of(*await self._shared.read(_KEY, max(self._offset - 1, 0)))
        heard_at, self._heard_at = self._heard_at, now
        if heard_at is None:
            return  # how old it is, nobody knows
        for item in news:
            node, _, report = item.partition(b"\n")
            if node != self._node:
                # It was told since the last beat, of what came in the beat before. As early as it can have been: an
                # address that keeps to its rate must not lose what has flowed in since.
                rates.hear(report, heard_at - BEAT)
                await asyncio.sleep(0)  # in a flood it is thousands of addresses: requests have their turn between

    def _news_of(self, oldest: int, items: list[bytes]) -> list[bytes]:
        """Return what was not heard yet, of items read from the newest one known on, and take note of where they end."""
        first = max(self._offset, 1, oldest)
        if first == self._offset:
            if items[:1] != [self._newest]:  # forgotten meanwhile; what there is now is read at the next beat
                self._offset = 0
                return []
            del items[0]
            first += 1
        if items:
            self._offset, self._newest = first + len(items) - 1, items[-1]
        return items
