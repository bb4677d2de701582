"""Rates per address: token buckets, and a growing ban for who keeps on. No I/O; the clock is passed in.

All memory is bounded: each table keeps at most `max_keys` keys, and says what goes first.
Nodes that serve the same clients exchange reports of what they let through: `AddressRates.tell` and `hear`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from wshttp.engine.address import Network, contains, networks
from wshttp.engine.bounded_table import BoundedTable
from wshttp.engine.tally import MAX_TOLD, Tally, count

MAX_KEYS = 65_536
"""Keys per table: about 10 MB, and as many /64 as a /48 has."""

STRIKES = 10
"""Refusals within `STRIKE_WINDOW` that make a ban."""

STRIKE_WINDOW = 60.0
"""Seconds."""

LONGEST_BAN = 3600.0
"""Seconds; a ban does not grow beyond it (NIST SP 800-63B-4 section 3.2.2 names 1 h as the end of a growing delay)."""

Monotonic = Callable[[], float]


class TokenBuckets:
    """One bucket per key: `rate` tokens a second, at most `burst` of them, full at first.

    `rate` 0 is no limit; `burst` 0 is one second's worth, at least 1.
    Beyond `max_keys` a bucket that is full goes first: it is as good as none, so that nothing is forgotten.
    Where none of the sixteen least recently used is full, the fullest of them goes.
    """

    def __init__(self, rate: float, burst: float, monotonic: Monotonic, max_keys: int = MAX_KEYS) -> None:
        self.rate = rate
        self.burst = max(burst or rate, 1.0)
        self._monotonic = monotonic
        # The whole state of a bucket is the time at which it is full again (the generic cell rate algorithm).
        self._full_at: BoundedTable[float] = BoundedTable(max_keys, loss=float)

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, key: str) -> float | None:
        """Take a token; `None`, or the seconds until there is one. A refusal costs nothing."""
        if not self.rate:
            return None
        now = self._monotonic()
        full_at = max(self._full_at.get(key, now), now) + 1 / self.rate
        wait = full_at - now - self.burst / self.rate
        if wait > 1e-9:  # sums of fractions of a second are not exact
            return wait
        self._full_at.keep(key, full_at)
        return None

    def debit(self, key: str, tokens: int, since: float) -> None:
        """Take tokens that were taken elsewhere, as if it had been at `since`; the bucket may owe some afterwards."""
        if not self.rate:
            return
        full_at = max(self._full_at.get(key, since), since) + tokens / self.rate
        if full_at > self._monotonic():
            self._full_at.keep(key, full_at)


class _Conduct:
    __slots__ = ("banned_until", "bans", "strikes", "window_at")

    def __init__(self, at: float) -> None:
        self.strikes = 0
        self.window_at = at
        self.bans = 0
        self.banned_until = at


class Bans:
    """Ban who is refused `STRIKES` times within `STRIKE_WINDOW`: first for `base` seconds, then twice as long each time.

    `base` 0 bans nobody. A ban is at most `LONGEST_BAN`; that long after one has ended, it is forgotten.
    What is refused because of a ban is no strike, so that a browser that retries can't prolong it.
    Beyond `max_keys`, of the sixteen least recently struck, the one whose ban ends or ended first is forgotten.
    """

    def __init__(self, base: float, monotonic: Monotonic, max_keys: int = MAX_KEYS) -> None:
        self.base = base
        self._monotonic = monotonic
        self.conduct: BoundedTable[_Conduct] = BoundedTable(max_keys, loss=lambda conduct: conduct.banned_until)
        """By key, of who was refused."""

    def __len__(self) -> int:
        return len(self.conduct)

    def remaining(self, key: str) -> float | None:
        """Return the seconds until a ban ends; `None` where there is none."""
        conduct = self.conduct.get(key)
        if conduct is None:
            return None
        seconds = conduct.banned_until - self._monotonic()
        return seconds if seconds > 0 else None

    def strike(self, key: str, times: int = 1) -> bool:
        """Note refusals, and tell whether they are the ones that ban."""
        if not self.base:
            return False
        now = self._monotonic()
        conduct = self._conduct_of(key, now)
        conduct.strikes += times
        bans = conduct.strikes >= STRIKES
        if bans:
            conduct.banned_until = now + min(self.base * 2**conduct.bans, LONGEST_BAN)
            conduct.bans = min(conduct.bans + 1, 64)
            conduct.strikes = 0
        self.conduct.keep(key, conduct)
        return bans

    def bans_of(self, key: str) -> int:
        """Count the bans of a key that are not forgotten."""
        conduct = self.conduct.get(key)
        return 0 if conduct is None else conduct.bans

    def impose(self, key: str, seconds: float, bans: int) -> None:
        """Take over a ban of another node, the `bans`-th one, of which `seconds` are left. Twice is as good as once."""
        if not self.base:
            return
        now = self._monotonic()
        conduct = self._conduct_of(key, now)
        conduct.banned_until = max(conduct.banned_until, now + seconds)
        conduct.bans = max(conduct.bans, bans)
        conduct.strikes = 0
        self.conduct.keep(key, conduct)

    def _conduct_of(self, key: str, now: float) -> _Conduct:
        conduct = self.conduct.get(key)
        if conduct is None or (conduct.bans and now - conduct.banned_until >= LONGEST_BAN):
            return _Conduct(now)
        if now - conduct.window_at >= STRIKE_WINDOW:
            conduct.strikes, conduct.window_at = 0, now
        return conduct


class AddressRates:
    """What one address may do: requests a second, new connections a minute. `0` is no limit, and the default.

    `ban` is the first ban of who keeps on, in seconds. Networks of `allow` have no limits, and are never denied.
    Buckets and bans count by `bucket`, networks are matched with the address itself.
    """

    def __init__(
        self,
        requests_per_second: float = 0,
        burst: float = 0,
        connections_per_minute: float = 0,
        ban: float = 0,
        allow: Iterable[str | Network] = (),
        deny: Iterable[str | Network] = (),
        *,
        monotonic: Monotonic,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._requests = TokenBuckets(requests_per_second, burst, monotonic, max_keys)
        self._connections = TokenBuckets(connections_per_minute / 60, connections_per_minute, monotonic, max_keys)
        self._bans = Bans(ban, monotonic, max_keys)
        self._allow = networks(allow)
        self._deny = networks(deny)
        self._tally: Tally | None = None

    @property
    def limited(self) -> bool:
        """Whether there is any rate."""
        return bool(self._requests.rate or self._connections.rate)

    def is_active(self) -> bool:
        """Tell whether requests are counted, or any might be refused now."""
        return bool(self._deny or self._requests.rate or self._bans.conduct)

    def denied(self, ip: str) -> bool:
        """Tell whether an address is in a network of `deny`, and in none of `allow`."""
        return bool(self._deny) and contains(self._deny, ip) and not self._allowed(ip)

    def request(self, ip: str, bucket: str) -> float | None:
        """Count a request: `None`, or the seconds after which it may come again."""
        return self._count(self._requests, ip, bucket)

    def connection(self, ip: str, bucket: str) -> float | None:
        """Count a new connection: `None`, or the seconds after which it may come again."""
        return self._count(self._connections, ip, bucket)

    def tell(self) -> bytes | None:
        """Return what was counted here since the last call, for others to `hear`; `None`: nothing.

        Before the first call nothing is noted.
        """
        tally, self._tally = self._tally, Tally()
        return tally.to_bytes() if tally else None

    def hear(self, report: bytes, since: float) -> None:
        """Count what another node told; it was not earlier than `since` (monotonic)."""
        tally = Tally.from_bytes(report)
        for bucket, tokens in tally.requests.items():
            self._requests.debit(bucket, tokens, since)
        for bucket, tokens in tally.connections.items():
            self._connections.debit(bucket, tokens, since)
        for bucket, (seconds, bans) in tally.bans.items():
            self._bans.impose(bucket, seconds, bans)
        for bucket, times in tally.strikes.items():
            if self._bans.remaining(bucket) is None:
                self._strike(bucket, times)

    def _count(self, buckets: TokenBuckets, ip: str, bucket: str) -> float | None:
        if self._allowed(ip):
            return None
        banned = self._bans.remaining(bucket)
        if banned is not None:
            return banned
        wait = buckets.take(bucket)
        if wait is not None:
            self._strike(bucket)
            if self._tally is not None:
                count(self._tally.strikes, bucket)
        elif self._tally is not None and buckets.rate:
            count(self._tally.requests if buckets is self._requests else self._tally.connections, bucket)
        return wait

    def _strike(self, bucket: str, times: int = 1) -> None:
        if self._bans.strike(bucket, times) and self._tally is not None and len(self._tally.bans) < MAX_TOLD:
            self._tally.bans[bucket] = (self._bans.remaining(bucket) or 0.0, self._bans.bans_of(bucket))

    def _allowed(self, ip: str) -> bool:
        return bool(self._allow) and contains(self._allow, ip)
