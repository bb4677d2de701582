"""Tickets: once, for a moment, and nothing in the store that opens anything."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from kept import InMemory, OnRedis

from wshttp.auth.tickets import LIFETIME, MAX_FOR_PAYER, MAX_IN_ALL, MAX_TICKETS, Bearer, Tickets
from wshttp.errors import TooManyRequests
from wshttp.stores.kept import TICKETS

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
            ticket = await tickets.issue("ref", KEY, payer="ada")
            assert await tickets.redeem(ticket) == Bearer("ref", KEY)
            assert await tickets.redeem(ticket) is None

    async def test_ticket_of_many_who_take_it_has_one_winner(self) -> None:
        """However many nodes get it at once, one opens."""
        async with self.shared() as shared:
            ticket = await Tickets(shared).issue("ref", KEY, payer="ada")
            taken = await asyncio.gather(*(Tickets(shared).redeem(ticket) for _ in range(20)))
            assert [each for each in taken if each is not None] == [Bearer("ref", KEY)]

    async def test_ticket_is_good_for_half_a_minute(self) -> None:
        """Just before the end it opens; after it, not."""
        async with self.shared() as shared:
            tickets = Tickets(shared)
            early, late = await tickets.issue("ref", KEY, payer="ada"), await tickets.issue("ref", KEY, payer="ada")
            self.let_pass(LIFETIME - 1)
            assert await tickets.redeem(early) is not None
            self.let_pass(2)
            assert await tickets.redeem(late) is None

    @pytest.mark.parametrize("forged", ["", "x", "A" * 43, "A" * 10_000, "ä" * 43, "../" * 15, "\x00" * 43])
    async def test_forged_ticket_opens_nothing(self, forged: str) -> None:
        """What nobody has issued is unknown, whatever it looks like."""
        async with self.shared() as shared:
            tickets = Tickets(shared)
            await tickets.issue("ref", KEY, payer="ada")
            assert await tickets.redeem(forged) is None

    async def test_tickets_of_one_session_are_bounded(self) -> None:
        """Nobody fills the store with them; after a while there are others."""
        async with self.shared() as shared:
            tickets = Tickets(shared)
            for _ in range(MAX_TICKETS):
                await tickets.issue("ref", KEY, payer="ada")
            with pytest.raises(TooManyRequests):
                await tickets.issue("ref", KEY, payer="ada")
            assert await tickets.issue("other", KEY, payer="ada")
            self.let_pass(LIFETIME + 1)
            assert await tickets.issue("ref", KEY, payer="ada")

    async def test_tickets_of_one_payer_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many sessions somebody has; then no key is kept for another one, and others get theirs."""
        monkeypatch.setattr("wshttp.auth.tickets.MAX_FOR_PAYER", 5)
        async with self.shared() as shared:
            tickets = Tickets(shared)
            made = [await tickets.issue(f"ref{number}", KEY, payer="ada") for number in range(5)]
            with pytest.raises(TooManyRequests):
                await tickets.issue("another", KEY, payer="ada")
            assert await shared.counter("tickets:another") == (0, 0)
            assert await tickets.issue("bobs", KEY, payer="bob")
            assert all([await tickets.redeem(ticket) for ticket in made])
            self.let_pass(LIFETIME + 1)
            assert await tickets.issue("another", KEY, payer="ada")

    async def test_what_one_session_is_refused_does_not_count_for_its_payer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that asks without end holds up nobody at its address."""
        monkeypatch.setattr("wshttp.auth.tickets.MAX_TICKETS", 2)
        monkeypatch.setattr("wshttp.auth.tickets.MAX_FOR_PAYER", 4)
        async with self.shared() as shared:
            tickets = Tickets(shared)
            for wanted in range(8):
                if wanted < 2:
                    await tickets.issue("ref", KEY, payer="ada")
                    continue
                with pytest.raises(TooManyRequests):
                    await tickets.issue("ref", KEY, payer="ada")
            assert await tickets.issue("other", KEY, payer="ada")

    async def test_tickets_in_all_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Then the next is refused, and nobody loses one that was given."""
        monkeypatch.setattr("wshttp.auth.tickets.MAX_IN_ALL", 5)
        async with self.shared() as shared:
            tickets = Tickets(shared)
            made = [await tickets.issue(f"ref{n}", KEY, payer=f"user{n}") for n in range(5)]
            with pytest.raises(TooManyRequests):
                await tickets.issue("another", KEY, payer="bob")
            assert await shared.counter("tickets:another") == (0, 0)
            assert all([await tickets.redeem(ticket) for ticket in made])


def test_what_is_given_has_room() -> None:
    """Twice as many as are made in a window live at once: with their counters, they fit into what is kept."""
    assert MAX_TICKETS < MAX_FOR_PAYER < MAX_IN_ALL
    assert TICKETS.max_keys >= 2 * 3 * MAX_IN_ALL
    assert 2 * MAX_IN_ALL * len(f"{'0' * 32}:{KEY.hex()}") <= TICKETS.max_bytes


class TestTicketsInMemory(_Tickets, InMemory):
    """In the memory of one process."""


class TestTicketsOnRedis(_Tickets, OnRedis):
    """On a real Redis, for all nodes."""

    async def test_store_holds_no_ticket(self) -> None:
        """Of a ticket there is its SHA-256, and nothing from which it could be made."""
        async with self.shared() as shared:
            ticket = await Tickets(shared).issue("ref", KEY, payer="ada")
            with self.server.client() as client:
                keys = list(client.scan_iter(f"{{{self.prefix}}}:*"))
                held = repr([(key, client.dump(key)) for key in keys])
            assert hashlib.sha256(ticket.encode()).hexdigest() in held
            assert ticket not in held


async def test_tickets_are_random(clock: Any) -> None:
    """256 bits, in characters that a URL takes as they are; no two are alike."""
    async with InMemory().shared() as shared:
        tickets = [await Tickets(shared).issue(str(number), KEY, payer="ada") for number in range(200)]
    assert len(set(tickets)) == 200
    assert all(len(ticket) == 43 and ticket.replace("-", "").replace("_", "").isalnum() for ticket in tickets)
