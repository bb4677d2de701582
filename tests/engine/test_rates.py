from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wshttp.engine.rates import LONGEST_BAN, STRIKES, AddressRates, Bans, TokenBuckets
from wshttp.engine.tally import MAX_TOLD, Tally
from wshttp.testing import FakeClock


@pytest.mark.feature("M4")
def test_token_buckets_give_the_burst_then_the_rate(clock: FakeClock) -> None:
    """Two a second and a burst of three: three at once, then one each half second."""
    buckets = TokenBuckets(2, 3, clock.monotonic)
    assert [buckets.take("a") for _ in range(4)] == [None, None, None, pytest.approx(0.5)]
    clock.advance(0.5)
    assert buckets.take("a") is None
    assert buckets.take("a") == pytest.approx(0.5)
    assert buckets.take("b") is None
    clock.advance(1000)
    assert [buckets.take("a") for _ in range(4)] == [None, None, None, pytest.approx(0.5)]


def test_token_buckets_are_not_charged_for_refusals(clock: FakeClock) -> None:
    """Who knocks in vain comes in at the same time as who waits."""
    buckets = TokenBuckets(1, 1, clock.monotonic)
    assert buckets.take("a") is None
    for _ in range(100):
        assert buckets.take("a") == pytest.approx(1)
    clock.advance(1)
    assert buckets.take("a") is None


def test_token_buckets_without_a_rate_have_no_limit_and_no_memory(clock: FakeClock) -> None:
    """Off is off."""
    buckets = TokenBuckets(0, 0, clock.monotonic)
    assert all(buckets.take(str(key)) is None for key in range(100))
    assert len(buckets) == 0


def test_token_buckets_without_a_burst_have_one_second_of_it(clock: FakeClock) -> None:
    """A rate alone works: five a second are five at once; one in ten seconds is one."""
    five, seldom = TokenBuckets(5, 0, clock.monotonic), TokenBuckets(0.1, 0, clock.monotonic)
    assert [five.take("a") for _ in range(6)] == [None] * 5 + [pytest.approx(0.2)]
    assert [seldom.take("a") for _ in range(2)] == [None, pytest.approx(10)]


def test_token_buckets_at_the_bound_forget_full_ones_first(clock: FakeClock) -> None:
    """New keys push out who has a full bucket, not who is in debt, however long ago both were seen."""
    buckets = TokenBuckets(1, 10, clock.monotonic, max_keys=3)
    for _ in range(10):
        buckets.take("debtor")
    buckets.take("light")
    buckets.take("other")
    clock.advance(2)
    for key in range(50):
        buckets.take(f"new {key}")
        clock.advance(0.01)
        assert len(buckets) <= 3
    assert [buckets.take("debtor") for _ in range(3)] == [None, None, pytest.approx(0.5, abs=0.1)]


@pytest.mark.feature("M4")
def test_bans_grow_to_an_hour_and_are_forgotten(clock: FakeClock) -> None:
    """Ten refusals ban for the base, each further ten for twice as long; an hour of calm wipes the slate."""
    bans = Bans(60, clock.monotonic)

    def struck() -> float | None:
        for _ in range(STRIKES):
            bans.strike("a")
        return bans.remaining("a")

    lengths = []
    for _ in range(8):
        lengths.append(struck())
        clock.advance(lengths[-1] or 0)
        assert bans.remaining("a") is None
    assert lengths == [60, 120, 240, 480, 960, 1920, LONGEST_BAN, LONGEST_BAN]
    assert bans.remaining("b") is None
    clock.advance(LONGEST_BAN)
    assert struck() == 60


def test_bans_need_strikes_within_a_minute(clock: FakeClock) -> None:
    """Who is refused now and then is not banned."""
    bans = Bans(60, clock.monotonic)
    for _ in range(5):
        for _ in range(STRIKES - 1):
            bans.strike("a")
        assert bans.remaining("a") is None
        clock.advance(60)


def test_bans_are_bounded_in_memory(clock: FakeClock) -> None:
    """Beyond the bound, those whose ban ends last are kept."""
    bans = Bans(60, clock.monotonic, max_keys=4)
    for _ in range(STRIKES):
        bans.strike("worst")
    clock.advance(1)
    for key in range(100):
        bans.strike(f"new {key}")
    assert len(bans) == 4
    assert bans.remaining("worst") == 59


@pytest.mark.feature("M4")
def test_address_rates_ban_who_keeps_on(clock: FakeClock) -> None:
    """After ten refusals the answer is the ban, for requests and connections; knocking does not prolong it."""
    rates = AddressRates(requests_per_second=1, ban=30, monotonic=clock.monotonic)
    assert rates.request("192.0.2.1", "192.0.2.1") is None
    for _ in range(STRIKES):
        assert rates.request("192.0.2.1", "192.0.2.1") == pytest.approx(1)
    for _ in range(STRIKES * 3):
        assert rates.request("192.0.2.1", "192.0.2.1") == pytest.approx(30)
    assert rates.connection("192.0.2.1", "192.0.2.1") == pytest.approx(30)
    assert rates.request("192.0.2.2", "192.0.2.2") is None
    clock.advance(30)
    assert rates.request("192.0.2.1", "192.0.2.1") is None


def test_address_rates_count_by_bucket(clock: FakeClock) -> None:
    """All addresses of one IPv6 network share one allowance."""
    rates = AddressRates(connections_per_minute=2, monotonic=clock.monotonic)
    waits = [rates.connection(f"2001:db8::{n}", "2001:db8::/64") for n in range(1, 4)]
    assert waits == [None, None, pytest.approx(30)]


def test_address_rates_know_whom_to_allow_and_whom_to_deny(clock: FakeClock) -> None:
    """Denied networks are denied, except where a network is allowed; allowed ones have no rate."""
    rates = AddressRates(
        requests_per_second=1, allow=["192.0.2.8/29"], deny=["192.0.2.0/24", "2001:db8::/32"], monotonic=clock.monotonic
    )
    assert rates.denied("192.0.2.1")
    assert rates.denied("2001:db8::1")
    assert not rates.denied("192.0.2.9")
    assert not rates.denied("198.51.100.1")
    assert [rates.request("192.0.2.9", "192.0.2.9") for _ in range(10)] == [None] * 10


@pytest.mark.parametrize(("settings", "active"), [({}, False), ({"connections_per_minute": 1}, False), ({"allow": ["::1"]}, False),
                          ({"requests_per_second": 1}, True), ({"deny": ["10.0.0.0/8"]}, True)])  # fmt: skip
def test_address_rates_are_active_where_a_request_may_be_refused(
    clock: FakeClock, settings: dict[str, Any], active: bool
) -> None:
    """Who asks for nothing else need not be asked."""
    assert AddressRates(monotonic=clock.monotonic, **settings).is_active() is active


def test_address_rates_are_active_once_somebody_is_banned(clock: FakeClock) -> None:
    """A ban that was brought on by connections holds for requests, on a server without a rate for those."""
    rates = AddressRates(connections_per_minute=1, ban=30, monotonic=clock.monotonic)
    rates.connection("10.0.0.1", "10.0.0.1")
    assert not rates.is_active()
    for _ in range(STRIKES):
        rates.connection("10.0.0.1", "10.0.0.1")
    assert rates.is_active()
    assert rates.request("10.0.0.1", "10.0.0.1") == pytest.approx(30)


def test_address_rates_are_off_by_default(clock: FakeClock) -> None:
    """No setting, no limit."""
    rates = AddressRates(monotonic=clock.monotonic)
    for _ in range(100):
        assert rates.request("192.0.2.1", "192.0.2.1") is None
        assert rates.connection("192.0.2.1", "192.0.2.1") is None
    assert not rates.denied("192.0.2.1")


def rates_of(clock: FakeClock, **settings: float) -> AddressRates:
    rates = AddressRates(monotonic=clock.monotonic, **settings)
    rates.tell()
    return rates


def exchange(clock: FakeClock, *nodes: AddressRates, late: float = 0.0) -> None:
    """Have everybody hear what the others tell."""
    for node, report in [(node, node.tell()) for node in nodes]:
        for other in nodes:
            if other is not node and report is not None:
                other.hear(report, clock.monotonic() - late)


def test_token_buckets_take_what_was_taken_elsewhere(clock: FakeClock) -> None:
    """A debit counts from when it was; it can leave a bucket in debt, and what is paid by now leaves no trace."""
    buckets = TokenBuckets(2, 4, clock.monotonic)
    buckets.debit("a", 3, clock.monotonic())
    assert [buckets.take("a") for _ in range(2)] == [None, pytest.approx(0.5)]
    buckets.debit("b", 3, clock.monotonic() - 1)
    assert [buckets.take("b") for _ in range(4)] == [None, None, None, pytest.approx(0.5)]
    buckets.debit("c", 10, clock.monotonic())
    assert buckets.take("c") == pytest.approx(3.5)
    buckets.debit("d", 4, clock.monotonic() - 2)
    TokenBuckets(0, 0, clock.monotonic).debit("a", 1, 0)
    assert len(buckets) == 3


@pytest.mark.feature("M4")
def test_address_rates_are_those_of_all_nodes(clock: FakeClock) -> None:
    """Who spent his burst on one node has none on another, for requests and connections alike."""
    one, other = (rates_of(clock, requests_per_second=2, burst=10, connections_per_minute=6) for _ in range(2))
    for _ in range(8):
        one.request("192.0.2.1", "192.0.2.1")
        one.connection("192.0.2.1", "192.0.2.1")
    exchange(clock, one, other)
    assert [other.request("192.0.2.1", "192.0.2.1") for _ in range(3)] == [None, None, pytest.approx(0.5)]
    assert other.connection("192.0.2.1", "192.0.2.1") == pytest.approx(10)
    assert other.request("192.0.2.2", "192.0.2.2") is None


@pytest.mark.feature("M4")
def test_address_rates_ban_on_all_nodes(clock: FakeClock) -> None:
    """A ban holds everywhere, and the next one is longer everywhere; heard twice it is the same."""
    one, other = (rates_of(clock, requests_per_second=1, ban=30) for _ in range(2))
    for _ in range(STRIKES + 1):
        one.request("192.0.2.1", "192.0.2.1")
    clock.advance(0.5)
    report = one.tell()
    assert report is not None
    for _ in range(2):
        other.hear(report, clock.monotonic() - 0.5)
    assert other.request("192.0.2.1", "192.0.2.1") == pytest.approx(29.5, abs=0.5)
    clock.advance(100)
    for _ in range(STRIKES + 1):
        other.request("192.0.2.1", "192.0.2.1")
    assert other.request("192.0.2.1", "192.0.2.1") == pytest.approx(60)


@pytest.mark.feature("M4")
def test_address_rates_add_up_the_strikes_of_all_nodes(clock: FakeClock) -> None:
    """Half of the refusals here and half of them there make a ban, one only, on both."""
    one, other = (rates_of(clock, requests_per_second=1, ban=30) for _ in range(2))
    for node in (one, other):
        for _ in range(1 + STRIKES // 2):
            node.request("192.0.2.1", "192.0.2.1")
    for _ in range(3):
        exchange(clock, one, other)
    assert [node.request("192.0.2.1", "192.0.2.1") for node in (one, other)] == [pytest.approx(30)] * 2


def test_address_rates_tell_what_is_new(clock: FakeClock) -> None:
    """Nothing is noted before it is asked for, told twice, or told of who has no limits."""
    rates = AddressRates(requests_per_second=5, allow=["192.0.2.8/29"], monotonic=clock.monotonic)
    rates.request("192.0.2.1", "192.0.2.1")
    assert rates.tell() is None
    rates.request("192.0.2.9", "192.0.2.9")
    rates.connection("192.0.2.1", "192.0.2.1")
    assert rates.tell() is None
    rates.request("192.0.2.1", "192.0.2.1")
    assert rates.tell() is not None
    assert rates.tell() is None


def test_address_rates_tell_a_bounded_number_of_addresses(clock: FakeClock) -> None:
    """However many come, a report has a thousand of each kind at most."""
    rates = rates_of(clock, requests_per_second=1, connections_per_minute=1, ban=30)
    for n in range(MAX_TOLD + 50):
        for _ in range(STRIKES + 1):
            rates.request(str(n), str(n))
    report = rates.tell()
    assert report is not None
    tally = Tally.from_bytes(report)
    assert [len(part) for part in (tally.requests, tally.strikes, tally.bans)] == [MAX_TOLD] * 3
    assert len(report) < 100_000


@pytest.mark.feature("M4")
@given(
    nodes=st.integers(2, 4),
    rate=st.sampled_from([0.5, 3.0, 20.0]),
    burst=st.sampled_from([1.0, 5.0, 40.0]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_nodes_together_let_through_what_is_promised(nodes: int, rate: float, burst: float, seed: int) -> None:
    """Whatever an address tries, and whenever it is told: N bursts and the rate, no more; and no less than the rate."""
    clock, chance, delay = FakeClock(), random.Random(seed), 0.5
    those = [rates_of(clock, requests_per_second=rate, burst=burst) for _ in range(nodes)]
    on_the_way: list[tuple[float, AddressRates, bytes]] = []
    taken: list[float] = []
    for _ in range(200):
        clock.advance(chance.choice((0.01, 0.05, 0.1, 0.1, 0.1)))
        now = clock.monotonic()
        for node in those:
            taken += [now for _ in range(chance.choice((0, 1, 30))) if node.request("a", "a") is None]
            report = node.tell()
            if report is not None:
                others = (other for other in those if other is not node)
                on_the_way += [(now + chance.uniform(0, delay - 0.1), other, report) for other in others]
        for arrival in [each for each in on_the_way if each[0] <= now]:
            on_the_way.remove(arrival)
            arrival[1].hear(arrival[2], now - delay)
    for begin in range(0, len(taken), 7):
        for end in range(begin, len(taken), 7):
            seconds = taken[end] - taken[begin]
            assert end - begin + 1 <= nodes * burst + rate * (seconds + nodes * delay) + 1e-6
    if burst >= rate:
        assert len(taken) >= 0.9 * rate * (taken[-1] - taken[0])
