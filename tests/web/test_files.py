"""Static files over a real socket, asked for with raw bytes."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engines
import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders
from tornado.netutil import bind_sockets
from tornado.web import Application

from wshttp.engine.http_answer import HttpAnswer
from wshttp.testing import FakeClock
from wshttp.web.file_root import CHUNK, HASHED_UP_TO, FileRoot, OpenFile
from wshttp.web.files import READ_LAST, SECURITY_HEADERS, FilesHandler


@dataclass
class Answer:
    status: int
    headers: HTTPHeaders
    body: bytes


class Served:
    """A folder that is served on a port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.cache = 0.0

    async def ask(self, target: str | bytes, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        """Send one request, the target as it is, and read the answer to its end."""
        head = {"Host": "localhost", "Connection": "close"} | (headers or {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        target = target if isinstance(target, bytes) else target.encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(method.encode() + b" " + target + b" HTTP/1.1\r\n" + lines.encode() + b"\r\n")
        raw = await reader.read()
        writer.close()
        await writer.wait_closed()
        head_lines, _, body = raw.partition(b"\r\n\r\n")
        start, _, rest = head_lines.decode("latin-1").partition("\r\n")
        return Answer(int(start.split()[1]), HTTPHeaders.parse(rest), body)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (root / "index.html").write_text("<p>home")
    (root / "docs" / "index.html").write_text("docs")
    (root / "digits.txt").write_text("0123456789")
    (tmp_path / "secret.txt").write_text("secret")
    return root


@asynccontextmanager
async def serve(folder: Path, age: float = 60.0, **settings: Any) -> AsyncIterator[Served]:
    """Serve `folder`, whose files have last changed `age` seconds ago or before: all have settled.

    `settings` are those of Tornado's application.
    """
    files = FileRoot(folder, clock=FakeClock(time=time.time() + age))
    (listener,) = bind_sockets(0, "127.0.0.1", family=socket.AF_INET)
    served = Served(folder, listener.getsockname()[1])
    routes = [(r"/(.*)", FilesHandler, {"root": files, "cache": lambda: served.cache})]
    server = HTTPServer(Application(routes, **settings))
    server.add_sockets([listener])
    try:
        yield served
    finally:
        server.stop()
        await server.close_all_connections()
        files.close()


# --- what is answered ---------------------------------------------------------------------------


@pytest.mark.feature("F1")
async def test_file_is_sent_with_all_its_headers(folder: Path) -> None:
    """A file comes whole, described, and with the headers that keep it safe."""
    async with serve(folder) as served:
        answer = await served.ask("/")
    assert (answer.status, answer.body) == (200, b"<p>home")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["Content-Length"] == "7"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["ETag"].startswith('"')
    assert answer.headers["Last-Modified"].endswith("GMT")
    assert "Vary" not in answer.headers
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value


@pytest.mark.feature("F1")
async def test_empty_file_is_sent(folder: Path) -> None:
    """Nothing is something to send."""
    (folder / "empty.css").write_bytes(b"")
    async with serve(folder) as served:
        answer = await served.ask("/empty.css")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.feature("F2")
async def test_cache_is_read_for_each_answer(folder: Path) -> None:
    """`static.cache` may change while the server runs; less than a second is none."""
    async with serve(folder) as served:
        for seconds, expected in ((3600.0, "public, max-age=3600"), (0.5, "no-cache"), (0.0, "no-cache")):
            served.cache = seconds
            assert (await served.ask("/")).headers["Cache-Control"] == expected


@pytest.mark.feature("F1")
async def test_head_is_get_without_the_body(folder: Path) -> None:
    """HEAD answers with the same headers, also for a file that has no tag, and knows no ranges."""
    (folder / "large.bin").write_bytes(bytes(CHUNK + 1))
    async with serve(folder) as served:
        for path in ("/", "/large.bin", "/nothing"):
            got, head = await served.ask(path), await served.ask(path, "HEAD")
            assert head.body == b""
            assert head.status == got.status
            assert {**head.headers, "Date": ""} == {**got.headers, "Date": ""}
        assert (await served.ask("/digits.txt", "HEAD", {"Range": "bytes=1-2"})).status == 200


@pytest.mark.feature("F2")
@pytest.mark.parametrize("size", [CHUNK + 1, HASHED_UP_TO + 1])
async def test_large_file_that_changed_just_now_has_no_tag_in_get_and_head(folder: Path, size: int) -> None:
    """Tornado's own tag, made of what is buffered, never takes the place of one that is missing."""
    (folder / "large.bin").write_bytes(bytes(size))
    async with serve(folder, age=0) as served:
        for method in ("HEAD", "GET"):
            answer = await served.ask("/large.bin", method)
            assert answer.status == 200
            assert "ETag" not in answer.headers
            assert "Last-Modified" not in answer.headers


@pytest.mark.feature("F1")
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "BREW"])
async def test_other_methods_are_refused_with_allow(folder: Path, method: str) -> None:
    """405 says what is allowed."""
    async with serve(folder) as served:
        answer = await served.ask("/index.html", method, {"Content-Length": "0"})
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_options_says_what_is_allowed(folder: Path) -> None:
    """OPTIONS is answered without a body."""
    async with serve(folder) as served:
        answer = await served.ask("/index.html", "OPTIONS")
    assert (answer.status, answer.headers["Allow"], answer.body) == (204, "GET, HEAD, OPTIONS", b"")


@pytest.mark.feature("F1")
async def test_folder_without_slash_is_redirected_to_itself(folder: Path) -> None:
    """The query stays; the target is on this host."""
    async with serve(folder) as served:
        answer = await served.ask("/docs?a=1&b=%2F")
        assert (answer.status, answer.headers["Location"]) == (301, "/docs/?a=1&b=%2F")
        assert (await served.ask("/docs/")).body == b"docs"
        (folder / "a b").symlink_to("docs")
        assert (await served.ask("/a%20b")).headers["Location"] == "/a%20b/"


@pytest.mark.feature("F1")
@pytest.mark.parametrize("target", ["//docs", "/%2Fdocs", "/%5Cdocs", "/\\docs", "//evil.example/docs", "/%5c%5cdocs"])
async def test_redirect_never_leads_to_another_host(folder: Path, target: str) -> None:
    """What a browser would read as a host is not there."""
    (folder / "evil.example" / "docs").mkdir(parents=True)
    (folder / "evil.example" / "docs" / "index.html").write_text("evil")
    (folder / "evil.example" / "index.html").write_text("evil")
    async with serve(folder) as served:
        answer = await served.ask(target)
    assert answer.status == 404
    assert "Location" not in answer.headers


# --- no path leaves the root --------------------------------------------------------------------


@pytest.mark.feature("F1")
@pytest.mark.parametrize(
    "target",
    [
        b"/../secret.txt",
        b"/docs/../../secret.txt",
        b"/%2e%2e/secret.txt",
        b"/%2E%2E%2Fsecret.txt",
        b"/..%2fsecret.txt",
        b"/docs/%2e%2e/%2e%2e/secret.txt",
        b"/%252e%252e/secret.txt",
        b"/%252e%252e%252fsecret.txt",
        b"/..\\secret.txt",
        b"/..%5csecret.txt",
        b"/docs%5c..%5c..%5csecret.txt",
        b"/%c0%ae%c0%ae/secret.txt",
        b"/%00",
        b"/index.html%00",
        b"/index.html%00.txt",
        b"/%2fetc/passwd",
        b"//etc/passwd",
        b"/file:///etc/passwd",
        b"/C:/secret.txt",
        b"/C%3a%5csecret.txt",
        b"/.git/config",
        b"/%2egit/config",
        b"/docs//index.html",
        b"/docs/./index.html",
        b"/index.html/",
        b"/%",
        b"/%zz",
        b"/" + b"x" * 5000,
    ],
)
async def test_path_that_may_not_be_served_is_refused(folder: Path, target: bytes) -> None:
    """Decoded once, refused once: no spelling of a path gets out."""
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    async with serve(folder) as served:
        answer = await served.ask(target)
    assert answer.status in (400, 404)
    assert b"secret" not in answer.body
    assert b"root:" not in answer.body
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.feature("F1")
async def test_name_is_decoded_once(folder: Path) -> None:
    """A file whose name holds a percent sign is found under that name, and no other file is."""
    (folder / "%41.txt").write_text("percent")
    (folder / "A.txt").write_text("letter")
    (folder / "ü +.txt").write_text("umlaut")
    async with serve(folder) as served:
        assert (await served.ask("/%2541.txt")).body == b"percent"
        assert (await served.ask("/%41.txt")).body == b"letter"
        assert (await served.ask("/%C3%BC%20+.txt")).body == b"umlaut"


# --- conditional, ranges, codings ---------------------------------------------------------------


@pytest.mark.feature("F2")
async def test_copy_that_is_still_right_is_not_sent_again(folder: Path) -> None:
    """304 by tag and by date, with what a cache needs and no body; the connection goes on."""
    async with serve(folder) as served:
        first = await served.ask("/digits.txt")
        for condition in (
            {"If-None-Match": first.headers["ETag"]},
            {"If-None-Match": "W/" + first.headers["ETag"]},
            {"If-Modified-Since": first.headers["Last-Modified"]},
        ):
            again = await served.ask("/digits.txt", headers=condition)
            assert (again.status, again.body) == (304, b"")
            assert again.headers["ETag"] == first.headers["ETag"]
            assert again.headers["Cache-Control"] == "no-cache"
        assert (await served.ask("/digits.txt", headers={"If-Match": '"x"'})).status == 412


@pytest.mark.feature("F2")
async def test_copy_of_a_changed_file_is_never_called_right(folder: Path) -> None:
    """Same size, same time, other content: 200, by tag and by date."""
    file = folder / "digits.txt"
    os.utime(file, (1000, 1000))
    async with serve(folder) as served:
        first = await served.ask("/digits.txt")
        file.write_text("9876543210")
        os.utime(file, (1000, 1000))
        again = await served.ask("/digits.txt", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, again.body) == (200, b"9876543210")
        assert again.headers["ETag"] != first.headers["ETag"]


@pytest.mark.feature("F2")
async def test_range_is_sent_alone(folder: Path) -> None:
    """206 with its place; several get the whole; outside is 416 with the size."""
    async with serve(folder) as served:
        for asked, status, body, place in (
            ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
            ("bytes=-1", 206, b"9", "bytes 9-9/10"),
            ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
            ("bytes=0-1,3-4", 200, b"0123456789", None),
            ("bytes=nonsense", 200, b"0123456789", None),
            ("bytes=10-", 416, b"", "bytes */10"),
        ):
            answer = await served.ask("/digits.txt", headers={"Range": asked})
            assert (answer.status, answer.body, answer.headers.get("Content-Range")) == (status, body, place)
            assert answer.headers["Content-Length"] == str(len(body))


@pytest.mark.feature("F2")
async def test_range_of_another_copy_gets_the_whole(folder: Path) -> None:
    """If-Range keeps a client from gluing two states together."""
    async with serve(folder) as served:
        tag = (await served.ask("/digits.txt")).headers["ETag"]
        for condition, status in ((tag, 206), ('"x"', 200), ("W/" + tag, 200)):
            answer = await served.ask("/digits.txt", headers={"Range": "bytes=0-1", "If-Range": condition})
            assert answer.status == status


@pytest.mark.feature("F2")
async def test_range_of_a_large_file_is_its_very_bytes(folder: Path) -> None:
    """A range over several chunks begins and ends where it should."""
    data = os.urandom(CHUNK * 3 + 5)
    (folder / "large.bin").write_bytes(data)
    async with serve(folder) as served:
        answer = await served.ask("/large.bin", headers={"Range": f"bytes=7-{CHUNK * 2 + 9}"})
    assert (answer.status, answer.body == data[7 : CHUNK * 2 + 10]) == (206, True)


@pytest.mark.feature("F2")
async def test_precompressed_neighbour_is_sent_for_the_file(folder: Path) -> None:
    """The type is the file's, the coding is said, the tag is its own; a 304 says it varies, too."""
    (folder / "a.js").write_text("plain")
    (folder / "a.js.gz").write_text("packed")
    async with serve(folder) as served:
        plain = await served.ask("/a.js")
        packed = await served.ask("/a.js", headers={"Accept-Encoding": "gzip"})
        again = await served.ask("/a.js", headers={"Accept-Encoding": "gzip", "If-None-Match": packed.headers["ETag"]})
    assert (packed.body, packed.headers["Content-Encoding"]) == (b"packed", "gzip")
    assert packed.headers["Content-Type"] == plain.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert [answer.headers["Vary"] for answer in (plain, packed, again)] == ["Accept-Encoding"] * 3
    assert again.status == 304
    assert "Content-Encoding" not in plain.headers


# --- large files --------------------------------------------------------------------------------


@pytest.mark.feature("F2")
async def test_large_file_arrives_whole(folder: Path) -> None:
    """What is streamed is what is on disk."""
    data = os.urandom(HASHED_UP_TO + CHUNK // 2)
    (folder / "large.bin").write_bytes(data)
    async with serve(folder) as served:
        answer = await served.ask("/large.bin")
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(data).digest()


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the native engine read what it sends, as it does over TLS; stock Tornado knows nothing else."""
    monkeypatch.setattr(HttpAnswer, "sends_files", False)


@pytest.mark.feature("F2")
@pytest.mark.parametrize("part", [None, (5, HASHED_UP_TO + 7)])
async def test_large_file_is_sent_by_the_system_where_it_can_be(
    folder: Path, part: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its end passes through this process, which finds out whether it is still the file that was promised."""
    data = os.urandom(HASHED_UP_TO + CHUNK)
    (folder / "large.bin").write_bytes(data)
    read: list[tuple[int, int]] = []
    real = OpenFile.read
    monkeypatch.setattr(
        OpenFile, "read", lambda file, offset, length: (read.append((offset, length)), real(file, offset, length))[1]
    )
    first, last = part or (0, len(data) - 1)
    async with serve(folder) as served:
        answer = await served.ask("/large.bin", headers={"Range": f"bytes={first}-{last}"} if part else None)
    assert answer.body == data[first : last + 1]
    if engines.is_native():
        assert read == [(last + 1 - READ_LAST, READ_LAST)]
    else:
        assert len(read) > 1


@pytest.mark.feature("F2")
async def test_large_file_that_is_compressed_on_its_way_is_read(folder: Path) -> None:
    """A program's own transforms have to see what is sent."""
    data = b"body { color: #123456 }\n" * 100_000
    (folder / "large.css").write_bytes(data)
    async with serve(folder, compress_response=True) as served:
        answer = await served.ask("/large.css", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Content-Length" not in answer.headers
    chunks, plain = answer.body, b""
    while chunks:
        size, _, chunks = chunks.partition(b"\r\n")
        plain, chunks = plain + chunks[: int(size, 16)], chunks[int(size, 16) + 2 :]
    assert gzip.decompress(plain) == data


@pytest.mark.feature("F2")
@pytest.mark.parametrize("spoil", ["shorten", "rewrite"])
async def test_large_file_that_changes_before_its_end_is_sent_is_cut(
    folder: Path, spoil: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However it is sent, it never looks whole."""
    file, size = folder / "large.bin", CHUNK * 4
    file.write_bytes(b"a" * size)
    os.utime(file, (1000, 1000))
    real = FileRoot.read

    async def spoiling(files: FileRoot, opened: OpenFile, offset: int, wanted: int) -> bytes:
        os.truncate(file, CHUNK * 2 + 1) if spoil == "shorten" else file.write_bytes(b"b" * size)
        return await real(files, opened, offset, wanted)

    monkeypatch.setattr(FileRoot, "read", spoiling)
    async with serve(folder) as served:
        with caplog.at_level(logging.INFO):
            answer = await served.ask("/large.bin", headers={"Connection": "keep-alive"})
    assert answer.headers["Content-Length"] == str(size)
    assert len(answer.body) < size
    assert "large.bin changed while it was sent" in caplog.text
    assert "Traceback" not in caplog.text
    assert "Uncaught" not in caplog.text


@pytest.mark.feature("F2")
@pytest.mark.usefixtures("in_pieces")
async def test_chunk_is_read_only_when_the_one_before_has_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads nothing holds one chunk in the server, and the loop answers others meanwhile."""
    (folder / "large.bin").write_bytes(bytes(64 * 1024 * 1024))
    flushing: list[asyncio.Future[None]] = []
    early: list[int] = []
    real_read, real_flush = FileRoot.read, FilesHandler.flush

    async def read(files: FileRoot, opened: OpenFile, offset: int, wanted: int) -> bytes:
        if flushing and not flushing[-1].done():
            early.append(offset)
        return await real_read(files, opened, offset, wanted)

    def flush(handler: FilesHandler, include_footers: bool = False) -> asyncio.Future[None]:
        flushing.append(real_flush(handler, include_footers))
        return flushing[-1]

    monkeypatch.setattr(FileRoot, "read", read)
    monkeypatch.setattr(FilesHandler, "flush", flush)
    async with serve(folder) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        writer.write(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _ in range(20):
            assert (await served.ask("/digits.txt")).status == 200
        writer.transport.abort()
    assert len(flushing) > 0
    assert early == []


@pytest.mark.feature("F2")
@pytest.mark.parametrize("spoil", ["shorten", "rewrite"])
@pytest.mark.usefixtures("in_pieces")
async def test_file_that_changes_while_it_is_sent_is_cut(
    folder: Path, spoil: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets fewer bytes than promised and a closed connection, never padding or a mixture."""
    file, size = folder / "large.bin", CHUNK * 4
    file.write_bytes(b"a" * size)
    os.utime(file, (1000, 1000))
    real = FileRoot.read

    async def spoiling(files: FileRoot, opened: OpenFile, offset: int, wanted: int) -> bytes:
        if offset == CHUNK * 2:
            os.truncate(file, CHUNK * 2 + 1) if spoil == "shorten" else file.write_bytes(b"b" * size)
        return await real(files, opened, offset, wanted)

    monkeypatch.setattr(FileRoot, "read", spoiling)
    async with serve(folder) as served:
        with caplog.at_level(logging.INFO):
            answer = await served.ask("/large.bin", headers={"Connection": "keep-alive"})
    assert answer.headers["Content-Length"] == str(size)
    assert answer.body == b"a" * CHUNK * 2
    assert "large.bin changed while it was sent" in caplog.text
    assert "Traceback" not in caplog.text
    assert "Uncaught" not in caplog.text


@pytest.mark.feature("F2")
async def test_file_that_cannot_be_read_to_its_end_is_cut(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its header has been sent: nothing else can tell the client, and the log says it in a line."""
    size = CHUNK * 4
    (folder / "large.bin").write_bytes(bytes(size))
    real = FileRoot.read

    async def failing(files: FileRoot, opened: OpenFile, offset: int, wanted: int) -> bytes:
        if offset >= CHUNK:
            raise OSError(5, "Input/output error")
        return await real(files, opened, offset, wanted)

    monkeypatch.setattr(FileRoot, "read", failing)
    async with serve(folder) as served:
        with caplog.at_level(logging.INFO):
            answer = await served.ask("/large.bin", headers={"Connection": "keep-alive"})
        assert (await served.ask("/")).status == 200
    assert answer.headers["Content-Length"] == str(size)
    assert len(answer.body) < size
    assert "large.bin cannot be read: Input/output error; the connection is cut" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.feature("F2")
async def test_client_that_leaves_in_the_middle_leaves_nothing_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is closed and nothing is reported."""
    (folder / "large.bin").write_bytes(bytes(64 * 1024 * 1024))
    monkeypatch.setattr("wshttp.web.open_files.MOST", 0)  # or one descriptor would wait for who asks next
    closed = asyncio.Event()
    real = FilesHandler.on_finish
    monkeypatch.setattr(FilesHandler, "on_finish", lambda handler: (real(handler), closed.set())[0])
    async with serve(folder) as served:
        before = len(os.listdir("/proc/self/fd"))
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readexactly(CHUNK)
        writer.transport.abort()
        await asyncio.wait_for(closed.wait(), 10)
        assert len(os.listdir("/proc/self/fd")) <= before + 1
    assert "Traceback" not in caplog.text


@pytest.mark.feature("F1")
async def test_machine_that_fails_is_503(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptors left is not the same as no such file."""

    def failing(*arguments: object) -> None:
        raise OSError(24, "Too many open files")

    async with serve(folder) as served:
        monkeypatch.setattr(FileRoot, "open", failing)
        assert (await served.ask("/index.html")).status == 503
