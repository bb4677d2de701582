"""Passwords: hashing and checking with bcrypt, in threads of their own and never on the event loop.

bcrypt releases the interpreter's lock while it works, so a thread is enough to keep the loop running.
The threads are few and the queue before them is short: the default executor would give every core to whoever sends
the most passwords.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import bcrypt

from wshttp.errors import StoreUnavailable, TooManyRequests, UsageError

MAX_BYTES: Final = 72
"""What bcrypt can tell apart; a longer password is refused, never cut."""

MIN_COST: Final = 4
MAX_COST: Final = 16
"""bcrypt's own least, and the most that is accepted: at 16 one check takes some 5 s of a core."""

DEFAULT_COST: Final = 12
"""About 0.3 s of a core. OWASP ASVS 5.0, appendix C, asks for 10 at least."""

RETRY_AFTER: Final = 1.0
"""Seconds after which to come back when too many passwords wait: a few checks are done by then."""

# A salt's last character carries two bits only, hence four letters; bcrypt calls any other an invalid salt.
_HASH: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_NOBODY: Final = "." * 22
"""The salt of those who do not exist."""

T = TypeVar("T")


def cost_of(password_hash: str) -> int | None:
    """Return the cost of a bcrypt hash (`$2a$`, `$2b$`, `$2y$`), whatever it is; `None` for what is no such hash."""
    match = _HASH.fullmatch(password_hash)
    return int(match[1]) if match else None


def hash_password(password: str, cost: int = DEFAULT_COST) -> str:
    """Hash a password for a users file; blocks for as long as `cost` says.

    `UsageError` if it is empty or over 72 bytes in UTF-8, or `cost` is outside 4 to 16.
    """
    secret = password.encode("utf-8", "surrogatepass")
    if not 0 < len(secret) <= MAX_BYTES:
        raise UsageError(f"a password has 1 to {MAX_BYTES} bytes, this one has {len(secret)}")
    if not MIN_COST <= cost <= MAX_COST:
        raise UsageError(f"a cost is {MIN_COST} to {MAX_COST}, not {cost}")
    return bcrypt.hashpw(secret, bcrypt.gensalt(cost)).decode()


def check_password(password: str, password_hash: str | None, cost: int) -> bool:
    """Check a password against a stored hash; blocks for as long as the costs say.

    A refusal always takes the work of `cost`, the highest among the users: for an unknown user (`None`), for one
    whose own hash is cheaper, for a password that is too long. So its time does not tell which it was.
    """
    secret = password.encode("utf-8", "surrogatepass")
    matches = password_hash is not None and bcrypt.checkpw(secret[:MAX_BYTES], password_hash.encode())
    if matches and len(secret) <= MAX_BYTES:
        return True
    done = cost_of(password_hash) if password_hash is not None else None
    # 2^done rounds are spent; what lacks to 2^cost is 2^done + 2^(done + 1) + … + 2^(cost - 1).
    for step in (cost,) if done is None else range(done, cost):
        _work(secret, step)
    return False


def _work(secret: bytes, cost: int) -> None:
    bcrypt.hashpw(secret[:MAX_BYTES], f"$2b${cost:02d}${_NOBODY}".encode())


class PasswordHasher:
    """A bounded pool that hashes and checks passwords.

    `threads` work at once (default 2) and `queue` more wait (default 64); beyond that, `TooManyRequests`.
    A caller who is cancelled does not make room: his place is free when a thread has come to it, and a check that
    nobody waits for any more is not made then. Otherwise, whoever hangs up fast could queue without end.
    """

    def __init__(self, threads: int = 2, queue: int = 64) -> None:
        if threads < 1 or queue < 0:
            raise UsageError("a password hasher has at least one thread, and no less than no queue")
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="wshttp-password")
        self._places = threading.BoundedSemaphore(threads + queue)
        self._closed = False

    async def check(self, password: str, password_hash: str | None, cost: int = DEFAULT_COST) -> bool:
        """Check a password as `check_password` does, off the loop; `StoreUnavailable` once the hasher is closed."""
        return await self._run(lambda: check_password(password, password_hash, cost))

    async def hash(self, password: str, cost: int = DEFAULT_COST) -> str:
        """Hash a password as `hash_password` does, off the loop; `StoreUnavailable` once the hasher is closed."""
        return await self._run(lambda: hash_password(password, cost))

    async def close(self) -> None:
        """Refuse all who wait and all who come, and wait for what is being hashed."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown)

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise _closing()
        if not self._places.acquire(blocking=False):
            raise TooManyRequests(RETRY_AFTER, "too many passwords are being checked")
        abandoned = threading.Event()
        job = asyncio.get_running_loop().run_in_executor(self._pool, self._do, work, abandoned)
        try:
            await asyncio.wait((job,))
            return job.result()
        except asyncio.CancelledError:
            abandoned.set()
            job.add_done_callback(_look_at)
            raise

    def _do(self, work: Callable[[], T], abandoned: threading.Event) -> T:
        try:
            if self._closed or abandoned.is_set():
                raise _closing()
            return work()
        finally:
            self._places.release()


def _closing() -> StoreUnavailable:
    return StoreUnavailable("no passwords are checked any more")


def _look_at(job: asyncio.Future[T]) -> None:
    """Fetch what nobody waits for, so that asyncio does not report it as forgotten."""
    if not job.cancelled():
        job.exception()
