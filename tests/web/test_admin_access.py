"""Who may use administration."""

from __future__ import annotations

import pytest
from administering import API, admin_server, administrator, audit_of
from browsing import Browser, problem, read_json
from serving import new_server, running

from wshttp import User
from wshttp.testing import FakeClock

CALLS = [
    ("GET", f"{API}/sessions"),
    ("DELETE", f"{API}/sessions?all=1"),
    ("GET", f"{API}/sessions/abc"),
    ("DELETE", f"{API}/sessions/abc"),
    ("GET", f"{API}/connections"),
    ("DELETE", f"{API}/connections/abc"),
    ("POST", f"{API}/broadcast"),
    ("GET", f"{API}/stats"),
    ("GET", f"{API}/events"),
    ("GET", "/wshttp/admin"),
    ("GET", "/wshttp/admin/"),
    ("GET", "/wshttp/admin/index.js"),
    ("HEAD", f"{API}/events"),
    ("OPTIONS", f"{API}/sessions"),
]


@pytest.mark.feature("A1", "A2", "A5")
@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_each_call_is_for_administrators_alone(
    method: str, path: str, users_file: str, ada: tuple[str, str], bob: tuple[str, str]
) -> None:
    """Nobody, a wrong password, a cookie of the administrator's, another user: none of them gets anything."""
    server = admin_server(users_file)
    async with running(server) as base:
        nobody = await Browser(base)(method, path)
        wrong = await Browser(base)(method, path, login=("ada", "wrong"))
        logged_in = Browser(base)
        await logged_in.log_in(*ada)
        with_cookie = await logged_in(method, path)
        another = await Browser(base)(method, path, login=bob)
        assert [answer.code for answer in (nobody, wrong, with_cookie, another)] == [401, 401, 401, 403]
        for answer in (nobody, wrong, with_cookie):
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="wshttp", charset="UTF-8"'
        assert await server.sessions.count() == 1, "that of the log-in"


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_each_call_says_how_to_allow_somebody(
    method: str, path: str, users_file: str, ada: tuple[str, str]
) -> None:
    """With nobody configured, a right password does not help, and the answer names the setting."""
    async with running(admin_server(users_file, admin={"users": []})) as base:
        response = await Browser(base)(method, path, login=ada)
        assert response.code == 403
        if method != "HEAD":
            assert "admin.users" in read_json(response)["detail"]


async def test_no_way_to_check_a_password_is_said() -> None:
    """A user is named, but there is neither a file nor a hook."""
    async with running(new_server(admin={"users": ["ada"]})) as base:
        response = await Browser(base).get(f"{API}/stats", login=("ada", "secret"))
        assert problem(response) == (403, "forbidden")
        assert "auth.users_file" in read_json(response)["detail"]


async def test_administration_can_be_left_away(users_file: str, ada: tuple[str, str]) -> None:
    """`admin.enabled: false`: there is nothing, for nobody."""
    async with running(admin_server(users_file, admin={"enabled": False})) as base:
        for method, path in CALLS:
            response = await Browser(base)(method, path, login=ada)
            assert response.code == 404


async def test_users_of_the_application_may_administer() -> None:
    """`on_authenticate` lets them in, and their name is in `admin.users`; compared in Unicode's form NFC."""
    server = new_server(admin={"users": ["Zoe\u0308"]})
    server.on_authenticate(lambda user, password, request: User(user) if password == "right" else False)
    async with running(server) as base:
        assert (await Browser(base).get(f"{API}/stats", login=("Zo\u00eb", "right"))).code == 200
        assert (await Browser(base).get(f"{API}/stats", login=("Zo\u00eb", "wrong"))).code == 401


async def test_guessing_meets_the_throttle_of_the_log_in(users_file: str, clock: FakeClock) -> None:
    """The same counters: who has guessed at the one may not go on at the other."""
    server = admin_server(users_file, clock, auth={"users_file": users_file, "max_failures": 2})
    async with running(server) as base:
        for _ in range(2):
            assert (await Browser(base).get(f"{API}/stats", login=("ada", "wrong"))).code == 401
        response = await Browser(base).get(f"{API}/stats", login=("ada", "wrong"))
        assert problem(response) == (429, "too-many-requests")
        assert int(response.headers["Retry-After"]) > 0
        assert (await Browser(base).log_in("ada", "wrong")).code == 429


@pytest.mark.parametrize("path", ["/sessions", "/connections", "/stats", "/events"])
async def test_pages_of_other_sites_can_not_even_read(path: str, users_file: str, ada: tuple[str, str]) -> None:
    """A browser would add the password that it remembers."""
    async with running(admin_server(users_file)) as base:
        response = await administrator(base, ada, Sec_Fetch_Site="cross-site").get(f"{API}{path}")
        assert problem(response) == (403, "forbidden")


async def test_unsafe_calls_of_other_origins_are_refused(users_file: str, ada: tuple[str, str]) -> None:
    """As everywhere: what changes something comes from this origin, or from no page at all."""
    server = admin_server(users_file)
    async with running(server) as base:
        await Browser(base).post("/wshttp/session")
        for headers in ({"Origin": "https://evil.example"}, {"Sec_Fetch_Site": "cross-site"}):
            browser = administrator(base, ada, **headers)
            assert (await browser.delete(f"{API}/sessions?all=1")).code == 403
            assert (await browser.post(f"{API}/broadcast", json={"message": "hello"})).code == 403
        assert await server.sessions.count() == 1
        assert (await administrator(base, ada, Origin=base).delete(f"{API}/sessions?all=1")).code == 200


async def test_administration_starts_and_touches_no_session(
    users_file: str, ada: tuple[str, str], clock: FakeClock
) -> None:
    """Looking at a session does not keep it alive, nor does the administrator's own cookie go with it."""
    server = admin_server(users_file, clock)
    async with running(server) as base:
        browser = administrator(base, ada)
        visitor = Browser(base)
        await visitor.post("/wshttp/session")
        [session] = [each async for each in server.sessions.scan()]
        browser.cookies = visitor.cookies
        before = session.record.last_access_at
        clock.advance(100)
        for path in ("/sessions", f"/sessions/{session.ref}", "/connections", "/stats"):
            response = await browser.get(f"{API}{path}")
            assert response.code == 200
            assert response.headers["Cache-Control"] == "no-store"
            assert not response.headers.get_list("Set-Cookie")
        assert session.record.last_access_at == before
        assert await server.sessions.count() == 1


async def test_right_password_of_another_is_in_the_audit_log(
    users_file: str, bob: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Who knocks here with a key of the house is worth a look."""
    async with running(admin_server(users_file)) as base:
        await Browser(base).get(f"{API}/stats", login=bob)
    assert audit_of(caplog) == [{"act": "refused", "by": "bob", "by_ip": "127.0.0.1"}]


@pytest.mark.parametrize(
    "query", ["users=ada", "user=ada&user=bob", "limit=0", "limit=1001", "limit=x", "cursor=%2f", "ip=x", "before=x"]
)
async def test_parameters_that_are_not_understood_are_refused(
    query: str, users_file: str, ada: tuple[str, str]
) -> None:
    """A misspelt condition must not be left out: it may be all that keeps an end from meeting everybody."""
    server = admin_server(users_file)
    async with running(server) as base:
        await Browser(base).post("/wshttp/session")
        browser = administrator(base, ada)
        assert problem(await browser.get(f"{API}/sessions?{query}")) == (400, "bad-request")
        assert problem(await browser.delete(f"{API}/sessions?{query}")) == (400, "bad-request")
        assert await server.sessions.count() == 1
