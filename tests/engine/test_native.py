"""The native engine's HTTP, where it is told apart from stock Tornado's, on both loops."""

from __future__ import annotations

import asyncio
import contextvars
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPOutputError,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from wshttp.engine import tls_transport, transport_stream
from wshttp.engine.http_protocol import READ_AHEAD
from wshttp.engine.limits import Limits
from wshttp.engine.link import LINGER_SECONDS
from wshttp.engine.listeners import bind_tcp
from wshttp.engine.tls import TlsContext
from wshttp.engine.tls_transport import TlsTransport
from wshttp.testing import FakeClock

pytestmark = pytest.mark.parametrize("choice", ["native", "uvloop"], indirect=True)

PATIENCE = 10.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n"
OK = ResponseStartLine("HTTP/1.1", 200, "OK")

Ready = Callable[["Exchange"], Awaitable[None] | None]


def say(exchange: Exchange, body: bytes = b"ok", status: int = 200, **fields: str) -> None:
    """Answer in one piece."""
    start_line = ResponseStartLine("HTTP/1.1", status, "Fine")
    headers = HTTPHeaders({"Content-Length": str(len(body))} | {k.replace("_", "-"): v for k, v in fields.items()})
    exchange.connection.write_headers(start_line, headers, body)
    exchange.connection.finish()


class Exchange(HTTPMessageDelegate):
    """One request: what it was told, and what it does then is the test's to say."""

    def __init__(self, app: Application, connection: Any) -> None:
        self.app = app
        self.connection = connection
        self.body = b""
        self.calls: list[str] = []
        self.pieces: list[bytes] = []

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> Awaitable[None] | None:
        self.calls.append("headers")
        self.start_line, self.headers = start_line, headers
        return self.app.on_headers(self)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        self.pieces.append(chunk)
        self.app.arrived.set()
        return self.app.on_data(self)

    def finish(self) -> None:
        self.calls.append("finish")
        self.app.on_finish(self)

    def on_connection_close(self) -> None:
        self.calls.append("close")
        self.app.gone.set()


class Application(HTTPServerConnectionDelegate):
    """Whatever a test wants to happen to its requests; answers `ok` if it says nothing."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.arrived = asyncio.Event()
        self.gone = asyncio.Event()
        self.on_headers: Ready = lambda exchange: None
        self.on_data: Ready = lambda exchange: None
        self.on_finish: Callable[[Exchange], object] = say

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        self.exchanges.append(Exchange(self, request_conn))
        return self.exchanges[-1]


Speaking = Callable[..., Any]


@pytest.fixture
def speaking(engine: Any, clock: FakeClock, loop_factory: object) -> Speaking:
    """`async with speaking(**options) as (app, server, port)`: a server over an `Application`."""

    @asynccontextmanager
    async def speak(
        app: Application | None = None, *, tls: TlsContext | None = None, **options: Any
    ) -> AsyncIterator[tuple[Application, Any, int]]:
        app = app or Application()
        server = engine(app, clock=clock.monotonic, tls=tls, **options)
        [listener] = bind_tcp("127.0.0.1", 0, tls=tls is not None)
        server.add_listeners([listener])
        try:
            yield app, server, listener.socket.getsockname()[1]
        finally:
            await server.close()

    return speak


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), PATIENCE)


# --- who deals with a request -------------------------------------------------------------------


async def test_application_is_asked_with_the_header_if_it_can_be(speaking: Speaking, connect: Any) -> None:
    """By `delegate_for`, which finds the same delegate as `start_request`, but at once."""

    class Finder(Application):
        def delegate_for(self, start_line: Any, headers: HTTPHeaders, connection: Any, server_conn: Any) -> Exchange:
            assert (start_line.path, headers["Host"], str(server_conn)) == ("/", "a", "127.0.0.1")
            return Exchange(self, connection)

        def start_request(self, server_conn: object, request_conn: Any) -> Exchange:
            raise AssertionError("nobody is to be asked without a header")

    async with speaking(Finder()) as (app, _, port), connect(port) as client:
        app.on_finish = lambda exchange: say(exchange, " ".join(exchange.calls).encode())
        client.send(GET)
        assert (await client.response()).body == b"headers finish"


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.feature("M3")
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 1000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 1000, 414),
        (POST % (11, b""), 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123", 413),
        (b"PRI * HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\n", 400),
    ],
)
async def test_refusal_is_an_answer(speaking: Speaking, connect: Any, until: Any, sent: bytes, status: int) -> None:
    """With problem+json, `Connection: close` and a date; an application that has begun is told."""
    limits = Limits(max_header_size=1000, max_body_size=10)
    async with speaking(limits=limits) as (app, server, port):
        async with connect(port) as client:
            client.send(sent)
            answer = await client.response()
            assert answer.status == status
            assert (answer.json()["status"], answer.json()["type"]) == (status, "urn:wshttp:bad-request")
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.headers["connection"], answer.headers["date"][-3:]) == ("close", "GMT")
            assert await client.ended() == b""
        await until(lambda: server.counts.open == 0)
        assert [exchange.calls for exchange in app.exchanges] == ([["headers", "close"]] if status == 413 else [])


async def test_limit_that_is_lowered_holds_for_the_next_request(serving: Any, connect: Any) -> None:
    """Also on a connection that is open."""
    async with serving() as (server, port, _), connect(port) as client:
        client.get("/", "X: " + "x" * 5000)
        assert (await client.response()).status == 200
        server.limits = Limits(max_header_size=1000)
        client.get("/", "X: " + "x" * 5000)
        assert (await client.response()).status == 431


async def test_refusal_is_not_lost_in_a_reset(
    speaking: Speaking, connect: Any, clock: FakeClock, until: Any, only_link: Any
) -> None:
    """A client that goes on sending reads its answer; after a while it has had the time to."""
    async with speaking(limits=Limits(max_body_size=10)) as (_, server, port), connect(port) as client:
        link = await only_link(server)
        client.send(POST % (10_000_000, b""))
        await until(lambda: link.answered)
        for _ in range(10):
            client.send(bytes(100_000))
            await client.writer.drain()
        assert (await client.response()).status == 413
        clock.advance(LINGER_SECONDS - 0.1)
        server.tick()
        assert server.counts.open == 1
        clock.advance(0.1)
        server.tick()
        assert server.counts.open == 0
        assert server.counts.timed_out == {"header": 0, "idle": 0, "body": 0, "write": 0}


async def test_drain_counts_no_connection_that_has_had_its_answer(
    speaking: Speaking, connect: Any, until: Any, only_link: Any
) -> None:
    """That its client has not closed it yet cuts nothing."""
    async with speaking(limits=Limits(max_body_size=10)) as (_, server, port), connect(port) as client:
        link = await only_link(server)
        client.send(POST % (11, b""))
        await until(lambda: link.answered)
        assert await server.drain(0) == 0
        assert (await client.response()).status == 413


@pytest.mark.parametrize("where", ["on_headers", "on_data", "on_finish"])
@pytest.mark.parametrize(("error", "status"), [(HTTPInputError("no"), 400), (RuntimeError("fault"), 500)])
async def test_error_of_the_application_is_answered(
    speaking: Speaking, connect: Any, caplog: Any, where: str, error: Exception, status: int
) -> None:
    """It never gets to the loop, at once or awaited, and the connection ends."""

    def fail(exchange: Exchange) -> None:
        raise error

    async def fail_later(exchange: Exchange) -> None:
        raise error

    async with speaking() as (app, _, port):
        for failing in (fail, fail_later)[: 1 if where == "on_finish" else 2]:
            setattr(app, where, failing)
            async with connect(port) as client:
                client.send(POST % (4, b"") + b"body")
                answer = await client.response()
                assert answer.status == status
                assert answer.json()["type"] == ("about:blank" if status == 500 else "urn:wshttp:bad-request")
                assert await client.ended() == b""
            calls = app.exchanges[-1].calls
            assert calls == (["headers", "finish"] if where == "on_finish" else ["headers", "close"])
    assert ("Uncaught exception" in caplog.text) == (status == 500)


@pytest.mark.parametrize("where", ["on_headers", "on_data"])
async def test_application_that_cancels_what_is_waited_for_closes(
    speaking: Speaking, connect: Any, until: Any, where: str
) -> None:
    """There is nothing to be said, and nothing to be waited for any more."""

    async def give_up(exchange: Exchange) -> None:
        raise asyncio.CancelledError

    async with speaking() as (app, server, port), connect(port) as client:
        setattr(app, where, give_up)
        client.send(POST % (4, b"") + b"body")
        assert await client.ended() == b""
        await until(lambda: server.counts.open == 0)
        await soon(app.gone)


async def test_error_after_the_answer_has_begun_cuts_it(speaking: Speaking, connect: Any) -> None:
    """Nothing that could be taken for the rest of the answer follows it."""

    def begin_and_fail(exchange: Exchange) -> None:
        exchange.connection.write_headers(OK, HTTPHeaders({"Content-Length": "4"}), b"ha")
        raise RuntimeError("fault")

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_finish = begin_and_fail
        client.send(GET)
        assert b"problem" not in await client.ended()


async def test_request_that_is_answered_with_its_header_goes_no_further(speaking: Speaking, connect: Any) -> None:
    """What was answered before its end, body or not, is not finished."""

    def answer(exchange: Exchange) -> None:
        say(exchange, b"done")

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_headers = answer
        client.send(GET)
        assert (await client.ended()).endswith(b"done")
        assert app.exchanges[0].calls == ["headers"]


# --- requests -----------------------------------------------------------------------------------


async def test_pipelined_requests_are_served_in_turn(speaking: Speaking, connect: Any, until: Any) -> None:
    """The next one is not looked at before the last is answered; each runs in a context of its own."""
    mark = contextvars.ContextVar("mark", default="clean")
    seen: list[str] = []

    async def answer_later(exchange: Exchange) -> None:
        seen.append(mark.get())
        mark.set("dirty")
        await release.wait()
        say(exchange)

    async with speaking() as (app, _, port), connect(port) as client:
        release = asyncio.Event()
        tasks = []
        app.on_finish = lambda exchange: tasks.append(asyncio.ensure_future(answer_later(exchange)))
        client.send(GET * 3)
        await until(lambda: len(tasks) == 1)
        assert len(app.exchanges) == 1
        release.set()
        for _ in range(3):
            assert (await client.response()).body == b"ok"
        assert seen == ["clean"] * 3


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        POST % (4, b"") + b"body",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ],
    ids=["no body", "length", "chunks"],
)
async def test_pipelined_requests_that_are_answered_at_once_leave_turns_to_others(
    speaking: Speaking, connect: Any, request_: bytes
) -> None:
    """A thousand of them in one piece are a thousand turns, not one."""
    async with speaking() as (app, _, port), connect(port) as client:
        served: list[int] = []

        def answer(exchange: Exchange) -> None:
            say(exchange)
            served.append(len(app.exchanges))
            if len(app.exchanges) == 1:
                asyncio.get_running_loop().call_soon(served.append, -1)

        app.on_finish = answer
        client.send(request_ * 1000)
        for _ in range(1000):
            await client.response()
        assert served.index(-1) < 10


async def test_client_that_sends_too_far_ahead_has_to_wait(
    speaking: Speaking, connect: Any, until: Any, only_link: Any
) -> None:
    """What it sends while it waits for an answer stays within bounds, and is served then."""
    async with speaking() as (app, server, port), connect(port, limit=1 << 24) as client:
        held: list[Exchange] = []
        app.on_finish = held.append
        client.send(GET)
        link = await only_link(server)
        await until(lambda: bool(held))
        requests = 600_000
        client.send(GET * requests)
        await until(lambda: link._stream.received > READ_AHEAD)
        received = 0
        for _ in range(1000):
            await asyncio.sleep(0)
            received = link._stream.received
        assert received < len(GET) * requests / 4
        app.on_finish = say
        say(held[0])
        for _ in range(100):
            assert (await client.response()).status == 200
        client.writer.transport.abort()


async def test_header_is_read_to_its_end_however_large(speaking: Speaking, connect: Any) -> None:
    """What may be read ahead of the application bounds it in no way: it is answered at once, or refused at once."""
    async with speaking(limits=Limits(max_header_size=1 << 20)) as (_, _, port), connect(port) as client:
        client.send(GET[:-2] + b"X: %b\r\n\r\n" % (b"x" * 900_000))
        assert (await client.response()).status == 200
        client.send(GET[:-2] + b"X: " + b"x" * (2 << 20))
        assert (await client.response()).status == 431


async def test_body_is_given_as_fast_as_it_is_taken(
    speaking: Speaking, connect: Any, until: Any, only_link: Any
) -> None:
    """As long as the application has not finished with one piece, the client has to wait with the next."""
    none = Limits(max_body_size=0)
    async with speaking(limits=none) as (app, server, port), connect(port) as client:
        release = asyncio.Event()

        async def hold(exchange: Exchange) -> None:
            await release.wait()

        app.on_data = hold
        size = 50_000_000
        client.send(POST % (size, b"") + bytes(size))
        link = await only_link(server)
        await until(lambda: link._stream.received > READ_AHEAD)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert link._stream.received < size / 2
        assert not link._stream.reading()
        assert len(app.exchanges[0].pieces) == 1
        release.set()
        app.on_data = lambda exchange: None
        assert (await client.response()).status == 200
        assert sum(map(len, app.exchanges[0].pieces)) == size
        assert max(map(len, app.exchanges[0].pieces)) <= server.chunk_size


async def test_body_waits_for_who_looks_at_the_header(speaking: Speaking, connect: Any) -> None:
    """What he decides about its size counts, and what he waits for comes first."""

    async def prepare(exchange: Exchange) -> None:
        await release.wait()
        exchange.connection.set_max_body_size(20)

    async with speaking(limits=Limits(max_body_size=10)) as (app, _, port), connect(port) as client:
        release = asyncio.Event()
        app.on_headers = prepare
        client.send(POST % (20, b"") + bytes(20) + POST % (21, b""))
        release.set()
        assert (await client.response()).status == 200
        assert (await client.response()).status == 413


async def test_body_that_is_late_for_its_own_timeout_is_refused(speaking: Speaking, connect: Any) -> None:
    """`set_body_timeout` is for the whole of it, whatever progress there is."""

    def limit(exchange: Exchange) -> None:
        exchange.connection.set_body_timeout(0.01)

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_headers = limit
        client.send(POST % (10, b"") + b"x")
        assert (await client.response()).status == 408
        await soon(app.gone)


async def test_body_timeout_ends_with_the_body(speaking: Speaking, connect: Any) -> None:
    """The answer may take longer."""
    async with speaking() as (app, _, port), connect(port) as client:
        done = asyncio.Event()

        def limit(exchange: Exchange) -> None:
            exchange.connection.set_body_timeout(0.01)
            asyncio.get_running_loop().call_later(0.02, done.set)

        async def answer(exchange: Exchange) -> None:
            await soon(done)
            say(exchange)

        tasks = []
        app.on_headers = limit
        app.on_finish = lambda exchange: tasks.append(asyncio.ensure_future(answer(exchange)))
        client.send(POST % (1, b"") + b"x")
        assert (await client.response()).status == 200


async def test_continue_is_said_to_who_waits_for_it(speaking: Speaking, connect: Any) -> None:
    """When the body is wanted, and not before."""

    async def prepare(exchange: Exchange) -> None:
        prepared.set()
        await release.wait()

    async with speaking() as (app, _, port), connect(port) as client:
        prepared, release = asyncio.Event(), asyncio.Event()
        app.on_headers = prepare
        client.send(POST % (4, b"Expect: 100-Continue\r\n"))
        await soon(prepared)
        assert not client.reader._buffer
        release.set()
        assert (
            await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), PATIENCE) == b"HTTP/1.1 100 Continue\r\n\r\n"
        )
        client.send(b"body")
        assert (await client.response()).body == b"ok"


async def test_continue_is_not_said_once_a_part_of_the_body_has_come(
    speaking: Speaking, connect: Any, until: Any
) -> None:
    """Who sends it does not wait."""
    async with speaking() as (app, _, port), connect(port) as client:
        client.send(POST % (4, b"Expect: 100-continue\r\n") + b"bo")
        await soon(app.arrived)
        client.send(b"dy")
        assert (await client.response()).status == 200


async def test_continue_is_not_said_where_it_is_not_needed(speaking: Speaking, connect: Any) -> None:
    """The body is there already, or will not be read."""
    async with speaking() as (app, _, port), connect(port) as client:
        client.send(POST % (4, b"Expect: 100-continue\r\n") + b"body")
        assert (await client.response()).status == 200
        app.on_headers = lambda exchange: say(exchange, status=403)
        client.send(POST % (4, b"Expect: 100-continue\r\n"))
        answer = await client.response()
        assert (answer.status, answer.headers["connection"]) == (403, "close")
        assert await client.ended() == b""
        assert app.exchanges[-1].calls == ["headers"]


async def test_answer_before_the_body_ends_the_connection(speaking: Speaking, connect: Any) -> None:
    """It says so; what comes of the body is dropped, and the application hears no more of it."""
    async with speaking() as (app, _, port), connect(port) as client:
        app.on_headers = say
        client.send(POST % (1_000_000, b""))
        answer = await client.response()
        assert (answer.body, answer.headers["connection"]) == (b"ok", "close")
        for _ in range(10):
            client.send(bytes(100_000))
        assert await client.ended() == b""
        assert (app.exchanges[0].calls, app.exchanges[0].pieces) == (["headers"], [])


async def test_absolute_target_is_a_path_and_a_host(serving: Any, connect: Any) -> None:
    """The application sees no difference."""
    async with serving() as (_, port, _), connect(port) as client:
        client.get("http://b.example:81/")
        assert (await client.response()).json()["host"] == "b.example:81"


async def test_options_of_the_server_are_told(speaking: Speaking, connect: Any) -> None:
    """Without the application, which knows addresses only; the connection goes on."""
    async with speaking() as (app, _, port), connect(port) as client:
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" + GET)
        answer = await client.response()
        assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
        assert "content-length" not in answer.headers
        assert (await client.response()).body == b"ok"
        assert len(app.exchanges) == 1


async def test_upgrade_that_nobody_wants_is_a_request(speaking: Speaking, connect: Any) -> None:
    """Its body ends where it says, and the next request follows."""
    async with speaking() as (app, _, port), connect(port) as client:
        client.send(POST % (len(GET), b"Connection: Upgrade\r\nUpgrade: h2c\r\n") + GET + GET)
        for _ in range(2):
            assert (await client.response()).body == b"ok"
        assert (app.exchanges[0].pieces, len(app.exchanges)) == ([GET], 2)


async def test_client_that_half_closes_has_gone(speaking: Speaking, connect: Any, until: Any) -> None:
    """It cannot be told from one that has closed, and a handler that waits has to learn of that."""
    async with speaking() as (app, server, port), connect(port) as client:
        gone: list[str] = []

        def wait(exchange: Exchange) -> None:
            exchange.connection.set_close_callback(lambda: gone.append("gone"))
            app.arrived.set()

        app.on_finish = wait
        client.send(GET)
        await soon(app.arrived)
        client.writer.write_eof()
        await until(lambda: gone == ["gone"])
        assert server.counts.open == 0
        assert app.exchanges[0].calls == ["headers", "finish"]
        connection = app.exchanges[0].connection
        with pytest.raises(StreamClosedError):
            await connection.write_headers(OK, HTTPHeaders({"Content-Length": "0"}))
        connection.finish()


# --- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_line", "fields", "expected"),
    [
        (b"GET / HTTP/1.1", b"", b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        (
            b"GET / HTTP/1.1",
            b"Connection: close\r\n",
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab",
        ),
        (b"GET / HTTP/1.0", b"", b"\r\n\r\nabc"),
        (b"GET / HTTP/1.0", b"Connection: keep-alive\r\n", b"Connection: close\r\n\r\nabc"),
    ],
)
async def test_answer_without_a_length_ends_as_the_client_can_tell(
    speaking: Speaking, connect: Any, request_line: bytes, fields: bytes, expected: bytes
) -> None:
    """In chunks, or in HTTP/1.0 with the connection."""

    def answer(exchange: Exchange) -> None:
        exchange.connection.write_headers(OK, HTTPHeaders({"Date": "now"}), b"ab")
        exchange.connection.write(b"")
        exchange.connection.write(b"c")
        exchange.connection.finish()

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_finish = answer
        client.send(request_line + b"\r\nHost: a\r\n" + fields + b"\r\n")
        if b"chunked" in expected and b"close" not in expected:
            seen = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), PATIENCE)
        else:
            seen = await client.ended()
        start = b"HTTP/1.1 200 OK\r\nDate: now"
        assert seen.startswith(start)
        for part in expected.split(b"\r\n\r\n"):
            assert part in seen


@pytest.mark.parametrize(
    ("request_", "kept", "told"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", False, "close"),
        (b"GET / HTTP/1.0\r\n\r\n", False, None),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, "Keep-Alive"),
    ],
)
async def test_connection_is_kept_or_not_as_told(
    speaking: Speaking, connect: Any, request_: bytes, kept: bool, told: str | None
) -> None:
    """What the client asks for, the answer says and the engine does."""
    async with speaking() as (_, _, port), connect(port) as client:
        client.send(request_)
        assert (await client.response()).headers.get("connection") == told
        if kept:
            client.send(request_)
            assert (await client.response()).status == 200
        else:
            assert await client.ended() == b""


async def test_connection_is_closed_where_the_application_says_so(speaking: Speaking, connect: Any) -> None:
    """By its own header, or by the server's `no_keep_alive`."""
    async with speaking() as (app, _, port), connect(port) as client:
        app.on_finish = lambda exchange: say(exchange, Connection="close")
        client.send(GET)
        await client.response()
        assert await client.ended() == b""
    async with speaking(no_keep_alive=True) as (_, _, port), connect(port) as client:
        client.send(GET)
        assert (await client.response()).headers["connection"] == "close"
        assert await client.ended() == b""


async def test_option_of_another_name_closes_nothing(speaking: Speaking, connect: Any) -> None:
    """`Connection` is a list of words."""
    async with speaking() as (app, _, port), connect(port) as client:
        app.on_finish = lambda exchange: say(exchange, Connection="x-close")
        for _ in range(2):
            client.send(GET)
            assert (await client.response()).headers["connection"] == "x-close"
        app.on_finish = lambda exchange: say(exchange, Connection="x-close, Close")
        client.send(GET)
        await client.response()
        assert await client.ended() == b""


async def test_answer_to_head_has_no_body(speaking: Speaking, connect: Any) -> None:
    """Its length is told; the next answer follows at once."""

    def answer(exchange: Exchange) -> None:
        exchange.connection.write_headers(OK, HTTPHeaders({"Content-Length": "5"}))
        exchange.connection.finish()

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_finish = answer
        client.send(GET.replace(b"GET", b"HEAD") * 2)
        for _ in range(2):
            head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), PATIENCE)
            assert b"Content-Length: 5" in head


async def test_answer_of_another_length_than_told_is_an_error(speaking: Speaking, connect: Any) -> None:
    """The connection ends, as what follows could be taken for the rest, or for another answer."""
    errors: list[str] = []

    def say_too_much(exchange: Exchange) -> None:
        with pytest.raises(HTTPOutputError) as raised:
            exchange.connection.write_headers(OK, HTTPHeaders({"Content-Length": "1"}), b"ab")
        errors.append(str(raised.value))

    def say_too_little(exchange: Exchange) -> None:
        exchange.connection.write_headers(OK, HTTPHeaders({"Content-Length": "3"}), b"a")
        with pytest.raises(HTTPOutputError) as raised:
            exchange.connection.finish()
        errors.append(str(raised.value))

    async with speaking() as (app, _, port):
        for app.on_finish in (say_too_much, say_too_little):
            async with connect(port) as client:
                client.send(GET)
                assert b"\r\n\r\nab" not in await client.ended()
    assert errors == [
        "Tried to write more data than Content-Length",
        "Tried to write 2 bytes less than Content-Length",
    ]


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\rb"])
async def test_header_that_would_end_early_is_an_error(speaking: Speaking, connect: Any, value: str) -> None:
    """Nothing of it is sent."""

    def answer(exchange: Exchange) -> None:
        headers = HTTPHeaders()
        headers["X"] = value
        with pytest.raises(ValueError, match="Illegal characters"):
            exchange.connection.write_headers(OK, headers)
        with pytest.raises(ValueError, match="Illegal characters"):
            exchange.connection.write_headers(ResponseStartLine("", 200, value), HTTPHeaders())
        say(exchange)

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_finish = answer
        client.send(GET)
        assert (await client.response()).body == b"ok"


async def test_header_may_be_bytes(speaking: Speaking, connect: Any) -> None:
    """Not all of Tornado turns them into text."""

    def answer(exchange: Exchange) -> None:
        headers = HTTPHeaders({"Content-Length": "0"})
        headers["X"] = b"bytes"  # type: ignore[assignment]
        exchange.connection.write_headers(OK, headers)
        exchange.connection.finish()

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_finish = answer
        client.send(GET)
        assert (await client.response()).headers["x"] == "bytes"


@pytest.mark.parametrize(("version", "cut"), [(b"1.0", True), (b"1.1", False)])
@pytest.mark.parametrize("fail", [True, False])
async def test_answer_that_ends_with_the_connection_is_reset_where_it_is_cut(
    speaking: Speaking, connect: Any, until: Any, version: bytes, cut: bool, fail: bool
) -> None:
    """Else it would look whole; one in chunks does not."""
    begun = asyncio.Event()

    def answer(exchange: Exchange) -> None:
        exchange.connection.write_headers(OK, HTTPHeaders(), b"part")
        begun.set()
        if fail:
            raise RuntimeError("fault")

    async with speaking() as (app, server, port), connect(port) as client:
        app.on_finish = answer
        client.send(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        await soon(begun)
        if not fail:
            await server.drain(0)
        if cut:
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(client.reader.read(-1), PATIENCE)
        else:
            assert not (await asyncio.wait_for(client.reader.read(-1), PATIENCE)).endswith(b"0\r\n\r\n")


async def test_client_that_goes_is_noticed_though_it_has_sent_ahead(
    speaking: Speaking, connect: Any, until: Any, only_link: Any
) -> None:
    """Where reading is paused nobody sees its end, unless somebody looks."""
    gone = asyncio.Event()

    def wait(exchange: Exchange) -> None:
        exchange.connection.set_close_callback(gone.set)
        app.arrived.set()

    async with speaking() as (app, server, port):
        app.on_finish = wait
        async with connect(port) as client:
            client.send(GET)
            await soon(app.arrived)
            link = await only_link(server)
            client.send(b"x" * (READ_AHEAD + 1))
            await until(lambda: link._stream._reading_is_paused)
            server.tick()
            assert server.counts.open == 1

        def has_gone() -> bool:
            server.tick()
            return bool(server.counts.open == 0)

        await until(has_gone)
        assert gone.is_set() or await soon(gone) is None


async def test_early_hints_come_before_the_answer(speaking: Speaking, connect: Any) -> None:
    """A 1xx is not the answer yet."""

    def answer(exchange: Exchange) -> None:
        exchange.connection.write_headers(ResponseStartLine("", 103, "Early Hints"), HTTPHeaders({"Link": "</a>"}))
        say(exchange)

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_finish = answer
        client.send(GET)
        hints = await client.response()
        assert (hints.status, hints.headers) == (103, {"link": "</a>"})
        assert (await client.response()).body == b"ok"


async def test_write_waits_where_the_client_does_not_read(speaking: Speaking, connect: Any, until: Any) -> None:
    """Below the high-water mark there is nothing to wait for; above it until it is low; and a client that goes ends it."""
    async with speaking() as (app, server, port):
        held: list[Exchange] = []
        app.on_finish = held.append
        async with connect(port, limit=1024) as client:
            client.send(GET)
            await until(lambda: bool(held))
            connection = held[0].connection
            first = connection.write_headers(OK, HTTPHeaders({"Content-Length": str(1 << 28)}), b"x")
            assert first.done()
            assert connection.write(b"x") is first
            flood = connection.write(bytes(1 << 26))
            assert not flood.done()
            read = 0
            while not flood.done():
                read += len(await client.reader.read(1 << 20))
            assert read > 1 << 25
            lost = connection.write(bytes(1 << 26))
            client.writer.transport.abort()
            with pytest.raises(StreamClosedError):
                await asyncio.wait_for(lost, PATIENCE)
        await until(lambda: server.counts.open == 0)
        with pytest.raises(StreamClosedError):
            await connection.write(b"x")


async def test_next_request_waits_until_the_last_answer_is_taken(speaking: Speaking, connect: Any, until: Any) -> None:
    """Else a client that sends and does not read would fill the memory with answers."""
    async with speaking() as (app, _, port), connect(port, limit=1024) as client:
        app.on_finish = lambda exchange: say(exchange, bytes(1 << 25))
        client.send(GET * 3)
        await until(lambda: bool(app.exchanges))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(app.exchanges) == 1
        for _ in range(3):
            assert len((await client.response()).body) == 1 << 25


async def test_writing_after_the_end_is_in_no_other_answer(speaking: Speaking, connect: Any) -> None:
    """What a handler says too late, it says to nobody."""
    async with speaking() as (app, _, port), connect(port) as client:

        def answer(exchange: Exchange) -> None:
            say(exchange)
            for late in (exchange.connection.write(b"late"), exchange.connection.write_headers(OK, HTTPHeaders())):
                assert isinstance(late.exception(), StreamClosedError)
            exchange.connection.finish()

        app.on_finish = answer
        client.send(GET * 2)
        for _ in range(2):
            assert (await client.response()).body == b"ok"


async def test_continue_is_not_said_within_an_answer(speaking: Speaking, connect: Any) -> None:
    """Who begins to answer before the body has come has said enough."""

    def begin(exchange: Exchange) -> None:
        exchange.connection.write_headers(OK, HTTPHeaders({"Content-Length": "4"}), b"ha")

    def end(exchange: Exchange) -> None:
        exchange.connection.write(b"lf")
        exchange.connection.finish()

    async with speaking() as (app, _, port), connect(port) as client:
        app.on_headers, app.on_finish = begin, end
        client.send(POST % (4, b"Expect: 100-continue\r\n"))
        await asyncio.wait_for(client.reader.readuntil(b"ha"), PATIENCE)
        client.send(b"body")
        assert await client.ended() == b"lf"


@pytest.mark.parametrize("asked", [GET, GET * 2, GET + GET[:-2]], ids=["one", "two", "one and a half"])
async def test_client_that_takes_its_answer_has_time_for_the_next_request(
    speaking: Speaking, connect: Any, clock: FakeClock, until: Any, asked: bytes
) -> None:
    """It is not idle, and a request that waits for the end of the answer is not late."""
    limits = Limits(idle_timeout=20, header_timeout=20)
    async with speaking(limits=limits) as (app, server, port), connect(port, limit=1 << 16) as client:
        app.on_finish = lambda exchange: say(exchange, bytes(1 << 26))
        client.send(asked)
        for _ in range(asked.count(GET)):
            assert b"200" in await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), PATIENCE)
            for _ in range(8):
                clock.advance(15)
                server.tick()
                assert len(await asyncio.wait_for(client.reader.readexactly(1 << 23), PATIENCE)) == 1 << 23
        [link] = server._links
        await until(lambda: link._stream.unsent == 0)
        clock.advance(4)
        server.tick()
        assert sum(server.counts.timed_out.values()) == 0
        clock.advance(20)
        server.tick()
        assert sum(server.counts.timed_out.values()) == 1


@pytest.fixture(params=[False, True], ids=["clear", "tls"])
def sides(request: pytest.FixtureRequest, certificate: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What server and client are told, over TLS or not."""
    if not request.param:
        return {}, {}
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return {"tls": TlsContext(*certificate("a"))}, {"ssl": context}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Have a client's end be looked for all the time; grows with each look."""
    monkeypatch.setattr(tls_transport, "LINGER_SECONDS", 0.001)
    see_off, seen = TlsTransport._see_off, []

    def look(self: TlsTransport, had_all: bool) -> None:
        seen.append(had_all)
        see_off(self, had_all)

    monkeypatch.setattr(TlsTransport, "_see_off", look)
    return seen


async def test_last_answer_is_sent_to_its_end(
    speaking: Speaking, connect: Any, until: Any, sides: Any, looks: list[bool]
) -> None:
    """The connection is closed behind it, and not a while after it was written."""
    here, there = sides
    # uvloop's client (0.23) forgets what it has not given away yet when the connection ends: so it gives away all.
    async with speaking(**here) as (app, server, port), connect(port, limit=1 << 27, **there) as client:
        app.on_finish = lambda exchange: say(exchange, bytes(1 << 26))
        client.send(GET[:-2] + b"Connection: close\r\n\r\n")
        assert len((await client.response()).body) == 1 << 26
        assert await client.ended() == b""
        await until(lambda: server.counts.open == 0)


async def test_client_that_does_not_say_goodbye_over_tls_is_left(
    speaking: Speaking, connect: Any, until: Any, certificate: Any, looks: list[bool]
) -> None:
    """Some time after it has had everything."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    tls = TlsContext(*certificate("a"))
    async with speaking(tls=tls) as (app, server, port), connect(port, ssl=context) as client:
        app.on_finish = lambda exchange: client.writer.transport.pause_reading() or say(exchange)
        client.send(GET[:-2] + b"Connection: close\r\n\r\n")
        await until(lambda: bool(app.exchanges))
        await until(lambda: server.counts.open == 0)
        assert True in looks
        client.writer.transport.abort()


async def test_client_that_takes_nothing_of_the_last_answer_is_cut(
    speaking: Speaking, connect: Any, until: Any, clock: FakeClock, sides: Any, only_link: Any
) -> None:
    """Its connection closes already; the time for a write ends that."""
    here, there = sides
    async with speaking(**here) as (app, server, port), connect(port, limit=1024, **there) as client:
        app.on_finish = lambda exchange: say(exchange, bytes(1 << 27))
        client.send(GET[:-2] + b"Connection: close\r\n\r\n")
        link = await only_link(server)
        await until(lambda: bool(app.exchanges))
        assert link._stream.unsent > 1 << 25
        for _ in range(2):
            same, before = 0, 0
            while same < 200:
                await asyncio.sleep(0)
                same, before = (same + 1 if link._stream.unsent == before else 0), link._stream.unsent
            server.tick()
            clock.advance(60)
        server.tick()
        assert (server.counts.timed_out["write"], server.counts.open) == (1, 0)
        client.writer.transport.abort()


async def test_answer_before_the_body_leaves_nothing_of_it_in_memory(
    speaking: Speaking, connect: Any, until: Any, only_link: Any
) -> None:
    """Neither what has come already nor what comes until the client has read its answer."""
    async with speaking() as (app, server, port), connect(port) as client:
        app.on_headers = say
        link = await only_link(server)
        client.send(POST % (10_000_000, b"") + bytes(30_000))
        await until(lambda: link.answered)
        client.send(bytes(30_000))
        await until(lambda: link._stream.received > 60_000)
        assert len(link._stream._parser.buffer) == 0


async def test_large_answer_before_the_body_is_sent_to_its_end(
    speaking: Speaking, connect: Any, clock: FakeClock, until: Any, sides: Any
) -> None:
    """As long as the client takes it, it has time."""
    here, there = sides
    async with speaking(**here) as (app, server, port), connect(port, limit=1024, **there) as client:
        app.on_headers = lambda exchange: say(exchange, bytes(1 << 26))
        client.send(POST % (10, b""))
        await until(lambda: bool(app.exchanges))
        for _ in range(3):
            clock.advance(LINGER_SECONDS)
            server.tick()
        assert len((await client.response()).body) == 1 << 26
        await client.close()
        await until(lambda: server.counts.open == 0)


# --- no longer HTTP -----------------------------------------------------------------------------

SWITCH = ResponseStartLine("HTTP/1.1", 101, "Switching Protocols")
UPGRADE = {"Connection": "Upgrade", "Upgrade": "echo"}


class Recorder:
    """A receiver that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> None:
        self.heard.append("eof")

    def connection_lost(self, error: Exception | None) -> None:
        self.heard.append("lost")
        self.lost.set()

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")


async def test_upgrade_hands_the_connection_over(
    speaking: Speaking, connect: Any, until: Any, clock: FakeClock
) -> None:
    """With all that follows the request, in order, to the end; it is counted and not timed."""
    async with speaking() as (app, server, port):
        receiver = Recorder()
        transports: list[asyncio.Transport] = []

        def upgrade(exchange: Exchange) -> None:
            exchange.connection.write_headers(SWITCH, HTTPHeaders(UPGRADE))
            exchange.connection.finish()
            transports.append(exchange.connection.upgrade(receiver))

        app.on_finish = upgrade
        async with connect(port) as client:
            client.send(GET + b"early")
            assert (await client.response()).status == 101
            assert receiver.heard == [b"early"]
            clock.advance(100_000)
            server.tick()
            client.send(b"later")
            await until(lambda: receiver.heard == [b"early", b"later"])
            transports[0].write(b"back")
            assert await asyncio.wait_for(client.reader.readexactly(4), PATIENCE) == b"back"
            transports[0].write(bytes(1 << 26))
            assert receiver.heard[2:] == ["pause"]
            await asyncio.wait_for(client.reader.readexactly(1 << 26), PATIENCE)
            await until(lambda: receiver.heard[2:] == ["pause", "resume"])
            assert server.counts.open == 1
        await soon(receiver.lost)
        assert receiver.heard[-2:] in (["eof", "lost"], ["resume", "lost"])
        assert server.counts.open == 0


async def test_upgrade_goes_on_with_what_was_read_ahead(
    speaking: Speaking, connect: Any, until: Any, only_link: Any
) -> None:
    """So much that reading was paused: the receiver gets all of it, and reading goes on."""
    async with speaking() as (app, server, port), connect(port) as client:
        held: list[Exchange] = []
        app.on_finish = held.append
        client.send(GET + bytes(1_000_000))
        link = await only_link(server)
        await until(lambda: bool(held) and link._stream._reading_is_paused)
        receiver = Recorder()
        held[0].connection.upgrade(receiver)
        await until(lambda: sum(len(data) for data in receiver.heard if isinstance(data, bytes)) == 1_000_000)


async def test_upgrade_goes_on_with_what_is_unsent(speaking: Speaking, connect: Any, until: Any) -> None:
    """The receiver hears that it has to wait, and when no more; who waited before waits no longer."""
    async with speaking() as (app, _, port), connect(port, limit=1024) as client:
        held: list[Exchange] = []
        app.on_finish = held.append
        client.send(GET)
        await until(lambda: bool(held))
        connection, receiver = held[0].connection, Recorder()
        flood = connection.write_headers(OK, HTTPHeaders({"Content-Length": str(1 << 26)}), bytes(1 << 26))
        assert not flood.done()
        connection.upgrade(receiver)
        assert (flood.done(), receiver.heard) == (True, ["pause"])
        assert len((await client.response()).body) == 1 << 26
        await until(lambda: receiver.heard == ["pause", "resume"])


async def test_upgrade_of_a_closed_connection_is_an_error(speaking: Speaking, connect: Any, until: Any) -> None:
    """There is nothing to hand over."""
    async with speaking() as (app, server, port):
        held: list[Exchange] = []
        app.on_finish = held.append
        async with connect(port) as client:
            client.send(GET)
            await until(lambda: bool(held))
        await until(lambda: server.counts.open == 0)
        with pytest.raises(StreamClosedError):
            held[0].connection.upgrade(Recorder())
        assert held[0].connection.detach().closed()


async def test_connection_that_was_handed_over_ends_with_the_server(
    speaking: Speaking, connect: Any, until: Any
) -> None:
    """Its owner hears of it."""
    async with speaking() as (app, server, port), connect(port) as client:
        receiver = Recorder()
        app.on_finish = lambda exchange: exchange.connection.upgrade(receiver)
        client.send(GET)
        await until(lambda: bool(app.exchanges) and app.exchanges[0].calls == ["headers", "finish"])
        await server.close_all_connections()
        assert server.counts.open == 1
        await server.close()
        assert server.counts.open == 0
        await soon(receiver.lost)
        assert await client.ended() == b""


async def test_detached_stream_reads_and_writes(speaking: Speaking, connect: Any, until: Any) -> None:
    """By the names of Tornado's, up to `StreamClosedError`."""
    async with speaking() as (app, server, port):
        held: list[Exchange] = []
        app.on_finish = held.append
        async with connect(port) as client:
            client.send(GET + b"early")
            await until(lambda: bool(held))
            stream = held[0].connection.detach()
            closed = asyncio.Event()
            stream.set_close_callback(closed.set)
            stream.set_nodelay(True)
            assert await stream.read_bytes(2) == b"ea"
            assert await stream.read_bytes(100, partial=True) == b"rly"
            reading = stream.read_bytes(300_000)
            client.send(bytes(300_001))
            assert await asyncio.wait_for(reading, PATIENCE) == bytes(300_000)
            await stream.write(b"back")
            assert await asyncio.wait_for(client.reader.readexactly(4), PATIENCE) == b"back"
            reading = stream.read_bytes(100)
        with pytest.raises(StreamClosedError):
            await asyncio.wait_for(reading, PATIENCE)
        await soon(closed)
        assert stream.closed()
        assert await stream.read_bytes(1) == b"\0"
        with pytest.raises(StreamClosedError):
            await stream.read_bytes(1)
        with pytest.raises(StreamClosedError):
            stream.write(b"x")
        again = asyncio.Event()
        stream.set_close_callback(again.set)
        await soon(again)
        assert server.counts.open == 0


async def test_detached_stream_reads_no_further_ahead_than_needed(
    speaking: Speaking, connect: Any, until: Any, clock: FakeClock
) -> None:
    """Whoever does not read has the peer wait."""
    async with speaking() as (app, _, port), connect(port) as client:
        held: list[Exchange] = []
        app.on_finish = held.append
        client.send(GET)
        await until(lambda: bool(held))
        stream = held[0].connection.detach()
        size = 50_000_000
        client.send(bytes(size))
        for _ in range(1000):
            await asyncio.sleep(0)
        assert len(stream._buffer) < size / 2
        assert len(await asyncio.wait_for(stream.read_bytes(size), PATIENCE)) == size


@pytest.mark.parametrize("who", ["server", "client"])
async def test_detached_stream_that_closes_does_not_wait_for_ever(
    speaking: Speaking, connect: Any, until: Any, sides: Any, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that takes nothing has a while for what was written, whoever closes."""
    monkeypatch.setattr(transport_stream, "LINGER_SECONDS", 0.001)
    here, there = sides
    async with speaking(**here) as (app, server, port), connect(port, limit=1024, **there) as client:
        held: list[Exchange] = []
        app.on_finish = held.append
        client.send(GET)
        await until(lambda: bool(held))
        stream = held[0].connection.detach()
        stream.write(bytes(1 << 27))
        assert stream.unsent > 0
        if who == "server":
            stream.close()
        elif there:
            client.writer.close()
        else:
            client.writer.write_eof()
        await until(lambda: server.counts.open == 0)
        client.writer.transport.abort()


async def test_detached_stream_that_is_reset_is_cut(speaking: Speaking, connect: Any, until: Any) -> None:
    """What was sent does not look whole."""
    async with speaking() as (app, _, port), connect(port) as client:

        def detach(exchange: Exchange) -> None:
            stream = exchange.connection.detach()
            stream.write(b"part")
            stream.reset()

        app.on_finish = detach
        client.send(GET)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(client.reader.read(-1), PATIENCE)


async def test_detached_stream_sends_what_was_written_before_it_was_closed(
    speaking: Speaking, connect: Any, until: Any
) -> None:
    """A last word is not lost."""
    async with speaking() as (app, server, port), connect(port) as client:

        def detach(exchange: Exchange) -> None:
            stream = exchange.connection.detach()
            stream.write(b"bye")
            stream.close()
            stream.close()

        app.on_finish = detach
        client.send(GET)
        assert await client.ended() == b"bye"
        await until(lambda: server.counts.open == 0)


async def test_detaching_before_the_body_leaves_the_application_alone(
    speaking: Speaking, connect: Any, until: Any
) -> None:
    """What follows is bytes, and no request of it is ever finished."""
    async with speaking() as (app, _, port), connect(port) as client:
        receiver = Recorder()
        app.on_headers = lambda exchange: exchange.connection.upgrade(receiver) and None
        client.send(POST % (4, b"") + b"body")
        await until(lambda: receiver.heard == [b"body"])
        assert app.exchanges[0].calls == ["headers"]


async def test_error_after_the_hand_over_is_nothing_to_the_receiver(
    speaking: Speaking, connect: Any, until: Any, caplog: Any
) -> None:
    """The connection is not the application's any more, whatever it raises then."""

    async def upgrade(exchange: Exchange) -> None:
        transports.append(exchange.connection.upgrade(Recorder()))
        raise RuntimeError("fault")

    async with speaking() as (app, server, port), connect(port) as client:
        transports: list[asyncio.Transport] = []
        app.on_headers = upgrade
        client.send(POST % (4, b""))
        await until(lambda: "Uncaught exception" in caplog.text)
        transports[0].write(b"on")
        assert await asyncio.wait_for(client.reader.readexactly(2), PATIENCE) == b"on"
        assert server.counts.open == 1


# --- Tornado's own options ----------------------------------------------------------------------


async def test_stream_tells_the_peers_certificate(speaking: Speaking, connect: Any, certificate: Any) -> None:
    """As `request.get_ssl_certificate` asks for it."""
    files = certificate("one")
    trusting = ssl.create_default_context(cafile=files[0])
    asked: list[object] = []

    def look(exchange: Exchange) -> None:
        asked.append(exchange.connection.stream.socket.getpeercert(binary_form=True))
        asked.append(exchange.connection.stream.closed())
        exchange.connection.stream.set_nodelay(True)
        exchange.connection.stream.close()

    async with (
        speaking(tls=TlsContext(*files)) as (app, _, port),
        connect(port, ssl=trusting, server_hostname="localhost") as client,
    ):
        app.on_finish = look
        client.send(GET)
        assert await client.ended() == b""
        assert asked == [None, False]


async def test_compressed_body_is_decompressed_where_asked_for(speaking: Speaking, connect: Any) -> None:
    """`decompress_request` is Tornado's, and so are its limits."""
    body = gzip.compress(b"x" * 100)
    options = {"decompress_request": True, "limits": Limits(max_body_size=100)}
    async with speaking(**options) as (app, _, port), connect(port) as client:
        client.send(POST % (len(body), b"Content-Encoding: gzip\r\n") + body)
        assert (await client.response()).status == 200
        assert b"".join(app.exchanges[0].pieces) == b"x" * 100
        bomb = gzip.compress(b"x" * 101)
        client.send(POST % (len(bomb), b"Content-Encoding: gzip\r\n") + bomb)
        assert (await client.response()).status == 400
