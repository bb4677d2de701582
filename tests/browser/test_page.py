"""The page that `make run` serves, as a visitor sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browsing import basic, wait_until
from narrow_network import without_websockets
from processes import ROOT, serving
from redis_servers import RedisServer
from visiting import (
    DESKTOP,
    PASSWORD,
    PHONE,
    USER,
    Serve,
    Visit,
    complaints,
    log_in,
    picture,
    said,
    say,
    wait_for_state,
    wait_until_user,
)

HOLD_THE_DROP = """
const later = globalThis.setTimeout;
globalThis.setTimeout = (call, delay, ...more) => (
    delay === 5000 ? void (globalThis.mend = call) : later(call, delay, ...more));
"""
"""Has a dropped connection stay so until `mend()`, and not for 5 s, which may be too short for all that is to happen."""


def test_page_of_make_run_loads_without_complaints(visit: Visit) -> None:
    """With the settings of `make run` it connects, shows its session, and the browser finds nothing wrong."""
    with serving("--config", "config/demo.yaml") as server:
        visitor = visit()
        page = visitor.arrive(server.address)
        assert "WebSocket" in page.locator("#state").inner_text()
        assert page.locator("#countdown").inner_text().endswith(" s")
        assert page.locator("#user").inner_text() == "anonymous"
        page.close()
        assert visitor.faults == []


@pytest.mark.feature("W1")
def test_page_and_socket_share_a_session(serve: Serve, visit: Visit) -> None:
    """What HTTP says of the session is what the socket said, and a second tab is one more socket of it."""
    visitor = visit()
    server = serve()
    page = visitor.arrive(server.address)
    told = page.evaluate("async () => (await fetch('/wshttp/session?touch=0')).json()")
    assert told["ref"] == page.locator("#ref").inner_text()
    second = visitor.arrive(server.address)
    assert second.locator("#ref").inner_text() == told["ref"]
    page.locator("#connections", has_text="2").wait_for()
    page.locator("[data-step=tabs][data-seen]").wait_for()
    second.close()
    page.locator("#connections", has_text="1").wait_for()
    assert visitor.faults == []


@pytest.mark.feature("W1")
def test_counter_is_raised_over_http_and_over_the_socket(serve: Serve, visit: Visit) -> None:
    """A request of one tab and a message of the other raise the same value, which both show; a new session has none."""
    visitor = visit()
    server = serve()
    first, second = visitor.arrive(server.address), visitor.arrive(server.address)
    first.get_by_role("button", name="Add one over HTTP").click()
    second.locator("#counter", has_text="1").wait_for()
    second.get_by_role("button", name="Add one over the socket").click()
    for page in (first, second):
        page.locator("#counter", has_text="2").wait_for()
        page.locator("#log li", has_text="Counted to 2, over the socket.").wait_for()
        page.locator("[data-step=count][data-seen]").wait_for()
    late = visitor.arrive(server.address)
    late.locator("#counter", has_text="2").wait_for()
    late.get_by_role("button", name="End session").click()
    late.get_by_role("button", name="Begin a new session").click()
    wait_for_state(late, "open")
    late.locator("#counter", has_text="0").wait_for()
    assert visitor.faults == []


def test_counter_is_not_shown_where_the_server_has_none(serve: Serve, visit: Visit) -> None:
    """Without `wshttp.demo` the page asks once, and is the same but for what needs it."""
    visitor = visit()
    page = visitor.arrive(serve(app=None).address)
    asked = "performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/counter')).length"
    wait_until(page, f"{asked} > 0")
    page.evaluate("fetch('/wshttp/session?touch=0').then((answer) => answer.json())")  # later than what it might ask
    assert page.locator("#counting").is_hidden()
    assert page.locator("[data-step=count]").is_hidden()
    assert page.evaluate(asked) == 1
    assert visitor.faults == []


@pytest.mark.feature("A2", "W3")
def test_message_of_an_administrator_is_seen(serve: Serve, visit: Visit) -> None:
    """It is shown as it was written, until it is closed, and ticked off in the tour."""
    visitor = visit()
    server = serve()
    page = visitor.arrive(server.address)
    for message, shown in (("Back in <b>five</b> minutes", None), ({"at": 12}, '{"at":12}')):
        told = server.request(
            "POST",
            "/wshttp/admin/api/broadcast",
            json.dumps({"message": message}),
            headers={"Authorization": basic(USER, PASSWORD), "Content-Type": "application/json"},
        )
        assert told.status == 200
        page.get_by_role("alert").get_by_text(f"A message to you: {shown or message}").wait_for()
        page.get_by_role("alert").get_by_role("button", name="Close").click()
        page.locator("#banner").wait_for(state="hidden")
    page.locator("[data-step=message][data-seen]").wait_for()
    assert visitor.faults == []


@pytest.mark.feature("C1", "C6")
def test_log_in_reaches_all_tabs(serve: Serve, visit: Visit) -> None:
    """Both tabs become the user's, in the same session; a log-out ends it in both, and says why."""
    visitor = visit()
    server = serve()
    first, second = visitor.arrive(server.address), visitor.arrive(server.address)
    ref = first.locator("#ref").inner_text()
    log_in(first)
    for page in (first, second):
        wait_until_user(page)
        wait_for_state(page, "open")
        assert page.locator("#ref").inner_text() == ref
        assert page.locator("#login").is_hidden()
    first.get_by_role("button", name="Log out").click()
    for page in (first, second):
        page.get_by_role("alert").get_by_text("you ended it, here or in another tab").wait_for()
        wait_for_state(page, "closed")
    second.get_by_role("button", name="Begin a new session").click()
    wait_for_state(second, "open")
    assert second.locator("#ref").inner_text() != ref
    assert second.locator("#user").inner_text() == "anonymous"
    assert visitor.faults == []


def test_wrong_password_is_said_beside_the_form(serve: Serve, visit: Visit) -> None:
    """Nothing else happens: the page stays connected as whoever it is."""
    page = visit().arrive(serve().address)
    log_in(page, "wrong")
    page.locator("#login-error", has_text="User or password is wrong.").wait_for()
    assert page.locator("#banner").is_hidden()
    assert page.locator("#user").inner_text() == "anonymous"
    log_in(page)
    page.locator("#user", has_text="ada").wait_for()


@pytest.mark.feature("U5")
def test_too_many_passwords_are_told_when_to_come_back(serve: Serve, visit: Visit) -> None:
    """After as many failures as are allowed, the form says how long to wait, also for the right password."""
    page = visit().arrive(serve(auth={"max_failures": 2, "failure_window": "10m"}).address)
    for _ in range(2):
        log_in(page, "wrong")
        page.locator("#login-error", has_text="wrong").wait_for()
        page.locator("#login-form button:enabled").wait_for()
    log_in(page)
    page.locator("#login-error", has_text="Too many attempts. Try again in").wait_for()


@pytest.mark.feature("C1")
def test_warned_visitor_may_stay(serve: Serve, visit: Visit) -> None:
    """The countdown runs down, the warning comes, and "Stay" starts it again, in the other tab too."""
    visitor = visit()
    server = serve(session={"idle_timeout": "24s", "warn_before": "12s"})
    page, other = visitor.arrive(server.address), visitor.arrive(server.address)
    for each in (page, other):
        each.get_by_role("alert").get_by_text("Your session ends in").wait_for()
    assert "left" in page.title()
    page.get_by_role("alert").get_by_role("button", name="Stay").click()
    for each in (page, other):
        each.locator("#banner").wait_for(state="hidden")
        wait_until(each, "parseInt(document.getElementById('countdown').textContent) > 12")
        wait_for_state(each, "open")
    page.locator("[data-step=stay][data-seen]").wait_for()
    assert visitor.faults == []


@pytest.mark.feature("C1", "W11")
def test_session_that_nobody_uses_ends_on_the_page(serve: Serve, visit: Visit) -> None:
    """The socket is closed with the reason, nothing is left of the session, and the visitor may begin anew."""
    visitor = visit()
    page = visitor.arrive(serve(session={"idle_timeout": "8s", "warn_before": "1s"}).address)
    ref = page.locator("#ref").inner_text()
    page.get_by_role("alert").get_by_text("nobody used it for too long").wait_for()
    wait_for_state(page, "closed")
    assert page.locator("#countdown").inner_text() == "–"
    assert page.get_by_role("button", name="Stay", exact=True).is_disabled()
    page.get_by_role("button", name="Begin a new session").click()
    wait_for_state(page, "open")
    assert page.locator("#ref").inner_text() != ref
    assert [
        fault for fault in visitor.faults if "401" not in fault
    ] == []  # a page that is told late asks whether it has


@pytest.mark.feature("W11")
def test_end_by_an_administrator_is_said_on_the_page(serve: Serve, visit: Visit) -> None:
    """Both tabs are closed with the reason, and do not come back by themselves."""
    visitor = visit()
    server = serve()
    pages = [visitor.arrive(server.address) for _ in range(2)]
    ref = pages[0].locator("#ref").inner_text()
    login = {"Authorization": basic(USER, PASSWORD)}
    assert server.request("DELETE", f"/wshttp/admin/api/sessions/{ref}", headers=login).status < 300
    for page in pages:
        page.get_by_role("alert").get_by_text("an administrator ended it").wait_for()
        wait_for_state(page, "closed")
    assert visitor.faults == []


@pytest.mark.feature("W3", "W12")
def test_rooms_carry_messages_and_presence(serve: Serve, visit: Visit) -> None:
    """Two visitors see each other and read each other, in the same room only; who comes later reads what was said."""
    server = serve(session={"presence_grace": "0s"})
    ada, guest = visit(), visit()
    first, second = ada.arrive(server.address), guest.arrive(server.address)
    first.locator("#members > span").nth(1).wait_for()
    say(first, "hello")
    second.locator("#message-list li", has_text="hello").wait_for()
    second.get_by_role("radio", name="Kitchen").focus()
    second.keyboard.press("Space")
    first.locator("#message-list li[data-system]", has_text="left").wait_for()
    say(second, "in the kitchen")
    second.locator("#message-list li", has_text="in the kitchen").wait_for()
    late = visit().arrive(server.address)
    late.locator("#message-list li", has_text="hello").wait_for()
    say(late, "goodbye")
    first.locator("#message-list li", has_text="goodbye").wait_for()
    assert [text.split()[-1] for text in said(first)] == ["hello", "goodbye"]
    assert ada.faults == guest.faults == []


@pytest.mark.feature("C5")
def test_dropped_connection_resumes_without_gap_and_without_double(serve: Serve, visit: Visit) -> None:
    """What another says meanwhile, and what was said into the void, are there afterwards, once and in order."""
    server = serve()
    dropping = visit()
    dropping.context.add_init_script(HOLD_THE_DROP)
    first, second = dropping.arrive(server.address), visit().arrive(server.address)
    say(second, "before")
    first.locator("#message-list li", has_text="before").wait_for()
    first.get_by_role("button", name="Drop it for 5 s").click()
    wait_for_state(first, "waiting")
    for text in ("one", "two", "three"):
        say(second, text)
    second.locator("#message-list li", has_text="three").wait_for()
    say(first, "mine")
    first.locator("#message-list li", has_text="waits for the connection").wait_for()
    first.evaluate("mend()")
    wait_for_state(first, "open")
    for page in (first, second):
        page.locator("#message-list li:not([data-system])", has_text="mine").wait_for()
        assert [text.split()[-1] for text in said(page)] == ["before", "one", "two", "three", "mine"]
    first.locator("[data-step=drop][data-seen]").wait_for()
    first.locator("#log li", has_text="3 messages were missed, and all are here").wait_for()
    first.locator("#message-list li", has_text="waits for the connection").wait_for(state="detached")


@pytest.mark.feature("C5")
def test_page_comes_back_to_a_server_that_was_restarted(
    serve: Serve, visit: Visit, tmp_path: object, lasting_port: int
) -> None:
    """With sessions in a file, it is the same session; while nobody listens, the page says so."""
    durable = {"kind": "sqlite", "path": f"{tmp_path}/sessions.db"}
    first = serve(port=lasting_port, store=durable)
    page = visit().arrive(first.address)
    ref = page.locator("#ref").inner_text()
    first.kill()
    wait_for_state(page, "waiting")
    page.get_by_role("alert").get_by_text("This page comes back by itself.").wait_for()
    serve(port=lasting_port, store=durable)
    wait_for_state(page, "open")
    assert page.locator("#ref").inner_text() == ref
    assert page.locator("#returns").inner_text() == "once"


@pytest.mark.feature("C5", "W9")
def test_page_resumes_when_its_server_is_back(
    serve: Serve, visit: Visit, redis_server: RedisServer, redis_prefix: str, lasting_port: int
) -> None:
    """What was said at another server while its own was away is there afterwards, once and in order; so is the session."""
    store = {"kind": "redis", "url": redis_server.url(), "prefix": redis_prefix}
    own, other = serve(port=lasting_port, store=store), serve(store=store)
    page, talker = visit().arrive(own.address), visit().arrive(other.address)
    ref = page.locator("#ref").inner_text()
    say(talker, "before")
    page.locator("#message-list li", has_text="before").wait_for()
    own.kill()
    wait_for_state(page, "waiting")
    for text in ("one", "two", "three"):
        say(talker, text)
    talker.locator("#message-list li", has_text="three").wait_for()
    serve(port=lasting_port, store=store)
    wait_for_state(page, "open")
    say(talker, "after")
    for each in (page, talker):
        each.locator("#message-list li", has_text="after").wait_for()
        assert [text.split()[-1] for text in said(each)] == ["before", "one", "two", "three", "after"]
    assert page.locator("#ref").inner_text() == ref


def test_page_goes_on_with_a_new_session_where_the_server_forgot_the_old(
    serve: Serve, visit: Visit, lasting_port: int
) -> None:
    """Sessions in memory are gone with the process: the page says that its own has ended, and has another."""
    first = serve(port=lasting_port)
    page = visit().arrive(first.address)
    ref = page.locator("#ref").inner_text()
    first.kill()
    serve(port=lasting_port)
    page.locator("#log li", has_text="The session has ended.").wait_for()
    wait_for_state(page, "open")
    assert page.locator("#ref").inner_text() not in (ref, "–")


@pytest.mark.feature("W7")
def test_blocked_websocket_becomes_a_stream(serve: Serve, visit: Visit) -> None:
    """Where no WebSocket gets through, the same page works over server-sent events: chat, session and end."""
    server = serve()
    visitor = visit()
    with without_websockets(server.port) as address:
        page = visitor.arrive(address)
        assert "server-sent events" in page.locator("#state").inner_text()
        other = visit().arrive(server.address)
        say(page, "by post")
        other.locator("#message-list li", has_text="by post").wait_for()
        say(other, "by socket")
        page.locator("#message-list li", has_text="by socket").wait_for()
        page.get_by_role("button", name="End session").click()
        page.get_by_role("alert").get_by_text("you ended it").wait_for()
        wait_for_state(page, "closed")
        page.close()
    assert len(visitor.faults) == 2, "each of the two attempts, and nothing else"
    assert all("WebSocket connection" in fault for fault in visitor.faults)


@pytest.mark.feature("W7")
def test_button_blocks_websockets_and_allows_them_again(serve: Serve, visit: Visit) -> None:
    """The page goes over to server-sent events in the midst of its session, and back to a WebSocket when loaded anew."""
    page = visit().arrive(serve().address)
    ref = page.locator("#ref").inner_text()
    page.get_by_role("button", name="Block WebSockets").click()
    page.locator("#state", has_text="Connected by server-sent events").wait_for()
    assert page.locator("#ref").inner_text() == ref
    page.get_by_role("button", name="Allow WebSockets").click()
    page.locator("#state", has_text="Connected by WebSocket").wait_for()
    assert page.locator("[data-step=block][data-seen]").count() == 1, "a reload keeps what was seen"


@pytest.mark.parametrize("file", ["empty", "missing", "none"])
def test_page_without_users_says_how_to_get_one(serve: Serve, visit: Visit, tmp_path: Path, file: str) -> None:
    """There is no form that could never work, and no way to a page that asks for a password that nobody has."""
    path = tmp_path / "nobody.htpasswd"
    if file == "empty":
        path.touch(mode=0o600)
    server = serve(auth={"users_file": None if file == "none" else str(path)})
    page = visit().arrive(server.address)
    page.get_by_text("wshttp passwd").wait_for()
    assert page.locator("#login-form").is_hidden()
    assert page.locator("#admin").get_attribute("href") is None
    assert page.get_by_text("Make a user first").count() == 2


def test_blocked_websocket_right_after_a_drop_is_not_waited_for(serve: Serve, visit: Visit) -> None:
    """The button shows what it is there for at once: here, whoever waited for the back-off would wait for ever."""
    visitor = visit()
    visitor.context.add_init_script("Math.random = () => 1e9")
    page = visitor.arrive(serve().address)
    page.get_by_role("button", name="Drop it for 5 s").click()
    page.locator("#returns", has_text="once").wait_for()
    page.get_by_role("button", name="Block WebSockets").click()
    page.locator("#state", has_text="Connected by server-sent events").wait_for()


def test_text_of_others_is_never_markup(serve: Serve, visit: Visit) -> None:
    """What somebody says is shown as it was said."""
    page = visit().arrive(serve().address)
    say(page, "<img src=x onerror=alert(1)>")
    page.locator("#message-list li", has_text="<img src=x onerror=alert(1)>").wait_for()
    assert page.locator("#message-list img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("size", "viewport"), [("phone", PHONE), ("desktop", DESKTOP)])
def test_layout_fits_and_is_accessible(
    serve: Serve, visit: Visit, size: str, viewport: dict[str, int], scheme: str
) -> None:
    """Nothing reaches beyond the screen, and axe-core has nothing to say, before the log-in and with a warning after it."""
    server = serve(session={"idle_timeout": "20m", "warn_before": "19m59s"})
    page = visit(viewport=viewport, color_scheme=scheme).arrive(server.address)
    say(visit().arrive(server.address), "Is anybody there?")
    say(page, "Yes, on a train.")
    page.locator("#message-list li", has_text="train").wait_for()
    page.locator("#counting").wait_for()
    picture(page, f"page-{size}-{scheme}", full_page=True)
    for width in (viewport["width"], 320):  # the narrowest that WCAG 2.2, 1.4.10, asks for
        page.set_viewport_size({"width": width, "height": viewport["height"]})
        wait_until(page, f"innerWidth === {width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.set_viewport_size(viewport)
    assert complaints(page) == []
    log_in(page)
    wait_until_user(page)
    page.get_by_role("button", name="Log out").click()
    wait_for_state(page, "closed")
    picture(page, f"page-{size}-{scheme}-ended", full_page=True)
    assert complaints(page) == []


def test_everything_can_be_reached_by_keyboard(serve: Serve, visit: Visit) -> None:
    """Tab goes through links, buttons, fields and the scrolling lists; what has the focus can be seen."""
    page = visit().arrive(serve().address)
    page.locator("#counting").wait_for()
    reached = set()
    for _ in range(35):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        assert page.evaluate(
            "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== 'none' || document.activeElement.type === 'radio'"
        )
    assert {
        "admin",
        "count-request",
        "count-message",
        "stay",
        "end",
        "drop",
        "block",
        "login-user",
        "login-password",
        "messages",
        "chat-text",
    } <= reached


def test_shipped_files_name_no_other_host() -> None:
    """The page needs nothing of anybody else's."""
    for name in ("index.html", "index.css", "index.js", "network.js"):
        text = (ROOT / "static" / name).read_text()
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text
    assert PASSWORD not in (ROOT / "static" / "index.html").read_text()


@pytest.mark.feature("W1")
@pytest.mark.parametrize("subprotocol", [', "wshttp.v1"', ""], ids=["wshttp.v1", "none"])
def test_plain_websocket_works_without_the_client(serve: Serve, visit: Visit, subprotocol: str) -> None:
    """The lines that docs/howto/browser.md shows, on a page that has never heard of the client; its cookie is its session."""
    guide = (ROOT / "docs" / "howto" / "browser.md").read_text().partition("## Without the client")[2]
    lines = guide.partition("```js\n")[2].partition("```")[0]
    assert ', "wshttp.v1")' in lines
    page = visit().open(f"{serve().address}/wshttp/session")
    assert page.evaluate("document.scripts.length") == 0
    told = page.evaluate(
        f"""async () => {{
            const told = [];
            const console = {{ log: (message) => told.push(message) }};
            {lines.replace(', "wshttp.v1"', subprotocol)}
            while (!told.some(({{ type }}) => type === "resumed")) await new Promise(requestAnimationFrame);
            socket.send(JSON.stringify({{ type: "publish", topic: "room.1", data: "hello" }}));
            while (!told.some(({{ type }}) => type === "message")) await new Promise(requestAnimationFrame);
            return told;
        }}"""
    )
    assert told[0]["type"] == "welcome"
    assert told[0]["session"]["ref"] == page.evaluate("JSON.parse(document.body.innerText).ref")
    assert [each["data"] for each in told if each["type"] == "message"] == ["hello"]


@pytest.mark.feature("U4")
def test_ticket_opens_one_socket(serve: Serve, visit: Visit) -> None:
    """The second WebSocket with it is refused before it opens; the page's own connection is not harmed."""
    page = visit().arrive(serve().address)
    outcomes = page.evaluate(
        """async () => {
            const { ticket } = await (await fetch("/wshttp/ticket", { method: "POST" })).json();
            const open = () => new Promise((resolve) => {
                const socket = new WebSocket(`${location.origin.replace("http", "ws")}/wshttp/socket?ticket=${ticket}`, "wshttp.v1");
                socket.onopen = () => resolve("open");
                socket.onerror = () => resolve("refused");
            });
            return [await open(), await open()];
        }"""
    )
    assert outcomes == ["open", "refused"]
    say(page, "still here")
    page.locator("#message-list li", has_text="still here").wait_for()
    assert page.locator("#returns").inner_text() == "never"
