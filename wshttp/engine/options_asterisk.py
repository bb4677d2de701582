"""`OPTIONS *`: what the server as a whole can do (RFC 9110, section 9.3.7)."""

from __future__ import annotations

from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, ResponseStartLine

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"


class OptionsAsterisk(HTTPMessageDelegate):
    """Answer without asking the application, which knows addresses only.

    One that has `takes_asterisk` is asked, with `*` as the path.
    """

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def finish(self) -> None:
        start_line = ResponseStartLine("HTTP/1.1", 204, "No Content")
        self._connection.write_headers(start_line, HTTPHeaders(Allow=_METHODS))
        self._connection.finish()
