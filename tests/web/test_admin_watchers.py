"""Those who watch, and what is remembered for those who look."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from serving import soon

from wshttp.errors import TooManyRequests
from wshttp.sessions.happenings import Happening, Happenings, What
from wshttp.testing import FakeClock
from wshttp.web.admin.lives import Lives, entry
from wshttp.web.admin.watchers import Watchers


def happening(number: int, what: What = "connected", ref: str | None = None) -> Happening:
    return Happening(what, float(number), ref or f"{number:x}", None, "192.0.2.7")


async def test_watcher_gets_what_happens_in_order() -> None:
    """All that waits comes at once; nothing after a while is empty, so that a sign of life can be sent."""
    watchers = Watchers()
    with watchers.watching() as watcher:
        assert len(watchers) == 1
        for number in range(3):
            watchers.tell(happening(number))
        assert [each.at for each in await soon(watcher.next(10))] == [0, 1, 2]
        assert await soon(watcher.next(0.001)) == []
        assert not watcher.is_closed
    assert len(watchers) == 0


async def test_slow_watcher_is_dropped_and_holds_nobody_up() -> None:
    """One too many ends it, with all that waited; the others go on."""
    watchers = Watchers(backlog=2)
    with watchers.watching() as slow, watchers.watching() as quick:
        for number in range(3):
            watchers.tell(happening(number))
            await soon(quick.next(10))
        assert slow.dropped
        assert slow.is_closed
        assert not quick.is_closed
        await soon(slow.closed())
        assert await soon(slow.next(10)) == []
        watchers.tell(happening(3))
        assert [each.at for each in await soon(quick.next(10))] == [3]


def test_watchers_are_bounded() -> None:
    """Each has a queue and a connection: nobody opens them without end."""
    watchers = Watchers(at_once=2)
    with ExitStack() as stack:
        stack.enter_context(watchers.watching())
        stack.enter_context(watchers.watching())
        with pytest.raises(TooManyRequests, match="2 are watching"):
            stack.enter_context(watchers.watching())
    with watchers.watching():
        assert len(watchers) == 1


async def test_closing_is_heard_by_all_and_by_who_comes_later() -> None:
    """A server that drains waits for no stream."""
    watchers = Watchers()
    with watchers.watching() as early:
        watchers.close()
        assert await soon(early.next(10)) == []
        assert early.is_closed
        assert not early.dropped
    with watchers.watching() as late:
        assert late.is_closed


def test_lives_keep_the_latest_of_a_life_until_its_end() -> None:
    """Bounded per session; the beginning is in the session's record, and with the end all is gone."""
    lives = Lives(latest=2)
    lives.take(happening(0, "started", "a"))
    assert lives.of("a") == []
    for number in range(1, 4):
        lives.take(happening(number, ref="a"))
    assert [each.at for each in lives.of("a")] == [2, 3]
    lives.take(happening(4, "ended", "a"))
    assert lives.of("a") == []


def test_lives_forget_the_session_to_which_nothing_happened_for_longest() -> None:
    """Bounded in all: a hundred thousand sockets that come and go leave no more than that."""
    lives = Lives(sessions=2)
    for ref in ("a", "b", "a", "c"):
        lives.take(happening(1, ref=ref))
    assert lives.of("b") == []
    assert len(lives.of("a")) == 2


def test_lives_take_no_socket_without_a_session() -> None:
    """Where sessions are off there is no life to tell of."""
    lives = Lives(sessions=0)
    lives.take(Happening("connected", 1.0, None, None, "", connection="ab"))


def test_entries_say_what_is_of_their_kind() -> None:
    """A socket has a name and an address, a log-in its user, a close its code."""
    closed = Happening("disconnected", 1.00049, "a", "ada", "192.0.2.7", connection="ab", code=4001)
    assert entry(closed) == {"what": "disconnected", "at": 1.0, "connection": "ab", "ip": "192.0.2.7", "code": 4001}
    assert entry(Happening("renewed", 2.0, "a", "ada", "")) == {"what": "renewed", "at": 2.0, "user": "ada"}
    assert entry(Happening("warned", 3.0, "a", "ada", "")) == {"what": "warned", "at": 3.0}


def test_happenings_carry_unix_time() -> None:
    """They are for people, whatever clock the store has."""
    clock, seen = FakeClock(), []
    happenings = Happenings(clock)
    happenings.watch(seen.append)
    happenings.tell_of_socket("connected", "ab", "192.0.2.7", None)
    [found] = seen
    assert (found.at, found.ref, found.connection) == (clock.time(), None, "ab")
