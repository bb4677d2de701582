"""Who is it: the application's hooks and the users file, behind a throttle and a cache.

What two parallel callers get: the same credentials from the same address are checked once, and all get that answer.
An answer is judged against the users file as it is when the answer is given, not as it was when the hashing began.
Unknown users and wrong passwords raise the same `BadCredentials` after the same work.
"""

from __future__ import annotations

import asyncio
import inspect
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, get_args

from wshttp.auth.basic import BasicCredentials
from wshttp.auth.passwords import PasswordHasher
from wshttp.auth.throttle import Throttle
from wshttp.auth.user import User
from wshttp.auth.users_file import UsersFile
from wshttp.auth.verified import Verification, VerifiedCredentials
from wshttp.errors import BadCredentials, StoreUnavailable, TooManyRequests
from wshttp.sessions.clock import Clock

Hook = Callable[[str, str, Any], object]
"""`on_authenticate(user, password, request)`, plain or async: `None`, `False` or a `User`."""


Outcome = Literal["succeeded", "failed", "throttled"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class Authenticator:
    """Check credentials.

    `hooks` returns the functions of `on_authenticate`, asked in order: a `User` accepts, `False` refuses, and after
    `None` the next one is asked, at last the users file. One that raises, or answers with anything else, is given to
    `on_error` and nobody is let in by what comes after it: the request gets `StoreUnavailable` (503), since nobody
    knows whether the password is wrong, and the attempt counts as failed, since a hook that falls over wrong passwords
    would otherwise let them be guessed freely.

    What was right is right for `cache_for` seconds more (default 300; 0: each request is checked), without hooks,
    hashing or throttle, unless the user's line in the file changes or `forget` is called. At most `max_cached` are kept.
    `roles` are those of the users in the file. `users_file`, `roles` and `cache_for` may be set anew while in use.
    """

    def __init__(
        self,
        users_file: UsersFile | None,
        hooks: Callable[[], Sequence[Hook]],
        hasher: PasswordHasher,
        throttle: Throttle,
        clock: Clock,
        *,
        on_error: Callable[[Exception], None],
        cache_for: float = 300.0,
        max_cached: int = 10_000,
        roles: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.users_file = users_file
        self.cache_for = cache_for
        self.roles = roles or {}
        self._hooks = hooks
        self._hasher = hasher
        self._throttle = throttle
        self._on_error = on_error
        self._cache = VerifiedCredentials(clock, max_cached)
        self._checks: dict[tuple[bytes, str], asyncio.Task[Verification]] = {}
        self._forgotten = 0
        self.outcomes: Counter[Outcome] = Counter()
        """How log-ins came out since the start of the process; what is remembered as right is none."""

    @property
    def can_verify(self) -> bool:
        """Whether there is any way to check a password: a hook, or a users file, be it empty."""
        return self.users_file is not None or bool(self._hooks())

    @property
    def has_users(self) -> bool:
        """Whether there is anybody to be, as far as is known: a user in the file, or a hook that may know some."""
        return bool(self.users_file is not None and self.users_file.users) or bool(self._hooks())

    @property
    def roles(self) -> Mapping[str, Sequence[str]]:
        """The roles of users in the file, by name in NFC."""
        return self._roles

    @roles.setter
    def roles(self, roles: Mapping[str, Sequence[str]]) -> None:
        self._roles = {unicodedata.normalize("NFC", user): tuple(those) for user, those in roles.items()}

    async def verify(self, credentials: BasicCredentials, bucket: str, request: object = None) -> User:
        """Return whose credentials these are.

        `bucket` stands for the client's address in the throttle; `request` is handed to the hooks.
        `BadCredentials` if they are wrong or there is no way to check any, `TooManyRequests` if they were not looked at,
        `StoreUnavailable` if they could not be.
        """
        key = self._cache.key(credentials)
        while True:
            verified = self._cache.get(key)
            if verified is None:
                verified = await self._checked(key, credentials, bucket, request)
            elif bucket not in verified.buckets:
                await self._throttle.vouch(credentials.user, bucket)
                verified.seen_from(bucket)
            # Nothing is awaited between here and the caller: what holds now holds when he gets it.
            user = self._user_of(verified)
            if user is not None:
                return user
            self._cache.drop(key)

    def holds(self, user: User) -> bool:
        """Tell whether a user whom `verify` returned is still what he was: in the file, by this password, with these roles.

        What the functions of `on_authenticate` said of their own users is not asked again.
        """
        if not user.listed:
            return True
        entry = self.users_file.find(user.name) if self.users_file is not None else None
        same_line = entry is not None and entry.version == user.version
        return same_line and self._roles.get(user.name, ()) == user.roles

    def forget(self, user: str) -> None:
        """Drop what is remembered of a user; a check that is under way is not remembered either."""
        self._forgotten += 1
        self._cache.forget(unicodedata.normalize("NFC", user))

    async def close(self) -> None:
        """Stop the checks that are under way."""
        checks = list(self._checks.values())
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)

    async def _checked(self, key: bytes, credentials: BasicCredentials, bucket: str, request: object) -> Verification:
        """Join the check of these credentials from this address, or begin it. It goes on when its callers leave.

        Addresses do not share a check: one that is throttled must not answer for one that is not.
        """
        flight = (key, bucket)
        check = self._checks.get(flight)
        if check is None:
            check = self._checks[flight] = asyncio.create_task(self._check(key, credentials, bucket, request))
            check.add_done_callback(lambda done: self._end_check(flight, done))
        await asyncio.wait((check,))
        return check.result()

    def _end_check(self, flight: tuple[bytes, str], check: asyncio.Task[Verification]) -> None:
        del self._checks[flight]
        if not check.cancelled():
            check.exception()  # looked at here, for when no caller is left to do it

    async def _check(self, key: bytes, credentials: BasicCredentials, bucket: str, request: object) -> Verification:
        forgotten = self._forgotten
        try:
            attempt = await self._throttle.admit(credentials.user, bucket)
        except TooManyRequests:
            self.outcomes["throttled"] += 1
            raise
        try:
            verified = await self._ask_hooks(credentials, request) or await self._ask_file(credentials)
        except TooManyRequests:  # of the hasher: it did not look at the password
            await attempt.withdraw()
            raise
        except BadCredentials:
            self.outcomes["failed"] += 1
            raise
        self.outcomes["succeeded"] += 1
        await attempt.succeed()
        verified.seen_from(bucket)
        if forgotten == self._forgotten:
            self._cache.put(key, verified, self.cache_for)
        return verified

    async def _ask_hooks(self, credentials: BasicCredentials, request: object) -> Verification | None:
        for hook in self._hooks():
            answer = await self._ask(hook, credentials, request)
            if answer is False:
                raise BadCredentials
            if answer is not None:
                return Verification(credentials.user, answer, answer.version)
        return None

    async def _ask(self, hook: Hook, credentials: BasicCredentials, request: object) -> User | Literal[False] | None:
        try:
            return await _call(hook, credentials, request)
        except Exception as error:
            self._on_error(error)
            raise StoreUnavailable("passwords cannot be checked just now") from error

    async def _ask_file(self, credentials: BasicCredentials) -> Verification:
        while (file := self.users_file) is not None:
            entry = file.find(credentials.user)
            password_hash = entry.password_hash if entry is not None else None
            right = await self._hasher.check(credentials.password, password_hash, file.highest_cost)
            if self.users_file is not file or file.find(credentials.user) != entry:
                continue  # the line changed meanwhile: right or wrong, it was the old one's answer
            if not right or entry is None:
                break
            return Verification(credentials.user, None, entry.version)
        raise BadCredentials

    def _user_of(self, verified: Verification) -> User | None:
        """Return the user as of now; `None` if the line in the file that was met is no longer there."""
        if verified.user is not None:
            return verified.user
        entry = self.users_file.find(verified.account) if self.users_file is not None else None
        if entry is None or entry.version != verified.version:
            return None
        return User(verified.account, self._roles.get(verified.account, ()), entry.version, listed=True)


async def _call(hook: Hook, credentials: BasicCredentials, request: object) -> User | Literal[False] | None:
    answer = hook(credentials.user, credentials.password, request)
    if inspect.isawaitable(answer):
        answer = await answer
    if answer is None or answer is False or isinstance(answer, User):
        return answer
    raise TypeError(f"on_authenticate returned {type(answer).__name__}, not None, False or a User")
