"""The users file: an htpasswd file, read again when it changes, and changed atomically.

A file that cannot be used changes nothing: the users of the last good one stay, and what is wrong is said by line.
A file that is not there has no users, also when it was there before: who takes it away wants nobody to get in.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shlex
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from wshttp.auth import htpasswd
from wshttp.auth.passwords import DEFAULT_COST
from wshttp.sessions.clock import Clock, SystemClock

MAX_SIZE: Final = 16 * 1024 * 1024
"""Bytes. Some 200,000 users; beyond that a file is a mistake, or needs a database and `on_authenticate`."""

SETTLED_AFTER: Final = 2.0
"""Seconds. A second change within one tick of the file system's clock leaves the stamp as it was, so a file is read
again until its stamp is older than the coarsest tick in use (2 s, FAT)."""

_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of reading the file.

    `changed` are the users who are gone or have another hash: their sessions should end.
    `mistakes` keep the file from being used, one line each: `<path>:<line>: <what is wrong>`, or without a line where
    it is the whole file. `notice` is worth a line in the log though it is no mistake; `None` where there is nothing.
    """

    changed: frozenset[str] = frozenset()
    mistakes: tuple[str, ...] = ()
    notice: str | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    """What one look found. `users` is `None` if it cannot be used, `stamp` if it should be read again at the next look."""

    stamp: _Stamp | None
    users: dict[str, htpasswd.Entry] | None
    mistakes: tuple[str, ...] = ()
    notice: str | None = None


class UsersFile:
    """The users of one htpasswd file; none until `load` or the first `poll`."""

    def __init__(self, path: str | os.PathLike[str], clock: Clock | None = None) -> None:
        self.path = os.fspath(path)
        self.users: Mapping[str, htpasswd.Entry] = MappingProxyType({})
        self.highest_cost = DEFAULT_COST
        self._clock = clock or SystemClock()
        self._content: _Content | None = None
        self._stamp_seen_at = 0.0
        self._read_at = 0.0
        self._polling = asyncio.Lock()

    def find(self, user: str) -> htpasswd.Entry | None:
        """Look a user up by name, in NFC; `None` if there is none."""
        return self.users.get(user)

    def load(self) -> Reading:
        """Read the file now, changed or not. Blocks: for the start, and for the command line."""
        return self._use(_read(self.path), self._clock.monotonic())

    async def poll(self) -> Reading | None:
        """Read the file if it may have changed, in a thread; `None` where that brings nothing new.

        Whoever runs the server calls this every second or so; calls in parallel wait for each other.
        The users change on the loop, all at once.
        """
        async with self._polling:
            now = self._clock.monotonic()
            settled = self._settled_stamp()
            if settled is not None and await asyncio.to_thread(_stamp_of, self.path) == settled:
                return None
            content = await asyncio.to_thread(_read, self.path)
            users, last = self.users, self._content
            reading = self._use(content, now)
        known = last is not None and (last.mistakes, last.notice) == (content.mistakes, content.notice)
        return None if known and users == self.users else reading

    def _settled_stamp(self) -> _Stamp | None:
        """Return the stamp at which nothing can be new; `None` where the next look must read."""
        settled = self._read_at - self._stamp_seen_at >= SETTLED_AFTER
        return self._content.stamp if self._content is not None and settled else None

    def _use(self, content: _Content, now: float) -> Reading:
        if self._content is None or content.stamp != self._content.stamp:
            self._stamp_seen_at = now
        self._content, self._read_at = content, now
        if content.users is None:
            return Reading(mistakes=content.mistakes)
        users = content.users
        changed = frozenset(name for name, entry in self.users.items() if users.get(name) != entry)
        self.users = MappingProxyType(users)
        self.highest_cost = max((entry.cost for entry in users.values()), default=DEFAULT_COST)
        return Reading(changed, notice=content.notice)


def _stamp_of(path: str) -> _Stamp | None:
    try:
        return _stamp(os.stat(path))
    except OSError:
        return None


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_ctime_ns


def _read(path: str) -> _Content:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a named pipe would wait for a writer
            return _Content(None, None, (f"{path}: is not a regular file",))
        with open(path, "rb") as file:
            before = _stamp(os.fstat(file.fileno()))
            content = file.read(MAX_SIZE + 1)
            after = _stamp(os.fstat(file.fileno()))
    except FileNotFoundError:
        return _Content(None, {}, notice=f"{path}: does not exist, so there are no users in it")
    except OSError as error:
        return _Content(None, None, (f"{path}: cannot be read: {error.strerror}",))
    if before[:2] != after[:2]:  # its time and size; being replaced changes the other two, and not what was read
        return _Content(None, None, (f"{path}: is being written, and will be read again",))
    if len(content) > MAX_SIZE:
        return _Content(after, None, (f"{path}: is over {MAX_SIZE} bytes",))
    users, mistakes = htpasswd.parse(content)
    if mistakes:
        return _Content(after, None, tuple(f"{path}:{line}: {mistake}" for line, mistake in mistakes))
    return _Content(after, users)


# --- changing it --------------------------------------------------------------------------------


def write_user(path: str | os.PathLike[str], user: str, password_hash: str) -> bool:
    """Add a user to the file, or change the hash of one; `True` if the user was there. Blocks.

    A reader sees the old file or the new one, never a mixture, and writers in parallel lose nothing.
    Makes the file (mode 0600) where there is none; keeps owner, mode, comments and other lines where there is one,
    and, where `path` is a symbolic link, the link.
    `UsageError` on a name or a hash that `UsersFile` would refuse; `OSError` where the file cannot be replaced.
    """
    name = htpasswd.check_user_name(user)
    htpasswd.parse_hash(password_hash)
    return _replace_user(path, name, f"{name}:{password_hash}".encode())


def delete_user(path: str | os.PathLike[str], user: str) -> bool:
    """Take a user out of the file, as carefully as `write_user`; `False` if there was none. Blocks."""
    return _replace_user(path, unicodedata.normalize("NFC", user), None)


def _replace_user(path: str | os.PathLike[str], name: str, line: bytes | None) -> bool:
    target = os.path.realpath(path)
    with _locked_folder(os.path.dirname(target)) as folder:
        try:
            with open(target, "rb") as file:
                status, old = os.fstat(file.fileno()), file.read()
        except FileNotFoundError:
            status, old = None, b""
        new, found = htpasswd.with_user(old, name, line)
        if new != old:
            _replace(target, new, status)
            os.fsync(folder)  # the rename itself is on disk only with its folder
    return found


def _replace(target: str, content: bytes, status: os.stat_result | None) -> None:
    """Write a new file beside the target and rename it over it, as its owner's and with its mode."""
    temporary = f"{target}.{secrets.token_hex(8)}.new"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            if status is not None:
                _take_after(file.fileno(), status)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _take_after(descriptor: int, status: os.stat_result) -> None:
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (status.st_uid, status.st_gid):
        # Root who changes the file of the server's account must leave it to that account, or no user can log in.
        # Who may not give it back gets the PermissionError: better no change than a file that the server cannot read.
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


@contextlib.contextmanager
def _locked_folder(folder: str) -> Iterator[int]:
    """Hold the folder's lock, so that two writers come one after the other; leaves no lock file behind."""
    import fcntl  # here, as Windows has none, where `wshttp.engine` is of use all the same

    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no folder {folder}; make it first: mkdir -p {shlex.quote(folder)}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            pass  # NFS locks no folder opened for reading; each change is still atomic, two at once may lose one
        yield descriptor
    finally:
        os.close(descriptor)
