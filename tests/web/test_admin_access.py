"""Who may use administration."""

from __future__ import annotations

import asyncio

import pytest
from administering import API, admin_server, administrator, audit_of
from browsing import Browser, problem, read_json
from serving import new_server, running

from wshttp import User
from wshttp.errors import BadCredentials
from wshttp.testing import FakeClock
from wshttp.web.admin import refusals as module
from wshttp.web.admin.audit import LONGEST
from wshttp.web.admin.refusals import IN_ALL, MAX_ADDRESSES, PER_SECOND, Refusals

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


@pytest.mark.parametrize("enabled", [True, False])
async def test_page_is_nowhere_else(enabled: bool, users_file: str) -> None:
    """What it is made of lies in the folder of the shipped files; the public part of that does not have it."""
    async with running(admin_server(users_file, admin={"enabled": enabled})) as base:
        assert (await Browser(base).get("/")).code == 200
        for path in ("/admin", "/admin/", "/admin/index.html", "/admin/admin.js", "/wshttp/../admin/"):
            assert (await Browser(base).get(path)).code == 404


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
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "Same-Site"},
        {"Sec_Fetch_Site": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
    ],
)
async def test_pages_of_other_origins_can_not_even_read(
    path: str, headers: dict[str, str], users_file: str, ada: tuple[str, str]
) -> None:
    """A browser would add the password that it remembers; a page on another port of this host is another one, too."""
    async with running(admin_server(users_file, websocket={"allowed_origins": ["https://evil.example"]})) as base:
        response = await administrator(base, ada, **headers).get(f"{API}{path}")
        assert problem(response) == (403, "forbidden")


async def test_own_page_and_programs_are_no_other_origin(users_file: str, ada: tuple[str, str]) -> None:
    """What the page asks for, what a person does, and what comes from no browser."""
    async with running(admin_server(users_file)) as base:
        for headers in ({}, {"Sec_Fetch_Site": "same-origin", "Origin": base}, {"Sec_Fetch_Site": "None"}):
            assert (await administrator(base, ada, **headers).get(f"{API}/stats")).code == 200


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
    assert audit_of(caplog) == [{"act": "refused", "by": "bob", "by_ip": "127.0.0.1", "why": "forbidden"}]


async def test_wrong_password_is_in_the_audit_log(
    users_file: str, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Who was tried, from where, at the page as well; never with what. Who sends none is only being asked."""
    server = admin_server(users_file, clock, auth={"users_file": users_file, "max_failures": 1})
    async with running(server) as base:
        await Browser(base).get("/wshttp/admin/")
        await Browser(base).get("/wshttp/admin/", login=("ada", "guessed"))
        await Browser(base).get(f"{API}/stats", login=("ada", "guessed"))
    lines = audit_of(caplog)
    assert [(line["act"], line["by"], line["by_ip"]) for line in lines] == [("refused", "ada", "127.0.0.1")] * 2
    assert [line["why"] for line in lines] == ["bad-credentials", "too-many-requests"]
    assert "guessed" not in caplog.text


async def test_refusals_are_a_few_lines_a_second_at_most(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """However many try, the log has room for the rest; it says how many more there were. Names are cut."""
    refusals = Refusals(clock)
    for _ in range(1000):
        refusals.record("x" * 10_000, "192.0.2.7", BadCredentials())
    clock.advance(1)
    refusals.record("ada", "192.0.2.7", BadCredentials())
    lines = audit_of(caplog)
    assert len(lines) == PER_SECOND + 1
    assert len(lines[0]["by"]) == LONGEST + 1
    assert (lines[-1]["by"], lines[-1]["left_out"]) == ("ada", 1000 - PER_SECOND)


async def test_noise_hides_no_attempt(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """One who tries without end hides nobody at another address; and however many do, no name of an administrator."""
    refusals = Refusals(clock)
    for _ in range(1000):
        refusals.record("noise", "192.0.2.7", BadCredentials())
    refusals.record("guest", "192.0.2.8", BadCredentials())
    for number in range(2 * MAX_ADDRESSES):
        refusals.record("noise", f"2001:db8:0:{number:x}::1", BadCredentials())
    refusals.record("ada", "192.0.2.7", BadCredentials(), "ada")
    lines = audit_of(caplog)
    names = [line["by"] for line in lines]
    assert (names[int(PER_SECOND)], names[-1]) == ("guest", "ada")
    assert len(lines) == IN_ALL + 1


async def test_what_was_left_out_is_said_at_last(
    clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where nobody is refused any more: after a while by itself, and when the server drains; once."""
    monkeypatch.setattr(module, "FLUSH", 0)
    refusals = Refusals(clock)
    for _ in range(10):
        refusals.record("noise", "192.0.2.7", BadCredentials())
    for _ in range(3):
        await asyncio.sleep(0)
    assert audit_of(caplog)[int(PER_SECOND) :] == [{"act": "refusals left out", "count": 10 - PER_SECOND}]
    refusals.record("noise", "192.0.2.7", BadCredentials())
    for _ in range(2):
        refusals.flush()
    assert audit_of(caplog)[-1] == {"act": "refusals left out", "count": 1}
    assert len(audit_of(caplog)) == PER_SECOND + 2


@pytest.mark.parametrize(
    "query",
    [
        "users=ada",
        "user=ada&user=bob",
        "limit=0",
        "limit=1001",
        "limit=x",
        "cursor=%2f",
        "ip=x",
        "before=x",
        "user=%ff",
    ],
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
