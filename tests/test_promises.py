"""The three promises, end to end over real sockets.

1. One list: a request and a socket of one client work on one session, and work on either keeps it alive.
2. Every start has one end, in order, with the reason and the last data, whatever ends it.
3. The end is the end: sockets close, the one that is just opening too, and nothing brings the session back.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from serving import PATIENCE, farewell, fetch, new_server, raw, refusal, running, soon, until, websocket
from websockets.exceptions import InvalidStatus

from wshttp import Server, User
from wshttp.errors import SessionEnded
from wshttp.realtime.connection import Connection
from wshttp.sessions.session import Session
from wshttp.sessions.unit_of_work import UnitOfWork
from wshttp.testing import FakeClock
from wshttp.web.socket_handler import SessionWebSocketHandler


class World:
    """A server with cookie sessions that writes down what happens to them."""

    def __init__(self, **sections: Any) -> None:
        self.clock = FakeClock()
        session = {"identity": ["cookie"]} | sections.pop("session", {})
        self.server: Server = new_server(self.clock, session=session, **sections)
        self.sessions = self.server.sessions
        self.story: list[tuple[Any, ...]] = []
        self.seen: list[Session] = []
        self.server.on_session_start(self._start)
        self.server.on_session_end(self._end)
        self.server.on_disconnect(self._disconnect)
        self.server.get("/write/{key}")(self._write)
        self.server.websocket("/write")(self._write_message)

    def _start(self, session: Session) -> None:
        self.story.append(("start", session.ref))

    def _end(self, session: Session, reason: str) -> None:
        self.story.append(("end", session.ref, str(reason), dict(session)))

    def _disconnect(self, connection: Connection, code: int, reason: str) -> None:
        self.story.append(("disconnect", connection.session.ref, code, reason))

    def _write(self, request: Any, key: str) -> str:
        self.seen.append(request.session)
        request.session[key] = True
        return "ok"

    async def _write_message(self, connection: Connection, message: str) -> None:
        self.seen.append(connection.session)
        connection.session[message] = True
        await connection.send("ok")

    def of(self, *kinds: str) -> list[tuple[Any, ...]]:
        """What happened, of these kinds."""
        return [each for each in self.story if each[0] in kinds]

    async def one(self) -> Session:
        """The only session that there is."""
        [session] = [session async for session in self.sessions.scan()]
        return session


class Visitor:
    """A browser: it keeps its cookie, for requests and for sockets."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.cookie = ""

    async def ask(self, path: str, method: str = "GET", body: str | None = None) -> Any:
        answer = await fetch(self.base + path, method, body, headers={"Cookie": self.cookie} if self.cookie else {})
        if "Set-Cookie" in answer.headers:
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]
        return answer

    def options(self) -> dict[str, Any]:
        return {"additional_headers": {"Cookie": self.cookie}, "origin": self.base}

    def socket(self, path: str = "/write") -> Any:
        return websocket(self.base, path, **self.options())


def is_ended(answer: Any, reason: str | None = None) -> bool:
    """Whether an answer is 401 `session-ended`, for this reason."""
    body = json.loads(answer.body)
    status = answer.code if hasattr(answer, "code") else answer.status_code
    return status == 401 and body["type"] == "urn:wshttp:session-ended" and body.get("reason") == reason


# --- one list -----------------------------------------------------------------------------------


@pytest.mark.feature("W1")
async def test_request_and_socket_work_on_the_same_session() -> None:
    """It is one and the same object, and each sees what the other has committed."""
    world = World()
    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/write/http")
        async with visitor.socket() as one, visitor.socket() as two:
            for socket, key in ((one, "one"), (two, "two")):
                await socket.send(key)
                await soon(socket.recv())
            await visitor.ask("/write/again")
            first = world.seen[0]
            assert len(world.seen) == 4
            assert all(session is first for session in world.seen)
            await until(lambda: len(first.record.data) == 4)
            assert dict(first) == {"http": True, "one": True, "two": True, "again": True}
            assert await world.sessions.count() == 1


@pytest.mark.feature("L5", "L8")
async def test_work_on_either_keeps_the_session_alive() -> None:
    """A request or a message is activity for both; without either, the session ends."""
    world = World(session={"idle_timeout": 100})
    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/write/a")
        async with visitor.socket() as socket:
            for turn in range(6):
                world.clock.advance(60)
                await world.sessions.sweep()
                if turn % 2:
                    await visitor.ask("/write/a")
                else:
                    await socket.send("b")
                    await soon(socket.recv())
            assert world.of("end") == []
            world.clock.advance(101)
            await world.sessions.sweep()
            assert await farewell(socket) == (4002, "session-ended:idle")


# --- every start has one end ----------------------------------------------------------------------


async def log_in(visitor: Visitor, user: str, password: str = "secret") -> Any:
    answer = await visitor.ask("/wshttp/login", "POST", json.dumps({"user": user, "password": password}))
    assert answer.code == 200
    return answer


async def by_log_out(world: World, visitor: Visitor) -> None:
    assert (await visitor.ask("/wshttp/session", "DELETE")).code == 204


async def by_idling(world: World, visitor: Visitor) -> None:
    world.clock.advance(20 * 60)
    await world.sessions.sweep()


async def by_age(world: World, visitor: Visitor) -> None:
    for _ in range(12 * 60 // 15):
        world.clock.advance(15 * 60)
        await visitor.ask("/wshttp/session/touch", "POST", "")
    await world.sessions.sweep()


async def by_replacing(world: World, visitor: Visitor) -> None:
    await log_in(visitor, "bob")


async def by_limit(world: World, visitor: Visitor) -> None:
    world.sessions.settings = world.sessions.settings.model_copy(update={"max_sessions": 1})
    assert (await Visitor(visitor.base).ask("/wshttp/session")).code == 200


async def by_administrator(world: World, visitor: Visitor) -> None:
    assert await world.sessions.end((await world.one()).ref, "admin")


async def by_changed_password(world: World, visitor: Visitor) -> None:
    users_file = Path(world.server.settings.auth.users_file)
    users_file.write_text(users_file.read_text().replace("ann:", "anna:"))
    await world.server.poll_users()


async def by_shutdown(world: World, visitor: Visitor) -> None:
    assert await world.server.stop() == 0


WAYS: dict[str, tuple[Callable[[World, Visitor], Awaitable[None]], int, str]] = {
    "logout": (by_log_out, 4001, "session-ended:logout"),
    "idle": (by_idling, 4002, "session-ended:idle"),
    "absolute": (by_age, 4003, "session-ended:absolute"),
    "replaced": (by_replacing, 4004, "session-ended:replaced"),
    "limit": (by_limit, 4005, "session-ended:limit"),
    "admin": (by_administrator, 4006, "session-ended:admin"),
    "credentials": (by_changed_password, 4007, "session-ended:credentials"),
    "shutdown": (by_shutdown, 1001, "going away"),
}


@pytest.mark.feature("E1", "W11", "L11", "L13")
@pytest.mark.parametrize("reason", WAYS)
async def test_session_starts_and_ends_once_whatever_ends_it(reason: str, tmp_path: Path) -> None:
    """One start, then the sockets' ends with their code, then one end with reason and last data, and then nothing."""
    end, code, text = WAYS[reason]
    users = tmp_path / "users"
    lines = [f"{user}:{bcrypt.hashpw(b'secret', bcrypt.gensalt(4)).decode()}" for user in ("ann", "bob")]
    users.write_text("\n".join(lines) + "\n")
    world = World(auth={"users_file": str(users)})
    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/write/http")
        if reason in ("replaced", "credentials"):
            await log_in(visitor, "ann")
        ref = (await world.one()).ref
        old = visitor.cookie
        async with visitor.socket() as one, visitor.socket() as two:
            await one.send("socket")
            await soon(one.recv())
            await until(lambda: len(world.seen[-1].record.data) == 2)
            await end(world, visitor)
            assert await farewell(one) == await farewell(two) == (code, text)
            await world.sessions.settled(PATIENCE)
        mine = [each for each in world.story if each[1] == ref]
        assert mine == [
            ("start", ref),
            ("disconnect", ref, code, text),
            ("disconnect", ref, code, text),
            ("end", ref, reason, {"http": True, "socket": True}),
        ]
        if reason != "shutdown":
            visitor.cookie = old
            assert is_ended(await visitor.ask("/wshttp/session?touch=0"), reason)
            assert ref not in [session.ref async for session in world.sessions.scan()]
    starts, ends = Counter(each[1] for each in world.of("start")), Counter(each[1] for each in world.of("end"))
    assert starts == ends
    assert set(starts.values()) == {1}


@pytest.mark.feature("E1")
async def test_every_session_of_a_busy_server_ends_once() -> None:
    """Many clients, some with sockets, ended by all kinds of things at once: as many ends as starts, each after its start."""
    world = World()
    async with running(world.server) as base:
        visitors = [Visitor(base) for _ in range(30)]
        await asyncio.gather(*(visitor.ask("/write/a") for visitor in visitors))
        sockets = await asyncio.gather(*(visitor.socket() for visitor in visitors))
        refs = [session.ref async for session in world.sessions.scan()]
        await asyncio.gather(
            *(visitor.ask("/wshttp/session", "DELETE") for visitor in visitors[:15]),
            *(world.sessions.end(ref, "admin") for ref in refs),
            world.sessions.end_all(reason="admin"),
        )
        assert {(await farewell(socket))[0] for socket in sockets} <= {4001, 4006}
        await world.sessions.settled(PATIENCE)
    story = [each[:2] for each in world.story]
    assert Counter(each for each in story if each[0] == "end") == Counter(("end", ref) for ref in refs)
    assert all(story.index(("start", ref)) < story.index(("end", ref)) for ref in refs)


# --- the end is the end ---------------------------------------------------------------------------


@pytest.mark.feature("W11")
async def test_socket_that_opens_during_the_end_is_refused() -> None:
    """The session ends while `on_connect` thinks: the handshake is refused, and no socket is left."""
    world, asked, go_on = World(session={"auto_start": False}), asyncio.Event(), asyncio.Event()

    @world.server.on_connect
    async def think(connection: Connection) -> None:
        asked.set()
        await go_on.wait()

    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/wshttp/session", "POST", "")
        opening = asyncio.create_task(refusal(base, "/write", **visitor.options()))
        await soon(asked.wait())
        assert (await visitor.ask("/wshttp/session", "DELETE")).code == 204
        go_on.set()
        assert is_ended(await soon(opening), "logout")
        await world.sessions.settled(PATIENCE)
        assert len(world.server.hub) == 0
        assert await world.sessions.count() == 0
        assert [each[0] for each in world.story] == ["start", "end"]


@pytest.mark.feature("W11")
async def test_socket_that_opens_while_on_connect_writes_is_refused() -> None:
    """What `on_connect` wrote to a session that ended meanwhile is dropped, and the socket refused."""
    world, asked, go_on = World(session={"auto_start": False}), asyncio.Event(), asyncio.Event()

    @world.server.on_connect
    async def think(connection: Connection) -> None:
        connection.session["connected"] = True
        asked.set()
        await go_on.wait()

    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/wshttp/session", "POST", "")
        opening = asyncio.create_task(refusal(base, "/write", **visitor.options()))
        await soon(asked.wait())
        await visitor.ask("/wshttp/session", "DELETE")
        go_on.set()
        assert is_ended(await soon(opening), "logout")
        await world.sessions.settled(PATIENCE)
        assert world.of("end")[0][3] == {}


@pytest.mark.feature("W11", "E1")
async def test_socket_whose_session_ends_while_it_starts_is_refused() -> None:
    """The handshake starts the session, and it ends before `on_session_start` is done: no socket comes of it."""
    world, started, go_on = World(), asyncio.Event(), asyncio.Event()

    @world.server.on_session_start
    async def slowly(session: Session) -> None:
        started.set()
        await go_on.wait()

    async with running(world.server) as base:
        opening = asyncio.create_task(refusal(base, "/write"))
        await soon(started.wait())
        session = await world.one()
        ending = asyncio.create_task(world.sessions.end(session, "admin"))
        await until(lambda: session.ended is not None)
        go_on.set()
        assert is_ended(await soon(opening), "admin")
        assert await soon(ending)
        await world.sessions.settled(PATIENCE)
        assert [each[0] for each in world.story] == ["start", "end"]
        assert len(world.server.hub) == 0


@pytest.mark.feature("W11")
async def test_socket_that_is_in_its_open_during_the_end_is_closed() -> None:
    """Tornado's `open` still runs when the session ends: the socket closes at once, and `open` can write no more."""
    world, opened, go_on, raised = World(), asyncio.Event(), asyncio.Event(), []

    class Slow(SessionWebSocketHandler):
        async def open(self, *args: str, **kwargs: str) -> None:
            self.session["before"] = True
            opened.set()
            await go_on.wait()
            try:
                self.session["after"] = True
            except SessionEnded as error:
                raised.append(error.reason)
                raise

        def on_message(self, message: str | bytes) -> None:
            """Never comes."""

    world.server.add_handlers([("/slow", Slow)])
    async with running(world.server) as base, websocket(base, "/slow") as socket:
        await soon(opened.wait())
        await world.sessions.end(await world.one(), "admin")
        assert await farewell(socket) == (4006, "session-ended:admin")
        go_on.set()
        await until(lambda: raised == ["admin"])
        await world.sessions.settled(PATIENCE)
        assert world.of("end")[0][2:] == ("admin", {})
        assert len(world.server.hub) == 0


@pytest.mark.feature("E2", "W11")
async def test_last_word_goes_out_before_the_close_and_nobody_comes_in() -> None:
    """In `on_session_ending` the sockets are still open, while new ones and all work are refused already."""
    world, ending, go_on = World(session={"auto_start": False}), asyncio.Event(), asyncio.Event()

    @world.server.on_session_ending
    async def last_word(session: Session, reason: str) -> None:
        await world.server.hub.send(f"bye, {reason}", session=session)
        ending.set()
        await go_on.wait()

    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/wshttp/session", "POST", "")
        session = await world.one()
        async with visitor.socket() as socket:
            end = asyncio.create_task(world.sessions.end(session, "admin"))
            await soon(ending.wait())
            assert is_ended(await refusal(base, "/write", **visitor.options()), "admin")
            assert is_ended(await visitor.ask("/write/late"), "admin")
            await socket.send("late")
            assert await soon(socket.recv()) == "bye, admin"
            go_on.set()
            assert await farewell(socket) == (4006, "session-ended:admin")
            assert await end
        await world.sessions.settled(PATIENCE)
        assert world.of("end")[0][3] == {}


@pytest.mark.feature("E2", "W11")
async def test_handler_that_meets_the_end_during_the_last_word_leaves_the_code_to_it() -> None:
    """The session is over and its sockets are not told yet: a message that fails for it does not close them otherwise."""
    world, working, failed, go_on, word = World(), asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    @world.server.on_session_ending
    async def last_word(session: Session, reason: str) -> None:
        go_on.set()
        await word.wait()

    @world.server.websocket("/work")
    async def work(connection: Connection, message: str) -> None:
        working.set()
        await go_on.wait()
        asyncio.get_running_loop().call_soon(failed.set)
        connection.session["late"] = True

    async with running(world.server) as base, websocket(base, "/work") as socket:
        await socket.send("go")
        await soon(working.wait())
        ending = asyncio.create_task(world.sessions.end(await world.one(), "admin"))
        await soon(failed.wait())
        assert len(world.server.hub) == 1
        word.set()
        assert await farewell(socket) == (4006, "session-ended:admin")
        assert await ending


@pytest.mark.feature("W11", "T6")
async def test_handlers_that_still_run_change_nothing_after_the_end() -> None:
    """Request and message are in the middle of their work when the session ends: all they try raises, and nothing is kept."""
    world, both, go_on, raised = World(), [], asyncio.Event(), []

    async def work(session: Session, who: str) -> None:
        session["uncommitted"] = who
        both.append(who)
        await go_on.wait()
        for attempt in (
            lambda: session.increment("count"),
            lambda: session.update("text", lambda old: who),
            lambda: session.touch(),
            lambda: session.commit(),
            lambda: world.sessions.renew(session, user=who),
        ):
            try:
                await attempt()
            except SessionEnded as error:
                raised.append((who, error.reason))
        session["late"] = who

    @world.server.get("/work")
    async def request_works(request: Any) -> str:
        await work(request.session, "request")
        return "done"

    @world.server.websocket("/work-on")
    async def message_works(connection: Connection, message: str) -> None:
        await work(connection.session, "message")

    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/write/kept")
        session = await world.one()
        old = visitor.cookie
        async with visitor.socket("/work-on") as socket:
            await socket.send("go")
            asking = asyncio.create_task(visitor.ask("/work"))
            await until(lambda: len(both) == 2)
            await world.sessions.end(session, "admin")
            assert await farewell(socket) == (4006, "session-ended:admin")
            go_on.set()
            assert is_ended(await soon(asking), "admin")
        await until(lambda: len(raised) == 10)
        await world.sessions.settled(PATIENCE)
        assert Counter(raised) == {("request", "admin"): 5, ("message", "admin"): 5}
        assert world.of("end") == [("end", session.ref, "admin", {"kept": True})]
        assert dict(session) == {"kept": True}
        visitor.cookie = old
        assert is_ended(await visitor.ask("/wshttp/session?touch=0"), "admin")
        assert await world.sessions.count() == 0


@pytest.mark.feature("W11", "L2")
async def test_reconnect_after_the_end_gets_another_session() -> None:
    """The old cookie brings nothing back: the next request starts a session with another ref, and none of the data."""
    world = World()
    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/write/kept")
        old = await world.one()
        await world.sessions.end(old, "admin")
        async with visitor.socket() as socket:
            new = await world.one()
            assert new.ref != old.ref
            assert dict(new) == {}
            assert socket.response.headers["Set-Cookie"].startswith("wshttp=")
            assert "wshttp=;" not in socket.response.headers["Set-Cookie"]


@pytest.mark.feature("I9", "W11")
async def test_socket_that_opens_during_a_log_in_is_asked_to_come_back() -> None:
    """The handshake came with the old token, and the session is somebody's before it is answered: 4000, and out."""
    world, asked, go_on = World(), asyncio.Event(), asyncio.Event()
    world.server.on_authenticate(lambda user, password, request: User(user, (), "1"))

    @world.server.on_connect
    async def think(connection: Connection) -> None:
        asked.set()
        await go_on.wait()

    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/write/a")
        opening = asyncio.create_task(visitor.socket().__aenter__())
        await soon(asked.wait())
        await log_in(visitor, "ann")
        go_on.set()
        assert await farewell(await soon(opening)) == (4000, "session-renewed")
        async with visitor.socket():
            assert [connection.user for connection in world.server.hub] == ["ann"]


@pytest.mark.feature("W10", "W11")
async def test_socket_that_opens_during_the_shutdown_is_closed() -> None:
    """A handshake that is under way when the server stops leaves no socket and no session behind."""
    world, asked, go_on = World(), asyncio.Event(), asyncio.Event()

    @world.server.on_connect
    async def think(connection: Connection) -> None:
        asked.set()
        await go_on.wait()

    async with running(world.server) as base:
        opening = asyncio.create_task(websocket(base, "/write").__aenter__())
        await soon(asked.wait())
        stopping = asyncio.create_task(world.server.stop())
        await until(lambda: len(world.server.hub) == 0)
        go_on.set()
        assert await farewell(await soon(opening)) == (1001, "going away")
        assert await soon(stopping) == 0
    assert [each[0] for each in world.story] == ["start", "disconnect", "end"]


# --- races ----------------------------------------------------------------------------------------


@pytest.mark.feature("T6")
async def test_parallel_increments_lose_none() -> None:
    """10,000 at once, by requests, by messages and by tasks: each counts, and each gets a number of its own."""
    world, numbers = World(), []

    async def count(session: Session) -> None:
        numbers.append(await session.increment("count"))

    @world.server.get("/count")
    async def by_request(request: Any) -> str:
        await count(request.session)
        return "ok"

    @world.server.websocket("/count-on")
    async def by_message(connection: Connection, message: str) -> None:
        await count(connection.session)

    async def alone(session: Session) -> None:
        with UnitOfWork() as unit:
            session[f"own-{len(numbers) % 7}"] = True
            await asyncio.sleep(0)
            await count(session)
            await unit.commit()

    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/write/a")
        session = await world.one()

        async def requests(many: int) -> None:
            async with raw(base) as client:
                line = f"GET /count HTTP/1.1\r\nHost: localhost\r\nCookie: {visitor.cookie}\r\n\r\n"
                client.send(line.encode() * many)
                for _ in range(many):
                    assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                    await client.exactly(2)

        async def messages(many: int) -> None:
            async with visitor.socket("/count-on") as socket:
                for _ in range(many):
                    await socket.send("+1")

        await asyncio.gather(
            *(requests(250) for _ in range(4)),
            *(messages(500) for _ in range(4)),
            *(alone(session) for _ in range(7000)),
        )
        await until(lambda: len(numbers) == 10_000)
        assert session["count"] == 10_000
        assert sorted(numbers) == list(range(1, 10_001))


class NoTransport:
    """A socket without a network: it notes only that it was closed."""

    unsent = 0
    heard_at = 0.0

    def __init__(self) -> None:
        self.closed: list[tuple[int, str]] = []

    def write(self, parcel: Any) -> asyncio.Future[None]:
        assert not self.closed
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def ping(self) -> None:
        """Nobody there."""

    def close(self, code: int, reason: str) -> None:
        self.closed.append((code, reason))

    def abort(self) -> None:
        """Nothing to cut."""


@pytest.mark.no_engine
@pytest.mark.feature("W11", "T6", "E1")
async def test_ends_racing_writes_and_opens_bring_nothing_back() -> None:
    """10,000 sessions end in the middle of writes, touches and opening sockets: none lives on, no socket stays open."""
    world, transports = World(session={"max_sessions": 0}), []
    server, sessions, dice = world.server, world.sessions, random.Random(1)
    committed: dict[str, dict[str, Any]] = {}

    async def wait_a_little() -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)

    async def write(session: Session) -> None:
        try:
            for _ in range(5):
                await wait_a_little()
                with UnitOfWork() as unit:
                    session["text"] = dice.randrange(1000)
                    await wait_a_little()
                    await unit.commit()
                    committed[session.ref] = dict(session.record.data)
                await session.increment("count")
                committed[session.ref] = dict(session.record.data)
                await session.touch()
        except SessionEnded:
            pass

    async def open_socket(session: Session) -> None:
        for _ in range(2):
            await wait_a_little()
            connection = Connection(server.hub, session, remote_ip="192.0.2.1")
            try:
                server.hub.register(connection)
            except SessionEnded:
                continue
            await wait_a_little()
            connection.admit(True)
            await wait_a_little()
            transport = NoTransport()
            transports.append(transport)
            connection.opened(transport, lambda connection, message: None, lambda: None)
            connection.received("hello")

    async def end(session: Session) -> None:
        await wait_a_little()
        await wait_a_little()
        assert await sessions.end(session, dice.choice(("logout", "admin", "idle")))
        with pytest.raises(SessionEnded):
            await session.increment("count")
        assert await sessions.get_by_ref(session.ref) is None

    async def life() -> None:
        session = await sessions.create(remote_ip="192.0.2.1")
        committed[session.ref] = {}
        await asyncio.gather(write(session), write(session), open_socket(session), end(session))
        assert await sessions.get(session.id) is None

    await sessions.open()
    for _ in range(20):
        await asyncio.gather(*(life() for _ in range(500)))
    assert await sessions.settled(PATIENCE)
    assert await sessions.count() == 0
    assert len(server.hub) == 0
    assert not server.hub._by_session
    assert all(len(transport.closed) == 1 for transport in transports)
    assert len(transports) > 5000
    ends = world.of("end")
    assert len(world.of("start")) == len(ends) == len({each[1] for each in ends}) == 10_000
    assert all(data == committed[ref] for _, ref, _, data in ends)
    assert await sessions.close() == 0


@pytest.mark.feature("W11")
async def test_ends_racing_handshakes_over_real_sockets() -> None:
    """Each client opens sockets as fast as it can while its session is ended: all are refused or closed with the reason."""
    world = World(session={"auto_start": False})
    dice, refused, closed = random.Random(2), [], []

    async def visit(base: str) -> None:
        visitor = Visitor(base)
        answer = await visitor.ask("/wshttp/session", "POST", "")
        ref = json.loads(answer.body)["ref"]

        async def open_one() -> None:
            for _ in range(dice.randrange(6)):
                await asyncio.sleep(0)
            try:
                socket = await visitor.socket()
            except InvalidStatus as error:
                refused.append(error.response)
            else:
                closed.append(await farewell(socket))

        async def end() -> None:
            for _ in range(dice.randrange(40)):
                await asyncio.sleep(0)
            assert await world.sessions.end(ref, "admin")

        await asyncio.gather(*(open_one() for _ in range(4)), end())

    async with running(world.server) as base:
        for _ in range(5):
            await asyncio.gather(*(visit(base) for _ in range(10)))
        await world.sessions.settled(PATIENCE)
        assert (len(world.server.hub), await world.sessions.count()) == (0, 0)
    assert len(refused) + len(closed) == 200
    assert all(is_ended(answer, "admin") for answer in refused)
    assert set(closed) == {(4006, "session-ended:admin")}
    story = [each[:2] for each in world.of("start", "end")]
    assert len(story) == 100
    assert set(Counter(story).values()) == {1}


@pytest.mark.feature("M2")
async def test_limit_of_connections_holds_under_parallel_handshakes() -> None:
    """However many come at once, a session never has more sockets than it may."""
    world = World(session={"max_connections_per_session": 3})
    async with running(world.server) as base:
        visitor = Visitor(base)
        await visitor.ask("/write/a")
        opened = await asyncio.gather(*(visitor.socket().__aenter__() for _ in range(20)), return_exceptions=True)
        refused = [each for each in opened if isinstance(each, Exception)]
        assert [each.response.status_code for each in refused] == [429] * 17  # type: ignore[attr-defined]
        assert len(world.server.hub) == 3
        for socket in opened:
            if not isinstance(socket, BaseException):
                await socket.close()
