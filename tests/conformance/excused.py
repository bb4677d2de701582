"""The tests of Tornado's own that an engine of ours does not pass, each with the reason. One that passes may not stand here.

Names are those of Tornado 6.6, below `tornado.test`; a part of a test (`subTest`) has its own.
"""

from __future__ import annotations

from typing import Final

_BELIEVES_EVERY_PEER: Final = (
    "`xheaders=True` believes the headers of every peer; the engine refuses it and is told whom to trust by `proxies`."
)

ON_BOTH: Final = {
    "httpserver_test.SSLXHeaderTest.test_request_without_xprotocol": _BELIEVES_EVERY_PEER,
    "httpserver_test.XHeaderTest.test_ip_headers": _BELIEVES_EVERY_PEER,
    "httpserver_test.XHeaderTest.test_scheme_headers": _BELIEVES_EVERY_PEER,
    "httpserver_test.XHeaderTest.test_trusted_downstream": _BELIEVES_EVERY_PEER,
    "web_test.DefaultHostMatchingTest.test_default_host_matching": (
        "`X-Real-Ip` of a peer that is not trusted never reaches the application, which Tornado takes for a sign of a proxy."
    ),
}

_SAYS_WHICH: Final = "The answer to a body that is too long is 413, where Tornado's is 400."
_HAS_A_BODY: Final = "What is refused gets an answer that says why, where Tornado sends a line without headers."
_LF_ALONE: Final = "The test ends its lines with LF alone, which the engine refuses (RFC 9112, section 2.2)."

ON_NATIVE: Final = {
    "httpserver_test.BodyLimitsTest.test_body_size_override_reset": _SAYS_WHICH,
    "httpserver_test.BodyLimitsTest.test_large_body_buffered": _SAYS_WHICH,
    "httpserver_test.BodyLimitsTest.test_large_body_buffered_chunked": _SAYS_WHICH,
    "httpserver_test.BodyLimitsTest.test_large_body_streaming": _SAYS_WHICH,
    "httpserver_test.BodyLimitsTest.test_large_body_streaming_chunked": _SAYS_WHICH,
    "httpserver_test.BodyLimitsTest.test_timeout": "A body that does not come is answered 408, where Tornado only closes.",
    "httpserver_test.HTTPConnectionTest.test_newlines": _LF_ALONE,
    "httpserver_test.HTTPServerRawTest.test_chunked_request_body_duplicate_header": _LF_ALONE,
    "httpserver_test.HTTPServerRawTest.test_chunked_request_body_transfer_encoding_and_content_length": _LF_ALONE,
    "httpserver_test.HTTPServerRawTest.test_chunked_request_body_unsupported_transfer_encoding": _LF_ALONE,
    "httpserver_test.KeepAliveTest.test_keepalive_chunked": (
        "The test sends Transfer-Encoding in HTTP/1.0, which the engine refuses (RFC 9112, section 6.1)."
    ),
    "websocket_test.FloodTest.test_pong_most_recent_ping": "The test takes the place of a private method of Tornado's.",
    "httpserver_test.UnixSocketTestAbstract.test_unix_socket_bad_request": _HAS_A_BODY,
    "httpserver_test.UnixSocketTestFile.test_unix_socket_bad_request": _HAS_A_BODY,
}

EXCUSED: Final[dict[str, dict[str, str]]] = {
    "stock": ON_BOTH,
    "native": ON_BOTH | ON_NATIVE,
}
"""By engine, the reason by test."""

AUTOBAHN: Final[dict[str, dict[str, str]]] = {
    "stock": {
        "6.4.*": "Tornado looks at the UTF-8 of a message when it is whole, not while it comes.",
        "7.9.*": "Tornado echoes close codes that may not be sent.",
    },
    "native": {},
}
"""By engine, the cases of the Autobahn test suite that may be NON-STRICT or FAILED, and why."""
