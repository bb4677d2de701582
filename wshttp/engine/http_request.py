"""Tornado's request, without doing again what the engine has done, and without what a request has no need of."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Final

from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPServerRequest, RequestStartLine, split_host_and_port

from wshttp.header_fields import fields_of

_LONGEST_REMEMBERED: Final = 64


class EngineRequest(HTTPServerRequest):
    """An `HTTPServerRequest` whose Host has been checked; the attributes are those of Tornado's own (6.6).

    A query is left to Tornado to read: it raises `HTTPInputError` where there are too many arguments.
    """

    def __init__(
        self,
        connection: HTTPConnection,
        server_connection: object,
        start_line: RequestStartLine,
        headers: HTTPHeaders,
    ) -> None:
        if "?" in start_line.path:
            super().__init__(
                start_line=start_line, headers=headers, connection=connection, server_connection=server_connection
            )
            return
        self.method, self.uri, self.version = start_line
        self.headers = headers
        self.body = b""
        context = connection.context  # type: ignore[attr-defined]  # of this engine's
        self.remote_ip = context.remote_ip
        self.protocol = context.protocol
        fields = fields_of(headers)
        self.host = fields["Host"][0] if "Host" in fields else "127.0.0.1"  # HTTP/1.0 may do without
        self.host_name = _host_name(self.host) if len(self.host) <= _LONGEST_REMEMBERED else _name_in(self.host)
        self.files = {}
        self.connection = connection
        self.server_connection = server_connection
        self._start_time = time.time()
        self._finish_time = None
        self.path, self.query = start_line.path, ""
        self.arguments = {}
        self.query_arguments = {}
        self.body_arguments = {}

    def _parse_body(self) -> None:
        # Where nothing says that it is a form, Tornado (6.6) finds none in it, by more questions.
        if "Content-Type" in fields_of(self.headers):
            super()._parse_body()


def _name_in(host: str) -> str:
    return split_host_and_port(host.lower())[0]


_host_name = lru_cache(256)(_name_in)
