"""The file of the SQLite store: opened by one process alone, written in whole batches, read as a whole.

Everything here blocks; it is called from one thread, one call at a time.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from wshttp.errors import ConfigurationError, StoreUnavailable, StoreUnusable
from wshttp.stores import sqlite_schema as schema

Statement = tuple[str, tuple[Any, ...]]

PATIENCE: Final = 1.0
"""Seconds to wait for a process that is just letting go of the file, as at a restart."""

WAL_LIMIT: Final = 64 * 2**20
"""Bytes to which the log beside the file is cut back after it was longer."""


class SqliteFile:
    """One connection, which has the file for itself."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None

    def open(self) -> None:
        """Open or make the file.

        Raises `ConfigurationError` where another process has it, and `StoreUnusable` where it cannot be used at all.
        """
        self._make()
        try:
            # FULL, since in a WAL anything less acknowledges commits that a power cut undoes: they are not synced before
            # the next checkpoint. EXCLUSIVE, since what another process wrote would not be in our working set; the lock is
            # the kernel's, and goes with the process however that dies.
            connection = sqlite3.connect(
                self.path, timeout=PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=64
            )
        except sqlite3.Error as error:
            raise StoreUnusable(f"store.path: {self.path} cannot be opened: {error}") from None
        try:
            self._take(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._inode = self._inode_there()

    def _make(self) -> None:
        """Make the file where it is missing, for our eyes only; what SQLite puts beside it gets the same mode."""
        if os.path.isdir(self.path):
            raise StoreUnusable(f"store.path: {self.path} is a folder; name a file in it")
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            if not os.access(self.path, os.R_OK | os.W_OK):
                raise StoreUnusable(f"store.path: {self.path} cannot be written: Permission denied") from None
        except OSError as error:
            raise StoreUnusable(f"store.path: {self.path} cannot be made: {error.strerror}") from None

    def _take(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            is_new = self._check_owner(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
            connection.execute("BEGIN EXCLUSIVE")
            self._migrate(connection, is_new=is_new)
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
        if owner == 0 and version == 0 and tables == 0:
            return True
        if owner != schema.APPLICATION_ID:
            raise StoreUnusable(f"store.path: {self.path} is another program's database; name a file of our own")
        if version > schema.VERSION:
            raise StoreUnusable(
                f"store.path: {self.path} was written by a newer wshttp (its schema is {version}, "
                f"this one knows {schema.VERSION}); use that one, or another file"
            )
        return False

    def _migrate(self, connection: sqlite3.Connection, *, is_new: bool) -> None:
        if is_new:
            connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")

    def write(self, statements: Iterable[Statement]) -> None:
        """Carry out statements, all or none, and return when they are on disk. Raises `StoreUnavailable`."""
        connection = self._open_connection()
        with self._reporting():
            if self._inode_there() != self._inode:
                raise StoreUnavailable(reason=f"{self.path} is gone: somebody moved or deleted it")
            try:
                connection.execute("BEGIN IMMEDIATE")
                for sql, values in statements:
                    connection.execute(sql, values)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

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

    def _inode_there(self) -> tuple[int, int] | None:
        """Return which file is under our path; a file that was deleted takes writes and forgets them."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino
