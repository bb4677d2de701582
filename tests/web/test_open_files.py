"""Large files that stay open for a moment: nobody gets another state than that which is there."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wshttp.page_cache import is_in_memory
from wshttp.testing import FakeClock
from wshttp.web.file_root import CHUNK, HASHED_UP_TO, FileRoot, OpenFile
from wshttp.web.open_files import MOST

pytestmark = pytest.mark.feature("F2")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(b"a" * CHUNK * 2)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if not is_in_memory(descriptor, 0, 1):
            pytest.skip("the file system of the temporary folder does not tell what is in memory")
    finally:
        os.close(descriptor)
    return path


class Opens:
    """Counts how often the folder is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = FileRoot.open

        def counted(files: FileRoot, path: str, accept_encoding: str = "") -> object:
            self.count += 1
            return real(files, path, accept_encoding)

        monkeypatch.setattr(FileRoot, "open", counted)


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> Opens:
    return Opens(monkeypatch)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileRoot]:
    root = FileRoot(tmp_path, clock=FakeClock(time=time.time() + 60))
    yield root
    root.close()


async def state(files: FileRoot, path: str = "large.bin", accept_encoding: str = "") -> tuple[str | None, bytes]:
    """Return a file's ETag and its first byte."""
    found = await files.fetch(path, accept_encoding)
    assert isinstance(found, OpenFile)
    with found:
        return found.etag, await files.read(found, 0, 1)


def let_the_clock_tick(file: Path) -> None:
    """Have the file system's clock come to another time than that of a file's last change."""
    other = file.parent / "other"
    other.touch()
    while other.stat().st_ctime_ns == file.stat().st_ctime_ns:
        os.utime(other)


async def test_file_that_is_as_it_was_is_not_looked_for_again(files: FileRoot, file: Path, opens: Opens) -> None:
    """Each gets a descriptor of its own, so that no other's end takes it away."""
    first = await files.fetch("large.bin")
    second = await files.fetch("large.bin")
    assert isinstance(first, OpenFile)
    assert isinstance(second, OpenFile)
    assert opens.count == 1
    assert (first.etag, first.modified_at, first.size) == (second.etag, second.modified_at, second.size)
    first.close()
    assert second.read(0, 3) == b"aaa"
    second.close()


@pytest.mark.parametrize("change", ["rewrite", "replace", "shorten", "touch", "remove"])
async def test_change_is_seen_at_once(files: FileRoot, file: Path, opens: Opens, change: str) -> None:
    """Whoever asks next has the folder asked."""
    before = await state(files)
    let_the_clock_tick(file)
    if change == "rewrite":
        file.write_bytes(b"b" * CHUNK * 2)
    elif change == "replace":
        (file.parent / "new").write_bytes(b"b" * CHUNK * 2)
        os.replace(file.parent / "new", file)
    elif change == "shorten":
        os.truncate(file, CHUNK + 1)
    elif change == "touch":
        os.utime(file, (1, 1))
    else:
        file.unlink()
        assert await files.fetch("large.bin") is None
        return
    after = await state(files)
    assert opens.count == 2
    assert (after[0] == before[0]) == (change == "touch")
    assert after[1] == (b"b" if change in ("rewrite", "replace") else b"a")


async def test_file_is_let_go_of(files: FileRoot, file: Path, opens: Opens, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment: a file that was removed takes room on the disk until then."""
    monkeypatch.setattr("wshttp.web.open_files.KEPT_FOR", 0.0)
    await state(files)
    while len(files._open_files):
        await files.run(bool)
    await state(files)
    assert opens.count == 2


async def test_files_that_stay_open_are_few(files: FileRoot, file: Path, opens: Opens) -> None:
    """Those beyond are looked for each time; none is left open with the folder."""
    before = len(os.listdir("/proc/self/fd"))
    for number in range(MOST + 2):
        os.link(file, file.parent / f"{number}.bin")
    for number in range(MOST + 2):
        await state(files, f"{number}.bin")
    assert len(files._open_files) == MOST
    await state(files, "0.bin")
    await state(files, f"{MOST}.bin")
    assert opens.count == MOST + 3
    files.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


async def test_others_have_their_turn_between_two_reads(files: FileRoot, file: Path) -> None:
    """Also where nothing has to be waited for: who takes a large file fast must not keep the loop for itself."""
    turns: list[int] = []
    found = await files.fetch("large.bin")
    assert isinstance(found, OpenFile)
    with found:
        for number in range(3):
            asyncio.get_running_loop().call_soon(turns.append, number)
            assert await files.read(found, 0, 1) == b"a"
            assert turns == list(range(number + 1))


async def test_no_descriptor_is_taken_where_there_are_none_left(
    files: FileRoot, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has asked for the file gets it all the same."""

    def failing(descriptor: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "dup", failing)
    assert (await state(files))[1] == b"a"
    assert len(files._open_files) == 0


async def test_coding_is_chosen_by_who_asks(files: FileRoot, file: Path) -> None:
    """Who accepts something else gets another file."""
    (file.parent / "large.bin.gz").write_bytes(b"z" * CHUNK * 2)
    for _ in range(2):
        assert (await state(files))[1] == b"a"
        assert (await state(files, accept_encoding="gzip"))[1] == b"z"


async def test_what_was_read_to_know_it_is_not_kept(files: FileRoot, file: Path) -> None:
    """Nor is a file that changed just now: what comes next could look the same."""
    (file.parent / "small.bin").write_bytes(b"s")
    await state(files, "small.bin")
    fresh = FileRoot(file.parent, clock=FakeClock(time=file.stat().st_ctime))
    (file.parent / "fresh.bin").write_bytes(b"f" * (HASHED_UP_TO + 1))
    assert (await state(fresh, "fresh.bin"))[0] is None
    assert len(files._open_files) == len(fresh._open_files) == 0
    fresh.close()
