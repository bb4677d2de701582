"""Requests whose end two parsers may see in different places, and Tornado's own corpus of such.

Where there is a body, it is a request itself: who ends the first too early takes the body for the next.
"""

from __future__ import annotations

from typing import Final

from tornado.test import security_corpus_test

HIDDEN: Final = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
"""What a body holds; nobody may ever serve it."""

SIZE: Final = len(HIDDEN)


def ask(method: str, target: str, *lines: str, host: str = "Host: a", version: str = "HTTP/1.1") -> bytes:
    """Write the head of a request, byte for byte as given."""
    head = "\r\n".join([f"{method} {target} {version}", *([host] if host else []), *lines, "", ""])
    return head.encode("latin1")


def post(*lines: str, body: bytes = HIDDEN, **options: str) -> bytes:
    return ask("POST", "/post", *lines, **options) + body


def chunked(body: bytes, *lines: str) -> bytes:
    """Write a request whose chunks are given as they are sent."""
    return post("Transfer-Encoding: chunked", *lines, body=body)


CHUNK: Final = b"%x\r\n%b\r\n" % (SIZE, HIDDEN)
LAST: Final = b"0\r\n\r\n"
LENGTH: Final = f"Content-Length: {SIZE}"
UPGRADE: Final = ("Connection: Upgrade", "Upgrade: websocket")
KEY: Final = ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")

LENGTHS: Final = {
    "length": post(LENGTH),
    "no length": post(),
    "length of zero": post("Content-Length: 0"),
    "length with a plus": post(f"Content-Length: +{SIZE}"),
    "length with a minus": post(f"Content-Length: -{SIZE}"),
    "length in hex": post(f"Content-Length: 0x{SIZE:x}"),
    "length with zeros before it": post(f"Content-Length: 000{SIZE}"),
    "length with an underscore": post("Content-Length: 3_3"),
    "length with a fraction": post(f"Content-Length: {SIZE}.0"),
    "length with a blank inside": post("Content-Length: 3 3"),
    "length with a no-break space": post(f"Content-Length: {SIZE}\xa0"),
    "length with a tab": post(f"Content-Length:\t{SIZE}\t"),
    "length with a vertical tab": post(f"Content-Length: \x0b{SIZE}"),
    "length in other digits": post("Content-Length: \xb3\xb3"),
    "length without a value": post("Content-Length:"),
    "length over 64 bits": post(f"Content-Length: {2**64 + SIZE}"),
    "length over 63 bits": post(f"Content-Length: {2**63 + SIZE}"),
    "two equal lengths": post(LENGTH, LENGTH),
    "two lengths": post("Content-Length: 0", LENGTH),
    "two lengths, the long one first": post(LENGTH, "Content-Length: 0"),
    "list of equal lengths": post(f"{LENGTH}, {SIZE}"),
    "list of lengths": post(f"Content-Length: 0, {SIZE}"),
    "length and a comma": post(f"{LENGTH},"),
    "length with a blank before the colon": post(f"Content-Length : {SIZE}"),
    "length on a folded line": post(f"Content-Length:\r\n {SIZE}"),
    "length after a fold": post(f"X: y\r\n {LENGTH}"),
    "length after a bare CR": post(f"X: y\r{LENGTH}"),
    "length after a bare LF": post(f"X: y\n{LENGTH}"),
    "length after a NUL": post(f"X: y\0\r\n{LENGTH}"),
    "length under an underscore": post(f"Content_Length: {SIZE}"),
    "length named by Connection": post(LENGTH, "Connection: Content-Length"),
    "length on GET": ask("GET", "/get", LENGTH) + HIDDEN,
    "length on HEAD": ask("HEAD", "/head", LENGTH) + HIDDEN,
    "length on OPTIONS *": ask("OPTIONS", "*", LENGTH) + HIDDEN,
    "length on OPTIONS *, and empty lines behind the body": ask("OPTIONS", "*", LENGTH) + HIDDEN + b"\r\n\r\n",
    "length on DELETE": ask("DELETE", "/delete", LENGTH) + HIDDEN,
    "length on a method that nobody knows": ask("FOO", "/foo", LENGTH) + HIDDEN,
    "length on a method in lower case": ask("get", "/get", LENGTH) + HIDDEN,
    "length on CONNECT": ask("CONNECT", "a:80", LENGTH) + HIDDEN,
    "length on TRACE": ask("TRACE", "/trace", LENGTH) + HIDDEN,
}

CODINGS: Final = {
    "chunks": chunked(CHUNK + LAST),
    "chunks and a length": chunked(CHUNK + LAST, "Content-Length: 4"),
    "a length and chunks": post("Content-Length: 4", "Transfer-Encoding: chunked", body=CHUNK + LAST),
    "a length and the last chunk": post(
        f"Content-Length: {SIZE + 5}", "Transfer-Encoding: chunked", body=LAST + HIDDEN
    ),
    "chunks in HTTP/1.0": post("Transfer-Encoding: chunked", body=CHUNK + LAST, version="HTTP/1.0"),
    "chunks and a length in HTTP/1.0": post(
        f"Content-Length: {SIZE + 5}", "Transfer-Encoding: chunked", body=LAST + HIDDEN, version="HTTP/1.0"
    ),
    "chunks named by Connection": chunked(CHUNK + LAST, "Connection: Transfer-Encoding"),
    "gzip, chunked": post("Transfer-Encoding: gzip, chunked", body=CHUNK + LAST),
    "chunked, gzip": post("Transfer-Encoding: chunked, gzip", body=CHUNK + LAST),
    "chunked, chunked": post("Transfer-Encoding: chunked, chunked", body=CHUNK + LAST),
    "chunked twice": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNK + LAST),
    "chunked, then identity": post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNK + LAST),
    "identity": post("Transfer-Encoding: identity", LENGTH),
    "xchunked": post("Transfer-Encoding: xchunked", LENGTH),
    "chunked in capitals": post("Transfer-Encoding: CHUNKED", body=CHUNK + LAST),
    "chunked in quotes": post('Transfer-Encoding: "chunked"', LENGTH),
    "chunked with a parameter": post("Transfer-Encoding: chunked;q=1", LENGTH),
    "chunked after a comma": post("Transfer-Encoding: ,chunked", LENGTH),
    "chunked and a tab": post("Transfer-Encoding: chunked\t", body=CHUNK + LAST),
    "chunked after a vertical tab": post("Transfer-Encoding: \x0bchunked", LENGTH),
    "chunked after a no-break space": post("Transfer-Encoding: \xa0chunked", LENGTH),
    "chunked before a NUL": post("Transfer-Encoding: chunked\0", LENGTH),
    "coding without a value": post("Transfer-Encoding:", LENGTH),
    "coding with a blank before the colon": post("Transfer-Encoding : chunked", LENGTH),
    "coding on a folded line": post("Transfer-Encoding:\r\n chunked", LENGTH),
    "coding after a bare CR": post("X: y\rTransfer-Encoding: chunked", LENGTH),
    "coding after a bare LF": post("X: y\nTransfer-Encoding: chunked", body=CHUNK + LAST),
    "coding under an underscore": post("Transfer_Encoding: chunked", LENGTH),
}

CHUNKS: Final = {
    "chunk with an extension": chunked(b"%x;a=b\r\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk with an extension in quotes": chunked(b'%x;a="b;\r\n%b\r\n' % (SIZE, HIDDEN) + LAST),
    "chunk whose extension ends with a bare LF": chunked(
        # With the LF a line ends: 2 bytes, then one chunk of all the rest. Without: 2 bytes, the last chunk, a request.
        b"2;\nxx\r\n%x\r\n" % (SIZE + 5) + LAST + HIDDEN + b"\r\n" + LAST
    ),
    "chunk whose extension has a bare CR": chunked(b"%x;a\rb\r\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk whose size ends with a bare LF": chunked(b"%x\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk whose size ends with a bare CR": chunked(b"%x\r%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk whose data ends with a bare LF": chunked(b"%x\r\n%b\n" % (SIZE, HIDDEN) + LAST),
    "chunk whose data does not end": chunked(b"%x\r\n%b" % (SIZE, HIDDEN) + LAST),
    "chunk whose data ends with two others": chunked(b"%x\r\n%bXY" % (SIZE, HIDDEN) + LAST),
    "chunk size with a plus": chunked(b"+%x\r\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk size with a minus": chunked(b"-%x\r\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk size with 0x": chunked(b"0x%x\r\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk size with an underscore": chunked(b"2_1\r\n%b\r\n" % HIDDEN + LAST),
    "chunk size with blanks around it": chunked(b" %x \r\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk size with a blank after it": chunked(b"%x \r\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk size with many zeros": chunked(b"%b%x\r\n%b\r\n" % (b"0" * 20, SIZE, HIDDEN) + LAST),
    "chunk size over 64 bits": chunked(b"1%016x\r\n%b\r\n" % (SIZE, HIDDEN) + LAST),
    "chunk without a size": chunked(b"\r\n" + CHUNK + LAST),
    "chunk size that isn't one": chunked(b"zz\r\n%b\r\n" % HIDDEN + LAST),
    "chunk size that goes on": chunked(b"zz"),
    "last chunk with several zeros": chunked(CHUNK + b"0000\r\n\r\n"),
    "last chunk with an extension": chunked(CHUNK + b"0;a=b\r\n\r\n"),
    "last chunk with a bare LF": chunked(CHUNK + b"0\n\r\n"),
    "last chunk and only a LF": chunked(CHUNK + b"0\r\n\n"),
    "last chunk without its empty line": chunked(CHUNK + b"0\r\n"),
    "trailer": chunked(CHUNK + b"0\r\nX: y\r\n\r\n"),
    "trailer that is a length": chunked(CHUNK + b"0\r\n%b\r\n\r\n" % LENGTH.encode() + HIDDEN),
    "trailer that is a coding": chunked(CHUNK + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "trailer that is a host": chunked(CHUNK + b"0\r\nHost: b\r\n\r\n"),
    "trailer that is no header": chunked(CHUNK + b"0\r\n" + HIDDEN),
    "trailer with a bare LF": chunked(CHUNK + b"0\r\nX: y\n\r\n"),
}

HEADS: Final = {
    "no host": post(LENGTH, host=""),
    "two hosts": post(LENGTH, "Host: b"),
    "two equal hosts": post(LENGTH, "Host: a"),
    "host without a value": post(LENGTH, host="Host:"),
    "host with a path": post(LENGTH, host="Host: a/b"),
    "host with a blank": post(LENGTH, host="Host: a b"),
    "no host in HTTP/1.0": post(LENGTH, host="", version="HTTP/1.0"),
    "keep-alive in HTTP/1.0": post(LENGTH, "Connection: keep-alive", version="HTTP/1.0"),
    "absolute target": ask("POST", "http://b/post", LENGTH) + HIDDEN,
    "absolute target and a bad host": ask("POST", "http://b/post", host="Host: aConnection: close"),
    "absolute target with a bad host": ask("POST", "http://b@c/post", LENGTH) + HIDDEN,
    "absolute target of another scheme": ask("POST", "ftp://b/post", LENGTH) + HIDDEN,
    "target without a slash": ask("POST", "post", LENGTH) + HIDDEN,
    "target in Latin-1": ask("POST", "/p\xf6st", LENGTH) + HIDDEN,
    "target with a blank": ask("POST", "/a b", LENGTH) + HIDDEN,
    "target with a tab": ask("POST", "/a\tb", LENGTH) + HIDDEN,
    "target with a NUL": ask("POST", "/a\0b", LENGTH) + HIDDEN,
    "target with a fragment": ask("POST", "/a#b", LENGTH) + HIDDEN,
    "no version": b"GET /\r\n\r\n",
    "no version, with headers": b"POST /post\r\nHost: a\r\n%b\r\n\r\n" % LENGTH.encode() + HIDDEN,
    "version 0.9": post(LENGTH, version="HTTP/0.9"),
    "version 1.2": post(LENGTH, version="HTTP/1.2"),
    "version 2.0": post(LENGTH, version="HTTP/2.0"),
    "version 1.10": post(LENGTH, version="HTTP/1.10"),
    "version in lower case": post(LENGTH, version="http/1.1"),
    "version of another protocol": post(LENGTH, version="ICY/1.1"),
    "version and a blank": post(LENGTH, version="HTTP/1.1 "),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "empty line first": b"\r\n" + post(LENGTH),
    "empty lines first": b"\r\n\r\n\r\n" + post(LENGTH),
    "bare LF first": b"\n" + post(LENGTH),
    "bare CR first": b"\r" + post(LENGTH),
    "bare LF behind a body that ends with CR": post("Content-Length: 1", body=b"\r") + b"\n",
    "blank first": b" " + post(LENGTH),
    "only bare LF": post(LENGTH, body=b"").replace(b"\r\n", b"\n") + HIDDEN,
    "only bare CR": post(LENGTH, body=b"").replace(b"\r\n", b"\r") + HIDDEN,
    "empty line is a bare LF": post(LENGTH, body=b"")[:-2] + b"\n" + HIDDEN,
    "header without a colon": post("X", LENGTH),
    "header without a name": post(": y", LENGTH),
    "header with a blank before the colon": post("X : y", LENGTH),
    "header with a blank before the name": post(" X: y", LENGTH),
    "header named in Latin-1": post("\xd6: y", LENGTH),
    "header with a NUL": post("X: a\0b", LENGTH),
    "header with DEL": post("X: a\x7fb", LENGTH),
    "header with a control character": post("X: a\x01b", LENGTH),
    "header in Latin-1": post("X: \xf6", LENGTH),
    "257 header fields": post(LENGTH, *["X: y"] * 255),
    "first header on a folded line": b"POST /post HTTP/1.1\r\n X: y\r\nHost: a\r\n%b\r\n\r\n" % LENGTH.encode()
    + HIDDEN,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}

TURNS: Final = {
    "one request after another": ask("GET", "/one") + ask("GET", "/two"),
    "request after a body": post(LENGTH) + ask("GET", "/two"),
    "request after Connection: close": ask("GET", "/one", "Connection: close") + HIDDEN,
    "request after close in a list": ask("GET", "/one", "Connection: x, close") + HIDDEN,
    "body with Connection: close": post(LENGTH, "Connection: close"),
    "expect": post(LENGTH, "Expect: 100-continue"),
    "expect in capitals": post(LENGTH, "Expect: 100-CONTINUE"),
    "expect something else": post(LENGTH, "Expect: something"),
    "expect after another": post(LENGTH, "Expect: y 100-continue"),
    "expect without a body": ask("GET", "/get", "Expect: 100-continue") + ask("GET", "/two"),
    "expect and a length on GET": ask("GET", "/get", LENGTH, "Expect: 100-continue") + HIDDEN,
    "expect and chunks": chunked(CHUNK + LAST, "Expect: 100-continue"),
    "upgrade": ask("GET", "/ws", *UPGRADE, *KEY),
    "upgrade with another key": ask("GET", "/ws", *UPGRADE, KEY[0], "Sec-WebSocket-Key: a") + ask("GET", "/two"),
    "upgrade with a length": ask("GET", "/ws", *UPGRADE, *KEY, LENGTH) + HIDDEN,
    "upgrade with chunks": ask("GET", "/ws", *UPGRADE, *KEY, "Transfer-Encoding: chunked") + CHUNK + LAST,
    "upgrade that is refused": ask("GET", "/ws", *UPGRADE, *KEY, "Origin: http://b") + ask("GET", "/two"),
    "upgrade of another version": ask("GET", "/ws", *UPGRADE, "Sec-WebSocket-Version: 7", KEY[1]) + ask("GET", "/two"),
    "upgrade that is refused, with a length": ask("GET", "/ws", *UPGRADE, *KEY, "Origin: http://b", LENGTH) + HIDDEN,
    "upgrade where there is none": ask("GET", "/get", *UPGRADE, *KEY) + ask("GET", "/two"),
    "upgrade where there is none, with a length": post(*UPGRADE, *KEY, LENGTH),
    "upgrade where there is none, with chunks": chunked(CHUNK + LAST, *UPGRADE, *KEY),
    "upgrade to h2c": ask("GET", "/get", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AA")
    + ask("GET", "/two"),
    "upgrade to h2c with a length": post("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", LENGTH),
    "upgrade without Connection": post("Upgrade: websocket", LENGTH),
    "upgrade in HTTP/1.0": ask("GET", "/ws", *UPGRADE, *KEY, version="HTTP/1.0"),
    "CONNECT": ask("CONNECT", "a:80") + ask("GET", "/two"),
    "CONNECT of a path": ask("CONNECT", "/get") + ask("GET", "/two"),
    "CONNECT of everything": ask("CONNECT", "*") + ask("GET", "/two"),
}

TRAPS: Final[dict[str, bytes]] = LENGTHS | CODINGS | CHUNKS | HEADS | TURNS

CORPUS: Final[dict[str, bytes]] = {f"{case.advisory}, {case.name}": case.request for case in security_corpus_test.CASES}
"""The inputs behind past security fixes of Tornado."""

INPUTS: Final = TRAPS | CORPUS
