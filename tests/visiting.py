"""Somebody with a browser who looks at the page."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from processes import PATIENCE, ROOT, Process

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}

USER, PASSWORD = "ada", "correct horse battery"

OUTPUT = ROOT / "test-output"
"""Where screenshots are kept, for whoever looks at a run."""

RUN_AXE = """async () => (await axe.run()).violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" | ")}`)"""


class Visitor:
    """Somebody with a browser of their own: its tabs share cookies."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE * 1000)
        self.context = context
        self.faults: list[str] = []
        """What the browser complained of: errors in the console, exceptions, requests that failed."""

    def open(self, url: str) -> Page:
        """Open a tab."""
        page = self.context.new_page()
        page.on("console", lambda message: message.type in ("error", "warning") and self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.goto(url)
        return page

    def arrive(self, url: str) -> Page:
        """Open a tab, and wait until its connection is open."""
        page = self.open(url)
        wait_for_state(page, "open")
        return page


Visit: TypeAlias = Callable[..., Visitor]
Serve: TypeAlias = Callable[..., Process]


def wait_for_state(page: Page, state: str) -> None:
    """Wait until the page says that its connection is in a state."""
    page.locator(f"#state[data-state={state}]").wait_for()


def log_in(page: Page, password: str = PASSWORD, user: str = USER) -> None:
    """Fill in the form, and send it."""
    page.get_by_label("User", exact=True).fill(user)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()


def wait_until_user(page: Page, user: str = USER) -> None:
    """Wait until a tab is a user's, and is back: the server closes the connection of the token from before.

    Who logs out sooner may meet the new connection on its way, which then begins another session.
    """
    page.locator("#user", has_text=user).wait_for()
    page.locator("#returns", has_text="once").wait_for()


def say(page: Page, text: str) -> None:
    """Write a message, and send it."""
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send").click()


def said(page: Page) -> list[str]:
    """Return the messages that the page shows, each with who said it, without those of the page itself."""
    return page.locator("#message-list li:not([data-system])").all_inner_texts()


def picture(page: Page, name: str, **options: Any) -> Path:
    """Keep a screenshot, from the top."""
    page.evaluate("scrollTo(0, 0)")
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=(path := OUTPUT / f"{name}.png"), **options)
    return path


def complaints(page: Page) -> list[str]:
    """Return what axe-core finds on the page as it is; skip the test where there is no axe-core."""
    modules = os.environ.get("WSHTTP_NODE_MODULES")
    axe = Path(modules or ROOT / ".venv" / "node" / "node_modules") / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip(
            "there is no axe-core; `npm install --prefix FOLDER axe-core`, and WSHTTP_NODE_MODULES=FOLDER/node_modules"
        )
    page.evaluate(axe.read_text())
    return page.evaluate(RUN_AXE)
