"""Frames out of bytes."""

from __future__ import annotations

from typing import Any

import pytest
from framing import binary, frame, text

from wshttp.engine.websocket.closing import Failure
from wshttp.engine.websocket.frames import FrameReader, encode_control, encode_frame, encode_message

LIMIT = 1000


def frames(*pieces: bytes, limit: int = LIMIT, **options: Any) -> list[tuple[int, bytes]]:
    """Return what a reader makes of pieces of bytes."""
    reader, found = FrameReader(limit, **options), []
    for piece in pieces:
        reader.feed(piece)
        while (one := reader.next()) is not None:
            found.append(one)
    return found


def failure(*pieces: bytes, **options: Any) -> Failure:
    with pytest.raises(Failure) as failed:
        frames(*pieces, **options)
    return failed.value


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 999, 1000])
def test_frame_comes_out_without_its_mask(size: int) -> None:
    """In each of the forms that a length has."""
    payload = bytes(range(256)) * 4
    assert frames(binary(payload[:size])) == [(0x82, payload[:size])]


def test_frame_of_the_longest_form() -> None:
    """64 bits of length are for those that need them."""
    assert frames(binary(b"x" * 70_000), limit=70_000) == [(0x82, b"x" * 70_000)]


def test_frames_in_one_piece_come_out_one_by_one() -> None:
    """Whatever is behind a frame is the next."""
    stream = frame(0x01, b"a") + frame(0x89, b"ping") + frame(0x80, b"b") + text("c")
    assert frames(stream) == [(0x01, b"a"), (0x89, b"ping"), (0x80, b"b"), (0x81, b"c")]


def test_frame_that_is_not_whole_comes_as_fragments() -> None:
    """What has come is passed on, as a message in several frames would be; the mask goes on where it was."""
    whole = frame(0x82, b"0123456789")
    assert frames(whole[:9], whole[9:10], whole[10:]) == [(0x02, b"012"), (0x00, b"3"), (0x80, b"456789")]


def test_frame_of_which_only_the_head_is_there_is_announced() -> None:
    """Whether it may come at all can be told before its payload."""
    assert frames(frame(0x81, b"abc")[:6]) == [(0x01, b"")]


def test_fragment_that_is_not_whole_does_not_end_its_message() -> None:
    """Only the last piece of a last frame is final."""
    first, last = frame(0x01, b"ab"), frame(0x80, b"cd")
    assert frames(first[:7], first[7:] + last[:7], last[7:]) == [(1, b"a"), (0, b"b"), (0, b"c"), (0x80, b"d")]


def test_control_frame_comes_whole() -> None:
    """However many pieces it takes."""
    assert frames(*(bytes([byte]) for byte in frame(0x89, b"ping"))) == [(0x89, b"ping")]


def test_compressed_frame_is_one_where_that_was_agreed_on() -> None:
    """RSV1 belongs to the first frame of a message."""
    assert frames(frame(0xC1, b"x"), compressed=True) == [(0xC1, b"x")]
    assert frames(frame(0x42, b"x") + frame(0x80, b"y"), compressed=True) == [(0x42, b"x"), (0x80, b"y")]


@pytest.mark.parametrize("head", [0x83, 0x87, 0x8B, 0x8F, 0x03, 0x0B])
def test_opcode_that_nobody_knows_is_refused(head: int) -> None:
    """At its first byte, whatever follows."""
    refused = failure(bytes([head]))
    assert (refused.code, refused.reason) == (1002, "unknown opcode")


@pytest.mark.parametrize("head", [0xC1, 0x41, 0xC2, 0x42])
def test_compressed_frame_is_refused_where_that_was_not_agreed_on(head: int) -> None:
    """RFC 7692, section 6: and whoever sent it is told what is the matter."""
    refused = failure(bytes([head]))
    assert (refused.code, refused.reason) == (1002, "compressed, though permessage-deflate was not agreed on")


@pytest.mark.parametrize("head", [0xA1, 0x91, 0xF2, 0xC9, 0x99, 0xC8, 0xCA, 0x40])
def test_reserved_bits_are_refused(head: int) -> None:
    """At the first byte; on control frames and continuations, too."""
    assert failure(bytes([head])).reason == "reserved bits are set"


@pytest.mark.parametrize("head", [0xC9, 0xC8, 0xCA, 0xC0, 0x40, 0xA1, 0xE1, 0xD2])
def test_reserved_bits_are_refused_where_messages_are_compressed(head: int) -> None:
    """RFC 7692, section 6.1: RSV1 is for the first frame of a message alone."""
    assert failure(bytes([head]), compressed=True).code == 1002


@pytest.mark.parametrize("head", [0x08, 0x09, 0x0A])
def test_control_frame_in_fragments_is_refused(head: int) -> None:
    """RFC 6455, section 5.5."""
    assert failure(bytes([head])).reason == "control frame in fragments"


def test_frame_without_a_mask_is_refused() -> None:
    """RFC 6455, section 5.1: at the second byte, for any kind of frame."""
    for head in (0x81, 0x82, 0x89, 0x88):
        assert failure(bytes([head, 5]) + b"hello").reason == "frame without a mask"


def test_control_frame_that_is_too_long_is_refused() -> None:
    """125 bytes are allowed; what is longer is refused before it is there."""
    assert frames(frame(0x89, b"x" * 125)) == [(0x89, b"x" * 125)]
    for length in (b"\xfe", b"\xff"):
        assert failure(b"\x89" + length).reason == "control frame over 125 bytes"


@pytest.mark.parametrize(
    "length",
    [b"\xfe\x00\x7d", b"\xfe\x00\x00", b"\xff" + bytes(6) + b"\xff\xff", b"\xff" + bytes(8), b"\xff\x80" + bytes(7)],
)
def test_length_in_a_wrong_form_is_refused(length: bytes) -> None:
    """RFC 6455, section 5.2: the shortest form that holds it, and the highest bit is none of it."""
    refused = failure(b"\x82" + length)
    assert (refused.code, refused.reason) == (1002, "length of a frame not in its shortest form, or over 63 bits")


@pytest.mark.feature("M3")
def test_message_over_the_limit_is_refused_by_its_head() -> None:
    """Before the mask, and before anything of the payload."""
    assert failure(frame(0x82, b"x" * (LIMIT + 1))[:4]).code == 1009
    assert failure(b"\x82\xff" + (2**62).to_bytes(8)).code == 1009


def test_compressed_message_far_over_the_limit_is_refused_by_its_head() -> None:
    """It may be somewhat longer than what it holds, as noise is, and no more."""
    head = b"\xc2\xfe" + (LIMIT + LIMIT // 4 + 64).to_bytes(2)
    assert frames(head, compressed=True) == []
    assert failure(b"\xc2\xfe" + (2 * LIMIT).to_bytes(2), compressed=True).code == 1009


@pytest.mark.parametrize("compressed", [False, True])
def test_message_that_is_not_compressed_has_no_more_room_where_others_are(compressed: bool) -> None:
    """In one frame or in several; what a compressed message before it had is over."""
    before = frame(0xC2, b"x" * (LIMIT + 1)) if compressed else b""
    assert len(frames(before + binary(b"x" * LIMIT), compressed=compressed)) == 1 + compressed
    assert failure(before + binary(b"x" * (LIMIT + 1)), compressed=compressed).code == 1009
    parts = frame(0x02, b"x" * LIMIT) + frame(0x80, b"x")
    assert failure(before + parts, compressed=compressed).code == 1009


def test_bytes_may_come_with_the_question_for_a_frame() -> None:
    """`more` says whether there are any left; what was there before comes first."""
    reader = FrameReader(LIMIT)
    assert (reader.next(text("a")), reader.more) == ((0x81, b"a"), False)
    assert (reader.next(text("b") + text("c")[:3]), reader.more) == ((0x81, b"b"), True)
    assert (reader.next(), reader.more) == (None, True)
    assert (reader.next(text("c")[3:] + text("d")), reader.more) == ((0x81, b"c"), True)
    assert (reader.next(), reader.more, reader.next()) == ((0x81, b"d"), False, None)


def test_message_in_fragments_over_the_limit_is_refused_by_a_head() -> None:
    """The frame with which it gets too long is refused before its payload; pings between don't count."""
    part = frame(0x00, b"x" * 400)
    stream = frame(0x02, b"x" * 400) + frame(0x89, b"x" * 125) + part + frame(0x80, b"x" * 200)
    assert len(frames(stream)) == 4
    assert failure(frame(0x02, b"x" * 400) + part + part[:4]).code == 1009


def test_limit_below_the_shortest_length_holds() -> None:
    """Also where the quick way through would take it; control frames have a limit of their own."""
    assert frames(text("x" * 10) + frame(0x89, b"x" * 50), limit=10) == [(0x81, b"x" * 10), (0x89, b"x" * 50)]
    assert failure(text("x" * 11), limit=10).code == 1009


def test_next_message_starts_from_nothing() -> None:
    """What one message had of the limit is the next one's again."""
    one = frame(0x02, b"x" * 600) + frame(0x80, b"x" * 400)
    assert len(frames(one * 3)) == 6


def test_reader_keeps_nothing_of_what_it_returned() -> None:
    """An idle socket costs no buffer, however large the last read was."""
    reader = FrameReader(LIMIT)
    reader.feed(text("x" * 125) * 1000)
    while reader.next() is not None:
        pass
    assert reader._data == b""


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f" + (65536).to_bytes(8)),
    ],
)
def test_frame_of_a_server_has_the_shortest_length_and_no_mask(size: int, head: bytes) -> None:
    """RFC 6455, sections 5.1 and 5.2."""
    assert encode_message(b"x" * size) == head + b"x" * size
    assert encode_frame(0x82, b"x" * size) == head + b"x" * size


def test_text_is_sent_as_utf8() -> None:
    """And bytes as they are."""
    assert encode_message("ü") == b"\x81\x02\xc3\xbc"
    assert encode_message(b"\xff") == b"\x82\x01\xff"


def test_control_frame_that_would_be_too_long_is_an_error() -> None:
    """It is not sent."""
    assert encode_control(0x9, b"x" * 125) == b"\x89\x7d" + b"x" * 125
    with pytest.raises(ValueError, match="125 bytes"):
        encode_control(0x9, b"x" * 126)
