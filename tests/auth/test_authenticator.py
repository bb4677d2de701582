"""The authenticator: who gets in, after how much work, and what is remembered of it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from wshttp.auth.authenticator import Authenticator
from wshttp.auth.basic import BasicCredentials
from wshttp.auth.passwords import PasswordHasher, check_password, hash_password
from wshttp.auth.throttle import Attempt, Throttle
from wshttp.auth.user import User
from wshttp.auth.users_file import UsersFile, delete_user, write_user
from wshttp.errors import BadCredentials, StoreUnavailable, TooManyRequests
from wshttp.stores.memory_shared import MemoryShared
from wshttp.testing import FakeClock

ONE, TWO = hash_password("one", 4), hash_password("two", 4)
BOB = BasicCredentials("bob", "one")
WRONG = BasicCredentials("bob", "wrong")
NOBODY = BasicCredentials("nobody", "one")
HOME = "192.0.2.1"


class CountingHasher(PasswordHasher):
    """Counts its checks, and holds them up until told to go on."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.checks: list[tuple[bool, int]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.full = False

    async def check(self, password: str, password_hash: str | None, cost: int = 4) -> bool:
        if self.full:
            raise TooManyRequests(1.0)
        self.checks.append((password_hash is not None, cost))
        right = check_password(password, password_hash, cost)
        await self.go_on.wait()
        return right


class Setting:
    """An authenticator with all that it stands on."""

    def __init__(self, path: Path, clock: FakeClock, **options: Any) -> None:
        self.path = path
        self.clock = clock
        self.hooks: list[Callable[..., object]] = []
        self.errors: list[Exception] = []
        self.hasher = CountingHasher()
        self.file = UsersFile(path, clock)
        self.file.load()
        self.shared = MemoryShared(clock)
        self.throttle = Throttle(self.shared, clock)
        self.authenticator = Authenticator(
            self.file, lambda: self.hooks, self.hasher, self.throttle, clock, on_error=self.errors.append, **options
        )
        self.verify = self.authenticator.verify

    async def change(self, user: str, password_hash: str | None) -> None:
        if password_hash is None:
            delete_user(self.path, user)
        else:
            write_user(self.path, user, password_hash)
        assert await self.file.poll() is not None

    async def begun(self, checks: int) -> None:
        while len(self.hasher.checks) < checks:
            await asyncio.sleep(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_user(tmp_path / "users", "bob", ONE)
    return tmp_path / "users"


@asynccontextmanager
async def setting(path: Path, clock: FakeClock, **options: Any) -> AsyncIterator[Setting]:
    made = Setting(path, clock, **options)
    try:
        yield made
    finally:
        await made.authenticator.close()
        await made.hasher.close()


@pytest.mark.feature("U2", "U3", "I4")
async def test_user_of_the_file_gets_in_with_his_roles(path: Path, clock: FakeClock) -> None:
    """The file's user has the roles of the settings, and the version of his line."""
    async with setting(path, clock, roles={"bob": ["admin", "staff"]}) as s:
        user = await s.verify(BOB, HOME)
        entry = s.file.find("bob")
        assert entry is not None
        assert user == User("bob", ("admin", "staff"), entry.version)
        s.authenticator.roles = {"bob": ["guest"]}
        assert (await s.verify(BOB, HOME)).roles == ("guest",)


@pytest.mark.feature("U5")
async def test_unknown_user_and_wrong_password_are_alike(path: Path, clock: FakeClock) -> None:
    """Both get one answer, after one check at the cost of the most expensive user."""
    write_user(path, "careful", hash_password("x", 6))
    async with setting(path, clock) as s:
        answers = []
        for credentials in (WRONG, NOBODY):
            with pytest.raises(BadCredentials) as caught:
                await s.verify(credentials, HOME)
            answers.append((str(caught.value), caught.value.detail))
        assert answers[0] == answers[1]
        assert s.hasher.checks == [(True, 6), (False, 6)]


@pytest.mark.feature("U2")
async def test_password_over_72_bytes_is_wrong(path: Path, clock: FakeClock) -> None:
    """73 bytes are refused like any wrong password, after the same work, in the real pool too."""
    write_user(path, "long", hash_password("x" * 72, 4))
    async with setting(path, clock) as s:
        await s.verify(BasicCredentials("long", "x" * 72), HOME)
        with pytest.raises(BadCredentials):
            await s.verify(BasicCredentials("long", "x" * 73), HOME)
        assert len(s.hasher.checks) == 2
        s.authenticator._hasher = PasswordHasher(threads=1)
        with pytest.raises(BadCredentials):
            await s.verify(BasicCredentials("long", "x" * 74), HOME)
        await s.authenticator._hasher.close()


async def test_right_credentials_are_hashed_once_in_a_while(path: Path, clock: FakeClock) -> None:
    """What was right needs no hash for `cache_for` seconds; then it does."""
    async with setting(path, clock, cache_for=300) as s:
        for _ in range(5):
            await s.verify(BOB, HOME)
        assert len(s.hasher.checks) == 1
        clock.advance(300)
        await s.verify(BOB, HOME)
        assert len(s.hasher.checks) == 2


async def test_cache_of_zero_checks_each_time(path: Path, clock: FakeClock) -> None:
    """`cache_for` 0 remembers nothing."""
    async with setting(path, clock, cache_for=0) as s:
        for _ in range(3):
            await s.verify(BOB, HOME)
        assert len(s.hasher.checks) == 3
        assert len(s.authenticator._cache) == 0


async def test_cache_is_bounded(path: Path, clock: FakeClock) -> None:
    """No more than `max_cached` are remembered; the oldest goes."""
    async with setting(path, clock, max_cached=2) as s:
        s.hooks.append(lambda user, password, request: User(user))
        for name in ("a", "b", "c"):
            await s.verify(BasicCredentials(name, "x"), HOME)
        assert len(s.authenticator._cache) == 2


async def test_wrong_credentials_are_never_remembered(path: Path, clock: FakeClock) -> None:
    """Each wrong password costs its hash, and leaves nothing; user and password cannot run into each other."""
    async with setting(path, clock) as s:
        await s.verify(BOB, HOME)
        for credentials in (WRONG, WRONG, BasicCredentials("bo", "bone"), BasicCredentials("bobo", "ne")):
            with pytest.raises(BadCredentials):
                await s.verify(credentials, "192.0.2.2")
            clock.advance(60)
        assert len(s.hasher.checks) == 5
        assert len(s.authenticator._cache) == 1


async def test_cache_holds_no_password(path: Path, clock: FakeClock) -> None:
    """Keys are digests under a key of this process: another process has others."""
    async with setting(path, clock) as s, setting(path, clock) as other:
        keys = {t.authenticator._cache.key(BOB) for t in (s, s, other)}
        assert len(keys) == 2
        assert all(len(key) == 32 for key in keys)


@pytest.mark.parametrize("password_hash", [TWO, None], ids=["changed", "removed"])
@pytest.mark.feature("U2")
async def test_change_of_the_file_empties_the_cache(path: Path, clock: FakeClock, password_hash: str | None) -> None:
    """A changed or removed user is out at once, and the others are still remembered."""
    write_user(path, "alice", TWO)
    async with setting(path, clock) as s:
        await s.verify(BOB, HOME)
        await s.verify(BasicCredentials("alice", "two"), HOME)
        await s.change("bob", password_hash)
        with pytest.raises(BadCredentials):
            await s.verify(BOB, HOME)
        checks = len(s.hasher.checks)
        await s.verify(BasicCredentials("alice", "two"), HOME)
        assert len(s.hasher.checks) == checks


@pytest.mark.parametrize(
    ("presented", "password_hash", "lets_in"),
    [("one", TWO, False), ("one", None, False), ("two", TWO, True), ("two", ONE, False)],
    ids=["right before", "removed", "right now", "another user changed"],
)
@pytest.mark.feature("U2")
async def test_file_that_changes_during_a_check_decides(
    path: Path, clock: FakeClock, presented: str, password_hash: str | None, lets_in: bool
) -> None:
    """The answer is the one of the file as it is at the end, whichever way it went at the start."""
    async with setting(path, clock) as s:
        s.hasher.go_on.clear()
        check = asyncio.create_task(s.verify(BasicCredentials("bob", presented), HOME))
        await s.begun(1)
        if password_hash == ONE:
            write_user(path, "other", TWO)
            await s.file.poll()
        else:
            await s.change("bob", password_hash)
        s.hasher.go_on.set()
        if lets_in:
            assert (await check).name == "bob"
        else:
            with pytest.raises(BadCredentials):
                await check
        assert len(s.hasher.checks) == (1 if password_hash == ONE else 2)


@pytest.mark.feature("U2")
async def test_user_who_comes_during_the_check_gets_in(path: Path, clock: FakeClock) -> None:
    """Who was unknown when the check began and is in the file when it ends is checked against his line."""
    async with setting(path, clock) as s:
        s.hasher.go_on.clear()
        check = asyncio.create_task(s.verify(NOBODY, HOME))
        await s.begun(1)
        await s.change("nobody", ONE)
        s.hasher.go_on.set()
        assert (await check).name == "nobody"


@pytest.mark.feature("U2")
async def test_file_that_changes_after_the_hash_decides(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change between the hash and the answer counts too."""
    async with setting(path, clock) as s:
        succeed = asyncio.Event()
        succeeded = s.throttle._succeeded

        async def slow(attempt: Attempt) -> None:
            succeed.set()
            await s.change("bob", TWO)
            await succeeded(attempt)

        monkeypatch.setattr(s.throttle, "_succeeded", slow)
        with pytest.raises(BadCredentials):
            await s.verify(BOB, HOME)
        assert succeed.is_set()


async def test_parallel_requests_are_hashed_once(path: Path, clock: FakeClock) -> None:
    """A page with its twenty pictures costs one hash, right or wrong, and one attempt."""
    async with setting(path, clock) as s:
        assert {user.name for user in await asyncio.gather(*(s.verify(BOB, HOME) for _ in range(20)))} == {"bob"}
        assert len(s.hasher.checks) == 1
        answers = await asyncio.gather(*(s.verify(WRONG, HOME) for _ in range(20)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {BadCredentials}
        assert len(s.hasher.checks) == 2


async def test_caller_who_leaves_does_not_take_the_others_along(path: Path, clock: FakeClock) -> None:
    """The check goes on for those who wait, and when all have left its answer is remembered."""
    async with setting(path, clock) as s:
        s.hasher.go_on.clear()
        callers = [asyncio.create_task(s.verify(BOB, HOME)) for _ in range(3)]
        await s.begun(1)
        callers[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await callers[0]
        s.hasher.go_on.set()
        assert (await callers[1]).name == (await callers[2]).name == "bob"
        assert len(s.hasher.checks) == 1


async def test_answer_that_nobody_waits_for_makes_no_noise(path: Path, clock: FakeClock) -> None:
    """A refusal whose callers have all left is not reported as an error that was forgotten."""
    reports: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with setting(path, clock) as s:
        s.hasher.go_on.clear()
        caller = asyncio.create_task(s.verify(WRONG, HOME))
        await s.begun(1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        s.hasher.go_on.set()
        while s.authenticator._checks:
            await asyncio.sleep(0)
    gc.collect()
    assert reports == []


@pytest.mark.feature("U5", "M4")
async def test_parallel_guesses_stay_within_the_limit(path: Path, clock: FakeClock) -> None:
    """Of 100 different passwords at once, ten at most are hashed; the others hear when to come back."""
    async with setting(path, clock) as s:
        guesses = [BasicCredentials("bob", f"guess {n}") for n in range(100)]
        answers = await asyncio.gather(*(s.verify(guess, HOME) for guess in guesses), return_exceptions=True)
        assert len(s.hasher.checks) <= 10
        assert sum(isinstance(answer, TooManyRequests) for answer in answers) >= 90
        with pytest.raises(TooManyRequests):
            await s.verify(BOB, HOME)


@pytest.mark.feature("U5")
async def test_owner_gets_in_while_his_account_is_attacked(path: Path, clock: FakeClock) -> None:
    """Where the owner has logged in he does again, remembered or not, and at other places the account is locked."""
    async with setting(path, clock, cache_for=60) as s:
        await s.verify(BOB, HOME)
        for n in range(40):
            with pytest.raises((BadCredentials, TooManyRequests)):
                await s.verify(BasicCredentials("bob", f"guess {n}"), f"attacker {n % 3}")
            clock.advance(10)
        with pytest.raises(TooManyRequests):
            await s.verify(BOB, "attacker 4")
        assert (await s.verify(BOB, HOME)).name == "bob"


@pytest.mark.feature("U5")
async def test_address_of_a_remembered_log_in_is_verified_too(path: Path, clock: FakeClock) -> None:
    """A log-in that needs no hash still makes its address one of the owner's."""
    async with setting(path, clock, cache_for=60) as s:
        await s.verify(BOB, HOME)
        await s.verify(BOB, "office")
        assert len(s.hasher.checks) == 1
        clock.advance(60)
        for n in range(10):
            with pytest.raises((BadCredentials, TooManyRequests)):
                await s.verify(BasicCredentials("bob", f"guess {n}"), f"attacker {n}")
        with pytest.raises(TooManyRequests):
            await s.verify(BOB, "attacker")
        assert (await s.verify(BOB, "office")).name == "bob"


@pytest.mark.feature("U5")
async def test_remembered_credentials_pass_a_locked_account(path: Path, clock: FakeClock) -> None:
    """What is remembered skips the throttle: the password is known to be right."""
    async with setting(path, clock) as s:
        await s.verify(BOB, HOME)
        for n in range(20):
            with pytest.raises((BadCredentials, TooManyRequests)):
                await s.verify(BasicCredentials("bob", f"guess {n}"), HOME)
        assert (await s.verify(BOB, HOME)).name == "bob"


async def test_full_queue_is_no_failed_attempt(path: Path, clock: FakeClock) -> None:
    """A password that was not looked at is not counted, however often it comes."""
    async with setting(path, clock) as s:
        s.hasher.full = True
        for _ in range(30):
            with pytest.raises(TooManyRequests):
                await s.verify(BOB, HOME)
        s.hasher.full = False
        assert (await s.verify(BOB, HOME)).name == "bob"


@pytest.mark.feature("U2")
async def test_hooks_decide_in_order(path: Path, clock: FakeClock) -> None:
    """`None` asks the next hook and at last the file, `False` refuses, a `User` accepts; plain or async."""
    asked = []

    def plain(user: str, password: str, request: object) -> User | None:
        asked.append((user, password, request))
        return User("Alice A.", ("staff",), "v7") if (user, password) == ("alice", "x") else None

    async def later(user: str, password: str, request: object) -> bool | None:
        return False if user == "eve" else None

    async with setting(path, clock) as s:
        s.hooks += [plain, later]
        write_user(path, "eve", ONE)
        s.file.load()
        assert await s.verify(BasicCredentials("alice", "x"), HOME, "request") == User("Alice A.", ("staff",), "v7")
        with pytest.raises(BadCredentials):
            await s.verify(BasicCredentials("eve", "one"), HOME)
        assert s.hasher.checks == []
        assert (await s.verify(BOB, HOME)).name == "bob"
        assert asked[0] == ("alice", "x", "request")


@pytest.mark.parametrize("fault", [RuntimeError("directory away"), True, "bob"])
@pytest.mark.feature("U2")
async def test_hook_that_fails_lets_nobody_in(path: Path, clock: FakeClock, fault: object) -> None:
    """A hook that raises, or answers what it must not, is reported; nobody gets in by what comes after it."""

    def hook(*_: object) -> object:
        if isinstance(fault, Exception):
            raise fault
        return fault

    async with setting(path, clock) as s:
        s.hooks.append(hook)
        with pytest.raises(StoreUnavailable):
            await s.verify(BOB, HOME)
        assert len(s.errors) == 1
        assert s.hasher.checks == []


@pytest.mark.feature("U5")
async def test_hook_that_falls_over_wrong_passwords_is_no_way_to_guess(path: Path, clock: FakeClock) -> None:
    """Attempts that end in a hook's error are counted as failed."""

    def hook(*_: object) -> None:
        raise ValueError("no such password")

    async with setting(path, clock) as s:
        s.hooks.append(hook)
        for n in range(50):
            with pytest.raises((StoreUnavailable, TooManyRequests)):
                await s.verify(BasicCredentials("bob", f"guess {n}"), HOME)
        assert len(s.errors) <= 10


async def test_answers_of_hooks_are_remembered_until_forgotten(path: Path, clock: FakeClock) -> None:
    """A hook is asked once, and again after `forget` by either name; a check under way is not remembered either."""
    asked = []
    gate = asyncio.Event()
    gate.set()

    async def hook(user: str, *_: object) -> User:
        asked.append(user)
        await gate.wait()
        return User(f"{user}@example.org")

    async with setting(path, clock) as s:
        s.hooks.append(hook)
        for _ in range(3):
            await s.verify(BOB, HOME)
        assert len(asked) == 1
        for count, name in enumerate(["bob", "bob@example.org"], 2):
            s.authenticator.forget(name)
            await s.verify(BOB, HOME)
            assert len(asked) == count
        gate.clear()
        s.authenticator.forget("bob")
        check = asyncio.create_task(s.verify(BOB, HOME))
        while len(asked) < 4:
            await asyncio.sleep(0)
        s.authenticator.forget("bob")
        gate.set()
        await check
        assert len(s.authenticator._cache) == 0


async def test_file_without_users_has_nobody(path: Path, clock: FakeClock) -> None:
    """It can check, and there is nobody to be, until a line is added; what a hook knows, nobody can say beforehand."""
    async with setting(path, clock) as s:
        assert s.authenticator.has_users
        path.write_text("# nobody yet\n")
        s.authenticator.users_file.load()
        assert s.authenticator.can_verify
        assert not s.authenticator.has_users
        s.hooks.append(lambda *_: None)
        assert s.authenticator.has_users
        s.hooks.clear()
        s.authenticator.users_file = None
        assert not s.authenticator.has_users


@pytest.mark.feature("U1")
async def test_nothing_to_check_with(path: Path, clock: FakeClock) -> None:
    """Without a file and without hooks nobody gets in, and that can be asked beforehand."""
    async with setting(path, clock) as s:
        assert s.authenticator.can_verify
        s.authenticator.users_file = None
        assert not s.authenticator.can_verify
        with pytest.raises(BadCredentials):
            await s.verify(BOB, HOME)
        s.hooks.append(lambda *_: None)
        assert s.authenticator.can_verify
        with pytest.raises(BadCredentials):
            await s.verify(BOB, HOME)


async def test_close_ends_what_is_under_way(path: Path, clock: FakeClock) -> None:
    """No check outlives the authenticator."""
    async with setting(path, clock) as s:
        s.hasher.go_on.clear()
        check = asyncio.create_task(s.verify(BOB, HOME))
        await s.begun(1)
        await s.authenticator.close()
        with pytest.raises(asyncio.CancelledError):
            await check
        assert s.authenticator._checks == {}


@pytest.mark.feature("U2")
async def test_user_holds_until_the_file_or_the_roles_say_otherwise(path: Path, clock: FakeClock) -> None:
    """The same line and the same roles; what a hook answered is not asked again."""
    async with setting(path, clock, roles={"bob": ["staff"]}) as s:
        bob = await s.verify(BOB, HOME)
        assert s.authenticator.holds(bob)
        s.authenticator.roles = {"bob": ["guest"]}
        assert not s.authenticator.holds(bob)
        bob = await s.verify(BOB, HOME)
        write_user(str(path), "bob", hash_password("another password", 4))
        await s.file.poll()
        assert not s.authenticator.holds(bob)
        delete_user(str(path), "bob")
        await s.file.poll()
        assert not s.authenticator.holds(bob)
        s.authenticator.users_file = None
        assert not s.authenticator.holds(bob)
        assert s.authenticator.holds(User("bob", ("staff",), "1"))
