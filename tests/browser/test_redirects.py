"""What a real browser does with the token of a header client where the server leads it to another origin."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from processes import serving
from visiting import Visit

APPLICATION = """
from wshttp import Response

def setup(server):
    @server.get("/blank", auto_start=False)
    async def blank(request):
        return Response("<!doctype html>", content_type="text/html; charset=UTF-8")

    @server.get("/go", auto_start=False)
    async def go(request):
        return Response("", status=302, headers={{"Location": "{address}"}})
"""

GO = """async (header) => {
    const { connect } = await import("/wshttp/wshttp.js");
    const client = connect({ remember: "tab", header });
    await new Promise((resolve) => client.on("open", resolve));
    const { ref } = client.session;
    const read = () => JSON.parse(sessionStorage["wshttp:session"]).token;
    const token = read();
    const seen = await client.fetch("/go").then((response) => response.url, () => null);
    await client.touch();
    return { token, seen, isKept: read() === token && client.session.ref === ref };
}"""

FOREIGN = "A" * 43


@dataclass
class Stranger:
    """A server that lets every page ask it, and answers with a token of its own."""

    address: str
    asked: list[str] = field(default_factory=list)
    """The headers of each request."""


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append(str(self.headers))
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Headers", "authorization, x-session")
            self.send_header("Access-Control-Expose-Headers", "Session-Token, Session-Expires-In")
            self.send_header("Session-Token", FOREIGN)
            self.send_header("Session-Expires-In", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_OPTIONS = do_GET  # noqa: N815 -- http.server looks for this name

        def log_message(self, *_: object) -> None:
            """Say nothing: a test has its own words."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        server.block_on_close = False  # a browser keeps its connections
        told = Stranger(f"http://127.0.0.1:{server.server_address[1]}/")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield told
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.feature("I7")
@pytest.mark.parametrize("header", ["Authorization", "X-Session"])
def test_redirect_gives_away_no_token_and_brings_none(
    visit: Visit, stranger: Stranger, tmp_path: Path, header: str
) -> None:
    """Browsers take out `Authorization`; with another header the client follows nobody. Either way its token stays."""
    (tmp_path / "leading.py").write_text(APPLICATION.format(address=stranger.address))
    settings = ("session.identity=[header]", f"session.header.name={header}")
    options = [word for setting in settings for word in ("--set", setting)]
    with serving("--app", "leading:setup", *options, cwd=tmp_path) as server:
        page = visit().open(f"{server.address}/blank")
        found = page.evaluate(GO, header)
    assert found["isKept"]
    assert found["token"] != FOREIGN
    assert not [headers for headers in stranger.asked if found["token"] in headers]
    assert found["seen"] == (stranger.address if header == "Authorization" else None)
