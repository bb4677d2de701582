# ruff: noqa: S101 -- a contract asserts; it runs in tests only
"""What every `Shared` must keep, as a test suite.

Run it on an implementation of your own:

    from wshttp.testing import FakeClock, SharedContract

    class TestMyShared(SharedContract):
        @asynccontextmanager
        async def shared(self):
            self.clock = FakeClock()
            yield MyShared(self.clock)            # empty, and of this test alone

        async def let_pass(self, seconds):
            self.clock.advance(seconds)

The tests are coroutines: run them with pytest and a plugin that awaits them (pytest-asyncio in mode `auto`, anyio).
An implementation whose time cannot be faked shortens, in `let_pass`, what is left of every key by as much.
Where `let_pass` may be late by some milliseconds, nothing here notices: windows are tens of seconds.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from wshttp.sessions.shared import Shared


class SharedContract:
    """Inherit, and say how an empty `Shared` is made and how time passes for it."""

    def shared(self) -> AbstractAsyncContextManager[Shared]:
        """Open an empty `Shared`, and close it at the end of the block."""
        raise TypeError("a test of the Shared contract says in `shared` what it tests")

    async def let_pass(self, seconds: float) -> None:
        """Let `seconds` pass for what was opened last."""
        raise TypeError("a test of the Shared contract says in `let_pass` how time passes")

    async def test_counter_is_zero_before_the_first_add(self) -> None:
        """Absence of a counter is zero, and nothing is left of its time."""
        async with self.shared() as shared:
            assert await shared.counter("k") == (0, 0.0)

    async def test_add_returns_the_new_value(self) -> None:
        """`add` counts up and down by any amount, from zero, and below it."""
        async with self.shared() as shared:
            assert await shared.add("k", ttl=60) == 1
            assert await shared.add("k", 5, ttl=60) == 6
            assert await shared.add("k", -8, ttl=60) == -2
            assert (await shared.counter("k"))[0] == -2

    async def test_add_in_parallel_loses_none(self) -> None:
        """Of N callers that add, each sees another value, and the sum is N."""
        async with self.shared() as shared:
            values = await asyncio.gather(*(shared.add("k", ttl=60) for _ in range(100)))
            assert sorted(values) == list(range(1, 101))

    async def test_counter_window_starts_with_the_first_add(self) -> None:
        """Later adds do not prolong a counter's life: the window is fixed."""
        async with self.shared() as shared:
            await shared.add("k", ttl=60)
            await self.let_pass(40)
            assert await shared.add("k", ttl=60) == 2
            value, left = await shared.counter("k")
            assert value == 2
            assert 19 <= left <= 20
            await self.let_pass(21)
            assert await shared.counter("k") == (0, 0.0)
            assert await shared.add("k", ttl=60) == 1

    async def test_keys_are_apart(self) -> None:
        """What happens to one key happens to no other."""
        async with self.shared() as shared:
            await shared.add("a", ttl=60)
            await shared.add("b", 2, ttl=60)
            await shared.forget("a")
            assert await shared.counter("a") == (0, 0.0)
            assert (await shared.counter("b"))[0] == 2

    async def test_forget_drops_every_kind(self) -> None:
        """A counter, a value and a list are forgotten alike; where there is none, nothing happens."""
        async with self.shared() as shared:
            await shared.add("counter", ttl=60)
            await shared.put("value", b"x", ttl=60)
            await shared.append("list", b"x", maximum=3, ttl=60)
            for key in ("counter", "value", "list", "none"):
                await shared.forget(key)
            assert await shared.counter("counter") == (0, 0.0)
            assert await shared.take("value") is None
            assert await shared.read("list") == (1, [])

    async def test_take_gives_a_value_once(self) -> None:
        """A value is given out, exact in every byte, to one taker alone."""
        async with self.shared() as shared:
            await shared.put("k", bytes(range(256)), ttl=60)
            assert await shared.take("k") == bytes(range(256))
            assert await shared.take("k") is None

    async def test_take_in_parallel_has_one_winner(self) -> None:
        """Of N callers that take one value, exactly one gets it."""
        async with self.shared() as shared:
            await shared.put("k", b"once", ttl=60)
            taken = await asyncio.gather(*(shared.take("k") for _ in range(50)))
            assert [value for value in taken if value is not None] == [b"once"]

    async def test_take_of_an_empty_value_is_not_absence(self) -> None:
        """The empty value is a value."""
        async with self.shared() as shared:
            await shared.put("k", b"", ttl=60)
            assert await shared.take("k") == b""

    async def test_put_replaces_the_value_and_its_time(self) -> None:
        """The last `put` is what is taken, and its `ttl` is the one that counts, longer or shorter."""
        async with self.shared() as shared:
            await shared.put("longer", b"1", ttl=10)
            await shared.put("longer", b"2", ttl=60)
            await shared.put("shorter", b"1", ttl=60)
            await shared.put("shorter", b"2", ttl=10)
            await self.let_pass(30)
            assert await shared.take("longer") == b"2"
            assert await shared.take("shorter") is None

    async def test_value_is_gone_after_its_time(self) -> None:
        """Nobody gets a value that has expired."""
        async with self.shared() as shared:
            await shared.put("k", b"x", ttl=30)
            await self.let_pass(31)
            assert await shared.take("k") is None

    async def test_list_keeps_its_last_items(self) -> None:
        """A list drops its oldest items; offsets go on and say what is missing."""
        async with self.shared() as shared:
            offsets = [await shared.append("k", b"%d" % n, maximum=3, ttl=60) for n in range(1, 6)]
            assert offsets == [1, 2, 3, 4, 5]
            assert await shared.read("k") == (3, [b"3", b"4", b"5"])
            assert await shared.read("k", 1) == (3, [b"3", b"4", b"5"])
            assert await shared.read("k", 4) == (3, [b"5"])
            assert await shared.read("k", 5) == (3, [])
            assert await shared.read("k", 99) == (3, [])

    async def test_list_with_a_smaller_maximum_drops_at_once(self) -> None:
        """The `maximum` of the latest append is the one that counts."""
        async with self.shared() as shared:
            for n in range(5):
                await shared.append("k", b"%d" % n, maximum=10, ttl=60)
            await shared.append("k", b"5", maximum=2, ttl=60)
            assert await shared.read("k") == (5, [b"4", b"5"])

    async def test_list_with_a_bound_of_bytes_drops_its_oldest(self) -> None:
        """It keeps as many as fit, at most `maximum`; one that is too large by itself stays alone."""
        async with self.shared() as shared:
            sizes = (40, 30, 30, 0, 1, 60, 500, 0, 100, 1, 1, 1)
            kept = (1, 2, 3, 4, 4, 4, 1, 1, 2, 1, 2, 3)
            for offset, (size, count) in enumerate(zip(sizes, kept, strict=True), 1):
                assert await shared.append("k", b"x" * size, maximum=4, max_bytes=100, ttl=60) == offset
                oldest, items = await shared.read("k")
                assert (oldest, [len(item) for item in items]) == (
                    offset - count + 1,
                    list(sizes[offset - count : offset]),
                )

    async def test_read_with_a_bound_of_bytes_gives_the_first_that_fit(self) -> None:
        """So a reader goes through a list in slices; an item that is too large by itself comes alone, and none is left out."""
        async with self.shared() as shared:
            sizes = [10, 20, 30, 0, 100, 1, 61, 0, 0]
            for size in sizes:
                await shared.append("k", b"x" * size, maximum=9, ttl=60)
            slices, after = [], 0
            while after < len(sizes):
                oldest, items = await shared.read("k", after, max_bytes=60)
                assert oldest == 1
                slices.append([len(item) for item in items])
                after += len(items)
            assert slices == [[10, 20, 30, 0], [100], [1], [61], [0, 0]]
            assert await shared.read("k", after, max_bytes=60) == (1, [])

    async def test_append_in_parallel_gives_every_item_its_offset(self) -> None:
        """No two appends get one offset, and none is lost."""
        async with self.shared() as shared:
            offsets = await asyncio.gather(*(shared.append("k", b"%d" % n, maximum=50, ttl=60) for n in range(50)))
            assert sorted(offsets) == list(range(1, 51))
            _, items = await shared.read("k")
            assert sorted(items) == sorted(b"%d" % n for n in range(50))

    async def test_list_time_restarts_with_each_append(self) -> None:
        """A list lives from its last append on, for that append's `ttl`, longer or shorter."""
        async with self.shared() as shared:
            for key, ttl in (("k", 60), ("shorter", 10)):
                await shared.append(key, b"1", maximum=3, ttl=60)
                await shared.append(key, b"2", maximum=3, ttl=ttl)
            await self.let_pass(40)
            assert await shared.read("shorter") == (1, [])
            await shared.append("k", b"3", maximum=3, ttl=60)
            await self.let_pass(40)
            assert await shared.read("k", 1) == (1, [b"2", b"3"])
            await self.let_pass(21)
            assert await shared.read("k") == (1, [])
            assert await shared.append("k", b"new life", maximum=3, ttl=60) == 1
