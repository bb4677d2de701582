"""The page of administration, and what it does to other people's pages."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import yaml
from processes import ROOT, Process, serving
from visiting import DESKTOP, PASSWORD, PHONE, USER, Visit, Visitor, complaints, log_in, picture, wait_for_state

from wshttp.auth.passwords import hash_password

if TYPE_CHECKING:
    from playwright.sync_api import Page

EVIL = "<img src=x onerror=document.title='taken'>"
"""What a user may be called, say that its browser is, and keep."""

APP = f"""
def setup(server):
    @server.get("/make", auto_start=False)
    async def make(request):
        for number in range(int(request.query["count"])):
            where = f"192.0.{{number // 250}}.{{number % 250 + 1}}"
            await server.sessions.create(remote_ip=where, user=request.query.get("user"))
        return "made"

    @server.get("/keep")
    async def keep(request):
        request.session["cart"] = ["apple", "pear"]
        request.session["visits"] = 7
        request.session[{EVIL!r}] = True
        return request.session.ref
"""

Administered: TypeAlias = Callable[..., Process]


@pytest.fixture
def administered(tmp_path: Path) -> Iterator[Administered]:
    """Start servers that ada administers, with ways to make sessions; options are settings, section by section."""
    (tmp_path / "own.py").write_text(APP)
    cheap = hash_password(PASSWORD, cost=4)
    (tmp_path / "users.htpasswd").write_text(f"{USER}:{cheap}\n{EVIL}:{cheap}\n")
    with ExitStack() as stopping:

        def start(port: int = 0, **sections: Any) -> Process:
            settings = {
                "app": "own:setup",
                "session": {"identity": ["credentials", "cookie"]},
                "auth": {"users_file": "users.htpasswd"},
                "admin": {"users": [USER]},
                "websocket": {"topics": ["room.*"]},
            } | sections
            (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
            process = stopping.enter_context(serving("--config", "settings.yaml", port=port, cwd=tmp_path))
            process.address  # it listens
            return process

        yield start


def basic(user: str, password: str = PASSWORD) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def administrator(visit: Visit, **options: Any) -> Visitor:
    """Somebody whose browser knows the password."""
    return visit(http_credentials={"username": USER, "password": PASSWORD}, **options)


def open_admin(visitor: Visitor, server: Process, view: str = "overview") -> Page:
    """Open the page, and wait until it is told what happens."""
    page = visitor.open(f"{server.address}/wshttp/admin/#{view}")
    page.locator("#stream[data-state=open]").wait_for()
    return page


def make(server: Process, count: int, user: str | None = None) -> None:
    """Make sessions, of addresses that begin with 192.0."""
    answer = server.get(f"/make?count={count}" + (f"&user={user}" if user else ""))
    assert answer.status == 200


def status(page: Page, text: str, view: str = "sessions") -> None:
    """Wait until a list says what it has."""
    page.locator(f"#{view}-list .status", has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


def rows(page: Page, view: str = "sessions") -> Any:
    return page.locator(f"#{view}-list tbody tr:not(.gone)")


def search(page: Page, view: str = "sessions", **fields: str) -> None:
    """Fill in a search, and start it."""
    for name, value in fields.items():
        page.locator(f"#{view}-{name}").fill(value)
    page.locator(f"#{view}-search").get_by_role("button", name="Search").click()


def agree(page: Page, button: str) -> None:
    """Answer the question of the page."""
    page.locator("#ask").get_by_role("button", name=button, exact=True).click()


def told(page: Page, text: str) -> None:
    """Wait until the page says what was done."""
    page.locator("#said").get_by_text(text).wait_for()


@pytest.mark.feature("A1", "A6")
def test_overview_shows_numbers_and_what_happens(administered: Administered, visit: Visit) -> None:
    """Charts have their numbers, and a session that starts is there at once, without a reload."""
    server = administered()
    visitor = administrator(visit)
    page = open_admin(visitor, server)
    page.locator(".chart", has_text="Sessions").get_by_text("0 live").wait_for()
    make(server, 3, "bob")
    page.locator("#feed li", has_text="started").get_by_text("bob").nth(2).wait_for()
    page.locator(".chart", has_text="Sessions").get_by_text("3 live").wait_for()
    page.locator(".chart svg[aria-label^='Starts and ends, the last 5 minutes: 3 started']").wait_for()
    page.locator(".chart", has_text="Requests").locator("polyline").wait_for(state="attached")
    assert page.locator("#nodes").is_hidden(), "a node on its own"
    assert visitor.faults == []


def test_nobody_else_gets_the_page(administered: Administered, visit: Visit) -> None:
    """Without a password, or with a wrong one, there is nothing to see."""
    server = administered()
    url = f"{server.address}/wshttp/admin/"
    page = visit().context.new_page()
    with pytest.raises(Exception, match="ERR_INVALID_AUTH_CREDENTIALS"):
        page.goto(url)
    page = visit(http_credentials={"username": USER, "password": "wrong"}).context.new_page()
    answer = page.goto(url)
    assert answer is not None
    assert answer.status == 401
    assert page.locator("#sessions").count() == 0


def test_page_says_when_it_is_let_in_no_more(administered: Administered, visit: Visit) -> None:
    """The password is another one now: the page says what to do, and asks no more, which would be guessing."""
    page = open_admin(administrator(visit), administered())
    page.context.route("**/api/stats", lambda route: route.fulfill(status=401, json={"detail": "no"}))
    page.locator("#notice", has_text="You are not logged in any more. Load the page again.").wait_for()
    page.locator("#stream[data-state=out]").wait_for()


@pytest.mark.feature("A1")
def test_sessions_are_listed_searched_and_sorted(administered: Administered, visit: Visit) -> None:
    """By user, by the beginning of an address, by age; and in the order of a column."""
    server = administered()
    make(server, 30, "bob")
    make(server, 4)
    visitor = administrator(visit)
    page = open_admin(visitor, server, "sessions")
    status(page, "Sessions: 34")
    search(page, user="bob")
    status(page, "Sessions: 30")
    search(page, user="", ip="192.0.0.1")
    status(page, "Sessions: 2")
    page.locator("#sessions-ip").fill("192.0.0.")
    page.keyboard.press("Enter")
    status(page, "Sessions: 1 to 34")
    search(page, before="2020-01-01T00:00:00")
    status(page, "Sessions: none")
    page.locator("#sessions-search").get_by_role("button", name="Clear").click()
    status(page, "Sessions: 34")
    page.get_by_role("button", name="User", exact=True).click()
    assert rows(page).first.locator("td").nth(1).inner_text() == "anonymous"
    page.get_by_role("button", name="User", exact=True).click()
    assert rows(page).first.locator("td").nth(1).inner_text() == "bob"
    assert page.get_by_role("columnheader", name="User").get_attribute("aria-sort") == "descending"
    search(page, ip="nonsense")
    told(page, "Ip is an address, a network such as 192.0.2.0/24")
    assert [fault for fault in visitor.faults if "400" not in fault] == []


@pytest.mark.feature("A1")
def test_many_sessions_come_a_page_at_a_time(administered: Administered, visit: Visit) -> None:
    """Each of a thousand is on one page, the page holds no more rows than that, and the way back is the same."""
    server = administered()
    make(server, 1000)
    page = open_admin(administrator(visit), server, "sessions")
    seen: list[str] = []
    for first in range(1, 1000, 100):
        status(page, f"Sessions: {first:,} to {first + 99:,} of 1,000")
        refs = page.locator("#sessions-list tbody a").evaluate_all("links => links.map(({ title }) => title)")
        assert len(refs) == 100
        seen += refs
        if first < 901:
            page.get_by_role("button", name="Next").click()
    assert len(set(seen)) == 1000
    assert page.get_by_role("button", name="Next").is_disabled()
    page.get_by_role("button", name="Previous").click()
    status(page, "Sessions: 801 to 900 of 1,000")
    page.locator("#sessions").get_by_label("Show").select_option("500")
    status(page, "Sessions: 1 to 500 of 1,000")


@pytest.mark.feature("A1")
def test_list_is_live(administered: Administered, visit: Visit) -> None:
    """Who comes is in the list soon, who goes is struck out at once and gone soon, and a log-in changes the name."""
    server = administered()
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 0")
    guest = visit().arrive(server.address)
    status(page, "Sessions: 1")
    rows(page).get_by_text("anonymous").wait_for()
    log_in(guest)
    rows(page).get_by_text(USER).wait_for()
    guest.get_by_role("button", name="Log out").click()
    page.locator("#sessions-list tr.gone", has_text="logged out").wait_for()
    status(page, "Sessions: 0")


@pytest.mark.feature("A2", "W11")
def test_ended_session_closes_its_page_which_says_why(administered: Administered, visit: Visit) -> None:
    """From the list, after a question; Escape is no."""
    server = administered()
    guest = visit().arrive(server.address)
    visitor = administrator(visit)
    page = open_admin(visitor, server, "sessions")
    end = rows(page).get_by_role("button", name="of anonymous")
    end.click()
    page.keyboard.press("Escape")
    page.locator("#ask").wait_for(state="hidden")
    wait_for_state(guest, "open")
    end.click()
    agree(page, "End session")
    told(page, "Ended session")
    guest.get_by_role("alert").get_by_text("an administrator ended it").wait_for()
    wait_for_state(guest, "closed")
    status(page, "Sessions: 0")
    assert visitor.faults == []


@pytest.mark.feature("A3")
def test_card_shows_a_session_while_it_lives(administered: Administered, visit: Visit) -> None:
    """Data by name and size, connections, history; it follows what happens, and says when there is no more."""
    server = administered()
    guest = visit()
    first = guest.arrive(server.address)
    ref = first.locator("#ref").inner_text()
    assert guest.context.request.get(f"{server.address}/keep").ok
    visitor = administrator(visit)
    page = open_admin(visitor, server, "sessions")
    rows(page).get_by_role("link").click()
    card = page.get_by_role("dialog", name=f"Session {ref}")
    card.get_by_role("heading", name="Data: 3 keys").wait_for()
    card.get_by_text("cart").wait_for()
    assert "apple" not in card.inner_text(), "names and sizes, no values"
    assert card.get_by_role("button", name="Close connection").count() == 1
    second = guest.arrive(server.address)
    card.get_by_role("button", name="Close connection").nth(1).wait_for()
    second.close()
    card.locator(".disconnected", has_text="WebSocket closed").wait_for()
    card.get_by_role("button", name="End session").click()
    agree(page, "End session")
    card.get_by_text("This session has ended: ended by an administrator.").wait_for()
    wait_for_state(first, "closed")
    page.keyboard.press("Escape")
    card.wait_for(state="hidden")
    assert page.evaluate("location.hash") == "#sessions"
    assert visitor.faults == []


@pytest.mark.feature("A1")
def test_card_of_a_session_that_is_no_more_says_so(administered: Administered, visit: Visit) -> None:
    """As where somebody keeps the address."""
    page = open_admin(administrator(visit), administered(), "session/5f2b8c0e9a41d7736c1e40aa")
    page.get_by_role("dialog").get_by_text("There is no live session of this ref.").wait_for()


@pytest.mark.feature("A5")
def test_kicked_connection_says_so_and_its_session_lives_on(administered: Administered, visit: Visit) -> None:
    """The page's socket is closed for good, the session is not."""
    server = administered()
    guest = visit().arrive(server.address)
    visitor = administrator(visit)
    page = open_admin(visitor, server, "connections")
    rows(page, "connections").get_by_role("button", name="Close connection").click()
    agree(page, "Close connection")
    told(page, "Closed connection")
    guest.get_by_text("An administrator closed this connection").first.wait_for()
    wait_for_state(guest, "closed")
    status(page, "Connections: 0", "connections")
    page.get_by_role("link", name="Sessions").click()
    status(page, "Sessions: 1")
    assert visitor.faults == []


@pytest.mark.feature("A2")
def test_selected_sessions_end_together(administered: Administered, visit: Visit) -> None:
    """Across pages, asked once, and all others live on."""
    server = administered()
    make(server, 60)
    page = open_admin(administrator(visit), server, "sessions")
    page.locator("#sessions").get_by_label("Show").select_option("25")
    status(page, "Sessions: 1 to 25 of 60")
    page.get_by_label("Select this page").check()
    page.get_by_role("button", name="End 25 selected sessions").wait_for()
    page.get_by_role("button", name="Next").click()
    status(page, "Sessions: 26 to 50 of 60")
    rows(page).first.get_by_role("checkbox").check()
    page.get_by_role("button", name="End 26 selected sessions").click()
    agree(page, "End 26 sessions")
    told(page, "Ended 26 sessions.")
    status(page, "Sessions: 1 to 25 of 34")
    assert page.get_by_role("button", name="End selected").is_disabled()


@pytest.mark.feature("A2")
def test_all_of_a_user_end_and_nobody_elses(administered: Administered, visit: Visit) -> None:
    """More than one step of it; the question says how many."""
    server = administered()
    make(server, 600, "bob")
    make(server, 5, "carol")
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 1 to 100 of 605")
    search(page, user="bob")
    page.get_by_role("button", name="End all sessions of bob").click()
    page.locator("#ask").get_by_text("That is 600 sessions.").wait_for()
    agree(page, "End all sessions of bob")
    told(page, "Ended 600 sessions.")
    page.locator("#sessions-search").get_by_role("button", name="Clear").click()
    status(page, "Sessions: 5")
    page.get_by_role("button", name="End all sessions", exact=True).click()
    agree(page, "End all sessions")
    told(page, "Ended 5 sessions.")
    status(page, "Sessions: 0")


@pytest.mark.feature("A2")
def test_long_end_can_be_stopped(administered: Administered, visit: Visit) -> None:
    """What has been ended is ended, all others live on, and the page says how many there were."""
    server = administered()
    make(server, 600)
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 1 to 100 of 600")

    def stop_first(route: Any) -> None:
        if route.request.method == "DELETE":
            page.evaluate("document.getElementById('ask-no').click()")
        route.fallback()

    page.route("**/api/sessions?*", stop_first)
    page.get_by_role("button", name="End all sessions", exact=True).click()
    agree(page, "End all sessions")
    told(page, "Stopped: ended 250 sessions.")
    status(page, "Sessions: 1 to 100 of 350")


def test_message_reaches_the_pages_that_are_open(administered: Administered, visit: Visit) -> None:
    """To everybody after a question; JSON that is none is said beside the form."""
    server = administered()
    guest = visit().open("about:blank")
    guest.goto(f"{server.address}/icon.svg")
    guest.evaluate(
        """(address) => new Promise((opened) => {
            const socket = new WebSocket(`${address}/wshttp/socket`, "wshttp.v1");
            window.got = [];
            socket.onopen = opened;
            socket.onmessage = ({ data }) => window.got.push(JSON.parse(data));
        })""",
        server.address.replace("http", "ws"),
    )
    page = open_admin(administrator(visit), server, "message")
    page.get_by_role("textbox", name="Message").fill('{"noon": ')
    page.get_by_label("This is JSON").check()
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator("#message-error", has_text="This is no JSON").wait_for()
    page.get_by_role("textbox", name="Message").fill('{"noon": true}')
    page.get_by_role("button", name="Send", exact=True).click()
    agree(page, "Send to everybody")
    told(page, "Sent to 1 connection of this node.")
    guest.wait_for_function("got.some(({ type, data }) => type === 'app' && data.noon === true)")
    page.get_by_label("For", exact=True).select_option("user")
    page.get_by_label("User", exact=True).locator("visible=true").fill("nobody")
    page.get_by_role("textbox", name="Message").fill("hello")
    page.get_by_label("This is JSON").uncheck()
    page.get_by_role("button", name="Send", exact=True).click()
    told(page, "Sent to 0 connections of this node.")


@pytest.mark.feature("A5")
def test_shared_store_has_a_list_of_nodes(administered: Administered, visit: Visit) -> None:
    """Which they are, which of them answers, and how many connections the others have."""
    server = administered()
    visitor = administrator(visit)
    others = [{"node": "1b5a9f00c2d3e4f5", "connections": 17}]

    def with_others(route: Any) -> None:
        answer = route.fetch()
        body = answer.json()
        if "nodes" in body:
            body["nodes"] += [{**node, "self": False} for node in others]
        route.fulfill(response=answer, json={**body, "others": others})

    visitor.context.route("**/api/stats", with_others)
    visitor.context.route("**/api/connections?*", with_others)
    page = open_admin(visitor, server)
    page.locator("#nodes li", has_text="local (this one)").wait_for()
    page.locator("#nodes li", has_text="1b5a9f00c2d3e4f5").get_by_text("17 WebSockets").wait_for()
    page.get_by_role("link", name="Connections").click()
    page.locator("#connections-elsewhere", has_text="node 1b5a9f00c2d3e4f5 has 17 WebSockets").wait_for()


def test_page_comes_back_after_a_restart_of_the_server(administered: Administered, visit: Visit) -> None:
    """Meanwhile it says that it is not connected; afterwards it shows what is."""
    server = administered()
    make(server, 2)
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 2")
    server.kill()
    page.locator("#stream[data-state=away]").wait_for()
    page.locator("#notice", has_text="The server does not answer.").wait_for()
    again = administered(port=server.port)
    page.locator("#stream[data-state=open]").wait_for()
    page.locator("#notice").wait_for(state="hidden")
    make(again, 1)
    status(page, "Sessions: 1")


def test_paused_page_stands_still(administered: Administered, visit: Visit) -> None:
    """Nothing is asked and nothing changes until it goes on; then it is as it should be."""
    server = administered()
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 0")
    page.get_by_role("button", name="Pause").click()
    page.locator("#stream[data-state=paused]").wait_for()
    page.wait_for_function("fetch('api/stats').then((answer) => answer.json()).then(({ watchers }) => watchers === 0)")
    make(server, 1)
    assert rows(page).count() == 0
    page.get_by_role("button", name="Go on").click()
    status(page, "Sessions: 1")


def test_text_of_others_is_never_markup(administered: Administered, visit: Visit) -> None:
    """A user's name, a user agent and a key of data are shown as they are, wherever they are."""
    server = administered()
    guest = visit(user_agent=EVIL)
    assert guest.context.request.get(f"{server.address}/icon.svg").ok
    tab = guest.arrive(server.address)
    log_in(tab, user=EVIL)
    tab.locator("#user", has_text=EVIL).wait_for()
    assert guest.context.request.get(f"{server.address}/keep").ok
    page = open_admin(administrator(visit), server, "connections")
    rows(page, "connections").get_by_text(EVIL).wait_for()
    page.get_by_role("link", name="Sessions").click()
    rows(page).get_by_text(EVIL).wait_for()
    rows(page).get_by_role("link").click()
    card = page.locator("#card")
    card.get_by_role("heading", name="Data: 3 keys").wait_for()
    assert card.get_by_text(EVIL, exact=True).count() >= 3, "user, user agent, key"
    card.get_by_role("button", name=f"End all sessions of {EVIL}").click()
    page.locator("#ask-title", has_text=EVIL).wait_for()
    agree(page, f"End all sessions of {EVIL}")
    told(page, "Ended 1 session.")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Overview").click()
    page.locator("#feed li.ended").get_by_text(EVIL).wait_for()
    assert page.locator("img").count() == 0
    assert page.title() != "taken"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("size", "viewport"), [("phone", PHONE), ("desktop", DESKTOP)])
def test_layout_fits_and_is_accessible(
    administered: Administered, visit: Visit, size: str, viewport: dict[str, int], scheme: str
) -> None:
    """In each view, with a card and with a question, nothing reaches beyond the screen, and axe-core has nothing to say."""
    server = administered()
    make(server, 40, "margaret")
    guest = visit().arrive(server.address)
    log_in(guest)
    guest.locator("#user", has_text=USER).wait_for()
    found: list[str] = []
    page = open_admin(administrator(visit, viewport=viewport, color_scheme=scheme), server)
    page.locator(".chart polyline").first.wait_for(state="attached")

    def look(name: str) -> None:
        picture(page, f"admin-{size}-{scheme}-{name}")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
        found.extend(complaints(page))

    look("overview")
    page.get_by_role("link", name="Sessions").click()
    search(page, user=USER)
    status(page, "Sessions: 1")
    look("sessions")
    rows(page).get_by_role("link").click()
    page.locator("#card h3").first.wait_for()
    look("card")
    page.locator("#card").get_by_role("button", name="End session", exact=True).click()
    look("question")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Connections").click()
    status(page, "Connections: 1", "connections")
    look("connections")
    page.get_by_role("link", name="Message").click()
    look("message")
    assert found == []


def test_everything_can_be_reached_by_keyboard(administered: Administered, visit: Visit) -> None:
    """A session is found, looked at and ended without a pointer, and the focus comes back to where it was."""
    server = administered()
    make(server, 2, "bob")
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 2")
    page.get_by_role("searchbox").or_(page.locator("#sessions-user")).focus()
    page.keyboard.type("bob")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="End all sessions of bob").wait_for()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#sessions-list tbody a')"):
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    ref = page.evaluate("document.activeElement.title")
    page.keyboard.press("Enter")
    page.locator("#card h3").first.wait_for()
    page.keyboard.press("Escape")
    page.locator("#card").wait_for(state="hidden")
    assert page.evaluate("document.activeElement.title") == ref
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    told(page, "Ended the session")


def test_shipped_files_name_no_other_host() -> None:
    """The page needs nothing of anybody else's, has no script or style in its HTML, and makes no HTML of text."""
    files = sorted((ROOT / "static" / "admin").iterdir())
    assert {file.suffix for file in files} == {".html", ".css", ".js", ".svg"}
    for file in files:
        text = file.read_text().replace("http://www.w3.org", "")
        for unwanted in (
            "http://",
            "https://",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "style=",
        ):
            assert unwanted not in text, file.name
