"""Our request is Tornado's, but for the time at which its query is parsed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPServerRequest,
    ParseBodyConfig,
    ParseUrlEncodedConfig,
    RequestStartLine,
    set_parse_body_config,
)

from wshttp.web.site_request import SiteRequest

HOST = [("Host", "example.org:8080")]


def both(
    target: str = "/", fields: list[tuple[str, str]] = HOST, version: str = "HTTP/1.1", connection: Any = None
) -> tuple[HTTPServerRequest, HTTPServerRequest]:
    """Return Tornado's request and ours. Raises what they raise, if it is the same."""
    headers = HTTPHeaders()
    for name, value in fields:
        headers.add(name, value)
    line = RequestStartLine("GET", target, version)
    theirs, ours = (outcome_of(make, line, headers, connection) for make in (tornados, SiteRequest))
    if isinstance(ours, HTTPInputError):
        assert str(ours) == str(theirs)
        raise ours
    assert isinstance(theirs, HTTPServerRequest)
    return theirs, ours


def tornados(line: RequestStartLine, headers: HTTPHeaders, connection: Any) -> HTTPServerRequest:
    return HTTPServerRequest(start_line=line, headers=headers, connection=connection)


def outcome_of(make: Callable[..., HTTPServerRequest], *arguments: Any) -> HTTPServerRequest | HTTPInputError:
    try:
        return make(*arguments)
    except HTTPInputError as error:
        return error


NAMES = ("method", "uri", "version", "path", "query", "host", "host_name", "remote_ip", "protocol", "body", "files",
         "arguments", "query_arguments", "body_arguments", "cookies", "connection", "server_connection")  # fmt: skip


@pytest.mark.parametrize("target", ["/", "/x?", "/x?a=1&a=%C3%BC&b=&c", "/x?a=1?b=2", "/%41?%ff=+", "*", "/?&&"])
@pytest.mark.parametrize(
    "fields",
    [HOST, [("Host", "[::1]:80")], [("Host", "LOCALHOST")], [("Host", "a.b"), ("Cookie", "a=1; b=2")], [("Host", "")]],
    ids=str,
)
def test_request_says_what_tornados_says(target: str, fields: list[tuple[str, str]]) -> None:
    """Every attribute, whatever the target and the host."""
    context = SimpleNamespace(remote_ip="192.0.2.1", protocol="https")
    theirs, ours = both(target, fields, connection=SimpleNamespace(context=context))
    assert {name: getattr(ours, name) for name in NAMES} == {name: getattr(theirs, name) for name in NAMES}
    assert ours.full_url() == theirs.full_url()
    assert repr(ours).removeprefix("Site") == repr(theirs).removeprefix("HTTPServer")


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("Host", "a"), ("Host", "a")],
        [("Host", "a,b")],
        [("Host", "a b")],
        [("Host", "a/b")],
        [("Host", "x" * 300 + "/")],
    ],
    ids=lambda fields: str(fields)[:30],
)
def test_host_that_tornado_refuses_is_refused(fields: list[tuple[str, str]]) -> None:
    """With the same words, and each time: what is no host is not remembered as one."""
    for _ in range(2):
        with pytest.raises(HTTPInputError):
            both(fields=fields)


def test_long_host_is_a_host() -> None:
    """One that is too long to be remembered is looked at each time."""
    for _ in range(2):
        theirs, ours = both(fields=[("Host", "x" * 300 + ":80")])
        assert ours.host_name == theirs.host_name == "x" * 300


def test_old_client_may_leave_the_host_out() -> None:
    """HTTP/1.0 knows none."""
    theirs, ours = both(fields=[], version="HTTP/1.0")
    assert (ours.host, ours.host_name) == (theirs.host, theirs.host_name) == ("127.0.0.1", "127.0.0.1")


@pytest.mark.feature("M3")
def test_flood_of_parameters_is_refused_before_anybody_asks() -> None:
    """A thousand at most, as with Tornado; its setting for that holds for ours, too."""
    both("/?" + "&".join("a=1" for _ in range(1000)))
    with pytest.raises(HTTPInputError):
        both("/?" + "&".join("a=1" for _ in range(1001)))
    set_parse_body_config(ParseBodyConfig(urlencoded=ParseUrlEncodedConfig(max_arguments=2)))
    try:
        both("/?a=1&b=2")
        with pytest.raises(HTTPInputError):
            both("/?a=1&b=2&c=3")
    finally:
        set_parse_body_config(ParseBodyConfig())


def test_arguments_of_the_body_are_not_of_the_query() -> None:
    """Tornado adds a form's fields to `arguments`, and leaves `query_arguments` alone."""
    _, request = both("/?a=1")
    request.arguments.setdefault("a", []).append(b"2")
    assert (request.arguments, request.query_arguments) == ({"a": [b"1", b"2"]}, {"a": [b"1"]})
