"""The browser client under the prefix: there for every page, whatever folder is served at `/`."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import Browser, problem
from processes import ROOT
from serving import new_server, running

STATIC = ROOT / "static"

TYPES = {"wshttp.js": "text/javascript; charset=utf-8", "wshttp.d.ts": "text/plain; charset=utf-8"}


@pytest.mark.parametrize("name", TYPES)
async def test_client_is_there_beside_any_folder(name: str, tmp_path: Path) -> None:
    """The module and its types come as they were shipped, with a type that browsers take, and start no session."""
    server = new_server(session={"identity": ["cookie"]}, static={"root": str(tmp_path)})
    async with running(server) as base:
        response = await Browser(base).get(f"/wshttp/{name}")
        assert (response.code, response.body) == (200, (STATIC / name).read_bytes())
        assert response.headers["Content-Type"] == TYPES[name]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Set-Cookie" not in response.headers
        assert await server.sessions.count() == 0


@pytest.mark.parametrize(("seconds", "expected"), [(0, "no-cache"), (60, "public, max-age=60")])
async def test_client_is_cached_as_static_files_are(seconds: int, expected: str) -> None:
    """`static.cache` says for how long; who has it is told so by its ETag."""
    async with running(new_server(static={"cache": seconds})) as base:
        first = await Browser(base).get("/wshttp/wshttp.js")
        assert first.headers["Cache-Control"] == expected
        again = await Browser(base).get("/wshttp/wshttp.js", headers={"If-None-Match": first.headers["ETag"]})
        assert (again.code, again.body) == (304, b"")


async def test_client_follows_the_prefix_and_is_still_among_the_shipped_files() -> None:
    """Under another prefix it is there and nowhere else, but for the copy in the folder that comes with the package."""
    async with running(new_server(api={"prefix": "/api"})) as base:
        browser = Browser(base)
        assert (await browser.get("/api/wshttp.js")).body == (await browser.get("/wshttp.js")).body
        assert problem(await browser.get("/wshttp/wshttp.js")) == (404, "not-found")


async def test_nothing_else_of_the_folder_is_under_the_prefix() -> None:
    """The pages of the folder are not part of the API; other methods are told which there are."""
    async with running(new_server()) as base:
        browser = Browser(base)
        for name in ("index.html", "package.json", "wshttpXjs", "wshttp.d_ts", "wshttp.js/", "admin/../index.html"):
            assert problem(await browser.get(f"/wshttp/{name}")) == (404, "not-found")
        assert (await browser("HEAD", "/wshttp/wshttp.js")).code == 200
        refused = await browser.post("/wshttp/wshttp.js")
        assert (refused.code, refused.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_client_stands_behind_the_gate(users_file: str, ada: tuple[str, str]) -> None:
    """Where all is protected, the client is, too; a Host that is not the server's is refused."""
    server = new_server(auth={"users_file": users_file, "protect": ["*"]})
    async with running(server) as base:
        browser = Browser(base)
        assert (await browser.get("/wshttp/wshttp.js")).code == 401
        assert (await browser.get("/wshttp/wshttp.js", login=ada)).code == 200
        assert (await browser.get("/wshttp/wshttp.js", headers={"Host": "evil.test"})).code == 403


async def test_client_is_there_where_there_are_no_sessions() -> None:
    """It is a file like any other: what a server has switched off does not take it away."""
    async with running(new_server(session={"enabled": False})) as base:
        assert (await Browser(base).get("/wshttp/wshttp.js")).code == 200
