"""Messages of other nodes: in order, one after the other, and not too many at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from serving import until

from wshttp.realtime import mailbox as mailbox_module
from wshttp.realtime.letter import Letter
from wshttp.realtime.mailbox import Mailbox


class Desk:
    """Takes letters, one whenever the test says so."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.filters: list[Any] = []
        self.open = asyncio.Event()

    async def take(self, letter: Letter, include: Any = None, exclude: Any = None) -> int:
        await self.open.wait()
        if letter.data == "bad":
            raise RuntimeError("no such letter")
        self.taken.append(letter.data)
        self.filters.append((include, exclude))
        return 1


async def test_mailbox_delivers_in_order_whatever_fails() -> None:
    """A letter that cannot be delivered is reported, and the next one follows."""
    desk = Desk()
    mailbox = Mailbox(desk.take)
    for data in ("a", "bad", "b"):
        mailbox.put(Letter(data), 1)
    assert desk.taken == []
    desk.open.set()
    await until(lambda: mailbox._task is None)
    mailbox.put(Letter("c", include=frozenset("x"), exclude=frozenset("y")), 1)
    await until(lambda: mailbox._task is None)
    assert desk.taken == ["a", "b", "c"]
    assert desk.filters == [(None, None)] * 2 + [(frozenset("x"), frozenset("y"))]
    await mailbox.close()


@pytest.mark.parametrize(("number", "size"), [("MAX_LETTERS", 1), ("MAX_BYTES", 10)])
async def test_mailbox_that_is_full_drops_the_oldest(
    number: str, size: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By number and by bytes, said once; one alone is never too large."""
    monkeypatch.setattr(mailbox_module, number, 3 * size)
    desk = Desk()
    mailbox = Mailbox(desk.take)
    for data in range(10):
        mailbox.put(Letter(data), size)
    assert len(caplog.records) == 1
    assert mailbox._bytes == 3 * size
    desk.open.set()
    await until(lambda: mailbox._task is None)
    assert desk.taken == [7, 8, 9]
    mailbox.put(Letter("large"), 1000)
    await until(lambda: mailbox._task is None)
    assert desk.taken[3:] == ["large"]
    assert mailbox._bytes == 0


async def test_mailbox_that_closes_drops_what_waits() -> None:
    """Its task is gone, and so is what it had."""
    desk = Desk()
    mailbox = Mailbox(desk.take)
    for data in range(3):
        mailbox.put(Letter(data), 1)
    await asyncio.sleep(0)
    await mailbox.close()
    desk.open.set()
    assert (desk.taken, len(mailbox._waiting), mailbox._bytes) == ([], 0, 0)
