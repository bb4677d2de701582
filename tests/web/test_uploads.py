"""Uploads: forms that are right are saved as a whole, and of all others nothing is left."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler, stream_request_body

from wshttp.errors import BadRequest, ClientDisconnected, ContentTooLarge, StorageFull
from wshttp.web import uploads
from wshttp.web.uploads import LEFTOVER_PREFIX, Upload, save_upload, sweep_leftovers

FORM = "multipart/form-data; boundary=XX"


def part(name: str, data: bytes, filename: str | None = None, kind: str | None = None) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    type_line = f"Content-Type: {kind}\r\n" if kind else ""
    return b"--XX\r\n" + f"{disposition}\r\n{type_line}\r\n".encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--XX--\r\n"


async def chunks(data: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def save(
    data: bytes,
    folder: Path,
    *,
    size: int = 64 * 1024,
    content_type: str = FORM,
    max_file_size: int = 1024 * 1024,
    max_files: int = 3,
    max_field_size: int = 100,
    max_fields: int = 3,
    accept: Callable[[str], bool] | None = None,
) -> Upload:
    return await save_upload(
        chunks(data, size),
        content_type,
        folder,
        max_file_size=max_file_size,
        max_files=max_files,
        max_field_size=max_field_size,
        max_fields=max_fields,
        accept=accept,
    )


# --- what is right ------------------------------------------------------------------------------


@pytest.mark.feature("F3")
@pytest.mark.parametrize("size", [1, 7, 64 * 1024])
async def test_upload_saves_files_and_fields(tmp_path: Path, size: int) -> None:
    """However the body is cut, each byte arrives; names are the server's, the extension and the label the client's."""
    data = b"\r\n--X\r\n--XY" + os.urandom(2000)
    body = form(
        part("title", "Grüße".encode()),
        part("photo", data, "me.PNG", "image/png"),
        part("title", b""),
        part("notes", b"", "notes.txt"),
    )
    upload = await save(body, tmp_path, size=size)
    photo, notes = upload.files
    assert upload.fields == {"title": ["Grüße", ""]}
    assert (photo.field, photo.filename, photo.content_type, photo.size) == ("photo", "me.PNG", "image/png", len(data))
    assert photo.sha256 == hashlib.sha256(data).hexdigest()
    assert photo.path.read_bytes() == data
    assert photo.path.suffix == ".png"
    assert len(photo.path.stem) == 32
    assert stat.S_IMODE(photo.path.stat().st_mode) == 0o600
    assert (notes.size, notes.content_type, notes.path.read_bytes()) == (0, "application/octet-stream", b"")
    assert sorted(os.listdir(tmp_path)) == sorted(file.path.name for file in upload.files)


@pytest.mark.feature("F3")
async def test_upload_larger_than_what_is_written_at_once_arrives_whole(tmp_path: Path) -> None:
    """Bytes are gathered before they are written, and none is lost between."""
    data = os.urandom(900_001)
    upload = await save(form(part("f", data, "f.bin")), tmp_path, size=65_521)
    assert upload.files[0].path.read_bytes() == data


@pytest.mark.feature("F3")
async def test_upload_with_an_empty_chunk_goes_on(tmp_path: Path) -> None:
    """No bytes are not the end of a body."""

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"", GOOD, b"", b"--XX--"):
            yield piece

    upload = await save_upload(body(), FORM, tmp_path, max_file_size=0, max_files=0)
    assert upload.files[0].path.read_bytes() == b"good"


@pytest.mark.feature("F3")
async def test_upload_makes_the_folder(tmp_path: Path) -> None:
    """A folder that is not there yet is made, for the server's user only."""
    upload = await save(form(part("f", b"x", "f")), tmp_path / "a" / "b")
    assert upload.files[0].path.parent == tmp_path / "a" / "b"
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.feature("F3")
async def test_upload_of_an_empty_form_is_empty(tmp_path: Path) -> None:
    """A form without parts, and a file input that was left empty, bring nothing."""
    assert await save(form(), tmp_path) == Upload()
    assert await save(form(part("f", b"", "", "application/octet-stream")), tmp_path) == Upload()
    assert os.listdir(tmp_path) == []


@pytest.mark.feature("F3")
@pytest.mark.parametrize(
    ("named", "filename", "extension"),
    [
        ("../../etc/passwd", "passwd", ""),
        ("/etc/cron.d/job", "job", ""),
        ("C:\\\\Users\\\\me\\\\cv.pdf", "cv.pdf", ".pdf"),
        ("a\\\\b\\\\c.txt", "c.txt", ".txt"),
        ("..", "..", ""),
        ("a/", "", ""),
        ("x\0y\x1b[2Jz.txt", "xy[2Jz.txt", ".txt"),
        ("evil.php\u202egpj.exe", "evil.phpgpj.exe", ".exe"),
        ("a.tar.gz", "a.tar.gz", ".gz"),
        ("a.sh;rm", "a.sh;rm", ""),
        ("a.~1~", "a.~1~", ""),
        (".htaccess", ".htaccess", ""),
        ("a." + "x" * 11, "a." + "x" * 11, ""),
        ("n" * 300, "n" * 255, ""),
    ],
)
async def test_upload_name_never_reaches_the_disk(tmp_path: Path, named: str, filename: str, extension: str) -> None:
    """A name is shown without folders and control characters; of it only a harmless extension names the file."""
    (tmp_path / "into").mkdir()
    upload = await save(form(part("f", b"x", named)), tmp_path / "into")
    (file,) = upload.files
    assert (file.filename, file.path.suffix, file.path.parent) == (filename, extension, tmp_path / "into")
    assert os.listdir(tmp_path) == ["into"]


@pytest.mark.feature("F3")
async def test_upload_limit_of_zero_is_none(tmp_path: Path) -> None:
    """As everywhere in the settings."""
    body = form(*(part(f"f{n}", b"x" * 200, "f") for n in range(5)), *(part("v", b"y" * 200) for _ in range(5)))
    upload = await save(body, tmp_path, max_file_size=0, max_files=0, max_field_size=0, max_fields=0)
    assert (len(upload.files), len(upload.fields["v"])) == (5, 5)


# --- what is wrong ------------------------------------------------------------------------------

GOOD = part("f", b"good", "good.txt")


@pytest.mark.feature("F3")
@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "application/x-www-form-urlencoded",
        "multipart/mixed; boundary=XX",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a\nb"',
        'multipart/form-data; boundary="ends in space "',
        "multipart/form-data; boundary=" + "x" * 71,
        "multipart/form-data; boundary=ü",
    ],
)
async def test_upload_that_is_no_form_is_refused(tmp_path: Path, content_type: str) -> None:
    """Nothing but multipart/form-data with a usable boundary is read."""
    with pytest.raises(BadRequest):
        await save(form(GOOD), tmp_path, content_type=content_type)
    assert os.listdir(tmp_path) == []


@pytest.mark.feature("F3")
@pytest.mark.parametrize("size", [1, 64 * 1024])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", BadRequest),
        (b"nonsense" * 100, BadRequest),
        (GOOD, BadRequest),
        (GOOD + b"--XX", BadRequest),
        (GOOD + b'--XX\r\nContent-Disposition: form-data; name="g"', BadRequest),
        (GOOD + b"--XX\r\n\r\nno head\r\n--XX--\r\n", BadRequest),
        (form(GOOD, b"--XX\r\nContent-Disposition: attachment\r\n\r\nx\r\n"), BadRequest),
        (form(GOOD, b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n"), BadRequest),
        (form(GOOD, b"--XX\r\nNot a header\r\n\r\nx\r\n"), BadRequest),
        (form(GOOD, b"--XX\r\nBad\xff: x\r\n\r\nx\r\n"), BadRequest),
        (form(GOOD, part("", b"x")), BadRequest),
        (form(GOOD, part("v", b"\xff\xfe")), BadRequest),
        (form(GOOD, part("g", b"bytes", "")), BadRequest),
        (form(GOOD).replace(b"\r\n", b"\n"), BadRequest),
        (form(GOOD, part("g", b"x" * 1001, "g")), ContentTooLarge),
        (form(GOOD, part("g", b"", "g"), part("h", b"", "h"), part("i", b"", "i")), ContentTooLarge),
        (form(GOOD, part("v", b"x" * 101)), ContentTooLarge),
        (form(GOOD, *(part("v", b"x") for _ in range(4))), ContentTooLarge),
        (form(GOOD, *(part("v", b"", "") for _ in range(4))), ContentTooLarge),
        (form(GOOD, b"--XX\r\nX: " + b"y" * 5000 + b"\r\n\r\nx\r\n"), ContentTooLarge),
        (form(GOOD, b"--XX\r\n" + b"X: y\r\n" * 9 + b"\r\nx\r\n"), ContentTooLarge),
    ],
)
async def test_upload_that_is_wrong_leaves_nothing(
    tmp_path: Path, body: bytes, error: type[Exception], size: int
) -> None:
    """One mistake in a form, wherever it is, and none of its files is kept."""
    with pytest.raises(error):
        await save(body, tmp_path, size=size, max_file_size=1000)
    assert os.listdir(tmp_path) == []


@pytest.mark.feature("F3")
async def test_upload_over_a_limit_is_stopped_at_once(tmp_path: Path) -> None:
    """The rest of a body that is too large is not read."""
    read = []

    async def endless() -> AsyncIterator[bytes]:
        yield b'--XX\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
        while True:
            read.append(1000)
            yield b"x" * 1000

    with pytest.raises(ContentTooLarge, match="max_file_size"):
        await save_upload(endless(), FORM, tmp_path, max_file_size=5000, max_files=1)
    assert sum(read) == 6000
    assert os.listdir(tmp_path) == []


@pytest.mark.feature("F3")
async def test_upload_that_is_not_accepted_is_refused(tmp_path: Path) -> None:
    """The application says by its name whether it takes a file, before a byte of it is written."""
    asked = []

    def only_text(filename: str) -> bool:
        asked.append((filename, len(os.listdir(tmp_path))))
        return filename.endswith(".txt")

    with pytest.raises(BadRequest, match=r"virus\.exe"):
        await save(form(GOOD, part("g", b"x", "../virus.exe")), tmp_path, accept=only_text)
    assert asked == [("good.txt", 0), ("virus.exe", 1)]
    assert os.listdir(tmp_path) == []


@pytest.mark.feature("F3")
async def test_upload_whose_client_vanishes_leaves_nothing(tmp_path: Path) -> None:
    """What the body raises passes through."""

    async def cut() -> AsyncIterator[bytes]:
        yield GOOD
        yield part("g", b"x" * 500_000, "g")[:-2]
        assert len(os.listdir(tmp_path)) == 2
        raise ClientDisconnected

    with pytest.raises(ClientDisconnected):
        await save_upload(cut(), FORM, tmp_path, max_file_size=0, max_files=0)
    assert os.listdir(tmp_path) == []


@pytest.mark.feature("F3")
async def test_upload_that_is_cancelled_while_it_waits_leaves_nothing(tmp_path: Path) -> None:
    """A time-out around it is enough to clean up."""
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield GOOD + part("g", b"x" * 500_000, "g")[:-2]
        waiting.set()
        await asyncio.Event().wait()

    saving = asyncio.create_task(save_upload(stalled(), FORM, tmp_path, max_file_size=0, max_files=0))
    await waiting.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert os.listdir(tmp_path) == []


@pytest.mark.feature("F3")
@pytest.mark.parametrize("step", ["open", "create", "write", "keep"])
async def test_upload_that_is_cancelled_while_a_thread_works_leaves_nothing(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread is waited for, its file closed after it and not before, and names that were given are taken back."""
    loop, working = asyncio.get_running_loop(), asyncio.Event()
    owner = uploads._Stored if step == "write" else uploads._Folder
    real = getattr(owner, step)
    going = threading.Event()

    def slow(*arguments: object) -> object:
        loop.call_soon_threadsafe(working.set)
        assert going.wait(10)
        return real(*arguments)

    monkeypatch.setattr(owner, step, slow)
    before = len(os.listdir("/proc/self/fd"))
    saving = asyncio.create_task(save(form(GOOD), tmp_path))
    await asyncio.wait_for(working.wait(), 10)
    saving.cancel()
    await asyncio.sleep(0)
    saving.cancel()
    assert not saving.done()
    going.set()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.feature("F3")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["write", "rename"])
async def test_upload_to_a_full_disk_leaves_nothing(
    tmp_path: Path, step: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room is an error of its own; files that had their final names already lose them again."""
    real, calls = getattr(os, step), []

    def full(*arguments: object, **named: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    monkeypatch.setattr(os, step, full)
    with pytest.raises(StorageFull):
        await save(form(GOOD, part("g", b"x", "g"), part("h", b"x", "h")), tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.feature("F3")
async def test_upload_that_fails_otherwise_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other faults of the machine are not dressed up."""

    def broken(*arguments: object) -> None:
        raise OSError(errno.EIO, "disk on fire")

    monkeypatch.setattr(os, "write", broken)
    with pytest.raises(OSError, match="disk on fire"):
        await save(form(GOOD), tmp_path)
    assert os.listdir(tmp_path) == []


# --- the folder ---------------------------------------------------------------------------------


@pytest.mark.feature("F3")
async def test_uploads_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    """Parallel uploads of the same name into one folder each keep their own, also while somebody sweeps."""

    async def one(number: int) -> Upload:
        async def body() -> AsyncIterator[bytes]:
            for piece in (part("f", str(number).encode() * 300_000, "same.txt"), b"--XX--"):
                yield piece
                await asyncio.to_thread(sweep_leftovers, tmp_path)

        return await save_upload(body(), FORM, tmp_path, max_file_size=0, max_files=0)

    saved = await asyncio.gather(*map(one, range(8)))
    assert [upload.files[0].path.read_bytes()[:1] for upload in saved] == [str(n).encode() for n in range(8)]
    assert len(os.listdir(tmp_path)) == 8


@pytest.mark.feature("F3")
async def test_upload_does_not_follow_links_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even who guesses a name can't make an upload write elsewhere."""
    (tmp_path / "precious").write_text("precious")
    into = tmp_path / "into"
    into.mkdir()
    (into / (LEFTOVER_PREFIX + "guessed")).symlink_to(tmp_path / "precious")
    (into / "guessed.txt").symlink_to(tmp_path / "precious")
    names = iter(["guessed", "guessed"])
    monkeypatch.setattr(uploads.secrets, "token_hex", lambda length: next(names))
    with pytest.raises(FileExistsError):
        await save(form(GOOD), into)
    (into / (LEFTOVER_PREFIX + "guessed")).unlink()
    upload = await save(form(GOOD), into)
    assert upload.files[0].path.is_symlink() is False
    assert (tmp_path / "precious").read_text() == "precious"


KILLED = """
import asyncio, sys
from pathlib import Path
from wshttp.web.uploads import save_upload

async def body():
    yield b'--XX\\r\\nContent-Disposition: form-data; name="f"; filename="f"\\r\\n\\r\\n' + b"x" * 500_000
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(save_upload(body(), "multipart/form-data; boundary=XX", Path(sys.argv[1]), max_file_size=0, max_files=0))
"""


@pytest.mark.feature("F3")
def test_leftovers_of_a_killed_process_are_swept_and_of_a_living_one_are_not(tmp_path: Path) -> None:
    """A file that is being written is nobody else's to sweep; once its writer is killed, it is."""
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(uploads.__file__).parents[2]) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        assert sweep_leftovers(tmp_path) == 0
        assert len(os.listdir(tmp_path)) == 1
        writer.send_signal(signal.SIGKILL)
    assert len(os.listdir(tmp_path)) == 1
    (tmp_path / "keep.txt").write_text("not ours")
    (tmp_path / (LEFTOVER_PREFIX + "link")).symlink_to("keep.txt")
    assert sweep_leftovers(tmp_path) == 1
    assert sorted(os.listdir(tmp_path)) == [LEFTOVER_PREFIX + "link", "keep.txt"]


@pytest.mark.feature("F3")
async def test_first_upload_into_a_folder_sweeps_it(tmp_path: Path) -> None:
    """Once per process: later leftovers are of this process, which cleans up by itself."""
    leftover = tmp_path / (LEFTOVER_PREFIX + "old")
    for expected in (False, True):
        leftover.write_text("old")
        await save(form(), tmp_path)
        assert leftover.exists() is expected


@pytest.mark.feature("F3")
@pytest.mark.parametrize("sweeper_is_still_there", [True, False])
async def test_upload_whose_file_is_swept_before_it_is_locked_takes_another(
    tmp_path: Path, sweeper_is_still_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making and the locking of a file there is a moment; who loses it tries again."""
    await save(form(), tmp_path)
    real, swept = fcntl.flock, []

    def beaten(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append(0)
            swept[0] = sweep_leftovers(tmp_path)
            if sweeper_is_still_there:
                raise BlockingIOError
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", beaten)
    upload = await save(form(GOOD), tmp_path)
    assert swept == [1]
    assert os.listdir(tmp_path) == [upload.files[0].path.name]


# --- over HTTP ----------------------------------------------------------------------------------


@pytest.mark.feature("F3")
async def test_upload_over_http_is_streamed(tmp_path: Path) -> None:
    """A body that comes through a real server, larger than its buffers, is saved as it comes."""
    results: asyncio.Queue[Upload] = asyncio.Queue()

    @stream_request_body
    class Receive(RequestHandler):
        def prepare(self) -> None:
            self.queue: asyncio.Queue[bytes] = asyncio.Queue(1)
            self.saving = asyncio.create_task(
                save_upload(self.chunks(), self.request.headers["Content-Type"], tmp_path, max_file_size=0, max_files=1)
            )

        async def chunks(self) -> AsyncIterator[bytes]:
            while chunk := await self.queue.get():
                yield chunk

        async def data_received(self, chunk: bytes) -> None:
            await self.queue.put(chunk)

        async def post(self) -> None:
            await self.queue.put(b"")
            results.put_nowait(await self.saving)

    sock, port = bind_unused_port()
    server = HTTPServer(Application([("/", Receive)]))
    server.add_sockets([sock])
    data = os.urandom(3_000_000)
    try:
        answer = await AsyncHTTPClient().fetch(
            f"http://127.0.0.1:{port}/", method="POST", headers={"Content-Type": FORM}, body=form(part("f", data, "f"))
        )
    finally:
        server.stop()
        await server.close_all_connections()
    assert answer.code == 200
    assert results.get_nowait().files[0].path.read_bytes() == data
