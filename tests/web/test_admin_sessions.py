"""Sessions for administrators: found, looked at, ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from administering import API, admin_server, administrator, audit_of
from browsing import Browser, problem, read_json
from redis_servers import RedisServer
from serving import farewell, running, websocket

from wshttp import Server, Session
from wshttp.testing import FakeClock

STORES: tuple[str, ...] = ("memory", "redis")


async def fill(server: Server, count: int, **options: Any) -> list[Session]:
    """Start sessions, one after the other, at addresses of their own."""
    return [await server.sessions.create(remote_ip=f"192.0.2.{number}", **options) for number in range(count)]


async def pages(browser: Browser, query: str) -> list[list[str]]:
    """Return the refs of all pages."""
    found, cursor = [], ""
    while cursor is not None:
        answer = read_json(await browser.get(f"{API}/sessions?{query}&cursor={cursor}"))
        found.append([session["ref"] for session in answer["sessions"]])
        cursor = answer["cursor"]
    return found


@pytest.fixture
def store(request: pytest.FixtureRequest, redis_server: RedisServer, redis_prefix: str) -> dict[str, Any]:
    """Settings of the store that a test asks for."""
    return {"kind": request.param, "url": redis_server.url(), "prefix": redis_prefix}


@pytest.mark.feature("A1", "A3")
async def test_session_is_shown_by_its_public_name(users_file: str, ada: tuple[str, str], clock: FakeClock) -> None:
    """Who, from where, since when, how long idle, how many sockets; its token and its id are nowhere."""
    server = admin_server(users_file, clock)
    async with running(server) as base:
        visitor = Browser(base)
        await visitor.log_in(*ada)
        [session] = [each async for each in server.sessions.scan()]
        session["visits"], session["cart"] = 1, ["apple"] * 3
        await session.commit()
        clock.advance(12.5)
        browser = administrator(base, ada)
        listed = await browser.get(f"{API}/sessions")
        single = await browser.get(f"{API}/sessions/{session.ref}")
        assert read_json(listed) == {
            "sessions": [
                {
                    "ref": session.ref,
                    "user": "ada",
                    "roles": [],
                    "ip": "127.0.0.1",
                    "identity": "cookie",
                    "created_at": round(clock.time() - 12.5, 3),
                    "last_access_at": round(clock.time() - 12.5, 3),
                    "idle": 12,
                    "expires_in": 1187,
                    "absolute_expires_in": 43187,
                    "connections": 0,
                }
            ],
            "total": 1,
            "cursor": None,
        }
        shown = read_json(single)
        assert shown["session"] == read_json(listed)["sessions"][0]
        assert [each["key"] for each in shown["data"]["keys"]] == ["cart", "visits"]
        assert shown["data"]["size"] == sum(each["size"] for each in shown["data"]["keys"])
        assert (shown["idle_timeout"], shown["absolute_timeout"], shown["node"]) == (1200, 43200, "local")
        assert [each["what"] for each in shown["history"]] == ["started"]
        assert session.record.key.hex() not in single.body.decode()
        for secret in (visitor.cookies["wshttp"], "apple"):
            assert secret not in listed.body.decode() + single.body.decode()


@pytest.mark.feature("A1")
@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_pages_have_each_session_once(store: dict[str, Any], users_file: str, ada: tuple[str, str]) -> None:
    """By a cursor: each comes once, though others end between two pages."""
    server = admin_server(users_file, store=store)
    async with running(server) as base:
        refs = sorted(session.ref for session in await fill(server, 25))
        browser = administrator(base, ada)
        found = await pages(browser, "limit=10")
        assert [len(page) for page in found] == [10, 10, 5]
        assert sorted(ref for page in found for ref in page) == refs
        first = read_json(await browser.get(f"{API}/sessions?limit=10"))
        assert first["total"] == 25
        await server.sessions.end_many([each async for each in server.sessions.scan() if each.ref in found[0]])
        rest = read_json(await browser.get(f"{API}/sessions?limit=1000&cursor={first['cursor']}"))
        assert {each["ref"] for each in rest["sessions"]} == set(refs) - set(found[0])


@pytest.mark.feature("A1")
@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_sessions_are_found_by_user_address_and_age(
    store: dict[str, Any], users_file: str, ada: tuple[str, str]
) -> None:
    """Alone and together; what no store has an index for is looked for a page at a time, and the total is not known."""
    server = admin_server(users_file, store=store)
    async with running(server) as base:
        create = server.sessions.create
        one = await create(remote_ip="192.0.2.7", user="bob")
        two = await create(remote_ip="192.0.2.8", user="carl")
        three = await create(remote_ip="198.51.100.1", user="bob")
        six = await create(remote_ip="2001:db8::7")
        browser = administrator(base, ada)

        async def found(query: str) -> tuple[set[str], int | None]:
            answer = read_json(await browser.get(f"{API}/sessions?{query}"))
            return {session["ref"] for session in answer["sessions"]}, answer["total"]

        assert await found("user=bob") == ({one.ref, three.ref}, 2)
        assert await found("user=bob&ip=192.0.2.7") == ({one.ref}, 1)
        assert await found("ip=192.0.2.7") == ({one.ref}, 1)
        assert await found("ip=192.0.2.") == ({one.ref, two.ref}, None)
        assert await found("ip=192.0.2.0/24&user=carl") == ({two.ref}, None)
        assert await found("ip=2001:db8::99") == ({six.ref}, 1), "of the same /64"
        assert await found("ip=2001:db8:") == ({six.ref}, None)
        assert await found("user=nobody") == (set(), 0)
        assert await found("user=&ip=&before=") == ({one.ref, two.ref, three.ref, six.ref}, 4)
        assert await found(f"before={three.created_at + 3600}&user=bob") == ({one.ref, three.ref}, None)
        assert await found("before=2000-01-01T00:00:00Z") == (set(), None)


async def test_rare_ones_are_found_though_a_page_does_not_look_at_all(users_file: str, ada: tuple[str, str]) -> None:
    """A page looks so often and no more; with a cursor it goes on, and none is missed or comes twice."""
    server = admin_server(users_file)
    async with running(server) as base:
        await fill(server, 250)
        wanted = {(await server.sessions.create(remote_ip="198.51.100.1")).ref for _ in range(3)}
        found = await pages(administrator(base, ada), "limit=1&ip=198.51.")
        assert sorted(ref for page in found for ref in page) == sorted(wanted)
        assert len(found) >= 3
        assert all(len(page) <= 1 for page in found)


@pytest.mark.feature("A2")
async def test_ended_session_is_over_for_its_client_and_its_sockets(
    users_file: str, ada: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Reason `admin`, close code 4006; it stands in the audit log, and a second time there is nothing to end."""
    server = admin_server(users_file)
    ends: list[tuple[str, str]] = []
    server.on_session_end(lambda session, reason: ends.append((session.ref, reason)))
    async with running(server) as base:
        visitor, browser = Browser(base), administrator(base, ada)
        ref = read_json(await visitor.post("/wshttp/session"))["ref"]
        headers = {"Cookie": f"wshttp={visitor.cookies['wshttp']}", "Origin": base}
        async with websocket(base, "/wshttp/socket", additional_headers=headers) as socket:
            assert (await browser.delete(f"{API}/sessions/{ref}")).code == 204
            assert await farewell(socket) == (4006, "session-ended:admin")
        assert problem(await browser.delete(f"{API}/sessions/{ref}")) == (404, "not-found")
        assert problem(await browser.get(f"{API}/sessions/{ref}")) == (404, "not-found")
        await server.sessions.settled(10)
    assert ends == [(ref, "admin")]
    [line] = audit_of(caplog)
    assert line == {"act": "session ended", "by": "ada", "by_ip": "127.0.0.1", "ref": ref, "remote_ip": "127.0.0.1"}


@pytest.mark.feature("A2")
@pytest.mark.parametrize("store", STORES, indirect=True)
@pytest.mark.parametrize(
    ("query", "left", "facts"),
    [
        ("user=bob", {"carl"}, {"user": "bob"}),
        ("ip=192.0.2.0", {"carl"}, {"ip": "192.0.2.0"}),
        ("ip=192.0.2.0/24", {"carl"}, {"ip": "192.0.2.0/24"}),
        ("ip=192.0.&user=bob", {"carl"}, {"ip": "192.0.", "user": "bob"}),
        ("before=2100-01-01T00:00:00Z", set(), {"before": "2100-01-01T00:00:00Z"}),
        ("before=1", {"bob", "carl"}, {"before": "1"}),
        ("all=1", set(), {"all": True}),
    ],
)
async def test_many_are_ended_by_choice(
    store: dict[str, Any],
    query: str,
    left: set[str],
    facts: dict[str, Any],
    users_file: str,
    ada: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those who are meant, and nobody else; with one line in the audit log that says who was, and how many."""
    server = admin_server(users_file, store=store)
    async with running(server) as base:
        await server.sessions.create(remote_ip="192.0.2.0", user="bob")
        await server.sessions.create(remote_ip="198.51.100.1", user="carl")
        response = await administrator(base, ada).delete(f"{API}/sessions?{query}")
        assert {session.record.user async for session in server.sessions.scan()} == left
        count = 2 - len(left)
        assert read_json(response) == {"ended": count, "cursor": None}
        assert server.sessions.statistics.ended == ({"admin": count} if count else {})
    [line] = audit_of(caplog)
    assert line == {"act": "sessions ended", "by": "ada", "by_ip": "127.0.0.1", "count": count} | facts


@pytest.mark.feature("A2")
@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_many_are_ended_in_steps(store: dict[str, Any], users_file: str, ada: tuple[str, str]) -> None:
    """So many at most and where to go on, so that a program can show how far it is, and stop."""
    server = admin_server(users_file, store=store)
    async with running(server) as base:
        await fill(server, 25)
        browser, cursor, steps = administrator(base, ada), "", []
        while cursor is not None:
            answer = read_json(await browser.delete(f"{API}/sessions?all=1&limit=10&cursor={cursor}"))
            steps.append(answer["ended"])
            cursor = answer["cursor"]
            assert await server.sessions.count() == 25 - sum(steps)
        assert steps == [10, 10, 5]


@pytest.mark.feature("A2")
async def test_expired_are_ended_with_their_own_reason(
    users_file: str, ada: tuple[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only they, at once, instead of at the next sweep."""
    monkeypatch.setattr("wshttp.sessions.session_list.SWEEP_INTERVAL", 3600)
    server = admin_server(users_file, clock)
    async with running(server) as base:
        await Browser(base).get("/wshttp/health/live")  # the sweep of the beginning is over
        await fill(server, 3, idle_timeout=10)
        await fill(server, 2)
        clock.advance(11)
        browser = administrator(base, ada)
        assert read_json(await browser.delete(f"{API}/sessions?expired=1")) == {"ended": 3, "cursor": None}
        assert await server.sessions.count() == 2
        assert server.sessions.statistics.ended == {"idle": 3}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "user=",
        "user=&ip=127.0.0.1",
        "ip=",
        "before=",
        "all=0",
        "all=",
        "all=yes",
        "expired=0",
        "all=1&user=ada",
        "all=1&expired=1",
        "expired=1&ip=127.0.0.1",
        "expired=1&limit=1",
        "limit=5",
        "cursor=ab",
    ],
)
async def test_choice_that_leaves_a_doubt_ends_nobody(query: str, users_file: str, ada: tuple[str, str]) -> None:
    """An empty value may be all that a program had in place of a name: it must not mean everybody."""
    server = admin_server(users_file)
    async with running(server) as base:
        await fill(server, 2)
        assert problem(await administrator(base, ada).delete(f"{API}/sessions?{query}")) == (400, "bad-request")
        assert await server.sessions.count() == 2


async def test_what_ended_before_the_store_failed_is_in_the_audit_log(
    users_file: str, ada: tuple[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Come what may: the answer is 503, and the log has the number."""
    from wshttp.errors import StoreUnavailable

    server = admin_server(users_file)
    async with running(server) as base:
        await fill(server, 150)
        scan, calls = server.sessions.store.scan, []

        async def once(*args: Any, **options: Any) -> Any:
            calls.append(args)
            if len(calls) > 1:
                raise StoreUnavailable
            return await scan(*args, **options)

        monkeypatch.setattr(server.sessions.store, "scan", once)
        response = await administrator(base, ada).delete(f"{API}/sessions?all=1")
        assert problem(response) == (503, "store-unavailable")
        monkeypatch.undo()
    [line] = audit_of(caplog)
    assert line["count"] == 100


@pytest.mark.feature("A3", "A4")
async def test_history_tells_of_a_life(users_file: str, ada: tuple[str, str], clock: FakeClock) -> None:
    """Started, renewed by a log-in, connected, warned, disconnected with the code; in this order, with their times."""
    server = admin_server(users_file, clock)
    async with running(server) as base:
        visitor = Browser(base)
        await visitor.post("/wshttp/session")
        clock.advance(1)
        await visitor.log_in(*ada)
        [session] = [each async for each in server.sessions.scan()]
        clock.advance(1)
        headers = {"Cookie": f"wshttp={visitor.cookies['wshttp']}", "Origin": base}
        async with websocket(base, "/wshttp/socket", additional_headers=headers) as socket:
            await socket.recv()
            browser = administrator(base, ada)
            shown = read_json(await browser.get(f"{API}/sessions/{session.ref}"))
            [connection] = shown["connections"]
            clock.advance(1141)
            await server.sessions.sweep()
        await server.sessions.settled(10)
        [closing] = [each.disconnected for each in server.hub] or [None]
        if closing is not None:
            await closing
        shown = read_json(await browser.get(f"{API}/sessions/{session.ref}"))
        begin, name = round(session.created_at, 3), connection["id"]
        socket_of = {"connection": name, "ip": "127.0.0.1"}
        told = [each | {"at": round(each["at"] - begin)} for each in shown["history"]]
        assert told[:4] == [
            {"what": "started", "at": 0},
            {"what": "renewed", "at": 1, "user": "ada"},
            {"what": "connected", "at": 2} | socket_of,
            {"what": "warned", "at": 1143},
        ]
        assert told[4:] in ([], [{"what": "disconnected", "at": 1143, "code": 1000} | socket_of])


@pytest.mark.feature("A1", "A2", "A3")
async def test_administration_works_on_what_all_nodes_share(
    redis_server: RedisServer, redis_prefix: str, users_file: str, ada: tuple[str, str]
) -> None:
    """A session of one node is listed, looked at and ended on another; its sockets close."""
    store = {"kind": "redis", "url": redis_server.url(), "prefix": redis_prefix}
    one, two = (admin_server(users_file, store=store) for _ in range(2))
    async with running(one) as first, running(two) as second:
        visitor, browser = Browser(first), administrator(second, ada)
        ref = read_json(await visitor.post("/wshttp/session"))["ref"]
        headers = {"Cookie": f"wshttp={visitor.cookies['wshttp']}", "Origin": first}
        async with websocket(first, "/wshttp/socket", additional_headers=headers) as socket:
            assert json.loads(await socket.recv())["type"] == "welcome"
            [listed] = read_json(await browser.get(f"{API}/sessions"))["sessions"]
            assert listed["ref"] == ref
            assert (await browser.delete(f"{API}/sessions/{ref}")).code == 204
            assert await farewell(socket) == (4006, "session-ended:admin")
