"""Messages and control frames, out of bytes in any pieces."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from framing import binary, close, cuts, exhaustive, frame, text
from hypothesis import given
from hypothesis import strategies as st

from wshttp.engine.websocket.closing import Close, Failure
from wshttp.engine.websocket.deflate import DeflateLimits, agree
from wshttp.engine.websocket.messages import PART, MessageReader, Ping, Pong

LIMIT = 2000
DEFLATE = agree(["permessage-deflate"], DeflateLimits())


def events(*pieces: bytes, limit: int = LIMIT, deflate: Any = None) -> list[Any]:
    """Return what a reader makes of pieces of bytes, and at the end the failure, if it came to that."""
    reader, found = MessageReader(limit, deflate), []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next()) is not None:
                if event is not PART:
                    found.append(event)
    except Failure as failure:
        found.append((failure.code, failure.reason))
    return found


def squeezed(data: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def test_messages_and_control_frames_come_in_order() -> None:
    """Text is `str`, binary is `bytes`."""
    stream = text("grüße") + binary(b"\xff") + frame(0x89, b"p") + frame(0x8A, b"q") + text("") + close(1000, b"bye")
    assert events(stream) == ["grüße", b"\xff", Ping(b"p"), Pong(b"q"), "", Close(1000, "bye")]


def test_message_in_fragments_is_one() -> None:
    """With control frames in between, and a character cut in two."""
    euro = "€".encode()
    parts = [
        frame(0x01, b"a" + euro[:1]),
        frame(0x89, b"p"),
        frame(0x00, euro[1:2]),
        frame(0x00),
        frame(0x80, euro[2:]),
    ]
    assert events(*parts) == [Ping(b"p"), "a€"]
    assert events(frame(0x02, b"a") + frame(0x80, b"b")) == [b"ab"]
    assert events(frame(0x01) + frame(0x80)) == [""]


def test_each_frame_is_an_event_of_its_own() -> None:
    """Also one that is empty and completes nothing, or is not whole: who counts events counts them all."""
    reader = MessageReader(LIMIT)
    reader.feed(frame(0x01) + frame(0x00) * 3 + frame(0x80, b"a") + frame(0x82, b"bcd")[:-1])
    assert [reader.next() for _ in range(7)] == [PART, PART, PART, PART, "a", PART, None]


def test_ten_thousand_fragments_of_a_byte_are_one_message() -> None:
    """In no more memory than it has bytes, and without looking at it again and again."""
    stream = frame(0x02, b"x") + frame(0x00, b"x") * 9_998 + frame(0x80, b"x")
    assert events(stream, limit=10_000) == [b"x" * 10_000]
    assert events(stream, limit=9_999) == [(1009, "message too big")]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (frame(0x80, b"x"), "continuation of nothing"),
        (frame(0x00, b"x"), "continuation of nothing"),
        (text("a") + frame(0x80, b"x"), "continuation of nothing"),
        (frame(0x01, b"a") + text("b"), "new message before the end of another"),
        (frame(0x02, b"a") + frame(0x01, b"b"), "new message before the end of another"),
    ],
)
def test_fragments_in_a_wrong_order_are_refused(stream: bytes, reason: str) -> None:
    """RFC 6455, section 5.4."""
    assert events(stream)[-1] == (1002, reason)


def test_frame_out_of_order_is_refused_before_its_payload() -> None:
    """Its head is enough."""
    assert events(frame(0x80, b"x" * 100)[:6]) == [(1002, "continuation of nothing")]
    assert events(frame(0x01, b"a"), binary(b"x" * 100)[:6]) == [(1002, "new message before the end of another")]


@pytest.mark.parametrize(
    "stream",
    [
        frame(0x81, b"\xc3\x28"),
        frame(0x81, b"\xe2\x82"),
        frame(0x01, b"\xe2\x82") + frame(0x80, b""),
        frame(0x01, b"\xed\xa0"),
        frame(0x01, b"ok") + frame(0x00, b"\xf4\x90"),
        frame(0x81, b"x" * 50 + b"\xff" + b"x" * 50)[:60],
    ],
)
def test_text_that_is_no_utf8_is_refused_as_soon_as_it_shows(stream: bytes) -> None:
    """Within a frame, at the end of one, or before a frame is whole."""
    assert events(stream) == [(1007, "invalid UTF-8")]


def test_nothing_is_read_behind_a_close() -> None:
    """RFC 6455, section 5.5.1: what follows is dropped, right or wrong."""
    assert events(close(1001) + text("late") + b"\xff\xff", b"\xff") == [Close(1001, "")]


@pytest.mark.parametrize(
    ("stream", "code"),
    [(frame(0x88, b"\x03"), 1002), (close(1005), 1002), (close(999), 1002), (close(1000, b"\xff"), 1007)],
)
def test_close_that_is_malformed_fails(stream: bytes, code: int) -> None:
    """It is answered with what is wrong with it."""
    assert events(stream)[0][0] == code


def test_compressed_messages_and_others_mix() -> None:
    """RSV1 says which is which, frame by frame."""
    stream = frame(0xC1, squeezed(b"hello")) + text("plain") + frame(0x02, b"in ") + frame(0x80, b"two")
    assert events(stream, deflate=DEFLATE) == ["hello", "plain", b"in two"]


def test_compressed_message_in_fragments_has_pings_between() -> None:
    """A control frame does not take part in the compression of what surrounds it."""
    data = squeezed(b"hello, hello, hello")
    parts = [frame(0x41, data[:4]), frame(0x89, b"p"), frame(0x00, data[4:]), frame(0x8A, b""), frame(0x80, b"")]
    assert events(*parts, frame(0xC1, squeezed(b"again")), deflate=DEFLATE) == [
        Ping(b"p"),
        Pong(b""),
        "hello, hello, hello",
        "again",
    ]


def test_compressed_message_beyond_the_limit_is_refused_as_it_inflates() -> None:
    """What counts is how long it gets; the rest of it is not waited for."""
    bomb = squeezed(bytes(1_000_000))
    assert events(frame(0xC2, bomb), limit=1_000_000, deflate=DEFLATE) == [bytes(1_000_000)]
    assert events(frame(0xC2, bomb), deflate=DEFLATE) == [(1009, "message too big after inflation")]
    assert events(frame(0x42, bomb)[:40], deflate=DEFLATE) == [(1009, "message too big after inflation")]


def test_compressed_message_may_be_longer_than_what_it_holds() -> None:
    """Noise gets longer by compression: a message of just the limit passes all the same."""
    noise = b"".join(hash((place, "noise")).to_bytes(8, signed=True) for place in range(250))
    stored = b"".join(
        b"\x00" + len(part).to_bytes(2, "little") + (len(part) ^ 0xFFFF).to_bytes(2, "little") + part
        for part in (noise[at : at + 20] for at in range(0, 2000, 20))
    )
    assert len(stored) == 2500
    assert events(frame(0xC2, stored + b"\x00"), deflate=DEFLATE) == [noise]


def test_compressed_text_is_checked_as_it_inflates() -> None:
    """The end of the message is not waited for."""
    data = squeezed(b"x" * 100 + b"\xff" + bytes(hash(n) % 251 for n in range(7000)))
    assert events(frame(0x41, data)[:1000], deflate=DEFLATE, limit=10_000) == [(1007, "invalid UTF-8")]


def test_message_that_is_not_compressed_as_it_says_is_refused() -> None:
    """1007, as for any data that is not what its type says."""
    assert events(frame(0xC1, b"\xff\xff"), deflate=DEFLATE) == [(1007, "invalid compressed data")]


FRAMES = st.one_of(
    st.text(max_size=200).map(text),
    st.binary(max_size=200).map(binary),
    st.binary(max_size=200).map(lambda data: frame(0xC2, squeezed(data))),
    st.text(max_size=200).map(lambda data: frame(0xC1, squeezed(data.encode()))),
    st.binary(max_size=20).map(lambda data: frame(0x89, data)),
    st.binary(max_size=20).map(lambda data: frame(0x8A, data)),
    st.tuples(st.text(max_size=20), st.text(max_size=20)).map(
        lambda two: frame(0x01, two[0].encode()) + frame(0x89, b"between") + frame(0x80, two[1].encode())
    ),
    st.tuples(st.sampled_from([0x00, 0x01, 0x02, 0x41, 0x80, 0x81, 0x83, 0xC2, 0x88, 0x09]), st.binary(max_size=9)).map(
        lambda two: frame(*two)
    ),
    st.binary(min_size=1, max_size=9),
    st.integers(120, 130).map(lambda size: binary(bytes(size))),
    st.sampled_from([1000, 1005, 3000]).map(close),
)


@exhaustive
@given(st.lists(FRAMES, max_size=8).map(b"".join), st.integers())
def test_any_split_of_the_same_bytes_gives_the_same(stream: bytes, seed: int) -> None:
    """Right or wrong: what comes of bytes depends on nothing but the bytes."""
    assert events(*cuts(stream, seed), deflate=DEFLATE) == events(stream, deflate=DEFLATE)


@exhaustive
@given(st.lists(FRAMES, max_size=8).map(b"".join))
def test_single_bytes_give_the_same(stream: bytes) -> None:
    """The worst of all splits."""
    assert events(*(bytes([byte]) for byte in stream), deflate=DEFLATE) == events(stream, deflate=DEFLATE)


@exhaustive
@given(st.binary(max_size=300))
def test_noise_never_raises_but_a_failure(noise: bytes) -> None:
    """Whatever comes over a wire."""
    events(noise, deflate=DEFLATE)
