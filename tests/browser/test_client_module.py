"""What the client module remembers and forgets, in a real browser, with its real storages, headers and leaving of pages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from browsing import basic
from visiting import PASSWORD, USER, Serve, Visit, Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Page

HEADER = {"identity": ["credentials", "header"]}

CONNECT = """async (options) => {
    const { connect } = await import("/wshttp.js");
    const client = globalThis.client = connect(options);
    await new Promise((resolve) => client.on("open", resolve));
    return client.session.ref;
}"""


def blank(visitor: Visitor, address: str) -> Page:
    """Open a tab with a page of the server that has nothing to do with sessions."""
    return visitor.open(f"{address}/wshttp/health/live")


def connect(page: Page, **options: Any) -> str:
    """Connect as a script of the page would, and return the session's ref."""
    ref: str = page.evaluate(CONNECT, options)
    return ref


@pytest.mark.feature("C4", "I7", "U4")
def test_tab_has_a_session_of_its_own(serve: Serve, visit: Visit) -> None:
    """With header identity and tickets: by tab, by application, and over a reload; nothing of it is a cookie."""
    server, visitor = serve(session=HEADER), visit()
    tabs = [blank(visitor, server.address) for _ in range(2)]
    refs = [connect(tab, remember="tab", application="chat") for tab in tabs]
    tabs[0].reload()
    assert connect(tabs[0], remember="tab", application="chat") == refs[0]
    refs.append(connect(tabs[0], remember="tab", application="shop"))
    assert len(set(refs)) == 3
    assert sorted(tabs[0].evaluate("Object.keys(sessionStorage)")) == ["chat:session", "shop:session"]
    assert tabs[0].evaluate("Object.keys(localStorage)") == []
    assert visitor.context.cookies() == []


@pytest.mark.feature("C4")
def test_browser_remembers_one_session_for_all_tabs(serve: Serve, visit: Visit) -> None:
    """With `remember: "browser"` they share it; with `"nothing"` each page begins anew."""
    server, visitor = serve(session=HEADER), visit()
    tabs = [blank(visitor, server.address) for _ in range(2)]
    shared = [connect(tab, remember="browser") for tab in tabs]
    assert shared[0] == shared[1]
    assert tabs[1].evaluate("Object.keys(localStorage)") == ["wshttp:session"]
    alone = [connect(tab, remember="nothing") for tab in tabs]
    assert len({*shared, *alone}) == 3
    assert tabs[1].evaluate("Object.keys(sessionStorage)") == []


@pytest.mark.feature("C6")
def test_log_out_in_one_tab_ends_all_that_share_the_token(serve: Serve, visit: Visit) -> None:
    """The other tab hears of it with the reason, and the token is gone from the browser."""
    server, visitor = serve(session=HEADER), visit()
    first, second = [blank(visitor, server.address) for _ in range(2)]
    for tab in (first, second):
        connect(tab, remember="browser")
        tab.evaluate(
            "globalThis.over = new Promise((resolve) => client.on('ended', ({ reason }) => resolve(reason))); 0"
        )
    first.evaluate("client.endSession()")
    assert [tab.evaluate("over") for tab in (first, second)] == ["logout", "logout"]
    second.wait_for_function("client.socket.state === 'closed' && localStorage.length === 0")


@pytest.mark.feature("C3")
@pytest.mark.parametrize("end_on_leave", [True, False])
def test_page_that_is_left_ends_its_session_if_asked_to(serve: Serve, visit: Visit, end_on_leave: bool) -> None:
    """The browser sends it while it goes elsewhere; without `endOnLeave` the session lives on."""
    server, visitor = serve(session=HEADER), visit()
    left, watcher = [blank(visitor, server.address) for _ in range(2)]
    ref = connect(left, remember="tab", endOnLeave=end_on_leave)
    left.goto("about:blank")
    watcher.wait_for_function(
        """async ([ref, authorization, lives]) => {
            const answer = await fetch(`/wshttp/admin/api/sessions/${ref}`, { headers: { Authorization: authorization } });
            return lives ? answer.ok && (await answer.json()).session.connections === 0 : answer.status === 404;
        }""",
        arg=[ref, basic(USER, PASSWORD), not end_on_leave],
    )


@pytest.mark.feature("C5")
def test_start_right_after_connect_has_one_session(serve: Serve, visit: Visit) -> None:
    """The socket and `start` would each start one, and the browser keep the cookie of whichever answered last."""
    server = serve()
    page = blank(visit(), server.address)
    refs = page.evaluate(
        """async () => {
            const { connect } = await import("/wshttp.js");
            const client = connect();
            const started = await client.start();
            const told = await (await fetch("/wshttp/session?touch=0")).json();
            return [started.ref, client.session.ref, told.ref];
        }"""
    )
    assert len(set(refs)) == 1
    listed = server.request("GET", "/wshttp/admin/api/sessions", headers={"Authorization": basic(USER, PASSWORD)})
    assert json.loads(listed.body)["total"] == 1
