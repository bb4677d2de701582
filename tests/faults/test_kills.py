"""`kill -9`: of nodes while they create, handle, end, sweep and deliver, and of their Redis, with and without its last writes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.conftest import Guarantee
from faults.counting import PLACES
from faults.fleet import LEASE, Disk, Fleet, Node, fleet
from faults.history import now
from faults.load import Load, load
from faults.sizes import size
from faults.verdict import SECOND, Allowed, Lost

LEFT_BEHIND = ("s:", "e:", "l:", "c:", "p:", "u:", "b:", "lock", "orphans")
"""What no key begins with when all sessions have ended and nothing is owed."""


def check(nodes: Fleet, clients: Load, allowed: Allowed) -> str:
    """Fail unless all promises held and nothing is left behind; return what was seen."""
    verdict = clients.judge(allowed)
    first = verdict.faults[0].split()[0] if verdict.faults else ""
    assert not verdict.faults, "\n".join([str(verdict), *verdict.faults[:30], verdict.story(first)])
    assert verdict.sessions > 10
    left = [name for name in nodes.names() if name.startswith(LEFT_BEHIND)]
    assert not left, left[:30]
    return str(verdict)


# --- nodes ------------------------------------------------------------------------------------------


def kill(node: Node) -> None:
    """In the midst of whatever it does."""
    node.kill()


def kill_unheard(node: Node) -> None:
    """When Redis has done things of which the node was not told."""
    node.proxy.stall("back")
    assert node.proxy.keeps("back")
    node.kill()
    node.proxy.heal()


def kill_cut_off(node: Node) -> None:
    """When it has just lost its connection, and is about to make another."""
    node.proxy.cut()
    node.kill()


@pytest.mark.feature("E1", "E8", "T3", "T5")
def test_node_that_is_killed_loses_nothing(tmp_path: Path, redis_program: str, guarantee: Guarantee) -> None:
    """At any moment: the others deliver what it owed, and only that again."""
    numbers, rounds = random.Random(1), size(100, small=3)
    ways: list[Callable[[Node], None]] = [kill, kill_unheard, kill_cut_off]
    with fleet(tmp_path, redis_program) as nodes, load(nodes) as clients:
        for number in range(rounds):
            clients.answers(numbers.randrange(50, 300))
            victim = numbers.choice(nodes.nodes)
            ways[number % len(ways)](victim)
            clients.answers(numbers.randrange(1, 100))
            victim.start()
        seen = check(nodes, clients, Allowed(late=LEASE + 7, drops=True))
    guarantee("1–4", "`kill -9` of a node at any moment", f"{rounds} times", seen)


@pytest.mark.feature("E1", "E8", "T3")
def test_node_that_is_killed_in_its_own_code_loses_nothing(
    tmp_path: Path, redis_program: str, guarantee: Guarantee
) -> None:
    """At each place where a callback or a handler of the application runs."""
    numbers, rounds = random.Random(2), size(10, small=1)
    with fleet(tmp_path, redis_program) as nodes, load(nodes) as clients:
        for place in PLACES * rounds:
            victim = numbers.choice(nodes.nodes)
            victim.die_at(place)
            victim.gone()
            victim.start()
            clients.answers(20)
        seen = check(nodes, clients, Allowed(late=LEASE + 7, drops=True))
    guarantee("1–4", f"`kill -9` of a node in its own code: at {', '.join(PLACES)}", f"{rounds} times each", seen)


# --- Redis ------------------------------------------------------------------------------------------


@pytest.mark.feature("T3", "T5")
@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_redis_that_is_killed_loses_nothing(
    tmp_path: Path, redis_program: str, guarantee: Guarantee, fsync: str
) -> None:
    """Back at once, or only after clients were refused.

    What Redis has given to the system survives its process; with `everysec` it may keep up to two seconds to itself,
    while a sync takes that long.
    """
    numbers, rounds, lost = random.Random(3), size(50, small=2 if fsync == "always" else 1), []
    with fleet(tmp_path, redis_program, fsync=fsync) as nodes, load(nodes) as clients:
        for number in range(rounds):
            clients.answers(numbers.randrange(100, 400))
            since = now() - 2 * SECOND
            nodes.redis.kill()
            if number % 2:
                clients.refusals(10)
            nodes.redis.start()
            until = now()
            clients.answers(1)
            nodes.ready()
            lost.append(Lost(since, until, now()))
        seen = check(nodes, clients, Allowed(lost=tuple(lost) if fsync == "everysec" else ()))
    promise = "1–4, 6" + (", but for the last 2 s" if fsync == "everysec" else "")
    guarantee(promise, f"`kill -9` of Redis, `appendfsync {fsync}`", f"{rounds} times", seen)


@pytest.mark.feature("T3", "T5")
def test_redis_that_lost_its_last_writes_brings_nobody_back(
    tmp_path: Path, redis_program: str, guarantee: Guarantee
) -> None:
    """What was written since the disk's last sync is undone; but sessions that ended then end again, with the same event.

    A session that began then is gone without an end: nobody knows of it any more.
    """
    numbers, rounds, lost = random.Random(4), size(50, small=2), []
    work = {"hit": 60, "tabs": 10, "update": 10, "message": 15, "socket": 6, "logout": 15, "short": 3}
    with fleet(tmp_path, redis_program) as nodes, load(nodes, work=work) as clients:
        disk = Disk(nodes.redis)
        for _ in range(rounds):
            clients.answers(numbers.randrange(100, 400))
            since = now()
            disk.keep()
            clients.answers(numbers.randrange(50, 300))
            disk.cut_power()
            until = now()
            clients.answers(1)
            nodes.ready()
            lost.append(Lost(since, until, now()))
        seen = check(nodes, clients, Allowed(lost=tuple(lost), drops=True))
    guarantee(
        "1–4, but for what the disk did not have",
        "a power cut of Redis: its last writes are lost", f"{rounds} times", seen,
    )  # fmt: skip
