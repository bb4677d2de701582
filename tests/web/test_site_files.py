"""Files of a server, from the folder and from memory: nobody can tell which, but for the time it takes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from browsing import Browser, problem
from serving import fetch, new_server, running
from tornado.web import RequestHandler

from wshttp import Server
from wshttp.testing import FakeClock
from wshttp.web.file_cache import KEPT_FOR
from wshttp.web.file_root import FileRoot


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files count as settled at once."""
    monkeypatch.setattr("wshttp.web.file_root.SETTLES_AFTER", -60.0)
    (tmp_path / "file.css").write_text("content")
    (tmp_path / "index.html").write_text("<p>home")
    (tmp_path / "large.bin").write_bytes(bytes(64 * 1024 + 1))
    return tmp_path


class Looks:
    """Counts how often the folder is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        fetch = FileRoot.fetch

        async def counted(root: FileRoot, *arguments: Any) -> Any:
            self.count += 1
            return await fetch(root, *arguments)

        monkeypatch.setattr(FileRoot, "fetch", counted)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def server_of(root: Path, clock: FakeClock, **sections: Any) -> Server:
    return new_server(clock, **{"session": {"identity": ["cookie"]}, "static": {"root": str(root)}} | sections)


def facts(response: Any) -> Any:
    headers = {name: value for name, value in response.headers.get_all() if name != "Date"}
    return response.code, headers, response.body


@pytest.mark.feature("F1")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/file.css", "/"])
async def test_file_from_memory_is_answered_like_one_from_the_folder(
    root: Path, clock: FakeClock, looks: Looks, method: str, path: str
) -> None:
    """Status, every header and content, and so are a copy that is still right, in both ways to ask, and one that is not."""
    async with running(server_of(root, clock)) as base:
        browser = Browser(base)
        found = await browser.get(path)
        etag, date = found.headers["ETag"], found.headers["Last-Modified"]
        asked = [{}, {"If-None-Match": etag}, {"If-Modified-Since": date}, {"If-None-Match": '"other"'}]
        answers = []
        for headers in asked:
            clock.advance(KEPT_FOR)
            before = looks.count
            answers.append(facts(await browser(method, path, headers=headers)))
            assert looks.count == before + 1
        await browser.get(path)
        before = looks.count
        assert [facts(await browser(method, path, headers=headers)) for headers in asked] == answers
        assert looks.count == before
        assert [status for status, _, _ in answers] == [200, 304, 304, 200]
        assert await base_sessions(base) == 0


async def base_sessions(base: str) -> int:
    """Return how many sessions there are, as the metrics say."""
    text = (await Browser(base).get("/wshttp/metrics")).body.decode()
    [line] = [line for line in text.splitlines() if line.startswith("wshttp_sessions ")]
    return int(float(line.split()[1]))


@pytest.mark.feature("F1")
async def test_file_that_changes_is_answered_anew_after_a_moment(root: Path, clock: FakeClock) -> None:
    """Content and ETag go together, before and after; one that is deleted is gone."""
    async with running(server_of(root, clock)) as base:
        browser = Browser(base)
        first = await browser.get("/file.css")
        (root / "file.css").write_text("changed")
        kept = await browser.get("/file.css")
        assert (kept.body, kept.headers["ETag"]) == (first.body, first.headers["ETag"])
        clock.advance(KEPT_FOR)
        later = await browser.get("/file.css", headers={"If-None-Match": first.headers["ETag"]})
        assert (later.code, later.body) == (200, b"changed")
        (root / "file.css").unlink()
        clock.advance(KEPT_FOR)
        assert (await browser.get("/file.css")).code == 404


async def test_file_that_changed_just_now_is_not_kept(tmp_path: Path, clock: FakeClock, looks: Looks) -> None:
    """Its next change could look the same: it is read for each answer."""
    (tmp_path / "new.css").write_text("one")
    async with running(server_of(tmp_path, clock)) as base:
        browser = Browser(base)
        assert (await browser.get("/new.css")).body == b"one"
        (tmp_path / "new.css").write_text("two")
        assert (await browser.get("/new.css")).body == b"two"
        assert looks.count == 2


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/file.css", {"Range": "bytes=0-2"}, 206),
        ("GET", "/file.css", {"If-Match": '"other"'}, 412),
        ("GET", "/file.css", {"If-Unmodified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 412),
        ("POST", "/file.css", {}, 405),
        ("OPTIONS", "/file.css", {}, 204),
        ("GET", "/large.bin", {}, 200),
    ],
)
async def test_what_is_not_simple_is_left_to_the_folder(
    root: Path, clock: FakeClock, looks: Looks, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """Parts, other conditions, other methods, and files that are not small: as if nothing were kept."""
    async with running(server_of(root, clock)) as base:
        browser = Browser(base)
        await browser.get(path)
        before = looks.count
        response = await browser(method, path, headers=headers)
        assert response.code == status
        assert looks.count == before + (method == "GET")


async def test_kept_file_is_sent_in_the_coding_that_was_asked_for(root: Path, clock: FakeClock) -> None:
    """Who accepts none never gets a packed one, whoever asked before."""
    packed = root / "file.css.gz"
    packed.write_bytes(gzip.compress(b"content"))
    os.utime(packed, (2**31, 2**31))
    async with running(server_of(root, clock)) as base:
        for _ in range(2):
            plain = await fetch(f"{base}/file.css", decompress_response=False)
            coded = await fetch(f"{base}/file.css", headers={"Accept-Encoding": "gzip"}, decompress_response=False)
            assert (plain.body, plain.headers.get("Content-Encoding")) == (b"content", None)
            assert (coded.body, coded.headers["Content-Encoding"]) == (packed.read_bytes(), "gzip")
            assert plain.headers["Vary"] == coded.headers["Vary"] == "Accept-Encoding"


async def test_kept_file_is_behind_the_gate(
    root: Path, clock: FakeClock, users_file: str, ada: tuple[str, str]
) -> None:
    """Protection, denied addresses and foreign hosts are looked at for each request, with the headers of any answer."""
    auth = {"users_file": users_file, "protect": ["/file.css"]}
    rate = {"deny": ["192.0.2.0/24"]}
    async with running(server_of(root, clock, auth=auth, rate=rate, server={"trusted_proxies": ["127.0.0.1"]})) as base:
        browser = Browser(base)
        for _ in range(2):
            assert (await browser.get("/file.css", login=ada)).body == b"content"
            refused = await browser.get("/file.css")
            assert problem(refused) == (401, "bad-credentials")
            assert "Basic" in refused.headers["WWW-Authenticate"]
            assert refused.headers["Referrer-Policy"] == "same-origin"
            assert "ETag" not in refused.headers
        denied = await browser.get("/file.css", login=ada, headers={"X-Forwarded-For": "192.0.2.1"})
        assert problem(denied) == (403, "forbidden")
        elsewhere = await browser.get("/file.css", login=ada, headers={"Host": "evil.example"})
        assert problem(elsewhere) == (403, "forbidden")


@pytest.mark.feature("F1")
async def test_protected_file_is_nobody_elses_to_keep(
    root: Path, clock: FakeClock, users_file: str, ada: tuple[str, str]
) -> None:
    """No cache between may have it, and the browser asks each time: from the folder, from memory, and for a copy."""
    auth = {"users_file": users_file, "protect": ["/file.css", "/large.bin"]}
    static = {"root": str(root), "cache": "1h"}
    async with running(server_of(root, clock, auth=auth, static=static)) as base:
        browser = Browser(base)
        for path in ("/file.css", "/large.bin"):
            for _ in range(2):
                answer = await browser.get(path, login=ada)
                assert (answer.code, answer.headers["Cache-Control"]) == (200, "private, no-cache")
            copy = await browser.get(path, login=ada, headers={"If-None-Match": answer.headers["ETag"]})
            assert (copy.code, copy.headers["Cache-Control"]) == (304, "private, no-cache")
        for _ in range(2):
            assert (await browser.get("/index.html", login=ada)).headers["Cache-Control"] == "public, max-age=3600"


@pytest.mark.feature("F1")
async def test_file_from_memory_says_the_same_of_the_session(
    root: Path, clock: FakeClock, users_file: str, ada: tuple[str, str]
) -> None:
    """A cookie is nothing to keep, and where a token may be in the URL no link tells it."""
    auth = {"users_file": users_file, "protect": ["/file.css"]}
    session = {"identity": ["cookie", "url"]}
    async with running(server_of(root, clock, auth=auth, session=session)) as base:
        stale = {"Cookie": f"wshttp={'A' * 43}"}
        told = [facts(await Browser(base).get("/file.css", login=ada, headers=stale)) for _ in range(2)]
        assert told[0] == told[1]
        headers = told[0][1]
        assert "wshttp=" in headers["Set-Cookie"]
        assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("hello")


async def test_route_that_is_added_later_takes_its_path_from_a_kept_file(root: Path, clock: FakeClock) -> None:
    """A function endpoint and a handler: routes come before files, whatever is in memory."""
    server = server_of(root, clock)
    async with running(server) as base:
        browser = Browser(base)
        assert (await browser.get("/file.css")).body == (await browser.get("/file.css")).body == b"content"
        server.get("/file.css")(lambda request: "endpoint")
        assert (await browser.get("/file.css")).body == b"endpoint"
        await browser.get("/index.html")
        server.add_handlers([("/index.html", Hello)])
        assert (await browser.get("/index.html")).body == b"hello"
