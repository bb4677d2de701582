from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshttp.engine.proxy_protocol import V1_MAXIMUM, V2_MAXIMUM, NeedMore, Parsed, ProxyHeaderParser
from wshttp.errors import BadRequest

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def v2(command: int = 0x21, family: int = 0x11, block: bytes | None = None, tlvs: bytes = b"") -> bytes:
    if block is None:
        block = ip_address("192.0.2.1").packed + ip_address("10.0.0.1").packed + b"\x04\xd2\x00\x50"
    body = block + tlvs
    return SIGNATURE + bytes([command, family]) + len(body).to_bytes(2) + body


@pytest.mark.parametrize(
    ("header", "ip"),
    [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\r\n", "192.0.2.1"),
        (b"PROXY TCP6 2001:DB8::1 ::1 1234 80\r\n", "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1234 80\r\n", "192.0.2.1"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        (v2(), "192.0.2.1"),
        (v2(family=0x12), "192.0.2.1"),
        (v2(tlvs=b"\x04\x00\x02ab"), "192.0.2.1"),
        (v2(family=0x21, block=ip_address("2001:db8::1").packed + bytes(20)), "2001:db8::1"),
        (v2(family=0x21, block=ip_address("::ffff:192.0.2.1").packed + bytes(20)), "192.0.2.1"),
        (v2(family=0x31, block=bytes(216)), None),
        (v2(family=0x00, block=b""), None),
        (v2(family=0x00, block=b"whatever"), None),
        (v2(command=0x20), None),
        (v2(command=0x20, family=0xEE, block=b"junk"), None),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_parser_of_a_header_in_pieces_gives_the_source(header: bytes, ip: str | None, piece: int) -> None:
    """However it is cut, the header gives one answer, and what follows it is left to the next protocol."""
    parser = ProxyHeaderParser()
    data = header + b"GET / HTTP/1.1\r\n"
    for start in range(0, len(data), piece):
        result = parser.feed(data[start : start + piece])
        if isinstance(result, Parsed):
            assert result.source_ip == ip
            assert start + result.consumed == len(header)
            return
        assert result == NeedMore()
    pytest.fail("the header did not end")


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4 ",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 80\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1234\r\n",
        b"PROXY TCP4  192.0.2.1 10.0.0.1 1234 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 1234 80 \r\n",
        b"PROXY TCP4 2001:db8::1 10.0.0.1 1234 80\r\n",
        b"PROXY TCP6 192.0.2.1 ::1 1234 80\r\n",
        b"PROXY TCP4 192.0.2.1 junk 1234 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
        b"PROXY TCP4 192.0.2.1 10.0.0.1 -1 80\r\n",
        b"PROXY UDP4 192.0.2.1 10.0.0.1 1234 80\r\n",
        b"PROXY \r\n",
        b"PROXY \xff\r\n",
        b"PROXY UNKNOWN " + b"x" * V1_MAXIMUM + b"\r\n",
        v2(command=0x11),
        v2(command=0x22),
        v2(family=0x13),
        v2(family=0x41),
        v2(block=b"\x01" * 11),
        v2(family=0x21, block=bytes(35)),
        SIGNATURE + b"\x21\x11" + (V2_MAXIMUM - 15).to_bytes(2),
    ],
)
def test_parser_of_no_header_raises(data: bytes) -> None:
    """What is not exactly a header is refused, never guessed at."""
    with pytest.raises(BadRequest):
        ProxyHeaderParser().feed(data)


def test_parser_of_a_line_of_the_maximum_takes_it_and_one_more_byte_not() -> None:
    """107 bytes with CRLF are a line; 107 without are refused before a 108th is waited for."""
    longest = b"PROXY UNKNOWN ".ljust(V1_MAXIMUM - 2, b"x") + b"\r\n"
    assert ProxyHeaderParser().feed(longest) == Parsed(None, V1_MAXIMUM)
    with pytest.raises(BadRequest):
        ProxyHeaderParser().feed(longest[:-2] + b"xx")


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_parser_of_any_bytes_answers_or_refuses(data: bytes, start: bytes) -> None:
    """No input makes it fail in another way."""
    try:
        result = ProxyHeaderParser().feed(start + data)
    except BadRequest:
        return
    assert isinstance(result, NeedMore) or 0 < result.consumed <= len(start + data)
