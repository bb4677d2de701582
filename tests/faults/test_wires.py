"""The wires between nodes and Redis: cut, delayed, half closed, stalled, and cut in the midst of a word."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.conftest import Guarantee
from faults.fleet import TIMEOUT, fleet
from faults.load import Load, load
from faults.proxy import Proxy
from faults.sizes import size
from faults.test_kills import check
from faults.verdict import Allowed

Fault = Callable[[Proxy, Load, random.Random], None]


def cut(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    wire.cut()


def cut_commands(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    """Redis gets the first part of a command, or it and half of the next."""
    wire.cut_after("there", numbers.randrange(3000))
    clients.answers(50)


def cut_replies(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    """What was done is never, or half, answered."""
    wire.cut_after("back", numbers.randrange(3000))
    clients.answers(50)


def end_commands(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    wire.half_close("there")


def end_replies(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    wire.half_close("back")


def stall_commands(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    """What waits comes to Redis when its callers have been refused, and must not be done any more."""
    wire.stall("there")
    clients.refusals(1)


def stall_replies(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    """What is done is not heard before its callers have been refused."""
    wire.stall("back")
    clients.refusals(1)


def stall_briefly(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    wire.stall()
    clients.answers(5)


def delay(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    wire.delay = numbers.uniform(0, TIMEOUT / 4)
    clients.answers(50)


def delay_too_long(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    wire.delay = TIMEOUT * 1.2
    clients.refusals(1)


def refuse(wire: Proxy, clients: Load, numbers: random.Random) -> None:
    wire.refuse()
    clients.refusals(1)


FAULTS: list[Fault] = [
    cut, cut_commands, cut_replies, end_commands, end_replies, stall_commands, stall_replies, stall_briefly, delay,
    delay_too_long, refuse,
]  # fmt: skip


CACHE = 2.0
"""Seconds."""

ROUNDS = size(20, small=1)


def run(folder: Path, program: str, faults: list[Fault], cache: float) -> str:
    """Break wires in all these ways, and return what was seen."""
    numbers = random.Random(5)
    with fleet(folder, program, f"store.cache={cache}s") as nodes, load(nodes, clients=12) as clients:
        for fault in faults * ROUNDS:
            clients.answers(numbers.randrange(20, 100))
            wire = numbers.choice(nodes.nodes).proxy
            fault(wire, clients, numbers)
            wire.heal()
        nodes.ready()
        return check(nodes, clients, Allowed(slow=TIMEOUT + 3, stale=cache))


def named(faults: list[Fault]) -> str:
    return ", ".join(fault.__name__.replace("_", " ") for fault in faults)


@pytest.mark.feature("T3", "T5")
def test_wire_that_breaks_loses_nothing(tmp_path: Path, redis_program: str, guarantee: Guarantee) -> None:
    """Nothing that was answered is lost, nothing is done twice, and sockets stay open."""
    seen = run(tmp_path, redis_program, FAULTS, 0.0)
    guarantee("1–4, 6", f"the wire of a node to Redis: {named(FAULTS)}", f"{ROUNDS} times each", seen)


@pytest.mark.feature("T3", "T5")
def test_wire_that_breaks_outdates_no_copy_for_long(tmp_path: Path, redis_program: str, guarantee: Guarantee) -> None:
    """A node that reads its own copies may find a session that has ended for as long as a copy is good, and no longer."""
    faults = [cut, end_replies, stall_replies, delay]
    seen = run(tmp_path, redis_program, faults, CACHE)
    promise = f"1–4, 6; the 2nd within {CACHE:g} s"
    guarantee(promise, f"the same, with `store.cache: {CACHE:g}s`: {named(faults)}", f"{ROUNDS} times each", seen)
