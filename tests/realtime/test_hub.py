"""All connections of a process: who is in, what is sent to whom, and what a session's life does to them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from serving import PATIENCE, new_server, running, soon, until, websocket

from wshttp.errors import ConnectionClosed, LimitReached, SessionEnded
from wshttp.realtime import partings
from wshttp.realtime.connection import Connection
from wshttp.realtime.format import ENVELOPE
from wshttp.realtime.hub import Hub
from wshttp.sessions import lifecycle
from wshttp.sessions.deliveries import AT_ONCE
from wshttp.sessions.record import Reason

NewRealm = Callable[..., Any]


def of(hub: Hub, **options: Any) -> Connection:
    """Make a connection whose handshake went well."""
    connection = Connection(hub, **{"session": None, "remote_ip": "192.0.2.1"} | options)
    connection.admit(True)
    return connection


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.feature("M2")
async def test_limit_in_all_counts_every_connection(realm: NewRealm) -> None:
    """One above `server.max_connections` is refused for all, and one that closes makes room."""
    hub = realm(server={"max_connections": 2}).hub
    first, second = of(hub), of(hub, remote_ip="192.0.2.2")
    hub.register(first)
    hub.register(second)
    with pytest.raises(LimitReached) as caught:
        hub.register(of(hub, remote_ip="192.0.2.3"))
    assert (caught.value.setting, caught.value.in_all) == ("server.max_connections", True)
    first.lost(None, None)
    hub.register(of(hub))
    await hub.stop()


@pytest.mark.feature("M2")
async def test_limit_per_address_counts_buckets(realm: NewRealm) -> None:
    """An IPv6 client counts with its whole prefix, an IPv4 one by itself, and who has no address is not counted."""
    hub = realm(server={"max_connections_per_ip": 1}, session={"ipv6_prefix": 56}).hub
    for ip in ("192.0.2.1", "192.0.2.2", "2001:db8:0:100::1", "2001:db8:0:200::1", "", ""):
        hub.register(of(hub, remote_ip=ip))
    for ip in ("192.0.2.1", "::ffff:192.0.2.2", "2001:db8:0:1ff::9"):
        with pytest.raises(LimitReached) as caught:
            hub.register(of(hub, remote_ip=ip))
        assert (caught.value.setting, caught.value.in_all) == ("server.max_connections_per_ip", False)
    await hub.stop()


@pytest.mark.feature("M2")
async def test_limit_of_zero_is_none(realm: NewRealm) -> None:
    """0 is no limit, in all three."""
    world = realm(
        server={"max_connections": 0, "max_connections_per_ip": 0}, session={"max_connections_per_session": 0}
    )
    session = await world.sessions.create(remote_ip="192.0.2.1")
    for _ in range(200):
        world.hub.register(of(world.hub, session=session))
    assert (len(world.hub), session.connections) == (200, 200)
    await world.hub.stop()


async def test_refused_connection_leaves_nothing_behind(realm: NewRealm) -> None:
    """What was refused counts nowhere, however often it comes."""
    world = realm(server={"max_connections_per_ip": 1}, session={"max_connections_per_session": 1})
    session = await world.sessions.create(remote_ip="192.0.2.1")
    held = of(world.hub, session=session)
    world.hub.register(held)
    for ip in ("192.0.2.1", "192.0.2.9"):
        with pytest.raises(LimitReached):
            world.hub.register(of(world.hub, session=session, remote_ip=ip))
    held.lost(None, None)
    await soon(held.disconnected)
    assert (len(world.hub), session.connections) == (0, 0)
    assert not world.hub._per_address
    assert not world.hub._by_session
    assert not world.hub.partings


async def test_new_limits_hold_from_the_next_handshake_on(realm: NewRealm) -> None:
    """Settings that are read again leave what is open alone."""
    world = realm()
    for _ in range(3):
        await world.connect()
    world.hub.use(
        world.settings.model_copy(update={"server": world.settings.server.model_copy(update={"max_connections": 2})})
    )
    assert len(world.hub) == 3
    with pytest.raises(LimitReached):
        await world.connect()
    await world.hub.stop()


# --- sending ------------------------------------------------------------------------------------


@pytest.mark.feature("W3")
async def test_send_to_whom_it_may_concern(realm: NewRealm) -> None:
    """To one connection, a session, a user, a topic, or all; several conditions must all hold."""
    world = realm()
    ann = await world.sessions.create(remote_ip="192.0.2.1", user="ann")
    also_ann = await world.sessions.create(remote_ip="192.0.2.2", user="ann")
    bob = await world.sessions.create(remote_ip="192.0.2.3", user="bob")
    people = {"a1": ann, "a2": ann, "a3": also_ann, "b": bob}
    opened = {name: await world.connect(session) for name, session in people.items()}
    connections = {name: connection for name, (connection, _) in opened.items()}
    for name in ("a1", "a3", "b"):
        connections[name].subscribe("news")

    async def receivers(**options: Any) -> list[str]:
        for _, transport in opened.values():
            transport.sent.clear()
        count = await world.hub.send("x", **options)
        got = [name for name, (_, transport) in opened.items() if transport.sent == ["x"]]
        assert count == len(got)
        return got

    assert await receivers() == ["a1", "a2", "a3", "b"]
    assert await receivers(connection=connections["a2"].id) == ["a2"]
    assert await receivers(session=ann) == await receivers(session=ann.ref) == ["a1", "a2"]
    assert await receivers(user="ann") == ["a1", "a2", "a3"]
    assert await receivers(topic="news") == ["a1", "a3", "b"]
    assert await receivers(topic="news", user="ann") == ["a1", "a3"]
    assert await receivers(topic="news", session=ann) == ["a1"]
    assert await receivers(connection=connections["b"].id, user="ann") == []
    assert await receivers(include=[connections["a1"], connections["b"]]) == ["a1", "b"]
    assert await receivers(user="ann", exclude=[connections["a1"]]) == ["a2", "a3"]
    assert await receivers(include=lambda c: c.user == "ann", exclude=lambda c: c.session is ann) == ["a3"]
    assert await receivers(topic="nothing") == await receivers(user="nobody") == await receivers(session="?") == []
    connections["a1"].close()
    assert await receivers(topic="news") == ["a3", "b"]
    await world.hub.stop()


@pytest.mark.feature("W3")
async def test_publish_says_where_and_by_whom(realm: NewRealm) -> None:
    """Each connection gets its own form: the envelope to those who speak it, the bare data to others."""
    world = realm()
    plain, plain_out = await world.connect()
    wise, wise_out = await world.connect(format=ENVELOPE)
    await world.connect()
    for connection in (plain, wise):
        connection.subscribe("news")
    assert await world.hub.publish("news", {"n": 1}, sender=plain) == 2
    assert await world.hub.publish("news", "from the server", exclude=[plain]) == 1
    assert plain_out.sent == ['{"n":1}']
    told = [json.loads(text) for text in wise_out.sent]
    assert [each for each in told if each["type"] == "message"] == [
        {"type": "message", "topic": "news", "data": {"n": 1}, "from": {"ref": plain.session.ref, "user": None}},
        {"type": "message", "topic": "news", "data": "from the server", "from": None},
    ]
    assert world.hub.topics.counts() == {"news": 2}
    await world.hub.stop()


@pytest.mark.feature("W3", "M5")
async def test_one_slow_receiver_holds_up_nobody(realm: NewRealm) -> None:
    """A broadcast waits for no one: the slow one is closed, the others have their message."""
    world = realm(websocket={"send_buffer_limit": 10})
    slow, slow_out = await world.connect()
    _, quick_out = await world.connect()
    slow_out.holds = True
    assert await world.hub.send("x" * 10) == 2
    assert await world.hub.send("y" * 10) == 1
    assert slow.closed == (1013, "slow")
    assert quick_out.sent == ["x" * 10, "y" * 10]
    await world.hub.stop()


@pytest.mark.feature("W3")
async def test_send_over_real_sockets() -> None:
    """What the hub sends arrives, at sockets of functions and at the built-in one."""
    server = new_server()
    server.websocket("/plain")(lambda connection, message: None)
    async with running(server) as base, websocket(base, "/plain") as plain, websocket(base, "/wshttp/socket") as wise:
        assert json.loads(await soon(wise.recv()))["type"] == "welcome"
        assert await server.hub.send({"n": 1}) == 2
        assert json.loads(await soon(plain.recv())) == {"n": 1}
        assert json.loads(await soon(wise.recv())) == {"type": "app", "data": {"n": 1}}


async def test_statistics_count_messages_and_bytes(realm: NewRealm) -> None:
    """Bytes are those of the messages as they go over the wire."""
    world = realm()
    connection, _ = await world.connect()
    connection.post("é")
    connection.received("🎉")
    counted = world.hub.statistics
    assert (counted.opened, counted.sent, counted.sent_bytes) == (1, 1, 2)
    assert (counted.received, counted.received_bytes) == (1, 4)
    await world.hub.stop()


# --- a session's life ---------------------------------------------------------------------------


async def test_register_with_an_ended_session(realm: NewRealm) -> None:
    """A session that ended takes no socket any more."""
    world = realm()
    session = await world.sessions.create(remote_ip="192.0.2.1")
    await world.sessions.end(session, "admin")
    with pytest.raises(SessionEnded) as caught:
        world.hub.register(of(world.hub, session=session))
    assert caught.value.reason == "admin"
    assert len(world.hub) == 0


@pytest.mark.feature("W11", "E1")
async def test_on_disconnect_has_run_before_on_session_end(realm: NewRealm) -> None:
    """However slow it is, `on_disconnect` of every socket comes first; also of those that closed before the end."""
    world, story, gate = realm(), [], asyncio.Event()

    async def left(connection: Connection, code: int, reason: str) -> None:
        await gate.wait()
        story.append(code)

    world.callbacks.register("disconnect", left)
    world.callbacks.register("session_end", lambda session, reason: story.append(str(reason)))
    earlier, _ = await world.connect()
    session = earlier.session
    open_still, _ = await world.connect(session)
    earlier.lost(1000, "")
    await world.sessions.end(session)
    assert open_still.closed == (4001, "session-ended:logout")
    gate.set()
    await world.sessions.settled(PATIENCE)
    assert sorted(story[:2]) == [1000, 4001]
    assert story[2:] == ["logout"]


@pytest.mark.feature("W11", "E1")
@pytest.mark.parametrize("obeys", [True, False], ids=["cancelled", "swallows its cancellation"])
async def test_handler_that_never_returns_holds_up_no_end(
    realm: NewRealm, monkeypatch: pytest.MonkeyPatch, obeys: bool
) -> None:
    """Its client has gone: it is cancelled after `callback_timeout`, then come `on_disconnect` and `on_session_end`."""
    monkeypatch.setattr(partings, "CLEANING_UP", 0.01)
    world, story, never = realm(session={"callback_timeout": "10ms"}), [], asyncio.Event()

    async def handler(connection: Connection, message: str) -> None:
        story.append("begun")
        try:
            await never.wait()
        except asyncio.CancelledError:
            story.append("cancelled")
            if obeys:
                raise
            await never.wait()

    world.callbacks.register("disconnect", lambda connection, code, reason: story.append(code))
    world.callbacks.register("session_end", lambda session, reason: story.append(str(reason)))
    connection, _ = await world.connect(handler=handler)
    connection.received("hang")
    await until(lambda: story == ["begun"])
    connection.lost(None, None)
    await world.sessions.end(connection.session)
    assert await world.sessions.settled(PATIENCE)
    assert story == ["begun", "cancelled", 1006, "logout"]
    never.set()


@pytest.mark.feature("W11", "E1")
async def test_sockets_that_are_slow_to_go_hold_up_no_other_session(realm: NewRealm) -> None:
    """However many ends wait for `on_disconnect`, other sessions start and end."""
    world, ends, gate = realm(), [], asyncio.Event()

    async def left(connection: Connection, code: int, reason: str) -> None:
        await gate.wait()

    world.callbacks.register("disconnect", left)
    world.callbacks.register("session_start", lambda session: None)
    world.callbacks.register("session_end", lambda session, reason: ends.append(session.ref))
    waiting = [(await world.connect())[0].session for _ in range(AT_ONCE)]
    for session in waiting:
        await world.sessions.end(session)
    other = await soon(world.sessions.create(remote_ip="192.0.2.2"))
    await world.sessions.end(other)
    await until(lambda: ends == [other.ref])
    assert await world.sessions.store.owed() == AT_ONCE
    gate.set()
    assert await world.sessions.settled(PATIENCE)
    assert {*ends[1:]} == {session.ref for session in waiting}


@pytest.mark.feature("W11", "E1")
async def test_end_waits_for_its_sockets_with_a_bound(realm: NewRealm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `on_disconnect` comes to no end at all, `on_session_end` runs without it, late."""
    monkeypatch.setattr(lifecycle, "CLEANING_UP", 0.01)
    world, ends = realm(session={"callback_timeout": "10ms"}), []
    world.callbacks.register("session_end", lambda session, reason: ends.append(str(reason)))
    connection, _ = await world.connect()
    connection._admitted = None  # as if on_connect had no time-out
    await world.sessions.end(connection.session)
    assert await world.sessions.settled(PATIENCE)
    assert ends == ["logout"]
    connection.admit(False)
    await world.hub.stop()


@pytest.mark.feature("W11", "E1")
async def test_end_that_waits_for_its_sockets_is_given_up_with_the_rest(realm: NewRealm) -> None:
    """A drain whose time is over counts it as undelivered, and does not run it out of its order."""
    world, ends = realm(), []
    world.callbacks.register("session_end", lambda session, reason: ends.append(str(reason)))

    async def left(connection: Connection, code: int, reason: str) -> None:
        await asyncio.Event().wait()

    world.callbacks.register("disconnect", left)
    for _ in range(3):
        await world.connect()
    assert await world.sessions.close(timeout=0.01) == 3
    for _ in range(10):
        await asyncio.sleep(0)
    assert ends == []


async def test_end_of_a_session_without_sockets_costs_no_task(realm: NewRealm) -> None:
    """There is nothing to wait for."""
    world = realm()
    session = await world.sessions.create(remote_ip="192.0.2.1")
    assert world.hub.ended(session.record, Reason.LOGOUT) is None


@pytest.mark.feature("W11")
async def test_what_on_disconnect_changes_is_committed(realm: NewRealm) -> None:
    """Each function is a unit of work of its own: what one that fails has changed is dropped, and no other's."""
    world = realm()

    def count(connection: Connection, code: int, reason: str) -> None:
        connection.session["left"] = code

    def fail(connection: Connection, code: int, reason: str) -> None:
        connection.session["failed"] = True
        raise ZeroDivisionError

    world.callbacks.register("disconnect", count)
    world.callbacks.register("disconnect", fail)
    connection, _ = await world.connect()
    connection.lost(1000, "")
    await soon(connection.disconnected)
    assert connection.session.record.data == {"left": 1000}


@pytest.mark.feature("W11")
async def test_publish_in_the_name_of_one_who_is_out(realm: NewRealm) -> None:
    """Nothing goes out for a session that has ended, or a connection that was closed here; a peer that left counts still."""
    world = realm()
    watcher, seen = await world.connect()
    watcher.subscribe("room")
    ended, _ = await world.connect()
    kicked, _ = await world.connect()
    left, _ = await world.connect()
    await world.sessions.end(ended.session, "admin")
    world.hub.kick(kicked.id)
    left.lost(1000, "")
    with pytest.raises(SessionEnded):
        await world.hub.publish("room", "ended", sender=ended)
    with pytest.raises(ConnectionClosed):
        await world.hub.publish("room", "kicked", sender=kicked)
    assert await world.hub.publish("room", "left", sender=left) == 1
    assert seen.sent == ["left"]
    await world.hub.stop()


@pytest.mark.feature("W11")
async def test_on_disconnect_has_run_before_on_session_end_at_a_shutdown() -> None:
    """A drain closes the sockets before it ends the sessions, and the order is the same."""
    server, story = new_server(), []
    server.websocket("/quiet")(lambda connection, message: None)

    @server.on_disconnect
    async def left(connection: Connection, code: int, reason: str) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        story.append((code, reason))

    @server.on_session_end
    def ended(session: Any, reason: str) -> None:
        story.append(str(reason))

    async with running(server) as base, websocket(base, "/quiet"):
        assert await server.stop() == 0
    assert story == [(1001, "going away"), "shutdown"]


async def test_stop_lets_on_disconnect_finish_where_there_are_no_sessions(realm: NewRealm) -> None:
    """Without sessions nobody else waits for them."""
    world, story = realm(session={"enabled": False}), []

    async def left(connection: Connection, code: int, reason: str) -> None:
        for _ in range(50):
            await asyncio.sleep(0)
        story.append(code)

    world.callbacks.register("disconnect", left)
    connection = of(world.hub)
    world.hub.register(connection)
    await world.hub.stop()
    assert story == [1001]


async def test_sockets_of_a_session_hear_of_it(realm: NewRealm) -> None:
    """Other sockets of the session, a touch, the warning and the end are told to those who speak `wshttp.v1`."""
    world = realm(session={"idle_timeout": 100, "warn_before": 10})
    first, told = await world.connect(format=ENVELOPE)
    _, bare = await world.connect(first.session)

    def types() -> list[str]:
        return [json.loads(text)["type"] for text in told.sent]

    assert types() == ["session"]
    assert json.loads(told.sent[0])["session"]["connections"] == 2
    world.clock.advance(90.5)
    await world.sessions.sweep()
    assert json.loads(told.sent[-1]) == {"type": "expiring", "seconds": 9}
    world.clock.advance(10)
    await world.sessions.sweep()
    await world.sessions.settled(PATIENCE)
    assert json.loads(told.sent[-1]) == {"type": "ended", "reason": "idle"}
    assert told.close_frames == bare.close_frames == [(4002, "session-ended:idle")]
    assert bare.sent == []


# --- activity -----------------------------------------------------------------------------------


@pytest.mark.feature("L8")
@pytest.mark.parametrize(
    ("touch", "message", "pong", "silence"),
    [
        (["http"], False, False, False),
        (["http", "message"], True, False, False),
        (["pong"], False, True, False),
        (["open"], True, True, True),
    ],
)
async def test_touch_policy(realm: NewRealm, touch: list[str], message: bool, pong: bool, silence: bool) -> None:
    """What counts as activity is policy: a message, a pong, or the open socket by itself."""
    world = realm(session={"touch": touch, "idle_timeout": 100}, websocket={"ping_interval": 0})
    for event, counts in (("message", message), ("pong", pong), ("silence", silence)):
        connection, transport = await world.connect()
        await world.hub.beat(world.clock.monotonic())
        began = connection.session.record.last_access_at
        world.clock.advance(50)
        if event == "message":
            connection.received("hello")
            await until(lambda connection=connection: connection._worker is None)
        if event == "pong":
            transport.heard_at = world.clock.monotonic()
        await world.hub.beat(world.clock.monotonic())
        assert (connection.session.record.last_access_at > began) is counts, event
        connection.close()
        await soon(connection.disconnected)
    await world.hub.stop()


@pytest.mark.feature("L8")
async def test_open_socket_keeps_its_session_only_until_the_absolute_timeout(realm: NewRealm) -> None:
    """With `open` a forgotten tab keeps its session alive, and the absolute time-out ends it all the same."""
    world = realm(session={"touch": ["open"], "idle_timeout": 100, "absolute_timeout": 1000})
    connection, transport = await world.connect()
    for _ in range(19):
        world.clock.advance(50)
        await world.hub.beat(world.clock.monotonic())
        transport.heard_at = world.clock.monotonic()
        await world.sessions.sweep()
        assert connection.session.ended is None
    world.clock.advance(50)
    await world.sessions.sweep()
    await world.sessions.settled(PATIENCE)
    assert connection.closed == (4003, "session-ended:absolute")


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.feature("W10")
async def test_drain_closes_all_and_spreads_it(realm: NewRealm) -> None:
    """All get 1001; with a window not all at once."""
    world = realm()
    opened = [await world.connect() for _ in range(5)]
    draining = asyncio.create_task(world.hub.drain(0.05))
    await asyncio.sleep(0)
    assert sum(connection.closed is not None for connection, _ in opened) == 1
    await soon(draining)
    assert [transport.close_frames for _, transport in opened] == [[(1001, "going away")]] * 5
    assert len(world.hub) == 0


async def test_heart_beats_only_while_somebody_is_there(realm: NewRealm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that was never stopped leaves no task behind once its last connection is gone."""
    monkeypatch.setattr("wshttp.realtime.hub.BEAT", 0.0)
    world = realm(session={"presence_grace": 0})
    connection, _ = await world.connect()
    assert world.hub._heart is not None
    connection.close()
    await until(lambda: world.hub._heart is None)
    connection, _ = await world.connect()
    assert world.hub._heart is not None
    await world.hub.stop()
