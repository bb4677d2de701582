"""A log-in renews the token: who knew the old one does nothing in the name of the user, whatever was under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from browsing import Browser, problem, read_json
from serving import Raw, new_server, raw, running, soon, until, websocket

from wshttp import Connection, Server, User
from wshttp.auth.users_file import delete_user
from wshttp.errors import SessionEnded


def server_of(**sections: Any) -> Server:
    """A server where every password is right."""
    server = new_server(session={"identity": ["cookie"]} | sections.pop("session", {}), **sections)
    server.on_authenticate(lambda user, password, request: User(user, ("member",), "1"))
    return server


async def hold(connection: Raw, base: str, path: str, token: str) -> None:
    """Send a request but for the last byte of its body."""
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(base).netloc}\r\nCookie: wshttp={token}\r\nConnection: close\r\n"
    connection.send(f"{head}Content-Length: 2\r\n\r\na".encode())


async def anonymous(base: str) -> Browser:
    browser = Browser(base)
    await browser.get("/wshttp/session")
    return browser


HELD: dict[str, Any] = {
    "user": lambda request, session: request.user,
    "session": lambda request, session: request.session.ref,
    "reading": lambda request, session: session.get("secret"),
    "roles": lambda request, session: list(session.roles),
    "writing": lambda request, session: session.__setitem__("paid_to", "mallory"),
    "increment": lambda request, session: session.increment("paid"),
    "update": lambda request, session: session.update("paid", lambda paid: 1),
    "start": lambda request, session: request.start_session(),
    "end": lambda request, session: request.end_session(),
    "renew": lambda request, session: session._sessions.renew(session),
}


@pytest.mark.feature("I9")
@pytest.mark.parametrize("what", HELD)
async def test_request_begun_before_the_log_in_is_refused_after_it(
    scene: Any, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    """Whoever held a request open, by a slow body, gets 401 `renewed`, and has read and changed nothing."""
    server = server_of()
    caplog.set_level("INFO", "wshttp.access")

    @server.post("/held")
    async def held(request: Any) -> Any:
        session = request.session
        scene.started.set()
        await request.text()
        result = HELD[what](request, session)
        return {"found": await result if asyncio.iscoroutine(result) else result}

    async with running(server) as base, raw(base) as connection:
        browser = await anonymous(base)
        await hold(connection, base, "/held", browser.cookies["wshttp"])
        await soon(scene.started.wait())
        await browser.log_in("alice", "x")
        (session,) = [each async for each in server.sessions.scan()]
        session["secret"] = "alice's"
        await session.commit()
        connection.send(b"b")
        answer = await connection.rest()
        assert answer.startswith(b"HTTP/1.1 401")
        assert b'"reason":"renewed"' in answer
        logged = [record for record in caplog.records if record.getMessage() == "POST /held 401"]
        assert [record.__dict__["user"] for record in logged] == [None]
        assert dict(session) == {"secret": "alice's"}
        assert read_json(await browser.get("/wshttp/session"))["user"] == "alice"


@pytest.mark.feature("I9")
async def test_uncommitted_changes_of_before_the_log_in_are_refused(scene: Any) -> None:
    """What an anonymous request wrote and had not committed does not arrive in the user's session."""
    server = server_of()

    @server.get("/writes")
    async def writes(request: Any) -> str:
        request.session["address"] = "mallory's"
        await scene.hold()
        return "written"

    async with running(server) as base:
        browser = await anonymous(base)
        writing = asyncio.create_task(Browser(base, Cookie=f"wshttp={browser.cookies['wshttp']}").get("/writes"))
        await soon(scene.started.wait())
        await browser.log_in("alice", "x")
        scene.release.set()
        assert problem(await writing) == (401, "session-ended")
        assert [dict(each) async for each in server.sessions.scan()] == [{}]


@pytest.mark.feature("I9")
async def test_stream_begun_before_the_log_in_is_cut(scene: Any) -> None:
    """A stream that looks at its session again is cut; it does not tell what the user's session holds."""
    server = server_of()

    @server.get("/stream")
    async def stream(request: Any) -> AsyncIterator[str]:
        session = request.session
        yield f"user {session.user};"
        await scene.hold()
        yield f"user {session.user};"

    async with running(server) as base, raw(base) as connection:
        browser = await anonymous(base)
        cookie = f"Cookie: wshttp={browser.cookies['wshttp']}"
        connection.send(f"GET /stream HTTP/1.1\r\nHost: {urlsplit(base).netloc}\r\n{cookie}\r\n\r\n".encode())
        await connection.until(b"user None;")
        await soon(scene.started.wait())
        await browser.log_in("alice", "x")
        scene.release.set()
        assert b"alice" not in await connection.rest()


@pytest.mark.feature("I9")
async def test_message_begun_before_the_log_in_is_refused_after_it(scene: Any) -> None:
    """A socket's handler at work neither learns who logged in, nor writes into that session."""
    server = server_of(session={"identity": ["header"]})

    @server.websocket("/work")
    async def work(connection: Connection, message: Any) -> None:
        session = connection.session
        assert session is not None
        session["before"] = 1
        await scene.hold()
        for look in (lambda: connection.user, lambda: session.get("secret")):
            with pytest.raises(SessionEnded) as caught:
                look()
            scene.seen.append(caught.value.reason)
        try:
            await session.increment("order")
        finally:
            scene.done.set()

    async with running(server) as base:
        token = (await Browser(base).get("/wshttp/session")).headers["Session-Token"]
        # A password in the header leaves no room there for the token.
        headers = {"Authorization": f"Session {token}"}
        async with websocket(base, "/work", additional_headers=headers) as socket:
            await socket.send("x")
            await soon(scene.started.wait())
            credentials = {"user": "alice", "password": "x"}
            response = await Browser(base)("POST", "/wshttp/login", json=credentials, headers=headers)
            assert read_json(response)["user"] == "alice"
            scene.release.set()
            await soon(scene.done.wait())
            await soon(socket.wait_closed())
            assert socket.close_code == 4000
        assert scene.seen == ["renewed", "renewed"]
        assert [dict(each) async for each in server.sessions.scan()] == [{}]


@pytest.mark.feature("I9")
async def test_message_after_a_log_in_elsewhere_closes_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody told the hub, as on another node, it is seen when the next message comes, which is not handled."""
    server = server_of()
    handled: list[Any] = []
    server.websocket("/work")(lambda connection, message: handled.append(message))
    async with running(server) as base:
        browser = await anonymous(base)
        headers = {"Cookie": f"wshttp={browser.cookies['wshttp']}"}
        async with websocket(base, "/work", additional_headers=headers, origin=base) as socket:
            monkeypatch.setattr(server.hub, "renewed", lambda record: None)
            await browser.log_in("alice", "x")
            await socket.send("x")
            await soon(socket.wait_closed())
            assert (socket.close_code, handled) == (4000, [])


async def test_request_that_renews_its_session_goes_on() -> None:
    """Who renews goes on under the new key: reads, writes and commits."""
    server = server_of()

    @server.post("/renew")
    async def renew(request: Any) -> Any:
        request.session["before"] = 1
        await server.sessions.renew(request.session, user="alice")
        request.session["after"] = await request.session.increment("n")
        return [request.user, dict(request.session)]

    async with running(server) as base:
        browser = await anonymous(base)
        response = await browser.post("/renew")
        assert read_json(response) == ["alice", {"after": 1, "before": 1, "n": 1}]
        assert [dict(each) async for each in server.sessions.scan()] == [{"after": 1, "before": 1, "n": 1}]


# --- log-ins that race ----------------------------------------------------------------------------


@pytest.mark.feature("I9")
async def test_log_ins_of_two_users_on_one_session_share_nothing(scene: Any) -> None:
    """The one who comes second gets a session of their own, and leaves the first one's as it is."""
    server = server_of(session={"max_sessions_per_user": 1})

    @server.on_limit_reached
    async def reached(full: Any) -> bool:
        await scene.hold()
        return True

    async with running(server) as base:
        await Browser(base).log_in("alice", "x")  # she is at her limit
        mallory = await anonymous(base)
        alice = Browser(base)
        alice.cookies = dict(mallory.cookies)
        logging_in = asyncio.create_task(alice.log_in("alice", "x"))
        await soon(scene.started.wait())
        await mallory.log_in("mallory", "x")
        refs = {each.user: each.ref async for each in server.sessions.scan()}
        scene.release.set()
        assert read_json(await logging_in)["user"] == "alice"
        hers, his = [read_json(await browser.get("/wshttp/session")) for browser in (alice, mallory)]
        assert (hers["user"], his["user"]) == ("alice", "mallory")
        assert his["ref"] == refs["mallory"] != hers["ref"]


@pytest.mark.feature("I9")
@pytest.mark.parametrize("maximum", [0, 1])
async def test_two_log_ins_of_one_user_both_get_a_live_token(
    scene: Any, monkeypatch: pytest.MonkeyPatch, maximum: int
) -> None:
    """A double click: whichever answer the browser keeps, its token is good."""
    server = new_server(session={"identity": ["cookie"], "max_sessions_per_user": maximum})

    @server.on_authenticate
    async def authenticate(user: str, password: str, request: Any) -> User:
        await scene.release.wait()
        return User(user, (), "1")

    async with running(server) as base:
        token = (await anonymous(base)).cookies["wshttp"]
        assert server.site.authenticator is not None
        verify = server.site.authenticator.verify
        at_it: list[str] = []

        async def verifying(*arguments: Any) -> User:
            at_it.append("")
            return await verify(*arguments)

        monkeypatch.setattr(server.site.authenticator, "verify", verifying)
        browsers = [Browser(base), Browser(base)]
        logging_in = []
        for browser in browsers:
            browser.cookies = {"wshttp": token}
            logging_in.append(asyncio.create_task(browser.log_in("alice", "x")))
        await until(lambda: len(at_it) == 2)
        scene.release.set()
        for response in await soon(asyncio.gather(*logging_in)):
            assert response.code == 200
        for browser in browsers:
            assert read_json(await browser.get("/wshttp/session"))["user"] == "alice"


@pytest.mark.feature("I9")
async def test_browser_that_missed_its_new_token_can_log_in_again() -> None:
    """The renewed cookie that it still has is refused elsewhere, and no obstacle to a log-in."""
    server = server_of()
    async with running(server) as base:
        browser = await anonymous(base)
        old = dict(browser.cookies)
        await browser.log_in("alice", "x")
        browser.cookies = old
        assert problem(await browser.get("/wshttp/session")) == (401, "session-ended")
        assert read_json(await browser.log_in("alice", "x"))["user"] == "alice"
        assert read_json(await browser.get("/wshttp/session"))["user"] == "alice"


@pytest.mark.feature("U2")
@pytest.mark.parametrize("way", ["login", "basic"])
async def test_user_removed_during_the_log_in_gets_no_session(
    scene: Any, users_file: str, ada: tuple[str, str], way: str
) -> None:
    """The answer is 401 `bad-credentials`, and the session that began is ended with `credentials`."""
    server = new_server(session={"identity": ["credentials", "cookie"]}, auth={"users_file": users_file})
    ends: list[str] = []
    server.on_session_end(lambda session, reason: ends.append(reason))
    server.get("/x")(lambda request: "x")

    @server.on_session_creating
    async def creating(draft: Any) -> None:
        await scene.hold()

    async with running(server) as base:
        browser = Browser(base)
        call = browser.log_in(*ada) if way == "login" else browser.get("/x", login=ada)
        logging_in = asyncio.create_task(call)
        await soon(scene.started.wait())
        delete_user(users_file, "ada")
        await server.poll_users()
        scene.release.set()
        assert problem(await logging_in) == (401, "bad-credentials")
        assert browser.cookies == {}
        await server.sessions.settled(5)
        assert ends == ["credentials"]
        assert await server.sessions.count() == 0


@pytest.mark.feature("U2")
@pytest.mark.parametrize("roles", [["staff"], []])
async def test_roles_taken_away_are_gone_from_sessions(users_file: str, ada: tuple[str, str], roles: list[str]) -> None:
    """When `auth.roles` change, the sessions of those users end with `credentials`; those of others go on."""

    def settings(roles: list[str]) -> dict[str, Any]:
        return {"users_file": users_file, "roles": {"ada": roles, "bob": ["staff"]}}

    server = new_server(session={"identity": ["cookie"]}, auth=settings(["admin"]))
    ends: list[Any] = []
    server.on_session_end(lambda session, reason: ends.append((session.user, reason)))
    async with running(server) as base:
        browser = Browser(base)
        assert read_json(await browser.log_in(*ada))["roles"] == ["admin"]
        changed = new_server(auth=settings(roles)).settings.auth
        server._use(server.settings.model_copy(update={"auth": changed}))
        await server.poll_users()
        await server.sessions.settled(5)
        assert ends == [("ada", "credentials")]
        assert read_json(await browser.log_in(*ada))["roles"] == roles
        await server.poll_users()
        assert (await browser.get("/wshttp/session?touch=0")).code == 200
