"""The file of the SQLite store: opened by one process alone, written in whole batches, read as a whole.

Everything here blocks; it is called from one thread, one call at a time.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

from wshttp.errors import ConfigurationError, StoreUnavailable, StoreUnusable
from wshttp.stores import sqlite_schema as schema

Statement = tuple[str, tuple[Any, ...]]

PATIENCE: Final = 1.0
"""Seconds to wait for a process that is just letting go of the file, as at a restart."""

WAL_LIMIT: Final = 64 * 2**20
"""Bytes to which the log beside the file is cut back after it was longer."""


_log = logging.getLogger("wshttp.store")


@dataclass(frozen=True, slots=True)
class _Found:
    """What is under a name: which file, and how many bytes; `None`, nothing."""

    inode: tuple[int, int] | None
    size: int = 0


class SqliteFile:
    """One connection, which has the file for itself.

    `path` is the name of a file, whatever SQLite reads into other names (`:memory:`, `file:...`): a store that keeps nothing
    would be none. A relative one counts from where the process was when this was made.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._name = os.path.abspath(path)
        self._connection: sqlite3.Connection | None = None
        self._left = _Found(None), _Found(None)  # our file and its log, as we left them
        self._between = False  # closed by ourselves, to be opened again

    def open(self) -> None:
        """Open or make the file.

        Raises `ConfigurationError` where another process has it, and `StoreUnusable` where it cannot be used at all.
        What is not ours is not changed.
        """
        self._make()
        self._peek()
        try:
            # FULL, since in a WAL anything less acknowledges commits that a power cut undoes: they are not synced before
            # the next checkpoint. EXCLUSIVE, since what another process wrote would not be in our working set; the lock is
            # the kernel's, and goes with the process however that dies.
            connection = sqlite3.connect(
                self._name, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=64
            )
        except sqlite3.Error as error:
            raise StoreUnusable(f"store.path: {self.path} cannot be opened: {error}") from None
        try:
            self._take(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._left = self._there()

    def _make(self) -> None:
        """Make the file where it is missing, for our eyes only; what SQLite puts beside it gets the same mode."""
        try:
            os.close(os.open(self._name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            self._check_file()
        except OSError as error:
            raise StoreUnusable(f"store.path: {self.path} cannot be made: {error.strerror}") from None
        except ValueError as error:
            raise StoreUnusable(f"store.path: {self.path!a} is no name of a file: {error}") from None

    def _check_file(self) -> None:
        try:
            mode = os.stat(self._name).st_mode
        except OSError as error:
            raise StoreUnusable(f"store.path: {self.path} is a link that leads nowhere: {error.strerror}") from None
        if stat.S_ISDIR(mode):
            raise StoreUnusable(f"store.path: {self.path} is a folder; name a file in it")
        if not stat.S_ISREG(mode):
            raise StoreUnusable(f"store.path: {self.path} is no file that keeps anything")
        if not os.access(self._name, os.R_OK | os.W_OK):
            raise StoreUnusable(f"store.path: {self.path} cannot be written: Permission denied")
        if mode & 0o077:
            _log.warning("store.path: others may read %s, and so the data of sessions; `chmod 600` it", self.path)

    def _peek(self) -> None:
        """Look whose file it is, without what SQLite does to a file that its program did not close."""
        try:
            with closing(
                sqlite3.connect(f"file:{quote(os.fsencode(self._name))}?mode=ro&immutable=1", uri=True)
            ) as connection:
                self._check_owner(connection)
        except sqlite3.OperationalError as error:
            raise StoreUnusable(f"store.path: {self.path} cannot be used: {error}") from None
        except sqlite3.DatabaseError as error:
            raise self.broken(error) from None

    def _take(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA synchronous = FULL")
            if self._check_owner(connection):
                # Before there is a WAL: whose file it is can then be seen in the file itself.
                connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
            connection.execute("BEGIN EXCLUSIVE")
            self._migrate(connection)
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise ConfigurationError(
                    [
                        f"store.path: {self.path} is in use by another process; a file belongs to one server, "
                        "so give each its own"
                    ]
                ) from None
            raise StoreUnusable(f"store.path: {self.path} cannot be used: {error}") from None
        except sqlite3.DatabaseError as error:
            raise self.broken(error) from None

    def broken(self, error: Exception) -> StoreUnusable:
        """Return the error that says that what is in the file makes no sense."""
        return StoreUnusable(
            f"store.path: {self.path} is no SQLite file, or is damaged ({error}); restore it, or move it away to begin anew"
        )

    def _check_owner(self, connection: sqlite3.Connection) -> bool:
        """Return whether the file is empty, or raise `StoreUnusable` where it is another program's, or newer than we are."""
        owner = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if owner in (0, schema.APPLICATION_ID) and version == 0 and tables == 0:
            return True
        if owner != schema.APPLICATION_ID:
            raise StoreUnusable(f"store.path: {self.path} is another program's database; name a file of our own")
        if version > schema.VERSION:
            raise StoreUnusable(
                f"store.path: {self.path} was written by a newer wshttp (its schema is {version}, "
                f"this one knows {schema.VERSION}); use that one, or another file"
            )
        return False

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")

    def write(self, statements: Iterable[Statement]) -> None:
        """Carry out statements, all or none, and return when they are on disk. Raises `StoreUnavailable`."""
        with self._reporting():
            if self._between:
                self._open_again()
            self._check_place()
            connection = self._open_connection()
            try:
                connection.execute("BEGIN IMMEDIATE")
                for sql, values in statements:
                    connection.execute(sql, values)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._note_sizes()
                raise
            self._note_sizes()
            self._check_place()

    def _check_place(self) -> None:
        """Raise where somebody did something to our files: what is written there now would be lost, or is already."""
        self._open_connection()
        file, log = self._there()
        if file.inode != self._left[0].inode:
            raise StoreUnavailable(reason=f"{self.path} is gone: somebody moved or deleted it")
        if log.inode != self._left[1].inode and file.size == self._left[0].size:
            self._save_log()
        elif (file, log) != self._left:
            raise StoreUnavailable(
                reason=f"{self.path}, or {self.path}-wal, was changed by somebody else, and is not to be trusted any more: "
                "stop the server, and restore it"
            )

    def _note_sizes(self) -> None:
        """Take note of what we have just written."""
        file, log = self._there()
        self._left = replace(self._left[0], size=file.size), replace(self._left[1], size=log.size)

    def _save_log(self) -> None:
        """Move to the file what is in a log that somebody has deleted, as long as we have that open, and begin another."""
        busy = self._open_connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise StoreUnavailable(reason=f"{self.path}-wal is gone: somebody moved or deleted it")
        _log.warning("%s-wal is gone: somebody moved or deleted it; what was in it is saved", self.path)
        self.close()
        self._between = True
        self._open_again()

    def _open_again(self) -> None:
        try:
            self.open()
        except (ConfigurationError, StoreUnusable) as error:
            raise StoreUnavailable(reason=str(error)) from None
        self._between = False

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read. Raises `StoreUnavailable`."""
        with self._reporting():
            return self._open_connection().execute(sql, values).fetchall()

    def close(self) -> None:
        """Let go of the file; no error where it is not open."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise StoreUnavailable(reason=f"{self.path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise StoreUnavailable(reason=f"{self.path} is damaged: {error}") from error

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreUnavailable(reason=f"{self.path} is not open")
        return self._connection

    def _there(self) -> tuple[_Found, _Found]:
        """Return what is where our file and its log are; files that were deleted take writes and forget them."""
        return _found(self._name), _found(f"{self._name}-wal")


def _found(name: str) -> _Found:
    try:
        status = os.stat(name)
    except FileNotFoundError:
        return _Found(None)
    return _Found((status.st_dev, status.st_ino), status.st_size)
