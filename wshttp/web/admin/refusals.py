"""Those who were not let in: each in the audit log, and a few lines a second at most, however many try."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from wshttp.addresses import bucket
from wshttp.realtime.rate import TokenBucket
from wshttp.sessions.clock import Clock
from wshttp.web.admin import audit

PER_SECOND: Final = 2.0
"""Lines for one address, and for one name of `admin.users`; who makes noise hides himself, and nobody else."""

IN_ALL: Final = 10.0
"""Lines a second for all addresses together; more than people need to be heard, and too few to fill a disk."""

MAX_ADDRESSES: Final = 1024
"""Addresses that are told apart; the longest unheard goes first."""

FLUSH: Final = 10.0
"""Seconds after which it is said how many were left out, where no line came meanwhile to say it."""


class Refusals:
    """Write them down; those that were too many are counted in the next line, as `left_out`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._room = TokenBucket(IN_ALL, clock.monotonic())
        self._of_addresses: OrderedDict[str, TokenBucket] = OrderedDict()
        self._of_names: dict[str, TokenBucket] = {}
        self._left_out = 0
        self._timer: asyncio.TimerHandle | None = None

    def record(self, by: str, by_ip: str, error: BaseException, listed: str | None = None) -> None:
        """Take note of somebody, under the name that they gave, and why they were refused.

        `listed` is the name as `admin.users` has it, if it does: that has room of its own, whoever else tries.
        """
        if self._has_room(bucket(by_ip), listed):
            audit.record_refusal(by, by_ip, why=audit.name_of(error), left_out=self._counted() or None)
            return
        self._left_out += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH, self.flush)

    def flush(self) -> None:
        """Say how many were left out since the last line, if any were."""
        left_out = self._counted()
        if left_out:
            audit.record_left_out(left_out)

    def _counted(self) -> int:
        left_out, self._left_out = self._left_out, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return left_out

    def _has_room(self, address: str, listed: str | None) -> bool:
        now = self._clock.monotonic()
        if listed is not None:  # an administrator's: there are as many as the settings name
            return self._of_names.setdefault(listed, TokenBucket(PER_SECOND, now)).take(now)
        of_address = self._of_addresses.setdefault(address, TokenBucket(PER_SECOND, now))
        self._of_addresses.move_to_end(address)
        if len(self._of_addresses) > MAX_ADDRESSES:
            self._of_addresses.popitem(last=False)
        return of_address.take(now) and self._room.take(now)
