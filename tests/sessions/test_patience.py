"""For how long a request waits for the store in all its calls."""

from __future__ import annotations

import asyncio

import pytest

from wshttp.errors import StoreUnavailable
from wshttp.sessions.patience import Patience, patiently, seconds_left
from wshttp.testing import FakeClock


def test_waits_of_one_request_add_up(clock: FakeClock) -> None:
    """What is left of it bounds the next call, and when nothing is left none is begun."""
    patience = Patience(1.0, clock.monotonic)
    patience.enter()
    assert seconds_left(5.0) == 1.0
    for left in (0.4, -0.2):
        with patience.waiting():
            clock.advance(0.6)
            assert patience.left == pytest.approx(left)
        assert patience.left == pytest.approx(left)
    with pytest.raises(StoreUnavailable, match="as long as it may"):
        seconds_left(5.0)
    patience.end()
    assert seconds_left(5.0) == 5.0


def test_quick_answers_cost_nothing(clock: FakeClock) -> None:
    """A request may ask a well store as often as it wants to."""
    patience = Patience(1.0, clock.monotonic)
    for _ in range(100):
        with patience.waiting():
            clock.advance(0.09)
    assert patience.left == 1.0


def test_calls_at_the_same_time_are_one_wait(clock: FakeClock) -> None:
    """They all wait for the same."""
    patience = Patience(1.0, clock.monotonic)
    with patience.waiting(), patience.waiting():
        clock.advance(0.6)
    assert patience.left == pytest.approx(0.4)


def test_time_spent_otherwise_gives_patience_back(clock: FakeClock) -> None:
    """A request that streams for hours may wait as long as any each time, and never longer."""
    patience = Patience(1.0, clock.monotonic)
    with patience.waiting():
        clock.advance(0.8)
    clock.advance(0.5)
    assert patience.left == pytest.approx(0.7)
    clock.advance(100)
    assert patience.left == 1.0


def test_no_bound_where_the_store_has_none(clock: FakeClock) -> None:
    """`store.timeout: 0` waits for ever, and who is in no request waits as long as one call may."""
    assert seconds_left(5.0) == 5.0
    patience = Patience(0.0, clock.monotonic)
    patience.enter()
    with patience.waiting():
        clock.advance(1000)
    assert seconds_left(5.0) == 5.0


async def test_answer_that_does_not_come_is_given_up() -> None:
    """When patience is used up; a time-out of what is asked itself is another thing."""

    async def late() -> None:
        raise TimeoutError("of its own")

    Patience(0.01).enter()
    with pytest.raises(TimeoutError, match="of its own"):
        await patiently(late(), 5.0)
    with pytest.raises(StoreUnavailable, match="as long as it may"):
        await patiently(asyncio.get_running_loop().create_future(), 5.0)


async def test_whole_patience_leaves_it_to_the_store_to_give_up() -> None:
    """Which takes note that it is away; a request that merely has waited elsewhere says nothing of that."""
    patience = Patience(0.01)
    patience.enter()
    answer = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.02, answer.set_result, "late")
    assert await patiently(answer, 0.01) == "late"
    assert patience.left < 0.01
