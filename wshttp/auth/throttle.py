"""What makes guessing slow: failed log-ins are counted, by account and by address, before any password is hashed.

Every attempt is counted when it is admitted, and given back if it succeeds. So N guesses in parallel are N counted
attempts, and never more than the limit is hashed.

An attempt from an address where this account has logged in lately (a verified address) is counted apart:

    address         account there   counted by
    unknown         any             the address, over all accounts; the account, over all unknown addresses
    verified        this one        the account at this address

So whoever attacks an account from elsewhere locks it for elsewhere, and its owner goes on at home.
Each of these counters admits `max_failures` in `window`, with growing pauses between.
Above them stands a ceiling on consecutive failures per account (NIST SP 800-63B-4, section 3.2.2: 100 at most). Half of it
is for unknown addresses and half for the verified ones, for the same reason; a success anywhere starts it anew, and so
does `forgive`.

An account that does not exist is counted like any other, so nothing here tells whether it does.
Accounts and addresses are in keys only as hashes, and accounts without regard to case: who tries `Bob` and `bob`
against a directory that takes both for one is guessing at one account.

The counters are those of all nodes that have one `Shared`, so guesses on N nodes are counted as guesses on one.
What does not depend on each other is asked at the same time: over a network an attempt waits for three round trips, one
or two more where a pause is due, and for another one when it succeeds.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Final

from wshttp.errors import TooManyRequests
from wshttp.sessions.clock import Clock
from wshttp.sessions.shared import Shared

FREE_FAILURES: Final = 3
"""Failures without a pause after them: people mistype. Own choice."""

LONGEST_PAUSE: Final = 3600.0
"""Seconds. NIST SP 800-63B-4, section 3.2.2, has pauses grow from 30 s to an hour."""

CEILING: Final = 100
CEILING_WINDOW: Final = 30 * 86400.0
"""Seconds after the first failure at which the ceiling starts anew by itself, since nothing shared is kept for ever."""

VERIFIED_FOR: Final = 30 * 86400.0
MAX_VERIFIED: Final = 64
"""Log-ins from verified addresses that are kept per account. One address is entered once a week at most."""

_DETAIL: Final = "too many failed log-ins"


@dataclass(frozen=True, slots=True)
class _Limit:
    """One counter. `per_account` says that a success of the account starts it anew, not just gives one back."""

    key: str
    maximum: int
    window: float
    per_account: bool
    pauses: bool = True

    def pause_after(self, failures: int) -> float:
        """Return the seconds that follow this many failures: 1, 2, 4, … once the free ones are spent."""
        if not self.pauses or failures < FREE_FAILURES:
            return 0.0
        return min(2.0 ** min(failures - FREE_FAILURES, 12), self.window, LONGEST_PAUSE)


@dataclass(slots=True)
class _Counted:
    """One attempt in one counter, and until when (monotonic) that counter and the pause that it set are still the same."""

    limit: _Limit
    failures: int
    """Before this attempt."""
    window_ends_at: float
    """At the earliest: it was asked before the attempt was counted."""
    is_counted: bool = False
    paused_until: float = 0.0


class Throttle:
    """Admit attempts to log in, or say when to come back.

    `max_failures` per account and per address in `window` seconds (defaults 10 and 900); 0 turns the throttle off.
    Both may be set anew while it is in use.
    Every method raises `StoreUnavailable` as `Shared` does; nobody is admitted then.
    """

    def __init__(self, shared: Shared, clock: Clock, *, max_failures: int = 10, window: float = 900.0) -> None:
        self.max_failures = max_failures
        self.window = window
        self._shared = shared
        self._clock = clock

    async def admit(self, account: str, bucket: str) -> Attempt:
        """Count an attempt before its password is looked at; `TooManyRequests` if it must not be.

        `bucket` stands for the client's address: an IPv4 address or an IPv6 prefix.
        The attempt counts as failed unless `Attempt.succeed` or `Attempt.withdraw` is called.
        """
        attempt = Attempt(self, account, bucket)
        if not self.max_failures:
            return attempt
        attempt.logins = await self._logins(account, bucket)
        attempt.counted = await self._standings(self._limits(account, bucket, is_verified=bool(attempt.logins)))
        try:
            for counted in attempt.counted:
                await self._pause(counted)
            await self._count(attempt.counted)
        except TooManyRequests:
            await attempt.withdraw()
            raise
        return attempt

    async def vouch(self, account: str, bucket: str) -> None:
        """Make an address one from which this account has logged in."""
        if self.max_failures:
            await self._enter(account, bucket, await self._logins(account, bucket))

    async def forgive(self, account: str) -> None:
        """Start all counters of an account anew, such as after its password was changed."""
        _, marks = await self._shared.read(_verified_key(account))
        await self._forget(account, _account_key(account), *(_pair_key(mark[:-8]) for mark in marks))

    def _limits(self, account: str, bucket: str, *, is_verified: bool) -> tuple[_Limit, ...]:
        most, window = self.max_failures, self.window
        if is_verified:
            return (
                _Limit(_pair_key(_digest(account.casefold(), bucket)), most, window, per_account=True),
                _Limit(_streak_key(account, "verified"), CEILING // 2, CEILING_WINDOW, per_account=True, pauses=False),
            )
        return (
            _Limit(_address_key(bucket), most, window, per_account=False),
            _Limit(_account_key(account), most, window, per_account=True),
            _Limit(_streak_key(account, "unknown"), CEILING // 2, CEILING_WINDOW, per_account=True, pauses=False),
        )

    async def _logins(self, account: str, bucket: str) -> list[int]:
        """Return when (Unix seconds) the account logged in from this address lately, as far as that was entered."""
        digest, since = _digest(account.casefold(), bucket), self._clock.time() - VERIFIED_FOR
        _, marks = await self._shared.read(_verified_key(account))
        times = [int.from_bytes(mark[-8:]) for mark in marks if mark[:-8] == digest]
        return [at for at in times if at > since]

    async def _enter(self, account: str, bucket: str, logins: list[int]) -> None:
        newest, now = max(logins, default=None), self._clock.time()
        if newest is None or now - newest > VERIFIED_FOR / 4:
            mark = _digest(account.casefold(), bucket) + int(now).to_bytes(8)
            await self._shared.append(_verified_key(account), mark, maximum=MAX_VERIFIED, ttl=VERIFIED_FOR)

    async def _standings(self, limits: tuple[_Limit, ...]) -> list[_Counted]:
        """Return how the counters stand; `TooManyRequests` if one is full: then none is touched."""
        asked_at = self._clock.monotonic()
        standings = []
        for limit, (failures, left) in zip(limits, await asyncio.gather(*map(self._counter, limits)), strict=True):
            if failures >= limit.maximum:
                raise _come_back(left)
            standings.append(_Counted(limit, failures, asked_at + (left or limit.window)))
        return standings

    async def _counter(self, limit: _Limit) -> tuple[int, float]:
        return await self._shared.counter(limit.key)

    async def _pause(self, counted: _Counted) -> None:
        pause, key = counted.limit.pause_after(counted.failures + 1), _pause_key(counted.limit.key)
        if not pause:
            return
        # The pause is set by the attempt before which it is not: of N attempts at its end, one alone gets 1 here.
        if await self._shared.add(key, ttl=pause) > 1:
            raise _come_back((await self._shared.counter(key))[1])
        counted.paused_until = self._clock.monotonic() + pause

    async def _count(self, attempt: list[_Counted]) -> None:
        failures = await asyncio.gather(*(self._shared.add(each.limit.key, ttl=each.limit.window) for each in attempt))
        for counted, with_this in zip(attempt, failures, strict=True):
            # Above the maximum it is not given back: the counter says "full" until its window ends, no more.
            counted.is_counted = with_this <= counted.limit.maximum
        ends = [each.window_ends_at for each in attempt if not each.is_counted]
        if ends:
            raise _come_back(max(ends) - self._clock.monotonic())

    async def _succeeded(self, attempt: Attempt) -> None:
        if not attempt.counted:
            return
        windows = [each.limit.key for each in attempt.counted if each.limit.per_account and each.limit.pauses]
        await asyncio.gather(
            self._forget(attempt.account, *windows),
            *(self._give_back(each) for each in attempt.counted if not each.limit.per_account),
            self._enter(attempt.account, attempt.bucket, attempt.logins),
        )

    async def _withdrawn(self, attempt: Attempt) -> None:
        counted, attempt.counted = attempt.counted, []
        await asyncio.gather(*map(self._give_back, counted))

    async def _forget(self, account: str, *windows: str) -> None:
        """Start these counters of an account anew with their pauses, and its ceiling."""
        ceiling = (_streak_key(account, "unknown"), _streak_key(account, "verified"))
        await asyncio.gather(*map(self._shared.forget, {*windows, *map(_pause_key, windows), *ceiling}))

    async def _give_back(self, counted: _Counted) -> None:
        now = self._clock.monotonic()
        # Later, another window has begun, and minus one would be a guess for free.
        if counted.is_counted and now < counted.window_ends_at:
            await self._shared.add(counted.limit.key, -1, ttl=counted.window_ends_at - now)
        if now < counted.paused_until:
            await self._shared.forget(_pause_key(counted.limit.key))


@dataclass(slots=True)
class Attempt:
    """An admitted attempt, counted as a failure until something else is said."""

    throttle: Throttle
    account: str
    bucket: str
    counted: list[_Counted] = field(default_factory=list)
    logins: list[int] = field(default_factory=list)
    """When the account logged in from this address lately."""

    async def succeed(self) -> None:
        """Start the account's counters anew, give one back to the address, and make the address a verified one.

        A success at a verified address leaves the window of the unknown ones as it is: an owner who logs in often
        must not hand an attacker elsewhere new guesses each time.
        """
        await self.throttle._succeeded(self)

    async def withdraw(self) -> None:
        """Give the attempt back: no password was looked at."""
        await self.throttle._withdrawn(self)


def _come_back(seconds: float) -> TooManyRequests:
    return TooManyRequests(max(seconds, 1.0), _DETAIL)


def _digest(*parts: str) -> bytes:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _address_key(bucket: str) -> str:
    return f"throttle:address:{_digest(bucket).hex()}"


def _account_key(account: str) -> str:
    return f"throttle:account:{_digest(account.casefold()).hex()}"


def _streak_key(account: str, of: str) -> str:
    return f"throttle:streak:{of}:{_digest(account.casefold()).hex()}"


def _pair_key(digest: bytes) -> str:
    return f"throttle:pair:{digest.hex()}"


def _pause_key(key: str) -> str:
    return f"{key}:pause"


def _verified_key(account: str) -> str:
    return f"throttle:verified:{_digest(account.casefold()).hex()}"
