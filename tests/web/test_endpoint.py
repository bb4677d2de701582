"""Function endpoints: what they are given, what becomes of what they return, and the body that comes in meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Browser, problem, read_json
from serving import Raw, new_server, raw, running, soon, until
from tornado.web import Finish, HTTPError

from wshttp import Forbidden, Response, Server
from wshttp.errors import ClientDisconnected, UsageError
from wshttp.web.body import RequestBody


def server_of(**sections: Any) -> Server:
    session = {"identity": ["cookie"]} | sections.pop("session", {})
    return new_server(session=session, **sections)


async def answer(connection: Raw) -> tuple[int, bytes]:
    """Read one answer with a length from a connection that goes on."""
    head = (await connection.until(b"\r\n\r\n")).decode()
    lengths = [line.partition(":")[2] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
    return int(head.split()[1]), await connection.exactly(int(lengths[0]) if lengths else 0)


async def is_open(base: str, connection: Raw) -> bool:
    """Tell whether a connection takes another request."""
    connection.send(b"GET /wshttp/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        return (await answer(connection))[0] == 200
    except (asyncio.IncompleteReadError, ConnectionError):
        return False


# --- what is returned ---------------------------------------------------------------------------


async def parts(*given: str | bytes) -> AsyncIterator[str | bytes]:
    for part in given:
        yield part


KINDS: list[tuple[str, Any, int, bytes, str | None]] = [
    ("str", "grün", 200, "grün".encode(), "text/plain; charset=UTF-8"),
    ("markup", "<b>no markup</b>", 200, b"<b>no markup</b>", "text/plain; charset=UTF-8"),
    ("bytes", b"\x00\xff", 200, b"\x00\xff", "application/octet-stream"),
    ("dict", {"ä": [1, None]}, 200, '{"ä":[1,null]}'.encode(), "application/json"),
    ("list", [1, "two"], 200, b'[1,"two"]', "application/json"),
    ("none", None, 204, b"", None),
    ("empty", "", 200, b"", "text/plain; charset=UTF-8"),
    ("response", Response("<p>", content_type="text/html"), 200, b"<p>", "text/html"),
    ("status", Response({"a": 1}, status=201, headers={"X-A": "b"}), 201, b'{"a":1}', "application/json"),
    ("redirect", Response(status=303, headers={"Location": "/rooms"}), 303, b"", None),
]


@pytest.mark.parametrize(
    ("result", "status", "body", "kind"), [case[1:] for case in KINDS], ids=[case[0] for case in KINDS]
)
async def test_returned_value_becomes_the_answer(result: Any, status: int, body: bytes, kind: str | None) -> None:
    """Text is text/plain, so that nothing becomes markup by accident; bytes, JSON, a Response, and None is 204."""
    server = server_of()
    server.get("/plain")(lambda request: result)

    @server.get("/async")
    async def later(request: Any) -> Any:
        return result

    async with running(server) as base:
        for path in ("/plain", "/async"):
            response = await Browser(base).get(path)
            assert (response.code, response.body) == (status, body)
            assert response.headers.get("Content-Type") == kind
            head = await Browser(base)("HEAD", path)
            assert (head.code, head.body, head.headers.get("Content-Type")) == (status, b"", kind)
            assert head.headers.get("Content-Length") == response.headers.get("Content-Length")
        if isinstance(result, Response):
            assert all(response.headers[name] == value for name, value in result.headers.items())


@pytest.mark.parametrize("result", [1, 1.5, True, object(), {1, 2}, ("a",)], ids=repr)
async def test_returned_value_that_is_no_answer_is_a_fault(caplog: pytest.LogCaptureFixture, result: Any) -> None:
    """Anything unforeseen is 500, with a line in the log that says what can be returned; changes are dropped."""
    server = server_of()

    @server.get("/x")
    def endpoint(request: Any) -> Any:
        request.session["n"] = 1
        return result

    async with running(server) as base:
        assert (await Browser(base).get("/x")).code == 500
        assert "it can return str, bytes, dict" in caplog.text
        [session] = [session async for session in server.sessions.scan()]
        assert dict(session) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()], ids=repr)
async def test_returned_json_that_is_none_is_a_fault(value: Any) -> None:
    """NaN and what JSON cannot say is 500, never half an answer."""
    server = server_of()
    server.get("/x")(lambda request: {"value": value})
    async with running(server) as base:
        assert (await Browser(base).get("/x")).code == 500


async def test_answer_is_streamed_part_by_part(scene: Any) -> None:
    """An async iterator is sent as it comes: the client has the first part before the second is made."""
    server = server_of()

    @server.get("/stream")
    async def stream(request: Any) -> AsyncIterator[str | bytes]:
        yield "first "
        await scene.hold()
        yield b"second"

    async with running(server) as base, raw(base) as connection:
        connection.send(b"GET /stream HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        head = await connection.until(b"\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in head
        assert b"Session-Expires-In" in head
        assert await connection.until(b"first ")
        await soon(scene.started.wait())
        scene.release.set()
        assert (await connection.rest()).endswith(b"6\r\nsecond\r\n0\r\n\r\n")


async def test_stream_goes_at_the_pace_of_its_client() -> None:
    """A client that reads nothing holds the iterator up; what is made and not taken stays bounded."""
    server = server_of()
    made = 0

    @server.get("/flood")
    async def flood(request: Any) -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(400):
            made += 1
            yield b"x" * 100_000

    async with running(server) as base, raw(base) as connection:
        connection.send(b"GET /flood HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await connection.until(b"\r\n\r\n")
        before = -1
        while before != made:
            before = made
            for _ in range(50):
                await Browser(base).get("/wshttp/health/live")
        assert made < 200
        assert len(await connection.rest()) > 40_000_000
        assert made == 400


async def test_stream_is_closed_when_its_client_goes(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A generator's own cleaning up runs as soon as the client is gone, and nothing is logged as a fault."""
    server = server_of()

    async def parts_for_ever() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
                scene.started.set()
        finally:
            scene.done.set()

    parts = parts_for_ever()  # kept, so that the garbage collector does not do it
    server.get("/endless")(lambda request: parts)
    async with running(server) as base, raw(base) as connection:
        connection.send(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await soon(scene.started.wait())
        connection.abort()
        await soon(scene.done.wait())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_head_of_a_stream_has_no_length_and_runs_nothing(scene: Any) -> None:
    """HEAD does not iterate, and says no length that GET would not have."""
    server = server_of()

    @server.get("/stream")
    async def stream(request: Any) -> AsyncIterator[str]:
        scene.seen.append("ran")
        yield "part"

    async with running(server) as base:
        response = await Browser(base)("HEAD", "/stream")
        assert (response.code, scene.seen) == (200, [])
        assert response.headers.get("Content-Length") in (None, "4")


async def test_stream_commits_at_its_end_and_is_cut_by_a_fault() -> None:
    """What a stream changed is there when its last byte is; one that fails is cut, and drops it."""
    server = server_of()

    @server.get("/{how}")
    async def stream(request: Any, how: str) -> AsyncIterator[str]:
        yield "begun"
        request.session[how] = True
        if how == "fails":
            raise RuntimeError
        yield "done"

    async with running(server) as base:
        async with raw(base) as connection:
            connection.send(b"GET /fails HTTP/1.1\r\nHost: localhost\r\n\r\n")
            cut = await connection.rest()
            assert b"begun" in cut
            assert not cut.endswith(b"0\r\n\r\n")
        browser = Browser(base)
        assert (await browser.get("/works")).body == b"begundone"
        datas = [dict(session) async for session in server.sessions.scan()]
        assert sorted(datas, key=len) == [{}, {"works": True}]


# --- what is asked ------------------------------------------------------------------------------


async def test_path_parameters_are_decoded_once_and_given_by_name() -> None:
    """`{name}` takes one segment, `{rest:path}` the rest; both decoded once; others are in `path_params`."""
    server = server_of()

    @server.get("/rooms/{room}/files/{rest:path}")
    def file(request: Any, rest: str) -> Any:
        return [rest, request.path_params, request.path]

    server.get("/one/{name}")(lambda request, name: name)
    server.get("/grün/x.y")(lambda request: "exact")
    async with running(server) as base:
        browser = Browser(base)
        response = await browser.get("/rooms/a%20b%2525/files/c/d%C3%BC.txt")
        assert read_json(response) == [
            "c/dü.txt",
            {"room": "a b%25", "rest": "c/dü.txt"},
            "/rooms/a b%25/files/c/dü.txt",
        ]
        assert (await browser.get("/one/x%3Fy")).body == b"x?y"
        for path in ("/one/", "/one", "/one/a/b", "/one/a%2Fb", "/rooms//files/x", "/gr%C3%BCn/xzy", "/grunx.y"):
            assert problem(await browser.get(path)) == (404, "not-found")
        assert (await browser.get("/gr%C3%BCn/x.y")).body == b"exact"
        assert (await browser.get("/gr%c3%bcn//./x%2Ey")).body == b"exact"


@pytest.mark.parametrize("path", ["/%ff", "/a%00b", "/%0a", "/a%7f", "/%c3"])
async def test_path_that_cannot_be_read_is_400(path: str) -> None:
    """What is not UTF-8 or has control characters is a `bad-request`."""
    server = server_of()
    server.get("/{rest:path}")(lambda request: "found")
    async with running(server) as base:
        assert problem(await Browser(base).get(path)) == (400, "bad-request")


async def test_query_is_decoded() -> None:
    """`query` has the last of several, `query_list` all; what is not UTF-8 does no harm."""
    server = server_of()
    server.get("/q")(lambda request: [request.query, request.query_list("a"), request.query_list("none")])
    async with running(server) as base:
        response = await Browser(base).get("/q?a=1&a=%C3%BC&b=%ff&c=a+b")
        assert read_json(response) == [{"a": "ü", "b": "\ufffd", "c": "a b"}, ["1", "ü"], []]


async def test_request_says_what_was_asked() -> None:
    """Method, path, headers, address, scheme and host are as the client, or its trusted proxy, said."""
    server = server_of(server={"trusted_proxies": ["127.0.0.1"], "allowed_hosts": ["shop.example"]})

    @server.put("/x")
    def endpoint(request: Any) -> Any:
        facts = [request.method, request.path, request.headers["X-A"], request.remote_ip, request.scheme, request.host]
        return [*facts, repr(request)]

    told = {
        "X-A": "1", "X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"
    }  # fmt: skip
    async with running(server) as base:
        response = await Browser(base)("PUT", "/x?q=secret", headers=told)
        expected = ["PUT", "/x", "1", "192.0.2.1", "https", "shop.example", "<Request PUT /x>"]
        assert read_json(response) == expected


async def test_methods_of_one_path_are_its_own() -> None:
    """Each method has its function; HEAD goes with GET; OPTIONS and 405 name them."""
    server = server_of()
    for method in ("get", "put", "patch", "delete"):
        getattr(server, method)("/x")(lambda request: request.method)
    async with running(server) as base:
        browser = Browser(base)
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            assert (await browser(method, "/x")).body == method.encode()
        allowed = "GET, PUT, PATCH, DELETE, HEAD, OPTIONS"
        options, refused = await browser("OPTIONS", "/x"), await browser.post("/x")
        assert (options.code, options.headers["Allow"]) == (204, allowed)
        assert (refused.code, refused.headers["Allow"]) == (405, allowed)
        assert (await browser("BREW", "/x")).code == 405
        assert await server.sessions.count() == 1


def test_endpoint_that_cannot_be_is_refused_at_once() -> None:
    """Two functions for one method and path, a path without a slash, what is no function: mistakes of the program."""
    server = new_server()
    server.get("/x")(lambda request: None)
    with pytest.raises(UsageError, match="has an endpoint already"):
        server.get("/x")(lambda request: None)
    with pytest.raises(UsageError, match="begins with a slash"):
        server.get("x")(lambda request: None)
    with pytest.raises(UsageError, match="is not a function"):
        server.get("/y")("text")  # type: ignore[type-var]  # the mistake
    with pytest.raises(UsageError, match="a parameter is written"):
        server.get("/y/{x")(lambda request: None)
    with pytest.raises(UsageError, match="a parameter is written"):
        server.websocket("/y/{x")(lambda connection, message: None)


def test_function_that_cannot_be_called_is_refused_at_once() -> None:
    """One without a parameter for the request, and one that needs what the path does not have."""
    server = new_server()
    for function in (lambda: None, lambda *, request: None, lambda **options: None):
        with pytest.raises(UsageError, match="<lambda> has no parameter for the request"):
            server.get("/y")(function)
    for function in (lambda request, name: None, lambda request, *, name: None):
        with pytest.raises(UsageError, match=r"wants 'name', and '/rooms/\{room\}' has no \{name\}"):
            server.get("/rooms/{room}")(function)
    for number, function in enumerate(
        (lambda request: None, lambda request, x=1: None, lambda *all, **more: None, lambda request, room: None)
    ):
        server.get(f"/{number}/{{room}}")(function)


# --- bodies -------------------------------------------------------------------------------------


def body_server(**sections: Any) -> Server:
    server = server_of(server={"max_body_size": "1KiB"}, **sections)

    @server.post("/json")
    async def json(request: Any) -> Any:
        return {"got": await request.json()}

    @server.post("/form")
    async def form(request: Any) -> Any:
        return await request.form()

    @server.post("/text")
    async def text(request: Any) -> Any:
        return await request.text()

    @server.post("/size")
    async def size(request: Any) -> Any:
        return [len(chunk) async for chunk in request.stream()]

    return server


async def test_body_is_read_as_asked() -> None:
    """JSON, a URL-encoded form, text, bytes."""
    async with running(body_server()) as base:
        browser = Browser(base)
        assert read_json(await browser.post("/json", json={"a": [1, 2.5, None, "ü"]})) == {
            "got": {"a": [1, 2.5, None, "ü"]}
        }
        form = await browser.post(
            "/form", body="a=1&a=2&b=&c=%C3%BC+x", headers={"Content-Type": "application/x-www-form-urlencoded; x=y"}
        )
        assert read_json(form) == {"a": "2", "b": "", "c": "ü x"}
        assert (await browser.post("/text", body="grün")).body == "grün".encode()
        assert sum(read_json(await browser.post("/size", body="x" * 900))) == 900


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/json", b"", {}),
        ("/json", b"{", {}),
        ("/json", b"\xff", {}),
        ("/json", b"NaN", {}),
        ("/json", b'{"a": -Infinity}', {}),
        ("/json", b"[" * 1000, {}),
        ("/text", b"\xff", {}),
        ("/form", b"a=1", {"Content-Type": "text/plain"}),
        ("/form", b"a=%ff", FORM),
        ("/form", b"a=\xff", FORM),
    ],
)
async def test_body_that_cannot_be_read_is_400(path: str, body: bytes, headers: dict[str, str]) -> None:
    """What is not what was asked for is `bad-request`, and says what it is not."""
    async with running(body_server()) as base:
        response = await Browser(base).post(path, body=body, headers=headers)
        assert problem(response) == (400, "bad-request")
        assert read_json(response)["detail"]


@pytest.mark.feature("M3")
async def test_form_with_too_many_fields_is_400() -> None:
    """A form has a thousand fields at most."""
    server = server_of()

    @server.post("/form")
    async def form(request: Any) -> Any:
        return len(await request.form())

    async with running(server) as base:
        response = await Browser(base).post("/form", body="&".join("a=" for _ in range(1001)), headers=FORM)
        assert problem(response) == (400, "bad-request")


@pytest.mark.feature("M3")
@pytest.mark.parametrize("size", [1025, 3_000_000])
async def test_body_over_the_limit_is_413(size: int) -> None:
    """A body above `server.max_body_size` is 413 and names the setting, announced or not, also to a client that sends on."""
    async with running(body_server()) as base:
        response = await Browser(base).post("/text", body="x" * size)
        assert response.code == 413
        assert problem(response) == (413, "bad-request")
        assert "server.max_body_size" in read_json(response)["detail"]
        async with raw(base) as connection:
            connection.send(b"POST /text HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size))
            assert (await answer(connection))[0] == 413
            assert await is_open(base, connection)
        assert (await Browser(base).post("/text", body="x" * 1024)).code == 200


@pytest.mark.parametrize("path", ["/ignores", "/forbidden", "/protected", "/none", "/fails"])
async def test_body_that_nobody_reads_costs_no_connection(users_file: str, path: str) -> None:
    """An answer without a look at the body, or a refusal, leaves the connection for the next request."""
    server = server_of(auth={"users_file": users_file, "protect": ["/protected"]})
    server.post("/ignores")(lambda request: "ok")
    server.post("/protected")(lambda request: "ok")
    server.get("/none")(lambda request: "ok")

    @server.post("/forbidden")
    def forbidden(request: Any) -> None:
        raise Forbidden("no")

    @server.post("/fails")
    def fails(request: Any) -> None:
        raise RuntimeError

    status = {"/ignores": 200, "/forbidden": 403, "/protected": 401, "/none": 405, "/fails": 500}[path]
    async with running(server) as base, raw(base) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 300000\r\n\r\n".encode()
        connection.send(head + b"x" * 300_000)
        assert (await answer(connection))[0] == status
        assert await is_open(base, connection)


async def test_answer_does_not_wait_for_ever_for_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that holds its body back gets its answer after a moment, and the connection closes."""
    monkeypatch.setattr("wshttp.web.exchange.LINGER", 0.05)
    server = server_of()
    server.post("/ignores")(lambda request: "ok")
    async with running(server) as base, raw(base) as connection:
        connection.send(b"POST /ignores HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
        assert await answer(connection) == (200, b"ok")
        assert await connection.rest() == b""


async def test_body_is_read_at_the_pace_of_the_endpoint(scene: Any) -> None:
    """While a chunk is being worked on, no more is taken from the client."""
    server = server_of()
    taken = 0

    @server.post("/slow")
    async def slow(request: Any) -> str:
        nonlocal taken
        async for chunk in request.stream():
            taken += len(chunk)
            await scene.hold()
        return "done"

    size = 30_000_000
    async with running(server) as base, raw(base) as connection:
        connection.send(b"POST /slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size)
        connection.send(b"x" * size)
        await soon(scene.started.wait())
        for _ in range(50):
            await Browser(base).get("/wshttp/health/live")
        assert taken < 1_000_000
        scene.release.set()
        assert (await answer(connection))[0] == 200
        assert taken == size


async def test_client_that_vanishes_in_its_body_is_noticed(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The endpoint gets `ClientDisconnected`; what it had changed is dropped, and nothing is logged as a fault."""
    server = server_of()

    @server.post("/cut")
    async def cut(request: Any) -> None:
        request.session["n"] = 1
        scene.started.set()
        try:
            await request.body()
        except ClientDisconnected:
            scene.done.set()
            raise

    async with running(server) as base:
        async with raw(base) as connection:
            connection.send(b"POST /cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nsome")
            await soon(scene.started.wait())
            connection.abort()
            await soon(scene.done.wait())
        [session] = [session async for session in server.sessions.scan()]
        assert session.record.data == {}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_body_is_read_with_the_answer_under_way() -> None:
    """An endpoint may stream its answer from its request."""
    server = server_of()

    @server.post("/upper")
    async def upper(request: Any) -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            yield chunk.upper()

    async with running(server) as base, raw(base) as connection:
        connection.send(b"POST /upper HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await connection.until(b"ABC")
        connection.send(b"3\r\ndef\r\n0\r\n\r\n")
        assert await connection.until(b"0\r\n\r\n") == b"\r\n3\r\nDEF\r\n0\r\n\r\n"


@pytest.mark.parametrize("body", ["", "x"])
async def test_web_finish_ends_a_request_with_and_without_a_body(body: str) -> None:
    """`tornado.web.Finish` answers with what there is, and commits, as in Tornado's style."""
    server = server_of()

    @server.post("/x")
    def endpoint(request: Any) -> None:
        request.session["n"] = 1
        raise Finish("finished")

    async with running(server) as base:
        response = await Browser(base).post("/x", body=body)
        assert (response.code, response.body) == (200, b"finished")
        [session] = [session async for session in server.sessions.scan()]
        assert session.record.data == {"n": 1}


# --- the session --------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["", "x"])
@pytest.mark.parametrize(
    ("how", "status", "committed"),
    [("normal", 200, True), ("http", 409, True), ("ours", 403, True), ("redirect", 303, True), ("fault", 500, False)],
)
async def test_changes_are_committed_unless_the_endpoint_fails(
    body: str, how: str, status: int, committed: bool
) -> None:
    """The same rules as in Tornado's style, for requests with and without a body."""
    server = server_of()

    @server.post("/x")
    async def endpoint(request: Any) -> Any:
        request.session["n"] = 1
        if how == "http":
            raise HTTPError(409)
        if how == "ours":
            raise Forbidden("no")
        if how == "fault":
            raise RuntimeError
        return Response(status=303, headers={"Location": "/"}) if how == "redirect" else "done"

    async with running(server) as base:
        response = await Browser(base).post("/x", body=body)
        assert response.code == status
        [session] = [session async for session in server.sessions.scan()]
        assert session.record.data == ({"n": 1} if committed else {})


@pytest.mark.feature("C2")
@pytest.mark.parametrize(("writes", "status"), [(False, 200), (True, 401)])
async def test_session_that_ends_while_the_endpoint_runs(scene: Any, writes: bool, status: int) -> None:
    """Nothing to commit: the answer stands; else 401 `session-ended`, and nothing comes back."""
    server = server_of()

    @server.post("/x")
    async def endpoint(request: Any) -> str:
        if writes:
            request.session["n"] = 1
        await scene.hold()
        return "done"

    async with running(server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        [session] = [session async for session in server.sessions.scan()]
        asked = asyncio.create_task(browser.post("/x", body="body"))
        await soon(scene.started.wait())
        await server.sessions.end(session, "admin")
        scene.release.set()
        response = await soon(asked)
        assert response.code == status
        if status == 401:
            assert read_json(response)["reason"] == "admin"
        assert session.record.data == {}
        assert await server.sessions.count() == 0


@pytest.mark.feature("L11")
async def test_endpoint_that_ends_its_session_gets_its_answer() -> None:
    """`request.end_session()` ends with `logout`; the request's own answer is the normal one."""
    server = server_of()

    @server.post("/bye")
    async def bye(request: Any) -> str:
        request.session["n"] = 1
        await request.end_session()
        return "bye"

    async with running(server) as base:
        browser = Browser(base)
        response = await browser.post("/bye")
        assert (response.code, response.body) == (200, b"bye")
        assert "Max-Age=0" in response.headers["Set-Cookie"]
        assert await server.sessions.count() == 0


# --- one at a time ------------------------------------------------------------------------------


class Serial:
    """Endpoints of one server that note who is inside."""

    def __init__(self, scene: Any) -> None:
        self.server = server_of()
        self.inside = self.most = 0
        self.scene = scene
        self.server.get("/call", serialize=True)(self.call)
        self.server.get("/stream", serialize=True)(self.stream)
        self.server.post("/timeout", serialize=True)(self.timeout)

    async def _work(self, request: Any) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        count = request.session.get("n", 0)
        self.scene.started.set()
        await self.scene.release.wait()
        await asyncio.sleep(0)
        request.session["n"] = count + 1
        self.inside -= 1

    async def call(self, request: Any) -> str:
        await self._work(request)
        return "done"

    async def stream(self, request: Any) -> AsyncIterator[str]:
        yield "begun "
        await self._work(request)
        yield "done"

    async def timeout(self, request: Any) -> None:
        raise TimeoutError


@pytest.mark.feature("T5", "T6")
@pytest.mark.parametrize("path", ["/call", "/stream"])
async def test_serialized_requests_of_a_session_come_one_after_the_other(scene: Any, path: str) -> None:
    """With `serialize` ten requests read and write one counter and lose none, streamed or not; sessions don't wait
    for each other."""
    serial = Serial(scene)
    async with running(serial.server) as base:
        browser, other = Browser(base), Browser(base)
        await browser.get("/wshttp/session")
        asked = [asyncio.create_task(browser.get(path)) for _ in range(10)]
        await soon(scene.started.wait())
        stranger = asyncio.create_task(other.get(path))
        await until(lambda: serial.inside == 2)
        scene.release.set()
        for response in await soon(asyncio.gather(*asked, stranger)):
            assert response.code == 200
        assert serial.most == 2
        counts = sorted([session["n"] async for session in serial.server.sessions.scan()])
        assert counts == [1, 10]


@pytest.mark.feature("T5")
async def test_serialized_request_that_waits_too_long_is_429(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait has a limit; then 429 with `Retry-After`, and the one inside is not disturbed."""
    monkeypatch.setattr("wshttp.web.exchange.SERIALIZE_WAIT", 0.05)
    serial = Serial(scene)
    async with running(serial.server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        first = asyncio.create_task(browser.get("/call"))
        await soon(scene.started.wait())
        response = await browser.get("/call")
        assert problem(response) == (429, "too-many-requests")
        assert response.headers["Retry-After"] == "1"
        scene.release.set()
        assert (await soon(first)).code == 200


async def test_serialized_endpoint_that_times_out_itself_is_a_fault(scene: Any) -> None:
    """A TimeoutError of the endpoint's own work is not mistaken for the wait."""
    async with running(Serial(scene).server) as base:
        assert (await Browser(base).post("/timeout")).code == 500


@pytest.mark.feature("T5")
async def test_serialized_request_that_waits_for_a_session_that_ends_is_401(scene: Any) -> None:
    """Who waits for a session that ends in the meantime learns that it has."""
    serial = Serial(scene)
    async with running(serial.server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        [session] = [session async for session in serial.server.sessions.scan()]
        asked = [asyncio.create_task(browser.get("/call")) for _ in range(2)]
        locks = serial.server.sessions.store._locks._locks  # type: ignore[attr-defined]  # nothing public tells who waits
        await until(lambda: session.ref in locks and len(locks[session.ref].waiting) == 1)
        await serial.server.sessions.end(session, "admin")
        scene.release.set()
        for response in await soon(asyncio.gather(*asked)):
            assert problem(response) == (401, "session-ended")


# --- uploads ------------------------------------------------------------------------------------

BOUNDARY = "XXX"


def multipart(*files: tuple[str, bytes]) -> bytes:
    body = b""
    for name, content in files:
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: text/plain\r\n\r\n"
        ).encode()
        body += content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


UPLOAD = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def upload_server(folder: Path, scene: Any, **options: Any) -> Server:
    server = server_of(session={"auto_start": False}, uploads={"max_file_size": "1MiB", "max_files": 2})

    @server.post("/upload")
    async def upload(request: Any) -> Any:
        scene.started.set()
        try:
            saved = await request.save_upload(folder, **options)
        finally:
            scene.done.set()
        if request.has_session:
            await request.session.increment("uploads")
        return [[file.filename, file.size, file.path.read_bytes().decode()] for file in saved.files]

    return server


@pytest.mark.feature("F3")
async def test_upload_is_saved_for_clients_with_a_session(tmp_path: Path, scene: Any) -> None:
    """With a session files are streamed to disk; without one 401, and the folder stays empty."""
    folder = tmp_path / "uploads"
    async with running(upload_server(folder, scene)) as base:
        browser = Browser(base)
        body = multipart(("a.txt", b"hello"), ("../../b.txt", b"x" * 1000))
        refused = await browser.post("/upload", body=body, headers=UPLOAD)
        assert problem(refused) == (401, "session-ended")
        assert not folder.exists()
        await browser.post("/wshttp/session")
        response = await browser.post("/upload", body=body, headers=UPLOAD)
        assert read_json(response) == [["a.txt", 5, "hello"], ["b.txt", 1000, "x" * 1000]]
        assert len(list(folder.iterdir())) == 2


@pytest.mark.feature("F3")
async def test_upload_without_a_session_is_saved_where_none_is_needed(tmp_path: Path, scene: Any) -> None:
    """`need_session=False` lets anybody upload; it is above `max_body_size` by its own limits only."""
    async with running(upload_server(tmp_path / "uploads", scene, need_session=False, max_file_size=0)) as base:
        body = multipart(("a.txt", b"x" * 12_000_000))
        response = await Browser(base).post("/upload", body=body, headers=UPLOAD)
        assert read_json(response)[0][1] == 12_000_000


@pytest.mark.feature("F3", "M3")
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (multipart(("a", b"x" * 1_048_577)), UPLOAD, 413),
        (multipart(("a", b""), ("b", b""), ("c", b"")), UPLOAD, 413),
        (multipart(("a", b"hello"))[:-20], UPLOAD, 400),
        (b"no form", UPLOAD, 400),
        (b"a=1", FORM, 400),
    ],
    ids=["large", "many", "cut", "garbage", "other"],
)
async def test_upload_that_fails_leaves_nothing(
    tmp_path: Path, scene: Any, body: bytes, headers: dict[str, str], status: int
) -> None:
    """Over a limit 413, malformed 400; no file is left, nor is what the request changed."""
    folder = tmp_path / "uploads"
    server = upload_server(folder, scene)
    async with running(server) as base:
        browser = Browser(base)
        await browser.post("/wshttp/session")
        response = await browser.post("/upload", body=body, headers=headers)
        assert problem(response) == (status, "bad-request")
        assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.feature("F3")
async def test_upload_that_is_cut_off_leaves_nothing(
    tmp_path: Path, scene: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that vanishes in the middle of a file: no file, no leftover, no fault in the log."""
    folder = tmp_path / "uploads"
    server = upload_server(folder, scene)
    async with running(server) as base:
        browser = Browser(base)
        await browser.post("/wshttp/session")
        async with raw(base) as connection:
            head = (
                "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
                f"Cookie: wshttp={browser.cookies['wshttp']}\r\nContent-Type: {UPLOAD['Content-Type']}\r\n\r\n"
            )
            connection.send(head.encode() + multipart(("a.txt", b"x" * 600_000))[:-50])
            await until(lambda: folder.exists() and any(folder.iterdir()))
            connection.abort()
            await soon(scene.done.wait())
        assert list(folder.iterdir()) == []
        [session] = [session async for session in server.sessions.scan()]
        assert session.record.data == {}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("lines", ["Content-Length: 5, 5", "Content-Length: 5\r\nContent-Length: 5"])
async def test_equal_lengths_are_one(lines: str) -> None:
    """The body is read and answered, and the connection goes on (RFC 9110, section 8.6)."""
    server = server_of()

    @server.post("/text")
    async def text(request: Any) -> str:
        return await request.text()

    async with running(server) as base, raw(base) as connection:
        connection.send(f"POST /text HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\nabcde".encode())
        assert await answer(connection) == (200, b"abcde")
        assert await is_open(base, connection)


async def test_body_that_nobody_reads_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever we and Tornado make of the headers: what nobody takes is dropped, and no connection is left for good."""
    monkeypatch.setattr("wshttp.web.exchange.announced_length", lambda headers: 0)
    server = server_of()
    server.post("/unread")(lambda request: "answered")
    async with running(server) as base, raw(base) as connection:
        connection.send(b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde")
        assert await answer(connection) == (200, b"answered")


async def test_length_of_thousands_of_digits_is_400(caplog: pytest.LogCaptureFixture) -> None:
    """It is answered like any length that is none, and is no fault of ours."""
    server = server_of()
    server.post("/unread")(lambda request: "answered")
    async with running(server) as base, raw(base) as connection:
        length = b"9" * 5000
        connection.send(b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n\r\n")
        assert (await connection.rest()).startswith(b"HTTP/1.1 400")
        assert "Traceback" not in caplog.text


@pytest.mark.feature("T5")
async def test_serialized_request_with_a_slow_body_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for who is at work, and not for who still sends."""
    monkeypatch.setattr("wshttp.web.exchange.SERIALIZE_WAIT", 0.05)
    read, reading = RequestBody.read, asyncio.Event()

    async def heard(body: RequestBody, maximum: int) -> bytes:
        reading.set()
        return await read(body, maximum)

    monkeypatch.setattr(RequestBody, "read", heard)
    server = server_of(session={"identity": ["ip"]})
    bodies: list[str] = []

    @server.post("/cart", serialize=True)
    async def cart(request: Any) -> str:
        bodies.append(await request.text())
        return "ok"

    async with running(server) as base, raw(base) as connection:
        await Browser(base).get("/wshttp/session")
        connection.send(b"POST /cart HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na")
        await soon(reading.wait())
        assert (await Browser(base).post("/cart", body="other")).code == 200
        connection.send(b"b")
        assert await answer(connection) == (200, b"ok")
        assert bodies == ["other", "ab"]


@pytest.mark.feature("T5")
async def test_serialized_request_with_too_large_a_body_is_413() -> None:
    """It is taken in as a whole first, up to `server.max_body_size`."""
    server = server_of(server={"max_body_size": "1KiB"})
    server.post("/cart", serialize=True)(lambda request: "ok")
    async with running(server) as base:
        assert (await Browser(base).post("/cart", body="x" * 1024)).code == 200
        assert (await Browser(base).post("/cart", body="x" * 1025)).code == 413


async def test_answer_before_the_request_is_read_says_that_the_connection_closes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a client sends its next request on it, and is reset: the connection closes after such an answer."""
    monkeypatch.setattr("wshttp.web.exchange.LINGER", 0.05)
    server = new_server()

    @server.post("/unsafe")
    def unsafe(request: Any) -> str:
        return "done"

    async with running(server) as base, raw(base) as connection:
        connection.send(
            b"POST /unsafe HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 1\r\n\r\n"
        )
        head, _, _ = (await connection.rest()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 ")
        assert b"\r\nConnection: close" in head
