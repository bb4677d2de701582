"""Which handler gets a request: the API, routes, files, `on_request`, nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Browser, problem, read_json
from serving import new_server, running
from tornado.routing import HostMatches, Rule
from tornado.web import HTTPError, RequestHandler, stream_request_body, url
from tornado.websocket import WebSocketHandler

from wshttp import Response, Server, SessionHandler
from wshttp.errors import UsageError
from wshttp.testing import FakeClock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "folder").mkdir(parents=True)
    (folder / "index.html").write_text("index")
    (folder / "file.txt").write_text("file")
    (folder / "folder" / "index.html").write_text("inner")
    return folder


def server_of(root: Path | None = None, clock: FakeClock | None = None, **sections: Any) -> Server:
    static = {} if root is None else {"root": str(root)}
    return new_server(clock, session={"identity": ["cookie"]}, static=static, **sections)


@pytest.mark.feature("F1", "W1")
async def test_files_come_after_routes(root: Path) -> None:
    """A route takes its path from a file of the same name; other files are served at `/`, folders by their index."""
    server = server_of(root)
    server.get("/file.txt")(lambda request: "route")
    async with running(server) as base:
        browser = Browser(base)
        assert (await browser.get("/")).body == b"index"
        assert (await browser.get("/file.txt")).body == b"route"
        assert (await browser.get("/folder/")).body == b"inner"
        moved = await browser.get("/folder?x=1")
        assert (moved.code, moved.headers["Location"]) == (301, "/folder/?x=1")
        assert problem(await browser.get("/nothing")) == (404, "not-found")
        assert await server.sessions.count() == 1


@pytest.mark.feature("F1")
@pytest.mark.parametrize(
    "path", ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/folder/..%2f..%2fsecret", "/..\\secret", "/%5c..%5csecret",
             "//etc/passwd", "/%00", "/file.txt%00.html"],
)  # fmt: skip
async def test_no_path_leaves_the_root(root: Path, path: str) -> None:
    """Whatever the path looks like, nothing outside the folder is served."""
    (root.parent / "secret").write_text("secret")
    async with running(server_of(root)) as base:
        response = await Browser(base).get(path)
        assert response.code in (400, 404)
        assert b"secret" not in response.body


async def test_files_answer_get_head_and_options_only(root: Path) -> None:
    """Other methods are 405 with `Allow`, for files that are there and for those that are not."""
    async with running(server_of(root)) as base:
        browser = Browser(base)
        for path in ("/file.txt", "/nothing"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                refused = await browser(method, path)
                assert (refused.code, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
                assert refused.headers["Content-Type"] == "application/problem+json"
            options = await browser("OPTIONS", path)
            assert (options.code, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
        head = await browser("HEAD", "/file.txt")
        assert (head.code, head.body, head.headers["Content-Length"]) == (200, b"", "4")


async def test_first_route_that_matches_is_taken() -> None:
    """Routes are asked in the order of their registration, functions and handlers alike."""
    server = server_of()

    class Named(SessionHandler):
        def get(self, name: str) -> None:
            self.write(f"handler {name}")

    server.get("/x/{name}")(lambda request, name: f"function {name}")
    server.add_handlers([(r"/x/(\w+)", Named), url(r"/y/(\w+)", Named, name="y")])
    server.get("/y/{name}")(lambda request, name: f"function {name}")
    async with running(server) as base:
        assert (await Browser(base).get("/x/a")).body == b"function a"
        assert (await Browser(base).get("/y/a")).body == b"handler a"
    assert server.application.reverse_url("y", "b") == "/y/b"


async def test_routes_can_be_added_while_it_runs() -> None:
    """A route that is registered later works from then on."""
    server = server_of()
    async with running(server) as base:
        assert (await Browser(base).get("/late")).code == 404
        server.get("/late")(lambda request: "here")
        assert (await Browser(base).get("/late")).body == b"here"


def test_path_of_a_socket_is_checked() -> None:
    """A socket's path begins with a slash, and `wshttp.v1` is not for others to speak."""
    server = server_of()
    with pytest.raises(UsageError, match="begins with a slash"):
        server.websocket("x")(lambda connection, message: None)
    with pytest.raises(UsageError, match=r"wshttp\.v1"):
        server.websocket("/x", subprotocols=["wshttp.v1"])(lambda connection, message: None)


# --- on_request ---------------------------------------------------------------------------------


def asking(root: Path, clock: FakeClock | None = None, **sections: Any) -> Server:
    """A server whose `on_request` takes what is below /app, and says what it was asked."""
    server = server_of(root, clock, **sections)

    @server.on_request
    def not_mine(request: Any) -> None:
        return None

    @server.on_request
    async def application(request: Any) -> Any:
        if not request.path.startswith("/app"):
            return None
        visits = await request.session.increment("visits")
        return {"method": request.method, "path": request.path, "body": await request.text(), "visits": visits}

    return server


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_what_no_route_and_no_file_took_goes_to_the_application(
    root: Path, clock: FakeClock, method: str
) -> None:
    """`on_request` answers like an endpoint, with a session, for any method, with a body or without."""
    async with running(asking(root, clock)) as base:
        browser = Browser(base)
        for n, body in ((1, None), (2, "body")):
            response = await browser(method, "/app/%78", body=body)
            assert read_json(response) == {"method": method, "path": "/app/x", "body": body or "", "visits": n}
            assert response.headers["Session-Expires-In"] == "1200"


async def test_head_and_options_are_answered_for_on_request(root: Path) -> None:
    """HEAD goes the way of GET; OPTIONS names all methods and asks nobody."""
    async with running(asking(root)) as base:
        head = await Browser(base)("HEAD", "/app")
        assert (head.code, head.body) == (200, b"")
        options = await Browser(base)("OPTIONS", "/app")
        assert (options.code, options.headers["Allow"]) == (204, "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS")


async def test_file_goes_before_on_request_and_nothing_is_404(root: Path) -> None:
    """A file is a file; where every `on_request` returns None it is 404; files start no session."""
    (root / "app").write_text("file")
    server = asking(root)
    async with running(server) as base:
        assert (await Browser(base).get("/app")).body == b"file"
        assert await server.sessions.count() == 0
        assert problem(await Browser(base).get("/other")) == (404, "not-found")
        assert problem(await Browser(base).post("/other")) == (404, "not-found")


@pytest.mark.feature("L5", "L8")
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_on_request_is_activity(root: Path, clock: FakeClock, method: str) -> None:
    """A request that the application answers there keeps the session alive as any route does."""
    async with running(asking(root, clock)) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        clock.advance(600)
        assert (await browser(method, "/app")).headers["Session-Expires-In"] == "1200"


async def test_on_request_stands_behind_the_gate(root: Path, users_file: str) -> None:
    """Protection and cross-site rules come first."""
    server = asking(root, auth={"users_file": users_file, "protect": ["/app/private*"]})
    async with running(server) as base:
        for method in ("GET", "POST"):
            assert problem(await Browser(base)(method, "/app/private")) == (401, "bad-credentials")
        cross = await Browser(base).post("/app", headers={"Sec-Fetch-Site": "cross-site"})
        assert problem(cross) == (403, "forbidden")
        allowed = await Browser(base).get("/app/private", login=("ada", "correct horse"))
        assert read_json(allowed)["visits"] == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_on_request_may_fail_and_stream_and_respond(root: Path, method: str) -> None:
    """Everything that an endpoint may do: raise, stream, return a Response."""
    server = server_of(root)

    async def parts() -> AsyncIterator[str]:
        yield "one "
        yield "two"

    @server.on_request
    def application(request: Any) -> Any:
        request.session["n"] = 1
        if request.path == "/fault":
            raise RuntimeError
        if request.path == "/conflict":
            raise HTTPError(409)
        return parts() if request.path == "/parts" else Response("made", status=201)

    async with running(server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        [session] = [session async for session in server.sessions.scan()]
        assert (await browser(method, "/fault")).code == 500
        assert session.record.data == {}
        assert (await browser(method, "/conflict")).code == 409
        assert session.record.data == {"n": 1}
        assert (await browser(method, "/parts")).body == b"one two"
        assert (await browser(method, "/made")).code == 201


def test_socket_where_a_get_is_refuses_to_be_registered() -> None:
    """A WebSocket's handshake is a GET: two of them on one path would hide one another, so the second is refused."""
    server = new_server()
    server.get("/both")(lambda request: "hello")
    with pytest.raises(UsageError, match="GET /both has an endpoint already"):
        server.websocket("/both")(lambda connection, message: None)


def test_sockets_without_a_session_are_refused() -> None:
    """Tornado's own WebSocket handlers would outlive the log-out of who was let in; the class to use instead is named."""

    class Plain(WebSocketHandler):
        def on_message(self, message: str | bytes) -> None:
            pass

    with pytest.raises(UsageError, match="SessionWebSocketHandler"):
        server_of().add_handlers([("/plain", Plain)])


class ForOneHost(RequestHandler):
    def get(self) -> None:
        self.write("one host")


async def test_first_of_several_that_match_a_path_answers() -> None:
    """Endpoints with and without parameters, and handlers, in the order in which they were registered, however found."""
    server = new_server(server={"allowed_hosts": ["one.example", "two.example"]})
    server.get("/early")(lambda request: "early")
    server.get("/{name}")(lambda request, name: f"any {name}")
    server.get("/late")(lambda request: "late")
    server.get("/%41/{rest:path}")(lambda request: "encoded")
    async with running(server) as base:
        browser = Browser(base)
        for _ in range(2):
            for path, body in (
                ("/early", "early"),
                ("/%65arly", "early"),
                ("/x/../early", "early"),
                ("/late", "any late"),
            ):
                assert (await browser.get(path)).body == body.encode()
        server.add_handlers([Rule(HostMatches("one.example"), ForOneHost)])
        server.get("/host/x")(lambda request: "endpoint")
        for _ in range(2):
            for host, body in (("one.example", b"one host"), ("two.example", b"endpoint")):
                assert (await browser.get("/host/x", headers={"Host": host})).body == body


class Digest(RequestHandler):
    """Answers with the first and the last of its body, and its length."""

    def post(self, room: str, name: str = "") -> None:
        body = self.request.body
        self.write(f"{room}{name} {body[:1].decode()}{body[-1:].decode()} {len(body)}")


@stream_request_body
class DigestOfParts(SessionHandler):
    """The same, and takes it as it comes."""

    async def prepare(self) -> None:
        await super().prepare()
        self.parts: list[bytes] = []

    def data_received(self, chunk: bytes) -> None:
        self.parts.append(chunk)

    def post(self) -> None:
        body = b"".join(self.parts)
        self.write(f"{body[:1].decode()}{body[-1:].decode()} {len(body)}")


async def test_handler_has_its_body_whole_or_as_it_comes() -> None:
    """With what its path says, and behind its gate; a body may be larger than what is read at a time."""
    server = server_of()
    server.add_handlers([("/whole/([a-z]+)", Digest), ("/parts", DigestOfParts)])
    body = "a" + "-" * 300_000 + "z"
    async with running(server) as base:
        browser = Browser(base)
        for _ in range(2):
            assert (await browser.post("/whole/hall", body=body)).body == b"hall az 300002"
            assert (await browser.post("/whole/attic", body="")).body == b"attic  0"
            assert (await browser.post("/parts", body=body)).body == b"az 300002"
        refused = await browser.post("/parts", body=body, headers={"Origin": "https://evil.example"})
        assert problem(refused) == (403, "forbidden")


async def test_templates_are_read_anew_where_the_settings_say_so(tmp_path: Path) -> None:
    """As in Tornado: its caches are on, and an application may turn them off."""
    page = tmp_path / "page.html"

    class Page(RequestHandler):
        def get_template_path(self) -> str:
            return str(tmp_path)

        def get(self) -> None:
            self.render("page.html")

    server = server_of()
    server.add_handlers([("/page", Page)])
    async with running(server) as base:
        browser = Browser(base)
        seen = []
        for text in ("one", "two"):
            page.write_text(text)
            seen.append((await browser.get("/page")).body)
        server.application.settings["compiled_template_cache"] = False
        seen.append((await browser.get("/page")).body)
    assert seen == [b"one", b"one", b"two"]
