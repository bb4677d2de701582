"""Several nodes on one store: what happens on one, all know, whatever becomes of the words."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from serving import soon, until

from wshttp.errors import LimitReached, SessionEnded, StoreUnavailable, TooManyRequests
from wshttp.realtime import doubts as doubts_module
from wshttp.realtime import relay as relay_module
from wshttp.realtime import topics as topics_module
from wshttp.realtime.connection import INBOX, Connection
from wshttp.realtime.format import ENVELOPE
from wshttp.realtime.words import decode, encode
from wshttp.sessions.changes import Changes
from wshttp.sessions.record import Reason, Tombstone
from wshttp.sessions.session_list import SessionList

NewNodes = Callable[..., Any]


def envelopes(transport: Any, *types: str) -> list[dict[str, Any]]:
    """Return the envelopes of some types that a socket got."""
    return [each for each in map(json.loads, transport.sent) if each["type"] in types]


async def shared(node: Any, *others: Any, **options: Any) -> list[Any]:
    """Create a session on a node; return every node's own `Session` of it."""
    session = await node.sessions.create(remote_ip="192.0.2.1", **options)
    return [session, *[await other.sessions.get_by_ref(session.ref) for other in others]]


def words_of(node: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list of all words that a node says from now on."""
    said = []
    say = node.broker.say

    def note(word: bytes, *, topic: str | None = None) -> None:
        said.append(decode(word))
        say(word, topic=topic)

    monkeypatch.setattr(node.broker, "say", note)
    return said


# --- messages -----------------------------------------------------------------------------------


@pytest.mark.feature("W3", "W9")
async def test_message_reaches_sockets_on_all_nodes_once(nodes: NewNodes) -> None:
    """By session, user, topic, all, or several of them; what is returned counts those of the node that sends."""
    async with nodes(3) as world:
        a, b, c = world
        ann = await shared(a, b, c, user="ann")
        bob = await shared(b, c, user="bob")
        sockets = {
            "ann a": await a.connect(ann[0]),
            "ann b": await b.connect(ann[1]),
            "bob b": await b.connect(bob[0]),
            "bob c": await c.connect(bob[1]),
        }
        for name in ("ann a", "bob c"):
            sockets[name][0].subscribe("news")
        ref = ann[0].ref
        for node, here, target, receivers in (
            (a, 1, {"session": ref}, {"ann a", "ann b"}),
            (c, 0, {"session": ann[0]}, {"ann a", "ann b"}),
            (b, 1, {"user": "bob"}, {"bob b", "bob c"}),
            (b, 0, {"topic": "news"}, {"ann a", "bob c"}),
            (a, 0, {"topic": "news", "user": "bob"}, {"bob c"}),
            (a, 1, {}, set(sockets)),
            (c, 0, {"connection": sockets["ann b"][0].id}, {"ann b"}),
            (b, 1, {"connection": sockets["ann b"][0].id}, {"ann b"}),
            (b, 0, {"connection": "nowhere"}, set()),
        ):
            assert await node.hub.send("x", **target) == here
            await world.settle()
            got = {name: len(transport.sent) for name, (_, transport) in sockets.items() if transport.sent}
            assert got == dict.fromkeys(receivers, 1), target
            for _, transport in sockets.values():
                transport.sent.clear()


@pytest.mark.feature("W3")
@pytest.mark.parametrize("data", ["text", "", b"\x00\xff\n", {"a": [1, None, "ä"]}, None, 1.5, []], ids=repr)
async def test_message_is_the_same_on_all_nodes(nodes: NewNodes, data: Any) -> None:
    """Text, bytes and JSON values, sent or published, look as they would from a connection's own node."""
    async with nodes(2) as (a, b):
        guest = await shared(a, b, user="ann")
        plain, enveloped = [], []
        for node, session in zip((a, b), guest, strict=True):
            for transports, options in ((plain, {}), (enveloped, {"format": ENVELOPE})):
                connection, transport = await node.connect(session, **options)
                connection.subscribe("news")
                transports.append(transport)
        for transport in plain + enveloped:
            transport.sent.clear()
        sender = a.hub.of_session(guest[0].ref)[0]
        await a.hub.send(data)
        await a.hub.publish("news", data, sender=sender)
        await a.hub.publish("news", data)
        await until(lambda: all(len(transport.sent) >= 3 for transport in plain))
        await until(lambda: len(envelopes(enveloped[1], "app", "message")) == 3)
        assert plain[0].sent == plain[1].sent
        assert envelopes(enveloped[0], "app", "message") == envelopes(enveloped[1], "app", "message")


@pytest.mark.feature("W3")
async def test_filter_of_a_message_elsewhere(nodes: NewNodes) -> None:
    """A function is asked on its own node, and nothing goes to others; connections and ids count everywhere."""
    async with nodes(2) as world:
        a, b = world
        here, seen_here = await a.connect()
        there, seen_there = await b.connect()
        other, seen_other = await b.connect()

        async def got(**options: Any) -> tuple[int, int, int]:
            await a.hub.send("x", **options)
            await world.settle()
            counts = tuple(len(seen.sent) for seen in (seen_here, seen_there, seen_other))
            for seen in (seen_here, seen_there, seen_other):
                seen.sent.clear()
            return counts

        assert await got() == (1, 1, 1)
        assert await got(include=lambda connection: True) == (1, 0, 0)
        assert await got(exclude=lambda connection: False) == (1, 0, 0)
        assert await got(exclude=[here]) == (0, 1, 1)
        assert await got(exclude={there.id, here.id}) == (0, 0, 1)
        assert await got(include=[here]) == (1, 0, 0)
        assert await got(include=[here, other.id]) == (1, 0, 1)
        assert await got(include=[]) == (0, 0, 0)
        assert await got(include=[there.id, other.id], exclude=[other.id]) == (0, 1, 0)


@pytest.mark.feature("W3")
async def test_messages_of_one_node_come_in_order(nodes: NewNodes) -> None:
    """They are delivered one after the other, however many there are."""
    async with nodes(2) as (a, b):
        connection, transport = await b.connect()
        connection.subscribe("news")
        for number in range(300):
            await a.hub.publish("news", str(number))
        await until(lambda: len(transport.sent) == 300)
        assert transport.sent == [str(number) for number in range(300)]


async def test_topic_is_listened_to_while_somebody_is_in_it(nodes: NewNodes) -> None:
    """A node hears of topics that have connections there; who comes and goes at once does not cost a word each."""
    async with nodes(2) as world:
        _, b = world
        calls = []
        b.broker.listen = lambda topic: calls.append(("listen", topic))
        b.broker.unlisten = lambda topic: calls.append(("unlisten", topic))
        one, _ = await b.connect()
        two, _ = await b.connect()
        for _ in range(10):
            one.subscribe("news")
            two.subscribe("news")
            one.unsubscribe("news")
            two.unsubscribe("news")
        assert calls == [("listen", "news")]
        await world.beat(1)
        assert calls == [("listen", "news"), ("unlisten", "news")]
        one.subscribe("news")
        await world.beat(1)
        assert calls[2:] == [("listen", "news")]


@pytest.mark.feature("W3")
async def test_topics_joined_before_the_relay_opened_are_heard(nodes: NewNodes) -> None:
    """A hub that has connections already may still be connected with others."""
    async with nodes(1) as world:
        b = await world.add()
        await b.relay.close()
        connection, transport = await b.connect()
        connection.subscribe("news")
        await b.relay.open()
        await world.settle()
        await world[0].hub.publish("news", "x")
        await world.settle()
        assert transport.sent == ["x"]
        assert [member.ref for member in world[0].hub.topics.members("news")] == [connection.session.ref]


async def test_client_that_joins_waits_for_the_broker_with_a_bound(
    nodes: NewNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the broker is away, topics of this node work on."""
    monkeypatch.setattr(topics_module, "LONGEST_LISTENING", 0.01)
    async with nodes(1) as [node]:
        node.broker.listening = asyncio.Event().wait
        await soon(node.hub.topics.listening())


@pytest.mark.feature("A5")
async def test_kick_finds_a_connection_on_any_node(nodes: NewNodes) -> None:
    """It is closed with 4008 wherever it is; what is returned tells whether it was here."""
    async with nodes(2) as world:
        a, b = world
        connection, transport = await b.connect()
        assert a.hub.kick(connection.id) is False
        await world.settle()
        assert transport.close_frames == [(4008, "kicked")]
        here, _ = await a.connect()
        assert a.hub.kick(here.id) is True


# --- the life of sessions -------------------------------------------------------------------------


@pytest.mark.feature("W11", "W9")
async def test_end_closes_sockets_on_all_nodes(nodes: NewNodes) -> None:
    """With the reason; `on_disconnect` runs where the socket was, `on_session_end` once, where the end was decided."""
    async with nodes(3) as world:
        a, b, c = world
        sessions = await shared(a, b, c)
        calls = []
        for name, node in zip("abc", world, strict=True):
            node.sessions.on_session_end(lambda session, reason, name=name: calls.append((name, "end")))
            node.callbacks.register(
                "disconnect", lambda connection, code, reason, name=name: calls.append((name, code, reason))
            )
        sockets = [await node.connect(session, format=ENVELOPE) for node, session in zip(world, sessions, strict=True)]
        sessions[1].local["kept"] = object()
        assert await a.sessions.end(sessions[0], "admin")
        await world.settle()
        for connection, transport in sockets:
            assert transport.close_frames == [(4006, "session-ended:admin")]
            assert json.loads(transport.sent[-1]) == {"type": "ended", "reason": "admin"}
            await soon(connection.disconnected)
        assert await a.sessions.settled(5)
        assert calls.count(("a", "end")) == 1
        assert sorted(set(calls) - {("a", "end")}) == [(name, 4006, "session-ended:admin") for name in "abc"]
        assert len(calls) == 4
        assert [session.ended for session in sessions] == [Reason.ADMIN] * 3
        assert not b.sessions.pinned


@pytest.mark.feature("W11")
async def test_late_word_of_an_end_never_hits_a_successor(nodes: NewNodes) -> None:
    """What follows under the same id is another life, with another ref."""
    async with nodes(2) as world:
        a, b = world
        await a.sessions.create("same", remote_ip="192.0.2.1")
        world.exchange.holding = True
        session = await a.sessions.get("same")
        await a.sessions.end(session)
        successor = await b.sessions.create("same", remote_ip="192.0.2.1")
        _, transport = await b.connect(successor)
        for _ in range(2):
            b.relay.heard(encode("ended", session.ref, "logout"))
        world.exchange.deliver()
        world.exchange.holding = False
        await world.settle()
        assert transport.close_frames == []
        assert successor.ended is None


@pytest.mark.feature("W11")
@pytest.mark.parametrize("is_known", [True, False], ids=["loaded before", "on its way from the store"])
async def test_handshake_that_is_just_opening_is_refused(nodes: NewNodes, is_known: bool) -> None:
    """An end that is heard before the connection is taken in refuses it, though the store said that it lives."""
    async with nodes(2) as world:
        a, b = world
        session = await a.sessions.create("app", remote_ip="192.0.2.1")
        answer = await world.store.load(session.record.key, touch=True)
        mine = b.sessions._adopt(answer) if is_known else None
        await a.sessions.end(session)
        await world.settle()
        mine = mine or b.sessions._adopt(answer)
        with pytest.raises(SessionEnded) as caught:
            b.hub.register(Connection(b.hub, mine, remote_ip="192.0.2.1"))
        assert caught.value.reason == "logout"
        assert len(b.hub) == 0
        b.relay.beat(world.clock.monotonic() + 3600)
        assert b.relay.ended_of(session.ref) is None


@pytest.mark.feature("W11")
async def test_end_that_a_failover_has_undone_stays_an_end_here(nodes: NewNodes) -> None:
    """Where the store has the session again, until whoever ended it says so again, nobody waits for that for ever."""
    async with nodes(1) as [node]:
        session = await node.sessions.create("app", remote_ip="192.0.2.1")
        node.relay.heard(encode("ended", session.ref, "admin"))
        found = await soon(node.sessions.find("app"))
        assert found == Tombstone(session.ref, Reason.ADMIN)
        assert await soon(node.sessions.get("app")) is None


@pytest.mark.feature("W11")
async def test_late_answer_of_the_store_brings_no_session_back(nodes: NewNodes) -> None:
    """An answer that was on its way when the end was heard of is of a newer revision, and still too late."""
    async with nodes(2) as world:
        a, b = world
        session, mine = await shared(a, b)
        await a.sessions.apply(session, Changes({"x": 1}))
        answer = await world.store.load_ref(session.ref, touch=False)
        await a.sessions.end(session)
        await world.settle()
        assert b.sessions._adopt(answer) is mine
        assert mine.ended is Reason.LOGOUT


@pytest.mark.feature("W11")
@pytest.mark.parametrize("id", [None, "app"], ids=["under another key", "under the same key"])
async def test_renewal_closes_sockets_on_all_nodes(nodes: NewNodes, id: str | None) -> None:
    """With 4000; whoever came back after it stays, whatever is said late."""
    async with nodes(2) as world:
        a, b = world
        sessions = await shared(a, b, id=id)
        world.clock.advance(1)
        _, transport = await b.connect(sessions[1])
        await a.sessions.renew(sessions[0], user="ann")
        await until(lambda: transport.close_frames == [(4000, "session-renewed")])
        back = await b.sessions.get_by_ref(sessions[0].ref)
        assert back.user == "ann"
        _, again = await b.connect(back)
        asked = len(world.store.asked)
        b.relay.heard(encode("renewed", back.ref))
        await until(lambda: len(world.store.asked) > asked)
        await world.settle()
        assert again.close_frames == []


@pytest.mark.feature("W9")
async def test_changed_facts_reach_sockets_on_all_nodes(nodes: NewNodes) -> None:
    """They are asked for many at a time, and told as they are in the store."""
    async with nodes(2) as world:
        a, b = world
        told = []
        sessions = [await shared(a, b) for _ in range(5)]
        for _, mine in sessions:
            _, transport = await b.connect(mine, format=ENVELOPE)
            told.append(transport)
        await world.settle()
        world.store.asked.clear()
        for transport in told:
            transport.sent.clear()
        world.exchange.holding = True
        for session, _ in sessions:
            session.set_timeouts(idle=60)
            await session.commit()
        a.relay.flush()
        world.exchange.deliver()
        world.exchange.holding = False
        await until(lambda: all(envelopes(transport, "session") for transport in told))
        assert [envelopes(transport, "session")[-1]["session"]["expires_in"] for transport in told] == [60] * 5
        assert world.store.asked == [5]


async def test_changes_without_sockets_elsewhere_are_not_said(nodes: NewNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most sessions have none there."""
    async with nodes(2) as world:
        a, _ = world
        session = await a.sessions.create(remote_ip="192.0.2.1")
        said = words_of(a, monkeypatch)
        session.set_timeouts(idle=60)
        await session.commit()
        await world.settle()
        assert said == []


@pytest.mark.feature("W11")
async def test_warning_reaches_sockets_on_all_nodes(nodes: NewNodes) -> None:
    """One node is told by the store that a session expires; the others by that node."""
    async with nodes(2) as world:
        a, b = world
        session, mine = await shared(a, b)
        _, transport = await b.connect(mine, format=ENVELOPE)
        a.hub.expiring(session.record, 12.7)
        await world.settle()
        assert envelopes(transport, "expiring") == [{"type": "expiring", "seconds": 12}]


@pytest.mark.feature("W11")
@pytest.mark.parametrize("event", ["message", "handler", "open"])
async def test_end_of_which_no_word_came_closes_the_socket_that_finds_out(nodes: NewNodes, event: str) -> None:
    """A socket whose session the store does not know any more is closed with the reason that the store has."""
    async with nodes(2, session={"touch": [event] if event != "handler" else ["http"]}) as world:
        a, b = world
        session, mine = await shared(a, b)
        begun, ended = asyncio.Event(), asyncio.Event()

        async def handle(connection: Any, message: Any) -> None:
            begun.set()
            if event == "handler":
                await ended.wait()
                connection.session["x"] = 1

        connection, transport = await b.connect(mine, handle)
        world.exchange.holding = True
        if event == "handler":
            connection.received("x")
            await soon(begun.wait())
        await a.sessions.end(session, "admin")
        world.exchange.lose()
        ended.set()
        if event == "message":
            connection.received("x")
        elif event == "open":
            await b.hub.beat(world.clock.monotonic())
        await until(lambda: transport.close_frames == [(4006, "session-ended:admin")])
        assert mine.ended is Reason.ADMIN


# --- what other nodes have ------------------------------------------------------------------------


@pytest.mark.feature("W9")
async def test_connections_count_on_all_nodes(nodes: NewNodes) -> None:
    """A session's sockets are told when another one opens or closes elsewhere."""
    async with nodes(2) as world:
        a, b = world
        sessions = await shared(a, b)
        _, seen = await a.connect(sessions[0], format=ENVELOPE)
        second, _ = await b.connect(sessions[1])
        await b.connect(sessions[1])
        await world.settle()
        assert [session.connections for session in sessions] == [3, 3]
        assert envelopes(seen, "session")[-1]["session"]["connections"] == 3
        second.lost(None, None)
        await world.settle()
        assert [session.connections for session in sessions] == [2, 2]
        assert envelopes(seen, "session")[-1]["session"]["connections"] == 2


@pytest.mark.feature("M2", "W9")
async def test_limit_per_session_counts_on_all_nodes(nodes: NewNodes) -> None:
    """`session.max_connections_per_session` holds for all of them, as far as a node has heard."""
    async with nodes(2, session={"max_connections_per_session": 2}) as world:
        a, b = world
        sessions = await shared(a, b)
        await a.connect(sessions[0])
        first, _ = await b.connect(sessions[1])
        await world.settle()
        for node, session in zip(world, sessions, strict=True):
            with pytest.raises(LimitReached):
                await node.connect(session)
        first.lost(None, None)
        await world.settle()
        await a.connect(sessions[0])


@pytest.mark.feature("W12")
async def test_presence_spans_nodes(nodes: NewNodes) -> None:
    """Who is in a topic anywhere is a member once; it joins with its first connection and leaves with its last."""
    async with nodes(3, session={"presence_grace": 0}) as world:
        _, b, c = world
        watchers, seen = {}, []
        for node in world:
            watcher, transport = await node.connect(format=ENVELOPE)
            watcher.subscribe("room")
            watchers[watcher.session.ref] = (None, 1)
            seen.append(transport)
        await world.settle()

        def news() -> list[list[tuple[str, str]]]:
            """Take what the watcher of each node was told."""
            told = [
                [(each["type"], each["member"]["user"]) for each in envelopes(one, "joined", "left")] for one in seen
            ]
            for transport in seen:
                transport.sent.clear()
            return told

        news()
        sessions = await shared(b, c, user="ann")
        first, _ = await b.connect(sessions[0])
        second, _ = await c.connect(sessions[1])
        first.subscribe("room")
        await world.settle()
        assert news() == [[("joined", "ann")]] * 3
        second.subscribe("room")
        await world.settle()
        assert news() == [[], [], []]
        for node in world:
            members = {member.ref: (member.user, member.connections) for member in node.hub.topics.members("room")}
            assert members == watchers | {first.session.ref: ("ann", 2)}
        first.unsubscribe("room")
        await world.settle()
        assert news() == [[], [], []]
        second.lost(None, None)
        await world.settle()
        assert news() == [[("left", "ann")]] * 3


@pytest.mark.feature("W12")
async def test_reload_on_another_node_is_not_noticed(nodes: NewNodes) -> None:
    """The grace is kept where the socket was; whoever is back on another node meanwhile has never left."""
    async with nodes(3, session={"presence_grace": 10}) as world:
        a, b, c = world
        watcher, seen = await a.connect(format=ENVELOPE)
        watcher.subscribe("room")
        sessions = await shared(b, c)
        before, _ = await b.connect(sessions[0])
        before.subscribe("room")
        await world.settle()
        before.lost(None, None)
        await world.settle()
        assert {member.ref: member.connections for member in a.hub.topics.members("room")}[before.session.ref] == 0
        again, _ = await c.connect(sessions[1])
        again.subscribe("room")
        await world.settle()
        world.clock.advance(11)
        await b.hub.beat(world.clock.monotonic())
        await world.settle()
        assert [each["type"] for each in envelopes(seen, "joined", "left")] == ["joined"]
        assert not b.hub.topics.presence.find("room", again.session.ref)
        again.lost(None, None)
        world.clock.advance(11)
        await c.hub.beat(world.clock.monotonic())
        await world.settle()
        assert [each["type"] for each in envelopes(seen, "joined", "left")] == ["joined", "left"]


@pytest.mark.feature("W12")
async def test_log_in_is_announced_once_on_all_nodes(nodes: NewNodes) -> None:
    """A member that comes back with a name is announced again, though both of its nodes say so."""
    async with nodes(3, session={"presence_grace": 10}) as world:
        a, b, c = world
        watcher, seen = await a.connect(format=ENVELOPE)
        watcher.subscribe("room")
        sessions = await shared(b, c)
        for node, session in zip((b, c), sessions, strict=True):
            connection, _ = await node.connect(session)
            connection.subscribe("room")
        await world.settle()
        await b.sessions.renew(sessions[0], user="ann")
        await until(lambda: not len(b.hub) and not len(c.hub))
        for node in (b, c):
            connection, _ = await node.connect(await node.sessions.get_by_ref(sessions[0].ref))
            connection.subscribe("room")
        await world.settle()
        assert [(each["type"], each["member"]["user"]) for each in envelopes(seen, "joined", "left")] == [
            ("joined", None),
            ("joined", "ann"),
        ]
        assert {member.user for member in a.hub.topics.members("room")} == {None, "ann"}


@pytest.mark.feature("W11", "W12")
async def test_end_takes_a_session_out_of_topics_everywhere(nodes: NewNodes) -> None:
    """At once, without grace; whoever is in the topic hears of it once, on every node."""
    async with nodes(3, session={"presence_grace": 10}) as world:
        seen = []
        for node in world:
            watcher, transport = await node.connect(format=ENVELOPE)
            watcher.subscribe("room")
            seen.append(transport)
        a, b, c = world
        sessions = await shared(a, b, c)
        for node, session in zip((a, b), sessions, strict=False):
            connection, _ = await node.connect(session)
            connection.subscribe("room")
        await world.settle()
        world.exchange.holding = True
        await c.sessions.end(sessions[2])
        assert len(c.hub.topics.members("room")) == 3
        world.exchange.holding = False
        world.exchange.deliver()
        await world.settle()
        for node, transport in zip(world, seen, strict=True):
            assert len(node.hub.topics.members("room")) == 3
            gone = [each for each in envelopes(transport, "left") if each["member"]["ref"] == sessions[0].ref]
            assert len(gone) == 1


@pytest.mark.feature("W12", "W9")
async def test_members_of_a_dead_node_leave_after_its_lease(nodes: NewNodes) -> None:
    """A node that is not heard for a lease is gone, with its sockets; each other node says so once, to its own."""
    async with nodes(3) as world:
        a, b, c = world
        seen = []
        for node in (a, b):
            watcher, transport = await node.connect(format=ENVELOPE)
            watcher.subscribe("room")
            seen.append(transport)
        guests = []
        for _ in range(3):
            session, mine = await shared(a, c)
            connection, _ = await c.connect(mine)
            connection.subscribe("room")
            guests.append(session)
        await world.settle()
        assert [session.connections for session in guests] == [1, 1, 1]
        await c.broker.close()  # as a process that is killed
        await world.beat(14, a, b)
        assert len(a.hub.topics.members("room")) == 5
        assert not any(envelopes(transport, "left") for transport in seen)
        await world.beat(6, a, b)
        assert [session.connections for session in guests] == [0, 0, 0]
        for node, transport in zip((a, b), seen, strict=True):
            assert len(node.hub.topics.members("room")) == 2
            left = [each["member"]["ref"] for each in envelopes(transport, "left")]
            assert sorted(left) == sorted(session.ref for session in guests)


@pytest.mark.feature("W12")
async def test_node_that_stood_still_is_found_again(nodes: NewNodes) -> None:
    """It was given up by the others, and is asked what it has as soon as it says something; itself gives up nobody."""
    async with nodes(2) as world:
        a, b = world
        (watcher, seen), (guest, _) = await a.connect(format=ENVELOPE), await b.connect()
        other, own = await b.connect(format=ENVELOPE)
        for connection in (watcher, guest, other):
            connection.subscribe("room")
        await world.settle()
        own.sent.clear()
        world.exchange.cut.add(b.broker)
        await world.beat(20, a)
        assert len(a.hub.topics.members("room")) == 1
        world.exchange.cut.clear()
        b.relay.beat(world.clock.monotonic())
        assert len(b.hub.topics.members("room")) == 3
        await world.beat(6)
        assert len(a.hub.topics.members("room")) == 3
        assert len(b.hub.topics.members("room")) == 3
        assert [each["type"] for each in envelopes(seen, "joined", "left")] == ["joined"] * 2 + ["left"] * 2 + [
            "joined"
        ] * 2
        assert envelopes(own, "joined", "left") == []


@pytest.mark.feature("W10", "W12")
async def test_node_that_drains_says_goodbye(nodes: NewNodes) -> None:
    """Its sockets count no longer at once; whoever is back on another node within the grace has never left."""
    async with nodes(3, session={"presence_grace": 10}) as world:
        a, b, c = world
        watcher, seen = await a.connect(format=ENVELOPE)
        watcher.subscribe("room")
        stays, stays_there = await shared(b, c)
        leaves, _ = await shared(b, a)
        for session in (stays, leaves):
            connection, _ = await b.connect(session)
            connection.subscribe("room")
        await world.settle()
        await b.hub.drain(0)
        await b.relay.close()
        await world.settle()
        assert c.hub.connections(stays.ref) == 0
        again, _ = await c.connect(stays_there)
        again.subscribe("room")
        await world.settle()
        assert len(a.hub.topics.members("room")) == 3
        assert not envelopes(seen, "left")
        await world.beat(11, a, c)
        assert [each["member"]["ref"] for each in envelopes(seen, "left")] == [leaves.ref]
        assert not a.relay.directory.knows(b.relay.node)


async def test_page_that_joins_and_leaves_in_a_loop_costs_few_words(
    nodes: NewNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes a thousand times between two flushes is said once, as it is then."""
    async with nodes(2, session={"presence_grace": 0}) as world:
        a, b = world
        connection, _ = await a.connect()
        await world.settle()
        said = words_of(a, monkeypatch)
        for _ in range(1000):
            connection.subscribe("room")
            connection.unsubscribe("room")
        connection.subscribe("room")
        await world.settle()
        assert [word.name for word in said] == ["here"]
        assert len(said[0].facts[1]) == 1
        assert [member.ref for member in b.hub.topics.members("room")] == [connection.session.ref]


async def test_changes_are_flushed_by_themselves(nodes: NewNodes) -> None:
    """Nobody has to ask for it."""
    async with nodes(2) as (a, b):
        connection, _ = await a.connect()
        connection.subscribe("room")
        await until(lambda: len(b.hub.topics.members("room")) == 1)
        room = asyncio.Event()
        a.broker.room = room.wait
        a.relay._owe_all()
        a.relay.flush()
        await asyncio.sleep(0)  # it begins to say all, and waits for the broker
        connection.unsubscribe("room")
        connection.subscribe("hall")
        a.relay.flush()
        room.set()
        await until(lambda: len(b.hub.topics.members("hall")) == 1)
        await until(lambda: b.hub.topics.members("room") == [])


@pytest.mark.feature("W9")
async def test_new_node_learns_what_all_have(nodes: NewNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts, when there is much; what changes meanwhile comes after."""
    monkeypatch.setattr(relay_module, "CHUNK", 3)
    async with nodes(2) as world:
        a, b = world
        connections = []
        for node in (a, a, a, a, b, b, b):
            connection, _ = await node.connect()
            connection.subscribe("room")
            connections.append(connection)
        await world.settle()
        said = words_of(a, monkeypatch)
        c = await world.add()
        await asyncio.sleep(0)
        connections[0].unsubscribe("room")
        await world.settle()
        assert {word.facts[2] for word in said if word.name == "all"} == {3}
        assert {member.ref for member in c.hub.topics.members("room")} == {each.session.ref for each in connections[1:]}
        assert [c.hub.connections(each.session.ref) for each in connections] == [1] * 7


async def test_part_that_is_missing_is_asked_for_again(nodes: NewNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has heard half of what a node has asks again with the next beat."""
    monkeypatch.setattr(relay_module, "CHUNK", 1)
    async with nodes(1) as world:
        [a] = world
        for _ in range(3):
            await a.connect()
        b = await world.add()
        heard, b.relay._actions["all"] = b.relay._actions["all"], lambda word: None
        await world.settle()
        b.relay._actions["all"] = lambda word: heard(word) if word.facts[1] != 1 else None
        a.relay._owe_all()
        await world.settle()
        assert not b.relay.directory.knows(a.relay.node)
        b.relay._actions["all"] = heard
        await world.beat(6)
        assert b.relay.directory.knows(a.relay.node)
        assert [b.hub.connections(each.session.ref) for each in a.hub] == [1, 1, 1]


async def test_words_of_another_version_are_ignored(nodes: NewNodes, caplog: pytest.LogCaptureFixture) -> None:
    """What is unknown, or has more to it, or less, does no harm; what is added is left aside."""
    async with nodes(2) as world:
        a, b = world
        session, mine = await shared(a, b)
        _, transport = await b.connect(mine)
        for raw in (b"", b"x", b"[]", b"{}", b"[1]", b"\xff", b"[" * 100_000, encode("dance", "tango", 3)):
            b.relay.heard(raw)
        assert caplog.records == []
        for raw in (encode("ended"), encode("message", 1), encode("here", "n"), encode("all", "n", 0), encode("bye")):
            b.relay.heard(raw)
        b.relay.heard(encode("all", "n", 0, 1, [[1, 2, 3, 4]]))
        b.relay.heard(encode("message", {}, "song", False, None))
        b.relay.heard(encode("changed", 5))
        assert len(caplog.records) == 8
        b.relay.heard(encode("kick", "nobody", "more"))
        b.relay.heard(encode("ended", session.ref, "boredom"))  # a reason of a newer version
        await until(lambda: bool(world.store.asked))
        await world.settle()
        assert transport.close_frames == []
        b.relay.heard(encode("ended", session.ref, "admin", "and", "more"))
        assert transport.close_frames == [(4006, "session-ended:admin")]


# --- when words may have been lost ------------------------------------------------------------------


@pytest.mark.feature("W9", "W11")
async def test_node_that_missed_words_asks_the_store(nodes: NewNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all sessions with sockets here, many at a time: each socket closes as it would have, and the others stay."""
    monkeypatch.setattr(doubts_module, "AT_ONCE", 5)
    async with nodes(2) as world:
        a, b = world
        pairs = {}
        for name in ("ended", "renewed", "renewed long ago", "forgotten", "replaced", "lives"):
            for number in range(2):
                session, mine = await shared(a, b, id=f"{name} {number}" if name == "replaced" else None)
                pairs[name, number] = session, mine, (await b.connect(mine, format=ENVELOPE))[1]
        kept = (await shared(a, b))[1]
        kept.local["x"] = 1
        await world.settle()
        world.exchange.cut_off(b.broker)
        assert b.trusted[-1] is False
        await a.sessions.end(kept.ref)
        for (name, number), (session, *_) in pairs.items():
            if "renewed" in name:
                await a.sessions.renew(session, user="ann")
            elif name != "lives":
                await a.sessions.end(session, "admin")
            if name == "replaced":
                successor = await a.sessions.create(f"replaced {number}", remote_ip="192.0.2.1")
                if number:
                    await a.sessions.end(successor, "logout")
        graves = world.store._set._graves
        for (name, _), (_, mine, _) in pairs.items():
            if name in ("renewed long ago", "forgotten"):
                graves.pop(mine.record.key, None)
        world.store.asked.clear()
        world.exchange.mend(b.broker)
        assert b.trusted[-2:] == [False, True]
        await until(lambda: sum(world.store.asked) == 13)
        await until(lambda: not b.relay._doubts._refs and b.relay._doubts._task is None)
        assert world.store.asked == [5, 5, 3]
        codes = {name: [code for code, _ in transport.close_frames] for name, (*_, transport) in pairs.items()}
        expected = {
            "ended": [4006],
            "renewed": [4000],
            "renewed long ago": [4000],
            "forgotten": [1001],
            "replaced": [1001],
            "lives": [],
        }
        assert codes == {(name, number): expected[name] for name, number in pairs}
        assert {name: mine.ended for (name, _), (_, mine, _) in pairs.items()} == {
            "ended": Reason.ADMIN,
            "renewed": None,
            "renewed long ago": None,
            "forgotten": None,
            "replaced": None,
            "lives": None,
        }
        assert not b.sessions.pinned


async def test_session_that_is_just_ending_here_is_in_no_doubt(nodes: NewNodes) -> None:
    """Its sockets stay open for the last word that it has, though the store has it no more; a temporary one never had it."""
    async with nodes(1) as [node]:
        may_end = asyncio.Event()
        node.callbacks.register("session_ending", lambda session, reason: may_end.wait())
        session = await node.sessions.create(remote_ip="192.0.2.1")
        temporary = await node.sessions.temporary(remote_ip="192.0.2.1")
        sockets = [(await node.connect(each))[1] for each in (session, temporary)]
        end = asyncio.create_task(node.sessions.end(session))
        await until(lambda: session.ended is not None)
        node.relay.back()
        await until(lambda: node.relay._doubts._task is None)
        assert [socket.close_frames for socket in sockets] == [[], []]
        may_end.set()
        await soon(end)
        assert [socket.close_frames for socket in sockets] == [[(4001, "session-ended:logout")], []]


@pytest.mark.feature("W9")
async def test_doubts_wait_for_a_store_that_is_away(nodes: NewNodes) -> None:
    """Sockets stay open until the store says that their session is over."""
    async with nodes(2) as world:
        a, b = world
        session, mine = await shared(a, b)
        _, transport = await b.connect(mine)
        world.exchange.cut_off(b.broker)
        await a.sessions.end(session)
        world.store.away = True
        world.exchange.mend(b.broker)
        with pytest.raises(StoreUnavailable):
            await mine.refresh()
        await until(lambda: len(b.sessions.outage) == 1)
        assert transport.close_frames == []
        world.store.away = False
        await until(lambda: transport.close_frames == [(4001, "session-ended:logout")])


@pytest.mark.feature("W12", "W9")
async def test_short_cut_is_not_noticed_in_presence(nodes: NewNodes) -> None:
    """What is known of others stands for their lease; then it is as they say."""
    async with nodes(2) as world:
        a, b = world
        (watcher, seen), (guest, _), (leaver, _) = (
            await a.connect(format=ENVELOPE),
            await b.connect(),
            await b.connect(),
        )
        for connection in (watcher, guest, leaver):
            connection.subscribe("room")
        await world.settle()
        seen.sent.clear()
        world.exchange.cut_off(a.broker)
        leaver.unsubscribe("room")
        newcomer, _ = await b.connect()
        newcomer.subscribe("room")
        await world.beat(10)
        assert envelopes(seen, "joined", "left") == []
        world.exchange.mend(a.broker)
        await world.settle()
        told = {(each["type"], each["member"]["ref"]) for each in envelopes(seen, "joined", "left")}
        assert told == {("left", leaver.session.ref), ("joined", newcomer.session.ref)}
        for node in world:
            members = {member.ref for member in node.hub.topics.members("room")}
            assert members == {watcher.session.ref, guest.session.ref, newcomer.session.ref}


@pytest.mark.feature("W12", "W9")
async def test_cut_just_shorter_than_the_lease_is_not_noticed_either(nodes: NewNodes) -> None:
    """When it is over, others have a lease to say again what they have; in a longer one they are gone."""
    async with nodes(2) as world:
        a, b = world
        connection, _ = await b.connect()
        connection.subscribe("room")
        await world.settle()
        world.exchange.cut_off(a.broker)
        await world.beat(9)
        world.exchange.cut.clear()
        world.exchange.holding = True
        a.relay.back()
        for _ in range(14):
            world.clock.advance(1)
            a.relay.beat(world.clock.monotonic())
        assert len(a.hub.topics.members("room")) == 1
        for _ in range(2):
            world.clock.advance(1)
            a.relay.beat(world.clock.monotonic())
        assert a.hub.topics.members("room") == []


async def test_copies_are_dropped_by_word(nodes: NewNodes) -> None:
    """What the store's scripts say reaches what keeps copies."""
    async with nodes(1) as [node]:
        node.relay.heard(b'["drop","abc","another node"]')
        assert node.dropped == ["abc"]
        assert node.trusted == [True]
        node.relay.back()  # a word was missing, and the broker was there all the time
        assert node.trusted == [True, False, True]


@pytest.mark.parametrize(
    "word", [b'["ended","abc","logout"]', b'["ended","abc","of a newer version"]', b'["renewed","abc"]']
)
async def test_copy_of_what_is_over_is_dropped(nodes: NewNodes, word: bytes) -> None:
    """Whoever says so: what the session was answers nobody any more."""
    async with nodes(1) as [node]:
        node.relay.heard(word)
        assert node.dropped == ["abc"]


async def test_node_that_has_left_is_a_node_alone(nodes: NewNodes) -> None:
    """After `close` the hub works on, for its own connections; closing twice is no error."""
    async with nodes(2) as world:
        a, b = world
        (connection, transport), (other, _) = await a.connect(), await b.connect()
        for each in (connection, other):
            each.subscribe("room")
        await world.settle()
        await a.relay.close()
        await a.relay.close()
        assert len(a.hub.topics.members("room")) == 1
        assert await a.hub.publish("room", "x") == 1
        assert transport.sent == ["x"]


@pytest.mark.feature("W9", "W12")
@pytest.mark.parametrize("seed", range(20))
async def test_nodes_agree_in_the_end(nodes: NewNodes, seed: int) -> None:
    """Whatever comes, goes and ends, in whatever order it is heard, and whatever is lost: then all know the same."""
    chance = random.Random(seed)
    async with nodes(3, session={"presence_grace": 0}) as world:
        sessions = [(await world[0].sessions.create(remote_ip="192.0.2.1")).ref for _ in range(6)]
        world.exchange.holding = True
        for _ in range(150):
            node = chance.choice(world)
            await _do_something(chance, node, chance.choice(sessions))
            node.relay.flush()
            if chance.random() < 0.7:
                world.exchange.deliver(chance.randrange(6))
            if chance.random() < 0.05 and node.broker not in world.exchange.cut:
                world.exchange.cut_off(node.broker)
            elif chance.random() < 0.2 and node.broker in world.exchange.cut:
                world.exchange.mend(node.broker)
            await asyncio.sleep(0)
        world.exchange.holding = False
        world.exchange.deliver()
        for broker in list(world.exchange.cut):
            world.exchange.mend(broker)
        await until(lambda: all(node.relay._doubts._task is None for node in world))
        await world.settle()
        for topic in ("x", "y"):
            everybody: dict[str, int] = {}
            for node in world:
                for connection in node.hub:
                    if topic in connection.topics:
                        everybody[connection.session.ref] = everybody.get(connection.session.ref, 0) + 1
            for node in world:
                assert {member.ref: member.connections for member in node.hub.topics.members(topic)} == everybody
        for ref in sessions:
            open_ones = sum(len(node.hub.of_session(ref)) for node in world)
            assert [node.hub.connections(ref) for node in world] == [open_ones] * 3
            if await world.store.load_ref(ref, touch=False) is None:
                assert open_ones == 0


async def _do_something(chance: random.Random, node: Any, ref: str) -> None:
    """Open or close a socket, join or leave a topic, end a session."""
    here = list(node.hub)
    match chance.randrange(8):
        case 0 | 1 | 2:
            session = await node.sessions.get_by_ref(ref)
            if session is not None:
                try:
                    await node.connect(session)
                except SessionEnded:
                    assert session.ended is not None or node.relay.ended_of(ref) is not None
        case 3 | 4 if here:
            chance.choice(here).subscribe(chance.choice("xy"))
        case 5 if here:
            chance.choice(here).unsubscribe(chance.choice("xy"))
        case 6 if here:
            chance.choice(here).lost(None, None)
        case 7 if chance.random() < 0.15:
            assert isinstance(node.sessions, SessionList)
            await node.sessions.end(ref)


async def test_table_of_words_is_that_of_actions(nodes: NewNodes) -> None:
    """What is heard stands at the top of the file, and what stands there is heard."""
    async with nodes(1) as [node]:
        rows = re.findall(r'^\| `\["(\w+)"', str(relay_module.__doc__), re.MULTILINE)
        assert rows == [*dict.fromkeys(rows)]
        assert set(rows) == set(node.relay._actions)


# --- what a session sends for a connection of its own ---------------------------------------------------


async def test_message_finds_its_connection_before_others_have_heard_of_it(nodes: NewNodes) -> None:
    """Its name says on which node it is: the next request of a client may reach another one right after `welcome`."""
    async with nodes(2) as world:
        a, b = world
        got: list[Any] = []
        connection, _ = await b.connect(handler=lambda _, message: got.append(message))
        assert a.hub.elsewhere.connections(connection.session.ref) == 0
        assert await a.hub.receive(connection.id, connection.session.ref, "hello")
        await until(lambda: got == [b"hello"])


@pytest.mark.feature("M3")
async def test_message_for_no_connection_is_told_to_nobody(nodes: NewNodes) -> None:
    """A name that ends with no node's mark costs other nodes nothing; with one's, that node alone; and it is refused."""
    async with nodes(3) as world:
        a, b, _ = world
        got: list[Any] = []
        connection, _ = await b.connect(handler=lambda _, message: got.append(message))
        stranger = await a.sessions.create(remote_ip="192.0.2.2")
        await world.settle()
        world.exchange.holding = True
        for name in ("0" * 28, "x", "", connection.id[:16], connection.id[:16] + a.relay.mark):
            assert not await a.hub.receive(name, connection.session.ref, "x" * 1000)
        assert world.exchange.waiting == 0
        asked = asyncio.ensure_future(a.hub.receive(connection.id, stranger.ref, "x"))
        await asyncio.sleep(0)
        assert world.exchange.waiting == 2, "the exchange of the tests has one for each broker, which says whose it is"
        world.exchange.holding = False
        world.exchange.deliver()
        assert not await asked
        assert got == []


async def test_message_for_a_busy_connection_is_refused_on_every_node(nodes: NewNodes) -> None:
    """Its inbox is full: whoever sends hears of it, as on the connection's own node; nothing is closed."""
    async with nodes(2) as world:
        a, b = world
        go = asyncio.Event()
        connection, transport = await b.connect(handler=lambda *_: go.wait())
        for _ in range(INBOX + 1):
            assert await a.hub.receive(connection.id, connection.session.ref, "x")
        for node in (a, b):
            with pytest.raises(TooManyRequests):
                await node.hub.receive(connection.id, connection.session.ref, "x")
        go.set()
        await until(lambda: not connection.paused)
        assert await a.hub.receive(connection.id, connection.session.ref, "x")
        assert transport.close_frames == []


async def test_message_for_a_node_that_is_silent_counts_as_taken(
    nodes: NewNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been, so it is not to be sent again; and nobody waits for long."""
    monkeypatch.setattr(relay_module, "LONGEST_RECEIPT", 0.01)
    async with nodes(2) as world:
        a, b = world
        connection, _ = await b.connect()
        world.exchange.cut_off(b.broker)
        assert await a.hub.receive(connection.id, connection.session.ref, "x")
        assert a.relay._receipts == {}
