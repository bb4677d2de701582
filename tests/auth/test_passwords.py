"""Password hashing: what is right, what it costs, and that nobody waits for it on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import bcrypt
import pytest

from wshttp.auth import passwords
from wshttp.auth.passwords import PasswordHasher, check_password, cost_of, hash_password
from wshttp.errors import StoreUnavailable, TooManyRequests, UsageError

HASH = hash_password("secret", 4)


class Work:
    """Counts what is hashed, as a sum of 2^cost, and can hold it up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sum = 0
        self.calls = 0
        self.go_on = threading.Event()
        self.go_on.set()
        hashpw, checkpw = bcrypt.hashpw, bcrypt.checkpw

        def count(salt: bytes) -> None:
            self.calls += 1
            self.sum += 2 ** int(salt[4:6])
            assert self.go_on.wait(20)

        def counted_hashpw(password: bytes, salt: bytes) -> bytes:
            count(salt)
            return hashpw(password, salt)

        def counted_checkpw(password: bytes, stored: bytes) -> bool:
            count(stored)
            return checkpw(password, stored)

        monkeypatch.setattr(passwords.bcrypt, "hashpw", counted_hashpw)
        monkeypatch.setattr(passwords.bcrypt, "checkpw", counted_checkpw)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


@asynccontextmanager
async def hasher(threads: int = 1, queue: int = 64) -> AsyncIterator[PasswordHasher]:
    opened = PasswordHasher(threads, queue)
    try:
        yield opened
    finally:
        await opened.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
@pytest.mark.feature("U2")
def test_check_of_each_bcrypt_prefix(prefix: str) -> None:
    """Hashes of every tool in use verify as they are."""
    stored = prefix + HASH[4:]
    assert cost_of(stored) == 4
    assert check_password("secret", stored, 4)
    assert not check_password("Secret", stored, 4)


@pytest.mark.parametrize(
    "text",
    ["", "secret", "$2x$04$" + HASH[7:], HASH[:-1], HASH + "x", HASH + "\n", HASH[:28] + "a" + HASH[29:]],
    ids=["empty", "plain", "2x", "cut", "longer", "new line", "salt"],
)
def test_cost_of_what_is_no_hash(text: str) -> None:
    """Foreign, cut and impossible hashes are known before bcrypt would raise on them."""
    assert cost_of(text) is None


@pytest.mark.feature("U2")
def test_password_over_72_bytes_is_wrong() -> None:
    """73 bytes are refused though bcrypt would take the first 72 for right, and it is no error."""
    longest = "é" * 36
    stored = hash_password(longest, 4)
    assert check_password(longest, stored, 4)
    assert not check_password(longest + "x", stored, 4)
    assert not check_password("x" * 100_000, None, 4)


@pytest.mark.parametrize("password", ["", "x" * 73, "é" * 37])
def test_hash_of_what_could_never_verify_is_refused(password: str) -> None:
    """No hash is made of an empty password or one over 72 bytes."""
    with pytest.raises(UsageError, match="1 to 72"):
        hash_password(password, 4)


@pytest.mark.parametrize("cost", [3, 17])
def test_hash_with_a_cost_out_of_bounds_is_refused(cost: int) -> None:
    """Costs are those that a users file may hold."""
    with pytest.raises(UsageError, match="4 to 16"):
        hash_password("secret", cost)


@pytest.mark.parametrize(
    ("password", "stored"),
    [("wrong", HASH), ("wrong", None), ("wrong", hash_password("secret", 6)), ("x" * 73, HASH), ("x" * 73, None)],
    ids=["wrong", "unknown", "cheaper", "too long", "unknown and too long"],
)
@pytest.mark.feature("U5")
def test_every_refusal_does_the_same_work(work: Work, password: str, stored: str | None) -> None:
    """Unknown user, wrong password, cheaper hash, too long a password: the same sum of rounds."""
    assert not check_password(password, stored, 6)
    assert work.sum == 2**6


def test_acceptance_does_no_more_than_its_own(work: Work) -> None:
    """Whoever is right does not wait for the most expensive user's sake."""
    assert check_password("secret", HASH, 10)
    assert work.sum == 2**4


async def test_loop_turns_while_a_password_is_hashed(work: Work) -> None:
    """The loop is never blocked: it turns hundreds of times during one check that cannot end."""
    async with hasher() as pool:
        work.go_on.clear()
        check = asyncio.create_task(pool.check("secret", HASH, 4))
        await until(lambda: work.calls == 1)
        for _ in range(500):
            await asyncio.sleep(0)
        assert not check.done()
        work.go_on.set()
        assert await check


@pytest.mark.feature("U5")
async def test_full_queue_is_refused_and_empties(work: Work) -> None:
    """Beyond threads and queue nobody waits; when there is room again, all is well."""
    async with hasher(threads=1, queue=2) as pool:
        work.go_on.clear()
        waiting = [asyncio.create_task(pool.check("secret", HASH, 4)) for _ in range(3)]
        await until(lambda: work.calls == 1)
        with pytest.raises(TooManyRequests) as caught:
            await pool.check("secret", HASH, 4)
        assert caught.value.retry_after == 1.0
        work.go_on.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert await pool.check("secret", HASH, 4)


@pytest.mark.feature("U5")
async def test_cancelled_caller_keeps_his_place(work: Work) -> None:
    """Who hangs up makes no room for another before a thread has come to him, and is not hashed for then."""
    async with hasher(threads=1, queue=1) as pool:
        work.go_on.clear()
        first, second = (asyncio.create_task(pool.check("secret", HASH, 4)) for _ in range(2))
        await until(lambda: work.calls == 1)
        for task in (first, second):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        with pytest.raises(TooManyRequests):
            await pool.check("secret", HASH, 4)
        work.go_on.set()
        while True:
            try:
                assert await pool.check("secret", HASH, 4)
                break
            except TooManyRequests:
                await asyncio.sleep(0)
        assert work.calls == 2


async def test_closed_hasher_refuses(work: Work) -> None:
    """`close` ends the wait of all who queue with an error that is no verdict, and none come in after it."""
    async with hasher(threads=1, queue=2) as pool:
        work.go_on.clear()
        first, second = (asyncio.create_task(pool.check("secret", HASH, 4)) for _ in range(2))
        await until(lambda: work.calls == 1)
        closing = asyncio.create_task(pool.close())
        await asyncio.sleep(0)
        work.go_on.set()
        await closing
        assert await first
        for late in (second, pool.check("secret", HASH, 4)):
            with pytest.raises(StoreUnavailable):
                await late


async def test_hash_off_the_loop_verifies() -> None:
    """What the pool hashes, the pool checks."""
    async with hasher() as pool:
        stored = await pool.hash("pässword", 4)
        assert await pool.check("pässword", stored, 4)


@pytest.mark.parametrize(("threads", "queue"), [(0, 1), (1, -1)])
def test_pool_without_room_is_refused(threads: int, queue: int) -> None:
    """A pool that could never check anything is a mistake."""
    with pytest.raises(UsageError):
        PasswordHasher(threads, queue)
