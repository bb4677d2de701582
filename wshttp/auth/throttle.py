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
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class _Counted:
    """One attempt in one counter, and until when (monotonic) that counter and the pause that it set are still the same."""

    limit: _Limit
    counted_until: float
    paused_until: float


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
        for limit in await self._limits(account, bucket) if self.max_failures else ():
            try:
                attempt.counted.append(await self._count(limit))
            except TooManyRequests:
                await attempt.withdraw()
                raise
        return attempt

    async def vouch(self, account: str, bucket: str) -> None:
        """Make an address one from which this account has logged in."""
        if not self.max_failures:
            return
        newest, now = max(await self._logins(account, bucket), default=None), self._clock.time()
        if newest is None or now - newest > VERIFIED_FOR / 4:
            mark = _digest(account.casefold(), bucket) + int(now).to_bytes(8)
            await self._shared.append(_verified_key(account), mark, maximum=MAX_VERIFIED, ttl=VERIFIED_FOR)

    async def forgive(self, account: str) -> None:
        """Start all counters of an account anew, such as after its password was changed."""
        _, marks = await self._shared.read(_verified_key(account))
        pairs = {_pair_key(mark[:-8]) for mark in marks}
        for key in (_account_key(account), *pairs):
            await self._start_anew(key)
        await self._end_streak(account)

    async def _limits(self, account: str, bucket: str) -> tuple[_Limit, ...]:
        most, window = self.max_failures, self.window
        if await self._logins(account, bucket):
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

    async def _count(self, limit: _Limit) -> _Counted:
        failures, left = await self._shared.counter(limit.key)
        if failures >= limit.maximum:
            raise _come_back(left)
        pause = limit.pause_after(failures + 1)
        # The pause is set by the attempt before which it is not: of N attempts at its end, one alone gets 1 here.
        if pause and await self._shared.add(_pause_key(limit.key), ttl=pause) > 1:
            raise _come_back((await self._shared.counter(_pause_key(limit.key)))[1])
        failures = await self._shared.add(limit.key, ttl=limit.window)
        _, left = await self._shared.counter(limit.key)
        if failures > limit.maximum:  # it is not given back: the counter says "full" until its window ends, no more
            raise _come_back(left)
        now = self._clock.monotonic()
        return _Counted(limit, now + left, now + pause)

    async def _succeeded(self, attempt: Attempt) -> None:
        for counted in attempt.counted:
            if counted.limit.per_account:
                await self._start_anew(counted.limit.key)
            else:
                await self._give_back(counted)
        if attempt.counted:
            await self._end_streak(attempt.account)
            await self.vouch(attempt.account, attempt.bucket)

    async def _withdrawn(self, attempt: Attempt) -> None:
        for counted in attempt.counted:
            await self._give_back(counted)
        attempt.counted = []

    async def _start_anew(self, key: str) -> None:
        await self._shared.forget(key)
        await self._shared.forget(_pause_key(key))

    async def _give_back(self, counted: _Counted) -> None:
        now = self._clock.monotonic()
        if now < counted.counted_until:  # later, another window has begun, and minus one would be a guess for free
            await self._shared.add(counted.limit.key, -1, ttl=counted.counted_until - now)
        if now < counted.paused_until:
            await self._shared.forget(_pause_key(counted.limit.key))

    async def _end_streak(self, account: str) -> None:
        await self._shared.forget(_streak_key(account, "unknown"))
        await self._shared.forget(_streak_key(account, "verified"))


@dataclass(slots=True)
class Attempt:
    """An admitted attempt, counted as a failure until something else is said."""

    throttle: Throttle
    account: str
    bucket: str
    counted: list[_Counted] = field(default_factory=list)

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
