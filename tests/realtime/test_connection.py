"""One connection: sending, receiving, the heartbeat and the close, over a transport that obeys the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import pytest
from serving import PATIENCE, Raw, new_server, raw, running, soon, until, websocket

from wshttp.errors import ConnectionClosed, SessionEnded
from wshttp.realtime.close_codes import PING_TIMEOUT
from wshttp.realtime.connection import AT_ONCE, INBOX, INBOX_BYTES, LONGEST_EXCUSE, Connection
from wshttp.realtime.format import Message

NewRealm = Callable[..., Any]

where: ContextVar[str] = ContextVar("where", default="nowhere")


async def idle(connection: Connection) -> None:
    """Wait until a connection has handled what came."""
    await until(lambda: connection._worker is None)


# --- sending ------------------------------------------------------------------------------------


@pytest.mark.feature("M5")
async def test_send_waits_for_a_slow_receiver(realm: NewRealm) -> None:
    """`send` takes the receiver's pace once `send_buffer_limit` bytes are unsent, and goes on when there is room."""
    world = realm(websocket={"send_buffer_limit": 10})
    connection, transport = await world.connect()
    transport.holds = True
    await connection.send("12345")
    await connection.send("67890")
    third = asyncio.create_task(connection.send("!"))
    await asyncio.sleep(0)
    assert transport.sent == ["12345", "67890"]
    transport.release()
    await soon(third)
    assert transport.sent == ["12345", "67890", "!"]
    await world.hub.stop()


@pytest.mark.feature("M5")
async def test_send_buffer_is_counted_in_bytes(realm: NewRealm) -> None:
    """A letter may take four bytes on the wire, and that is what fills buffers."""
    world = realm(websocket={"send_buffer_limit": 10, "on_slow": "drop"})
    connection, transport = await world.connect()
    transport.holds = True
    assert connection.post("a")
    assert not connection.post("🎉🎉🎉")
    assert connection.post("🎉🎉")
    await world.hub.stop()


async def test_message_over_the_buffer_limit_goes_out_alone(realm: NewRealm) -> None:
    """One message may be larger than the limit: it waits for an empty buffer, and then goes."""
    world = realm(websocket={"send_buffer_limit": 10})
    connection, transport = await world.connect()
    await connection.send("x" * 100)
    assert transport.sent == ["x" * 100]
    await world.hub.stop()


@pytest.mark.feature("M5")
async def test_send_to_a_receiver_that_takes_nothing_closes_it(realm: NewRealm) -> None:
    """After `server.write_timeout` without progress the receiver is closed as slow, and `send` says so."""
    world = realm(websocket={"send_buffer_limit": 10}, server={"write_timeout": "10ms"})
    connection, transport = await world.connect()
    transport.holds = True
    await connection.send("x" * 10)
    with pytest.raises(ConnectionClosed) as caught:
        await asyncio.wait_for(connection.send("y"), PATIENCE)
    assert (caught.value.code, caught.value.reason) == (1013, "slow")
    assert transport.close_frames == [(1013, "slow")]


@pytest.mark.feature("M5")
async def test_post_to_a_slow_receiver_closes_it(realm: NewRealm) -> None:
    """What goes to many waits for nobody: who is behind is closed with 1013."""
    world = realm(websocket={"send_buffer_limit": 10})
    connection, transport = await world.connect()
    transport.holds = True
    assert connection.post("x" * 10)
    assert not connection.post("y")
    assert transport.close_frames == [(1013, "slow")]
    assert world.hub.statistics.slow == 1


@pytest.mark.feature("M5")
async def test_post_to_a_slow_receiver_may_drop(realm: NewRealm) -> None:
    """With `on_slow: drop` the message is lost, and the connection stays; later ones go out again."""
    world = realm(websocket={"send_buffer_limit": 10, "on_slow": "drop"})
    connection, transport = await world.connect()
    transport.holds = True
    assert [connection.post(text) for text in ("x" * 10, "lost")] == [True, False]
    transport.release()
    assert connection.post("again")
    assert transport.sent == ["x" * 10, "again"]
    assert connection.closed is None
    await world.hub.stop()


async def test_send_where_the_socket_is_gone(realm: NewRealm) -> None:
    """A socket that is gone before its close was noticed: `send` raises, `post` tells."""
    world = realm()
    connection, transport = await world.connect()
    transport.gone = True
    with pytest.raises(ConnectionClosed):
        await connection.send("hello")
    assert not connection.post("hello")
    connection.close()
    with pytest.raises(ConnectionClosed, match="1000 bye"):
        await connection.send("hello")
    assert not connection.post("hello")


@pytest.mark.feature("M5")
@pytest.mark.parametrize("policy", ["close", "drop"])
async def test_slow_receiver_on_a_real_socket(policy: str) -> None:
    """A client that stops reading costs at most the buffer limit: then it is closed, or messages are dropped."""
    server = new_server(websocket={"send_buffer_limit": "256KiB", "on_slow": policy})
    server.websocket("/news")(lambda connection, message: None)
    async with running(server) as base, raw(base) as client:
        client.send(
            b"GET /news HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await client.until(b"\r\n\r\n")
        await until(lambda: len(server.hub) == 1)
        [connection] = server.hub
        client.writer.transport.pause_reading()
        while await server.hub.send("x" * 65536):
            assert connection._transport.unsent <= 256 * 1024
            await asyncio.sleep(0)
        assert server.hub.statistics.slow == 1
        client.writer.transport.resume_reading()
        if policy == "drop":
            reading = asyncio.create_task(read_until(client, b"again"))
            await until(lambda: connection._transport.unsent == 0)
            assert await server.hub.send("again") == 1
            await reading
        else:
            await read_until(client, b"\x88\x06\x03\xf5slow")
        client.send(b"\x88\x80\x00\x00\x00\x00")
        assert await client.rest() == b"\x88\x00" * (policy == "drop")


async def read_until(client: Raw, end: bytes) -> None:
    """Read, and drop, up to what ends with these bytes."""
    seen = b""
    while not seen.endswith(end):
        seen = seen[-100:] + await soon(client.reader.read(65536))


@pytest.mark.feature("M5")
async def test_fast_sender_takes_the_pace_of_its_receiver() -> None:
    """A handler that sends more than the buffers hold loses nothing where it awaits `send`."""
    server = new_server(websocket={"send_buffer_limit": "64KiB"})

    @server.websocket("/flood")
    async def flood(connection: Connection, message: str) -> None:
        for number in range(200):
            await connection.send(str(number).zfill(32_768))
            assert connection._transport.unsent <= 65_536

    async with running(server) as base, websocket(base, "/flood", max_queue=1) as socket:
        await socket.send("go")
        assert [int((await soon(socket.recv()))[-8:]) for _ in range(200)] == list(range(200))


# --- receiving ----------------------------------------------------------------------------------


async def test_messages_wait_for_a_busy_handler_up_to_a_bound(realm: NewRealm) -> None:
    """When `INBOX` messages wait, the transport is asked to read no more, until half of them are done."""
    world, gate, handled = realm(), asyncio.Semaphore(0), []

    async def handler(connection: Connection, message: Message) -> None:
        await gate.acquire()
        handled.append(message)

    connection, _ = await world.connect(handler=handler)
    assert connection.received("in hand") is None
    rooms = [connection.received(str(number)) for number in range(INBOX)]
    assert rooms[:-1] == [None] * (INBOX - 1)
    assert not rooms[-1].done()
    assert connection.paused
    for _ in range(INBOX // 2):
        gate.release()
    await until(lambda: len(handled) == INBOX // 2)
    assert not rooms[-1].done()
    gate.release()
    await soon(rooms[-1])
    for _ in range(INBOX):
        gate.release()
    await idle(connection)
    assert handled == ["in hand", *map(str, range(INBOX))]
    await world.hub.stop()


async def test_large_messages_wait_for_a_busy_handler_up_to_a_bound(realm: NewRealm) -> None:
    """What waits is bounded in bytes, too: a few large messages fill the inbox like many small ones."""
    world, gate = realm(), asyncio.Semaphore(0)

    async def handler(connection: Connection, message: Message) -> None:
        await gate.acquire()

    connection, _ = await world.connect(handler=handler)
    assert connection.received("in hand") is None
    half = "x" * (INBOX_BYTES // 2)
    assert connection.received(half) is None
    room = connection.received(half)
    assert not room.done()
    for _ in range(3):
        gate.release()
    await soon(room)
    await idle(connection)
    assert connection._inbox_bytes == 0
    await world.hub.stop()


async def test_message_whose_handler_never_waits_is_handled_where_it_comes_in(realm: NewRealm) -> None:
    """Function or coroutine: it is done, committed and answered when `received` returns, and costs no task."""
    world = realm()

    async def count(connection: Connection, message: Message) -> None:
        connection.session["count"] = connection.session.get("count", 0) + 1
        await connection.send(message)

    def note(connection: Connection, message: Message) -> None:
        connection.session["note"] = message

    counting, transport = await world.connect(handler=count)
    noting, _ = await world.connect(handler=note)
    for _ in range(3):
        await asyncio.sleep(0)
    before = asyncio.all_tasks()
    for message in ("one", "two"):
        counting.received(message)
        noting.received(message)
    assert transport.sent == ["one", "two"]
    assert (counting.session.record.data, noting.session.record.data) == ({"count": 2}, {"note": "two"})
    assert asyncio.all_tasks() == before
    await world.hub.stop()


async def test_message_that_comes_while_another_waits_is_handled_after_it(realm: NewRealm) -> None:
    """Also where its handler would not have to wait; afterwards, those that come in are handled where they do again."""
    world, gate, handled = realm(), asyncio.Event(), []

    async def handler(connection: Connection, message: Message) -> None:
        if message == "slow":
            await gate.wait()
        handled.append(message)

    connection, _ = await world.connect(handler=handler)
    for message in ("fast", "slow", "late"):
        connection.received(message)
    for _ in range(3):
        await asyncio.sleep(0)
    assert handled == ["fast"]
    gate.set()
    await idle(connection)
    assert handled == ["fast", "slow", "late"]
    connection.received("at once")
    assert handled[-1] == "at once"
    await world.hub.stop()


async def test_many_messages_at_a_time_let_others_have_their_turn(realm: NewRealm) -> None:
    """Of a thousand that come in one read no more than `AT_ONCE` are handled, and then the inbox fills, before a turn."""
    world, handled, turns = realm(), [], []
    connection, _ = await world.connect(handler=lambda connection, message: handled.append(message))

    async def look() -> None:
        while len(handled) < 1000:
            turns.append(len(handled))
            await asyncio.sleep(0)
        turns.append(1000)

    looking = asyncio.create_task(look())
    for number in range(1000):
        room = connection.received(str(number))
        if room is not None:
            await soon(room)
    await soon(looking)
    assert handled == [str(number) for number in range(1000)]
    assert max(after - before for before, after in pairwise(turns)) <= AT_ONCE + INBOX + 1
    await world.hub.stop()


async def test_message_does_not_see_what_another_left_in_its_context(realm: NewRealm) -> None:
    """Each begins in the context of its socket; so do the tasks that it starts."""
    world, seen = realm(), []

    async def handler(connection: Connection, message: Message) -> None:
        seen.append(where.get())
        where.set(str(message))
        seen.append(await asyncio.create_task(look()))

    async def look() -> str:
        return where.get()

    where.set("socket")
    connection, _ = await world.connect(handler=handler)
    for message in ("one", "two"):
        connection.received(message)
        await idle(connection)
    assert seen == ["socket", "one", "socket", "two"]
    assert where.get() == "socket"
    await world.hub.stop()


async def test_message_that_has_waited_does_not_see_what_another_left_in_its_context(realm: NewRealm) -> None:
    """Whether a message finds its handler busy makes no difference to it."""
    world, gate, seen = realm(), asyncio.Event(), []

    async def handler(connection: Connection, message: Message) -> None:
        seen.append(where.get())
        where.set(str(message))
        await gate.wait()

    where.set("socket")
    connection, _ = await world.connect(handler=handler)
    for message in ("one", "two", "three"):
        connection.received(message)
    gate.set()
    await idle(connection)
    assert seen == ["socket", "socket", "socket"]
    await world.hub.stop()


@pytest.mark.parametrize("cancelled", ["1", "2"])
async def test_messages_behind_one_that_was_cancelled_are_handled(realm: NewRealm, cancelled: str) -> None:
    """In order, and before those that come later; it may have been the first, or one that has waited itself."""
    world, gate, handled = realm(), asyncio.Event(), []

    async def handler(connection: Connection, message: Message) -> None:
        await gate.wait()
        if message == cancelled:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        handled.append(message)

    connection, _ = await world.connect(handler=handler)
    for message in "1234":
        connection.received(message)
    gate.set()
    await idle(connection)
    connection.received("5")
    await idle(connection)
    assert handled == [message for message in "12345" if message != cancelled]
    await world.hub.stop()


@pytest.mark.parametrize("begins", ["waiting", "closing"])
async def test_handler_that_hangs_is_cancelled_after_a_close_of_ours(
    realm: NewRealm, begins: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As after one of the peer's: it has `session.callback_timeout`; `on_disconnect` does not wait for it."""
    world = realm(session={"callback_timeout": "10ms"})
    never, cancelled, disconnected = asyncio.Event(), asyncio.Event(), asyncio.Event()
    world.callbacks.register("disconnect", lambda connection, code, reason: disconnected.set())

    async def handler(connection: Connection, message: Message) -> None:
        if begins == "closing":
            connection.close()
        try:
            await never.wait()
        except asyncio.CancelledError:
            assert disconnected.is_set()
            cancelled.set()
            raise

    connection, _ = await world.connect(handler=handler)
    connection.received("go")
    await until(lambda: connection._worker is not None)
    connection.close()
    await soon(cancelled.wait())
    await idle(connection)
    assert "a handler of a connection is cancelled" in caplog.text
    await world.hub.stop()


async def test_closing_lets_the_transport_read_on(realm: NewRealm) -> None:
    """A handler that never returns must not keep a closed connection's peer from being heard: its close frame ends it."""
    world, never, busy = realm(), asyncio.Event(), asyncio.Event()

    async def handler(connection: Connection, message: Message) -> None:
        busy.set()
        await never.wait()

    connection, _ = await world.connect(handler=handler)
    connection.received("first")
    await soon(busy.wait())
    room = [connection.received(str(number)) for number in range(INBOX + 1)][-1]
    connection.close()
    await soon(room)
    assert connection.received("more") is None
    never.set()
    await idle(connection)


async def test_message_after_the_close_is_not_handled(realm: NewRealm) -> None:
    """From the close on nothing is handled any more, what waits included."""
    world, gate, handled = realm(), asyncio.Event(), []

    async def handler(connection: Connection, message: Message) -> None:
        handled.append(message)
        await gate.wait()

    connection, _ = await world.connect(handler=handler)
    connection.received("one")
    connection.received("two")
    await until(lambda: handled == ["one"])
    connection.close()
    connection.received("three")
    gate.set()
    await idle(connection)
    assert handled == ["one"]


async def test_message_of_an_ended_session_is_not_handled(realm: NewRealm) -> None:
    """Past its deadline a session is over, even before anybody has looked: its messages find no handler."""
    world, handled = realm(), []
    connection, _ = await world.connect(handler=lambda connection, message: handled.append(message))
    world.clock.advance(20 * 60)
    connection.received("too late")
    await idle(connection)
    assert handled == []
    await world.sessions.sweep()
    await world.sessions.settled(PATIENCE)
    assert connection.closed == (4002, "session-ended:idle")


async def test_error_about_another_session_closes_with_1008(realm: NewRealm) -> None:
    """Only the end of its own session is told by its own code; work on another one that is over is an error like others."""
    world = realm()
    other = await world.sessions.create(remote_ip="192.0.2.2")
    await world.sessions.end(other)

    def handler(connection: Connection, message: Message) -> None:
        with pytest.raises(SessionEnded):
            other["x"] = 1
        other["x"] = 1

    connection, transport = await world.connect(handler=handler)
    connection.received("go")
    await idle(connection)
    assert transport.close_frames == [(1008, "policy")]


async def test_handler_that_ends_its_own_session(realm: NewRealm) -> None:
    """Logging out over the socket closes it with 4001, and what was written before is the session's last data."""
    world, ends = realm(), []
    world.callbacks.register("session_end", lambda session, reason: ends.append((str(reason), dict(session))))

    async def handler(connection: Connection, message: Message) -> None:
        connection.session["last"] = True
        await world.sessions.end(connection.session)

    connection, transport = await world.connect(handler=handler)
    connection.received("log out")
    await idle(connection)
    await world.sessions.settled(PATIENCE)
    assert transport.close_frames == [(4001, "session-ended:logout")]
    assert ends == [("logout", {"last": True})]


# --- heartbeat ----------------------------------------------------------------------------------


@pytest.mark.feature("W5")
async def test_silent_peer_is_pinged_and_then_given_up(realm: NewRealm) -> None:
    """After `ping_interval` of silence comes a ping, and after `ping_timeout` more the end, with nobody to wait for."""
    world, gone = realm(websocket={"ping_interval": 20, "ping_timeout": 5}), []
    world.callbacks.register("disconnect", lambda connection, code, reason: gone.append((code, reason)))
    connection, transport = await world.connect()

    async def after(seconds: float) -> tuple[int, bool]:
        world.clock.advance(seconds)
        await world.hub.beat(world.clock.monotonic())
        return transport.pings, transport.aborted

    assert await after(19.9) == (0, False)
    assert await after(0.1) == (1, False)
    assert await after(4.9) == (1, False)
    assert await after(0.1) == (1, True)
    assert connection.closed == PING_TIMEOUT
    await soon(connection.disconnected)
    assert gone == [(1011, "ping timeout")]
    assert len(world.hub) == 0


@pytest.mark.feature("W5")
async def test_peer_that_answers_lives_on(realm: NewRealm) -> None:
    """Whatever is heard counts: a pong, or anything else."""
    world = realm(websocket={"ping_interval": 20, "ping_timeout": 5})
    connection, transport = await world.connect()
    for ping in range(1, 4):
        world.clock.advance(20)
        await world.hub.beat(world.clock.monotonic())
        assert transport.pings == ping
        world.clock.advance(1)
        transport.heard_at = world.clock.monotonic()
    world.clock.advance(19.9)
    await world.hub.beat(world.clock.monotonic())
    assert (transport.pings, connection.closed) == (3, None)
    await world.hub.stop()


@pytest.mark.feature("W5")
async def test_busy_handler_is_no_dead_peer(realm: NewRealm) -> None:
    """While messages pile up nothing is read, so that silence proves nothing; it counts again from when reading goes on."""
    world, gate = realm(websocket={"ping_interval": 20, "ping_timeout": 5}), asyncio.Event()

    async def handler(connection: Connection, message: Message) -> None:
        await gate.wait()

    connection, _ = await world.connect(handler=handler)
    for number in range(INBOX + 1):
        connection.received(str(number))
    for _ in range(10):
        world.clock.advance(5)
        await world.hub.beat(world.clock.monotonic())
    assert connection.closed is None
    gate.set()
    await idle(connection)
    for seconds in (20, 4.9):
        world.clock.advance(seconds)
        await world.hub.beat(world.clock.monotonic())
    assert connection.closed is None
    world.clock.advance(0.2)
    await world.hub.beat(world.clock.monotonic())
    assert connection.closed == PING_TIMEOUT


@pytest.mark.feature("W5")
async def test_handler_that_hangs_excuses_its_peer_for_a_while_only(realm: NewRealm) -> None:
    """With a full inbox nothing is read, so that nobody would notice that the peer has gone: the hub lets go of it."""
    world = realm(websocket={"ping_interval": 20, "ping_timeout": 5}, session={"callback_timeout": "10ms"})
    left: list[int] = []
    world.callbacks.register("disconnect", lambda connection, code, reason: left.append(code))

    async def handler(connection: Connection, message: Message) -> None:
        await asyncio.Event().wait()

    connection, transport = await world.connect(handler=handler)
    for number in range(INBOX + 1):
        connection.received(str(number))
    await until(lambda: len(connection._inbox) == INBOX)
    world.clock.advance(LONGEST_EXCUSE)
    await world.hub.beat(world.clock.monotonic())
    assert (connection.closed, transport.aborted, len(world.hub)) == (PING_TIMEOUT, True, 0)
    await soon(connection.disconnected)
    assert left == [1011]
    await idle(connection)  # the handler is cancelled
    await world.hub.stop()


@pytest.mark.feature("W5")
@pytest.mark.parametrize("off", [{"ping_interval": 0}, {"ping_timeout": 0}])
async def test_heartbeat_may_be_off(realm: NewRealm, off: dict[str, int]) -> None:
    """0 is no limit, for the pings and for the wait for their answer."""
    world = realm(websocket=off)
    connection, _ = await world.connect()
    for _ in range(5):
        world.clock.advance(3600 / 5)
        await world.hub.beat(world.clock.monotonic())
    assert connection.closed is None
    await world.hub.stop()


@pytest.mark.feature("W5")
async def test_heartbeat_on_a_real_socket(clock: Any) -> None:
    """The `websockets` library answers pings while our handler is busy, and stays; a mute client is found and cut."""
    server, gate = new_server(clock), asyncio.Event()

    @server.websocket("/busy")
    async def busy(connection: Connection, message: str) -> None:
        await gate.wait()

    async with running(server) as base, websocket(base, "/busy") as healthy:
        await healthy.send("work")
        async with raw(base) as mute:
            mute.send(
                b"GET /busy HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            await mute.until(b"\r\n\r\n")
            await until(lambda: len(server.hub) == 2)
            await until(lambda: all(connection._transport is not None for connection in server.hub))
            first, second = sorted(server.hub, key=lambda connection: connection.opened_at)
            clock.advance(20)
            await server.hub.beat(clock.monotonic())
            assert (await mute.exactly(2)) == b"\x89\x00"
            await until(lambda: any(each._transport.heard_at == clock.monotonic() for each in (first, second)))
            clock.advance(20)
            await server.hub.beat(clock.monotonic())
            assert [len(server.hub), healthy.close_code] == [1, None]
            assert (await mute.rest())[:2] == b"\x88\x0e"
        gate.set()


# --- closing ------------------------------------------------------------------------------------


async def test_on_disconnect_comes_once_whoever_closes(realm: NewRealm) -> None:
    """Both sides may close at the same time: one report, with the first code."""
    world, gone = realm(), []
    world.callbacks.register("disconnect", lambda connection, code, reason: gone.append((code, reason)))
    connection, _ = await world.connect()
    connection.close(4100, "first")
    connection.lost(1000, "second")
    connection.close(4200, "third")
    await soon(connection.disconnected)
    assert gone == [(4100, "first")]


async def test_on_disconnect_may_change_the_session(realm: NewRealm) -> None:
    """While the session lives, what `on_disconnect` writes is committed."""
    world = realm()

    async def note(connection: Connection, code: int, reason: str) -> None:
        connection.session["left"] = code

    world.callbacks.register("disconnect", note)
    connection, _ = await world.connect()
    connection.lost(None, None)
    await soon(connection.disconnected)
    assert connection.session.record.data == {"left": 1006}


async def test_connection_closed_during_its_handshake_closes_when_it_opens(
    realm: NewRealm, new_transport: Callable[[], Any]
) -> None:
    """Who closes it before the 101 does not wait for it: the close frame is the first thing that the peer gets."""
    world, gone = realm(), []
    world.callbacks.register("disconnect", lambda connection, code, reason: gone.append(code))
    session = await world.sessions.create(remote_ip="192.0.2.1")
    connection = Connection(world.hub, session, remote_ip="192.0.2.1")
    world.hub.register(connection)
    await world.sessions.renew(session)
    assert not connection.disconnected.done()
    connection.admit(True)
    transport = new_transport()
    connection.opened(transport, lambda connection, message: None, lambda: None)
    await soon(connection.disconnected)
    await idle(connection)
    assert transport.close_frames == [(4000, "session-renewed")]
    assert gone == [4000]
