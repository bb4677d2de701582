"""What nodes say: read as it was written, and left alone where it is no word."""

from __future__ import annotations

from typing import Any

import pytest

from wshttp.realtime.letter import Letter
from wshttp.realtime.place import Place
from wshttp.realtime.words import Word, decode, decode_letter, encode, encode_letter


def test_word_is_read_as_it_was_written() -> None:
    """Facts are JSON, what comes after the first line is data of any kind."""
    assert encode("ended", "abc", "logout") == b'["ended","abc","logout"]'
    assert decode(b'["drop","abc"]') == Word("drop", ["abc"])
    for payload in (b"", b"\n", b"a\nb\n", bytes(range(256))):
        assert decode(encode("x", "ä\n\ud800", None, [1, {"a": 2.5}], payload=payload)) == Word(
            "x", ["ä\n\ud800", None, [1, {"a": 2.5}]], payload
        )


@pytest.mark.parametrize("raw", [b"", b"\n", b"x", b"[]", b"{}", b"[1]", b"null", b'"x"', b"\xff\xfe", b"[" * 99_999])
def test_what_is_no_word_is_none(raw: bytes) -> None:
    """Whatever it is, it does not raise."""
    assert decode(raw) is None


@pytest.mark.parametrize("data", ["", "täxt\n", b"", b"\x00\n\xff", None, 0, 1.5, {"a": ["ä"]}, [], True], ids=repr)
def test_letter_is_read_as_it_was_written(data: Any) -> None:
    """With all that it is for."""
    for letter in (
        Letter(data),
        Letter(data, "c", "s", "u", "t", frozenset({"x"}), frozenset({"y", "z"})),
        Letter(data, include=frozenset()),
        Letter(data, topic="t", published=True, origin={"ref": "r", "user": None}),
        Letter(data, user="", topic="\ud800"),
        Letter(data, topic="t", published=True, place=Place("life", 7)),
    ):
        word = decode(encode_letter(letter))
        assert word is not None
        assert word.name == "message"
        again = decode_letter(word)
        assert again == letter
        assert type(again.data) is type(data)


@pytest.mark.parametrize("data", [{1, 2}, float("nan"), object(), "\ud800", ["\ud800"]], ids=repr)
def test_letter_that_cannot_be_sent_is_an_error(data: Any) -> None:
    """Whoever sends it hears so, and no node gets it."""
    with pytest.raises((TypeError, ValueError)):
        encode_letter(Letter(data))


def test_letter_of_an_unknown_form_is_an_error() -> None:
    """A newer version may have more."""
    with pytest.raises(ValueError):
        decode_letter(Word("message", [{}, "song", False, None]))


def test_letter_of_another_version_is_read_as_far_as_it_is_known() -> None:
    """One without a place is of an older node; what a newer one adds comes at the end, and is ignored."""
    facts = [{"topic": "t"}, "json", True, None]
    assert decode_letter(Word("message", facts, b"1")) == Letter(1, topic="t", published=True)
    newer = Word("message", [*facts, "life", 7, "what is to come"], b"1")
    assert decode_letter(newer) == Letter(1, topic="t", published=True, place=Place("life", 7))
