"""What is known of other nodes: as they say it, and for as long as they live."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from wshttp.realtime.directory import Directory, Entry, News


def in_topic(ref: str, connections: int | None = 1, user: str | None = None, topic: str = "room") -> Entry:
    return Entry(topic, ref, connections, user)


def told(news: News | None) -> tuple[list[str], list[str], list[str]]:
    """Return who joined, who left, and whose connections are others."""
    assert news is not None
    return (
        [f"{topic} {member.ref}" for topic, member in news.joined],
        [f"{topic} {member.ref}" for topic, member in news.left],
        list(news.counted),
    )


def known(*nodes: tuple[str, Iterable[Entry]]) -> Directory:
    directory = Directory(lease=15)
    for node, entries in nodes:
        directory.take_part(node, 0, 1, entries, now=0.0)
    return directory


def members(directory: Directory, topic: str = "room") -> dict[str, tuple[str | None, int]]:
    return {member.ref: (member.user, member.connections) for member in directory.members(topic)}


@pytest.mark.feature("W12", "W9")
def test_directory_announces_who_is_new_on_any_node() -> None:
    """A member of two nodes joins with the first and leaves with the last."""
    directory = known(("n", []), ("m", []))
    assert told(directory.update("n", [in_topic("a")], 0)) == (["room a"], [], [])
    assert told(directory.update("m", [in_topic("a", 2)], 0)) == ([], [], [])
    assert members(directory) == {"a": (None, 3)}
    assert told(directory.update("n", [in_topic("a", None)], 0)) == ([], [], [])
    assert told(directory.update("m", [in_topic("a", None)], 0)) == ([], ["room a"], [])
    assert told(directory.update("m", [in_topic("a", None)], 0)) == ([], [], [])
    assert members(directory) == {}


@pytest.mark.feature("W12")
def test_directory_announces_a_new_name_once() -> None:
    """After a log-in all nodes of a member say so, the first is news; where they differ, who has connections is right."""
    directory = known(("n", [in_topic("a", 0)]), ("m", [in_topic("a", 0)]))
    assert told(directory.update("n", [in_topic("a", 1, "ann")], 0)) == (["room a"], [], [])
    assert members(directory) == {"a": ("ann", 1)}
    assert told(directory.update("m", [in_topic("a", 1, "ann")], 0)) == ([], [], [])
    assert directory.users("room", "a") == {"ann"}
    assert directory.users("room", "b") == directory.users("hall", "a") == set()


def test_directory_counts_connections_over_all_nodes() -> None:
    """Whose number has changed is told, and nobody else's."""
    directory = known(("n", [Entry(None, "a", 2)]), ("m", [Entry(None, "a", 1)]))
    assert directory.connections("a") == 3
    assert told(directory.update("n", [Entry(None, "a", 2), Entry(None, "b", 1)], 0)) == ([], [], ["b"])
    assert told(directory.update("n", [Entry(None, "a", None)], 0)) == ([], [], ["a"])
    assert told(directory.update("n", [Entry(None, "a", None)], 0)) == ([], [], [])
    assert directory.connections("a") == 1


def test_directory_takes_over_all_that_a_node_has() -> None:
    """What is not named any more is gone; what is as before is no news."""
    directory = known(("n", [in_topic("a"), in_topic("b"), Entry(None, "a", 1)]))
    news = directory.take_part("n", 0, 1, [in_topic("b"), in_topic("c"), Entry(None, "b", 1)], 0)
    assert told(news) == (["room c"], ["room a"], ["b", "a"])
    assert set(members(directory)) == {"b", "c"}


def test_directory_wants_all_parts_in_their_order() -> None:
    """A part counts as it comes; what none has named is gone with the last, if no part is missing."""
    directory = known(("n", [in_topic("old")]))
    assert told(directory.take_part("n", 0, 3, [in_topic("a")], 0)) == (["room a"], [], [])
    assert told(directory.take_part("n", 1, 3, [in_topic("b")], 0)) == (["room b"], [], [])
    assert set(members(directory)) == {"old", "a", "b"}
    assert told(directory.take_part("n", 2, 3, [in_topic("c")], 0)) == (["room c"], ["room old"], [])
    directory.take_part("n", 0, 3, [in_topic("a")], 0)
    assert directory.take_part("n", 2, 3, [], 0) is None
    assert told(directory.take_part("n", 1, 3, [], 0)) == ([], [], [])
    assert set(members(directory)) == {"a", "b", "c"}
    directory.take_part("n", 0, 2, [], 0)
    assert told(directory.take_part("n", 0, 1, [in_topic("a")], 0)) == ([], ["room b", "room c"], [])


def test_directory_does_not_know_a_node_of_which_parts_are_missing() -> None:
    """It has to be asked again, however much it says; what it said counts as long as it lives."""
    directory = Directory(lease=15)
    assert directory.take_part("n", 1, 2, [in_topic("b")], 0) is None
    assert not directory.alive("n", 0)
    directory.take_part("n", 0, 2, [in_topic("a")], 0)
    assert not directory.knows("n")
    assert set(members(directory)) == {"a"}
    directory.take_part("n", 1, 2, [in_topic("b")], 0)
    assert directory.knows("n")
    assert directory.alive("n", 0)
    assert not directory._views["n"].named


@pytest.mark.feature("W9", "W12")
def test_directory_lets_go_of_who_is_silent() -> None:
    """A lease after its last word a node is gone, with all that it had and half of what it said."""
    directory = known(("n", [in_topic("a"), Entry(None, "a", 1)]), ("m", [in_topic("b")]))
    assert directory.alive("n", 10.0)
    assert told(directory.expire(14.9)) == ([], [], [])
    assert told(directory.expire(15.0)) == ([], ["room b"], [])
    directory.take_part("m", 0, 2, [in_topic("b")], 15.0)
    assert told(directory.expire(25.0)) == ([], ["room a"], ["a"])
    assert not directory.knows("n")
    assert not directory.alive("n", 25.0)
    assert told(directory.expire(30.0)) == ([], ["room b"], [])
    assert directory.take_part("m", 1, 2, [], 30.0) is None


def test_directory_gives_nodes_time_after_a_cut() -> None:
    """Nobody could be heard: each has a lease to say again what it has."""
    directory = known(("n", [in_topic("a")]))
    directory.keep(14.0)
    assert told(directory.expire(28.9)) == ([], [], [])
    assert told(directory.expire(29.0)) == ([], ["room a"], [])


@pytest.mark.feature("W10", "W12")
def test_directory_keeps_members_of_a_node_that_said_goodbye_for_the_grace() -> None:
    """Its connections are gone at once; who was in a topic may be back on another node."""
    directory = known(("n", [in_topic("a"), in_topic("b"), Entry(None, "a", 1)]), ("m", []))
    assert told(directory.leave("n", 5.0, grace=10)) == ([], [], ["a"])
    assert members(directory) == {"a": (None, 0), "b": (None, 0)}
    directory.update("m", [in_topic("a")], 6.0)
    assert told(directory.expire(15.0)) == ([], ["room b"], [])
    assert told(directory.leave("nobody", 5.0, grace=10)) == ([], [], [])


def test_directory_forgets_a_session_that_has_ended() -> None:
    """Wherever it was; each topic is told once."""
    directory = known(("n", [in_topic("a"), in_topic("a", topic="hall")]), ("m", [in_topic("a"), in_topic("b")]))
    assert sorted(topic for topic, _ in directory.forget("a")) == ["hall", "room"]
    assert directory.forget("a") == []
    assert set(members(directory)) == {"b"}
    assert not any("a" in view.by_ref for view in directory._views.values())


def test_directory_keeps_nothing_of_who_is_gone() -> None:
    """No empty topic, and no session without one, takes memory."""
    directory = known(("n", [in_topic("a"), Entry(None, "a", 1)]))
    directory.update("n", [in_topic("a", None), Entry(None, "a", None)], 0)
    [view] = directory._views.values()
    assert (view.topics, view.by_ref) == ({}, {})


@pytest.mark.parametrize(
    "facts",
    [[], [None, "a", 1], [1, "a", 1, None], [None, 2, 1, None], ["x", "a", "1", None], ["x", "a", 1, 7]],
    ids=str,
)
def test_entry_that_is_none_is_refused(facts: list[Any]) -> None:
    """What another version may mean by it is not guessed."""
    with pytest.raises(ValueError):
        Entry.of(facts)


def test_entry_is_read_as_it_was_written() -> None:
    """More than is known is left aside."""
    for entry in (in_topic("a", 3, "ann"), Entry(None, "a", None)):
        assert Entry.of([*entry.facts(), "more"]) == entry
