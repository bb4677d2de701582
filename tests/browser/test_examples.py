"""The pages of the examples, and the one of the howto, in a browser."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from browsing import wait_until
from processes import ON_ANY_FREE_PORT, ROOT, serving
from visiting import Visit

HOWTO = (ROOT / "docs" / "howto" / "browser.md").read_text()


def command(name: str) -> tuple[str, ...]:
    return (sys.executable, "-c", ON_ANY_FREE_PORT, str(ROOT / "examples" / name))


def test_chat_says_who_said_it(visit: Visit) -> None:
    """A name that was changed is in what is said next, in another browser too."""
    with serving(command=command("chat.py"), port=None) as server:
        ada, guest = visit(), visit()
        first, second = ada.open(server.address), guest.open(server.address)
        second.locator("#members", has_text="2").wait_for()
        first.get_by_label("Your name").fill(" Ada ")
        first.get_by_role("button", name="Change").click()
        wait_until(first, "document.querySelector('[name=name]').value === 'Ada'")  # as the server has it
        first.get_by_label("Message", exact=True).fill("hello")
        first.get_by_role("button", name="Send").click()
        second.get_by_text("Ada: hello").wait_for()
        assert ada.faults == guest.faults == []


def test_dashboard_draws_what_comes(visit: Visit) -> None:
    """The numbers are there, and a line of more than one point."""
    with serving(command=command("dashboard.py"), port=None) as server:
        visitor = visit()
        page = visitor.open(server.address)
        page.locator("#sockets", has_text="1").wait_for()
        wait_until(page, "document.querySelector('polyline').points.length > 1")
        assert visitor.faults == []


def test_page_of_the_howto_works_in_a_folder_of_ones_own(visit: Visit, tmp_path: Path) -> None:
    """Followed word for word, in a folder with nothing else: the page finds the client, and has a session."""
    page_of = re.search(r"Save this as `(site/index\.html)`:\n\n```html\n(.*?)^```$", HOWTO, re.MULTILINE | re.DOTALL)
    command_of = re.search(r"^```sh\nwshttp serve (.*)\n```$", HOWTO, re.MULTILINE)
    assert page_of is not None
    assert command_of is not None
    (tmp_path / "site").mkdir()
    (tmp_path / page_of[1]).write_text(page_of[2])
    with serving(*shlex.split(command_of[1]), cwd=tmp_path) as server:
        visitor = visit()
        page = visitor.open(server.address)
        page.locator("#state", has_text="open").wait_for()
        page.locator("#session", has_text=re.compile("^[0-9a-f]{24}, a guest$")).wait_for()
        assert [cookie["name"] for cookie in visitor.context.cookies()] == ["wshttp"]
