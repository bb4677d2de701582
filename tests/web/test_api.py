"""The HTTP API of a client, call by call (docs/reference/wire.md)."""

from __future__ import annotations

from typing import Any

import pytest
from browsing import Browser, basic, problem, read_json
from serving import new_server, running

from wshttp import Server
from wshttp.testing import FakeClock

COOKIE = {"identity": ["cookie"]}
KEYS = {"ref", "user", "roles", "identity", "created_at", "expires_in", "absolute_expires_in", "connections"}


def server_of(clock: FakeClock | None = None, users_file: str | None = None, **sections: Any) -> Server:
    session = COOKIE | sections.pop("session", {})
    auth = {"users_file": users_file} | sections.pop("auth", {})
    return new_server(clock, session=session, auth=auth, **sections)


# --- GET /session -------------------------------------------------------------------------------


@pytest.mark.feature("L4", "I1", "I5")
async def test_session_of_a_new_client_starts_and_is_described(clock: FakeClock) -> None:
    """`GET /session` starts a session where `auto_start` is on and says what the client is told of it, and no more."""
    server = server_of(clock)
    async with running(server) as base:
        browser = Browser(base)
        response = await browser.get("/wshttp/session")
        body = read_json(response)
        assert response.code == 200
        assert response.headers["Content-Type"] == "application/json"
        assert body.keys() == KEYS
        assert (body["user"], body["roles"], body["identity"], body["connections"]) == (None, [], "cookie", 0)
        assert (body["expires_in"], body["absolute_expires_in"]) == (1200, 43200)
        assert body["created_at"] == int(clock.time())
        assert response.headers["Session-Expires-In"] == "1200"
        assert response.headers["Cache-Control"] == "no-store"
        assert (await server.sessions.get_by_ref(body["ref"])) is not None
        assert browser.cookies["wshttp"] not in response.body.decode()


async def test_session_that_is_known_gets_no_second_token(clock: FakeClock) -> None:
    """A token is given once, when it is made; times are whole seconds, rounded down."""
    async with running(server_of(clock)) as base:
        browser = Browser(base)
        first = read_json(await browser.get("/wshttp/session"))
        clock.advance(0.5)
        again = await browser.get("/wshttp/session?touch=0")
        assert "Set-Cookie" not in again.headers
        assert read_json(again) == first | {"expires_in": 1199, "absolute_expires_in": 43199}
        assert again.headers["Session-Expires-In"] == "1199"


@pytest.mark.feature("L4", "L8")
async def test_session_is_touched_unless_it_is_peeked_at(clock: FakeClock) -> None:
    """`?touch=0` leaves the idle deadline where it is, without it the request moves it."""
    async with running(server_of(clock)) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        clock.advance(100)
        assert read_json(await browser.get("/wshttp/session?touch=0"))["expires_in"] == 1100
        assert read_json(await browser.get("/wshttp/session?touch=0"))["expires_in"] == 1100
        assert read_json(await browser.get("/wshttp/session"))["expires_in"] == 1200


@pytest.mark.feature("L4")
async def test_peeking_starts_none() -> None:
    """`?touch=0` of a client without a session is 401 `session-ended`, and starts none."""
    server = server_of()
    async with running(server) as base:
        response = await Browser(base).get("/wshttp/session?touch=0")
        assert problem(response) == (401, "session-ended")
        assert response.headers["WWW-Authenticate"] == "Session"
        assert "reason" not in read_json(response)
        assert await server.sessions.count() == 0


@pytest.mark.feature("L6")
async def test_session_without_time_outs_never_expires() -> None:
    """A time-out of 0 is none: the times are null, and the header is left away."""
    async with running(server_of(session={"idle_timeout": 0, "absolute_timeout": 0, "warn_before": 0})) as base:
        response = await Browser(base).get("/wshttp/session")
        assert read_json(response)["expires_in"] is read_json(response)["absolute_expires_in"] is None
        assert "Session-Expires-In" not in response.headers


async def test_announcing_can_be_switched_off() -> None:
    """Without `session.announce` no response carries `Session-Expires-In`."""
    async with running(server_of(session={"announce": False})) as base:
        assert "Session-Expires-In" not in (await Browser(base).get("/wshttp/session")).headers


@pytest.mark.feature("L5", "L6", "C2")
@pytest.mark.parametrize(("step", "times", "reason"), [(1200, 1, "idle"), (1000, 44, "absolute")])
async def test_session_that_expired_is_401_with_the_reason(
    clock: FakeClock, step: float, times: int, reason: str
) -> None:
    """A client that comes after the end learns why, as long as a tombstone knows it; after that only that it is over."""
    async with running(server_of(clock, session={"auto_start": False})) as base:
        browser = Browser(base)
        await browser.post("/wshttp/session")
        old = dict(browser.cookies)
        for _ in range(times - 1):
            clock.advance(step)
            await browser.get("/wshttp/session")
        clock.advance(step)
        response = await browser.get("/wshttp/session")
        assert problem(response) == (401, "session-ended")
        assert read_json(response)["reason"] == reason
        assert response.headers["WWW-Authenticate"] == "Session"
        assert browser.cookies == {}
        clock.advance(301)
        browser.cookies = old
        assert "reason" not in read_json(await browser.get("/wshttp/session"))


# --- POST /session, touch, DELETE ---------------------------------------------------------------


@pytest.mark.feature("L2")
async def test_session_is_started_by_hand_where_auto_start_is_off() -> None:
    """`POST /session` is 201 for a new session, and 200 for one that is there; nothing else starts one."""
    server = server_of(session={"auto_start": False})
    async with running(server) as base:
        browser = Browser(base)
        assert problem(await browser.get("/wshttp/session")) == (401, "session-ended")
        assert await server.sessions.count() == 0
        made = await browser.post("/wshttp/session")
        assert made.code == 201
        assert read_json(made).keys() == KEYS
        assert made.headers["Cache-Control"] == "no-store"
        again = await browser.post("/wshttp/session")
        assert again.code == 200
        assert read_json(again)["ref"] == read_json(made)["ref"]
        assert await server.sessions.count() == 1


@pytest.mark.feature("L8")
async def test_touch_keeps_a_session_alive_whatever_counts_as_activity(clock: FakeClock) -> None:
    """`POST /session/touch` moves the deadline, also where `session.touch` has no `http`; other requests then don't."""
    async with running(server_of(clock, session={"touch": ["message"]})) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        clock.advance(100)
        assert read_json(await browser.get("/wshttp/session"))["expires_in"] == 1100
        touched = await browser.post("/wshttp/session/touch")
        assert (touched.code, read_json(touched)["expires_in"]) == (200, 1200)
        assert touched.headers["Session-Expires-In"] == "1200"


async def test_touch_without_a_session_starts_none() -> None:
    """`POST /session/touch` of a client without a session is 401 `session-ended`."""
    server = server_of()
    async with running(server) as base:
        assert problem(await Browser(base).post("/wshttp/session/touch")) == (401, "session-ended")
        assert await server.sessions.count() == 0


@pytest.mark.feature("L11")
async def test_delete_ends_the_session_and_the_cookie() -> None:
    """`DELETE /session` is 204, ends with `logout`, and has the browser forget its cookie; the token is dead."""
    server = server_of()
    ends: list[tuple[str, str]] = []
    server.on_session_end(lambda session, reason: ends.append((session.ref, reason)))
    async with running(server) as base:
        browser = Browser(base)
        ref = read_json(await browser.get("/wshttp/session"))["ref"]
        token = browser.cookies["wshttp"]
        response = await browser.delete("/wshttp/session")
        assert (response.code, response.body) == (204, b"")
        assert response.headers["Set-Cookie"] == "wshttp=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Session-Expires-In" not in response.headers
        await server.sessions.settled(5)
        assert ends == [(ref, "logout")]
        late = await Browser(base, Cookie=f"wshttp={token}").get("/wshttp/session?touch=0")
        assert problem(late) == (401, "session-ended")
        assert read_json(late)["reason"] == "logout"


async def test_delete_without_a_session_is_401() -> None:
    """`DELETE /session` has nothing to end where there is no session, and starts none for it."""
    server = server_of()
    async with running(server) as base:
        assert problem(await Browser(base).delete("/wshttp/session")) == (401, "session-ended")
        assert await server.sessions.count() == 0


# --- POST /login --------------------------------------------------------------------------------


@pytest.mark.feature("U2", "U3", "I9", "L3")
@pytest.mark.parametrize("way", ["json", "basic"])
async def test_login_gives_the_session_a_user_and_another_token(
    clock: FakeClock, users_file: str, ada: tuple[str, str], way: str
) -> None:
    """A log-in keeps the ref and the data, gives user and roles, another token, and both time-outs anew."""
    server = server_of(clock, users_file, auth={"roles": {"ada": ["admin"]}})

    @server.post("/basket")
    def basket(request: Any) -> None:
        request.session["basket"] = ["tea"]

    async with running(server) as base:
        browser = Browser(base)
        await browser.post("/basket")
        before, old = read_json(await browser.get("/wshttp/session")), browser.cookies["wshttp"]
        clock.advance(500)
        options: dict[str, Any] = {"json": {"user": ada[0], "password": ada[1]}} if way == "json" else {"login": ada}
        response = await browser.post("/wshttp/login", **options)
        body = read_json(response)
        assert response.code == 200
        assert body == before | {"user": "ada", "roles": ["admin"], "expires_in": 1200, "absolute_expires_in": 43200}
        assert response.headers["Cache-Control"] == "no-store"
        assert browser.cookies["wshttp"] != old
        session = await server.sessions.get_by_ref(body["ref"])
        assert session is not None
        assert session["basket"] == ["tea"]


@pytest.mark.feature("I9")
async def test_token_from_before_the_login_is_refused_and_its_cookie_left_alone(
    users_file: str, ada: tuple[str, str]
) -> None:
    """A renewed token is 401 without a `Set-Cookie`: the new one may be on its way to the same browser."""
    server = server_of(users_file=users_file)
    async with running(server) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        old = dict(browser.cookies)
        await browser.log_in(*ada)
        late = Browser(base)
        late.cookies = dict(old)
        response = await late.get("/wshttp/session")
        assert problem(response) == (401, "session-ended")
        assert "Set-Cookie" not in response.headers
        assert await server.sessions.count() == 1
        assert (await browser.get("/wshttp/session")).code == 200


@pytest.mark.feature("L3")
async def test_login_of_a_client_without_a_session_starts_one(users_file: str, ada: tuple[str, str]) -> None:
    """Who logs in first of all gets a session with the user in it; one start."""
    server = server_of(users_file=users_file, session={"auto_start": False})
    starts: list[str | None] = []
    server.on_session_start(lambda session: starts.append(session.user))
    async with running(server) as base:
        browser = Browser(base)
        assert read_json(await browser.log_in(*ada))["user"] == "ada"
        assert read_json(await browser.get("/wshttp/session"))["user"] == "ada"
        assert starts == ["ada"]


@pytest.mark.feature("L3", "U5")
@pytest.mark.parametrize(
    ("user", "password"),
    [("ada", "wrong"), ("nobody", "wrong"), ("ada", "x" * 73), ("ada", ""), ("", ""), ("a:da", "x"), ("ada", "\x00")],
    ids=["password", "user", "73 bytes", "empty", "nothing", "colon", "control"],
)
async def test_login_that_fails_leaves_nothing(users_file: str, user: str, password: str) -> None:
    """Wrong credentials of any kind are 401 `bad-credentials`; no session, no cookie, no form of the browser's own."""
    server = server_of(users_file=users_file)
    async with running(server) as base:
        response = await Browser(base).log_in(user, password)
        assert problem(response) == (401, "bad-credentials")
        assert response.headers["WWW-Authenticate"] == "Session"
        assert "Set-Cookie" not in response.headers
        assert await server.sessions.count() == 0


@pytest.mark.feature("U5")
async def test_login_answers_alike_for_unknown_users_and_wrong_passwords(users_file: str) -> None:
    """Nothing in the answer tells whether there is such a user."""
    async with running(server_of(users_file=users_file)) as base:
        wrong, unknown = await Browser(base).log_in("ada", "x"), await Browser(base).log_in("eve", "x")
        assert wrong.body == unknown.body
        changing = {"Date"}
        assert {k: v for k, v in wrong.headers.get_all() if k not in changing} == {
            k: v for k, v in unknown.headers.get_all() if k not in changing
        }


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\xff", b'{"user": "ada"}', b'{"user": 1, "password": 2}',
        b'{"user": "ada", "password": null}', b"[" * 100_000, b'{"user": "' + b"a" * 9000 + b'", "password": "x"}',
    ],
    ids=["empty", "cut", "list", "null", "bytes", "no password", "numbers", "null password", "deep", "large"],
)  # fmt: skip
async def test_login_that_is_malformed_is_400(users_file: str, body: bytes) -> None:
    """What is neither a Basic header nor the JSON of a log-in is 400, and leaves nothing."""
    server = server_of(users_file=users_file)
    async with running(server) as base:
        assert problem(await Browser(base).post("/wshttp/login", body=body)) == (400, "bad-request")
        assert await server.sessions.count() == 0


@pytest.mark.feature("U1")
@pytest.mark.parametrize("header", ["Basic !", "Basic YWRh", basic("ada", "\x07"), "Basic " + "A" * 9000])
async def test_login_with_a_malformed_basic_header_is_401(users_file: str, header: str) -> None:
    """Not base64, no colon, control characters, oversized: 401, never a 500."""
    async with running(server_of(users_file=users_file)) as base:
        response = await Browser(base).post("/wshttp/login", headers={"Authorization": header})
        assert problem(response) == (401, "bad-credentials")


@pytest.mark.feature("U5", "M4")
async def test_login_is_throttled_with_retry_after(users_file: str, clock: FakeClock, ada: tuple[str, str]) -> None:
    """After some failures the next attempt has to wait, right or wrong, and is told how long; then it is let in."""
    async with running(server_of(clock, users_file, auth={"max_failures": 5})) as base:
        browser = Browser(base)
        codes = [(await browser.log_in("ada", f"guess {n}")).code for n in range(5)]
        response = await browser.log_in(*ada)
        assert codes[0] == 401
        assert problem(response) == (429, "too-many-requests")
        clock.advance(int(response.headers["Retry-After"]))
        assert (await browser.log_in(*ada)).code == 200


@pytest.mark.parametrize("identity", [["ip"], ["credentials"], ["credentials", "ip"], ["url"]])
async def test_login_where_nothing_can_hold_one_is_400_and_names_the_setting(
    users_file: str, ada: tuple[str, str], identity: list[str]
) -> None:
    """Without cookie and header identity a log-in is 400 and says which setting it needs."""
    async with running(server_of(users_file=users_file, session={"identity": identity})) as base:
        response = await Browser(base).log_in(*ada)
        assert problem(response) == (400, "bad-request")
        assert "session.identity" in read_json(response)["detail"]


async def test_login_where_there_are_no_users_is_401() -> None:
    """A server that cannot check any password lets nobody in, and says what it lacks."""
    async with running(server_of()) as base:
        response = await Browser(base).log_in("ada", "x")
        assert problem(response) == (401, "bad-credentials")
        assert "auth.users_file" in read_json(response)["detail"]


@pytest.mark.feature("I9")
@pytest.mark.parametrize("way", ["json", "basic"])
async def test_login_as_another_user_inherits_nothing(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str], way: str
) -> None:
    """A log-in over another user's session ends that with `replaced`, and begins an empty one of another ref."""
    server = server_of(users_file=users_file)
    ends: list[tuple[str, str | None, str]] = []
    server.on_session_end(lambda session, reason: ends.append((session.ref, session.user, reason)))

    @server.post("/secret")
    def secret(request: Any) -> None:
        request.session["secret"] = "ada's"

    async with running(server) as base:
        browser = Browser(base)
        first = read_json(await browser.log_in(*ada))["ref"]
        await browser.post("/secret")
        response = await (browser.log_in(*bob) if way == "json" else browser.post("/wshttp/login", login=bob))
        body = read_json(response)
        assert (body["user"], body["ref"] != first) == ("bob", True)
        await server.sessions.settled(5)
        assert ends == [(first, "ada", "replaced")]
        session = await server.sessions.get_by_ref(body["ref"])
        assert session is not None
        assert dict(session) == {}
        assert read_json(await browser.get("/wshttp/session"))["user"] == "bob"


async def test_login_again_as_the_same_user_keeps_the_session(users_file: str, ada: tuple[str, str]) -> None:
    """A re-authentication changes the token, and nothing else."""
    async with running(server_of(users_file=users_file)) as base:
        browser = Browser(base)
        first, token = read_json(await browser.log_in(*ada))["ref"], browser.cookies["wshttp"]
        assert read_json(await browser.log_in(*ada))["ref"] == first
        assert browser.cookies["wshttp"] != token


@pytest.mark.feature("M1", "E5")
async def test_login_over_the_limit_per_user_is_429_unless_the_application_lets_it_pass(
    users_file: str, ada: tuple[str, str]
) -> None:
    """A limit per user is 429 `limit-reached` with `Retry-After`; `on_limit_reached` may let it pass."""
    server = server_of(users_file=users_file, session={"max_sessions_per_user": 1, "on_limit": "refuse"})
    generous = []
    asked: list[tuple[str, int]] = []

    @server.on_limit_reached
    def limit_reached(limit: Any) -> bool | None:
        asked.append((limit.setting, limit.maximum))
        return True if generous else None

    async with running(server) as base:
        await Browser(base).log_in(*ada)
        response = await Browser(base).log_in(*ada)
        assert problem(response) == (429, "limit-reached")
        assert int(response.headers["Retry-After"]) > 0
        assert asked == [("session.max_sessions_per_user", 1)]
        generous.append(True)
        assert (await Browser(base).log_in(*ada)).code == 200


@pytest.mark.feature("U2")
async def test_hook_decides_before_the_file(users_file: str, ada: tuple[str, str]) -> None:
    """`on_authenticate` may accept with a user of its own, refuse, or leave it to the file; it sees the request."""
    from wshttp import User

    server = server_of(users_file=users_file)

    @server.on_authenticate
    async def authenticate(user: str, password: str, request: Any) -> Any:
        assert request.remote_ip == "127.0.0.1"
        return {"eve": User("Eve", ("guest",)), "bob": False}.get(user)

    async with running(server) as base:
        body = read_json(await Browser(base).log_in("eve", "anything"))
        assert (body["user"], body["roles"]) == ("Eve", ["guest"])
        assert problem(await Browser(base).log_in("bob", "battery staple")) == (401, "bad-credentials")
        assert read_json(await Browser(base).log_in(*ada))["user"] == "ada"


async def test_hook_that_fails_lets_nobody_in(users_file: str, ada: tuple[str, str]) -> None:
    """A hook that raises is 503: nobody knows whether the password is right."""
    server = server_of(users_file=users_file)

    @server.on_authenticate
    def authenticate(user: str, password: str, request: Any) -> None:
        raise RuntimeError

    async with running(server) as base:
        response = await Browser(base).log_in(*ada)
        assert problem(response) == (503, "store-unavailable")
        assert "Retry-After" in response.headers


# --- /sessions ----------------------------------------------------------------------------------


@pytest.mark.feature("A1", "A2", "A3")
async def test_user_sees_and_ends_own_sessions(users_file: str, ada: tuple[str, str], bob: tuple[str, str]) -> None:
    """`GET /sessions` lists those of the user, `DELETE /sessions/{ref}` ends one, `DELETE /sessions` all others."""
    server = server_of(users_file=users_file)
    ends: dict[str, str] = {}
    server.on_session_end(lambda session, reason: ends.__setitem__(session.ref, str(reason)))
    async with running(server) as base:
        here, there, away, stranger = Browser(base), Browser(base), Browser(base), Browser(base)
        refs = [read_json(await browser.log_in(*ada))["ref"] for browser in (here, there, away)]
        other = read_json(await stranger.log_in(*bob))["ref"]
        listed = read_json(await here.get("/wshttp/sessions"))["sessions"]
        assert {each["ref"]: each["current"] for each in listed} == {refs[0]: True, refs[1]: False, refs[2]: False}
        assert all(each.keys() == KEYS | {"current"} for each in listed)
        assert not any(browser.cookies["wshttp"] in str(listed) for browser in (here, there, away))

        assert (await here.delete(f"/wshttp/sessions/{refs[1]}")).code == 204
        assert problem(await here.delete(f"/wshttp/sessions/{refs[1]}")) == (404, "not-found")
        assert problem(await here.delete(f"/wshttp/sessions/{other}")) == (404, "not-found")
        assert problem(await here.delete("/wshttp/sessions/no-such")) == (404, "not-found")
        response = await here.delete("/wshttp/sessions")
        assert (response.code, read_json(response)) == (200, {"ended": 1})
        await server.sessions.settled(5)
        assert ends == {refs[1]: "logout", refs[2]: "logout"}
        assert (await here.get("/wshttp/session?touch=0")).code == 200
        assert (await stranger.get("/wshttp/session?touch=0")).code == 200

        own = await here.delete(f"/wshttp/sessions/{refs[0]}")
        assert own.code == 204
        assert here.cookies == {}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_sessions_are_for_users(method: str) -> None:
    """Without a session 401 `session-ended`, in an anonymous one 401 `bad-credentials`; never the browser's own form."""
    server = server_of()
    async with running(server) as base:
        browser = Browser(base)
        assert problem(await browser(method, "/wshttp/sessions")) == (401, "session-ended")
        assert await server.sessions.count() == 0
        await browser.get("/wshttp/session")
        response = await browser(method, "/wshttp/sessions")
        assert problem(response) == (401, "bad-credentials")
        assert response.headers["WWW-Authenticate"] == "Session"


# --- methods, names -----------------------------------------------------------------------------

METHODS = {
    "/session": "GET, POST, DELETE, HEAD, OPTIONS",
    "/session/touch": "POST, OPTIONS",
    "/sessions": "GET, DELETE, HEAD, OPTIONS",
    "/sessions/00": "DELETE, OPTIONS",
    "/login": "POST, OPTIONS",
    "/socket": "GET, HEAD, OPTIONS",
    "/health/live": "GET, HEAD, OPTIONS",
    "/health/ready": "GET, HEAD, OPTIONS",
    "/metrics": "GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize(("path", "allowed"), METHODS.items())
async def test_every_call_answers_options_and_refuses_other_methods(path: str, allowed: str) -> None:
    """OPTIONS is 204 with `Allow`, another method 405 with the same; neither starts a session."""
    server = server_of()
    async with running(server) as base:
        browser = Browser(base)
        options = await browser("OPTIONS", f"/wshttp{path}")
        assert (options.code, options.headers["Allow"], options.body) == (204, allowed, b"")
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} - set(allowed.split(", ")):
            refused = await browser(method, f"/wshttp{path}")
            assert (method, refused.code) == (method, 405)
            assert refused.headers["Allow"] == allowed
            assert refused.headers["Content-Type"] == "application/problem+json"
        assert await server.sessions.count() == 0


@pytest.mark.parametrize("path", ["/session", "/health/live", "/health/ready", "/metrics"])
async def test_head_answers_as_get_without_the_body(path: str) -> None:
    """HEAD has the status and the headers of GET, and no body."""
    async with running(server_of()) as base:
        browser = Browser(base)
        await browser.get("/wshttp/session")
        get, head = await browser.get(f"/wshttp{path}"), await browser("HEAD", f"/wshttp{path}")
        assert (head.code, head.body) == (get.code, b"")
        assert head.headers["Content-Type"] == get.headers["Content-Type"]
        assert int(head.headers["Content-Length"]) > 0


async def test_api_has_nothing_else() -> None:
    """An unknown call under the prefix is 404 `not-found`, for any method, and never the application's route."""
    server = server_of()
    server.get("/wshttp/mine")(lambda request: "mine")
    async with running(server) as base:
        for path in ("/wshttp/mine", "/wshttp/", "/wshttp/session/", "/wshttp/no/such"):
            for method in ("GET", "POST"):
                assert problem(await Browser(base)(method, path)) == (404, "not-found")
        assert await server.sessions.count() == 0


async def test_api_is_where_the_prefix_says() -> None:
    """`api.prefix` moves all calls; under the old one there is nothing."""
    async with running(server_of(api={"prefix": "/api/v1"})) as base:
        assert (await Browser(base).get("/api/v1/session")).code == 200
        assert (await Browser(base).get("/api/v1/health/live")).code == 200
        assert problem(await Browser(base).get("/wshttp/session")) == (404, "not-found")


@pytest.mark.feature("L1")
async def test_without_sessions_there_is_no_api_for_them(
    users_file: str, ada: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """`session.enabled: false` leaves health and metrics; routes work, and have no session."""
    server = server_of(users_file=users_file, session={"enabled": False}, auth={"protect": ["/private"]})
    server.get("/has")(lambda request: {"session": request.has_session})
    server.get("/private")(lambda request: {"user": request.user})
    server.get("/wants")(lambda request: dict(request.session))
    async with running(server) as base:
        browser = Browser(base)
        for call in ("/session", "/sessions", "/login", "/socket"):
            assert problem(await browser.get(f"/wshttp{call}")) == (404, "not-found")
        assert (await browser.get("/wshttp/health/ready")).code == 200
        response = await browser.get("/has")
        assert read_json(response) == {"session": False}
        assert "Set-Cookie" not in response.headers
        assert "Session-Expires-In" not in response.headers
        assert (await browser.get("/wants")).code == 500, "the program asks for what its settings rule out"
        assert "session.enabled is false" in caplog.text
        assert problem(await browser.get("/private")) == (401, "bad-credentials")
        assert read_json(await browser.get("/private", login=ada)) == {"user": "ada"}
        assert await server.sessions.count() == 0
