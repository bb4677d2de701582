"""Where a connection stands in a topic with history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wshttp.realtime import reader as reader_module
from wshttp.realtime.letter import Letter
from wshttp.realtime.place import Place
from wshttp.realtime.reader import Reader

pytestmark = pytest.mark.feature("C5")


def letter(offset: int, life: str = "a") -> Letter:
    return Letter(offset, topic="chat", published=True, place=Place(life, offset))


def test_reader_holds_back_until_it_has_caught_up() -> None:
    """Then it gives what is past its place, in order; what it has been given already, it is not given again."""
    reader = Reader()
    assert not any(reader.takes(letter(offset)) for offset in (3, 4, 5, 6))
    assert reader.caught_up(Place("a", 4)) == [letter(5), letter(6)]
    assert [offset for offset in (4, 5, 6, 7, 7, 6, 9, 8) if reader.takes(letter(offset))] == [7, 9]


def test_reader_goes_on_in_another_life() -> None:
    """An offset says nothing of another life's."""
    reader = Reader()
    assert not reader.takes(letter(1, "b"))
    assert reader.caught_up(Place("a", 40)) == [letter(1, "b")]
    assert reader.takes(letter(2, "b"))
    assert not reader.takes(letter(2, "b"))


def test_reader_takes_what_has_no_place() -> None:
    """A message that is not kept waits for nothing."""
    assert Reader().takes(Letter("x", topic="chat", published=True))


def test_reader_that_held_too_much_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It remembers a bounded number; where that was not enough, it says so and begins to hold anew."""
    monkeypatch.setattr(reader_module, "MAX_HELD", 2)
    reader = Reader()
    for offset in (1, 2, 3):
        assert not reader.takes(letter(offset))
    assert reader.caught_up(Place("a", 0)) is None
    assert not reader.takes(letter(4))
    assert reader.caught_up(Place("a", 3)) == [letter(4)]


def test_reader_holds_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large messages fewer: they are read on from the history; one by itself is always held."""
    monkeypatch.setattr(reader_module, "MAX_HELD_BYTES", 1000)
    large = [replace(letter(offset), data="x" * 2000) for offset in (1, 2)]
    reader = Reader()
    assert not reader.takes(large[0])
    assert reader.caught_up(Place("a", 0)) == large[:1]
    reader = Reader()
    assert not any(reader.takes(each) for each in large)
    assert reader.caught_up(Place("a", 0)) is None
