"""Pings on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wshttp.engine.websocket.heartbeat import Heartbeat


class Timer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Patient:
    """A socket and a loop at once: it notes what the heartbeat does, and when."""

    def __init__(self, interval: float, timeout: float) -> None:
        self.time = 0.0
        self.heard_at = 0.0
        self.listening_since: float | None = 0.0
        self.pings: list[float] = []
        self.given_up_at: float | None = None
        self.timers: list[Timer] = []
        self.answers = False
        loop: Any = self
        self.heartbeat = Heartbeat(self, interval, timeout, loop)

    def now(self) -> float:
        return self.time

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.time + delay, callback))
        return self.timers[-1]

    def write_ping(self, data: bytes) -> None:
        self.pings.append(self.time)
        if self.answers:
            self.heard_at = self.time

    def give_up(self) -> None:
        self.given_up_at = self.time

    def until(self, time: float) -> None:
        """Let time pass."""
        while due := [timer for timer in self.timers if timer.when <= time]:
            timer = min(due, key=lambda each: each.when)
            self.timers.remove(timer)
            self.time = max(self.time, timer.when)
            if not timer.cancelled:
                timer.callback()
        self.time = time


def test_peer_that_answers_is_pinged_at_intervals() -> None:
    """From ping to ping, however long the answer took."""
    patient = Patient(10, 4)
    patient.answers = True
    patient.until(45)
    assert (patient.pings, patient.given_up_at) == ([10, 20, 30, 40], None)


@pytest.mark.feature("W5")
def test_peer_that_is_silent_is_given_up() -> None:
    """At the time-out after the ping."""
    patient = Patient(10, 4)
    patient.until(100)
    assert (patient.pings, patient.given_up_at) == ([10], 14)


def test_peer_that_says_anything_is_alive() -> None:
    """A pong may be stuck behind a long message; any byte after the ping will do."""
    patient = Patient(10, 4)
    patient.until(12)
    patient.heard_at = 12
    patient.until(19)
    assert (patient.pings, patient.given_up_at) == ([10], None)
    patient.until(24)
    assert patient.given_up_at == 24


def test_timeout_may_be_longer_than_the_interval() -> None:
    """The next ping then follows the answer."""
    patient = Patient(10, 30)
    patient.until(39)
    patient.heard_at = 39
    patient.until(40)
    assert (patient.pings, patient.given_up_at) == ([10, 40], None)


def test_peer_is_never_given_up_without_a_timeout() -> None:
    """The pings alone keep proxies from closing."""
    patient = Patient(10, 0)
    patient.until(35)
    assert (patient.pings, patient.given_up_at) == ([10, 20, 30], None)


def test_peer_that_is_not_listened_to_is_excused() -> None:
    """While a handler is busy its pong may be there, unread; afterwards it has the whole time-out again."""
    patient = Patient(10, 4)
    patient.listening_since = None
    patient.until(1000)
    assert (len(patient.pings), patient.given_up_at) == (1, None)
    patient.listening_since = 1000
    patient.until(1003)
    assert patient.given_up_at is None
    patient.until(1005)
    assert patient.given_up_at == pytest.approx(1004)


def test_peer_whose_pong_was_read_late_lives_on() -> None:
    """What a busy handler delayed counts from when it is read."""
    patient = Patient(10, 4)
    patient.listening_since = None
    patient.until(100)
    patient.listening_since = patient.heard_at = 100
    patient.answers = True
    patient.until(200)
    assert patient.given_up_at is None
    assert len(patient.pings) > 5


def test_heartbeat_that_is_stopped_is_silent() -> None:
    """No ping follows."""
    patient = Patient(10, 4)
    patient.heartbeat.stop()
    patient.until(100)
    assert patient.pings == []
