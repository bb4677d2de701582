"""What the Redis store leaves behind, what it sends, and what its scripts compute by themselves."""

from __future__ import annotations

import json
import math
import random
from itertools import chain
from pathlib import Path

import pytest
from redis_nodes import Cluster, create, due, write
from redis_servers import RedisServer

from wshttp.sessions.changes import ABSENT, Changes, Scheduled
from wshttp.sessions.fake_clock import FakeClock
from wshttp.sessions.ids import SessionId, new_event_id
from wshttp.sessions.record import Reason
from wshttp.stores import Event, Limits
from wshttp.stores.redis import scripts
from wshttp.stores.redis.recent import Recent
from wshttp.stores.redis.scripts import Scripts, source_of
from wshttp.stores.redis.server_time import ServerTime


@pytest.fixture
def cluster(redis_server: RedisServer, redis_prefix: str) -> Cluster:
    return Cluster(redis_server, redis_prefix)


# --- keys -------------------------------------------------------------------------------------------


async def test_sessions_that_came_and_went_leave_no_keys(cluster: Cluster) -> None:
    """What is left expires by itself: tombstones, and answers that may be asked for again."""
    async with cluster.node(tombstone=10.0) as store, cluster.node(tombstone=10.0) as other:
        for n in range(20):
            created = await create(
                store, f"s{n}", user="v", data={"a": [n]}, limits=Limits(9, 9, 9), idle_timeout=100.0
            )
            ref = created.record.ref
            calls = [Scheduled(new_event_id(), delay, "call", None) for delay in (1, 1000)]
            await other.apply(ref, Changes({"b": 1}, scheduled=calls), 0)
            await other.increment(ref, "n", 1, 0)
            assert await other.acquire(ref, "holder", 1)
            assert not await store.acquire(ref, "waits", 0.01)
            await store.renew(ref, SessionId.app(f"r{n}").key, Limits(), user="u", roles=("r",), version="")
            await other.load_ref(ref, touch=True)
            if n % 2:
                cluster.advance(2)
                for _, event in (await due(other)).scheduled:
                    assert event.ref == ref
                    await other.settle(event)
            ended = await other.end(ref, Reason.LOGOUT) if n % 3 else None
            if ended is None:
                cluster.advance(101)
                await store.renew_lease()
                await other.renew_lease()
                [ended] = (await due(other)).ended
            assert ended.elsewhere
            await store.settle(created.event)
            for one in (await due(store)).owed:
                await store.settle(one.event)
        assert (await store.owed(), await store.count()) == (0, 0)
    left = cluster.keys()
    assert {name for name, milliseconds in left.items() if milliseconds == -1} == {"meta", "test-clock"}
    assert {name.split(":")[0] for name in left} <= {"meta", "test-clock", "k", "a"}
    assert max(left.values()) <= 60_000


async def test_ids_are_stored_as_hashes_alone(cluster: Cluster) -> None:
    """Who reads the server cannot use a session; and nothing is a pickle."""
    async with cluster.node() as store:
        created = await create(store, "a-token-of-a-client", data={"seen": "this is"})
        await store.renew(
            created.record.ref, SessionId.app("another-token").key, Limits(), user="u", roles=(), version=""
        )
        with cluster.server.client() as client:
            text = b"".join(key + client.dump(key) for key in client.scan_iter())
        assert b"token" not in text
        assert b"this is" in text


async def test_text_that_is_no_text_does_no_harm(cluster: Cluster) -> None:
    """Lone surrogates and NULs in what others choose are kept as they are."""
    odd = "\ud800\0'\";--\r\n*"
    async with cluster.node() as store:
        record = (await create(store, user=odd, user_agent=odd, start={odd: odd}, roles=(odd,), version=odd)).record
        await store.apply(record.ref, Changes(scheduled=[Scheduled(new_event_id(), 1, odd, odd)]), 0)
        found = await store.load_ref(record.ref, touch=False)
        assert found is not None
        assert (found.user, found.user_agent, found.start, found.roles) == (odd, odd, {odd: odd}, (odd,))
        assert (await store.count(odd), await store.count(odd, found.bucket), await store.count("")) == (1, 1, 0)
        cluster.advance(2)
        [(_, event)] = (await store.take_due(10)).scheduled
        assert (event.name, event.data) == (odd, odd)
        empty = (await create(store, user="", data={"": "", "a\0": "\0"})).record
        assert (empty.user, empty.data) == ("", {"": "", "a\0": "\0"})
        assert await store.count("") == 1


# --- round trips --------------------------------------------------------------------------------------


async def commands_of(cluster: Cluster, work: object) -> list[str]:
    """Return what the server was sent while something was done, without what scripts do inside."""
    with cluster.server.client() as client, client.monitor() as monitor:
        await work  # type: ignore[misc]
        cluster.server.ask("ECHO", "the end")
        commands = []
        while (seen := monitor.next_command())["command"] != "ECHO the end":
            if seen["client_type"] != "lua":
                commands.append(seen["command"].split()[0])
        return commands


async def test_read_is_one_command_and_a_change_one_more(cluster: Cluster) -> None:
    """Counted at the server: by id or by ref, touched or not."""
    async with cluster.node() as store:
        record = (await create(store, limits=Limits(100, 100, 100))).record
        await store.load(record.key, touch=True)
        await store.load_ref(record.ref, touch=True)
        await write(store, record.ref, a=1)
        cluster.advance(10)
        for touch in (True, True, False):
            assert await commands_of(cluster, store.load(record.key, touch=touch)) == ["EVALSHA"]
            assert await commands_of(cluster, store.load_ref(record.ref, touch=touch)) == ["EVALSHA"]
        assert await commands_of(cluster, write(store, record.ref, a=2, b=ABSENT)) == ["EVALSHA"]
        assert await commands_of(cluster, create(store, limits=Limits(100, 100, 100))) == ["EVALSHA"]


async def test_read_writes_nothing_unless_a_touch_is_due(cluster: Cluster) -> None:
    """Nothing that would go to a log or to replicas."""
    async with cluster.node() as store:
        record = (await create(store)).record
        for touch, seconds, written in ((True, 4, 0), (False, 4, 0), (True, 0, 1), (True, 1, 0)):
            cluster.advance(seconds)
            before = cluster.server.ask("INFO", "persistence")["rdb_changes_since_last_save"]
            await store.load(record.key, touch=touch)
            after = cluster.server.ask("INFO", "persistence")["rdb_changes_since_last_save"]
            assert (after > before) is bool(written)


# --- parts by themselves ------------------------------------------------------------------------------


def test_numbers_look_as_python_writes_them(redis_server: RedisServer) -> None:
    """Sums of two JSON numbers: the same text, whole or not, or none where Python would refuse it."""
    script = source_of("numbers") + "return sum(ARGV[1], ARGV[2]) or false"
    draw = random.Random(7)
    numbers: list[float] = [
        0,
        -0.0,
        1,
        -1,
        0.1,
        0.2,
        1e15,
        1e16,
        1e22,
        1.2345678901234568e17,
        1e-4,
        1e-5,
        5e-324,
        2**53,
    ]
    numbers += [draw.uniform(-1, 1) * 10 ** draw.randint(-20, 20) for _ in range(500)]
    numbers += [draw.randint(-(10**6), 10**6) / 8 for _ in range(200)]
    numbers += [draw.randint(-(2**52), 2**52) for _ in range(200)]
    with redis_server.client() as client:
        for number in numbers:
            for by in (0, 0.0, 1, draw.choice(numbers)):
                total = number + by
                is_refused = not math.isfinite(total) or (isinstance(total, int) and abs(total) > 2**53)
                found = client.eval(script, 0, json.dumps(number), json.dumps(by))
                assert found == (None if is_refused else json.dumps(total).encode())
        for text in ('"1"', "true", "null", "[1]", "{}"):
            assert client.eval(script, 0, text, "1") is None


def test_time_is_narrowed_down_by_replies(clock: FakeClock) -> None:
    """Never ahead of the server; the quickest reply counts, until one says that the server's clock was set."""
    time = ServerTime(clock)
    mark = time.mark()
    clock.advance(0.5)
    time.heard(5000.0, 0.0, mark)
    assert time.now() == 5000.0
    mark = time.mark()
    clock.advance(0.25)
    time.heard(5000.75, 3.0, mark)
    assert (time.now(), time.forgiven, time.heard_at) == (5000.75, 3.0, 5000.75)
    mark = time.mark()
    clock.advance(2)
    time.heard(5001.0, 3.0, mark)
    assert time.now() == 5002.75
    mark = time.mark()
    time.heard(4000.0, 3.0, mark)
    assert time.now() == 4000.0


def test_ends_are_remembered_for_a_while() -> None:
    """In their order; a minute back, and not more than fits."""
    recent = Recent()
    for n in range(700):
        recent.ended(Event(f"{n}-end", "end", str(n), reason=Reason.IDLE), n / 10)
    recent.settled(Event("699-end", "end", "699", attempt=2, reason=Reason.IDLE), 70.0)
    first, second = recent.told_again(75.0)
    assert first[:8] == ["end", "150-end", 1, "idle", "end", "151-end", 1, "idle"]
    assert (len(first), second[-4:]) == (2000, ["settled", "699-end", 2, "idle"])
    assert list(recent.told_again(200.0)) == []


def test_scripts_name_themselves_and_their_schema() -> None:
    """In their first lines, so that who looks into a server knows whose they are."""
    scripts = Scripts()
    for name in ("load", "create", "take_due"):
        assert f"-- wshttp, schema 1: {name}\n" in scripts[name].source
        assert scripts[name].source.startswith("#!lua")
    assert Scripts("local function now() return 7 end\n")["load"].sha != scripts["load"].sha


async def test_answers_are_kept_as_long_as_they_may_be_asked_for(cluster: Cluster) -> None:
    """A minute where the caller gave a token; and no longer, since nobody takes them away."""
    async with cluster.node(timeout=2) as store:
        ref = (await create(store)).record.ref
        await store.apply(ref, Changes({"a": 1}, token="by-apply"), 0)
        await store.increment(ref, "n", 1, 0, token="by-increment")
        await store.renew(ref, b"k", Limits(), user="u", roles=(), version="", token="by-renew")
        await store.increment(ref, "n", 1, 0)
        await store.end(ref, Reason.LOGOUT, token="by-end")
        kept = {name: left for name, left in cluster.keys().items() if name.startswith("a:")}
        own = {name: kept.pop(f"a:{name}") for name in (ref, "by-apply", "by-increment", "by-renew", "by-end")}
        assert all(50_000 < left <= 60_000 for left in own.values()), own
        [left] = kept.values()
        assert 5_000 < left <= 7_000, "that of the call without a token"


def test_every_script_has_its_place() -> None:
    """A file that no script consists of would be shipped, and never run."""
    folder = Path(scripts.__file__).parent
    files = {path.stem for path in folder.glob("*.lua") if not path.stem.startswith("shared")}
    assert files == {"time", "clocks", *scripts._PARTS, *chain.from_iterable(scripts._PARTS.values())}
