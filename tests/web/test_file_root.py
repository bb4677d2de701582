"""A folder whose files are served: what can be reached, and by what a file is known again."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wshttp.testing import FakeClock
from wshttp.web import file_root
from wshttp.web.content_types import content_type
from wshttp.web.file_root import CHUNK, HASHED_UP_TO, FileRoot, Found, OpenFile


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (root / "index.html").write_text("home")
    (root / "docs" / "index.html").write_text("docs")
    (root / "empty").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return root


@pytest.fixture
def clock() -> FakeClock:
    """Later than any file that the tests make: all have settled."""
    return FakeClock(time=time.time() + 60)


@pytest.fixture
def files(folder: Path, clock: FakeClock) -> Iterator[FileRoot]:
    root = FileRoot(folder, threads=2, clock=clock)
    yield root
    root.close()


def content(files: FileRoot, path: str, accept_encoding: str = "") -> bytes | None:
    opened = files.open(path, accept_encoding)
    if not isinstance(opened, OpenFile):
        assert opened is None
        return None
    with opened:
        return opened.read(0, opened.size)


def etag(files: FileRoot, path: str, accept_encoding: str = "") -> str | None:
    opened = files.open(path, accept_encoding)
    assert isinstance(opened, OpenFile)
    with opened:
        return opened.etag


def set_back(file: Path) -> None:
    """Give a file an old modification time, and let the file system's clock tick for its change time."""
    before = file.stat().st_ctime_ns
    while file.stat().st_ctime_ns == before:
        os.utime(file, (1, 1))


# --- what can be reached ------------------------------------------------------------------------


@pytest.mark.feature("F1")
def test_folder_is_its_index(files: FileRoot) -> None:
    """A path that ends in a slash is the folder's index; without the slash it says so; without an index it is nothing."""
    assert content(files, "") == b"home"
    assert content(files, "docs/") == b"docs"
    assert files.open("docs") is Found.FOLDER
    assert files.open("empty") is None
    assert files.open("empty/") is None
    assert files.open("index.html/") is None


@pytest.mark.feature("F1")
@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "docs/../../secret.txt",
        "docs/../index.html",
        "./index.html",
        "/etc/passwd",
        "//etc/passwd",
        "docs//index.html",
        "/",
        "..\\secret.txt",
        "docs\\index.html",
        "index.html\0",
        "\0",
        "C:/index.html",
        "c:index.html",
        ".hidden",
        ".git/config",
        "docs/.env",
        ".wshttp-upload-1",
        "%2e%2e/secret.txt",
        "nothing",
        "index.html/more",
        "x" * 5000,
        "a/" * 3000,
        "\udcff\ud800",
    ],
)
def test_path_that_may_not_be_served_is_nothing(files: FileRoot, folder: Path, path: str) -> None:
    """Whatever leaves the root, is hidden or is no name is not there."""
    (folder / ".git").mkdir()
    for hidden in (".hidden", ".git/config", "docs/.env", ".wshttp-upload-1"):
        (folder / hidden).write_text("hidden")
    for windows in ("c:index.html", "docs\\index.html", "..\\secret.txt"):
        (folder / windows).write_text("a name that other systems read otherwise")
    assert files.open(path) is None


@pytest.mark.feature("F1")
def test_well_known_is_served(files: FileRoot, folder: Path) -> None:
    """`.well-known` is the one name with a dot that is public."""
    (folder / ".well-known").mkdir()
    (folder / ".well-known" / "security.txt").write_text("contact")
    assert content(files, ".well-known/security.txt") == b"contact"


@pytest.mark.feature("F1")
def test_links_inside_are_followed_and_outside_are_nothing(files: FileRoot, folder: Path) -> None:
    """A link is what it points to, if that is in the root; a neighbour of the root with the same beginning is not."""
    (folder.parent / "root-other").mkdir()
    (folder.parent / "root-other" / "f.txt").write_text("other")
    (folder / "inside").symlink_to("docs/index.html")
    (folder / "folder").symlink_to("docs")
    (folder / "outside").symlink_to(folder.parent / "secret.txt")
    (folder / "outside-folder").symlink_to(folder.parent)
    (folder / "beside").symlink_to(folder.parent / "root-other")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("gone")
    assert content(files, "inside") == b"docs"
    assert content(files, "folder/index.html") == b"docs"
    for path in ("outside", "outside-folder/secret.txt", "outside-folder/", "beside/f.txt", "loop", "dangling"):
        assert files.open(path) is None, path


@pytest.mark.feature("F1")
def test_what_is_left_out_is_nothing(folder: Path) -> None:
    """Whatever way leads there: its own, one around, a link."""
    (folder / "link").symlink_to(folder / "docs")
    (folder / "docs-too").mkdir()
    (folder / "docs-too" / "index.html").write_text("too")
    files = FileRoot(folder, without=folder / "docs")
    for path in ("docs", "docs/", "docs/index.html", "link/", "link/index.html"):
        assert content(files, path) is None
    assert content(files, "docs-too/") == b"too"
    files.close()


def test_index_and_neighbour_that_link_outside_are_nothing(files: FileRoot, folder: Path) -> None:
    """A link can't be used through the index or a precompressed neighbour either."""
    (folder / "empty" / "index.html").symlink_to(folder.parent / "secret.txt")
    (folder / "index.html.gz").symlink_to(folder.parent / "secret.txt")
    assert files.open("empty/") is None
    assert content(files, "index.html", "gzip") == b"home"


@pytest.mark.feature("F1")
def test_root_that_is_a_link_follows_it(folder: Path, clock: FakeClock) -> None:
    """A root that is a link may be pointed elsewhere while the server runs."""
    current = folder.parent / "current"
    current.symlink_to(folder)
    files = FileRoot(current, clock=clock)
    assert content(files, "") == b"home"
    current.unlink()
    current.symlink_to(folder / "docs")
    assert content(files, "") == b"docs"
    files.close()


@pytest.mark.feature("F1")
def test_path_that_becomes_a_link_after_it_was_resolved_is_nothing(
    files: FileRoot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who puts a link in the place of a folder or file between the check and the opening gets nothing."""
    (folder.parent / "index.html").write_text("secret")
    real = file_root._Place.open

    def swapped(place: file_root._Place, resolved: str) -> int | None:
        (folder / "docs").rename(folder / "old")
        (folder / "docs").symlink_to(folder.parent)
        return real(place, resolved)

    monkeypatch.setattr(file_root._Place, "open", swapped)
    assert files.open("docs/index.html") is None


@pytest.mark.feature("F1")
def test_what_is_no_regular_file_is_nothing_and_does_not_block(files: FileRoot, folder: Path) -> None:
    """A FIFO without a writer, a socket, a device: none of them is opened for long."""
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket"))
        for path in ("fifo", "socket"):
            assert files.open(path) is None
    device_root = FileRoot(Path("/dev"))
    assert device_root.open("zero") is None
    device_root.close()


@pytest.mark.feature("F1")
def test_what_is_no_regular_file_is_not_even_opened(
    files: FileRoot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To open a device can do something: it is looked at from outside."""
    os.mkfifo(folder / "fifo")
    opened = []
    real = os.open

    def seen(path: str, *arguments: int, **named: int) -> int:
        opened.append(path)
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", seen)
    assert files.open("fifo") is None
    assert content(files, "index.html") == b"home"
    assert "index.html" in opened
    assert "fifo" not in opened


def test_file_without_permission_is_nothing(files: FileRoot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server may not read is not there; what the machine can't do is an error."""

    def refused(number: int) -> object:
        def open_(*arguments: object, **named: object) -> int:
            raise OSError(number, os.strerror(number))

        return open_

    monkeypatch.setattr(file_root, "_open_file", refused(13))  # EACCES
    assert files.open("index.html") is None
    monkeypatch.setattr(file_root, "_open_file", refused(24))  # EMFILE
    with pytest.raises(OSError, match="Too many open files"):
        files.open("index.html")


# --- by what a file is known again --------------------------------------------------------------


@pytest.mark.feature("F2")
@pytest.mark.parametrize("size", [10, CHUNK, CHUNK + 1, HASHED_UP_TO, HASHED_UP_TO + 1])
def test_etag_changes_with_the_content_whatever_the_times_say(files: FileRoot, folder: Path, size: int) -> None:
    """A file that is rewritten with the same size, in place, its time set back, has another tag, at any size."""
    file = folder / "f.bin"
    file.write_bytes(b"a" * size)
    set_back(file)
    before = etag(files, "f.bin")
    assert before is not None
    assert etag(files, "f.bin") == before
    with open(file, "r+b") as same:
        same.write(b"b")
    set_back(file)
    assert etag(files, "f.bin") != before


@pytest.mark.feature("F2")
@pytest.mark.parametrize("size", [10, CHUNK])
def test_small_file_that_changed_just_now_is_known_by_its_very_bytes(folder: Path, size: int) -> None:
    """Two states within one tick of the file system's clock have two tags, even if nothing else tells them apart."""
    files = FileRoot(folder, clock=FakeClock(time=time.time()))
    file = folder / "f.bin"
    tags = set()
    for letter in (b"a", b"b", b"c"):
        file.write_bytes(letter * size)
        opened = files.open("f.bin")
        assert isinstance(opened, OpenFile)
        with opened:
            file.write_bytes(b"x" * size)  # after the opening, before the reading
            assert opened.read(0, size) == letter * size
            assert opened.modified_at is None
            tags.add(opened.etag)
    assert len(tags) == 3
    assert not files._digests._kept
    files.close()


@pytest.mark.feature("F2")
@pytest.mark.parametrize("size", [CHUNK + 1, HASHED_UP_TO, HASHED_UP_TO + 1])
def test_large_file_that_changed_just_now_has_no_etag(folder: Path, clock: FakeClock, size: int) -> None:
    """Its times could not tell it from its next state; and nobody has it read into memory, or hashed, for a byte of it."""
    clock.jump(time.time() - clock.time())
    files = FileRoot(folder, clock=clock)
    (folder / "f.bin").write_bytes(bytes(size))
    opened = files.open("f.bin")
    assert isinstance(opened, OpenFile)
    with opened:
        assert (opened.etag, opened.modified_at, opened.content) == (None, None, None)
        assert opened.read(size - 1, 1) == b"\0"
    assert not files._digests._kept
    clock.advance(60)
    assert etag(files, "f.bin") is not None
    files.close()


@pytest.mark.feature("F2")
def test_digest_of_a_settled_file_is_remembered(files: FileRoot, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has not changed is hashed once, and the memory of that is bounded."""
    monkeypatch.setattr(file_root, "_REMEMBERED_DIGESTS", 2)
    hashed = []
    real = file_root._hash_file
    monkeypatch.setattr(file_root, "_hash_file", lambda descriptor: hashed.append(descriptor) or real(descriptor))
    for name in "abc":
        (folder / name).write_bytes(name.encode() * (CHUNK + 1))
    for name in "aabcc":
        etag(files, name)
    assert len(hashed) == 3
    assert len(files._digests._kept) == 2


@pytest.mark.feature("F2")
def test_file_that_changes_while_it_is_hashed_is_not_known_yet(
    files: FileRoot, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash over two states is not used."""
    file = folder / "f.bin"
    file.write_bytes(b"a" * (CHUNK + 1))
    real = file_root._hash_file

    def changing(descriptor: int) -> str:
        digest = real(descriptor)
        file.write_bytes(b"b" * (CHUNK + 1))
        os.utime(file, (1, 1))
        return digest

    monkeypatch.setattr(file_root, "_hash_file", changing)
    opened = files.open("f.bin")
    assert isinstance(opened, OpenFile)
    with opened:
        assert (opened.etag, opened.modified_at) == (None, None)
        assert opened.read(0, CHUNK + 1) == b"b" * (CHUNK + 1)
    assert not files._digests._kept


@pytest.mark.feature("F2")
@pytest.mark.parametrize("size", [CHUNK + 1, HASHED_UP_TO + 1])
def test_file_that_shrinks_or_is_rewritten_gives_fewer_bytes(files: FileRoot, folder: Path, size: int) -> None:
    """A reader never gets bytes of two states; a file renamed over it does not disturb it."""
    file = folder / "f.bin"
    file.write_bytes(b"a" * size)
    opened = files.open("f.bin")
    assert isinstance(opened, OpenFile)
    with opened:
        (folder / "new").write_bytes(b"n")
        os.rename(folder / "new", file)
        assert opened.read(CHUNK, 1) == b"a"
    for spoil in (lambda: os.truncate(file, CHUNK), lambda: file.write_bytes(b"b" * size)):
        file.write_bytes(b"a" * size)
        set_back(file)
        opened = files.open("f.bin")
        assert isinstance(opened, OpenFile)
        with opened:
            spoil()
            assert len(opened.read(CHUNK, 1)) < 1


# --- precompressed neighbours -------------------------------------------------------------------


@pytest.mark.feature("F2")
def test_neighbour_is_used_when_it_is_wanted_and_new_enough(files: FileRoot, folder: Path) -> None:
    """The best coding of those that are at least as new; each with its own tag."""
    for name, data, modified in (("a.js", "js", 100), ("a.js.br", "brotli", 99), ("a.js.gz", "gzip", 100)):
        (folder / name).write_text(data)
        os.utime(folder / name, (modified, modified))
    assert content(files, "a.js", "br, gzip") == b"gzip"
    os.utime(folder / "a.js.br", (101, 101))
    assert content(files, "a.js", "br, gzip") == b"brotli"
    assert content(files, "a.js", "br;q=0, gzip") == b"gzip"
    assert content(files, "a.js") == b"js"
    assert len({etag(files, "a.js", coding) for coding in ("", "br", "gzip")}) == 3
    assert content(files, "a.js.gz", "gzip") == b"gzip"


@pytest.mark.feature("F2")
def test_neighbour_with_the_same_bytes_has_its_own_tag(files: FileRoot, folder: Path) -> None:
    """Two codings are two representations, even where the bytes are the same."""
    for name in ("a.js", "a.js.gz"):
        (folder / name).write_text("same")
        os.utime(folder / name, (100, 100))
    assert etag(files, "a.js") != etag(files, "a.js", "gzip")


@pytest.mark.feature("F2")
def test_file_varies_only_where_it_has_a_neighbour(files: FileRoot, folder: Path) -> None:
    """A cache is told of codings where there are some, whichever is sent."""
    (folder / "docs" / "index.html.gz").write_text("gz")
    for path, accept, varies in (("docs/", "", True), ("docs/", "gzip", True), ("index.html", "gzip", False)):
        opened = files.open(path, accept)
        assert isinstance(opened, OpenFile)
        with opened:
            assert opened.varies is varies
            assert opened.name == "index.html"


# --- threads ------------------------------------------------------------------------------------


async def test_fetch_that_is_cancelled_closes_what_it_opened(files: FileRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor is left behind by a caller that went away while a thread was opening the file."""
    going, opened = threading.Event(), []
    real, began, loop = files.open, asyncio.Event(), asyncio.get_running_loop()

    def slow(url_path: str, accept_encoding: str) -> object:
        loop.call_soon_threadsafe(began.set)
        assert going.wait(10)
        opened.append(real(url_path, accept_encoding))
        return opened[0]

    monkeypatch.setattr(files, "open", slow)
    fetching = asyncio.create_task(files.fetch("index.html"))
    await began.wait()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    going.set()
    files._threads.shutdown(wait=True)
    assert opened[0]._file.closed


# --- content types ------------------------------------------------------------------------------


@pytest.mark.feature("F1")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("index.html", "text/html; charset=utf-8"),
        ("INDEX.HTML", "text/html; charset=utf-8"),
        ("a.b.css", "text/css; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.mjs", "text/javascript; charset=utf-8"),
        ("a.wasm", "application/wasm"),
        ("a.webmanifest", "application/manifest+json"),
        ("a.json", "application/json"),
        ("a.svg", "image/svg+xml"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.d.ts", "text/plain; charset=utf-8"),
        ("Makefile", "application/octet-stream"),
        ("js", "application/octet-stream"),
        ("a.", "application/octet-stream"),
        ("a.unheard", "application/octet-stream"),
    ],
)
def test_content_type_is_by_suffix(name: str, expected: str) -> None:
    """The table is ours, not the machine's."""
    assert content_type(name) == expected
