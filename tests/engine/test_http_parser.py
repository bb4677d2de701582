"""Heads and bodies, one after the other, in pieces of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshttp.engine.http_parser import HttpParser
from wshttp.engine.refused import Refused

MOST = 64 * 1024
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

Seen = tuple[str, bytes] | int


def seen_in(parser: HttpParser, most: int = MOST, most_body: int = MOST, piece: int = MOST) -> list[Seen]:
    """Return the requests that are whole, and the status of a refusal behind them."""
    seen: list[Seen] = []
    try:
        while (head := parser.head(most)) is not None:
            parser.expect_body(head, most_body)
            body = b""
            while data := parser.body(piece):
                assert len(data) <= piece
                body += data
            if data is None:
                return seen
            seen.append((head.start_line.path, body))
    except Refused as refused:
        seen.append(refused.status)
    return seen


def requests_in(data: bytes, most: int = MOST, most_body: int = MOST) -> list[Seen]:
    parser = HttpParser()
    parser.buffer.append(data)
    return seen_in(parser, most, most_body)


def parsed_by_byte(data: bytes, most: int = MOST) -> Seen | None:
    """Return the first head's path or the refusal, as soon as it is known."""
    parser = HttpParser()
    for byte in data:
        parser.buffer.append(bytes([byte]))
        try:
            head = parser.head(most)
        except Refused as refused:
            return refused.status
        if head is not None:
            return (head.start_line.path, b"")
    return None


def test_requests_follow_each_other() -> None:
    """With a length, in chunks and without a body; what comes after stays."""
    data = (
        GET
        + b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET"
        + CHUNKED
        + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    parser = HttpParser()
    parser.buffer.append(data + b"GET /half")
    assert seen_in(parser) == [("/", b""), ("/b", b"GET"), ("/", b"abc")]
    assert len(parser.buffer) == 9


@given(st.data())
def test_pieces_make_no_difference(data: st.DataObject) -> None:
    """Each request comes out of any cuts as out of one piece, up to the same refusal."""
    parts = st.sampled_from(
        [GET, b"\r\n", CHUNKED, b"3\r\nabc\r\n", b"0\r\n\r\n", b"a\r\n0123456789\r\n", b"x", b"\r", b"\n"]
    )
    whole = b"".join(data.draw(st.lists(parts, max_size=12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    parser, seen = HttpParser(), []
    open_body = False
    body = b""
    path = ""
    try:
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            parser.buffer.append(whole[start:end])
            while True:
                if not open_body:
                    head = parser.head(MOST)
                    if head is None:
                        break
                    parser.expect_body(head, MOST)
                    open_body, body, path = True, b"", head.start_line.path
                piece = parser.body(4)
                if piece is None:
                    break
                body += piece
                if not piece:
                    seen.append((path, body))
                    open_body = False
    except Refused as refused:
        seen.append(refused.status)
    assert seen == requests_in(whole)


def test_empty_lines_before_a_request_are_passed_over() -> None:
    """RFC 9112, section 2.2; in pieces, too, and without a lone line feed."""
    assert requests_in(b"\r\n\r\n" + GET) == [("/", b"")]
    assert parsed_by_byte(b"\r\n\r\n" + GET) == ("/", b"")
    assert requests_in(b"\n" + GET) == [400]


def test_lone_line_feed_is_refused_as_soon_as_it_comes() -> None:
    """Who ends lines so would wait for an answer without end."""
    assert parsed_by_byte(b"GET / HTTP/1.1\nHost: a\n\n") == 400
    assert requests_in(b"GET / HTTP/1.1\n") == [400]
    assert parsed_by_byte(GET) == ("/", b"")


def test_line_feed_behind_a_body_is_refused_as_soon_as_it_comes() -> None:
    """A CR before it that was the body's makes no line end of the two."""
    data = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n\r"
    assert requests_in(data) == [("/", b"\r")]
    assert requests_in(data + b"\n") == [("/", b"\r"), 400]
    assert requests_in(data + b"\n" + GET) == [("/", b"\r"), 400]


def test_head_has_at_most_so_many_bytes() -> None:
    """The empty line counts; whether the line or the fields are too long is told apart."""
    assert requests_in(GET, most=len(GET)) == [("/", b"")]
    assert requests_in(GET, most=len(GET) - 1) == [431]
    assert parsed_by_byte(GET, most=len(GET) - 1) == 431
    long = b"GET /" + b"a" * 100 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert requests_in(long, most=100) == [414]
    assert parsed_by_byte(long, most=100) == 414
    assert requests_in(long[:101], most=100) == [414]


def test_body_has_at_most_so_many_bytes() -> None:
    """By its length before it comes, by its chunks as soon as one goes over."""
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    assert requests_in(head % 10 + b"0123456789", most_body=10) == [("/", b"0123456789")]
    assert requests_in(head % 11, most_body=10) == [413]
    assert requests_in(CHUNKED + b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n", most_body=10) == [("/", b"0123456789")]
    assert requests_in(CHUNKED + b"5\r\n01234\r\n6\r\n", most_body=10) == [413]


@pytest.mark.parametrize(
    "chunks",
    [
        b"x",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1;a=b\r\n",
        b"1\n",
        b"1\r\nab",
        b"1\r\na\n",
        b"1\r\na\rb",
        b"0\r\nTrailer: x\r\n\r\n",
        b"0\r\n\n",
        b"1" * 17,
        b"f" * 16 + b"\r\n",
    ],
)
def test_chunk_that_is_none_is_refused(chunks: bytes) -> None:
    """Sizes are hexadecimal digits and nothing else; there are no extensions and no trailers."""
    assert requests_in(CHUNKED + chunks) in ([400], [413])


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        (b"1;a=b\r\n", "extensions are not taken"),
        (b"0\r\nTrailer: x\r\n\r\n", "trailers are not taken"),
        (b"1\r\nab", "improperly terminated chunk"),
    ],
)
def test_refusal_of_a_chunk_tells_why(chunks: bytes, said: str) -> None:
    """What a client may send elsewhere is named."""
    parser = HttpParser()
    parser.buffer.append(CHUNKED + chunks)
    head = parser.head(MOST)
    assert head is not None
    parser.expect_body(head, MOST)
    with pytest.raises(Refused, match=said):
        while parser.body(MOST):
            pass


def test_small_chunks_come_together() -> None:
    """They cost their reader no more calls than large ones."""
    parser = HttpParser()
    parser.buffer.append(CHUNKED + b"1\r\na\r\n" * 1000 + b"0\r\n\r\n")
    head = parser.head(MOST)
    assert head is not None
    parser.expect_body(head, MOST)
    assert parser.body(600) == b"a" * 600
    assert parser.body(600) == b"a" * 400
    assert parser.body(600) == b""
    assert parser.body(600) == b""


def test_one_piece_is_not_copied() -> None:
    """A large body goes through as it was read."""
    parser = HttpParser()
    parser.buffer.append(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n")
    head = parser.head(MOST)
    assert head is not None
    parser.expect_body(head, MOST)
    assert parser.body(MOST) is None
    data = bytes(50_000)
    parser.buffer.append(data)
    assert parser.body(MOST) is data
