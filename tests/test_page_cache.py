"""What of a file is in memory: asked of the system itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wshttp import page_cache
from wshttp.page_cache import is_in_memory

SIZE = 8 * 1024 * 1024


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A file that is on its disk."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    yield descriptor
    os.close(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can be asked")
def test_what_was_forgotten_is_not_in_memory(file: int) -> None:
    """Neither is a part of which the one end is, and what is read again is."""
    if not is_in_memory(file, 0, SIZE):
        pytest.skip("the file system of the temporary folder does not tell")
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    if is_in_memory(file, 0, SIZE):
        pytest.skip("the system has not forgotten it")
    assert not is_in_memory(file, SIZE // 2, 1)
    os.pread(file, SIZE // 2, 0)
    assert is_in_memory(file, 0, SIZE // 2)
    assert not is_in_memory(file, 0, SIZE)
    assert not is_in_memory(file, SIZE // 2, SIZE // 2)


def test_nothing_is_known_of_what_cannot_be_asked(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a file, what is no file, and a system that knows no such question."""
    assert not is_in_memory(file, SIZE - 1, 2)
    assert not is_in_memory(-1, 0, 1)
    monkeypatch.setattr(page_cache, "_NOWAIT", 0)
    assert not is_in_memory(file, 0, 1)
