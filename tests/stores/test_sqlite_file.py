"""The file of the SQLite store: what it may be, what is done when somebody else lays hands on it."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from disks import Disk
from sqlite_stores import create, killed, opened, until

from wshttp.errors import StoreUnavailable, StoreUnusable
from wshttp.stores import sqlite_file
from wshttp.stores import sqlite_schema as schema
from wshttp.stores.sqlite import SqliteStore
from wshttp.stores.sqlite_file import SqliteFile
from wshttp.testing import FakeClock


async def refused(path: Path | str, clock: FakeClock) -> str:
    """Return what is said of a file that must not be opened."""
    with pytest.raises(StoreUnusable) as caught:
        await SqliteStore(str(path), clock).open()
    return str(caught.value)


# --- which file it is ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [":memory:", "file:a.db", "file::memory:?cache=shared", "a?mode=ro", "ü %41 #.db", "caf\udce9"]
)
async def test_every_path_is_the_name_of_a_file(
    name: str, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those in which SQLite sees something else, which keeps nothing; and it stays that file if the folder changes."""
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(name, clock, timeout=20)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    await store.open()
    ref = (await create(store)).record.ref
    await store.close()
    assert (tmp_path / name).stat().st_size > 0
    assert os.listdir() == []
    async with opened(tmp_path / name, clock) as again:
        assert await again.load_ref(ref, touch=False) is not None


async def test_what_is_no_file_is_refused(tmp_path: Path, clock: FakeClock) -> None:
    """In one line that says what it is."""
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "a.db")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "dangling", "leads nowhere: No such file"),
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "pipe", "is no file"),
        ("/dev/null", "is no file"),
        (f"{tmp_path}/a\0b", "is no name of a file"),
        (tmp_path / "missing" / "a.db", "cannot be made: No such file"),
    ):
        assert said in await refused(path, clock)


async def test_file_that_others_may_read_is_warned_of(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The data of sessions is in it."""
    async with opened(tmp_path / "a.db", clock):
        pass
    assert not caplog.records
    (tmp_path / "a.db").chmod(0o644)
    async with opened(tmp_path / "a.db", clock):
        pass
    assert "others may read" in caplog.text


async def test_connection_is_as_durable_as_promised(tmp_path: Path) -> None:
    """Every commit is synced, and the log is cut back after it was long."""
    file = SqliteFile(str(tmp_path / "a.db"))
    file.open()
    asked = ("synchronous", "journal_mode", "locking_mode", "journal_size_limit")
    found = {name: file.rows(f"PRAGMA {name}")[0][0] for name in asked}
    assert found == {
        "synchronous": 2,
        "journal_mode": "wal",
        "locking_mode": "exclusive",
        "journal_size_limit": sqlite_file.WAL_LIMIT,
    }
    file.close()


async def test_batch_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    """And the next one is written, without what was before."""
    file = SqliteFile(str(tmp_path / "a.db"))
    file.open()
    good = (schema.PUT_META, ("a", 1))
    with pytest.raises(StoreUnavailable):
        file.write([good, ("INSERT INTO no_table VALUES (1)", ())])
    assert file.rows(schema.ALL_META) == []
    file.write([(schema.PUT_META, ("b", 2))])
    assert file.rows(schema.ALL_META) == [("b", 2)]
    file.close()


# --- what others have in it, or have done to it -------------------------------------------------------


async def test_file_that_another_program_did_not_close_is_left_as_it_is(tmp_path: Path, clock: FakeClock) -> None:
    """What it left in its log stays there for it: neither file has changed, nor is one gone or new."""
    theirs = sqlite3.connect(tmp_path / "a.db")
    theirs.execute("PRAGMA journal_mode = WAL")
    theirs.execute("CREATE TABLE theirs (a)")
    theirs.commit()
    theirs.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    theirs.execute("INSERT INTO theirs VALUES (1)")
    theirs.commit()
    killed(tmp_path / "a.db", "b.db")
    theirs.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("b.db*")}
    assert before["b.db-wal"]
    assert "is another program's database" in await refused(tmp_path / "b.db", clock)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("b.db*")} == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO meta VALUES ('seen_at', 'noon')",
        "INSERT OR REPLACE INTO meta VALUES ('seen_at', 1e308)",
        "INSERT OR REPLACE INTO meta VALUES ('wall_at', x'00')",
        "INSERT OR REPLACE INTO meta VALUES ('secret', 'text')",
        "INSERT OR REPLACE INTO meta VALUES ('secret', x'')",
        "UPDATE session SET facts = '[]'",
        "UPDATE session SET facts = '{}'",
        "UPDATE session SET last_access_at = 'noon'",
        "UPDATE session SET reason = 'whim'",
        f"UPDATE data SET value = '{'[' * 100_000}'",
        "UPDATE event SET body = '[]'",
    ],
)
async def test_rows_that_make_no_sense_are_refused_and_left(statement: str, tmp_path: Path, clock: FakeClock) -> None:
    """In one line, and nothing in the tables has changed."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        await create(store, data={"a": 1})
    before = dump(path, statement)
    assert "is damaged" in await refused(path, clock)
    assert dump(path) == before


def dump(path: Path, change: str = "") -> list[str]:
    """Return all that is in a file, after a change."""
    database = sqlite3.connect(path)
    database.executescript(change)
    found = list(database.iterdump())
    database.close()
    return found


@pytest.mark.parametrize("replaced", [False, True])
async def test_log_that_is_deleted_is_saved(
    replaced: bool, tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was acknowledged is there after a kill, what came before and what came after; nobody hears of it but the operator."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        ref = (await create(store)).record.ref
        (tmp_path / "a.db-wal").unlink()
        if replaced:
            (tmp_path / "a.db-wal").write_bytes(b"theirs")
        for count in (1, 2, 3):
            assert await store.increment(ref, "n", 1, 0) == count
        assert caplog.text.count("a.db-wal is gone") == 1
        async with opened(killed(path, "b.db"), clock) as again:
            found = await again.load_ref(ref, touch=False)
            assert found is not None
            assert found.data == {"n": 3}


async def test_log_that_is_deleted_during_a_batch_is_saved(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the batch is acknowledged."""
    path = tmp_path / "a.db"
    async with opened(path, clock) as store:
        ref = (await create(store)).record.ref
        check, checks = store._file._check_place, []

        def and_delete() -> None:
            check()
            if not checks:
                (tmp_path / "a.db-wal").unlink()
            checks.append(1)

        monkeypatch.setattr(store._file, "_check_place", and_delete)
        assert await store.increment(ref, "n", 1, 0) == 1
        async with opened(killed(path, "b.db"), clock) as again:
            found = await again.load_ref(ref, touch=False)
            assert found is not None
            assert found.data == {"n": 1}


@pytest.mark.parametrize("which", ["a.db", "a.db-wal"])
async def test_file_that_was_changed_is_not_written_to(
    which: str, tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is acknowledged then would be lost, or is already: the store is away, and says what to do."""
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
        disk = Disk(store, monkeypatch)
        os.truncate(tmp_path / which, 0)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await store.increment(ref, "n", 1, 0)
            await until(lambda: len(disk.batches) > 3)
        assert not store.available
        assert "stop the server, and restore it" in caplog.text


async def test_file_that_was_moved_is_missed_until_it_is_back(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be written to it nobody would find."""
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
        Disk(store, monkeypatch)
        (tmp_path / "a.db").rename(tmp_path / "moved")
        with pytest.raises(StoreUnavailable, match="gone"):
            await store.increment(ref, "n", 1, 0)
        assert not (tmp_path / "a.db").exists()
        (tmp_path / "moved").rename(tmp_path / "a.db")
        await until(lambda: store.available)
        assert await store.increment(ref, "n", 1, 0) == 1


async def test_damage_that_shows_while_it_runs_is_an_outage(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Callers hear that the store is away, as with any other fault of the disk, and the operator what it is."""
    caplog.set_level(logging.ERROR)
    async with opened(tmp_path / "a.db", clock) as store:
        ref = (await create(store)).record.ref
        connection = store._file._connection

        class Damaged:
            in_transaction = False

            def execute(self, *arguments: Any) -> Any:
                raise sqlite3.DatabaseError("database disk image is malformed")

        monkeypatch.setattr(store._file, "_connection", Damaged())
        with pytest.raises(StoreUnavailable):
            await store.increment(ref, "n", 1, 0)
        assert "is damaged: database disk image is malformed" in caplog.text
        monkeypatch.setattr(store._file, "_connection", connection)
        await until(lambda: store.available)
