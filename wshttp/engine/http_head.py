"""A request's line and header fields: bytes in, a `Head` or `Refused` out; no I/O.

Here stand the rules of RFC 9110 and 9112 on what a server must not accept, and where those leave a choice, the stricter
side of it: two readers of one message that do not agree where it ends are what request smuggling is made of.
What is said of a fault are Tornado's words (6.6) where it has any, for those who look for them in logs.
"""

from __future__ import annotations

import re
from typing import Final

from tornado.httputil import HTTPHeaders, RequestStartLine

from wshttp.engine.refused import Refused
from wshttp.header_fields import FIELD_NAMES, Fields, headers_of

MAX_FIELDS: Final = 256
"""Header fields of one request; browsers send some twenty, and proxies add a handful."""

_ALLOWED: Final = bytes(code for code in range(256) if code in b"\t\r\n" or (code >= 0x20 and code != 0x7F))
"""What may stand in a header: field-content of RFC 9110 section 5.5, and the line ends."""

_REQUEST: Final = r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^\s\x7f]+) "
_REQUEST_LINE: Final = re.compile(_REQUEST + r"(HTTP/1\.[01])", re.ASCII)
_OTHER_VERSION: Final = re.compile(_REQUEST + r"HTTP/[0-9]\.[0-9]", re.ASCII)
_HOST: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+;=\[\]:]++|%[0-9A-Fa-f]{2})*+")
"""As Tornado's (6.6), which is looser than RFC 3986 and knows no comma: that joins several Host fields."""

_ABSOLUTE: Final = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE)
_AUTHORITY: Final = re.compile(r"(?:[^][:@/?#]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
"""As many digits as any 64-bit reader takes for the same number."""


class Head:
    """What stands before a request's body.

    `length` is that of the body in bytes, `None` where it comes in chunks.
    `keep_alive`: the client is ready to send another request on this connection.
    """

    __slots__ = ("expects_continue", "headers", "keep_alive", "length", "start_line")

    def __init__(
        self,
        start_line: RequestStartLine,
        headers: HTTPHeaders,
        length: int | None,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self.start_line = start_line
        self.headers = headers
        self.length = length
        self.keep_alive = keep_alive
        self.expects_continue = expects_continue


def parse_head(data: bytes) -> Head:
    """Read everything up to and with the empty line. Raises `Refused`."""
    lines = data.decode("latin-1").split("\r\n")
    # What is printable throughout has no control characters; other line ends are such, too.
    if not "".join(lines).isprintable():
        _check_characters(data, len(lines) - 1)
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise _bad_request_line(lines[0])
    start_line = tuple.__new__(RequestStartLine, match.groups())  # its own `__new__` is Python and takes twice as long
    method, target, version = start_line
    fields = _fields(lines)
    _check_host(fields, version)
    if target[0] != "/" or method == "CONNECT":
        start_line = RequestStartLine(method, _other_form(method, target, fields), version)
        _check_host(fields, version)
    length = _body_length(fields, version) if "Content-Length" in fields or "Transfer-Encoding" in fields else 0
    expects = "Expect" in fields and version == "HTTP/1.1" and list_elements(fields["Expect"]) == ["100-continue"]
    keep_alive = _keeps_alive(method, version, fields) if "Connection" in fields else version == "HTTP/1.1"
    return Head(start_line, headers_of(fields), length, keep_alive, expects)


def _check_characters(data: bytes, ends: int) -> None:
    # RFC 9112 section 2.2: a CR or LF by itself must not be taken for the end of a line by one, and not by another.
    if data.count(b"\n") != ends or data.count(b"\r") != ends:
        raise Refused(400, "lines end with CR LF, and neither stands alone")
    if data.translate(None, _ALLOWED):
        raise Refused(400, "a header has control characters")


def _bad_request_line(line: str) -> Refused:
    if _OTHER_VERSION.fullmatch(line):
        return Refused(505, "this server speaks HTTP/1.0 and HTTP/1.1")
    # A line without a version is HTTP/0.9, whose answers have no header: nobody asks for one by mistake.
    return Refused(400, "Malformed HTTP request line")


def _fields(lines: list[str]) -> Fields:
    """Return the fields of a request: what is between its first line and the last two."""
    if len(lines) - 3 > MAX_FIELDS:
        raise Refused(431, f"a request has at most {MAX_FIELDS} header fields")
    fields: Fields = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        try:
            name = FIELD_NAMES[name]
        except ValueError:
            raise _bad_field(line) from None
        if not colon:
            raise _bad_field(line)
        if name in fields:
            fields[name].append(value.strip(" \t"))
        else:
            fields[name] = [value.strip(" \t")]
    return fields


def _bad_field(line: str) -> Refused:
    if line.startswith((" ", "\t")):
        return Refused(400, "folded lines are not taken: a header field is one line")  # RFC 9112, section 5.2
    return Refused(400, "Invalid header name" if ":" in line else "no colon in header line")


def _other_form(method: str, target: str, fields: Fields) -> str:
    """Return the target of a request that asks for no path of this server (RFC 9112, sections 3.2.2 to 3.2.4).

    The host of a URL takes the place of the Host field, which has been checked before: a bad one stays bad.
    """
    if method == "CONNECT":
        if _AUTHORITY.fullmatch(target) is None:
            raise Refused(400, "the target of CONNECT is not a host and a port")
        return target
    if target == "*" and method == "OPTIONS":
        return target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Refused(400, "the target of the request is neither a path nor a URL")
    host, path = absolute.groups()
    fields["Host"] = [host]
    if not path and method == "OPTIONS":
        return "*"
    return path if path.startswith("/") else "/" + path


def _check_host(fields: Fields, version: str) -> None:
    hosts = fields.get("Host")
    if hosts is None:
        if version == "HTTP/1.1":
            raise Refused(400, "Missing Host header")
    elif len(hosts) > 1 or _HOST.fullmatch(hosts[0]) is None:
        raise Refused(400, "Invalid Host header, or several")


def _body_length(fields: Fields, version: str) -> int | None:
    """Return the length of the body (RFC 9112, section 6.3), `None` for chunks."""
    lengths, codings = fields.get("Content-Length"), fields.get("Transfer-Encoding")
    if codings is not None:
        _check_codings(codings, lengths, version)
        return None
    if lengths is None:
        return 0
    if len(lengths) > 1 or "," in lengths[0]:
        lengths[:] = _equal_lengths(lengths)
    if _LENGTH.fullmatch(lengths[0]) is None:
        raise Refused(400, "Only integer Content-Length is allowed")
    return int(lengths[0])


def _equal_lengths(lengths: list[str]) -> list[str]:
    """Return the one length that several say (RFC 9110, section 8.6: proxies may double it)."""
    equal = set(list_elements(lengths))
    if len(equal) > 1:
        raise Refused(400, "Multiple unequal Content-Lengths")
    return list(equal)


def _check_codings(codings: list[str], lengths: list[str] | None, version: str) -> None:
    if lengths is not None:
        raise Refused(400, "Message with both Transfer-Encoding and Content-Length")
    if version == "HTTP/1.0":
        raise Refused(400, "Transfer-Encoding in HTTP/1.0")
    if len(codings) > 1 or codings[0].lower() != "chunked":
        raise Refused(400, f"Unsupported Transfer-Encoding {','.join(codings)}")


def _keeps_alive(method: str, version: str, fields: Fields) -> bool:
    """Tell what the `Connection` field says of the next request."""
    options = list_elements(fields["Connection"])
    if version == "HTTP/1.1":
        return "close" not in options
    # Without a length, such a body ends with the connection, and we have taken it for none.
    has_end = "Content-Length" in fields or method in ("GET", "HEAD")
    return has_end and "keep-alive" in options and "close" not in options


def list_elements(values: list[str]) -> list[str]:
    """Return the elements of a list field, in small letters."""
    return [element.strip(" \t").lower() for value in values for element in value.split(",")]
