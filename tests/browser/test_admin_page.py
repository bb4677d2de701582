"""The page of administration, and what it does to other people's pages."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote, urlencode

import pytest
import yaml
from browsing import wait_until
from processes import ROOT, Process, run, serving, until
from redis_servers import RedisServer
from visiting import (
    DESKTOP,
    PASSWORD,
    PHONE,
    USER,
    Visit,
    Visitor,
    complaints,
    log_in,
    picture,
    wait_for_state,
    wait_until_user,
)

import wshttp.realtime.close_codes as close_codes
from wshttp import Reason
from wshttp.auth.passwords import hash_password
from wshttp.realtime.close_codes import Close, session_ended

if TYPE_CHECKING:
    from playwright.sync_api import Page

ADMIN = ROOT / "static" / "admin"

EVIL = "<img src=x onerror=document.title='taken'>"
"""What a user may be called, say that its browser is, and keep."""

APP = f"""
from wshttp import Reason

def setup(server):
    @server.get("/make", auto_start=False)
    async def make(request):
        for number in range(int(request.query["count"])):
            where = request.query.get("ip", f"192.0.{{number // 250}}.{{number % 250 + 1}}")
            await server.sessions.create(remote_ip=where, user=request.query.get("user"))
        return "made"

    @server.get("/leave", auto_start=False)
    async def leave(request):
        session = await server.sessions.create(remote_ip="192.0.2.7")
        await server.sessions.end(session, Reason.LOGOUT)
        return "left"

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


def make(server: Process, count: int, user: str | None = None, ip: str | None = None) -> None:
    """Make sessions, of addresses that begin with 192.0. or of one address."""
    given = {"count": count, "user": user, "ip": ip}
    answer = server.get("/make?" + urlencode({name: value for name, value in given.items() if value is not None}))
    assert answer.status == 200


def status(page: Page, text: str, view: str = "sessions") -> None:
    """Wait until a list says what it has."""
    page.locator(f"#{view}-list .status", has_text=re.compile(f"^{re.escape(text)}$")).wait_for()


def rows(page: Page, view: str = "sessions") -> Any:
    return page.locator(f"#{view}-list tbody tr:not(.gone)")


def refs(page: Page) -> list[str]:
    """Return the refs of the sessions that are shown."""
    found: list[str] = page.locator("#sessions-list tbody a").evaluate_all("links => links.map(({ title }) => title)")
    return sorted(found)


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


@pytest.mark.feature("A1")
def test_page_is_reached_from_what_make_run_serves(visit: Visit, tmp_path: Path) -> None:
    """As its settings say: make a user, and follow the link of the first page."""
    (tmp_path / "config").mkdir()
    made = run("passwd", "config/users.htpasswd", USER, "--stdin", "--cost", "4", cwd=tmp_path, input=PASSWORD)
    assert made.returncode == 0, made.stderr
    with serving("--config", str(ROOT / "config" / "demo.yaml"), cwd=tmp_path) as server:
        visitor = administrator(visit)
        first = visitor.arrive(server.address)
        with visitor.context.expect_page() as opened:
            first.locator("#admin[href]").click()
        opened.value.locator("#stream[data-state=open]").wait_for()
        opened.value.get_by_role("link", name="Sessions").click()
        status(opened.value, "Sessions: 1")


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


@pytest.mark.feature("A6")
def test_charts_say_what_the_server_counts(administered: Administered, visit: Visit) -> None:
    """Ends by reason, messages, how late the ends by time are, and how long the store takes."""
    server = administered(
        store={"kind": "sqlite", "path": "sessions.db"},
        session={"identity": ["cookie"], "idle_timeout": "8s", "warn_before": "1s"},
    )
    page = open_admin(administrator(visit), server)

    def says(title: str, pattern: str) -> None:
        chart = page.get_by_role("img", name=re.compile(f"^{title}, the last 5 minutes: {pattern}"))
        chart.wait_for(state="attached")

    says("Lateness of ends", "no end after a deadline yet")
    make(server, 3)
    assert server.get("/leave").status == 200
    visit().open(server.address)
    says("Messages", r"[1-9]\d* in, [1-9]\d* out, p95 [\d.]+ m?s")
    says("Requests", r"[\d.]+.s, p95 [\d.]+ m?s")
    says("Store", r"sqlite: p95 [\d.]+ m?s")
    says("Lateness of ends", r"p95 [\d.]+ m?s, at most [\d.]+ m?s")
    says("Starts and ends", "5 started, 5 ended")
    keys = page.get_by_role("figure", name="Starts and ends").get_by_role("listitem")
    assert keys.all_inner_texts() == ["started 5", "logout 1", "idle 4"]


def test_charts_know_every_reason_and_words_every_close_code() -> None:
    """What the server may say is what the page can tell people, in the order of the server."""
    words = (ADMIN / "words.js").read_text()
    reasons, codes = (words.partition(f"const {name} = {{")[2].partition("};")[0] for name in ("ENDED", "CLOSED"))
    assert re.findall(r"^  (\w+):", reasons, re.MULTILINE) == [str(reason) for reason in Reason]
    known = {int(code) for code in re.findall(r"^  (\d+):", codes, re.MULTILINE)}
    assert known >= {close.code for close in vars(close_codes).values() if isinstance(close, Close)}
    assert known >= {session_ended(reason).code for reason in Reason}


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


def test_page_can_be_opened_with_the_password_in_its_address(administered: Administered, visit: Visit) -> None:
    """As from a bookmark: what it asks for goes without, and the browser adds what it knows."""
    server = administered()
    visitor = visit()
    page = visitor.open(f"http://{USER}:{quote(PASSWORD)}@{server.address.removeprefix('http://')}/wshttp/admin/")
    page.locator("#stream[data-state=open]").wait_for()
    page.locator("#about", has_text="One node.").wait_for()
    assert page.locator("#notice").is_hidden()
    assert visitor.faults == []


def test_page_in_the_background_does_not_go_on_guessing(
    administered: Administered, visit: Visit, tmp_path: Path
) -> None:
    """The password was changed, and nobody looks: after a refusal it leaves, before its user is locked out."""
    server = administered(auth={"users_file": "users.htpasswd", "cache": 0})
    page = open_admin(administrator(visit), server)
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    (tmp_path / "users.htpasswd").write_text(f"{USER}:{hash_password('another one', cost=4)}\n")

    def is_over() -> bool:
        make(server, 1)  # the stream ends with the next that happens
        return page.locator("#stream").get_attribute("data-state") != "open"

    until(is_over)
    page.locator("#stream[data-state=out]").wait_for()
    assert str(server.err).count("why=bad-credentials") <= 5, "far from the ten that lock somebody out"


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
    rows(page).first.get_by_role("cell", name="anonymous", exact=True).wait_for()
    page.get_by_role("button", name="User", exact=True).click()
    rows(page).first.get_by_role("cell", name="bob", exact=True).wait_for()
    page.locator("th[aria-sort=descending]", has_text="User").wait_for()
    search(page, ip="nonsense")
    told(page, "Ip is an address, a network such as 192.0.2.0/24")
    assert [fault for fault in visitor.faults if "400" not in fault] == []


@pytest.mark.feature("A1")
def test_many_sessions_come_a_page_at_a_time(administered: Administered, visit: Visit) -> None:
    """Each of a thousand is on one page, and the way back is the same."""
    server = administered()
    make(server, 1000)
    page = open_admin(administrator(visit), server, "sessions")
    seen: list[str] = []
    for first in range(1, 1000, 100):
        status(page, f"Sessions: {first:,} to {first + 99:,} of 1,000")
        assert len(refs(page)) == 100
        seen += refs(page)
        if first < 901:
            page.get_by_role("button", name="Next").click()
    assert len(set(seen)) == 1000
    page.get_by_role("button", name="Next", disabled=True).wait_for()
    page.get_by_role("button", name="Previous").click()
    status(page, "Sessions: 801 to 900 of 1,000")
    page.locator("#sessions").get_by_label("Show").select_option("500")
    status(page, "Sessions: 1 to 500 of 1,000")


@pytest.mark.feature("A1")
def test_page_is_no_larger_with_many_thousand_sessions(administered: Administered, visit: Visit) -> None:
    """What comes and what is in the page is one page, however many there are, and one in many is found among them."""
    server = administered(log={"level": "warning"})
    for _ in range(10):
        make(server, 2000)
    make(server, 1, ip="10.9.8.7")
    visitor = administrator(visit)
    came: list[int] = []

    def count_what_comes(route: Any) -> None:
        answer = route.fetch()
        came.append(len(answer.json()["sessions"]))
        route.fulfill(response=answer)

    visitor.context.route("**/api/sessions?*", count_what_comes)
    page = open_admin(visitor, server, "sessions")
    status(page, "Sessions: 1 to 100 of 20,001")
    elements = page.locator("*").count()
    page.get_by_role("button", name="Next").click()
    status(page, "Sessions: 101 to 200 of 20,001")
    assert rows(page).count() == 100
    assert page.locator("*").count() == elements
    assert set(came) == {100}
    page.locator("#sessions").get_by_label("Show").select_option("25")
    status(page, "Sessions: 1 to 25 of 20,001")
    first = refs(page)
    search(page, ip="10.9.")
    rows(page).get_by_text("10.9.8.7").wait_for()
    assert rows(page).count() == 1
    page.locator("#sessions-search").get_by_role("button", name="Clear").click()
    status(page, "Sessions: 1 to 25 of 20,001")
    assert refs(page) == first, "from the beginning again"


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
    wait_until_user(guest)
    rows(page).get_by_text(USER, exact=True).wait_for()  # a ref may have these letters in it
    held: list[Any] = []  # the row is gone with the next list, which must not come before it was seen
    page.route("**/api/sessions?*", lambda route: held.append(route))
    guest.get_by_role("button", name="Log out").click()
    page.locator("#sessions-list tr.gone", has_text="logged out").wait_for()
    page.unroute("**/api/sessions?*")
    for route in held:
        route.continue_()
    status(page, "Sessions: 0")


@pytest.mark.feature("A2", "W11")
def test_ended_session_closes_its_page_which_says_why(administered: Administered, visit: Visit) -> None:
    """A tab beside the administrator's own, from the list, after a question; Escape is no."""
    server = administered()
    visitor = administrator(visit)
    guest = visitor.arrive(server.address)
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
    card.get_by_role("button", name="Close connection").wait_for()
    second = guest.arrive(server.address)
    card.get_by_role("button", name="Close connection").nth(1).wait_for()
    second.close()
    card.locator(".disconnected", has_text="WebSocket closed").wait_for()
    assert visitor.faults == []
    card.get_by_role("button", name="End session").click()
    agree(page, "End session")
    card.get_by_text("This session has ended: ended by an administrator.").wait_for()
    wait_for_state(first, "closed")
    page.keyboard.press("Escape")
    card.wait_for(state="hidden")
    wait_until(page, "location.hash === '#sessions'")  # a dialog tells with the next frame that it was closed
    assert [fault for fault in visitor.faults if "404" not in fault] == []  # it may look once more just at the end


@pytest.mark.feature("A3")
def test_button_that_is_held_down_stays_while_its_card_is_drawn_anew(administered: Administered, visit: Visit) -> None:
    """A press takes a while, and what happens meanwhile must not take the button away: it would be no click."""
    server = administered()
    guest = visit()
    ref = guest.arrive(server.address).locator("#ref").inner_text()
    page = open_admin(administrator(visit), server, f"session/{ref}")
    card = page.get_by_role("dialog", name=f"Session {ref}")
    card.get_by_role("button", name="End session").hover()
    page.mouse.down()
    for _ in range(2):  # the second is asked for when the first was shown
        with page.expect_response(f"**/api/sessions/{ref}"):
            guest.arrive(server.address)
    page.mouse.up()
    agree(page, "End session")
    card.get_by_text("This session has ended: ended by an administrator.").wait_for()


@pytest.mark.feature("A3")
def test_card_that_is_opened_right_after_another_stays(administered: Administered, visit: Visit) -> None:
    """A dialog tells late that it was closed: not of the card, nor of the question, that is shown by then."""
    server = administered()
    make(server, 2)
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 2")
    rows(page).first.get_by_role("link").click()
    page.locator("#card h3").first.wait_for()
    with page.expect_response("**/api/sessions/*"):
        page.evaluate(
            """() => {
                document.querySelector("#card .bar button").click();
                document.querySelector("#sessions-list tbody tr:last-child a").click();
            }"""
        )
    page.locator("#card h3").first.wait_for()
    wait_until(page, "location.hash === `#session/${document.querySelector('#card-title .code').textContent}`")
    page.keyboard.press("Escape")
    page.locator("#card").wait_for(state="hidden")
    rows(page).first.get_by_role("button", name="End session").click()
    page.evaluate(
        """() => {
            document.getElementById("ask-no").click();
            document.querySelector("#sessions-list tbody tr:last-child button").click();
        }"""
    )
    agree(page, "End session")
    told(page, "Ended session")
    status(page, "Sessions: 1")


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
    page.get_by_role("button", name="End selected", disabled=True).wait_for()


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
def test_all_from_before_a_time_end_and_no_later_ones(administered: Administered, visit: Visit) -> None:
    """The question says the time; who came after it stays."""
    server = administered()
    make(server, 3, "early")
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 3")
    # The next whole second, as somebody at this clock writes it; the others come when it has passed.
    before = page.evaluate(
        """() => {
            const second = new Date(Math.ceil((Date.now() + 1) / 1000) * 1000);
            const zone = second.getTimezoneOffset() * 60000;
            return [new Date(second - zone).toISOString().slice(0, 19), second.getTime()];
        }"""
    )
    wait_until(page, f"Date.now() > {before[1]}")
    make(server, 2, "late")
    search(page, before=before[0])
    status(page, "Sessions: 1 to 3")
    page.get_by_role("button", name="End all sessions started before").click()
    page.locator("#ask").get_by_role("button", name="End all sessions started before").click()
    told(page, "Ended 3 sessions.")
    page.locator("#sessions-search").get_by_role("button", name="Clear").click()
    status(page, "Sessions: 2")
    assert rows(page).get_by_text("late").count() == 2


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


@pytest.mark.feature("A2", "A5")
def test_shared_store_has_a_list_of_nodes(
    administered: Administered, visit: Visit, redis_server: RedisServer, redis_prefix: str
) -> None:
    """Which they are, which of them answers, what the others have; and a session ends wherever its sockets are."""
    shared = {
        "store": {"kind": "redis", "url": redis_server.url(), "prefix": redis_prefix},
        "session": {"identity": ["cookie"], "lease": "9s"},
    }
    here, elsewhere = administered(**shared), administered(**shared)
    guest = visit().arrive(elsewhere.address)
    page = open_admin(administrator(visit), here)
    nodes = page.get_by_role("region", name="Nodes").get_by_role("listitem")
    nodes.filter(has_text=re.compile(r"\(this one\)0 WebSockets$")).wait_for()
    nodes.filter(has_text=re.compile(r"\w1 WebSocket$")).wait_for()
    nodes.nth(2).wait_for(state="detached")
    page.get_by_role("link", name="Connections").click()
    page.locator("#connections-elsewhere", has_text="has 1 WebSocket.").wait_for()
    page.get_by_role("link", name="Sessions").click()
    status(page, "Sessions: 1")
    rows(page).get_by_role("link").click()
    card = page.get_by_role("dialog", name="Session")
    card.get_by_text("1 other on other nodes.").wait_for()
    card.get_by_role("button", name="End session").click()
    agree(page, "End session")
    guest.get_by_role("alert").get_by_text("an administrator ended it").wait_for()
    wait_for_state(guest, "closed")


def test_page_comes_back_after_a_restart_of_the_server(
    administered: Administered, visit: Visit, lasting_port: int
) -> None:
    """Meanwhile it says that it is not connected; afterwards it shows what is."""
    server = administered(port=lasting_port)
    make(server, 2)
    page = open_admin(administrator(visit), server, "sessions")
    status(page, "Sessions: 2")
    server.kill()
    page.locator("#stream[data-state=away]").wait_for()
    page.locator("#notice", has_text="The server does not answer.").wait_for()
    again = administered(port=lasting_port)
    page.locator("#stream[data-state=open]").wait_for()
    page.locator("#notice").wait_for(state="hidden")
    make(again, 1)
    status(page, "Sessions: 1")


def test_paused_page_stands_still(administered: Administered, visit: Visit) -> None:
    """Nothing is asked and nothing changes until it goes on; then it is as it should be."""
    server = administered()
    visitor = administrator(visit)
    visitor.context.clock.install()
    page = open_admin(visitor, server, "sessions")
    status(page, "Sessions: 0")
    page.get_by_role("button", name="Pause").click()
    page.locator("#stream[data-state=paused]").wait_for()
    wait_until(page, "fetch('api/stats').then((answer) => answer.json()).then(({ watchers }) => watchers === 0)")
    make(server, 1)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for("01:00")
    page.evaluate("fetch('api/stats')")
    assert [url.rpartition("/")[2] for url in asked] == ["stats"], "that of the line above"
    assert rows(page).count() == 0
    page.get_by_role("button", name="Go on").click()
    status(page, "Sessions: 1")


def test_no_id_and_no_token_is_ever_shown(administered: Administered, visit: Visit) -> None:
    """Who looks at all sessions must not be able to take one: neither what a client holds nor what finds it is there."""
    server = administered()
    guest = visit()
    ref = guest.arrive(server.address).locator("#ref").inner_text()
    [token] = [cookie["value"] for cookie in guest.context.cookies()]
    page = open_admin(administrator(visit), server, "sessions")
    rows(page).get_by_role("link").click()
    page.get_by_role("heading", name="History").wait_for()
    answers = [
        page.request.get(f"{server.address}/wshttp/admin/api/{each}").text() for each in ("sessions", "connections")
    ]
    answers.append(page.request.get(f"{server.address}/wshttp/admin/api/sessions/{ref}").text())
    for text in (page.content(), *answers):
        assert ref in text
        for secret in (token, f"token:{token}", hashlib.sha256(f"token:{token}".encode()).hexdigest()):
            assert secret not in text


def test_text_of_others_is_never_markup(administered: Administered, visit: Visit) -> None:
    """A user's name, a user agent and a key of data are shown as they are, wherever they are."""
    server = administered()
    guest = visit(user_agent=EVIL)
    assert guest.context.request.get(f"{server.address}/icon.svg").ok
    tab = guest.arrive(server.address)
    log_in(tab, user=EVIL)
    wait_until_user(tab, EVIL)
    assert guest.context.request.get(f"{server.address}/keep").ok
    page = open_admin(administrator(visit), server, "connections")
    status(page, "Connections: 1", "connections")
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
    card.wait_for(state="hidden")
    page.get_by_role("link", name="Overview").click()
    page.locator("#feed li.ended").get_by_text(EVIL).wait_for()
    assert page.locator("img").count() == 0
    assert page.title() != "taken"


def test_name_that_turns_the_direction_of_writing_turns_only_itself(administered: Administered, visit: Visit) -> None:
    """In questions, buttons and notices, what follows a name reads on as it was written; nor can a name end that."""
    server = administered()
    make(server, 1, user="\u2069\u202egnp.ada")
    page = open_admin(administrator(visit), server, "sessions")
    rows(page).get_by_role("button", name="End session").click()
    title = page.locator("#ask-title")
    title.get_by_text("End the session").wait_for()
    assert title.inner_text().endswith(" of \u2068\u202egnp.ada\u2069?")
    agree(page, "End session")
    told(page, " of \u2068\u202egnp.ada\u2069.")


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
    wait_until_user(guest)
    found: list[str] = []
    page = open_admin(administrator(visit, viewport=viewport, color_scheme=scheme), server)
    page.locator(".chart polyline").first.wait_for(state="attached")

    def look(name: str) -> None:
        picture(page, f"admin-{size}-{scheme}-{name}")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], name
        assert page.evaluate("(nav => nav.scrollWidth <= nav.clientWidth)(document.querySelector('header nav'))"), name
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
    for dialog in ("#ask", "#card"):
        page.keyboard.press("Escape")
        page.locator(dialog).wait_for(state="hidden")
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
    wait_until(page, f"document.activeElement.title === '{ref}'")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    told(page, "Ended the session")


def test_shipped_files_name_no_other_host() -> None:
    """The page needs nothing of anybody else's, has no script or style in its HTML, and makes no HTML of text."""
    files = sorted(ADMIN.iterdir())
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
