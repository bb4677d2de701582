"""Who is in a topic: sessions, with a grace for those who only reload their page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from wshttp.realtime.format import ENVELOPE
from wshttp.realtime.presence import Presence


def refs(presence: Presence, topic: str = "room") -> list[str]:
    return [member.ref for member in presence.members(topic)]


@pytest.mark.feature("W12")
def test_presence_counts_sessions_and_not_sockets() -> None:
    """A session joins with its first connection and leaves with its last."""
    presence = Presence(grace=0)
    assert presence.join("room", "a", None).ref == "a"
    assert presence.join("room", "a", None) is None
    assert presence.leave("room", "a", 0.0) is None
    assert refs(presence) == ["a"]
    assert presence.leave("room", "a", 0.0).ref == "a"
    assert refs(presence) == []


@pytest.mark.feature("W12")
def test_presence_survives_a_reload() -> None:
    """Who is back within the grace has never left, and nobody hears of it."""
    presence = Presence(grace=10)
    presence.join("room", "a", None)
    assert presence.leave("room", "a", now=100.0) is None
    assert presence.due(109.9) == []
    assert refs(presence) == ["a"]
    assert presence.join("room", "a", None) is None
    assert presence.due(1000.0) == []
    assert refs(presence) == ["a"]


@pytest.mark.feature("W12")
def test_presence_ends_after_the_grace() -> None:
    """Who stays away is reported once, when the grace is over."""
    presence = Presence(grace=10)
    presence.join("room", "a", "ann")
    presence.join("hall", "a", "ann")
    presence.leave("room", "a", now=100.0)
    assert presence.anybody_leaving
    assert [(topic, member.describe()) for topic, member in presence.due(110.0)] == [
        ("room", {"ref": "a", "user": "ann"})
    ]
    assert presence.due(110.0) == []
    assert not presence.anybody_leaving
    assert (refs(presence), refs(presence, "hall")) == ([], ["a"])


def test_presence_of_one_who_leaves_on_purpose_has_no_grace() -> None:
    """Who unsubscribes has left at once: nobody fills the list with topics that they were in a moment ago."""
    presence = Presence(grace=10)
    for number in range(1000):
        presence.join(str(number), "a", None)
        assert presence.leave(str(number), "a", now=0.0, on_purpose=True).ref == "a"
    assert not presence.anybody_leaving
    presence.join("room", "a", None)
    presence.join("room", "a", None)
    presence.leave("room", "a", now=0.0)
    assert presence.leave("room", "a", now=0.0, on_purpose=True).ref == "a"
    assert refs(presence) == []


def test_presence_looks_only_at_who_is_due() -> None:
    """Who leaves later is not looked at: a look every second costs nothing where many are in their grace."""
    looked_at: list[float] = []

    class Time(float):
        def __le__(self, now: float) -> bool:
            looked_at.append(float(self))
            return float(self) <= now

    class Grace(float):
        def __radd__(self, now: float) -> Time:
            return Time(now + float(self))

    presence = Presence(grace=Grace(10))
    for number in range(1000):
        presence.join(str(number), "a", None)
        presence.leave(str(number), "a", now=float(number))
    assert [topic for topic, _ in presence.due(11.0)] == ["0", "1"]
    assert looked_at == [10.0, 11.0, 12.0]


def test_presence_of_an_ended_session_has_no_grace() -> None:
    """A session that ended will not be back: it leaves all its topics at once, those in their grace too."""
    presence = Presence(grace=10)
    presence.join("room", "a", None)
    presence.join("hall", "a", None)
    presence.leave("hall", "a", now=0.0)
    assert [topic for topic, _ in presence.remove("a")] == ["hall", "room"]
    assert presence.due(1000.0) == []
    assert presence.remove("a") == []


def test_presence_announces_a_change_of_user() -> None:
    """After a log-in the member is announced again, under its name."""
    presence = Presence(grace=10)
    presence.join("room", "a", None)
    presence.leave("room", "a", now=0.0)
    assert presence.join("room", "a", "ann").user == "ann"


def test_presence_ignores_who_never_joined() -> None:
    """To leave where one is not, or twice, changes nothing."""
    presence = Presence(grace=0)
    presence.join("room", "a", None)
    assert presence.leave("room", "b", 0.0) is None
    assert presence.leave("hall", "a", 0.0) is None
    presence.leave("room", "a", 0.0)
    assert presence.leave("room", "a", 0.0) is None


@pytest.mark.feature("W12")
async def test_hub_announces_who_comes_and_goes(realm: Callable[..., Any]) -> None:
    """Those in a topic hear of who joins and, after the grace, who left; a reload is neither."""
    world = realm(session={"presence_grace": 10})
    watcher, seen = await world.connect(format=ENVELOPE)
    watcher.subscribe("room")
    guest = await world.sessions.create(remote_ip="192.0.2.2", user="ann")

    def news() -> list[tuple[str, str]]:
        told = [json.loads(text) for text in seen.sent]
        return [(each["type"], each["member"]["user"]) for each in told if each["type"] in ("joined", "left")]

    for _ in range(2):  # the page, and the page again
        connection, _ = await world.connect(guest, format=ENVELOPE)
        connection.subscribe("room")
        second, _ = await world.connect(guest, format=ENVELOPE)
        second.subscribe("room")
        connection.close()
        second.close()
        world.clock.advance(9)
        await world.hub.beat(world.clock.monotonic())
        assert news() == [("joined", "ann")]
    world.clock.advance(1.1)
    await world.hub.beat(world.clock.monotonic())
    assert news() == [("joined", "ann"), ("left", "ann")]
    await world.hub.stop()


@pytest.mark.feature("W12")
async def test_hub_announces_who_unsubscribes_at_once(realm: Callable[..., Any]) -> None:
    """There is grace for those whose connection went away, and nobody else."""
    world = realm(session={"presence_grace": 10})
    watcher, seen = await world.connect(format=ENVELOPE)
    watcher.subscribe("room")
    guest, _ = await world.connect(format=ENVELOPE)
    guest.subscribe("room")
    guest.unsubscribe("room")
    assert json.loads(seen.sent[-1])["type"] == "left"
    assert [member.ref for member in world.hub.topics.presence.members("room")] == [watcher.session.ref]
    await world.hub.stop()


@pytest.mark.feature("W12")
async def test_hub_announces_the_end_of_a_session_at_once(realm: Callable[..., Any]) -> None:
    """An end leaves every topic, without grace."""
    world = realm(session={"presence_grace": 10})
    watcher, seen = await world.connect(format=ENVELOPE)
    watcher.subscribe("room")
    connection, _ = await world.connect(format=ENVELOPE)
    connection.subscribe("room")
    await world.sessions.end(connection.session)
    assert json.loads(seen.sent[-1])["type"] == "left"
    assert [member.ref for member in world.hub.topics.presence.members("room")] == [watcher.session.ref]
    await world.hub.stop()
