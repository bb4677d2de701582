"""Whose session is it: what requests present, which outranks which, and what the answer tells the client."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from browsing import Browser, problem, read_json
from serving import new_server, running, soon, until

from wshttp import Server, Session
from wshttp.sessions.ids import SessionId
from wshttp.testing import FakeClock

FORGED = "A" * 43
UNKNOWN = ["", "x", "A" * 42, FORGED, "A" * 44, "A" * 4000, "ip:127.0.0.1", "../../etc", "A" * 42 + "%", "ÄÖÜ"]


def server_of(clock: FakeClock | None = None, users_file: str | None = None, **sections: Any) -> Server:
    """A server that says which session a request has."""
    session = {"identity": ["cookie"]} | sections.pop("session", {})
    auth = {"users_file": users_file} | sections.pop("auth", {})
    server = new_server(clock, session=session, auth=auth, **sections)

    @server.get("/who")
    def who(request: Any) -> Any:
        session = request.session if request.has_session else None
        return {
            "ref": session.ref if session else None,  # an empty session is true, too
            "identity": session.identity if session else None,
            "of": session.user if session else None,
            "user": request.user,
        }

    server.post("/end")(lambda request: request.end_session())
    return server


def header(token: str) -> dict[str, str]:
    return {"Authorization": f"Session {token}"}


@pytest.mark.feature("L1")
async def test_client_without_a_session_is_told_how_to_get_one() -> None:
    """Only one that had none: whose session has ended, or whose token is unknown, is told that it is over."""
    server = server_of(session={"auto_start": False})

    @server.get("/need")
    def need(request: Any) -> str:
        return request.session.ref

    @server.post("/gone")
    async def gone(request: Any) -> str:
        await request.end_session()
        return request.session.ref

    def detail(response: Any) -> str:
        assert problem(response) == (401, "session-ended")
        return read_json(response)["detail"]

    async with running(server) as base:
        browser = Browser(base)
        assert detail(await browser.get("/need")) == "there is no session; POST /wshttp/session starts one"
        browser.cookies["wshttp"] = FORGED
        assert detail(await browser.get("/need")) == "the session has ended"
        assert detail(await Browser(base).get("/wshttp/session")).startswith("there is no session")
        await browser.post("/wshttp/session")
        assert (await browser.get("/need")).code == 200
        assert detail(await browser.post("/gone")) == "the session has ended"


# --- cookie -------------------------------------------------------------------------------------


@pytest.mark.feature("I5", "I1")
async def test_cookie_over_http_has_its_attributes() -> None:
    """HttpOnly, the whole host, SameSite; not Secure and without `__Host-`, which http cannot carry; 43 random letters."""
    async with running(server_of()) as base:
        cookie = (await Browser(base).get("/who")).headers["Set-Cookie"]
        token, _, attributes = cookie.removeprefix("wshttp=").partition("; ")
        assert len(token) == 43
        assert attributes == "Path=/; HttpOnly; SameSite=Lax"
        assert (await Browser(base).get("/who")).headers["Set-Cookie"] != cookie


@pytest.mark.feature("I5")
async def test_cookie_over_https_is_secure_and_of_this_host_only() -> None:
    """Over https the name begins with `__Host-` and the cookie is Secure; one planted under the bare name is not read."""
    server = server_of(server={"trusted_proxies": ["127.0.0.1"]})
    async with running(server) as base:
        browser = Browser(base, X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.1")
        response = await browser.get("/who")
        assert response.headers["Set-Cookie"].startswith("__Host-wshttp=")
        assert response.headers["Set-Cookie"].endswith("; Path=/; HttpOnly; Secure; SameSite=Lax")
        ref = read_json(response)["ref"]
        assert read_json(await browser.get("/who"))["ref"] == ref
        planted = Browser(base, X_Forwarded_Proto="https", Cookie=f"wshttp={browser.cookies['__Host-wshttp']}")
        assert read_json(await planted.get("/who"))["ref"] != ref
        plain = Browser(base, Cookie=f"__Host-wshttp={browser.cookies['__Host-wshttp']}")
        assert read_json(await plain.get("/who"))["ref"] != ref


@pytest.mark.feature("I5", "I7")
async def test_cookie_is_as_the_settings_say() -> None:
    """Name, prefix, SameSite, Secure and persistence are configurable; Max-Age follows the absolute time-out."""
    cookie = {"name": "sid", "prefix": "chat_", "same_site": "Strict", "secure": "on", "persistent": True}
    async with running(server_of(session={"cookie": cookie, "absolute_timeout": "2h"})) as base:
        line = (await Browser(base).get("/who")).headers["Set-Cookie"]
        assert line.startswith("__Host-chat_sid=")
        assert line.partition("; ")[2] == "Max-Age=7200; Path=/; HttpOnly; Secure; SameSite=Strict"


@pytest.mark.feature("I7")
async def test_two_applications_have_two_sessions_in_one_browser() -> None:
    """With a prefix each, two servers on one host leave each other's cookie alone."""
    one, two = (server_of(session={"cookie": {"prefix": prefix}}) for prefix in ("one_", "two_"))
    async with running(one) as first, running(two) as second:
        browser = Browser(first)
        refs = []
        for base in (first, second, first, second):
            browser.base = base
            refs.append(read_json(await browser.get("/who"))["ref"])
        assert refs[0] == refs[2] != refs[1] == refs[3]
        assert browser.cookies.keys() == {"one_wshttp", "two_wshttp"}


@pytest.mark.feature("I2", "I1")
@pytest.mark.parametrize("value", UNKNOWN, ids=lambda value: repr(value[:12]) + str(len(value)))
async def test_unknown_cookie_is_never_adopted(value: str) -> None:
    """What no server made is expired and treated as none: a new token, never the one presented."""
    server = server_of()
    async with running(server) as base:
        response = await Browser(base, Cookie=f"wshttp={value}").get("/who")
        assert response.code == 200
        [cookie] = response.headers.get_list("Set-Cookie")
        assert not cookie.startswith(f"wshttp={value};")
        assert await server.sessions.count() == 1


@pytest.mark.parametrize("value", UNKNOWN, ids=lambda value: repr(value[:12]) + str(len(value)))
async def test_unknown_cookie_is_expired_where_none_is_started(value: str) -> None:
    """Without a new session the browser is told to forget the cookie."""
    server = server_of(session={"auto_start": False})
    async with running(server) as base:
        response = await Browser(base, Cookie=f"wshttp={value}").get("/who")
        assert read_json(response)["ref"] is None
        assert response.headers.get_list("Set-Cookie") == ["wshttp=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"]
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.feature("I2")
async def test_id_that_the_application_chose_cannot_be_presented() -> None:
    """Kinds of ids never match each other: a client that names an application's id gets a session of its own."""
    server = server_of()
    async with running(server) as base:
        chosen = await server.sessions.create("A" * 43, remote_ip="127.0.0.1")
        assert read_json(await Browser(base, Cookie=f"wshttp={FORGED}").get("/who"))["ref"] != chosen.ref
        assert await server.sessions.get(FORGED) is chosen


@pytest.mark.feature("I10")
async def test_several_cookies_of_one_name_are_all_tried() -> None:
    """The live one is found wherever it stands; unknown ones are expired where they may be, and the live one is kept."""
    server = server_of()
    async with running(server) as base:
        browser = Browser(base)
        ref = read_json(await browser.get("/who"))["ref"]
        token = browser.cookies["wshttp"]
        for line in (f"wshttp=x; wshttp={token}", f"wshttp={token}; wshttp={FORGED}", f'other=1; wshttp="{token}"'):
            response = await Browser(base, Cookie=line).get("/who")
            assert read_json(response)["ref"] == ref
            told = response.headers.get_list("Set-Cookie")
            assert all("Max-Age=0" in cookie and ("Domain=" in cookie) for cookie in told)
            assert bool(told) == ("wshttp=x" in line or FORGED in line)
        assert await server.sessions.count() == 1


async def test_two_cookies_of_one_name_do_not_make_an_answer_400() -> None:
    """Of two live cookies of one name the first counts, as browsers send the most specific first."""
    server = server_of()
    async with running(server) as base:
        one, two = Browser(base), Browser(base)
        refs = [read_json(await browser.get("/who"))["ref"] for browser in (one, two)]
        both = Browser(base, Cookie=f"wshttp={one.cookies['wshttp']}; wshttp={two.cookies['wshttp']}")
        assert read_json(await both.get("/who"))["ref"] == refs[0]


# --- header and URL -----------------------------------------------------------------------------


@pytest.mark.feature("I6")
async def test_header_client_is_given_its_token_once(users_file: str, ada: tuple[str, str]) -> None:
    """`Session-Token` comes when the token is made, with `no-store`, and not again; a log-in gives another."""
    server = server_of(users_file=users_file, session={"identity": ["header"]})
    async with running(server) as base:
        first = await Browser(base).get("/who")
        token = first.headers["Session-Token"]
        assert first.headers["Cache-Control"] == "no-store"
        assert "Set-Cookie" not in first.headers
        second = await Browser(base).get("/who", headers=header(token))
        assert read_json(second)["ref"] == read_json(first)["ref"]
        assert "Session-Token" not in second.headers
        assert "Cache-Control" not in second.headers
        login = await Browser(base).post(
            "/wshttp/login", headers=header(token), json={"user": ada[0], "password": ada[1]}
        )
        assert login.headers["Session-Token"] != token
        late = await Browser(base).get("/who", headers=header(token))
        assert problem(late) == (401, "session-ended")
        assert (await Browser(base).get("/who", headers=header(login.headers["Session-Token"]))).code == 200


@pytest.mark.feature("I6", "I2")
@pytest.mark.parametrize("value", [*UNKNOWN, "two words"], ids=lambda value: repr(value[:12]) + str(len(value)))
async def test_unknown_header_token_is_401(value: str) -> None:
    """In a header an unknown token is 401 `session-ended`, and starts nothing."""
    server = server_of(session={"identity": ["header"]})
    async with running(server) as base:
        response = await Browser(base).get("/who", headers=header(value))
        assert problem(response) == (401, "session-ended")
        assert response.headers["WWW-Authenticate"] == "Session"
        assert await server.sessions.count() == 0


@pytest.mark.feature("I6", "C2")
async def test_ended_header_token_is_401_with_the_reason() -> None:
    """As long as the tombstone stands, the client learns why."""
    server = server_of(session={"identity": ["header"]})
    async with running(server) as base:
        token = (await Browser(base).get("/who")).headers["Session-Token"]
        await Browser(base).post("/end", headers=header(token))
        response = await Browser(base).get("/who", headers=header(token))
        assert (problem(response), read_json(response)["reason"]) == ((401, "session-ended"), "logout")


@pytest.mark.feature("I6")
async def test_header_of_another_name_carries_the_bare_token() -> None:
    """`session.header.name` names the header; then `Authorization` is free for others."""
    server = server_of(session={"identity": ["header"], "header": {"name": "X-Session"}})
    async with running(server) as base:
        first = await Browser(base).get("/who")
        token = first.headers["Session-Token"]
        again = await Browser(base).get("/who", headers={"X-Session": token, "Authorization": "Session nonsense"})
        assert read_json(again)["ref"] == read_json(first)["ref"]
        assert problem(await Browser(base).get("/who", headers={"X-Session": "x"})) == (401, "session-ended")


@pytest.mark.feature("I6")
async def test_url_token_works_only_where_it_is_listed() -> None:
    """`url` is off by default; where it is on, answers keep the address from other sites."""
    server = server_of(session={"identity": ["header", "url"]})
    async with running(server) as base:
        first = await Browser(base).get("/who")
        token = first.headers["Session-Token"]
        again = await Browser(base).get(f"/who?session={token}")
        assert read_json(again)["ref"] == read_json(first)["ref"]
        assert again.headers["Referrer-Policy"] == "no-referrer"
        assert problem(await Browser(base).get("/who?session=nonsense")) == (401, "session-ended")
    server = server_of()
    async with running(server) as base:
        browser = Browser(base)
        ref = read_json(await browser.get("/who"))["ref"]
        response = await Browser(base).get(f"/who?session={browser.cookies['wshttp']}")
        assert read_json(response)["ref"] != ref
        assert "Referrer-Policy" not in response.headers


@pytest.mark.feature("I6")
async def test_only_url_identity_starts_sessions_too() -> None:
    """The order of new sessions ends with `url`: its token is given as for headers."""
    async with running(server_of(session={"identity": ["url"]})) as base:
        first = await Browser(base).get("/who")
        again = await Browser(base).get(f"/who?session={first.headers['Session-Token']}")
        assert read_json(again)["ref"] == read_json(first)["ref"]


# --- two at once --------------------------------------------------------------------------------


async def test_cookie_and_header_that_name_two_sessions_are_400() -> None:
    """Two live sessions in one request are 400 and change neither; the same one twice is fine."""
    server = server_of(session={"identity": ["cookie", "header"]})
    async with running(server) as base:
        one, two = Browser(base), Browser(base)
        first = read_json(await one.get("/who"))["ref"]
        await two.get("/who")
        response = await one.get("/who", headers=header(two.cookies["wshttp"]))
        assert problem(response) == (400, "bad-request")
        assert read_json(await one.get("/who", headers=header(one.cookies["wshttp"])))["ref"] == first
        assert await server.sessions.count() == 2


async def test_dead_token_beside_a_live_one() -> None:
    """A dead cookie is expired beside a live header; a dead header is 401 beside a live cookie, which stays alive."""
    server = server_of(session={"identity": ["cookie", "header"]})
    async with running(server) as base:
        browser = Browser(base)
        ref = read_json(await browser.get("/who"))["ref"]
        assert problem(await browser.get("/who", headers=header(FORGED))) == (401, "session-ended")
        assert read_json(await browser.get("/who"))["ref"] == ref
        assert await server.sessions.count() == 1
        mixed = Browser(base, Cookie=f"wshttp={FORGED}")
        assert read_json(await mixed.get("/who", headers=header(browser.cookies["wshttp"])))["ref"] == ref


# --- ip -----------------------------------------------------------------------------------------


@pytest.mark.feature("I3")
async def test_ip_session_is_of_the_address() -> None:
    """All clients of one address, or one IPv6 prefix, share a session; it comes without a token."""
    server = server_of(session={"identity": ["ip"]}, server={"trusted_proxies": ["127.0.0.1"]})
    async with running(server) as base:

        async def ref(address: str) -> str:
            response = await Browser(base, X_Forwarded_For=address).get("/who")
            assert "Set-Cookie" not in response.headers
            assert "Session-Token" not in response.headers
            body = read_json(response)
            assert (body["identity"], body["of"]) == ("ip", None)
            return str(body["ref"])

        assert await ref("192.0.2.1") == await ref("192.0.2.1") == await ref("::ffff:192.0.2.1")
        assert await ref("192.0.2.1") != await ref("192.0.2.2")
        assert await ref("2001:db8::1") == await ref("2001:db8::2")
        assert await ref("2001:db8::1") != await ref("2001:db8:0:1::1")


@pytest.mark.feature("I3")
async def test_parallel_first_requests_of_an_address_make_one_session() -> None:
    """Twenty first requests at once get one session with one start, and none is answered before it has run."""
    server = server_of(session={"identity": ["ip"]})
    started, release = asyncio.Event(), asyncio.Event()
    starts: list[str] = []

    @server.on_session_start
    async def start(session: Session) -> None:
        starts.append(session.ref)
        started.set()
        await release.wait()

    async with running(server) as base:
        asked = [asyncio.create_task(Browser(base).get("/who")) for _ in range(20)]
        await soon(started.wait())
        counts = server._network.counts
        await until(lambda: counts.open == 20)
        assert not any(each.done() for each in asked)
        release.set()
        refs = {read_json(response)["ref"] for response in await soon(asyncio.gather(*asked))}
        assert refs == set(starts)
        assert len(starts) == 1


@pytest.mark.feature("I3")
async def test_ip_session_that_ends_is_followed_by_another() -> None:
    """Ending it ends it for all behind the address, and the next request starts another."""
    async with running(server_of(session={"identity": ["ip"]})) as base:
        first = read_json(await Browser(base).get("/who"))["ref"]
        await Browser(base).post("/end")
        assert read_json(await Browser(base).get("/who"))["ref"] not in (first, None)


@pytest.mark.feature("I3", "U3")
async def test_ip_session_never_carries_a_user(users_file: str, ada: tuple[str, str]) -> None:
    """With the default identities a log-in makes a cookie session, and the address' own stays anonymous."""
    server = server_of(users_file=users_file, session={"identity": ["credentials", "cookie", "ip"]})
    async with running(server) as base:
        anonymous = read_json(await Browser(base).get("/who"))
        assert anonymous["identity"] == "ip"
        browser = Browser(base)
        await browser.log_in(*ada)
        body = read_json(await browser.get("/who"))
        assert (body["identity"], body["of"], body["ref"] != anonymous["ref"]) == ("cookie", "ada", True)
        assert read_json(await Browser(base).get("/who")) == anonymous


# --- credentials --------------------------------------------------------------------------------


@pytest.mark.feature("I4")
async def test_credentials_session_is_of_user_version_and_address(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str]
) -> None:
    """The same user at the same address finds the same session, checked each time; another address or user another."""
    server = server_of(
        users_file=users_file, session={"identity": ["credentials"]}, server={"trusted_proxies": ["127.0.0.1"]}
    )
    async with running(server) as base:

        async def ask(login: tuple[str, str], address: str = "192.0.2.1") -> Any:
            response = await Browser(base, X_Forwarded_For=address).get("/who", login=login)
            assert "Set-Cookie" not in response.headers
            assert "Session-Token" not in response.headers
            return read_json(response)

        first = await ask(ada)
        assert (first["identity"], first["of"], first["user"]) == ("credentials", "ada", "ada")
        assert await ask(ada) == first
        refs = {first["ref"], (await ask(ada, "192.0.2.2"))["ref"], (await ask(bob))["ref"]}
        assert len(refs) == 3
        wrong = await Browser(base, X_Forwarded_For="192.0.2.1").get("/who", login=("ada", "wrong"))
        assert problem(wrong) == (401, "bad-credentials")


@pytest.mark.feature("I4")
async def test_client_without_a_password_has_no_credentials_session(users_file: str) -> None:
    """Where sessions are for users only, an anonymous request is 401 `bad-credentials`."""
    server = server_of(users_file=users_file, session={"identity": ["credentials"]})
    async with running(server) as base:
        response = await Browser(base).get("/who")
        assert problem(response) == (401, "bad-credentials")
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
        assert await server.sessions.count() == 0


@pytest.mark.feature("I4")
async def test_verified_password_outranks_an_anonymous_session(users_file: str, ada: tuple[str, str]) -> None:
    """With an anonymous cookie and a right password the request has the user's session, and the cookie is left alone."""
    server = server_of(users_file=users_file, session={"identity": ["credentials", "cookie"]})
    async with running(server) as base:
        browser = Browser(base)
        anonymous = read_json(await browser.get("/who"))["ref"]
        response = await browser.get("/who", login=ada)
        assert read_json(response)["of"] == "ada"
        assert read_json(response)["ref"] != anonymous
        assert "Set-Cookie" not in response.headers
        assert read_json(await browser.get("/who"))["ref"] == anonymous


async def test_password_beside_a_session_of_the_same_user_uses_that_session(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str]
) -> None:
    """Basic with a cookie session of the same user: that session; of another user: 401."""
    server = server_of(users_file=users_file, session={"identity": ["credentials", "cookie"]})
    async with running(server) as base:
        browser = Browser(base)
        ref = read_json(await browser.log_in(*ada))["ref"]
        assert read_json(await browser.get("/who", login=ada))["ref"] == ref
        assert problem(await browser.get("/who", login=bob)) == (401, "bad-credentials")


async def test_password_with_an_anonymous_cookie_finds_the_session_again(users_file: str, ada: tuple[str, str]) -> None:
    """A verified password outranks an anonymous session: at the first request, which starts a session, and at all later ones."""
    server = server_of(users_file=users_file, session={"identity": ["credentials", "cookie"]})
    async with running(server) as base:
        browser = Browser(base)
        anonymous = read_json(await browser.get("/who"))
        found = [read_json(await browser.get("/who", login=ada)) for _ in range(3)]
        assert len({each["ref"] for each in found}) == 1
        assert found[0] == {"ref": found[0]["ref"], "identity": "credentials", "of": "ada", "user": "ada"}
        assert read_json(await browser.get("/who"))["ref"] == anonymous["ref"]


async def test_password_without_credentials_identity_leaves_the_session_anonymous(
    users_file: str, ada: tuple[str, str]
) -> None:
    """Where `credentials` is not listed, Basic says who asks, and the session stays as it is."""
    async with running(server_of(users_file=users_file)) as base:
        browser = Browser(base)
        ref = read_json(await browser.get("/who"))["ref"]
        body = read_json(await browser.get("/who", login=ada))
        assert body == {"ref": ref, "identity": "cookie", "of": None, "user": "ada"}


# --- what starts one ----------------------------------------------------------------------------


@pytest.mark.feature("L2", "L3")
async def test_only_routes_and_get_session_start_one() -> None:
    """Never static files, health, metrics, unknown paths, OPTIONS, or a method that is not there."""
    server = server_of()
    server.get("/quiet", auto_start=False)(lambda request: {"session": request.has_session})
    async with running(server) as base:
        browser = Browser(base)
        for path in ("/", "/index.css", "/nothing", "/wshttp/health/live", "/wshttp/health/ready", "/wshttp/metrics"):
            response = await browser.get(path)
            assert "Set-Cookie" not in response.headers
            assert "Session-Expires-In" not in response.headers
        assert read_json(await browser.get("/quiet")) == {"session": False}
        await browser("OPTIONS", "/who")
        assert (await browser.post("/who")).code == 405
        assert await server.sessions.count() == 0
        await browser("HEAD", "/who")
        assert await server.sessions.count() == 1


@pytest.mark.feature("L2")
async def test_route_starts_one_where_the_server_does_not() -> None:
    """`auto_start=True` on a route overrides the setting; `start_session` does it by hand, once."""
    server = server_of(session={"auto_start": False})
    server.get("/start", auto_start=True)(lambda request: {"ref": request.session.ref})

    @server.post("/by-hand")
    async def by_hand(request: Any) -> Any:
        return [request.has_session, (await request.start_session()).ref, (await request.start_session()).ref]

    async with running(server) as base:
        browser = Browser(base)
        assert read_json(await browser.get("/who"))["ref"] is None
        ref = read_json(await browser.get("/start"))["ref"]
        assert read_json(await browser.get("/who"))["ref"] == ref
        other = Browser(base)
        had, first, second = read_json(await other.post("/by-hand"))
        assert (had, first == second, first != ref) == (False, True, True)
        assert read_json(await other.get("/who"))["ref"] == first


@pytest.mark.feature("M1")
async def test_limits_on_sessions_are_503_and_429_and_spare_files() -> None:
    """A limit in all is 503, one per address 429, both with `Retry-After`; files are served regardless."""
    for setting, status in (("max_sessions", 503), ("max_sessions_per_ip", 429)):
        server = server_of(session={setting: 1, "on_limit": "refuse"})
        async with running(server) as base:
            await Browser(base).get("/who")
            response = await Browser(base).get("/who")
            assert problem(response) == (status, "limit-reached")
            assert int(response.headers["Retry-After"]) > 0
            assert f"session.{setting}" in read_json(response)["detail"]
            assert (await Browser(base).get("/index.html")).code == 200
            assert (await Browser(base).get("/wshttp/health/ready")).code == 200


@pytest.mark.feature("M1")
async def test_limit_ends_the_longest_idle_anonymous_session(users_file: str, ada: tuple[str, str]) -> None:
    """`oldest` makes room at the cost of an anonymous session, never of a logged-in one."""
    server = server_of(users_file=users_file, session={"max_sessions": 2})
    async with running(server) as base:
        user, first, second = Browser(base), Browser(base), Browser(base)
        await user.log_in(*ada)
        await first.get("/who")
        await second.get("/who")
        gone = await first.get("/wshttp/session?touch=0")
        assert (problem(gone), read_json(gone)["reason"]) == ((401, "session-ended"), "limit")
        assert (await user.get("/wshttp/session?touch=0")).code == 200
        await Browser(base).log_in("bob", "battery staple")
        assert problem(await Browser(base).get("/who")) == (503, "limit-reached")


@pytest.mark.feature("E5")
async def test_limit_may_be_let_pass_by_the_application() -> None:
    """`on_limit_reached` that returns True lets this one session pass, and nobody has to go."""
    server = server_of(session={"max_sessions": 1})
    asked: list[Any] = []
    server.on_limit_reached(lambda limit: asked.append((limit.setting, limit.maximum)) or True)
    async with running(server) as base:
        one, two = Browser(base), Browser(base)
        assert [(await browser.get("/who")).code for browser in (one, two)] == [200, 200]
        assert asked == [("session.max_sessions", 1)]
        assert (await one.get("/wshttp/session?touch=0")).code == 200


@pytest.mark.feature("E3")
async def test_application_may_refuse_or_give_another_session() -> None:
    """`on_session_creating` that returns False is 403; a session of its own is used instead."""
    server = server_of()
    answer: list[Any] = [False]
    server.on_session_creating(lambda draft: answer[0])
    async with running(server) as base:
        assert problem(await Browser(base).get("/who")) == (403, "forbidden")
        answer[0] = None
        shared = await server.sessions.create("shared", remote_ip="127.0.0.1")
        answer[0] = shared
        assert read_json(await Browser(base).get("/who"))["ref"] == shared.ref


# --- ended ids ----------------------------------------------------------------------------------


async def ended(browser: Browser) -> str:
    """Start a session and end it; the browser still has the cookie. Returns the token."""
    await browser.get("/who")
    token = browser.cookies["wshttp"]
    await browser.post("/end")
    browser.cookies["wshttp"] = token
    return token


@pytest.mark.feature("E4")
async def test_application_hears_of_ended_and_unknown_ids() -> None:
    """`on_invalid_session` gets the request and the reason, or None where nobody knows; once per request."""
    server = server_of()
    heard: list[tuple[str, str | None]] = []
    server.on_invalid_session(lambda request, reason: heard.append((request.path, reason)))
    async with running(server) as base:
        browser = Browser(base)
        await ended(browser)
        assert (await browser.get("/who")).code == 200
        assert heard == [("/who", "logout")]
        await Browser(base, Cookie=f"wshttp={FORGED}").get("/who")
        assert heard[1:] == [("/who", None)]
        await Browser(base).get("/who")
        await browser.get("/who")
        assert len(heard) == 2


@pytest.mark.feature("E4")
@pytest.mark.parametrize("identity", ["cookie", "header"])
async def test_application_may_stop_the_request_of_an_ended_id(identity: str) -> None:
    """`False` is 401 `session-ended` with the reason, and starts nothing."""
    server = server_of(session={"identity": [identity]})
    server.on_invalid_session(lambda request, reason: False)
    async with running(server) as base:
        browser = Browser(base)
        if identity == "cookie":
            await ended(browser)
        else:
            browser.headers = header((await browser.get("/who")).headers["Session-Token"])
            await browser.post("/end")
        response = await browser.get("/who")
        assert (problem(response), read_json(response)["reason"]) == ((401, "session-ended"), "logout")
        assert await server.sessions.count() == 0


@pytest.mark.feature("E4", "L12")
@pytest.mark.parametrize("identity", ["cookie", "header"])
async def test_application_may_restart_an_ended_session_as_it_was_started(identity: str) -> None:
    """`True` starts another session, of another ref and token, with the old one's start parameters, and no data of it."""
    server = server_of(session={"identity": [identity], "auto_start": False})
    server.on_invalid_session(lambda request, reason: True)
    drafts: list[Any] = []

    @server.on_session_creating
    def creating(draft: Any) -> None:
        drafts.append(dict(draft.start))
        draft.start.setdefault("shop", "berlin")

    @server.get("/shop")
    async def shop(request: Any) -> Any:
        session = await request.start_session()
        session["basket"] = session.get("basket", 0) + 1
        return [session.ref, session.start_parameters, session["basket"]]

    async with running(server) as base:
        browser = Browser(base)
        response = await browser.get("/shop")
        first = read_json(response)
        old = browser.cookies.get("wshttp")
        if identity == "header":
            old = response.headers["Session-Token"]
            browser.headers = header(old)
        await browser.post("/end")
        if identity == "cookie":
            browser.cookies["wshttp"] = str(old)
        response = await browser.get("/shop")
        second = read_json(response)
        assert second[0] != first[0]
        assert second[1:] == [{"shop": "berlin"}, 1]
        assert drafts == [{}, {"shop": "berlin"}]
        assert old not in (browser.cookies.get("wshttp"), response.headers.get("Session-Token"))


# --- drift --------------------------------------------------------------------------------------


@pytest.mark.feature("I8")
@pytest.mark.parametrize(
    ("policy", "address", "used", "logged"),
    [
        ("off", "198.51.100.1", True, False),
        ("log", "198.51.100.1", True, True),
        ("prefix", "198.51.100.1", False, True),
        ("strict", "198.51.100.1", False, True),
        ("strict", "192.0.2.1", True, False),
    ],
)
async def test_session_used_from_another_address(
    caplog: pytest.LogCaptureFixture, policy: str, address: str, used: bool, logged: bool
) -> None:
    """What a new address means is policy: nothing, a line in the log, or a refusal."""
    caplog.set_level("WARNING", "wshttp.sessions")
    server = server_of(session={"drift": {"ip": policy}}, server={"trusted_proxies": ["127.0.0.1"]})
    async with running(server) as base:
        browser = Browser(base, X_Forwarded_For="192.0.2.1")
        ref = read_json(await browser.get("/who"))["ref"]
        caplog.clear()
        browser.headers["X-Forwarded-For"] = address
        assert (read_json(await browser.get("/who"))["ref"] == ref) is used
        assert any("another address" in line for line in caplog.messages) is (logged and policy != "off")


@pytest.mark.feature("I8")
async def test_session_used_from_the_same_prefix_is_let_in_by_prefix_and_not_by_strict() -> None:
    """`prefix` takes an IPv6 network for one client, `strict` does not."""
    for policy, same in (("prefix", True), ("strict", False)):
        server = server_of(session={"drift": {"ip": policy}}, server={"trusted_proxies": ["127.0.0.1"]})
        async with running(server) as base:
            browser = Browser(base, X_Forwarded_For="2001:db8::1")
            ref = read_json(await browser.get("/who"))["ref"]
            browser.headers["X-Forwarded-For"] = "2001:db8::2"
            assert (read_json(await browser.get("/who"))["ref"] == ref) is same


@pytest.mark.feature("I8")
@pytest.mark.parametrize(
    ("policy", "browser", "used"),
    [
        ("off", "Other/1", True),
        ("log", "Other/1", True),
        ("prefix", "Mozilla/6.1", True),
        ("prefix", "Other/1", False),
        ("strict", "Mozilla/6.1", False),
    ],
)
async def test_session_used_with_another_browser(policy: str, browser: str, used: bool) -> None:
    """The same policies for the user agent; for `prefix` a new version is the same browser."""
    async with running(server_of(session={"drift": {"user_agent": policy}})) as base:
        client = Browser(base, User_Agent="Mozilla/5.0")
        ref = read_json(await client.get("/who"))["ref"]
        client.headers["User-Agent"] = browser
        assert (read_json(await client.get("/who"))["ref"] == ref) is used


@pytest.mark.feature("I8")
@pytest.mark.parametrize("policy", ["prefix", "strict"])
async def test_client_that_drift_refuses_does_not_keep_the_session_alive(clock: FakeClock, policy: str) -> None:
    """A stolen token that is refused moves no deadline; its owner finds the session untouched."""
    server = server_of(clock, session={"drift": {"ip": policy}}, server={"trusted_proxies": ["127.0.0.1"]})
    async with running(server) as base:
        owner = Browser(base, X_Forwarded_For="192.0.2.1")
        await owner.get("/who")
        clock.advance(600)
        thief = Browser(base, X_Forwarded_For="203.0.113.1")
        thief.cookies = dict(owner.cookies)
        await thief.get("/who")
        assert read_json(await owner.get("/wshttp/session?touch=0"))["expires_in"] == 600
        assert read_json(await owner.get("/wshttp/session"))["expires_in"] == 1200


# --- activity -----------------------------------------------------------------------------------


@pytest.mark.feature("L5", "L8")
async def test_request_counts_as_activity_only_where_the_policy_says(clock: FakeClock) -> None:
    """With `http` in `session.touch` a request moves the deadline; without it, it does not."""
    for touch, left in ((["http"], 1200), (["message"], 1100)):
        async with running(server_of(clock, session={"touch": touch})) as base:
            browser = Browser(base)
            await browser.get("/who")
            clock.advance(100)
            assert (await browser.get("/who")).headers["Session-Expires-In"] == str(left)


@pytest.mark.feature("L10", "L5")
async def test_clock_that_is_set_back_ends_nothing_early_or_late(clock: FakeClock) -> None:
    """Life is measured on the monotonic clock; the calendar may jump."""
    async with running(server_of(clock)) as base:
        browser = Browser(base)
        ref = read_json(await browser.get("/who"))["ref"]
        for jump in (-10 * 86400, 20 * 86400):
            clock.jump(jump)
            assert read_json(await browser.get("/who"))["ref"] == ref
        clock.advance(1201)
        assert read_json(await browser.get("/who"))["ref"] != ref


@pytest.mark.feature("E4")
@pytest.mark.parametrize("identity", ["cookie", "header"])
async def test_restarted_session_is_of_the_kind_that_was_presented(identity: str) -> None:
    """A cookie for a cookie, a header for a header, also where the client's address has a session already."""
    server = server_of(session={"identity": ["ip", "cookie", "header"]})
    server.on_invalid_session(lambda request, reason: True)
    async with running(server) as base:
        assert read_json(await Browser(base).get("/who"))["identity"] == "ip"
        created = await server.sessions.create(remote_ip="127.0.0.1", identity=identity, start={"shop": "berlin"})
        assert created.id is not None
        await server.sessions.end(created)
        browser = Browser(base)
        if identity == "cookie":
            browser.cookies["wshttp"] = created.id.value
        else:
            browser.headers = header(created.id.value)
        response = await browser.get("/who")
        assert read_json(response)["identity"] == identity
        token = browser.cookies["wshttp"] if identity == "cookie" else response.headers["Session-Token"]
        session = await server.sessions.get(SessionId.presented_token(token) or "")
        assert session is not None
        assert session.start_parameters == {"shop": "berlin"}
        assert (session.ref == created.ref, await server.sessions.count()) == (False, 2)
