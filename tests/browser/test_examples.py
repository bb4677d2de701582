"""The pages of the examples, in a browser."""

from __future__ import annotations

import sys

from processes import ON_ANY_FREE_PORT, ROOT, serving
from visiting import Visit


def command(name: str) -> tuple[str, ...]:
    return (sys.executable, "-c", ON_ANY_FREE_PORT, str(ROOT / "examples" / name))


def test_chat_says_who_said_it(visit: Visit) -> None:
    """A name that was changed is in what is said next, in another browser too."""
    with serving(command=command("chat.py"), port=None) as server:
        ada, guest = visit(), visit()
        first, second = ada.open(server.address), guest.open(server.address)
        second.locator("#members", has_text="2").wait_for()
        first.get_by_label("Your name").fill("Ada")
        first.get_by_role("button", name="Change").click()
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
        page.wait_for_function("document.querySelector('polyline').points.length > 1")
        assert visitor.faults == []
