"""permessage-deflate: what is agreed on, and what goes in and out."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest
from framing import exhaustive
from hypothesis import given
from hypothesis import strategies as st

from wshttp.engine.websocket.closing import Failure
from wshttp.engine.websocket.deflate import Deflate, DeflateLimits, Deflater, Inflater, agree

PLENTY = 10**7


def agreed(offer: str = "permessage-deflate", **limits: int) -> Deflate:
    found = agree([offer], DeflateLimits(**limits))
    assert found is not None
    return found


def squeezed(data: bytes, bits: int = 15, *, end: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """Return a message as a client compresses it, by zlib itself."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -bits)
    return (compressor.compress(data) + compressor.flush(end)).removesuffix(b"\x00\x00\xff\xff")


def inflated(inflater: Inflater, *pieces: bytes, room: int = PLENTY) -> bytes:
    """Return a message as a reader inflates it, whose room shrinks with each piece."""
    data = b""
    for piece in pieces:
        data += inflater.inflate(piece, room - len(data))
    return data + inflater.end(room - len(data))


# --- what is agreed on ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("permessage-deflate", "permessage-deflate"),
        ("Permessage-Deflate", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=15", "permessage-deflate"),
        ("permessage-deflate; client_max_window_bits=8", "permessage-deflate; client_max_window_bits=8"),
        ("permessage-deflate ;server_max_window_bits = 9", "permessage-deflate; server_max_window_bits=9"),
        ('permessage-deflate; server_max_window_bits="10"', "permessage-deflate; server_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=15", "permessage-deflate; server_max_window_bits=15"),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        ),
    ],
)
def test_offer_that_can_be_met_is_answered(offer: str, answer: str) -> None:
    """RFC 7692, section 7.1: what was asked for is granted, and nothing that was not offered is said."""
    assert agreed(offer).answer == answer


def test_limit_on_windows_holds_in_both_directions() -> None:
    """A narrower window than asked for is ours to choose; a client that can't be told keeps its own."""
    asked = agreed("permessage-deflate; client_max_window_bits; server_max_window_bits=14", window_bits=11)
    assert (asked.server_bits, asked.client_bits) == (11, 11)
    assert asked.answer == "permessage-deflate; server_max_window_bits=11; client_max_window_bits=11"
    untold = agreed("permessage-deflate", window_bits=11)
    assert (untold.server_bits, untold.client_bits) == (11, 15)
    assert untold.answer == "permessage-deflate; server_max_window_bits=11"


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; client_max_window_bits=soup",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; spice=1",
        "permessage-deflate; spice",
        "permessage-deflate;",
        "permessage-deflate;;",
        "permessage-deflate client_max_window_bits",
        "permessage-deflate-2",
        "x-webkit-deflate-frame",
        'permessage-deflate; server_max_window_bits="10',
        '"permessage-deflate"',
        "; server_max_window_bits=10",
        "=",
        "",
    ],
)
def test_offer_that_cannot_be_met_is_declined_and_the_next_is_tried(offer: str) -> None:
    """RFC 7692, section 5.1: in one line or in several."""
    assert agree([offer], DeflateLimits()) is None
    assert agree([offer, "permessage-deflate; server_max_window_bits=10"], DeflateLimits()) is not None
    if '"' not in offer:
        line = f"{offer}, permessage-deflate; server_max_window_bits=12, permessage-deflate"
        assert agreed(line).server_bits == 12


def test_offer_within_quotes_is_none() -> None:
    """A comma in a quoted string does not begin another; a line whose quotes don't close offers nothing."""
    assert agree([r'x; y="a, permessage-deflate, \", permessage-deflate"'], DeflateLimits()) is None
    assert agree(['permessage-deflate, x; y="a'], DeflateLimits()) is None


@pytest.mark.parametrize("piece", ['"\\', '"', "; a", '="a"', "; =", "\\"])
def test_offer_that_is_malformed_takes_no_time(piece: str) -> None:
    """Reading is linear: a header of 100,000 characters is one step, and would be minutes with a step back for each."""
    assert agree(["permessage-deflate" + piece * (100_000 // len(piece))], DeflateLimits()) is None


@exhaustive
@given(st.text(alphabet='permessage-deflate; ,="\\_15', max_size=60))
def test_offer_never_raises(offer: str) -> None:
    """Whatever it is, there is an agreement or none."""
    agree([offer, "permessage-deflate; " + offer], DeflateLimits())


def test_options_are_those_of_tornado_and_the_window() -> None:
    """What is not given is as Tornado has it, but for the level, which is zlib's own."""
    assert DeflateLimits.of({}) == DeflateLimits(level=6, mem_level=8, window_bits=15)
    options = {"compression_level": 1, "mem_level": 5, "window_bits": 10}
    assert DeflateLimits.of(options) == DeflateLimits(level=1, mem_level=5, window_bits=10)


# --- out --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(9, 16))
def test_message_is_compressed_for_a_window(bits: int) -> None:
    """A client with the window that was agreed on can read it, across messages."""
    deflater = Deflater(agreed(f"permessage-deflate; server_max_window_bits={bits}"))
    client = zlib.decompressobj(-bits)
    for message in (b"", b"", b"hello" * 3000, bytes(range(256)) * 300, b"x"):
        assert client.decompress(deflater.deflate(message) + b"\x00\x00\xff\xff") == message


def test_context_is_taken_over_unless_the_client_asks_not_to() -> None:
    """The second of two equal messages costs next to nothing, or as much as the first."""
    message = bytes(range(256))
    takes = Deflater(agreed())
    assert len(takes.deflate(message)) > 200 > 20 > len(takes.deflate(message))
    forgets = Deflater(agreed("permessage-deflate; server_no_context_takeover"))
    assert forgets.deflate(message) == forgets.deflate(message)


# --- in ---------------------------------------------------------------------------------------------------


@exhaustive
@given(st.lists(st.binary(max_size=400), max_size=5), st.integers(1, 50))
def test_messages_are_inflated_in_any_pieces(messages: list[bytes], size: int) -> None:
    """One after the other, with the context of those before."""
    compressor, inflater = zlib.compressobj(6, zlib.DEFLATED, -15), Inflater(agreed())
    for message in messages:
        data = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
        data = data.removesuffix(b"\x00\x00\xff\xff") or b"\x00"
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert inflated(inflater, *pieces) == message


def test_context_of_a_client_that_takes_none_over_is_dropped() -> None:
    """Between messages such a socket keeps nothing of zlib."""
    inflater = Inflater(agreed("permessage-deflate; client_no_context_takeover"))
    for _ in range(20):  # more than one message may have streams
        assert inflated(inflater, squeezed(b"hello" * 20)) == b"hello" * 20
        assert inflater._decompressor is None


def test_message_in_one_piece_is_inflated_as_in_several() -> None:
    """With its room, its streams, and what it may refer to."""
    compressor, inflater = zlib.compressobj(6, zlib.DEFLATED, -15), Inflater(agreed())
    for _ in range(3):
        data = compressor.compress(b"hello" * 20) + compressor.flush(zlib.Z_SYNC_FLUSH)
        assert inflater.whole(data.removesuffix(b"\x00\x00\xff\xff"), 100) == b"hello" * 20
    with pytest.raises(Failure, match="1009"):
        Inflater(agreed()).whole(squeezed(b"hello" * 20), 99)
    with pytest.raises(Failure, match="too many streams"):
        Inflater(agreed()).whole(b"\x03\x00" * 10_000, 100)


def test_message_that_inflates_beyond_its_room_is_cut_off() -> None:
    """A bomb of a thousand to one is stopped at the limit, and not a byte later."""
    bomb = squeezed(bytes(10**6))
    assert len(bomb) < 1100
    assert inflated(Inflater(agreed()), bomb, room=10**6) == bytes(10**6)
    with pytest.raises(Failure) as failure:
        inflated(Inflater(agreed()), bomb, room=10**6 - 1)
    assert failure.value.code == 1009


def test_message_that_inflates_beyond_its_room_takes_no_memory() -> None:
    """It is not made first and measured then."""
    bomb = squeezed(bytes(10**7))
    tracemalloc.start()
    try:
        with pytest.raises(Failure):
            inflated(Inflater(agreed()), bomb, room=1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10**6


def test_message_without_room_may_still_be_empty() -> None:
    """Room for nothing is enough for nothing."""
    assert inflated(Inflater(agreed()), squeezed(b""), room=0) == b""
    with pytest.raises(Failure):
        inflated(Inflater(agreed()), squeezed(b"x"), room=0)


@pytest.mark.parametrize("data", [b"\xff", b"\x07", b"\x00\x01\x00\x00\x00", b"\x02\x00\x00\x00junk"])
def test_data_that_is_not_compressed_is_refused(data: bytes) -> None:
    """It is the peer's fault, not an error of ours."""
    with pytest.raises(Failure) as failure:
        inflated(Inflater(agreed()), data)
    assert failure.value.code == 1007


def test_message_that_ends_its_stream_is_read() -> None:
    """RFC 7692, section 7.2.3.4: a block may be marked as the last, and something may follow all the same."""
    inflater = Inflater(agreed())
    final = squeezed(b"first", end=zlib.Z_FINISH)
    assert inflated(inflater, final + b"\x00") == b"first"
    assert inflated(inflater, final + squeezed(b" second")) == b"first second"
    assert inflated(inflater, squeezed(b"third")) == b"third"


def test_message_of_endless_streams_is_refused() -> None:
    """Each stream costs a new object of zlib's, and its sender two bytes."""
    with pytest.raises(Failure) as failure:
        inflated(Inflater(agreed()), b"\x03\x00" * 10_000)
    assert failure.value.code == 1007


def test_objects_of_zlib_are_made_when_they_are_needed() -> None:
    """Compression costs a socket nothing before its first compressed message."""
    deflater, inflater = Deflater(agreed()), Inflater(agreed())
    assert (deflater._compressor, inflater._decompressor) == (None, None)
