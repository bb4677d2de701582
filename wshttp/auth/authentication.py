"""All that checking passwords takes, made from settings: for a server, and for an application of one's own."""

from __future__ import annotations

import logging

from wshttp.auth.authenticator import Authenticator
from wshttp.auth.passwords import PasswordHasher
from wshttp.auth.throttle import Throttle
from wshttp.auth.users_file import UsersFile
from wshttp.config import AuthSettings
from wshttp.sessions.callbacks import Callbacks
from wshttp.sessions.clock import Clock
from wshttp.sessions.shared import Shared

_log = logging.getLogger("wshttp.auth")


class Authentication:
    """An authenticator with its hasher, throttle and users file.

    `callbacks` has the functions of `on_authenticate`; `shared` keeps what the throttle counts.
    """

    def __init__(self, settings: AuthSettings, callbacks: Callbacks, shared: Shared, clock: Clock) -> None:
        self._hasher = PasswordHasher(settings.threads)
        self._throttle = Throttle(shared, clock)
        self.authenticator = Authenticator(
            None,
            lambda: callbacks["authenticate"],
            self._hasher,
            self._throttle,
            clock,
            on_error=lambda error: _log.error("on_authenticate failed", exc_info=error),
        )
        self.use(settings)

    @property
    def users_file(self) -> UsersFile | None:
        """The file in use; the same object as long as one is, under whatever name."""
        return self.authenticator.users_file

    def use(self, settings: AuthSettings) -> None:
        """Take over settings; the users of another file are known when it has been read."""
        self._throttle.max_failures = settings.max_failures
        self._throttle.window = settings.failure_window
        self.authenticator.cache_for = settings.cache
        self.authenticator.roles = settings.roles
        if settings.users_file is None:
            self.authenticator.users_file = None
        elif self.users_file is None:
            self.authenticator.users_file = UsersFile(settings.users_file)
        else:
            self.users_file.path = settings.users_file

    async def forget(self, user: str) -> None:
        """Forget that a user's password was right, and how often others were wrong."""
        self.authenticator.forget(user)
        await self._throttle.forgive(user)

    async def close(self) -> None:
        """Stop the checks that are under way, and refuse all others."""
        await self.authenticator.close()
        await self._hasher.close()
