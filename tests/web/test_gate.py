"""What every request passes before its handler runs: address, host, origin, protection."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import Browser, basic, problem, read_json
from serving import new_server, raw, refusal, running
from tornado.web import RequestHandler

from wshttp import Server
from wshttp.testing import FakeClock


def server_of(clock: FakeClock | None = None, **sections: Any) -> Server:
    """A server with one route for everything, which says what it was asked."""
    session = {"identity": ["cookie"]} | sections.pop("session", {})
    server = new_server(clock, session=session, **sections)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        server.route(method, "/{rest:path}")(lambda request: {"path": request.path, "user": request.user})
    return server


# --- cross-site requests ------------------------------------------------------------------------

FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Origin": "BASE.evil.example"},
    {"Origin": "garbage"},
    {"Origin": "http://["},
    {"Origin": "BASE["},
    {"Origin": "BASE/"},
    {"Origin": "http://BASE"},
    {"Origin": ""},
]


@pytest.mark.feature("U6")
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_unsafe_method_of_another_site_is_refused(headers: dict[str, str]) -> None:
    """Every method that may change something is 403 from another site: for routes, the API and Tornado handlers."""
    server = server_of()
    ran: list[str] = []

    class Plain(RequestHandler):
        def post(self) -> None:
            ran.append("post")

    server.application.add_site_handlers([("/plain", Plain)])
    async with running(server) as base:
        browser = Browser(base)
        headers = {name: value.replace("BASE", base) for name, value in headers.items()}
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert problem(await browser(method, "/x", headers=headers)) == (403, "forbidden")
        for path in ("/wshttp/session", "/wshttp/login", "/plain", "/wshttp/metrics"):
            assert problem(await browser.post(path, headers=headers)) == (403, "forbidden")
        assert (await refusal(base, "/wshttp/socket", additional_headers=headers)).status_code == 403
        assert await server.sessions.count() == 0
        assert ran == []


@pytest.mark.feature("U6")
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_safe_method_of_another_site_passes(headers: dict[str, str]) -> None:
    """A link from another site works: GET, HEAD and OPTIONS change nothing."""
    async with running(server_of()) as base:
        assert (await Browser(base).get("/x", headers=headers)).code == 200
        assert (await Browser(base)("HEAD", "/x", headers=headers)).code == 200
        assert (await Browser(base)("OPTIONS", "/x", headers=headers)).code == 204


@pytest.mark.feature("U6")
async def test_unsafe_method_of_the_own_site_passes() -> None:
    """The own origin and no such header at all pass; `websocket.allowed_origins` holds for handshakes only."""
    server = server_of(websocket={"allowed_origins": ["https://friend.example"]})
    async with running(server) as base:
        passing: list[dict[str, str]] = [
            {},
            {"Origin": base},
            {"Origin": base, "Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},
        ]
        for headers in passing:
            assert (await Browser(base).post("/x", headers=headers)).code == 200
        friend = {"Origin": "https://friend.example", "Sec-Fetch-Site": "cross-site"}
        for headers in (friend, {"Origin": "https://friend.example"}):
            assert problem(await Browser(base).post("/x", headers=headers)) == (403, "forbidden")


# --- hosts --------------------------------------------------------------------------------------


@pytest.mark.feature("U6")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9", 200),
        ("127.8.8.8", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("app.localhost", 200),
        ("[::1]:80", 200),
        ("named.example:8080", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("192.0.2.1", 403),
        ("0.0.0.0", 403),
    ],
)
async def test_foreign_host_is_refused_where_only_loopback_is_served(host: str, status: int) -> None:
    """DNS rebinding: on loopback the Host is a loopback name or one of `server.allowed_hosts`; files are no exception."""
    server = server_of(server={"allowed_hosts": ["named.example"]})
    async with running(server) as base:
        for path in ("/x", "/wshttp/session?touch=0", "/"):
            async with raw(base) as connection:
                connection.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                got = int((await connection.until(b"\r\n")).split()[1])
                assert (got == 403) == (status == 403)


@pytest.mark.feature("U6")
async def test_foreign_host_is_refused_by_default() -> None:
    """Without any setting a server on loopback answers to loopback names only."""
    async with running(server_of()) as base:
        assert problem(await Browser(base, Host="evil.example").get("/x")) == (403, "forbidden")
        assert (await Browser(base, Host="localhost").get("/x")).code == 200


async def test_health_is_answered_under_any_host() -> None:
    """A load balancer asks by address; health tells nothing worth a rebinding."""
    async with running(server_of()) as base, raw(base) as connection:
        connection.send(b"GET /wshttp/health/live HTTP/1.1\r\nHost: 10.0.0.7\r\n\r\n")
        assert b" 200 " in await connection.until(b"\r\n")


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.feature("M4")
async def test_too_many_requests_are_429_with_retry_after(clock: FakeClock) -> None:
    """Requests per second and address, with a burst; 429 `too-many-requests` says when to come back, and then it works."""
    server = server_of(clock, rate={"requests_per_second": 0.5, "burst": 2})
    async with running(server) as base:
        browser = Browser(base)
        assert [(await browser.get(path)).code for path in ("/x", "/wshttp/session")] == [200, 200]
        response = await browser.get("/x")
        assert problem(response) == (429, "too-many-requests")
        assert response.headers["Retry-After"] == "2"
        clock.advance(2)
        assert (await browser.get("/x")).code == 200


@pytest.mark.feature("M4")
async def test_rates_are_per_client_behind_a_trusted_proxy(clock: FakeClock) -> None:
    """Each address has its own bucket, an IPv6 prefix one together; `allow` has no limit, `deny` is 403."""
    server = server_of(
        clock,
        rate={"requests_per_second": 1, "burst": 1, "allow": ["192.0.2.9"], "deny": ["192.0.2.66"]},
        server={"trusted_proxies": ["127.0.0.1"]},
    )
    async with running(server) as base:

        async def ask(address: str) -> int:
            return (await Browser(base, X_Forwarded_For=address).get("/x")).code

        assert [await ask("192.0.2.1"), await ask("192.0.2.1"), await ask("192.0.2.2")] == [200, 429, 200]
        assert [await ask("2001:db8::1"), await ask("2001:db8::ffff:2"), await ask("2001:db8:0:1::1")] == [
            200,
            429,
            200,
        ]
        assert [await ask("192.0.2.9") for _ in range(3)] == [200, 200, 200]
        assert await ask("192.0.2.66") == 403


@pytest.mark.feature("M4")
async def test_options_of_the_server_stand_behind_the_gate(clock: FakeClock) -> None:
    """`OPTIONS *` says what there is; not to a denied address, too often, or under a foreign host. No other method has it."""
    server = server_of(
        clock,
        rate={"requests_per_second": 1, "burst": 1, "deny": ["192.0.2.66"]},
        server={"trusted_proxies": ["127.0.0.1"]},
    )

    async with running(server) as base:

        async def ask(method: str, address: str, host: str = "localhost") -> bytes:
            async with raw(base) as client:
                lines = (
                    f"{method} * HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {address}\r\nConnection: close\r\n\r\n"
                )
                client.send(lines.encode())
                return await client.rest()

        answer = await ask("OPTIONS", "192.0.2.1")
        assert answer.startswith(b"HTTP/1.1 204 ")
        assert b"\r\nAllow: GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS\r\n" in answer
        assert (await ask("OPTIONS", "192.0.2.1")).startswith(b"HTTP/1.1 429 ")
        assert (await ask("OPTIONS", "192.0.2.66")).startswith(b"HTTP/1.1 403 ")
        assert (await ask("OPTIONS", "192.0.2.2", "evil.example")).startswith(b"HTTP/1.1 403 ")
        for method in ("CONNECT", "GET"):
            assert (await ask(method, "192.0.2.66"))[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 405")


@pytest.mark.feature("M4")
async def test_who_keeps_on_is_banned_for_a_while(clock: FakeClock) -> None:
    """After some refusals an address is refused altogether, and told for how long."""
    server = server_of(clock, rate={"requests_per_second": 10, "burst": 1, "ban": "60s"})
    async with running(server) as base:
        browser = Browser(base)
        while "Retry-After" not in (response := await browser.get("/x")).headers or (
            response.headers["Retry-After"] == "1"
        ):
            pass
        assert response.headers["Retry-After"] == "60"
        clock.advance(30)
        assert problem(await browser.get("/x")) == (429, "too-many-requests")
        clock.advance(31)
        assert (await browser.get("/x")).code == 200


async def test_address_is_the_peers_unless_a_trusted_proxy_says_otherwise() -> None:
    """Seam 6: one named header, read from the right; scheme and host of the same peer; nobody else is believed."""
    told = {"X-Forwarded-For": "6.6.6.6, 192.0.2.5", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "shop.example"}

    async def answer(**options: Any) -> Any:
        server = new_server(server={"allowed_hosts": ["shop.example"]} | options)
        server.get("/x")(
            lambda request: [request.remote_ip, request.scheme, request.host, "X-Forwarded-For" in request.headers]
        )
        async with running(server) as base:
            body = read_json(await Browser(base).get("/x", headers=told | {"X-Real-Ip": "7.7.7.7"}))
            return [part if part != urlsplit(base).netloc else "own" for part in body]

    assert await answer() == ["127.0.0.1", "http", "own", False]
    assert await answer(trusted_proxies=["10.0.0.0/8"]) == ["127.0.0.1", "http", "own", False]
    assert await answer(trusted_proxies=["127.0.0.0/8"]) == ["192.0.2.5", "https", "shop.example", True]
    chained = await answer(trusted_proxies=["127.0.0.1", "192.0.2.0/24"])
    assert chained == ["6.6.6.6", "https", "shop.example", True]
    assert (await answer(trusted_proxies=["127.0.0.1"], proxy_header="X-Client"))[0] == "127.0.0.1"


# --- protection ---------------------------------------------------------------------------------

ADMIN = {"path": "/admin*", "roles": ["admin"]}


def protected(users_file: str, *rules: Any, **sections: Any) -> Server:
    return server_of(auth={"users_file": users_file, "roles": {"ada": ["admin"]}, "protect": list(rules)}, **sections)


@pytest.mark.feature("U1", "U3")
@pytest.mark.parametrize(
    "path",
    [
        "/admin", "/admin/", "/admin/x/y", "/adm%69n", "/%61%64%6d%69%6e", "//admin", "///admin//x", "/x/../admin",
        "/x/%2e%2e/admin", "/x/%2E%2E%2Fadmin", "/./admin", "/admin%2f", "/admin%2Fx", "/admin/.", "/admin/../admin",
        "/admin?x=1", "/../admin", "/%2e/admin", "/admin%20", "/admin;x",
    ],
)  # fmt: skip
async def test_protected_path_is_found_however_it_is_written(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str], path: str
) -> None:
    """Protection looks at the path that the router uses: decoded once, normalised. 401, 403 without the role, else in."""
    server = protected(users_file, ADMIN)
    async with running(server) as base:
        response = await Browser(base).get(path)
        assert problem(response) == (401, "bad-credentials")
        assert response.headers["WWW-Authenticate"] == 'Basic realm="wshttp", charset="UTF-8"'
        assert await server.sessions.count() == 0
        assert problem(await Browser(base).get(path, login=bob)) == (403, "forbidden")
        assert read_json(await Browser(base).get(path, login=ada))["user"] == "ada"


@pytest.mark.parametrize("path", ["/%2561dmin", "/x/admin", "/Admin", "/adm", "/admin%2f../x", "/admin/../x"])
async def test_other_path_is_not_protected(users_file: str, path: str) -> None:
    """What the router takes for another path is open: decoding twice would be as wrong as not at all."""
    async with running(protected(users_file, ADMIN)) as base:
        assert (await Browser(base).get(path)).code == 200


@pytest.mark.feature("F1", "U3")
async def test_protection_covers_files_tornado_handlers_and_sockets(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str]
) -> None:
    """Files, Tornado's own handlers and sockets stand behind the same gate as routes; nothing of them runs before."""
    server = new_server(
        session={"identity": ["cookie"]},
        auth={"users_file": users_file, "roles": {"ada": ["admin"]}, "protect": [{"path": "*", "roles": ["admin"]}]},
    )
    ran: list[str] = []

    class Plain(RequestHandler):
        def prepare(self) -> None:
            ran.append("prepare")

        def get(self) -> None:
            self.write("plain")

    server.add_handlers([("/plain", Plain)])
    server.websocket("/echo")(lambda connection, message: None)
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw==",
        "Sec-WebSocket-Version": "13",
    }
    async with running(server) as base:
        for path in ("/plain", "/index.html", "/", "/no-such-file", "/echo", "/wshttp/session"):
            headers = upgrade if path == "/echo" else {}
            assert problem(await Browser(base).get(path, headers=headers)) == (401, "bad-credentials")
            assert problem(await Browser(base).get(path, headers=headers, login=bob)) == (403, "forbidden")
        assert ran == []
        assert (await Browser(base).get("/plain", login=ada)).body == b"plain"
        assert (await Browser(base).get("/index.html", login=ada)).code == 200
        assert problem(await Browser(base).get("/no-such-file", login=ada)) == (404, "not-found")
        assert ran == ["prepare"]


async def test_protected_path_lets_in_who_is_logged_in_by_cookie(users_file: str, ada: tuple[str, str]) -> None:
    """The session's user and roles count as much as a password that comes along."""
    async with running(protected(users_file, ADMIN)) as base:
        browser = Browser(base)
        await browser.log_in(*ada)
        assert read_json(await browser.get("/admin/x"))["user"] == "ada"


@pytest.mark.feature("U3")
async def test_protected_path_redirects_browsers_where_the_rule_says(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str]
) -> None:
    """An anonymous GET goes to the rule's page with where to come back to; other methods 401; no role 403."""
    server = protected(users_file, {"path": "/private*", "roles": ["admin"], "redirect": "/login.html?a=1"})
    async with running(server) as base:
        response = await Browser(base).get("/private/x?y=1&z=%20")
        assert response.code == 302
        where = urlsplit(response.headers["Location"])
        assert (where.netloc, where.path) == ("", "/login.html")
        assert parse_qs(where.query) == {"a": ["1"], "next": ["/private/x?y=1&z=%20"]}
        assert await server.sessions.count() == 0
        assert (await Browser(base)("HEAD", "/private")).code == 302
        assert problem(await Browser(base).post("/private")) == (401, "bad-credentials")
        assert problem(await Browser(base).get("/private", login=bob)) == (403, "forbidden")
        assert (await Browser(base).get("/private", login=ada)).code == 200


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example/private",
        "/\\evil.example/private",
        "http://127.0.0.1//evil.example/private",
        "/x/..//evil.example",
    ],
)
async def test_redirect_never_says_to_come_back_to_another_host(users_file: str, target: str) -> None:
    """`next` is a path of this host, however the request spelled it."""
    server = protected(users_file, {"path": "*", "redirect": "/login.html"})
    async with running(server) as base, raw(base) as connection:
        connection.send(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = (await connection.until(b"\r\n\r\n")).decode()
        assert " 302 " in head
        [location] = [line for line in head.split("\r\n") if line.startswith("Location:")]
        [coming_back] = parse_qs(urlsplit(location.partition(":")[2].strip()).query)["next"]
        assert coming_back.startswith("/")
        assert not coming_back.startswith(("//", "/\\"))
        assert "\\" not in coming_back


async def test_redirected_request_runs_nothing_of_its_handler(users_file: str) -> None:
    """A handler behind a redirect neither prepares nor answers."""
    server = protected(users_file, {"path": "/plain", "redirect": "/login.html"})
    ran: list[str] = []

    class Plain(RequestHandler):
        def prepare(self) -> None:
            ran.append("prepare")

        def get(self) -> None:
            ran.append("get")

    server.application.wildcard_router.rules.clear()
    server.add_handlers([("/plain", Plain)])
    async with running(server) as base:
        assert (await Browser(base).get("/plain")).code == 302
        assert ran == []


# --- Basic --------------------------------------------------------------------------------------


@pytest.mark.feature("U1")
@pytest.mark.parametrize(
    "header",
    [
        "Basic", "Basic ", "Basic !!!", "Basic YWRh", basic("ada", "wrong"), basic("ada", "\n"), basic("a\x01da", "x"),
        basic("ada", "x" * 73), basic("", ""), "Basic /////w==", "Basic " + "QUFB" * 4000,
    ],
    ids=["bare", "empty", "not base64", "no colon", "wrong", "newline", "control", "73 bytes", "nothing", "not UTF-8",
         "oversized"],
)  # fmt: skip
async def test_basic_header_that_is_not_right_is_401_everywhere(users_file: str, header: str) -> None:
    """A Basic header must verify, on open paths too: 401 with the realm, no session, never a 500."""
    server = protected(users_file)
    async with running(server) as base:
        response = await Browser(base).get("/open", headers={"Authorization": header})
        assert problem(response) == (401, "bad-credentials")
        assert response.headers["WWW-Authenticate"] == 'Basic realm="wshttp", charset="UTF-8"'
        assert await server.sessions.count() == 0
        in_api = await Browser(base).get("/wshttp/session", headers={"Authorization": header})
        assert in_api.headers["WWW-Authenticate"] == "Session"


@pytest.mark.feature("U1")
async def test_basic_header_is_ignored_where_nobody_can_check_it() -> None:
    """Without users and hooks a Basic header means nothing, and neither does another scheme."""
    async with running(server_of()) as base:
        assert read_json(await Browser(base).get("/x", login=("ada", "x")))["user"] is None
        response = await Browser(base).get("/x", headers={"Authorization": "Bearer abc"})
        assert response.code == 200


@pytest.mark.feature("U1")
async def test_realm_is_the_settings(users_file: str) -> None:
    """`auth.realm` is what browsers show; quotes in it are escaped."""
    server = server_of(auth={"users_file": users_file, "realm": 'The "inner" circle', "protect": ["/x"]})
    async with running(server) as base:
        challenge = (await Browser(base).get("/x")).headers["WWW-Authenticate"]
        assert challenge == r'Basic realm="The \"inner\" circle", charset="UTF-8"'


@pytest.mark.feature("U1", "U5")
async def test_basic_is_throttled_before_it_is_hashed(users_file: str, clock: FakeClock, ada: tuple[str, str]) -> None:
    """Guesses by Basic header count as log-ins do: 429 with `Retry-After`, for the right password too."""
    server = server_of(clock, auth={"users_file": users_file, "max_failures": 4})
    async with running(server) as base:
        for n in range(4):
            await Browser(base).get("/x", login=("ada", f"guess {n}"))
        response = await Browser(base).get("/x", login=ada)
        assert problem(response) == (429, "too-many-requests")
        assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.feature("U2")
async def test_users_file_is_read_again_and_ends_sessions_of_changed_users(
    users_file: str, ada: tuple[str, str], bob: tuple[str, str]
) -> None:
    """A removed user's sessions end with `credentials`, and the password is refused at once, cached or not."""
    server = server_of(auth={"users_file": users_file})
    ends: list[tuple[str | None, str]] = []
    server.on_session_end(lambda session, reason: ends.append((session.user, reason)))
    async with running(server) as base:
        browser, other = Browser(base), Browser(base)
        await browser.log_in(*ada)
        await other.log_in(*bob)
        with open(users_file, encoding="utf-8") as file:
            lines = file.readlines()
        with open(users_file, "w", encoding="utf-8") as file:
            file.writelines(line for line in lines if not line.startswith("ada:"))
        await server.poll_users()
        await server.sessions.settled(5)
        assert ends == [("ada", "credentials")]
        response = await browser.get("/wshttp/session?touch=0")
        assert (problem(response), read_json(response)["reason"]) == ((401, "session-ended"), "credentials")
        assert problem(await Browser(base).get("/x", login=ada)) == (401, "bad-credentials")
        assert (await other.get("/wshttp/session?touch=0")).code == 200
