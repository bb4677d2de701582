"""Where the native engine and stock Tornado make something else of the same bytes, and why; elsewhere they agree.

`docs/reference/conformance.md` has this as its table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from conformance.verdicts import Verdict

from wshttp.engine.http_head import MAX_FIELDS

Kind = Literal["stricter", "laxer", "stops", "sooner", "declines", "reads"]
"""What the native engine does: `stricter` refuses what stock takes, `laxer` takes what stock refuses, `sooner` refuses
what stock waits for the rest of, `stops` leaves
unread what stock reads on, `declines` opens no WebSocket where stock does, and `reads` gives the application something
else than stock does."""

Sign = Callable[[bytes, Verdict], bool]

Reading = Callable[[Verdict], Verdict]


@dataclass(frozen=True, slots=True)
class Difference:
    """One rule that the engines do not share."""

    what: str
    kind: Kind
    reason: str
    inputs: tuple[str, ...]
    """Examples, by their names in `inputs.py`; each of them shows the difference."""
    sign: Sign
    """Tells of bytes, and of what stock made of them, whether this can be the reason why engines differ."""
    reading: Reading = lambda verdict: verdict
    """For `reads`: from stock's verdict to the one that the native engine comes to."""

    def explains(self, stock: Verdict, native: Verdict) -> bool:
        """Tell whether engines may differ so, where there is a sign of it."""
        if self.kind == "reads":
            return agree(self.reading(stock), native)
        if self.kind == "laxer":
            return stock.refused and begins(native, stock)
        if self.kind == "sooner":
            return native.refused and not stock.ended and agree(stock, replace(native, own=(), ended=False))
        if self.kind == "declines":
            return declines(stock, native)
        return begins(stock, native) and (native.refused or self.kind == "stops")


def declines(stock: Verdict, native: Verdict) -> bool:
    """Tell whether engines agree up to a WebSocket, which one opens and the other refuses, to go on with HTTP."""
    if 101 not in stock.served:
        return False
    before = stock.served.index(101)
    alike = _kinds(native)[:before] == _kinds(stock)[:before] and native.requests[: before + 1] == stock.requests
    return alike and _kinds(native)[before : before + 1] == (400,)


def _kinds(verdict: Verdict) -> tuple[int, ...]:
    """Return the statuses of the answers, where 400 stands for what else a handshake is refused with."""
    return tuple(400 if status in (403, 426) else status for status in verdict.served)


def begins(longer: Verdict, shorter: Verdict) -> bool:
    """Tell whether one engine saw and answered what the other did, and perhaps more."""
    requests, served = len(shorter.requests), len(shorter.served)
    return longer.requests[:requests] == shorter.requests and _kinds(longer)[:served] == _kinds(shorter)


def agree(stock: Verdict, native: Verdict) -> bool:
    """Tell whether engines took and refused the same. With what status they refuse is their own."""
    alike = stock.requests == native.requests and _kinds(stock) == _kinds(native) and stock.refused == native.refused
    return alike and (stock.ended == native.ended or 101 in stock.served)  # what follows a 101 is no HTTP


def explained(data: bytes, stock: Verdict, native: Verdict) -> bool:
    """Tell whether engines agree on these bytes, or listed differences say why not."""
    signs = [listed for listed in DIFFERENCES if listed.sign(data, stock)]
    for listed in signs:
        if listed.kind == "reads":
            stock = listed.reading(stock)
    return agree(stock, native) or any(listed.explains(stock, native) for listed in signs)


def _sign(pattern: bytes) -> Sign:
    found = re.compile(pattern, re.IGNORECASE | re.DOTALL).search
    return lambda data, stock: found(data) is not None


def _has_half_line_ends(data: bytes, stock: Verdict) -> bool:
    """Tell whether CR or LF stands alone, or does once a body has been taken that ends between the two."""
    return bool(re.search(rb"(?<!\r)\n|\r(?!\n)", data)) or any(body.endswith(b"\r") for _, _, body in stock.requests)


def _has_many_fields(data: bytes, stock: Verdict) -> bool:
    """Tell whether one head may have more than 256 fields: so many lines without an empty one between them."""
    return any(part.count(b"\n") > MAX_FIELDS for part in re.split(rb"\r\n\r\n", data))


def _has_empty_lines(data: bytes, stock: Verdict) -> bool:
    """Tell whether several empty lines stand where a request may begin: at first, after a head, or after a body."""
    behind_a_body = any(body and body + b"\r\n\r\n" in data for _, _, body in stock.requests)
    return bool(re.search(rb"(?:^|\r\n)\r\n\r\n", data)) or behind_a_body


def _paths(verdict: Verdict) -> Verdict:
    """Give the path of a target that is a URL."""
    read = [
        (method, re.sub(r"^https?://[^/?#]+/?", "/", target, flags=re.IGNORECASE), body)
        for method, target, body in verdict.requests
    ]
    return replace(verdict, requests=tuple(read))


def _without_asterisk(verdict: Verdict) -> Verdict:
    """Take out what asks for the server as a whole."""
    kept = [at for at, (method, target, _) in enumerate(verdict.requests) if (method, target) != ("OPTIONS", "*")]
    requests = tuple(verdict.requests[at] for at in kept)
    served = tuple(verdict.served[at] for at in kept if at < len(verdict.served))
    return replace(verdict, requests=requests, served=served)


_NO_CHUNKS_IN_1_0 = rb"HTTP/1\.0.*Transfer-Encoding"

DIFFERENCES: Final = [
    Difference(
        "CR or LF alone",
        "stricter",
        "RFC 9112, section 2.2, allows to take it, and Tornado 6.7 will not either: readers differ on where the line ends.",
        (
            "length after a bare LF",
            "coding after a bare LF",
            "bare LF first",
            "bare CR first",
            "bare LF behind a body that ends with CR",
            "only bare LF",
            "empty line is a bare LF",
        ),
        _has_half_line_ends,
    ),
    Difference(
        "Transfer-Encoding in HTTP/1.0",
        "stricter",
        "RFC 9112, section 6.1: its framing is to be taken for faulty.",
        ("chunks in HTTP/1.0",),
        _sign(_NO_CHUNKS_IN_1_0),
    ),
    Difference(
        "the size of a chunk in more than 16 digits",
        "stricter",
        "Readers that count in 64 bits see other sizes.",
        ("chunk size with many zeros",),
        _sign(rb"[0-9a-f]{17}"),
    ),
    Difference(
        "a target that is neither a path nor an http URL; with CONNECT, one that is no host and port",
        "stricter",
        "RFC 9112, section 3.2, knows no such form.",
        ("target without a slash", "absolute target of another scheme", "CONNECT of a path", "CONNECT of everything"),
        _sign(rb"[^\r\n ]+ [^/\r\n][^\r\n]* HTTP/|CONNECT "),
    ),
    Difference(
        "more than 256 header fields",
        "stricter",
        "Each is an object in memory that a client can make us keep; the answer is 431. "
        "Stock has a limit on their bytes only.",
        ("257 header fields",),
        _has_many_fields,
    ),
    Difference(
        "HTTP/1.2 to 1.9",
        "stricter",
        "Nobody has defined them; the answer is 505.",
        ("version 1.2",),
        _sign(rb"HTTP/1\.[2-9]"),
    ),
    Difference(
        "a body that has gone wrong before its line ends",
        "sooner",
        "What cannot become a chunk's size or end any more need not be waited for.",
        ("last chunk and only a LF", "chunk size that goes on"),
        _sign(rb"Transfer-Encoding"),
    ),
    Difference(
        "several empty lines before a request",
        "laxer",
        "RFC 9112, section 2.2, asks to pass over at least one; behind a body they are all that some clients add.",
        ("empty lines first",),
        _has_empty_lines,
    ),
    Difference(
        "close in a list, or beside another Connection field",
        "stops",
        "RFC 9110, section 7.6.1: Connection is a list. Stock knows close only where it stands alone.",
        ("request after close in a list",),
        _sign(rb"Connection:[^\r\n]*close"),
    ),
    Difference(
        "a WebSocket in HTTP/1.0",
        "declines",
        "RFC 6455, section 4.1, asks for HTTP/1.1; the answer is 426. Stock says 101, and closes.",
        ("upgrade in HTTP/1.0",),
        _sign(rb"HTTP/1\.0\r\n(?:[^\r]|\r\n(?!\r\n))*Upgrade"),
    ),
    Difference(
        "a Sec-WebSocket-Key that is none",
        "declines",
        "RFC 6455, section 4.2.1: it is 16 bytes in base64; the answer is 400. Stock takes any.",
        ("upgrade with another key",),
        _sign(rb"Sec-WebSocket-Key:(?! dGhlIHNhbXBsZSBub25jZQ==\r\n)"),
    ),
    Difference(
        "a target that is a URL",
        "reads",
        "RFC 9112, section 3.2.2: its host counts, and not the Host field; routes see its path. Stock finds no route.",
        ("absolute target",),
        _sign(rb"https?://"),
        _paths,
    ),
    Difference(
        "OPTIONS *",
        "reads",
        "It asks for the server as a whole, so that the engine answers 204 itself. Stock finds no route.",
        ("length on OPTIONS *",),
        _sign(rb"OPTIONS (\*|https?://)"),
        _without_asterisk,
    ),
]
