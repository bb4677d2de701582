"""Tornado's request, which parses what somebody asks for, and nothing before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from tornado import httputil
from tornado.escape import parse_qs_bytes
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPInputError, HTTPServerRequest, RequestStartLine

from wshttp.header_fields import fields_of

_LONGEST_REMEMBERED = 255
"""Characters of a host that is remembered: a name has 253 at most (RFC 1035), and hosts are the client's to choose."""


class SiteRequest(HTTPServerRequest):
    """An `HTTPServerRequest` in every respect but the time at which its query is parsed.

    What it refuses is what Tornado's refuses, and as early: with `HTTPInputError`, which is answered 400.
    """

    body = b""
    _finish_time = None

    def __init__(
        self,
        start_line: RequestStartLine,
        headers: HTTPHeaders,
        connection: HTTPConnection | None,
        server_connection: object | None = None,
    ) -> None:
        self.method, self.uri, self.version = start_line
        self.headers = headers
        context: Any = getattr(connection, "context", None)
        self.remote_ip = None if context is None else context.remote_ip
        self.protocol = "http" if context is None else context.protocol
        self.host, self.host_name = _host_of(fields_of(headers).get("Host", ()), self.version)
        self.files = {}
        self.connection = connection
        self.server_connection = server_connection
        self._start_time = time.time()
        self.path, _, self.query = self.uri.partition("?")
        if self.query:
            _check_length(self.query)
        self.body_arguments = {}

    @cached_property
    def query_arguments(self) -> dict[str, list[bytes]]:  # type: ignore[override]  # Tornado has it parsed from the beginning
        """The query's parameters, decoded."""
        return parse_qs_bytes(self.query, keep_blank_values=True)

    @cached_property
    def arguments(self) -> dict[str, list[bytes]]:  # type: ignore[override]  # likewise
        """Those of the query and, later, of the body."""
        return {name: list(values) for name, values in self.query_arguments.items()}

    def _parse_body(self) -> None:
        # Where nothing says that it is a form, Tornado (6.6) finds none in it, by more questions.
        if self.headers.get_list("Content-Type"):
            super()._parse_body()


def _host_of(hosts: Sequence[str], version: str) -> tuple[str, str]:
    """Return the host that is asked for, and its name without the port."""
    if len(hosts) == 1 and len(hosts[0]) <= _LONGEST_REMEMBERED:
        return hosts[0], _remembered_name(hosts[0])
    known = HTTPHeaders()
    for host in hosts:
        known.add("Host", host)
    request = HTTPServerRequest(start_line=RequestStartLine("GET", "/", version), headers=known)
    return request.host, request.host_name


@lru_cache(1000)
def _remembered_name(host: str) -> str:
    """Return a host's name, as Tornado finds it. Raises `HTTPInputError` for what is no host."""
    headers = HTTPHeaders({"Host": host})
    return HTTPServerRequest(start_line=RequestStartLine("GET", "/", "HTTP/1.1"), headers=headers).host_name


def _check_length(query: str) -> None:
    """Refuse as many parameters as Tornado does; it has no public name for how many those are (6.6)."""
    most = httputil._DEFAULT_PARSE_BODY_CONFIG.urlencoded.max_arguments
    if query.count("&") >= most:
        raise HTTPInputError("Invalid query string: Max number of fields exceeded")
