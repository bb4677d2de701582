"""Sessions in a plain `tornado.web.Application`, tested as Tornado's users do, with the fixtures of pytest-tornado."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from browsing import basic, problem
from serving import fetch
from tornado.httpclient import AsyncHTTPClient, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port
from tornado.web import Application, HTTPError, RequestHandler

import wshttp
from wshttp import MemoryStore, SessionHandler, SessionList, Settings
from wshttp.auth.authenticator import Authenticator
from wshttp.auth.basic import BasicCredentials
from wshttp.auth.passwords import PasswordHasher
from wshttp.auth.throttle import Throttle
from wshttp.auth.users_file import UsersFile, delete_user
from wshttp.errors import StoreUnavailable, UsageError
from wshttp.sessions.clock import SystemClock
from wshttp.stores.memory_shared import MemoryShared
from wshttp.testing import FakeClock
from wshttp.web.site import Site


class Visits(SessionHandler):
    """Count, by increment."""

    async def get(self) -> None:
        self.write({"visits": await self.session.increment("visits"), "ref": self.session.ref})

    def delete(self) -> None:
        self.session["gone"] = True
        raise HTTPError(409)


class Basket(SessionHandler):
    """Hold a nested value, changed in place."""

    def post(self) -> None:
        self.session.setdefault("basket", []).append(self.get_argument("item"))
        self.redirect("/basket")

    def get(self) -> None:
        self.write({"basket": self.session.get("basket", [])})


class Leave(SessionHandler):
    async def post(self) -> None:
        await self.end_session()
        self.write("bye")


class Whoami(SessionHandler):
    auto_start = False

    def get(self) -> None:
        self.write({"user": self.current_user})


class Plain(RequestHandler):
    """Nothing of ours."""

    def get(self) -> None:
        self.write("plain")


@pytest.fixture(autouse=True)
def _no_stray_loop() -> None:
    """Tornado looks which loop is asyncio's (6.6), which makes one where none was ever set, and nobody closes it."""
    asyncio.set_event_loop(None)


@pytest.fixture
def sessions(clock: FakeClock) -> SessionList:
    settings = Settings.model_validate({"session": {"identity": ["cookie"]}})
    return SessionList(settings.session, MemoryStore(clock), clock=clock)


@pytest.fixture
def authenticator(io_loop: IOLoop, users_file: str) -> Iterator[Authenticator]:
    users, hasher = UsersFile(users_file), PasswordHasher(1)
    users.load()
    clock = SystemClock()
    throttle = Throttle(MemoryShared(clock), clock)
    yield Authenticator(users, list, hasher, throttle, clock, on_error=lambda error: None)
    io_loop.run_sync(hasher.close)


@pytest.fixture
def app(io_loop: IOLoop, sessions: SessionList, authenticator: Authenticator) -> Iterator[Application]:
    rules = [("/visits", Visits), ("/basket", Basket), ("/leave", Leave), ("/who", Whoami), ("/plain", Plain)]
    application = Application(rules)
    wshttp.attach(application, sessions, authenticator=authenticator)
    io_loop.run_sync(sessions.open)
    yield application
    io_loop.run_sync(lambda: sessions.close(5))


def cookie_of(response: HTTPResponse) -> dict[str, str]:
    return {"Cookie": response.headers["Set-Cookie"].partition(";")[0]}


async def get(client: AsyncHTTPClient, url: str, **options: Any) -> HTTPResponse:
    return await client.fetch(url, raise_error=False, follow_redirects=False, **options)


@pytest.mark.gen_test
@pytest.mark.feature("I5", "T6")
async def test_attached_handler_has_a_session(http_client: AsyncHTTPClient, base_url: str) -> None:
    """One cookie, one session, one count; another client has its own."""
    first = await get(http_client, f"{base_url}/visits")
    cookie = cookie_of(first)
    second = await get(http_client, f"{base_url}/visits", headers=cookie)
    other = await get(http_client, f"{base_url}/visits")
    assert json.loads(first.body) == {"visits": 1, "ref": json.loads(first.body)["ref"]}
    assert json.loads(second.body) == {"visits": 2, "ref": json.loads(first.body)["ref"]}
    assert json.loads(other.body)["visits"] == 1
    assert "Session-Expires-In" in second.headers
    assert "Set-Cookie" not in second.headers


@pytest.mark.gen_test
@pytest.mark.feature("T4")
async def test_attached_handler_commits_before_each_kind_of_answer(
    http_client: AsyncHTTPClient, base_url: str, sessions: SessionList
) -> None:
    """A redirect and an `HTTPError` carry the change, nested ones too."""
    response = await get(http_client, f"{base_url}/basket", method="POST", body="item=tea")
    assert response.code == 302
    cookie = cookie_of(response)
    await get(http_client, f"{base_url}/basket", method="POST", body="item=milk", headers=cookie)
    assert json.loads((await get(http_client, f"{base_url}/basket", headers=cookie)).body) == {
        "basket": ["tea", "milk"]
    }
    conflict = await get(http_client, f"{base_url}/visits", method="DELETE", headers=cookie)
    assert conflict.code == 409
    assert conflict.headers["Content-Type"] == "application/problem+json"
    [session] = [session async for session in sessions.scan()]
    assert dict(session) == {"basket": ["tea", "milk"], "gone": True}


@pytest.mark.gen_test
@pytest.mark.feature("E1", "L5")
async def test_attached_list_fires_starts_and_ends(
    http_client: AsyncHTTPClient, base_url: str, sessions: SessionList, clock: FakeClock
) -> None:
    """The list's own callbacks see every life: a log-out, an expiry."""
    seen: list[tuple[str, str]] = []
    sessions.callbacks.register("session_start", lambda session: seen.append(("start", session.ref)))
    sessions.callbacks.register("session_end", lambda session, reason: seen.append((str(reason), session.ref)))
    first = await get(http_client, f"{base_url}/visits")
    ref = json.loads(first.body)["ref"]
    left = await get(http_client, f"{base_url}/leave", method="POST", body="", headers=cookie_of(first))
    assert (left.body, "Max-Age=0" in left.headers["Set-Cookie"]) == (b"bye", True)
    second = await get(http_client, f"{base_url}/visits")
    clock.advance(1201)
    await sessions.sweep()
    await sessions.settled(5)
    other = json.loads(second.body)["ref"]
    assert seen == [("start", ref), ("logout", ref), ("start", other), ("idle", other)]


@pytest.mark.gen_test
@pytest.mark.feature("U1")
async def test_attached_authenticator_checks_basic(
    http_client: AsyncHTTPClient, base_url: str, sessions: SessionList, ada: tuple[str, str]
) -> None:
    """With an authenticator a Basic header must be right; `current_user` is the user."""
    right = await get(http_client, f"{base_url}/who", headers={"Authorization": basic(*ada)})
    wrong = await get(http_client, f"{base_url}/who", headers={"Authorization": basic("ada", "x")})
    nobody = await get(http_client, f"{base_url}/who")
    assert (json.loads(right.body), json.loads(nobody.body)) == ({"user": "ada"}, {"user": None})
    assert problem(wrong) == (401, "bad-credentials")
    assert await sessions.count() == 0


@pytest.mark.gen_test
async def test_handlers_that_are_not_ours_are_left_alone(
    http_client: AsyncHTTPClient, base_url: str, sessions: SessionList
) -> None:
    """A plain handler of the same application gets no session, no header, and Tornado's own errors."""
    response = await get(http_client, f"{base_url}/plain")
    assert (response.code, response.body) == (200, b"plain")
    assert "Session-Expires-In" not in response.headers
    refused = await get(http_client, f"{base_url}/plain", method="POST", body="")
    assert (refused.code, refused.headers["Content-Type"]) == (405, "text/html; charset=UTF-8")
    assert await sessions.count() == 0


@pytest.mark.gen_test
@pytest.mark.feature("U6")
async def test_attached_handler_stands_behind_the_gate(http_client: AsyncHTTPClient, base_url: str) -> None:
    """Cross-site requests are refused here, too."""
    options: dict[str, Any] = {"method": "POST", "body": "", "headers": {"Sec-Fetch-Site": "cross-site"}}
    assert problem(await get(http_client, f"{base_url}/leave", **options)) == (403, "forbidden")


@pytest.mark.gen_test
async def test_session_ended_by_another_is_401_here_too(
    http_client: AsyncHTTPClient, base_url: str, app: Application, sessions: SessionList, scene: Any
) -> None:
    """The commit before the answer is the base handler's, whoever serves it."""

    class Slow(SessionHandler):
        async def get(self) -> None:
            self.session["n"] = 1
            await scene.hold()

    app.add_handlers(".*", [("/slow", Slow)])
    asked = asyncio.ensure_future(get(http_client, f"{base_url}/slow"))
    await asyncio.wait_for(scene.started.wait(), 5)
    assert await sessions.end_all() == 1
    scene.release.set()
    assert problem(await asked) == (401, "session-ended")


def test_attached_settings_are_the_lists_own_for_sessions() -> None:
    """`settings` are for the rest; what they say of sessions gives way to what the list was made with."""
    session = Settings.model_validate({"session": {"identity": ["header"]}}).session
    sessions = SessionList(session, MemoryStore())
    settings = Settings.model_validate({"websocket": {"max_message_size": "1KiB"}})
    site = wshttp.attach(Application([]), sessions, settings=settings)
    assert site.settings.session is session
    assert site.settings.websocket.max_message_size == 1024
    assert sessions.notifier is site.hub


def attached(auth: dict[str, Any], clock: FakeClock) -> tuple[Application, SessionList, Site]:
    """Return an application with a list of its own, as `attach` is used where nothing else is given."""
    settings = Settings.model_validate({"session": {"identity": ["cookie"]}, "auth": auth})
    sessions = SessionList(settings.session, MemoryStore(clock), clock=clock)
    application = Application([("/who", Whoami)])
    return application, sessions, wshttp.attach(application, sessions, settings=settings)


@asynccontextmanager
async def listening(application: Application, site: Site) -> AsyncIterator[str]:
    """Serve an application by Tornado's own server, with its site open."""
    sock, port = bind_unused_port()
    server = HTTPServer(application)
    server.add_socket(sock)
    await site.open()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()
        await server.close_all_connections()
        await site.close(timeout=5)


async def who(base: str, user: str, password: str) -> HTTPResponse:
    return await fetch(f"{base}/who", headers={"Authorization": basic(user, password)})


@pytest.mark.feature("U1")
async def test_attached_settings_have_users(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str], clock: FakeClock
) -> None:
    """The users of `auth.users_file` are let in; who is taken out of it loses their sessions."""
    application, sessions, site = attached({"users_file": users_file, "roles": {"ada": ["admin"]}}, clock)
    async with listening(application, site) as base:
        assert json.loads((await who(base, *ada)).body) == {"user": "ada"}
        assert problem(await who(base, "ada", "wrong")) == (401, "bad-credentials")
        session = await sessions.create(remote_ip="127.0.0.1", user="ada")
        other = await sessions.create(remote_ip="127.0.0.1", user="bob")
        delete_user(users_file, "ada")
        assert site.users is not None
        await site.users.poll()
        assert (session.ended, other.ended) == ("credentials", None)
        assert problem(await who(base, *ada)) == (401, "bad-credentials")
        assert json.loads((await who(base, *bob)).body) == {"user": "bob"}


@pytest.mark.feature("U2")
async def test_attached_list_asks_its_own_callback_for_users(clock: FakeClock) -> None:
    """`on_authenticate` of the list is asked; without it and without a file, Basic headers are nobody's."""
    application, sessions, site = attached({}, clock)
    async with listening(application, site) as base:
        assert json.loads((await who(base, "eve", "x")).body) == {"user": None}
        sessions.on_authenticate(lambda user, password, request: password == "right" and wshttp.User(user))
        assert json.loads((await who(base, "eve", "right")).body) == {"user": "eve"}
        assert problem(await who(base, "eve", "wrong")) == (401, "bad-credentials")


async def test_closed_site_leaves_nothing_behind(users_file: str, ada: tuple[str, str], clock: FakeClock) -> None:
    """Sessions end with their callbacks, passwords are checked no more, and no task goes on."""
    before = asyncio.all_tasks()
    _, sessions, site = attached({"users_file": users_file}, clock)
    ends: list[str] = []
    sessions.on_session_end(lambda session, reason: ends.append(str(reason)))
    await site.open()
    await sessions.create(remote_ip="127.0.0.1")
    assert await site.close() == 0
    assert ends == ["shutdown"]
    assert asyncio.all_tasks() == before
    assert site.authenticator is not None
    with pytest.raises(StoreUnavailable):
        await site.authenticator.verify(BasicCredentials(*ada), "127.0.0.1")


@pytest.mark.gen_test
async def test_handler_of_an_application_without_sessions_says_what_is_missing(
    io_loop: IOLoop, http_client: AsyncHTTPClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A `SessionHandler` that nobody attached a list for is a mistake with a remedy, not an AttributeError."""
    sock, port = bind_unused_port()
    server = HTTPServer(Application([("/visits", Visits)]))
    server.add_socket(sock)
    response = await get(http_client, f"http://127.0.0.1:{port}/visits")
    assert response.code == 500
    assert "wshttp.attach(application, sessions)" in caplog.text
    server.stop()
    await server.close_all_connections()


def test_attach_is_exported_with_what_it_takes() -> None:
    """An application needs no private import for it."""
    assert {"attach", "SessionList", "MemoryStore", "Settings", "SessionHandler"} <= set(wshttp.__all__)
    assert issubclass(UsageError, wshttp.WshttpError)


async def test_handler_that_forgets_prepare_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A subclass whose `prepare` does not call ours learns what is missing."""

    class Forgets(SessionHandler):
        async def prepare(self) -> None:
            pass

        def get(self) -> None:
            self.write(self.session.ref)

    application = Application([("/forgets", Forgets)])
    sessions = SessionList(Settings().session, MemoryStore())
    site = wshttp.attach(application, sessions)
    await site.open()
    socket, port = bind_unused_port()
    server = HTTPServer(application)
    server.add_socket(socket)
    try:
        assert (await fetch(f"http://127.0.0.1:{port}/forgets")).code == 500
        assert "await super().prepare()" in caplog.text
    finally:
        server.stop()
        await server.close_all_connections()
        await site.close()
