"""Files that clients send: `multipart/form-data` (RFC 7578), streamed to disk.

All or nothing: files get their final names when the whole body has been right, and not before.
On a mistake, a cancellation, a client that vanishes or a full disk nothing is left in the folder.
What a killed process leaves are files named `.wshttp-upload-…`, which the next process sweeps away.

What two parallel uploads into one folder get: different names, always; neither sees or sweeps the other's files,
because a file that is being written is locked (`flock`), and a lock dies with its process.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from wshttp.errors import BadRequest, ContentTooLarge, StorageFull

LEFTOVER_PREFIX = ".wshttp-upload-"
"""How the name of an unfinished file begins; static files with such a name are never served."""

_WRITTEN_AT_ONCE = 256 * 1024
_LONGEST_NAME = 255
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")  # RFC 2046, section 5.1.1
_EXTENSION = re.compile(r"\.[0-9A-Za-z]{1,10}")
_FULL = {errno.ENOSPC, errno.EDQUOT}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file of an upload, on disk."""

    field: str
    """The name of its form field."""
    filename: str
    """What the client calls it, without folders and control characters; for display only, and may be empty."""
    path: Path
    """Where it is, under a name that the server made: 32 hexadecimal digits and the extension, if that is harmless."""
    size: int
    """In bytes."""
    content_type: str
    """What the client says that it is; nobody has checked."""
    sha256: str
    """Of the content, in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What a form brought: its files, in their order, and the values of its other fields by name."""

    files: list[SavedFile] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Limits:
    max_file_size: int
    max_files: int
    max_field_size: int
    max_fields: int


async def save_upload(
    body: AsyncIterator[bytes],
    content_type: str,
    folder: Path,
    *,
    max_file_size: int,
    max_files: int,
    max_field_size: int = 64 * 1024,
    max_fields: int = 100,
    accept: Callable[[str], bool] | None = None,
) -> Upload:
    """Read a form from `body` and save its files in `folder`, which is made if there is none.

    Sizes are in bytes; `0` for a limit means none.
    `content_type` is the request's header, for the boundary.
    `accept` is asked with each file's `filename` before a byte of it is written; `None` accepts all.
    Files are readable by the server's user only (0600).

    Raises `BadRequest` for a body that is not a form, is malformed or ends early, or a file that is not accepted,
    `ContentTooLarge` over a limit, `StorageFull`, and whatever `body` raises, such as `ClientDisconnected`.
    """
    parser = PushMultipartParser(_boundary(content_type))
    into = _Folder(folder)
    receiver = _Receiver(into, _Limits(max_file_size, max_files, max_field_size, max_fields), accept)
    try:
        await _in_thread(into.open)
        await _receive(body, parser, receiver)
        upload = await receiver.keep()
    except BaseException as error:  # a cancellation too, also one that comes when the files have their names already
        await _in_thread(into.discard)
        answer = _as_answer(error)
        if answer is error:
            raise
        raise answer from error
    into.close()
    return upload


def sweep_leftovers(folder: Path) -> int:
    """Delete what killed processes left unfinished in `folder`, and return how many files that were; blocking.

    `save_upload` does it before the first upload into a folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = [name for name in os.listdir(descriptor) if name.startswith(LEFTOVER_PREFIX)]
        return sum(_delete_abandoned(name, descriptor) for name in names)
    finally:
        os.close(descriptor)


async def _receive(body: AsyncIterator[bytes], parser: PushMultipartParser, receiver: _Receiver) -> None:
    async for chunk in body:
        if not chunk:
            continue  # to the parser, no bytes are the end
        for event in parser.parse(chunk):
            if isinstance(event, MultipartSegment):
                await receiver.begin(event)
            elif event is not None:
                await receiver.add(event)
            else:
                await receiver.end()
    parser.close()


class _Receiver:
    """Takes a form part by part; knows which are files and which are fields, and their limits."""

    def __init__(self, folder: _Folder, limits: _Limits, accept: Callable[[str], bool] | None) -> None:
        self._folder = folder
        self._limits = limits
        self._accept = accept
        self._files: list[_File] = []
        self._fields: dict[str, list[str]] = {}
        self._field_count = 0
        self._part: _File | _Field | None = None

    async def begin(self, segment: MultipartSegment) -> None:
        if not segment.name:
            raise BadRequest("a part of the form has no name")
        self._part = await self._begin_file(segment) if segment.filename else self._begin_field(segment)

    async def add(self, data: bytes) -> None:
        assert self._part is not None  # noqa: S101 (the parser gives a part's head before its bytes)
        await self._part.add(data)

    async def end(self) -> None:
        assert self._part is not None  # noqa: S101 (as in add)
        await self._part.end()
        if isinstance(self._part, _Field) and not self._part.is_empty_file:
            self._fields.setdefault(self._part.name, []).append(self._part.value())
        self._part = None

    async def keep(self) -> Upload:
        """Give all files their final names."""
        await _in_thread(self._folder.keep, [file.stored for file in self._files])
        return Upload([file.saved(self._folder.path) for file in self._files], self._fields)

    async def _begin_file(self, segment: MultipartSegment) -> _File:
        filename = _display_name(segment.filename or "")
        if self._limits.max_files and len(self._files) >= self._limits.max_files:
            raise ContentTooLarge(f"more files than max_files ({self._limits.max_files})")
        if self._accept is not None and not self._accept(filename):
            raise BadRequest(f"the file {filename!r} is not accepted here")
        stored = await _in_thread(self._folder.create, _extension(filename))
        file = _File(segment, filename, stored, self._limits.max_file_size)
        self._files.append(file)
        return file

    def _begin_field(self, segment: MultipartSegment) -> _Field:
        """Begin a field; browsers send a file input that was left empty as a file without a name."""
        self._field_count += 1
        if self._limits.max_fields and self._field_count > self._limits.max_fields:
            raise ContentTooLarge(f"more fields than max_fields ({self._limits.max_fields})")
        return _Field(segment.name, segment.filename is not None, self._limits.max_field_size)


class _Field:
    """A form field that is not a file; kept in memory."""

    def __init__(self, name: str, is_empty_file: bool, maximum: int) -> None:
        self.name = name
        self.is_empty_file = is_empty_file
        self._maximum = maximum
        self._data = bytearray()

    async def add(self, data: bytes) -> None:
        if self.is_empty_file:
            raise BadRequest("a file has no name")
        self._data += data
        if self._maximum and len(self._data) > self._maximum:
            raise ContentTooLarge(f"a field is over max_field_size ({self._maximum} bytes)")

    async def end(self) -> None:
        """Nothing is pending."""

    def value(self) -> str:
        try:
            return self._data.decode()
        except UnicodeDecodeError:
            raise BadRequest("a field is not UTF-8") from None


class _File:
    """A file on its way to disk: bytes are gathered, so that a thread has something to do when it is called."""

    def __init__(self, segment: MultipartSegment, filename: str, stored: _Stored, maximum: int) -> None:
        self.stored = stored
        self._field = segment.name
        self._filename = filename
        self._content_type = segment.content_type or "application/octet-stream"
        self._maximum = maximum
        self._size = 0
        self._pending = bytearray()

    async def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._maximum and self._size > self._maximum:
            raise ContentTooLarge(f"a file is over max_file_size ({self._maximum} bytes)")
        self._pending += data
        if len(self._pending) >= _WRITTEN_AT_ONCE:
            await self.end()

    async def end(self) -> None:
        pending, self._pending = self._pending, bytearray()
        if pending:
            await _in_thread(self.stored.write, pending)

    def saved(self, folder: Path) -> SavedFile:
        path = folder / self.stored.final_name
        return SavedFile(self._field, self._filename, path, self._size, self._content_type, self.stored.sha256())


# --- on disk; all of it blocking ----------------------------------------------------------------


class _Stored:
    """An open file under its temporary name, and the name that it will have."""

    def __init__(self, descriptor: int, temporary_name: str, final_name: str) -> None:
        self.descriptor = descriptor
        self.temporary_name = temporary_name
        self.final_name = final_name
        self._digest = hashlib.sha256()

    def write(self, data: bytearray) -> None:
        self._digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file, once; that unlocks it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class _Folder:
    """The folder of one upload, held open, so that its name may change meanwhile."""

    _swept: ClassVar[set[tuple[int, int]]] = set()  # device and inode of the folders that this process has swept
    _sweeping: ClassVar = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1
        self._stored: list[_Stored] = []

    def open(self) -> None:
        """Open the folder, made if need be, and swept if this process sees it for the first time."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        seen = os.fstat(self._descriptor)
        with self._sweeping:
            if (seen.st_dev, seen.st_ino) not in self._swept:
                sweep_leftovers(self.path)
                self._swept.add((seen.st_dev, seen.st_ino))

    def create(self, extension: str) -> _Stored:
        """Create a file under a temporary name, locked against sweeping."""
        while True:
            name = secrets.token_hex(16)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(LEFTOVER_PREFIX + name, flags, 0o600, dir_fd=self._descriptor)
            stored = _Stored(descriptor, LEFTOVER_PREFIX + name, name + extension)
            self._stored.append(stored)
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return stored  # else a sweep was quicker, and deletes it, or has

    def keep(self, files: list[_Stored]) -> None:
        """Give `files` their final names, and let go of them; until `close` they can still be discarded."""
        here = self._descriptor
        for stored in files:
            os.rename(stored.temporary_name, stored.final_name, src_dir_fd=here, dst_dir_fd=here)
        for stored in self._stored:
            stored.close()

    def discard(self) -> None:
        """Delete every file, under whichever name it has, and close the folder."""
        with ExitStack() as everything:  # goes on where a step fails, and raises in the end
            everything.callback(self.close)
            for stored in self._stored:
                everything.callback(_delete, stored.temporary_name, self._descriptor)
                everything.callback(_delete, stored.final_name, self._descriptor)
                everything.callback(stored.close)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _delete_abandoned(name: str, folder: int) -> bool:
    """Delete an unfinished file whose writer is gone; tell whether it was."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False  # finished meanwhile, or not ours: a link, another user's
    try:
        return _lock(descriptor) and _delete(name, folder)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    import fcntl  # here, as Windows has none, where `wshttp.engine` is of use all the same

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _delete(name: str, folder: int) -> bool:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


# --- names and headers --------------------------------------------------------------------------


def _boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data":
        raise BadRequest("an upload is sent as multipart/form-data")
    boundary: str = options.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadRequest("the Content-Type has no usable boundary")
    return boundary


def _as_answer(error: BaseException) -> BaseException:
    """Return the error that answers for `error`; itself where that says all."""
    if isinstance(error, ParserLimitReached):
        return ContentTooLarge(f"the head of a part is too long: {error.args[0]}")
    if isinstance(error, MultipartError):
        return BadRequest(f"the form is malformed: {error.args[0]}")
    return StorageFull() if isinstance(error, OSError) and error.errno in _FULL else error


def _display_name(filename: str) -> str:
    last = filename.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in last if character.isprintable())[:_LONGEST_NAME]


def _extension(filename: str) -> str:
    extension = os.path.splitext(filename)[1]
    return extension.lower() if _EXTENSION.fullmatch(extension) else ""


async def _in_thread(function: Callable[..., _T], *arguments: object) -> _T:
    """Call a blocking function in a thread, and return only when it is done, cancelled or not.

    A thread can't be stopped: what it works on must not be closed under it, or it would write into whatever file
    gets the same descriptor next.
    """
    work = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        work.exception()  # looked at, so that asyncio does not report it as forgotten
        raise cancelled
    return work.result()
