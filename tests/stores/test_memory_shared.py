"""The memory `Shared`: the contract, and what is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from wshttp.errors import UsageError
from wshttp.sessions.shared import Shared
from wshttp.stores.memory_shared import MemoryShared
from wshttp.stores.shared_contract import SharedContract
from wshttp.testing import FakeClock


class TestMemoryShared(SharedContract):
    """The contract holds for the memory `Shared`."""

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[Shared]:
        self.clock = FakeClock()
        yield MemoryShared(self.clock)

    async def let_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)


async def test_keys_are_bounded(clock: FakeClock) -> None:
    """There are never more keys than `max_keys`, of all kinds together; the longest unused goes first."""
    shared = MemoryShared(clock, max_keys=3)
    await shared.add("counter", ttl=60)
    await shared.put("value", b"x", ttl=3600)
    await shared.append("list", b"x", maximum=2, ttl=60)
    await shared.add("counter", ttl=60)
    await shared.add("one more", ttl=60)
    assert len(shared) == 3
    assert await shared.take("value") is None
    assert (await shared.counter("counter"))[0] == 2
    assert await shared.read("list") == (1, [b"x"])


async def test_long_lived_keys_do_not_push_out_a_short_one_in_use(clock: FakeClock) -> None:
    """A counter that is counted up survives a flood of keys that would all outlive it."""
    shared = MemoryShared(clock, max_keys=10)
    for n in range(100):
        await shared.add("short", ttl=60)
        await shared.add(f"long {n}", ttl=86400)
    assert (await shared.counter("short"))[0] == 100


async def test_replacing_a_value_pushes_nobody_out(clock: FakeClock) -> None:
    """A `put` to a key that is there needs no room."""
    shared = MemoryShared(clock, max_keys=2)
    await shared.put("a", b"1", ttl=60)
    await shared.put("b", b"1", ttl=60)
    await shared.put("b", b"2", ttl=60)
    assert await shared.take("a") == b"1"


async def test_expired_keys_are_freed_a_few_per_call(clock: FakeClock) -> None:
    """Memory of what expired comes back with later calls, and no single call frees it all."""
    shared = MemoryShared(clock)
    for n in range(100):
        await shared.add(str(n), ttl=60)
    clock.advance(61)
    await shared.counter("other")
    assert 90 < len(shared) < 100
    assert await shared.counter("99") == (0, 0.0)
    for _ in range(50):
        await shared.counter("other")
    assert len(shared) == 0


async def test_keys_forgotten_early_leave_nothing_behind(clock: FakeClock) -> None:
    """Logins that forget their month-long counters do not fill the memory with their deadlines."""
    shared = MemoryShared(clock)
    await shared.append("kept", b"x", maximum=1, ttl=86400)
    for n in range(1000):
        await shared.add(str(n), ttl=30 * 86400)
        await shared.forget(str(n))
    assert len(shared._due) < 100
    clock.advance(86401)
    await shared.counter("other")
    assert len(shared) == 0


async def test_key_used_as_another_kind_is_refused(clock: FakeClock) -> None:
    """One key, one kind; `put` alone replaces anything."""
    shared = MemoryShared(clock)
    await shared.add("k", ttl=60)
    with pytest.raises(UsageError, match="list"):
        await shared.append("k", b"x", maximum=1, ttl=60)
    with pytest.raises(UsageError, match="value"):
        await shared.take("k")
    await shared.put("k", b"x", ttl=60)
    assert await shared.take("k") == b"x"


async def test_calendar_that_jumps_changes_nothing(clock: FakeClock) -> None:
    """Deadlines follow the clock that only runs forward."""
    shared = MemoryShared(clock)
    await shared.put("k", b"x", ttl=60)
    clock.jump(86400)
    assert await shared.take("k") == b"x"


def test_bound_of_no_keys_is_refused(clock: FakeClock) -> None:
    """A `Shared` that can hold nothing would make every throttle pass."""
    with pytest.raises(UsageError, match="max_keys"):
        MemoryShared(clock, max_keys=0)


async def test_bytes_are_bounded(clock: FakeClock) -> None:
    """Of values and lists that are too large together, the longest unused goes; of one that is by itself, its oldest items."""
    shared = MemoryShared(clock, max_bytes=100)
    await shared.put("value", b"x" * 40, ttl=60)
    for _ in range(4):
        await shared.append("list", b"x" * 10, maximum=3, ttl=60)
    assert len((await shared.read("list"))[1]) == 3
    await shared.append("other", b"x" * 30, maximum=3, ttl=60)
    assert await shared.take("value") == b"x" * 40
    await shared.append("other", b"x" * 60, maximum=3, ttl=60)
    assert await shared.read("list") == (1, [])
    await shared.append("other", b"x" * 20, maximum=3, ttl=60)
    assert await shared.read("other") == (2, [b"x" * 60, b"x" * 20])
    await shared.append("other", b"x" * 500, maximum=3, ttl=60)
    assert await shared.read("other") == (4, [b"x" * 500])


async def test_bytes_are_free_again(clock: FakeClock) -> None:
    """What is taken, forgotten, replaced, pushed out or expired counts no longer."""
    shared = MemoryShared(clock, max_bytes=130, max_keys=5)
    for number in range(50):
        await shared.put(f"taken {number}", b"x" * 90, ttl=60)
        await shared.take(f"taken {number}")
        await shared.append("forgotten", b"x" * 90, maximum=9, ttl=60)
        await shared.forget("forgotten")
        await shared.put("replaced", b"x" * 90, ttl=60)
        await shared.put("replaced", b"", ttl=60)
        await shared.put(f"pushed out {number}", b"x" * 5, ttl=60)
        await shared.append("trimmed", b"x" * 5, maximum=1, ttl=60)
    assert (await shared.read("trimmed"))[0] > 1
    await shared.put("expired", b"x" * 60, ttl=1)
    clock.advance(2)
    await shared.add("anything", ttl=60)
    await shared.put("kept", b"x" * 80, ttl=60)
    assert shared._bytes == sum(entry.size for entry in shared._entries.values())
    assert await shared.take("kept") == b"x" * 80
