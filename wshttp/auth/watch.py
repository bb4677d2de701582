"""The watch of the users: who is gone from the file, has another password or other roles, loses their sessions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from wshttp.auth.authentication import Authentication
from wshttp.auth.htpasswd import is_listed
from wshttp.auth.users_file import Reading, UsersFile
from wshttp.sessions.record import Record
from wshttp.sessions.session_list import SessionList

INTERVAL: Final = 1.0
"""Seconds between looks at the file."""

_log = logging.getLogger("wshttp.auth")


class UsersWatch:
    """Looks at the users file that is in use, as long as it is open."""

    def __init__(self, authentication: Authentication, sessions: SessionList) -> None:
        self._authentication = authentication
        self._sessions = sessions
        self._file: UsersFile | None = None
        self._roles = authentication.authenticator.roles
        self._outdated: dict[str, None] = {}  # users whose sessions are still to end, in order
        self._watcher: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the file, and begin to watch it."""
        self._file = self._authentication.users_file
        if self._file is not None:
            _report(await asyncio.to_thread(self._file.load))
        self._watcher = asyncio.create_task(self._watch())

    async def dismiss_outdated(self) -> None:
        """End the sessions of users who were changed or removed in the file, or have other roles since, while no process ran.

        Where the settings name no file any more, those of all its users. Whom `on_authenticate` let in is the application's.
        """
        if not self._sessions.store.outlives_process:
            return
        async for session in self._sessions.scan():
            if is_listed(session.record.version) and not self._is_as_before(session.record):
                await self._sessions.end(session, "credentials")

    def _is_as_before(self, record: Record) -> bool:
        if record.user is None or self._file is None:
            return False
        entry, roles = self._file.find(record.user), self._roles.get(record.user, ())
        return entry is not None and entry.version == record.version and set(roles) == set(record.roles)

    async def close(self) -> None:
        """Look no longer, and check no more passwords."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        await self._authentication.close()

    async def poll(self) -> None:
        """Look now: whether the settings name another file or none, or other roles, and whether the file has changed.

        Raises `StoreUnavailable`; whose sessions could not be ended is remembered, and they are with the next look.
        """
        roles_before, self._roles = self._roles, self._authentication.authenticator.roles
        self._note(_differing(roles_before, self._roles))
        before, self._file = self._file, self._authentication.users_file
        if before is not None and before is not self._file:
            self._note(before.users)
        try:
            reading = None if self._file is None else await self._file.poll()
            if reading is not None:
                _report(reading)
                self._note(reading.changed)
        finally:
            await self._dismiss()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await self.poll()
            except Exception:
                _log.exception("the users file could not be looked at")

    def _note(self, users: Iterable[str]) -> None:
        """Take note of users whose passwords or roles are no longer what they were."""
        self._outdated.update(dict.fromkeys(users))

    async def _dismiss(self) -> None:
        """Forget what is known of users who are outdated, and end their sessions."""
        while self._outdated:
            user = next(iter(self._outdated))
            del self._outdated[user]
            try:
                await self._authentication.forget(user)
                await self._sessions.end_all(user=user, reason="credentials")
            except BaseException:
                self._note([user])
                raise


def _differing(before: Mapping[str, Sequence[str]], after: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the users whose roles differ; in which order they are listed, does not matter."""
    return [user for user in {**before, **after} if set(before.get(user, ())) != set(after.get(user, ()))]


def _report(reading: Reading) -> None:
    for mistake in reading.mistakes:
        _log.error("users file not used: %s", mistake)
    if reading.notice:
        _log.warning("%s", reading.notice)
