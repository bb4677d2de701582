"""Sessions for administrators: found, looked at, ended."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
from administering import API, admin_server, administrator, audit_of
from browsing import Browser, problem, read_json
from redis_servers import RedisServer
from serving import farewell, running, websocket

from wshttp import Server, Session
from wshttp.errors import NotFound, StoreUnavailable
from wshttp.testing import FakeClock
from wshttp.web.admin.audit import recording

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
        gone = [each async for each in server.sessions.scan() if each.ref in found[0]]
        assert [each async for each in server.sessions.end_each(gone)] == gone
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
        assert await found(f"before={three.created_at + 60:.3f}&user=bob") == ({one.ref, three.ref}, None)
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
    """Those who are meant, and nobody else; with lines in the audit log that say who is to, and how many have."""
    server = admin_server(users_file, store=store)
    async with running(server) as base:
        await server.sessions.create(remote_ip="192.0.2.0", user="bob")
        await server.sessions.create(remote_ip="198.51.100.1", user="carl")
        response = await administrator(base, ada).delete(f"{API}/sessions?{query}")
        assert {session.record.user async for session in server.sessions.scan()} == left
        count = 2 - len(left)
        assert read_json(response) == {"ended": count, "cursor": None}
        assert server.sessions.statistics.ended == ({"admin": count} if count else {})
    by = {"by": "ada", "by_ip": "127.0.0.1"} | facts
    assert audit_of(caplog) == [{"act": "sessions ending"} | by, {"act": "sessions ended", "count": count} | by]


async def in_steps(browser: Browser, query: str) -> AsyncIterator[int]:
    """End step by step; yield how many ended with each."""
    cursor = ""
    while cursor is not None:
        answer = read_json(await browser.delete(f"{API}/sessions?{query}{cursor and '&cursor='}{cursor}"))
        cursor = answer["cursor"]
        yield answer["ended"]


@pytest.mark.feature("A2")
@pytest.mark.parametrize("store", STORES, indirect=True)
async def test_many_are_ended_in_steps(
    store: dict[str, Any], users_file: str, ada: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """So many at most and where to go on, so that a program can show how far it is, and stop. A line for each step."""
    server = admin_server(users_file, store=store)
    async with running(server) as base:
        await fill(server, 25)
        steps: list[int] = []
        async for ended in in_steps(administrator(base, ada), "all=1&limit=10"):
            steps.append(ended)
            assert await server.sessions.count() == 25 - sum(steps)
        assert steps == [10, 10, 5]
    lines = audit_of(caplog)
    assert [line["act"] for line in lines] == ["sessions ending", "sessions ended"] * 3
    assert [line.get("count") for line in lines] == [None, 10, None, 10, None, 5]
    assert all(line["all"] is True for line in lines)


@pytest.mark.feature("A4")
async def test_end_that_begins_with_a_cursor_is_written_down_before(
    users_file: str, ada: tuple[str, str], caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    """A cursor that nobody gave skips no line."""
    server = admin_server(users_file, clock)
    async with running(server) as base:
        await fill(server, 3)
        cursor = f"{clock.time() + 1!r}-0"
        answer = await administrator(base, ada).delete(f"{API}/sessions?all=1&cursor={cursor}")
        assert read_json(answer)["ended"] == 3
    assert [line["act"] for line in audit_of(caplog)] == ["sessions ending", "sessions ended"]


@pytest.mark.feature("A2")
@pytest.mark.parametrize(("query", "spared"), [("all=1", True), ("ip=192.0.2.0/24", True), ("user=bob", False)])
async def test_who_starts_a_session_meanwhile_keeps_it(
    query: str, spared: bool, users_file: str, ada: tuple[str, str], clock: FakeClock
) -> None:
    """Else an end could go on for ever. One of all of a user meets what they open meanwhile: it locks somebody out."""
    server = admin_server(users_file, clock)
    async with running(server) as base:
        await fill(server, 25, user="bob")
        late, count = set(), 0
        async for ended in in_steps(administrator(base, ada), f"{query}&limit=10"):
            count += ended
            clock.advance(1)
            if not late:
                late = {session.ref for session in await fill(server, 20, user="bob")}
        left = {session.ref async for session in server.sessions.scan()}
        # They come in the order of their refs: those that are behind the first step's last are met by the others.
        assert (left == late, count == 25) == ((True, True) if spared else (False, False))
        assert left <= late


@pytest.mark.feature("A2")
async def test_expired_are_ended_with_their_own_reason(
    users_file: str, ada: tuple[str, str], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only they, at once, instead of at the next sweep."""
    monkeypatch.setattr("wshttp.sessions.sweeper.SWEEP_INTERVAL", 3600)
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
        "all=1&limit=",
        "all=1&limit=10&cursor=",
        "all=1&limit=10&cursor=5f2b",
        "ip=0.0.0.0/0",
        "ip=127.0.0.1/2",
        "before=1_0",
        "before=99999999999",
        "before=1767225600000",
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


def failing_from(call: int, method: Any, error: BaseException) -> Any:
    """Return a method of the store that does its work, and whose answers are lost from this call on."""
    calls = itertools.count(1)

    async def lossy(*args: Any, **options: Any) -> Any:
        found = await method(*args, **options)
        if next(calls) >= call:
            raise error
        return found

    return lossy


@pytest.mark.feature("A4")
@pytest.mark.parametrize(("method", "counted"), [("scan", 100), ("end", 120)])
async def test_what_ended_before_the_store_failed_is_in_the_audit_log(
    method: str,
    counted: int,
    users_file: str,
    ada: tuple[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Come what may: the answer is 503, and both have the number, also of a page that was not ended to its end."""
    server = admin_server(users_file)
    async with running(server) as base:
        await fill(server, 150)
        store, call = server.sessions.store, {"scan": 2, "end": 121}[method]
        monkeypatch.setattr(store, method, failing_from(call, getattr(store, method), StoreUnavailable()))
        response = await administrator(base, ada).delete(f"{API}/sessions?all=1")
        assert problem(response) == (503, "store-unavailable")
        assert read_json(response)["ended"] == counted
        monkeypatch.undo()
    begin, end = audit_of(caplog)
    assert (begin["act"], begin["all"]) == ("sessions ending", True)
    assert (end["act"], end["count"], end["failed"]) == ("sessions ended", counted, "store-unavailable")


@pytest.mark.feature("A4")
async def test_end_whose_answer_was_lost_is_in_the_audit_log(
    users_file: str, ada: tuple[str, str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it has ended, but that somebody wanted it is known."""
    server = admin_server(users_file)
    async with running(server) as base:
        [session] = await fill(server, 1)
        store = server.sessions.store
        monkeypatch.setattr(store, "end", failing_from(1, store.end, StoreUnavailable()))
        response = await administrator(base, ada).delete(f"{API}/sessions/{session.ref}")
        assert problem(response) == (503, "store-unavailable")
        monkeypatch.undo()
    [line] = audit_of(caplog)
    assert (line["act"], line["ref"], line["failed"]) == ("session ended", session.ref, "store-unavailable")


@pytest.mark.feature("A4")
async def test_expired_that_ended_before_the_store_failed_are_in_the_audit_log(
    users_file: str,
    ada: tuple[str, str],
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those that are chosen: what was taken before is counted."""
    monkeypatch.setattr("wshttp.sessions.sweeper.SWEEP_INTERVAL", 3600)
    server = admin_server(users_file, clock)
    async with running(server) as base:
        await Browser(base).get("/wshttp/health/live")  # the sweep of the beginning is over
        await fill(server, 20, idle_timeout=10)
        clock.advance(11)
        store = server.sessions.store
        monkeypatch.setattr(store, "take_due", failing_from(2, store.take_due, StoreUnavailable()))
        response = await administrator(base, ada).delete(f"{API}/sessions?expired=1")
        monkeypatch.undo()
        ended = read_json(response)["ended"]
        assert ended == server.sessions.statistics.ended["idle"] > 0
    begin, end = audit_of(caplog)
    assert (begin["expired"], end["expired"]) == (True, True)
    assert (end["count"], end["failed"]) == (ended, "store-unavailable")


@pytest.mark.feature("A4")
async def test_what_ended_before_the_server_stopped_is_in_the_audit_log(caplog: pytest.LogCaptureFixture) -> None:
    """An act that is cancelled is written down, with what it has come to; one that was refused is not."""
    with pytest.raises(asyncio.CancelledError), recording("ada", "127.0.0.1", "sessions ended", count=0) as done:
        done["count"] = 3
        raise asyncio.CancelledError
    with pytest.raises(NotFound), recording("ada", "127.0.0.1", "session ended", ref="ab"):
        raise NotFound
    [line] = audit_of(caplog)
    assert (line["count"], line["failed"]) == (3, "cancelled")


@pytest.mark.parametrize("user", ["bob\x1fsmith", "bob\nsmith", "bob\x00", " bob", "\u202ebob"])
async def test_name_is_met_as_it_is(user: str, users_file: str, ada: tuple[str, str]) -> None:
    """A control character is none that another user has in its place."""
    server = admin_server(users_file)
    async with running(server) as base:
        meant = await server.sessions.create(remote_ip="192.0.2.7", user=user)
        for other in ("bob smith", "bob", "bob "):
            await server.sessions.create(remote_ip="192.0.2.7", user=other)
        browser, query = administrator(base, ada), urlencode({"user": user})
        [listed] = read_json(await browser.get(f"{API}/sessions?{query}"))["sessions"]
        assert (listed["ref"], listed["user"]) == (meant.ref, user)
        assert read_json(await browser.delete(f"{API}/sessions?{query}"))["ended"] == 1
        assert await server.sessions.get_by_ref(meant.ref) is None
        assert await server.sessions.count() == 3


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
