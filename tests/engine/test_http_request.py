from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPInputError, HTTPServerRequest, RequestStartLine

from wshttp.engine.http_request import EngineRequest


def connection() -> HTTPConnection:
    made = HTTPConnection()
    made.context = SimpleNamespace(remote_ip="192.0.2.1", protocol="https")  # type: ignore[attr-defined]
    return made


def known(request: HTTPServerRequest) -> dict[str, Any]:
    """Return all that a request has, but for when it began."""
    return {name: value for name, value in vars(request).items() if name != "_start_time"}


@pytest.mark.parametrize("path", ["/", "/a%20b", "/?", "/a?b=c&b=d", "*", "/" + "a" * 100])
@pytest.mark.parametrize("host", ["a.Example:80", "a", "[::1]:80", "", "a" * 100 + ":1", None])
def test_request_is_as_tornado_makes_it(path: str, host: str | None) -> None:
    """Every attribute of it, so that nobody can tell; a release of Tornado with another one fails here."""
    version = "HTTP/1.0" if host is None else "HTTP/1.1"
    start_line = RequestStartLine("GET", path, version)
    headers = HTTPHeaders({} if host is None else {"Host": host})
    on = connection()
    theirs = HTTPServerRequest(start_line=start_line, headers=headers, connection=on, server_connection=1)
    ours = EngineRequest(on, 1, start_line, headers)
    assert known(ours) == known(theirs)
    assert vars(ours).keys() == vars(theirs).keys()
    assert ours.cookies == theirs.cookies
    assert ours.full_url() == theirs.full_url()


def test_request_with_too_many_arguments_is_refused() -> None:
    """As Tornado's own."""
    start_line = RequestStartLine("GET", "/?" + "a=1&" * 1001, "HTTP/1.1")
    with pytest.raises(HTTPInputError):
        EngineRequest(connection(), 1, start_line, HTTPHeaders({"Host": "a"}))
