"""The calendar: what is due when."""

from __future__ import annotations

import math
import random

from wshttp.stores.calendar import INTERVAL, Calendar


def _take_all(calendar: Calendar[str], now: float) -> list[str]:
    taken = []
    while (item := calendar.take(now)) is not None:
        taken.append(item)
    return taken


def test_item_comes_at_its_time_and_once() -> None:
    """Never early, late by one interval at most, and once."""
    calendar = Calendar[str]()
    for due in (10.0, 10.01, 10.2499, 10.25):
        calendar.add("item", due)
        assert calendar.take(math.nextafter(due, 0)) is None
        assert calendar.take(due + INTERVAL) == "item"
        assert calendar.take(math.inf) is None


def test_items_come_in_order_of_their_intervals() -> None:
    """Earlier intervals first; within one, in the order in which they were entered."""
    calendar = Calendar[str]()
    for name, due in (("c", 30.2), ("d", 30.1), ("a", 10.0), ("b", 20.0), ("e", 30.0001)):
        calendar.add(name, due)
    assert _take_all(calendar, 29) == ["a", "b"]
    assert _take_all(calendar, 31) == ["c", "d", "e"]


def test_order_survives_a_removal_while_taking() -> None:
    """Items that leave while their interval is being taken do not come, and the others keep their order."""
    calendar = Calendar[str]()
    pages = {name: calendar.add(name, 10) for name in "abcdef"}
    assert calendar.take(10) == "a"
    calendar.remove("c", pages["c"])
    calendar.remove("f", pages["f"])
    calendar.remove("a", pages["a"])
    assert _take_all(calendar, 10) == ["b", "d", "e"]


def test_item_that_is_never_due_is_not_entered() -> None:
    """An infinite time takes no place, and is taken out without error."""
    calendar = Calendar[str]()
    assert calendar.add("never", math.inf) is None
    calendar.remove("never", None)
    assert calendar.take(1e300) is None


def test_item_added_while_its_interval_is_taken_comes_too() -> None:
    """Nothing that is due already is forgotten."""
    calendar = Calendar[str]()
    calendar.add("a", 10)
    calendar.add("b", 10)
    assert calendar.take(10) == "a"
    calendar.add("c", 10)
    calendar.add("past", 5)
    assert sorted(_take_all(calendar, 10)) == ["b", "c", "past"]


def test_item_that_moves_comes_once() -> None:
    """Out of one interval and into another, or the same, any number of times."""
    calendar = Calendar[str]()
    page = calendar.add("a", 10)
    for due in (10.0, 20.0, 10.0, 5.0, 20.0, 20.0):
        calendar.remove("a", page)
        page = calendar.add("a", due)
    assert _take_all(calendar, 19) == []
    assert _take_all(calendar, 100) == ["a"]


def test_take_agrees_with_a_sorted_list() -> None:
    """A random life of a calendar gives what a plain list would."""
    random_numbers = random.Random(7)
    calendar = Calendar[str]()
    model: dict[str, tuple[float, int | None]] = {}
    now = 0.0
    for n in range(3000):
        name, due = f"item {n}", now + random_numbers.uniform(0, 50)
        model[name] = (due, calendar.add(name, due))
        if random_numbers.random() < 0.5:
            gone = random_numbers.choice(list(model))
            calendar.remove(gone, model.pop(gone)[1])
        if random_numbers.random() < 0.1:
            now += random_numbers.uniform(0, 5)
            taken = _take_all(calendar, now)
            assert all(model.pop(item)[0] <= now for item in taken)
            assert all(now < due + INTERVAL for due, _ in model.values())
    assert sorted(_take_all(calendar, now + 60)) == sorted(model)


def test_memory_is_bounded_by_what_is_in_it() -> None:
    """Items that leave early leave nothing: neither in many intervals nor again and again in one."""
    calendar = Calendar[int]()
    stays = calendar.add(-1, 1e6)
    for n in range(100_000):
        calendar.remove(n, calendar.add(n, n))
    for n in range(10_000):
        calendar.remove(n, calendar.add(n, 5.0))
    assert len(calendar._pages) == 1
    assert len(calendar._heap) < 100
    calendar.remove(-1, stays)
    assert calendar.take(math.inf) is None


def test_item_beyond_all_time_is_never_due() -> None:
    """A time that is finite, and whose interval is not."""
    calendar = Calendar[str]()
    assert calendar.add("a", 1e308) is None
    assert calendar.take(1e308) is None
