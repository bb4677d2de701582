"""The throttle: what an attacker gets, and what the owner keeps."""

from __future__ import annotations

import asyncio

import pytest

from wshttp.auth.throttle import CEILING, CEILING_WINDOW, FREE_FAILURES, VERIFIED_FOR, Attempt, Throttle
from wshttp.errors import StoreUnavailable, TooManyRequests
from wshttp.stores.memory_shared import MemoryShared
from wshttp.testing import FakeClock

pytestmark = [pytest.mark.feature("U5"), pytest.mark.feature("M4")]

WINDOW = 900.0
LONG = 3700.0
"""Seconds: more than any window and any pause."""


@pytest.fixture
def shared(clock: FakeClock) -> MemoryShared:
    return MemoryShared(clock)


@pytest.fixture
def throttle(shared: MemoryShared, clock: FakeClock) -> Throttle:
    return Throttle(shared, clock)


async def admitted(throttle: Throttle, account: str, bucket: str) -> Attempt | float:
    """Return the attempt, or the seconds after which to come back."""
    try:
        return await throttle.admit(account, bucket)
    except TooManyRequests as error:
        return error.retry_after


async def guess_until_locked(throttle: Throttle, clock: FakeClock, account: str, bucket: str) -> int:
    """Fail as often as it goes, waiting as told up to two minutes; return how often that was."""
    for failures in range(1000):
        while isinstance(wait := await admitted(throttle, account, bucket), float):
            if wait > 120:
                return failures
            clock.advance(wait)
    raise AssertionError("never locked")


async def log_in(throttle: Throttle, account: str, bucket: str) -> None:
    await (await throttle.admit(account, bucket)).succeed()


async def test_failures_are_limited_with_growing_pauses(throttle: Throttle, clock: FakeClock) -> None:
    """Three failures are free, then the pauses double, and after `max_failures` the window must end."""
    waits = []
    for _ in range(10):
        while isinstance(wait := await admitted(throttle, "bob", "192.0.2.1"), float):
            waits.append(wait)
            clock.advance(wait)
    assert waits == [1, 2, 4, 8, 16, 32, 64]
    last = await admitted(throttle, "bob", "192.0.2.1")
    assert last == WINDOW - sum(waits)
    clock.advance(WINDOW)
    assert isinstance(await admitted(throttle, "bob", "192.0.2.1"), Attempt)


async def test_pause_is_not_prolonged_by_impatience(throttle: Throttle, clock: FakeClock) -> None:
    """Who comes too early is told what is left, and is neither counted nor made to wait longer."""
    for _ in range(FREE_FAILURES):
        await throttle.admit("bob", "192.0.2.1")
    clock.advance(0.5)
    for _ in range(50):
        assert await admitted(throttle, "bob", "192.0.2.1") == 1.0
    clock.advance(0.5)
    assert isinstance(await admitted(throttle, "bob", "192.0.2.1"), Attempt)


@pytest.mark.parametrize("spread", ["one address", "many addresses", "many accounts"])
async def test_parallel_guesses_stay_within_the_limit(clock: FakeClock, spread: str) -> None:
    """Of 200 guesses at once no more than `max_failures` are looked at, for one account and for one address."""

    class SlowShared(MemoryShared):
        """As over a network: others come between any two calls."""

        async def counter(self, key: str) -> tuple[int, float]:
            found = await super().counter(key)
            await asyncio.sleep(0)
            return found

        async def add(self, key: str, amount: int = 1, *, ttl: float) -> int:
            await asyncio.sleep(0)
            return await super().add(key, amount, ttl=ttl)

    throttle = Throttle(SlowShared(clock), clock)
    results = await asyncio.gather(
        *(
            admitted(
                throttle,
                f"user{n}" if spread == "many accounts" else "bob",
                f"192.0.2.{n}" if spread == "many addresses" else "192.0.2.1",
            )
            for n in range(200)
        )
    )
    assert 1 <= sum(isinstance(result, Attempt) for result in results) <= 10


async def test_success_starts_the_account_anew(throttle: Throttle, clock: FakeClock) -> None:
    """Failures before a success are forgotten, and so are its pauses."""
    for _ in range(2):
        await throttle.admit("bob", "192.0.2.1")
    await log_in(throttle, "bob", "192.0.2.1")
    for _ in range(FREE_FAILURES):
        assert isinstance(await admitted(throttle, "bob", "192.0.2.1"), Attempt)


async def test_success_of_one_account_does_not_free_the_address(throttle: Throttle, clock: FakeClock) -> None:
    """Who has accounts of his own cannot log in with them to go on guessing at others."""
    looked_at = 0
    for n in range(200):
        if isinstance(own := await admitted(throttle, f"mallory{n}", "192.0.2.1"), Attempt):
            await own.succeed()
        looked_at += isinstance(await admitted(throttle, f"victim{n}", "192.0.2.1"), Attempt)
        clock.advance(1)
    assert looked_at <= 10


async def test_success_after_its_window_gives_nothing_back(
    throttle: Throttle, shared: MemoryShared, clock: FakeClock
) -> None:
    """An attempt that outlives its window takes nothing off the next one: no guess is for free."""
    slow = await throttle.admit("bob", "192.0.2.1")
    clock.advance(WINDOW + 1)
    guesses = 1
    await throttle.admit("another", "192.0.2.1")
    await slow.succeed()
    for n in range(2000):
        guesses += isinstance(await admitted(throttle, f"user{n}", "192.0.2.1"), Attempt)
        clock.advance(0.25)
    assert guesses == 10


async def test_success_after_the_window_that_it_joined_gives_nothing_back(throttle: Throttle, clock: FakeClock) -> None:
    """An attempt belongs to the window in which it was counted, which may have begun long before it."""
    await throttle.admit("bob", "192.0.2.1")
    clock.advance(WINDOW - 10)
    slow = await throttle.admit("bob", "192.0.2.1")
    clock.advance(20)
    guesses = 0
    for n in range(2000):
        guesses += isinstance(await admitted(throttle, f"user{n}", "192.0.2.1"), Attempt)
        clock.advance(0.25)
        if n == 100:
            await slow.succeed()
    assert guesses == 10


async def test_withdrawn_attempt_counts_nowhere(throttle: Throttle, shared: MemoryShared) -> None:
    """An attempt whose password was not looked at leaves all counters and pauses as they were."""
    for _ in range(FREE_FAILURES - 1):
        await throttle.admit("bob", "192.0.2.1")
    for _ in range(50):
        await (await throttle.admit("bob", "192.0.2.1")).withdraw()
    assert isinstance(await admitted(throttle, "bob", "192.0.2.1"), Attempt)


async def test_locked_account_does_not_lock_the_address(throttle: Throttle, clock: FakeClock) -> None:
    """Who is refused for the account's sake alone has not used up what his address may do."""
    await guess_until_locked(throttle, clock, "bob", "attacker")
    for _ in range(50):
        assert isinstance(await admitted(throttle, "bob", "travelling"), float)
    for _ in range(FREE_FAILURES):
        assert isinstance(await admitted(throttle, "alice", "travelling"), Attempt)


async def test_attack_from_elsewhere_does_not_lock_the_owner_out(throttle: Throttle, clock: FakeClock) -> None:
    """An account attacked from many addresses is locked for unknown addresses, and not where its owner logs in."""
    await log_in(throttle, "bob", "home")
    clock.advance(60)
    assert await guess_until_locked(throttle, clock, "bob", "attacker") == 10
    assert isinstance(await admitted(throttle, "bob", "another attacker"), float)
    assert isinstance(await admitted(throttle, "bob", "home"), Attempt)
    await log_in(throttle, "bob", "home")
    assert isinstance(await admitted(throttle, "bob", "another attacker"), float)


async def test_verified_address_is_for_its_account_alone(throttle: Throttle, clock: FakeClock) -> None:
    """Where one account logs in, another one is as unknown as anywhere."""
    await log_in(throttle, "bob", "home")
    await guess_until_locked(throttle, clock, "alice", "attacker")
    assert isinstance(await admitted(throttle, "alice", "home"), float)


async def test_guesses_at_a_verified_address_are_limited(throttle: Throttle, clock: FakeClock) -> None:
    """Who shares the owner's address gets `max_failures` guesses in a window, and locks nobody else out."""
    await log_in(throttle, "bob", "office")
    await log_in(throttle, "bob", "home")
    assert await guess_until_locked(throttle, clock, "bob", "office") == 10
    assert isinstance(await admitted(throttle, "bob", "home"), Attempt)
    assert isinstance(await admitted(throttle, "alice", "office"), Attempt)


async def test_verified_address_is_forgotten_in_time(throttle: Throttle, clock: FakeClock) -> None:
    """An address from which the account has not logged in for a month is unknown again; each log-in counts."""
    await log_in(throttle, "bob", "old home")
    await log_in(throttle, "bob", "home")
    for _ in range(3):
        clock.advance(VERIFIED_FOR / 3)
        await log_in(throttle, "bob", "home")
    await guess_until_locked(throttle, clock, "bob", "attacker")
    assert isinstance(await admitted(throttle, "bob", "old home"), float)
    assert isinstance(await admitted(throttle, "bob", "home"), Attempt)


async def test_verified_addresses_are_bounded(throttle: Throttle, shared: MemoryShared) -> None:
    """One account that logs in from everywhere keeps a few dozen addresses, not all."""
    for n in range(500):
        await throttle.vouch("bob", f"address {n}")
        await throttle.vouch("bob", f"address {n}")
    assert len(shared) == 1
    lists = [await shared.read(key) for key in shared._entries]
    assert [len(items) for _, items in lists] == [64]


@pytest.mark.parametrize("verified", [False, True])
async def test_consecutive_failures_have_a_ceiling(clock: FakeClock, verified: bool) -> None:
    """However patient and spread out, an attacker gets 50 guesses; with those at a verified address, 100 in all."""
    throttle = Throttle(MemoryShared(clock), clock, max_failures=10)
    await log_in(throttle, "bob", "home")
    guesses = 0
    for n in range(100):
        guesses += isinstance(await admitted(throttle, "bob", f"attacker {n}"), Attempt)
        guesses += verified and isinstance(await admitted(throttle, "bob", "home"), Attempt)
        clock.advance(LONG)
        await throttle.vouch("bob", "home")
    assert guesses == (CEILING if verified else CEILING // 2)
    if not verified:
        await log_in(throttle, "bob", "home")
        assert isinstance(await admitted(throttle, "bob", "attacker"), Attempt)


async def test_ceiling_says_when_to_come_back(throttle: Throttle, clock: FakeClock) -> None:
    """A spent ceiling is honest about the month it lasts, and an operator can end it."""
    for n in range(CEILING // 2):
        await throttle.admit("bob", f"attacker {n}")
        clock.advance(LONG)
    wait = await admitted(throttle, "bob", "new")
    assert wait == CEILING_WINDOW - LONG * CEILING // 2
    await throttle.forgive("bob")
    assert isinstance(await admitted(throttle, "bob", "new"), Attempt)


async def test_forgive_frees_every_address(throttle: Throttle, clock: FakeClock) -> None:
    """After a changed password the account starts anew, at verified addresses too."""
    await log_in(throttle, "bob", "home")
    await guess_until_locked(throttle, clock, "bob", "home")
    await guess_until_locked(throttle, clock, "bob", "attacker")
    await throttle.forgive("bob")
    assert isinstance(await admitted(throttle, "bob", "home"), Attempt)
    assert isinstance(await admitted(throttle, "bob", "elsewhere"), Attempt)


async def test_case_of_a_name_gives_no_new_guesses(throttle: Throttle, clock: FakeClock) -> None:
    """`Bob`, `BOB` and `bob` are counted as one."""
    await guess_until_locked(throttle, clock, "bob", "attacker")
    assert isinstance(await admitted(throttle, "BOB", "another"), float)


async def test_locked_address_leaves_no_trace_of_accounts(throttle: Throttle, shared: MemoryShared) -> None:
    """One address cannot fill the memory with names: once it is refused, no account is looked at or entered."""
    for n in range(500):
        await admitted(throttle, f"user{n}", "192.0.2.1")
    assert len(shared) < 60


async def test_keys_hold_no_names(throttle: Throttle, shared: MemoryShared) -> None:
    """Who reads the shared memory reads neither accounts nor addresses."""
    await log_in(throttle, "bob@example.org", "192.0.2.1")
    for _ in range(4):
        await admitted(throttle, "bob@example.org", "192.0.2.2")
    text = " ".join(shared._entries)
    assert len(shared) >= 3
    assert "bob" not in text
    assert "192.0.2" not in text


async def test_throttle_of_zero_is_off(shared: MemoryShared, clock: FakeClock) -> None:
    """`max_failures` 0 means no limit, no pause and no memory."""
    throttle = Throttle(shared, clock, max_failures=0)
    for _ in range(CEILING * 2):
        await throttle.admit("bob", "192.0.2.1")
    await log_in(throttle, "bob", "192.0.2.1")
    assert len(shared) == 0


async def test_outage_admits_nobody(clock: FakeClock) -> None:
    """Without the shared counters no password is looked at."""

    class Away(MemoryShared):
        async def add(self, key: str, amount: int = 1, *, ttl: float) -> int:
            raise StoreUnavailable

    with pytest.raises(StoreUnavailable):
        await Throttle(Away(clock), clock).admit("bob", "192.0.2.1")
