"""A folder whose files are served, and an open file of it.

What two parallel callers get: each its own open file, of one state of the file.
A file that is replaced (renamed over, as careful programs do) goes on as it was for those who have it open.
A file that is rewritten in place while it is read gives fewer bytes than asked for, and its reader must cut the answer.

An ETag is never stale, whoever sets back the modification time of a file that changed:

- A file up to `CHUNK` is read into memory, and known by a hash of the very bytes that are sent.
- A larger one up to `HASHED_UP_TO` is known by a hash of its content, and one beyond by its inode, size and times.
  One of the times is the inode's change time (`ctime`), which no program can set.
- File systems keep that time in ticks, milliseconds on ext4, two seconds on FAT: two changes in a tick look like one.
  So what is not in memory and changed less than `SETTLES_AFTER` ago, or changes while it is hashed, has no ETag yet.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from wshttp.page_cache import is_in_memory
from wshttp.sessions.clock import Clock, SystemClock
from wshttp.web.encodings import preferred_encoding
from wshttp.web.open_files import OpenFiles

CHUNK = 256 * 1024
"""Bytes that are read at a time; up to this size a file is read as a whole."""

HASHED_UP_TO = 8 * 1024 * 1024
"""Bytes up to which a file is known by its content: hashing so much takes about 10 ms, in a thread."""

SETTLES_AFTER = 2.0
"""Seconds after which a changed file's times tell it from its next state: the coarsest ticks are FAT's two seconds."""

_REMEMBERED_DIGESTS = 4096
_SUFFIXES = {"br": ".br", "gzip": ".gz"}
_DRIVE = re.compile(r"[A-Za-z]:")
_ABSENT = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.ENXIO,
    errno.EINVAL,
}

_T = TypeVar("_T")


class Found(Enum):
    """What a path may lead to, besides a file and nothing."""

    FOLDER = "a folder with an index, asked for without the slash at its end"


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A state of a file, as far as its file system tells."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, descriptor: int) -> _Stamp:
        seen = os.fstat(descriptor)
        return cls(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)

    def digest(self) -> str:
        state = f"{self.inode}:{self.size}:{self.mtime_ns}:{self.ctime_ns}"
        return hashlib.blake2b(state.encode(), digest_size=16).hexdigest()

    def has_settled(self, now: float) -> bool:
        return now - self.ctime_ns / 1e9 > SETTLES_AFTER


class OpenFile:
    """One state of a file, open for reading; blocking, for threads. Close it, or use it in a `with`."""

    def __init__(self, descriptor: int, stamp: _Stamp, name: str, encoding: str | None, varies: bool) -> None:
        self.name = name
        """The file's name, without the suffix of its coding."""
        self.encoding = encoding
        """The content coding, `br` or `gzip`; `None` is the file as it is."""
        self.varies = varies
        """Whether another `Accept-Encoding` could have got another file."""
        self.size = stamp.size
        """In bytes."""
        self.modified_at: int | None = None
        """Unix seconds of the last change; `None` while the next one could fall into the same second."""
        self.etag: str | None = None
        """Strong, in quotes; `None` for a file above `CHUNK` that changed just now."""
        self.content: bytes | None = None
        """All bytes, of a file up to `CHUNK`."""
        self._stamp = stamp
        self._file = FileIO(descriptor)

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def identify(self, digests: _Digests, now: float) -> None:
        """Find out by what a client knows this state again, as told at the head of this file."""
        settled = self._stamp.has_settled(now)
        if self.size <= CHUNK:
            self.content = _read(self._file.fileno(), 0, self.size)
            self.size = len(self.content)
            self._name(_hash(self.content).hexdigest())
        elif settled:
            is_hashed = self.size <= HASHED_UP_TO
            self._name(digests.of(self._file.fileno(), self._stamp) if is_hashed else self._stamp.digest())
        if settled and self.etag is not None:
            self.modified_at = self._stamp.ctime_ns // 10**9  # never before mtime's change, and nobody can set it back

    @property
    def descriptor(self) -> int:
        """For the system to read from; it stays this object's."""
        return self._file.fileno()

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`; fewer where the file was cut short or rewritten since it was opened."""
        if self.content is not None:
            return self.content[offset : offset + length]
        data = _read(self._file.fileno(), offset, length)
        return data if self._is_as_it_was() else b""

    def again(self) -> OpenFile:
        """Return the same state of the file, open for somebody else."""
        other = OpenFile(os.dup(self._file.fileno()), self._stamp, self.name, self.encoding, self.varies)
        other.etag, other.modified_at, other.content = self.etag, self.modified_at, self.content
        return other

    @property
    def is_surely_as_it_was(self) -> bool:
        """Whether nothing has happened to the file since it was opened; false, too, where only a disk could tell."""
        file = self._file.fileno()
        return is_in_memory(file, 0, 1) and _Stamp.of(file) == self._stamp

    def close(self) -> None:
        self._file.close()

    def _name(self, digest: str | None) -> None:
        """Make the ETag; the coding is in it, so that no two representations share one."""
        if digest is not None:
            self.etag = f'"{digest}-{self.encoding}"' if self.encoding else f'"{digest}"'

    def _is_as_it_was(self) -> bool:
        """Compare what a write changes; not `ctime`, which a rename over the open file changes too."""
        if self.etag is None:
            return True  # it is being written: nothing was promised but its size
        now = _Stamp.of(self._file.fileno())
        return (now.size, now.mtime_ns) == (self._stamp.size, self._stamp.mtime_ns)


class FileRoot:
    """The folder `root` and what is below it; nothing else can be reached.

    Parameters
    ----------
    index: name of the file that is served for a folder.
    without: a folder that is not served, though it is below the root; default none.
    threads: how many requests read files at the same time; others wait. Default 4.
    """

    def __init__(
        self,
        root: Path,
        index: str = "index.html",
        *,
        without: Path | None = None,
        threads: int = 4,
        clock: Clock | None = None,
    ) -> None:
        self._root = root
        self._without = None if without is None else os.path.realpath(without)
        self._index = index
        self._clock: Clock = clock or SystemClock()
        self._digests = _Digests()
        self._open_files = OpenFiles()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="wshttp-files")

    def open(self, url_path: str, accept_encoding: str = "") -> OpenFile | Found | None:
        """Open the file that `url_path`, decoded once, relative to the root, leads to; blocking.

        Of the file and its neighbours `.br` and `.gz` that are at least as new, the one that `accept_encoding` prefers.
        `None`: there is no such file, or it may not be served.
        Raises `OSError` where the machine fails (no descriptors left, a broken disk).
        """
        names = _names(url_path)
        if names is None:
            return None
        try:
            return self._open(names, accept_encoding)
        except UnicodeEncodeError:
            return None  # a name that no file can have
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    async def fetch(self, url_path: str, accept_encoding: str = "") -> OpenFile | Found | None:
        """Do `open` in a thread; what it opened is closed if the caller is cancelled meanwhile.

        A large file that was opened a moment ago, and is still as it was, is opened again without asking for it.
        """
        kept = self._open_files.find(url_path, accept_encoding)
        if kept is not None:
            return kept
        opening = self._threads.submit(self.open, url_path, accept_encoding)
        try:
            found = await asyncio.wrap_future(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unclaimed)
            raise
        if isinstance(found, OpenFile):
            self._open_files.keep(url_path, accept_encoding, found)
        return found

    async def read(self, file: OpenFile, offset: int, length: int) -> bytes:
        """Do `file.read`, in a thread where a disk may have to be waited for."""
        if is_in_memory(file.descriptor, offset, length):
            await asyncio.sleep(0)  # others have their turn, as they would while a thread reads
            return file.read(offset, length)
        return await self.run(file.read, offset, length)

    async def run(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Call a blocking function in one of this root's threads."""
        return await asyncio.wrap_future(self._threads.submit(function, *arguments))

    def close(self) -> None:
        """Let the threads go; those at work finish what they do."""
        self._open_files.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _open(self, names: list[str], accept_encoding: str) -> OpenFile | Found | None:
        root = os.path.realpath(self._root)  # each time: it may be a link that a deployment moves
        place = _Place(root, self._without)
        asked_for_folder = not names[-1]
        target = place.resolve(os.path.join(place.root, *names))
        if target is None:
            return None
        if os.path.isdir(target):
            target = place.resolve(os.path.join(target, self._index))
            if target is None or not os.path.isfile(target):
                return None
            if not asked_for_folder:
                return Found.FOLDER
        elif asked_for_folder:
            return None
        return self._open_preferred(place, target, accept_encoding)

    def _open_preferred(self, place: _Place, target: str, accept_encoding: str) -> OpenFile | None:
        offered = _neighbours(place, target)
        coding = preferred_encoding(accept_encoding, list(offered)) if offered else None
        descriptor = place.open(offered[coding] if coding else target)
        if descriptor is None:
            return None
        file = OpenFile(descriptor, _Stamp.of(descriptor), os.path.basename(target), coding, varies=bool(offered))
        try:
            file.identify(self._digests, self._clock.time())
        except BaseException:
            file.close()
            raise
        return file


class _Place:
    """A root with all links resolved, and what is left out of it."""

    def __init__(self, root: str, without: str | None) -> None:
        self.root = root
        self._without = without

    def resolve(self, path: str) -> str | None:
        """Return `path` with all links resolved, `None` where that is outside the root, or left out."""
        resolved = os.path.realpath(path, strict=True)
        if self._without is not None and _is_below(resolved, self._without):
            return None
        return resolved if _is_below(resolved, self.root) else None

    def open(self, resolved: str) -> int | None:
        """Open a file folder by folder, following no link: what was resolved is what is opened. `None`: not a file."""
        *folders, name = os.path.relpath(resolved, self.root).split(os.sep)
        flags = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
        folder = os.open(self.root, flags)
        try:
            for inner in folders:
                outer, folder = folder, os.open(inner, flags | os.O_NOFOLLOW, dir_fd=folder)
                os.close(outer)
            return _open_file(name, folder)
        finally:
            os.close(folder)


class _Digests:
    """Digests of files that have settled; the least recently used go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Stamp, str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, descriptor: int, stamp: _Stamp) -> str | None:
        """Return the digest of the file's content, `None` where the file changes at this moment."""
        with self._lock:
            if stamp in self._kept:
                self._kept.move_to_end(stamp)
                return self._kept[stamp]
        digest = _hash_file(descriptor)
        if _Stamp.of(descriptor) != stamp:
            return None
        with self._lock:
            self._kept[stamp] = digest
            if len(self._kept) > _REMEMBERED_DIGESTS:
                self._kept.popitem(last=False)
        return digest


def _names(url_path: str) -> list[str] | None:
    """Split a path into names, the last one empty for a folder; `None` for one that is refused.

    Refused are NUL, backslashes, empty names, drives, and names that begin with a dot: `..`, `.git`, `.env`.
    `.well-known` may pass (RFC 8615).
    """
    if "\0" in url_path or "\\" in url_path:
        return None
    *folders, last = url_path.split("/")
    if not all(map(_is_served, folders)) or (last and not _is_served(last)):
        return None
    return [*folders, last]


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath([folder, path]) == folder


def _is_served(name: str) -> bool:
    return bool(name) and not _DRIVE.match(name) and (name[0] != "." or name == ".well-known")


def _neighbours(place: _Place, target: str) -> dict[str, str]:
    """Return the precompressed neighbours of a file that are at least as new, by their coding."""
    modified = os.stat(target).st_mtime_ns
    found = {}
    for coding, suffix in _SUFFIXES.items():
        try:
            neighbour = place.resolve(target + suffix)
            if neighbour and os.path.isfile(neighbour) and os.stat(neighbour).st_mtime_ns >= modified:
                found[coding] = neighbour
        except OSError:
            continue  # none, or not to be read: the file itself is there
    return found


def _open_file(name: str, folder: int) -> int | None:
    """Open a regular file, `None` for anything else: looked at before, because opening a device can do something."""
    if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        return None
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)  # it was put in the file's place in between
    return None


def _read(descriptor: int, offset: int, length: int) -> bytes:
    """Return `length` bytes from `offset`, fewer only at the end of the file."""
    parts = []
    while length > 0 and (part := os.pread(descriptor, length, offset)):
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


def _hash(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=16)


def _hash_file(descriptor: int) -> str:
    digest, offset = _hash(), 0
    while chunk := _read(descriptor, offset, CHUNK):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _close_unclaimed(opening: Future[OpenFile | Found | None]) -> None:
    if not opening.cancelled() and not opening.exception() and isinstance(opened := opening.result(), OpenFile):
        opened.close()
