from __future__ import annotations

import pytest

from wshttp.engine.http_head import MAX_FIELDS, Head, parse_head
from wshttp.engine.refused import Refused


def head_of(start: str, *lines: str, host: str | None = "Host: a") -> Head:
    fields = [*([] if host is None else [host]), *lines]
    return parse_head("\r\n".join([start, *fields, "", ""]).encode("latin-1"))


def refusal_of(start: str, *lines: str, host: str | None = "Host: a") -> int:
    with pytest.raises(Refused) as raised:
        head_of(start, *lines, host=host)
    return raised.value.status


def test_head_is_read() -> None:
    """Names have their capitals, values no space around them, and several of a name keep their order."""
    head = head_of("PUT /a?b=c HTTP/1.1", "x-one:  1 ", "X-TWO:\t2\t2", "x-ONE: \xe4", "x-empty:")
    assert head.start_line == ("PUT", "/a?b=c", "HTTP/1.1")
    assert list(head.headers.get_all()) == [
        ("Host", "a"),
        ("X-One", "1"),
        ("X-One", "\xe4"),
        ("X-Two", "2\t2"),
        ("X-Empty", ""),
    ]
    assert head.headers["x-one"] == "1,\xe4"
    assert (head.length, head.keep_alive, head.expects_continue) == (0, True, False)


@pytest.mark.parametrize(
    "start",
    [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/11.1",
        "G(T / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\x85 HTTP/1.1\x85",
        "",
    ],
)
def test_request_line_that_is_none_is_refused(start: str) -> None:
    """HTTP/0.9, too."""
    assert refusal_of(start) == 400


@pytest.mark.parametrize("version", ["2.0", "1.2", "0.9", "3.0"])
def test_version_that_is_not_spoken_is_refused(version: str) -> None:
    """505 and not 400: it may be spoken elsewhere."""
    assert refusal_of(f"GET / HTTP/{version}") == 505


@pytest.mark.parametrize(
    "line",
    [
        "no colon",
        "X : 1",
        " X: folded",
        "\tX: folded",
        ": no name",
        "X(): 1",
        "X: a\0b",
        "X: a\x1fb",
        "X: \x7f",
        "X\xe4: 1",
        "X: a\rb",
        "X: a\nb",
        "X: a\r",
    ],
)
def test_header_field_that_is_none_is_refused(line: str) -> None:
    """What one reader could take for another field, or for the end of the header."""
    assert refusal_of("GET / HTTP/1.1", line) == 400


@pytest.mark.parametrize("value", ["a\tb", "a\x80b", "a\x85b", "a\xa0b", "a\xadb", "a\xffb"])
def test_value_may_have_what_is_no_ascii(value: str) -> None:
    """Printable or not: RFC 9110, section 5.5, forbids control characters of ASCII only."""
    assert head_of("GET / HTTP/1.1", f"X: {value}").headers["X"] == value


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (" X: folded", "folded lines are not taken: a header field is one line"),
        ("\tfolded", "folded lines are not taken: a header field is one line"),
        ("X : 1", "Invalid header name"),
        ("X(", "no colon in header line"),
        ("X", "no colon in header line"),
    ],
)
def test_fault_of_a_header_field_is_told(line: str, text: str) -> None:
    """For who has to find it."""
    with pytest.raises(Refused, match=f"^{text}$"):
        head_of("GET / HTTP/1.1", line)


def test_header_fields_are_counted() -> None:
    """So many small ones cost more than their bytes."""
    lines = ["X: 1"] * (MAX_FIELDS - 1)
    assert len(head_of("GET / HTTP/1.1", *lines).headers.get_list("X")) == MAX_FIELDS - 1
    assert refusal_of("GET / HTTP/1.1", *lines, "X: 1") == 431


@pytest.mark.parametrize("host", [None, "Host: a\r\nHost: a", "Host: a,b", "Host: a b", "Host: a@b", "Host: a/b"])
def test_host_is_one_and_valid(host: str | None) -> None:
    """RFC 9112, section 3.2."""
    assert refusal_of("GET / HTTP/1.1", host=host) == 400


def test_host_is_not_needed_in_http_1_0() -> None:
    """Older than the header; one that is given has to be good."""
    assert "Host" not in head_of("GET / HTTP/1.0", host=None).headers
    assert refusal_of("GET / HTTP/1.0", host="Host: a\r\nHost: b") == 400


@pytest.mark.parametrize("host", ["", "a.example", "a.example:80", "[::1]:8080", "xn--a_b"])
def test_host_may_be(host: str) -> None:
    """Names, addresses and ports; and empty, for a target without an authority."""
    assert head_of("GET / HTTP/1.1", host=f"Host: {host}").headers["Host"] == host


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("http://b.example/c?d", "/c?d", "b.example"),
        ("HTTPS://b:443", "/", "b:443"),
        ("http://b?q", "/?q", "b"),
    ],
)
def test_absolute_target_names_the_host(target: str, path: str, host: str) -> None:
    """RFC 9112, section 3.2.2: the Host header does not count then, but has to be there."""
    head = head_of(f"GET {target} HTTP/1.1")
    assert (head.start_line.path, head.headers["Host"]) == (path, host)
    assert refusal_of(f"GET {target} HTTP/1.1", host=None) == 400
    assert refusal_of(f"GET {target} HTTP/1.1", host="Host: a\r\nHost: a") == 400
    assert head_of(f"GET {target} HTTP/1.0", host=None).headers["Host"] == host


@pytest.mark.parametrize("host", ["Host: aConnection: close", "Host: a b"])
def test_absolute_target_makes_no_bad_host_good(host: str) -> None:
    """RFC 9112, section 3.2: who reads the field only, or the target only, comes to the same."""
    for version in ("1.0", "1.1"):
        assert refusal_of(f"GET http://b.example/ HTTP/{version}", host=host) == 400


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "*"),
        ("GET", "a"),
        ("GET", "ftp://a/"),
        ("GET", "http:///a"),
        ("GET", "http://a@b/"),
        ("GET", "?a"),
        ("OPTIONS", "**"),
        ("CONNECT", "*"),
        ("CONNECT", "/a"),
        ("CONNECT", "http://a/"),
        ("CONNECT", "a"),
        ("CONNECT", "a:"),
        ("CONNECT", "a:b"),
        ("CONNECT", "u@a:443"),
        ("CONNECT", "[::1]443"),
    ],
)
def test_target_of_no_form_is_refused(method: str, target: str) -> None:
    """A proxy could read it in another way."""
    assert refusal_of(f"{method} {target} HTTP/1.1") == 400


def test_target_of_the_rarer_forms() -> None:
    """OPTIONS has two ways to mean the server as a whole; CONNECT is the application's to refuse."""
    assert head_of("OPTIONS * HTTP/1.1").start_line.path == "*"
    assert head_of("OPTIONS http://a HTTP/1.1").start_line.path == "*"
    for target in ("a:443", "[::1]:443"):
        assert head_of(f"CONNECT {target} HTTP/1.1").start_line.path == target


@pytest.mark.parametrize(
    "length", ["+1", "-1", "1_0", "0x1", "1, 2", "1,", "1,\xa01", "1 1", "", "\xb2", "1" + "0" * 18]
)
def test_length_that_is_no_number_is_refused(length: str) -> None:
    """Only digits, and one number."""
    assert refusal_of("POST / HTTP/1.1", f"Content-Length: {length}") == 400


def test_length_may_be_told_again() -> None:
    """RFC 9110, section 8.6: several that are equal are one, as the application sees them, too."""
    assert head_of("POST / HTTP/1.1", "Content-Length: 0012").length == 12
    for lines in (["Content-Length: 5", "Content-Length: 5"], ["Content-Length: 5, 5"]):
        head = head_of("POST / HTTP/1.1", *lines)
        assert (head.length, head.headers.get_list("Content-Length")) == (5, ["5"])
    assert refusal_of("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 2") == 400
    assert refusal_of("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 01") == 400


def test_chunks_are_the_only_coding() -> None:
    """And only in HTTP/1.1, without a length beside it."""
    assert head_of("POST / HTTP/1.1", "Transfer-Encoding: Chunked").length is None
    for coding in ("gzip, chunked", "identity", "xchunked", "chunked, chunked", "", "\x0bchunked"):
        assert refusal_of("POST / HTTP/1.1", f"Transfer-Encoding: {coding}") == 400
    for other in ("Transfer-Encoding: chunked", "Content-Length: 0"):
        assert refusal_of("POST / HTTP/1.1", "Transfer-Encoding: chunked", other) == 400
    assert refusal_of("POST / HTTP/1.0", "Transfer-Encoding: chunked") == 400


@pytest.mark.parametrize(
    ("start", "lines", "kept"),
    [
        ("GET / HTTP/1.1", [], True),
        ("GET / HTTP/1.1", ["Connection: Close"], False),
        ("GET / HTTP/1.1", ["Connection: x, close"], False),
        ("GET / HTTP/1.1", ["Connection: x", "Connection: close"], False),
        ("GET / HTTP/1.1", ["Connection: closed"], True),
        ("GET / HTTP/1.0", [], False),
        ("GET / HTTP/1.0", ["Connection: Keep-Alive"], True),
        ("GET / HTTP/1.0", ["Connection: keep-alive, close"], False),
        ("POST / HTTP/1.0", ["Connection: keep-alive"], False),
        ("POST / HTTP/1.0", ["Connection: keep-alive", "Content-Length: 1"], True),
    ],
)
def test_connection_is_kept_as_the_client_says(start: str, lines: list[str], kept: bool) -> None:
    """By default in HTTP/1.1; in HTTP/1.0 where asked for, and where the request has an end."""
    assert head_of(start, *lines).keep_alive is kept


def test_continue_is_expected_in_http_1_1() -> None:
    """In any capitals (RFC 9110, section 10.1.1)."""
    assert head_of("POST / HTTP/1.1", "Expect: 100-Continue").expects_continue
    assert not head_of("POST / HTTP/1.0", "Expect: 100-continue").expects_continue
    assert not head_of("POST / HTTP/1.1", "Expect: something").expects_continue
