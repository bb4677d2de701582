"""A function endpoint's request and answer, where things do not go as usual; the rest is in `test_endpoint`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

import engines
import pytest
from browsing import Browser, problem, read_json
from serving import new_server, raw, running, soon, until
from tornado.iostream import StreamClosedError
from tornado.web import Finish, HTTPError

from wshttp import Response, Server
from wshttp.sessions.unit_of_work import UnitOfWork

who: ContextVar[str] = ContextVar("who", default="nobody")


def server_of(**sections: Any) -> Server:
    return new_server(session={"identity": ["cookie"]}, **sections)


@pytest.mark.parametrize(
    "response",
    [
        Response("x", headers={"X-A": "b\r\nSet-Cookie: c=d"}),
        Response("x", headers={"X-A: b\r\nSet-Cookie": "c=d"}),
        Response("x", headers={"X-A": "b\nc"}),
        Response("x", content_type="text/plain\r\nSet-Cookie: c=d"),
        Response("x", headers={"X-A": "☃"}),
        Response("x", status=204),
        Response("x", status=304),
    ],
    ids=["value", "name", "line", "type", "snowman", "204", "304"],
)
async def test_answer_that_cannot_be_is_a_fault(response: Response) -> None:
    """Nobody writes lines of his own into a header; what has no body gets none. The connection goes on."""
    server = server_of()
    server.get("/x")(lambda request: response)
    async with running(server) as base:
        answer = await Browser(base).get("/x")
        assert answer.code == 500
        assert not {"c=d", "X-A"} & {*answer.headers.get_list("Set-Cookie"), *answer.headers}


async def test_application_says_what_its_header_says() -> None:
    """In place of ours where it is the same field, whatever its capitals; the session's own come with it."""
    server = server_of()
    fields = {"server": "mine", "content-length": "3", "X-Number": 7}
    server.get("/x")(lambda request: Response("abc", headers=fields))  # type: ignore[arg-type]  # a number does, too
    async with running(server) as base:
        answer = await Browser(base).get("/x")
        assert answer.headers.get_list("Server") == ["mine"]
        assert answer.headers.get_list("Content-Length") == ["3"]
        assert answer.headers["X-Number"] == "7"
        assert answer.headers.get_list("Date")
        assert len(answer.headers.get_list("Date")) == 1
        assert "Session-Expires-In" in answer.headers
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("reason", "line"),
    [(None, "Conflict"), ("Too Late", "Too Late"), ("<b>", "Unknown"), ("a\r\nb", "Unknown"), ("", "Unknown")],
)
async def test_reason_of_an_http_error_is_in_the_status_line(reason: str | None, line: str) -> None:
    """As in Tornado's style; one that could be more than a phrase is not."""
    server = server_of()

    @server.get("/x")
    def fail(request: Any) -> None:
        raise HTTPError(409, reason=reason)

    async with running(server) as base:
        answer = await Browser(base).get("/x")
        assert (answer.code, answer.reason) == (409, line)
        assert read_json(answer)["title"] == "Conflict"


async def test_finish_in_the_middle_of_a_stream_is_its_end() -> None:
    """What has been sent stands, the argument comes after it, and changes are committed."""
    server = server_of()

    @server.get("/x")
    async def stream(request: Any) -> AsyncIterator[str]:
        yield "begun, "
        request.session["n"] = 1
        raise Finish("finished")

    async with running(server) as base:
        answer = await Browser(base).get("/x")
        assert answer.body == b"begun, finished"
        [session] = [session async for session in server.sessions.scan()]
        assert session.record.data == {"n": 1}


@pytest.mark.parametrize("part", [1, None, {"a": 1}], ids=repr)
async def test_part_that_is_none_cuts_the_stream(part: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is a fault, and is logged; the client sees that the answer is not whole."""
    server = server_of()

    @server.get("/x")
    async def stream(request: Any) -> AsyncIterator[Any]:
        yield "begun"
        yield part

    async with running(server) as base, raw(base) as connection:
        connection.send(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        cut = await connection.rest()
        assert b"begun" in cut
        assert not cut.endswith(b"0\r\n\r\n")
    assert "GET /x failed" in caplog.text


async def test_stream_that_fails_in_http_1_0_is_reset() -> None:
    """There the end of the connection is that of the answer, which would look whole."""
    server = server_of()

    @server.get("/x")
    async def stream(request: Any) -> AsyncIterator[str]:
        yield "begun"
        raise RuntimeError("fault")

    async with running(server) as base, raw(base) as connection:
        connection.send(b"GET /x HTTP/1.0\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await soon(connection.reader.read())


@pytest.mark.parametrize("error", [StreamClosedError(), asyncio.CancelledError()], ids=repr)
@pytest.mark.parametrize("body", ["", "x"])
async def test_failure_of_something_else_is_answered(error: BaseException, body: str) -> None:
    """A connection elsewhere that closed, a task elsewhere that was cancelled: this client is there, and gets its 500."""
    server = server_of()

    @server.post("/x")
    async def endpoint(request: Any) -> None:
        request.session["n"] = 1
        await asyncio.sleep(0)
        raise error

    server.get("/works")(lambda request: "works")
    async with running(server) as base:
        browser = Browser(base)
        assert (await browser.post("/x", body=body)).code == 500
        assert (await browser.get("/works")).body == b"works"
        datas = [session.record.data async for session in server.sessions.scan()]
        assert datas == [{}]


@pytest.mark.parametrize("announced", [False, True], ids=["before", "midway"])
async def test_endpoint_whose_task_is_cancelled_leaves_nobody_waiting(announced: bool, scene: Any) -> None:
    """A 500 where there was no answer yet, else a cut; what it had changed is dropped, what it cleans up is cleaned up."""
    server = server_of()

    @server.get("/x")
    async def stream(request: Any) -> AsyncIterator[str]:
        if announced:
            yield "begun"
        request.session["n"] = 1
        scene.seen.append(asyncio.current_task())
        try:
            await scene.hold()
        finally:
            scene.done.set()
        yield "done"

    async with running(server) as base, raw(base) as connection:
        connection.send(b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await soon(scene.started.wait())
        scene.seen[0].cancel()
        answer = await connection.rest()
        assert scene.done.is_set()
        assert answer.startswith(b"HTTP/1.1 200" if announced else b"HTTP/1.1 500")
        assert not answer.endswith(b"0\r\n\r\n")
        await until(scene.seen[0].done)
        [session] = [session async for session in server.sessions.scan()]
        assert session.record.data == {}


async def test_endpoint_is_in_one_task_and_one_context() -> None:
    """From its beginning, though none is made before it waits: time-outs, groups and context variables are its own."""
    server = server_of()

    async def name() -> str:
        return who.get()

    @server.get("/{name}")
    async def endpoint(request: Any, name_: str = "") -> Any:
        before, task = who.get(), asyncio.current_task()
        who.set(request.path_params["name"])
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            pass
        found = await asyncio.gather(name(), asyncio.create_task(name()))
        return [before, *found, who.get(), asyncio.current_task() is task, task is not None and task.cancelling()]

    async with running(server) as base:
        browsers = [Browser(base) for _ in range(5)]
        for _ in range(3):
            answers = await asyncio.gather(*(each.get(f"/{number}") for number, each in enumerate(browsers)))
            for number, answer in enumerate(answers):
                assert read_json(answer) == ["nobody", *[str(number)] * 3, True, 0]


async def test_client_that_leaves_after_its_request_does_not_stop_the_endpoint(
    scene: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes to its end, commits, and nothing is logged as a fault."""
    server = server_of()

    @server.post("/x")
    async def endpoint(request: Any) -> str:
        await request.body()
        request.session["n"] = 1
        await scene.hold()
        scene.done.set()
        return "done"

    async with running(server) as base:
        async with raw(base) as connection:
            connection.send(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx")
            await soon(scene.started.wait())
            connection.abort()
        scene.release.set()
        await soon(scene.done.wait())
        [session] = [session async for session in server.sessions.scan()]
        await until(lambda: session.record.data == {"n": 1})
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_client_whose_body_is_refused_is_read_on() -> None:
    """The endpoint that learns of it does not close the connection before the client has read why: that would reset it."""
    server = server_of()
    ended = asyncio.Event()

    @server.post("/x")
    async def endpoint(request: Any) -> None:
        try:
            await request.body()
        finally:
            ended.set()

    start = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with running(server) as base, raw(base) as connection:
        connection.send(start + b"3\r\nabc\r\nZZ\r\n")
        assert (await connection.rest()).startswith(b"HTTP/1.1 400 ")
        await soon(ended.wait())
        for _ in range(20):
            await asyncio.sleep(0)
        if engines.is_native():  # stock Tornado closes at once
            assert server._network.counts.open == 1


async def test_requests_in_one_go_are_answered_in_order() -> None:
    """Endpoints that wait and endpoints that do not, a body between them, on one connection."""
    server = server_of()

    @server.get("/slow")
    async def slow(request: Any) -> str:
        await asyncio.sleep(0)
        return "slow "

    @server.post("/echo")
    async def echo(request: Any) -> str:
        return (await request.text()) + " "

    server.get("/fast")(lambda request: "fast ")
    get = "GET /{} HTTP/1.1\r\nHost: localhost\r\n{}\r\n".format
    post = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\necho"
    requests = get("fast", "") + get("slow", "") + post + get("fast", "") + get("slow", "Connection: close\r\n")
    async with running(server) as base, raw(base) as connection:
        connection.send(requests.encode())
        bodies = [part.rpartition(b"\r\n\r\n")[2] for part in (await connection.rest()).split(b"HTTP/1.1 200 OK")]
        assert b"".join(bodies) == b"fast slow echo fast slow "


async def test_method_that_there_is_not_is_refused_before_a_session_is_started() -> None:
    """405, with what there is, and nothing else is done."""
    server = server_of()
    server.get("/x")(lambda request: "x")
    async with running(server) as base:
        answer = await Browser(base)("DELETE", "/x")
        assert (answer.code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert problem(answer)[0] == 405
        assert "Set-Cookie" not in answer.headers
        assert await server.sessions.count() == 0


@pytest.mark.feature("C2")
async def test_commit_that_fails_drops_what_is_left_of_it() -> None:
    """A request that changed two sessions, the first of which has ended: 401, and the second is as it was."""
    server = server_of()

    @server.get("/x")
    async def endpoint(request: Any) -> str:
        other = await server.sessions.create("other", remote_ip="192.0.2.1")
        request.session["n"] = other["n"] = 1
        await asyncio.create_task(end(request.session))
        return "done"

    async def end(session: Any) -> None:
        with UnitOfWork():
            await server.sessions.end(session, "admin")

    async with running(server) as base:
        assert problem(await Browser(base).get("/x")) == (401, "session-ended")
        [other] = [session async for session in server.sessions.scan()]
        assert other.record.data == {}
