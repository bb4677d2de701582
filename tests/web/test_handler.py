"""Tornado's own style: what a handler changes is committed before its answer, on each path."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from browsing import Browser, problem, read_json
from serving import new_server, raw, running, soon
from tornado.web import Finish, HTTPError, RedirectHandler, RequestHandler, StaticFileHandler

from wshttp import (
    BadRequest,
    Forbidden,
    LimitReached,
    NotFound,
    Server,
    Session,
    SessionHandler,
    StoreUnavailable,
    TooManyRequests,
)
from wshttp.errors import UsageError


class Committing:
    """A server whose commits are seen: `order` has `commit` and `answer` as they happen, `data` what is committed."""

    def __init__(self, *rules: Any, **sections: Any) -> None:
        session = {"identity": ["cookie"]} | sections.pop("session", {})
        self.server: Server = new_server(session=session, **sections)
        self.server.add_handlers(rules)
        self.order: list[str] = []
        self.hold: asyncio.Event | None = None
        self.committing = asyncio.Event()
        apply = self.server.sessions.apply

        async def slowly(session: Session, changes: Any) -> None:
            self.committing.set()
            if self.hold is not None:
                await self.hold.wait()
            await apply(session, changes)
            self.order.append("commit")

        self.server.sessions.apply = slowly  # type: ignore[method-assign]  # a store that takes its time

    async def data(self) -> dict[str, Any]:
        [session] = [session async for session in self.server.sessions.scan()]
        return dict(session.record.data)

    async def the_session(self) -> Session:
        [session] = [session async for session in self.server.sessions.scan()]
        return session


class Writes(SessionHandler):
    """Change the session, then answer as the path says."""

    async def get(self, way: str) -> None:
        self.session["n"] = 1
        await getattr(self, f"way_{way}")()

    async def way_normal(self) -> None:
        self.write("done")

    async def way_empty(self) -> None:
        self.set_status(204)

    async def way_finish(self) -> None:
        self.finish("done")

    async def way_awaited(self) -> None:
        await self.finish("done")

    async def way_web_finish(self) -> None:
        self.write("done")
        raise Finish

    async def way_finish_with(self) -> None:
        raise Finish("done")

    async def way_redirect(self) -> None:
        self.redirect("/elsewhere")

    async def way_not_found(self) -> None:
        raise HTTPError(404)

    async def way_teapot(self) -> None:
        raise HTTPError(418, reason="I am a teapot")

    async def way_http_503(self) -> None:
        raise HTTPError(503)

    async def way_set_500(self) -> None:
        self.set_status(500)
        self.write("as I like")

    async def way_send_error(self) -> None:
        self.send_error(409)

    async def way_forbidden(self) -> None:
        raise Forbidden("no")

    async def way_limited(self) -> None:
        raise LimitReached("session.max_sessions", 1, in_all=True)

    async def way_streamed(self) -> None:
        self.write("do")
        await self.flush()
        self.session["n"] += 1
        self.write("ne")

    async def way_fault(self) -> None:
        raise RuntimeError("a secret of ours")

    async def way_http_500(self) -> None:
        raise HTTPError(500)

    async def way_store(self) -> None:
        raise StoreUnavailable


COMMITTED = {
    "normal": 200, "empty": 204, "finish": 200, "awaited": 200, "web_finish": 200, "finish_with": 200, "redirect": 302,
    "not_found": 404, "teapot": 418, "set_500": 500, "send_error": 409, "forbidden": 403, "streamed": 200,
}  # fmt: skip

DROPPED = {"fault": 500, "http_500": 500, "http_503": 503, "limited": 503, "store": 503}


@pytest.mark.feature("T4")
@pytest.mark.parametrize(("way", "status"), COMMITTED.items())
async def test_changes_are_committed_before_the_answer(way: str, status: int) -> None:
    """Normal, error, redirect, streamed, finished early: the last byte leaves when the store has the changes."""
    scene = Committing((r"/(\w+)", Writes))
    async with running(scene.server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        scene.hold = asyncio.Event()
        answer = asyncio.create_task(browser.get(f"/{way}"))
        await soon(scene.committing.wait())
        assert not answer.done()
        assert await scene.data() == {}
        scene.hold.set()
        response = await soon(answer)
        assert response.code == status
        assert await scene.data() == {"n": 2 if way == "streamed" else 1}
        if status == 200:
            assert response.body == b"done"
        assert scene.order == ["commit"]


@pytest.mark.parametrize(("way", "status"), DROPPED.items())
async def test_handler_that_fails_drops_its_changes(way: str, status: int) -> None:
    """An error that leads to 500 or above commits nothing; the answer tells nothing of the inside."""
    scene = Committing((r"/(\w+)", Writes))
    async with running(scene.server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        response = await browser.get(f"/{way}")
        assert response.code == status
        assert response.headers["Content-Type"] == "application/problem+json"
        assert b"secret" not in response.body
        assert await scene.data() == {}
        assert (await browser.get("/wshttp/session?touch=0")).code == 200


async def test_answer_without_changes_is_not_held_up() -> None:
    """A request that only reads writes nothing but its touch."""

    class Reads(SessionHandler):
        def get(self) -> None:
            self.write({"n": self.session.get("n")})

    scene = Committing(("/reads", Reads))
    async with running(scene.server) as base:
        assert read_json(await Browser(base).get("/reads")) == {"n": None}
        assert scene.order == []


async def test_commit_that_has_nothing_to_wait_for_is_done_with_the_answer() -> None:
    """A store in memory answers at once: no task is made, and what `finish` returns is done."""
    seen: list[tuple[bool, bool]] = []

    class Finishes(SessionHandler):
        async def get(self) -> None:
            self.session["n"] = 1 + self.session.get("n", 0)
            before = asyncio.all_tasks()
            done = self.finish("done").done()
            seen.append((done, asyncio.all_tasks() <= before))

    server = new_server(session={"identity": ["cookie"]})
    server.add_handlers([("/finishes", Finishes)])
    async with running(server) as base:
        browser = Browser(base)
        for _ in range(3):
            assert (await browser.get("/finishes")).body == b"done"
        [session] = [session async for session in server.sessions.scan()]
        assert session.record.data == {"n": 3}
    assert seen[-1] == (True, True)


async def test_answer_that_cannot_be_sent_after_its_commit_is_a_fault() -> None:
    """The client is not left waiting; what was committed stays."""

    class Contradicts(SessionHandler):
        def get(self) -> None:
            self.session["n"] = 1
            self.set_status(204)
            self.write("a body")

    scene = Committing(("/contradicts", Contradicts))
    async with running(scene.server) as base:
        response = await Browser(base).get("/contradicts")
        assert response.code == 500
        assert await scene.data() == {"n": 1}


async def test_prepare_that_finishes_is_committed(scene: Any) -> None:
    """A subclass' `prepare` may answer by itself; the method does not run, and the changes are there."""

    class Early(SessionHandler):
        async def prepare(self) -> None:
            await super().prepare()
            self.session["n"] = 1
            self.finish("early")

        def get(self) -> None:
            scene.seen.append("get")

    server = Committing(("/early", Early))
    async with running(server.server) as base:
        assert (await Browser(base).get("/early")).body == b"early"
        assert await server.data() == {"n": 1}
        assert scene.seen == []


async def test_work_after_finish_goes_on_and_commits_itself(scene: Any) -> None:
    """`finish` answers with what there is; what the handler changes later is its own to commit."""

    class Goes(SessionHandler):
        async def get(self) -> None:
            self.session["before"] = 1
            await self.finish("answer")
            await scene.hold()
            self.session["after"] = 2
            await self.session.commit()
            scene.done.set()

    server = Committing(("/goes", Goes))
    async with running(server.server) as base:
        assert (await Browser(base).get("/goes")).body == b"answer"
        assert await server.data() == {"before": 1}
        scene.release.set()
        await soon(scene.done.wait())
        assert await server.data() == {"before": 1, "after": 2}


@pytest.mark.parametrize("dirty", [True, False])
async def test_write_after_finish_is_an_error_of_the_handler_alone(
    caplog: pytest.LogCaptureFixture, dirty: bool
) -> None:
    """Tornado's RuntimeError is raised as ever, logged, and spoils neither the answer nor the commit."""

    class Twice(SessionHandler):
        def get(self) -> None:
            if dirty:
                self.session["n"] = 1
            self.finish("once")
            self.write("twice")

    server = Committing(("/twice", Twice))
    async with running(server.server) as base:
        response = await Browser(base).get("/twice")
        assert (response.code, response.body) == (200, b"once")
        assert await server.data() == ({"n": 1} if dirty else {})
        assert [record.levelname for record in caplog.records if "failed" in record.getMessage()] == ["ERROR"]


async def test_fault_after_finish_leaves_the_answer_and_its_commit() -> None:
    """What has been answered stays committed, whatever the handler does then."""

    class Fails(SessionHandler):
        async def get(self) -> None:
            self.session["n"] = 1
            self.finish("answer")
            raise RuntimeError

    server = Committing(("/fails", Fails))
    async with running(server.server) as base:
        assert (await Browser(base).get("/fails")).body == b"answer"
        assert await server.data() == {"n": 1}


async def test_commit_that_fails_is_the_answer() -> None:
    """A store that goes away at the commit is 503, not the answer that promised a change."""
    scene = Committing((r"/(\w+)", Writes))

    async def away(session: Session, changes: Any) -> None:
        raise StoreUnavailable

    scene.server.sessions.apply = away  # type: ignore[method-assign]
    async with running(scene.server) as base:
        browser = Browser(base)
        response = await browser.get("/normal")
        assert problem(response) == (503, "store-unavailable")
        assert "Retry-After" in response.headers
        assert await scene.data() == {}


async def test_data_too_large_fails_the_request() -> None:
    """A session over `session.max_data` is a fault of the program: 500, and nothing of it is kept."""

    class Large(SessionHandler):
        def get(self) -> None:
            self.session["small"] = 1
            self.session["large"] = "x" * 2000

    scene = Committing(("/large", Large), session={"max_data": "1KiB"})
    async with running(scene.server) as base:
        assert (await Browser(base).get("/large")).code == 500
        assert await scene.data() == {}


# --- the session ends meanwhile -----------------------------------------------------------------


class Held(SessionHandler):
    """Do as told around a wait in which the session ends."""

    def initialize(self, scene: Any) -> None:
        self.scene = scene

    async def get(self, way: str) -> None:
        session = self.session
        if way in ("writes", "finishes", "streams"):
            session["n"] = 1
        if way in ("streams", "streams_reading"):
            self.write("begun ")
            await self.flush()
        await self.scene.hold()
        if way == "writes_late":
            session["n"] = 1
        if way == "not_found":
            session.get("n")
            raise HTTPError(404)
        if way == "finishes":
            await self.finish("done")
            return
        self.write("done")


async def ended_meanwhile(way: str, scene: Any, reason: str = "admin") -> tuple[Any, Committing]:
    committing = Committing((r"/(\w+)", Held, {"scene": scene}))
    async with running(committing.server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        session = await committing.the_session()
        answer = asyncio.create_task(browser.get(f"/{way}"))
        await soon(scene.started.wait())
        await committing.server.sessions.end(session, reason)
        scene.release.set()
        response = await soon(answer)
        assert session.record.data == {}
        assert await committing.server.sessions.get_by_ref(session.ref) is None
        return response, committing


@pytest.mark.parametrize("way", ["reads", "streams_reading"])
async def test_answer_stands_where_there_was_nothing_to_commit(scene: Any, way: str) -> None:
    """The session ended while the handler only read: the answer stands."""
    response, _ = await ended_meanwhile(way, scene)
    assert response.code == 200
    assert response.body.endswith(b"done")
    assert way != "reads" or "Session-Expires-In" not in response.headers


async def test_error_stands_where_there_was_nothing_to_commit(scene: Any) -> None:
    """The same for an error that the handler chose."""
    response, _ = await ended_meanwhile("not_found", scene)
    assert problem(response) == (404, "not-found")


@pytest.mark.feature("C2")
@pytest.mark.parametrize("way", ["writes", "writes_late", "finishes"])
async def test_answer_is_401_where_a_change_came_too_late(scene: Any, way: str) -> None:
    """The session ended by another's hand: 401 `session-ended` with the reason, and the change is nowhere."""
    response, committing = await ended_meanwhile(way, scene, "credentials")
    assert problem(response) == (401, "session-ended")
    assert read_json(response)["reason"] == "credentials"
    assert response.headers["WWW-Authenticate"] == "Session"
    assert committing.order == []


async def test_streamed_answer_is_cut_where_a_change_came_too_late(scene: Any) -> None:
    """With the headers out, the stream is cut: without its last chunk nobody takes it for whole."""
    committing = Committing((r"/(\w+)", Held, {"scene": scene}))
    async with running(committing.server) as base, raw(base) as connection:
        connection.send(b"GET /streams HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await connection.until(b"\r\n\r\n")
        assert b" 200 " in head
        await soon(scene.started.wait())
        await committing.server.sessions.end(await committing.the_session(), "admin")
        scene.release.set()
        body = await connection.rest()
        assert b"begun " in body
        assert not body.endswith(b"0\r\n\r\n")


async def test_failing_stream_is_cut() -> None:
    """A handler that fails after its first flush cuts the stream, and drops its changes."""

    class Fails(SessionHandler):
        async def get(self) -> None:
            self.session["n"] = 1
            self.write("begun")
            await self.flush()
            raise RuntimeError

    committing = Committing(("/fails", Fails))
    async with running(committing.server) as base, raw(base) as connection:
        connection.send(b"GET /fails HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = await connection.rest()
        assert b"begun" in answer
        assert not answer.endswith(b"0\r\n\r\n")
        assert await committing.data() == {}


class Ends(SessionHandler):
    """End the own session, and go on."""

    async def get(self, way: str) -> None:
        self.session["before"] = 1
        if way == "handler":
            await self.end_session()
        elif way == "list":
            await self.application.settings["sessions"].end(self.session)
        elif way == "task":
            await asyncio.create_task(self.application.settings["sessions"].end(self.session.ref))
        elif way == "streamed":
            self.write("good")
            await self.flush()
            await self.end_session()
            self.write("bye")
            return
        self.write("goodbye")


@pytest.mark.feature("L11")
@pytest.mark.parametrize("way", ["handler", "list", "task", "streamed"])
async def test_request_that_ends_its_session_gets_its_normal_answer(way: str) -> None:
    """Whatever was pending is the last data of the session; the answer is the handler's own."""
    committing = Committing((r"/(\w+)", Ends))
    server = committing.server
    server.application.settings["sessions"] = server.sessions
    ends: list[Any] = []
    server.on_session_end(lambda session, reason: ends.append((reason, dict(session))))
    async with running(server) as base:
        browser = Browser(base)
        response = await browser.get(f"/{way}")
        assert (response.code, response.body) == (200, b"goodbye")
        await server.sessions.settled(5)
        assert ends == [("logout", {"before": 1})]
        assert await server.sessions.count() == 0
        if way == "handler":
            assert browser.cookies == {}


async def test_session_ended_and_started_anew_in_one_request() -> None:
    """After `end_session` a handler may start another; its cookie is the one that is sent."""

    class Anew(SessionHandler):
        async def get(self) -> None:
            old = self.session.ref
            await self.end_session()
            assert not self.has_session
            session = await self.start_session()
            session["n"] = 1
            self.write({"old": old, "new": session.ref})

    committing = Committing(("/anew", Anew))
    async with running(committing.server) as base:
        browser = Browser(base)
        body = read_json(await browser.get("/anew"))
        assert body["old"] != body["new"]
        assert read_json(await browser.get("/wshttp/session"))["ref"] == body["new"]
        assert await committing.data() == {"n": 1}


# --- the base class -----------------------------------------------------------------------------


async def test_session_cannot_start_after_the_first_flush() -> None:
    """Its cookie goes with the headers, so it is refused with a word that says so."""
    said: list[str] = []

    class Late(SessionHandler):
        auto_start = False

        async def get(self) -> None:
            self.write("begun")
            await self.flush()
            try:
                await self.start_session()
            except UsageError as error:
                said.append(str(error))

    async with running(Committing(("/late", Late)).server) as base:
        await Browser(base).get("/late")
        assert "before the first flush" in said[0]


async def test_handler_that_forgets_prepare_stands_behind_the_gate() -> None:
    """A subclass whose `prepare` does not call ours is checked all the same, and once: also if it does call it."""
    prepared: list[str] = []

    class Forgets(SessionHandler):
        def prepare(self) -> None:
            prepared.append(self.session.ref)

        def get(self) -> None:
            self.write(self.session.ref)

        post = get

    class Remembers(Forgets):
        async def prepare(self) -> None:
            await SessionHandler.prepare(self)
            prepared.append(self.session.ref)

    committing = Committing(("/forgets", Forgets), ("/remembers", Remembers))
    async with running(committing.server) as base:
        for path in ("/forgets", "/remembers"):
            prepared.clear()
            response = await Browser(base).get(path)
            assert (response.code, [response.body.decode()]) == (200, prepared)
            foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
            assert (await Browser(base).post(path, headers=foreign)).code == 403
            assert len(prepared) == 1
        assert await committing.server.sessions.count() == 2


async def test_handler_without_a_session_is_401() -> None:
    """`auto_start = False` on the class: `.session` is 401 `session-ended`, `.has_session` says it without."""

    class Manual(SessionHandler):
        auto_start = False

        async def get(self) -> None:
            self.write({"has": self.has_session, "user": self.current_user})

        async def post(self) -> None:
            self.write(self.session.ref)

    committing = Committing(("/manual", Manual))
    async with running(committing.server) as base:
        assert read_json(await Browser(base).get("/manual")) == {"has": False, "user": None}
        assert problem(await Browser(base).post("/manual")) == (401, "session-ended")
        assert await committing.server.sessions.count() == 0


async def test_handler_answers_options_and_405_without_starting_a_session() -> None:
    """HEAD answers as GET, OPTIONS says what there is, 405 too; only what is implemented starts a session."""

    class Two(SessionHandler):
        def get(self) -> None:
            self.write("got")

        def put(self) -> None:
            self.write("put")

    committing = Committing(("/two", Two))
    async with running(committing.server) as base:
        browser = Browser(base)
        options = await browser("OPTIONS", "/two")
        assert (options.code, options.headers["Allow"]) == (204, "GET, PUT, HEAD, OPTIONS")
        refused = await browser.post("/two")
        assert (refused.code, refused.headers["Allow"]) == (405, "GET, PUT, HEAD, OPTIONS")
        assert await committing.server.sessions.count() == 0
        head = await browser("HEAD", "/two")
        assert (head.code, head.body, head.headers["Content-Length"]) == (200, b"", "3")


@pytest.mark.feature("T6")
async def test_two_requests_see_their_own_changes_and_lose_none() -> None:
    """One `Session` for both; what one changes the other sees when it is committed; different keys both land."""
    gate = {"a": asyncio.Event(), "b": asyncio.Event()}
    begun = {"a": asyncio.Event(), "b": asyncio.Event()}
    seen: dict[str, Any] = {}

    class Key(SessionHandler):
        async def get(self, key: str) -> None:
            self.session[key] = 1
            begun[key].set()
            await gate[key].wait()
            seen[key] = (dict(self.session), self.session)

    committing = Committing((r"/(a|b)", Key))
    async with running(committing.server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        first, second = (asyncio.create_task(browser.get(f"/{key}")) for key in "ab")
        for key in "ab":
            await soon(begun[key].wait())
        gate["a"].set()
        await soon(first)
        gate["b"].set()
        await soon(second)
        assert seen["a"][0] == {"a": 1}
        assert seen["b"][0] == {"a": 1, "b": 1}
        assert seen["a"][1] is seen["b"][1]
        assert await committing.data() == {"a": 1, "b": 1}


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (BadRequest("no"), 400, "bad-request"),
        (Forbidden("no"), 403, "forbidden"),
        (NotFound("no"), 404, "not-found"),
        (TooManyRequests(2.5), 429, "too-many-requests"),
        (LimitReached("x", 1, in_all=False), 429, "limit-reached"),
        (LimitReached("x", 1, in_all=True), 503, "limit-reached"),
        (StoreUnavailable(), 503, "store-unavailable"),
        (HTTPError(404), 404, "not-found"),
        (HTTPError(400, reason="because"), 400, "bad-request"),
    ],
    ids=repr,
)
async def test_errors_are_problems(error: Exception, status: int, name: str) -> None:
    """Our errors and Tornado's become `application/problem+json`, with `Retry-After` where there is a time."""

    class Raises(SessionHandler):
        def get(self) -> None:
            raise error

    async with running(Committing(("/raises", Raises)).server) as base:
        response = await Browser(base).get("/raises")
        assert problem(response) == (status, name)
        assert read_json(response).keys() >= {"type", "title", "status"}
        assert ("Retry-After" in response.headers) == hasattr(error, "retry_after")
        if isinstance(error, TooManyRequests):
            assert response.headers["Retry-After"] == "3"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Tornado" not in response.headers["Server"]


async def test_errors_of_a_handler_with_its_own_form_keep_it() -> None:
    """A class that overrides `write_error` says how its errors look; the status is still that of the error."""

    class Own(RequestHandler):
        def get(self) -> None:
            raise Forbidden("no")

        def write_error(self, status_code: int, **kwargs: Any) -> None:
            self.finish(f"own {status_code}")

    async with running(Committing(("/own", Own)).server) as base:
        response = await Browser(base).get("/own")
        assert (response.code, response.body) == (403, b"own 403")


async def test_query_is_never_in_the_log_of_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """A token may stand in the query: neither a fault nor an HTTP error writes it down."""

    class Fails(SessionHandler):
        def get(self, how: str) -> None:
            if how == "fault":
                raise RuntimeError("inside")
            raise HTTPError(400, "because of %s", "this")

    caplog.set_level("DEBUG")
    async with running(Committing((r"/(\w+)", Fails)).server) as base:
        await Browser(base).get("/fault?session=SECRET")
        await Browser(base).get("/error?session=SECRET")
        assert "GET /fault failed" in caplog.text
        assert "GET /error 400: because of this" in "\n".join(caplog.messages) or "because of this" in caplog.text
        assert "SECRET" not in caplog.text


# --- any Tornado handler ------------------------------------------------------------------------


async def test_plain_tornado_handlers_stand_behind_the_gate(users_file: str) -> None:
    """Handlers that know nothing of us get no session, problems for errors, HEAD, OPTIONS and 405 with `Allow`."""

    class Plain(RequestHandler):
        def get(self) -> None:
            self.write("plain")

    class Own(RequestHandler):
        def get(self) -> None:
            self.write("own")

        def options(self) -> None:
            self.set_header("Access-Control-Allow-Origin", "*")

    rules = [("/plain", Plain), ("/own", Own), ("/old", RedirectHandler, {"url": "/plain"})]
    committing = Committing(*rules, auth={"users_file": users_file, "protect": ["/own"]})
    async with running(committing.server) as base:
        browser = Browser(base)
        assert (await browser.get("/plain")).body == b"plain"
        assert (await browser("HEAD", "/plain")).code == 200
        options = await browser("OPTIONS", "/plain")
        assert (options.code, options.headers["Allow"]) == (204, "GET, HEAD, OPTIONS")
        refused = await browser.post("/plain")
        assert (refused.code, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert (await browser.get("/old")).headers["Location"] == "/plain"
        assert problem(await browser("OPTIONS", "/own")) == (401, "bad-credentials")
        own = await browser("OPTIONS", "/own", login=("ada", "correct horse"))
        assert own.headers["Access-Control-Allow-Origin"] == "*"
        assert await committing.server.sessions.count() == 0


async def test_handlers_that_cannot_be_served_are_refused_at_once() -> None:
    """What is no handler, and Tornado's file handler with its stale tags, are mistakes when they are added."""
    server = new_server()
    with pytest.raises(UsageError, match="no RequestHandler"):
        server.add_handlers([("/x", object)])
    with pytest.raises(UsageError, match="stale ETags"):
        server.add_handlers([("/(.*)", StaticFileHandler, {"path": "."})])


# --- clients that go ----------------------------------------------------------------------------


class Never(SessionHandler):
    """Never return."""

    def initialize(self, scene: Any) -> None:
        self.scene = scene

    async def get(self) -> None:
        self.session["n"] = 1
        await self.scene.hold()

    def on_connection_close(self) -> None:
        self.scene.done.set()


async def test_client_that_vanishes_leaves_nothing_broken(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A client that vanishes from a handler that never returns: others are served, and nothing is committed."""
    committing = Committing(("/never", Never, {"scene": scene}))
    async with running(committing.server) as base:
        async with raw(base) as connection:
            connection.send(b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await soon(scene.started.wait())
            connection.abort()
            await soon(scene.done.wait())
        assert (await Browser(base).get("/wshttp/health/live")).code == 200
        assert await committing.data() == {}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_handler_that_never_returns_does_not_keep_the_server_from_stopping(scene: Any) -> None:
    """After `drain_timeout` the request is cut, the session has ended, and the server is stopped."""
    committing = Committing(("/never", Never, {"scene": scene}), server={"drain_timeout": "50ms"})
    await committing.server.start()
    async with raw(committing.server.addresses[0]) as connection:
        connection.send(b"GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await soon(scene.started.wait())
        assert await soon(committing.server.stop()) == 0
        assert await connection.rest() == b""


async def test_client_that_vanishes_from_a_stream_is_no_fault(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A stream nobody takes any more ends quietly."""

    class Endless(SessionHandler):
        async def get(self) -> None:
            try:
                while True:
                    self.write(b"x" * 65536)
                    await self.flush()
                    scene.started.set()
            finally:
                scene.done.set()

    async with running(Committing(("/endless", Endless)).server) as base, raw(base) as connection:
        connection.send(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await soon(scene.started.wait())
        connection.abort()
        await soon(scene.done.wait())
        assert (await Browser(base).get("/wshttp/health/live")).code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
