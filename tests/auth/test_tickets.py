"""Tickets: once, for a moment, and nothing in the store that opens anything."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from kept import InMemory, OnRedis

from wshttp.auth.tickets import LIFETIME, MAX_TICKETS, Admission, Tickets
from wshttp.errors import TooManyRequests

pytestmark = pytest.mark.feature("U4")

KEY = bytes(range(32))


class _Tickets:
    """What holds wherever they are kept."""

    shared: Any
    let_pass: Any

    async def test_ticket_opens_once(self) -> None:
        """It says for which session it was made, and under which key; the second time it is unknown."""
        async with self.shared() as shared:
            tickets = Tickets(shared)
            ticket = await tickets.issue("ref", KEY)
            assert await tickets.redeem(ticket) == Admission("ref", KEY)
            assert await tickets.redeem(ticket) is None

    async def test_ticket_of_many_who_take_it_has_one_winner(self) -> None:
        """However many nodes get it at once, one opens."""
        async with self.shared() as shared:
            ticket = await Tickets(shared).issue("ref", KEY)
            taken = await asyncio.gather(*(Tickets(shared).redeem(ticket) for _ in range(20)))
            assert [each for each in taken if each is not None] == [Admission("ref", KEY)]

    async def test_ticket_is_good_for_half_a_minute(self) -> None:
        """Just before the end it opens; after it, not."""
        async with self.shared() as shared:
            tickets = Tickets(shared)
            early, late = await tickets.issue("ref", KEY), await tickets.issue("ref", KEY)
            self.let_pass(LIFETIME - 1)
            assert await tickets.redeem(early) is not None
            self.let_pass(2)
            assert await tickets.redeem(late) is None

    @pytest.mark.parametrize("forged", ["", "x", "A" * 43, "A" * 10_000, "ä" * 43, "../" * 15, "\x00" * 43])
    async def test_forged_ticket_opens_nothing(self, forged: str) -> None:
        """What nobody has issued is unknown, whatever it looks like."""
        async with self.shared() as shared:
            tickets = Tickets(shared)
            await tickets.issue("ref", KEY)
            assert await tickets.redeem(forged) is None

    async def test_tickets_of_one_session_are_bounded(self) -> None:
        """Nobody fills the store with them; after a while there are others."""
        async with self.shared() as shared:
            tickets = Tickets(shared)
            for _ in range(MAX_TICKETS):
                await tickets.issue("ref", KEY)
            with pytest.raises(TooManyRequests):
                await tickets.issue("ref", KEY)
            assert await tickets.issue("other", KEY)
            self.let_pass(LIFETIME + 1)
            assert await tickets.issue("ref", KEY)


class TestTicketsInMemory(_Tickets, InMemory):
    """In the memory of one process."""


class TestTicketsOnRedis(_Tickets, OnRedis):
    """On a real Redis, for all nodes."""

    async def test_store_holds_no_ticket(self) -> None:
        """Of a ticket there is its SHA-256, and nothing from which it could be made."""
        async with self.shared() as shared:
            ticket = await Tickets(shared).issue("ref", KEY)
            with self.server.client() as client:
                keys = list(client.scan_iter(f"{{{self.prefix}}}:*"))
                held = repr([(key, client.dump(key)) for key in keys])
            assert hashlib.sha256(ticket.encode()).hexdigest() in held
            assert ticket not in held


async def test_tickets_are_random(clock: Any) -> None:
    """256 bits, in characters that a URL takes as they are; no two are alike."""
    async with InMemory().shared() as shared:
        tickets = [await Tickets(shared).issue(str(number), KEY) for number in range(200)]
    assert len(set(tickets)) == 200
    assert all(len(ticket) == 43 and ticket.replace("-", "").replace("_", "").isalnum() for ticket in tickets)
