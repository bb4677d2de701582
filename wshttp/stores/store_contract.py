# ruff: noqa: S101, S106 -- a contract asserts, and its tokens are no secrets; it runs in tests only
"""What every `Store` must keep, as a test suite: each sentence of the port, with parallel callers.

Run it on a store of your own:

    from wshttp.testing import StoreContract

    class TestMyStore(StoreContract):
        async def open_store(self, clock):
            store = MyStore(clock)
            await store.open()                    # empty, and of this test alone
            return store

The tests are coroutines: run them with pytest and a plugin that awaits them (`wshttp.pytest_plugin`, pytest-asyncio in
mode `auto`, anyio).
A store whose time cannot be faked leaves `clock` alone and overrides `advance`: it shifts the store's time, or what the
store has written down. Being late there by some milliseconds does no harm: windows are tens of seconds.
A store that outlives the process overrides `kill`.
A store that several processes can have at once overrides `another`.
A store behind a network overrides `arrive`, which waits until calls that were just started have reached it.
`close_store` is there for what else is to be put away.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, ClassVar, Final
from unittest import SkipTest

from wshttp.addresses import bucket
from wshttp.errors import DataTooLarge, InvalidValue, LockLost, SessionEnded
from wshttp.sessions.changes import ABSENT, MAX_SCHEDULED, Changes, Conflict, Scheduled, encoded_text
from wshttp.sessions.fake_clock import FakeClock
from wshttp.sessions.ids import SessionId, new_event_id, new_ref
from wshttp.sessions.record import RECORD_FIELDS, RENEWED, Ended, Event, Reason, Record, Tombstone
from wshttp.sessions.store import MAX_VICTIMS, Created, Due, Exists, Full, Holder, Limits, Renewed, Store

IDLE: Final = 1200.0
ABSOLUTE: Final = 43_200.0
NO_LIMITS: Final = Limits()
MAX_DATA: Final = 10_000


def _each_limit(maximum: int) -> dict[str, Limits]:
    """Return limits of one kind each, by the name of the setting."""
    return {
        "session.max_sessions": Limits(max_sessions=maximum),
        "session.max_sessions_per_user": Limits(max_sessions_per_user=maximum),
        "session.max_sessions_per_ip": Limits(max_sessions_per_ip=maximum),
    }


SEVEN: Final = _each_limit(7)
CALLERS: Final = 50
"""How many call at once where many do."""


class StoreContract:
    """Inherit, and say how an empty store is opened."""

    TOMBSTONE: ClassVar[float] = 300.0
    """Seconds for which the store under test is told to keep tombstones."""
    WARN_BEFORE: ClassVar[float] = 60.0
    """Seconds before a deadline at which it is told to report a session as expiring."""

    clock: FakeClock

    # --- what an implementation says -----------------------------------------------------------------

    async def open_store(self, clock: FakeClock) -> Store:
        """Return an empty store that is open and takes its time from `clock`."""
        raise TypeError("a test of the Store contract says in `open_store` what it tests")

    async def close_store(self, store: Store) -> None:
        """Put a store away."""
        await store.close()

    async def kill(self, store: Store) -> Store | None:
        """Return the store as it is found, open, when the process that had it was killed; `None` where nothing is."""
        return None

    async def another(self, store: Store) -> Store | None:
        """Return a second store on the same sessions, open, as another node has it; `None` where there can be none."""
        return None

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass for the store."""
        self.clock.advance(seconds)

    async def arrive(self) -> None:
        """Return when calls that were started have reached the store."""
        for _ in range(5):
            await asyncio.sleep(0)

    # --- a life begins ------------------------------------------------------------------------------

    async def test_create_begins_a_life_that_keeps_every_fact(self) -> None:
        """What was created is found by id and by ref, with all that was said of it, and nobody had to go."""
        async with self._store() as store:
            facts: dict[str, Any] = {
                "user": "zoë",
                "roles": ("a", "b"),
                "version": "v1",
                "user_agent": "Mozilla/5.0",
                "start": {"page": "/x", "nested": [1, {"a": None}]},
                "identity": "credentials",
                "remote_ip": "2001:db8::7",
            }
            record = _record(store, data={"a": 1}, **facts)
            # All that there is of a session, so that none is forgotten that comes to be; but for what the store decides.
            decided = {"last_access_at", "restarted_at", "starting", "revision", "warned", "reason"}
            facts = {name: getattr(record, name) for name in RECORD_FIELDS if name not in decided}
            created = await store.create(record, NO_LIMITS)
            assert isinstance(created, Created)
            assert created.ended == []
            for found in (
                created.record,
                await store.load(record.key, touch=False),
                await store.load_ref(record.ref, touch=False),
            ):
                assert isinstance(found, Record)
                assert {name: getattr(found, name) for name in facts} == facts
                assert (found.bucket, found.idle_timeout, found.absolute_timeout) == ("2001:db8::/64", IDLE, ABSOLUTE)
                assert (found.starting, found.warned, found.reason) == (True, False, None)

    async def test_create_owes_a_start_until_it_is_settled(self) -> None:
        """A start stands in the ledger from the creation on; settling strikes it, and doing so again does nothing."""
        async with self._store() as store:
            created = await self._create(store)
            assert (created.event.kind, created.event.ref) == ("start", created.record.ref)
            assert await store.owed() == 1
            assert not await store.settle(Event(new_event_id(), "start", created.record.ref))
            assert await store.owed() == 1
            assert await store.settle(created.event)
            assert not await store.settle(created.event)
            assert await store.owed() == 0

    async def test_data_comes_back_as_it_was(self) -> None:
        """Every kind of JSON value survives, and 1, 1.0 and true stay three values."""
        async with self._store() as store:
            data = {
                "i": 1,
                "f": 1.0,
                "t": True,
                "n": None,
                "s": "ü\u2028😀\0",
                "l": [[], {}, [False, 0, 0.0]],
                "": -(2**53),
            }
            created = await self._create(store, data=json.loads(_text(data)))
            before = created.record.size
            applied = await store.apply(created.record.ref, Changes({"again": data}), MAX_DATA)
            assert encoded_text(applied.data) == encoded_text(data | {"again": data})
            assert applied.size == before + len(f'"again":{_text(data)},'.encode())

    async def test_create_of_one_key_in_parallel_has_one_winner(self) -> None:
        """Of N callers with one key, one gets `Created` and the others `Exists`, with the winner's session."""
        async with self._store() as store:
            records = [_record(store, "same") for _ in range(CALLERS)]
            outcomes = await asyncio.gather(*(store.create(record, NO_LIMITS) for record in records))
            created = [outcome for outcome in outcomes if isinstance(outcome, Created)]
            existing = [outcome.record.ref for outcome in outcomes if isinstance(outcome, Exists)]
            assert len(created) == 1
            assert existing == [created[0].record.ref] * (CALLERS - 1)
            assert await store.count() == 1
            assert await store.owed() == 1

    async def test_create_with_replace_ends_the_session_that_is_there(self) -> None:
        """The old life ends with `replaced` and its last data; the new one has the id."""
        async with self._store() as store:
            old = await self._create(store, "same", data={"a": 1})
            new = await self._create(store, "same", replace=True)
            assert [_end_of(ended) for ended in new.ended] == [(old.record.ref, Reason.REPLACED)]
            assert new.ended[0].record.data == {"a": 1}
            assert await self._ref_of(store, "same") == new.record.ref
            assert await store.owed() == 3

    async def test_create_with_replace_in_parallel_leaves_one(self) -> None:
        """N callers that replace each other leave one life, and each of the others ended once."""
        async with self._store() as store:
            outcomes = await asyncio.gather(
                *(store.create(_record(store, "same"), NO_LIMITS, replace=True) for _ in range(CALLERS))
            )
            created = [outcome for outcome in outcomes if isinstance(outcome, Created)]
            assert len(created) == CALLERS
            ended = [end.record.ref for outcome in created for end in outcome.ended]
            assert sorted([*ended, await self._ref_of(store, "same")]) == sorted(c.record.ref for c in created)

    async def test_create_after_an_end_begins_another_life(self) -> None:
        """An id can be used again; its tombstone gives way, and the ref is another."""
        async with self._store() as store:
            first = await self._create(store, "same")
            await store.end(first.record.ref, Reason.LOGOUT)
            second = await self._create(store, "same")
            assert second.record.ref != first.record.ref
            assert await self._ref_of(store, "same") == second.record.ref

    async def test_create_in_place_of_one_past_its_deadline(self) -> None:
        """A session past its deadline keeps nobody out, and its own end is reported all the same."""
        async with self._store() as store:
            first = await self._create(store, "same")
            await self.advance(IDLE)
            second = await self._create(store, "same")
            assert second.ended == []
            assert [_end_of(ended) for ended in (await self._due(store)).ended] == [(first.record.ref, Reason.IDLE)]
            assert await self._ref_of(store, "same") == second.record.ref

    # --- limits -------------------------------------------------------------------------------------

    async def test_limits_hold_under_parallel_creates(self) -> None:
        """N callers under a limit of M leave M, whichever limit it is; the others are told which, and owe nothing."""
        for name, limit in SEVEN.items():
            async with self._store() as store:
                limits = replace(limit, make_room=False)
                outcomes = await asyncio.gather(
                    *(store.create(_record(store, user="zoë"), limits) for _ in range(CALLERS))
                )
                assert sum(isinstance(outcome, Created) for outcome in outcomes) == 7
                assert outcomes.count(Full(name, 7)) == CALLERS - 7
                assert await store.count() == 7
                assert await store.owed() == 7

    async def test_limits_hold_where_room_is_made_in_parallel(self) -> None:
        """N callers that make room leave M; all others have ended with `limit`, each once."""
        for limits in (SEVEN["session.max_sessions"], SEVEN["session.max_sessions_per_ip"]):
            async with self._store() as store:
                outcomes = await asyncio.gather(*(store.create(_record(store), limits) for _ in range(CALLERS)))
                created = [outcome for outcome in outcomes if isinstance(outcome, Created)]
                ended = [end for outcome in created for end in outcome.ended]
                assert len(created) == CALLERS
                assert {end.event.reason for end in ended} == {Reason.LIMIT}
                assert len({end.record.ref for end in ended}) == len(ended) == CALLERS - 7
                assert await store.count() == 7

    async def test_limit_makes_room_by_the_longest_idle(self) -> None:
        """Who was used last stays, whatever the order of creation."""
        for limits in (Limits(max_sessions=3), Limits(max_sessions_per_ip=3)):
            async with self._store() as store:
                first, second, _ = [await self._create(store, after=1) for _ in range(3)]
                await store.load(first.record.key, touch=True)
                new = await self._create(store, limits=limits)
                assert [_end_of(ended) for ended in new.ended] == [(second.record.ref, Reason.LIMIT)]

    async def test_limit_spares_who_is_logged_in(self) -> None:
        """Where only logged-in sessions could go, an anonymous one is refused, and a logged-in one too."""
        for limits in (Limits(max_sessions=2), Limits(max_sessions_per_ip=2)):
            async with self._store() as store:
                for user in ("a", "b"):
                    await self._create(store, user=user)
                for newcomer in (None, "c"):
                    assert isinstance(await store.create(_record(store, user=newcomer), limits), Full)
                assert await store.count() == 2

    async def test_limit_of_an_address_is_its_own(self) -> None:
        """A limit per address counts that address, and who goes is of it; IPv6 counts by its prefix."""
        async with self._store() as store:
            limits = Limits(max_sessions_per_ip=1)
            other = await self._create(store, remote_ip="192.0.2.9")
            first = await self._create(store, remote_ip="2001:db8::1", limits=limits)
            second = await self._create(store, remote_ip="2001:db8::2", limits=limits)
            assert [_end_of(ended) for ended in second.ended] == [(first.record.ref, Reason.LIMIT)]
            assert await store.load_ref(other.record.ref, touch=False) is not None

    async def test_limit_of_a_user_is_their_own(self) -> None:
        """A limit per user ends that user's longest idle session, and never one of somebody else."""
        async with self._store() as store:
            limits = Limits(max_sessions_per_user=2)
            others = [await self._create(store, user=user, after=1) for user in (None, "b")]
            first, second = [await self._create(store, user="a", limits=limits, after=1) for _ in range(2)]
            await store.load_ref(first.record.ref, touch=True)
            third = await self._create(store, user="a", limits=limits)
            assert [_end_of(ended) for ended in third.ended] == [(second.record.ref, Reason.LIMIT)]
            for spared in others:
                assert await store.load_ref(spared.record.ref, touch=False) is not None

    async def test_limits_that_are_reached_together(self) -> None:
        """Who goes for one limit counts for the others: nobody goes without need."""
        async with self._store() as store:
            limits = Limits(max_sessions=2, max_sessions_per_user=1, max_sessions_per_ip=2)
            anonymous = await self._create(store, limits=limits, after=1)
            own = await self._create(store, user="a", limits=limits, after=1)
            new = await self._create(store, user="a", limits=limits)
            assert [_end_of(ended) for ended in new.ended] == [(own.record.ref, Reason.LIMIT)]
            assert await store.load_ref(anonymous.record.ref, touch=False) is not None

    async def test_limit_that_refuses_changes_nothing(self) -> None:
        """Nobody has gone for a session that another limit then kept out, nor one that was to be replaced."""
        async with self._store() as store:
            await self._create(store, user="b")
            old = await self._create(store, "same", user="a")
            limits = Limits(max_sessions=1, max_sessions_per_user=1)
            assert isinstance(await store.create(_record(store, user="a"), limits), Full)
            assert isinstance(await store.create(_record(store, "same", user="c"), limits, replace=True), Full)
            assert await self._ref_of(store, "same") == old.record.ref
            assert await store.count() == 2
            assert await store.owed() == 2

    async def test_limit_does_not_count_who_is_replaced(self) -> None:
        """A session may be replaced at the limit, and nobody else goes for it."""
        async with self._store() as store:
            limits = Limits(max_sessions=2, max_sessions_per_user=2, max_sessions_per_ip=2, make_room=False)
            await self._create(store, user="a", limits=limits)
            old = await self._create(store, "same", user="a", limits=limits)
            new = await self._create(store, "same", user="a", limits=limits, replace=True)
            assert [_end_of(ended) for ended in new.ended] == [(old.record.ref, Reason.REPLACED)]

    async def test_limit_per_user_and_address_does_not_count_who_is_past_the_deadline(self) -> None:
        """Who is over keeps nobody out, and ends for its own reason."""
        for limits in (Limits(max_sessions_per_user=1), Limits(max_sessions_per_ip=1, make_room=False)):
            async with self._store() as store:
                old = await self._create(store, user="a")
                await self.advance(IDLE)
                assert (await self._create(store, user="a", limits=limits)).ended == []
                assert [_end_of(ended) for ended in (await self._due(store)).ended] == [(old.record.ref, Reason.IDLE)]

    async def test_limit_counts_who_goes_on_whoever_else_is_past_the_deadline(self) -> None:
        """One that is over makes room where it was, and nowhere else; in all, it does at once."""
        async with self._store() as store:
            await self._create(store, user="a", idle_timeout=100.0)
            await self._create(store, user="b", remote_ip="192.0.2.2")
            await self.advance(101)
            for limits, expected in (
                (Limits(max_sessions_per_user=1, make_room=False), "session.max_sessions_per_user"),
                (Limits(max_sessions_per_ip=1, make_room=False), "session.max_sessions_per_ip"),
            ):
                assert await store.create(_record(store, user="b", remote_ip="192.0.2.2"), limits) == Full(expected, 1)
            await self._create(store, user="a", limits=Limits(max_sessions=2, max_sessions_per_user=1, make_room=False))
            assert await store.count() == 2

    # --- a life goes on: data -----------------------------------------------------------------------

    async def test_apply_merges_by_key(self) -> None:
        """Named keys are written or deleted; all others stay."""
        async with self._store() as store:
            ref = (await self._create(store, data={"a": 1, "b": 2, "c": 3})).record.ref
            applied = await store.apply(ref, Changes({"a": [1], "b": ABSENT, "new": None, "none": ABSENT}), MAX_DATA)
            assert applied.data == {"a": [1], "c": 3, "new": None}
            assert await self._data(store, ref) == {"a": [1], "c": 3, "new": None}

    async def test_apply_in_parallel_keeps_all_keys(self) -> None:
        """Writers of different keys never lose each other."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            await asyncio.gather(*(store.apply(ref, Changes({f"k{n}": n}), MAX_DATA) for n in range(CALLERS)))
            assert await self._data(store, ref) == {f"k{n}": n for n in range(CALLERS)}

    async def test_apply_with_an_expectation_has_one_winner(self) -> None:
        """Of N callers that expect the same value, one writes; the others get `Conflict` and have written nothing."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            outcomes = await asyncio.gather(
                *(
                    store.apply(ref, Changes({"a": n, f"b{n}": n}, expected={"a": ABSENT}), MAX_DATA)
                    for n in range(CALLERS)
                ),
                return_exceptions=True,
            )
            assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == CALLERS - 1
            data = await self._data(store, ref)
            assert data == {"a": data["a"], f"b{data['a']}": data["a"]}

    async def test_apply_compares_expectations_as_json(self) -> None:
        """1, 1.0 and true are three values, the order of keys says nothing, and absent is not null."""
        async with self._store() as store:
            ref = (await self._create(store, data={"one": 1, "d": {"a": 1, "b": 2}, "null": None})).record.ref
            for key, value in (("one", 1.0), ("one", True), ("null", ABSENT), ("none", None), ("d", {"a": 1})):
                assert await _raised(store.apply(ref, Changes({"x": 1}, expected={key: value}), MAX_DATA), Conflict)
            expected = {"one": 1, "d": {"b": 2, "a": 1}, "null": None, "none": ABSENT}
            assert (await store.apply(ref, Changes({"x": 1}, expected=expected), MAX_DATA)).data["x"] == 1

    async def test_apply_above_the_maximum_changes_nothing(self) -> None:
        """Data that would be too large is refused as a whole; the size of what is deleted is given back."""
        async with self._store() as store:
            ref = (await self._create(store, data={"a": "x" * 40})).record.ref
            assert await _raised(store.apply(ref, Changes({"b": 1, "c": "x" * 60}), 100), DataTooLarge)
            assert await self._data(store, ref) == {"a": "x" * 40}
            await store.apply(ref, Changes({"a": ABSENT, "c": "x" * 60}), 100)
            await store.apply(ref, Changes({"d": "x" * 1000}), 0)
            assert (await store.apply(ref, Changes({"c": "x"}), 100)).data["c"] == "x"

    async def test_increment_in_parallel_loses_none(self) -> None:
        """N callers adding 1 leave N, and each sees another value."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            totals = await asyncio.gather(*(store.increment(ref, "n", 1, MAX_DATA) for _ in range(CALLERS)))
            assert sorted(totals) == list(range(1, CALLERS + 1))
            assert await self._data(store, ref) == {"n": CALLERS}

    async def test_increment_adds_as_numbers_do(self) -> None:
        """Whole numbers stay whole, others don't; what is no number, or would be out of range, is left alone."""
        async with self._store() as store:
            ref = (await self._create(store, data={"t": True, "s": "1", "max": 2**53, "huge": 1e308})).record.ref
            assert encoded_text(await store.increment(ref, "n", -2, MAX_DATA)) == "-2"
            assert encoded_text(await store.increment(ref, "n", 0.5, MAX_DATA)) == "-1.5"
            before = await self._data(store, ref)
            for key, by in (("t", 1), ("s", 1), ("max", 1), ("huge", 1e308)):
                assert await _raised(store.increment(ref, key, by, MAX_DATA), InvalidValue)
            assert await _raised(store.increment(ref, "x" * 100, 1, 100), DataTooLarge)
            assert await self._data(store, ref) == before

    # --- a life goes on: finding and touching -------------------------------------------------------

    async def test_load_of_nothing_is_none(self) -> None:
        """An id or ref that never was is absent, whatever it looks like."""
        async with self._store() as store:
            assert await store.load(SessionId.app("none").key, touch=True) is None
            for ref in (new_ref(), "", "x", "-1", "é", "0" * 1000):
                assert await store.load_ref(ref, touch=True) is None

    async def test_load_of_many_answers_in_order(self) -> None:
        """Each id has the answer that `load` would give; nobody is touched, and of none there is nothing."""
        async with self._store() as store:
            assert await store.load_many([]) == []
            living = [(await self._create(store)).record for _ in range(250)]
            ended = (await self._create(store, start={"page": "/x"})).record
            await store.end(ended.ref, Reason.ADMIN)
            await self.advance(30)
            unknown = SessionId.app("unknown").key
            found = await store.load_many([unknown, ended.key, *(record.key for record in living), unknown])
            assert found[:2] == [None, Tombstone(ended.ref, Reason.ADMIN, {"page": "/x"})]
            assert found[-1] is None
            for record, one in zip(living, found[2:-1], strict=True):
                assert isinstance(one, Record)
                assert (one.ref, one.key) == (record.ref, record.key)
                assert one.last_access_at <= store.now() - 29

    async def test_touch_moves_the_idle_deadline_and_peeking_does_not(self) -> None:
        """A session lives its idle time-out from the last touch on, whether it was by id or by ref."""
        async with self._store() as store:
            by_id, by_ref, peeked = [(await self._create(store)).record for _ in range(3)]
            await self.advance(IDLE / 2)
            await store.load(by_id.key, touch=True)
            await store.load_ref(by_ref.ref, touch=True)
            await store.load(peeked.key, touch=False)
            await store.load_ref(peeked.ref, touch=False)
            await self.advance(IDLE / 2)
            assert isinstance(await store.load(by_id.key, touch=False), Record)
            assert isinstance(await store.load_ref(by_ref.ref, touch=False), Record)
            assert isinstance(await store.load(peeked.key, touch=False), Tombstone)
            assert await store.load_ref(peeked.ref, touch=False) is None

    async def test_touch_never_moves_the_absolute_deadline(self) -> None:
        """However active, a session ends at its absolute time-out."""
        async with self._store() as store:
            record = (await self._create(store, absolute_timeout=IDLE * 2)).record
            for _ in range(3):
                await self.advance(IDLE / 2)
                assert isinstance(await store.load(record.key, touch=True), Record)
            await self.advance(IDLE / 2)
            assert isinstance(await store.load(record.key, touch=True), Tombstone)
            assert [_end_of(ended) for ended in (await self._due(store)).ended] == [(record.ref, Reason.ABSOLUTE)]

    async def test_late_calls_never_hit_a_successor(self) -> None:
        """A write, touch, renewal, lock or end that means the old life leaves a new one under the same id as it is."""
        async with self._store() as store:
            old = (await self._create(store, "same", after=30)).record
            new = (await self._create(store, "same", replace=True)).record
            await self.advance(30)
            assert await store.load_ref(old.ref, touch=True) is None
            assert await store.end(old.ref, Reason.ADMIN) is None
            for call in self._writes(store, old.ref):
                assert await _raised(call, SessionEnded)
            found = await store.load(new.key, touch=False)
            assert isinstance(found, Record)
            assert (found.ref, found.data, found.reason) == (new.ref, {}, None)
            assert found.last_access_at <= store.now() - 29

    # --- a life goes on: renewal --------------------------------------------------------------------

    async def test_renew_moves_a_life_to_a_new_key(self) -> None:
        """Same ref, same data, new user; found under the new key alone, and nothing is owed for it."""
        async with self._store() as store:
            old = (await self._create(store, "old", data={"a": 1})).record
            renewed = await self._renew(store, old.ref, "new", user="zoë", roles=("r",), version="v")
            assert renewed.ended == []
            found = await store.load(SessionId.app("new").key, touch=False)
            assert isinstance(found, Record)
            assert (found.ref, found.user, found.roles, found.version) == (old.ref, "zoë", ("r",), "v")
            assert found.data == {"a": 1}
            assert await store.count() == await store.count("zoë") == await store.owed() == 1

    async def test_renew_refuses_the_old_key_for_a_while(self) -> None:
        """The old key has a tombstone that says so, and no data; after its time it is as if it never was."""
        async with self._store() as store:
            old = (await self._create(store, "old")).record
            await self._renew(store, old.ref, "new")
            tombstone = await store.load(SessionId.app("old").key, touch=True)
            assert isinstance(tombstone, Tombstone)
            assert (tombstone.ref, tombstone.reason) == (old.ref, RENEWED)
            await self.advance(self.TOMBSTONE)
            assert await store.load(SessionId.app("old").key, touch=True) is None
            assert await self._ref_of(store, "new") == old.ref

    async def test_renew_begins_both_timeouts_again(self) -> None:
        """After log-in a session has its full time before it."""
        async with self._store() as store:
            record = (await self._create(store, idle_timeout=100, absolute_timeout=150)).record
            await self.advance(90)
            renewed = await self._renew(store, record.ref, "new")
            assert 99 <= renewed.record.idle_deadline - store.now() <= 100
            assert 149 <= renewed.record.absolute_deadline - store.now() <= 150
            await self.advance(95)
            assert not (await self._due(store)).ended
            assert await store.load_ref(record.ref, touch=True) is not None
            await self.advance(55)
            assert [_end_of(ended) for ended in (await self._due(store)).ended] == [(record.ref, Reason.ABSOLUTE)]

    async def test_renew_refuses_who_no_longer_holds_it(self) -> None:
        """Of N log-ins with one token one gets the session; the others change nothing, and nobody goes for them."""
        async with self._store() as store:
            await self._create(store, user="b")
            record = (await self._create(store, "old")).record
            holder, limits = Holder(record.key, None), Limits(max_sessions_per_user=1)

            async def log_in(user: str) -> str:
                key = SessionId.app(user).key
                try:
                    await store.renew(record.ref, key, limits, user=user, roles=(), version="", holder=holder)
                except SessionEnded as error:
                    return str(error.reason)
                return user

            assert await asyncio.gather(*map(log_in, "ab")) == ["a", RENEWED]
            assert (await store.count("a"), await store.count("b")) == (1, 1)
            other_user = Holder(SessionId.app("a").key, None)
            refused = store.renew(record.ref, b"k", limits, user="b", roles=(), version="", holder=other_user)
            assert await _raised(refused, SessionEnded)

    async def test_writes_under_an_old_key_are_refused(self) -> None:
        """Who names the key that a log-in took away changes nothing; under the new key, or under none, it goes on."""
        async with self._store() as store:
            record = (await self._create(store, "old", data={"n": 1})).record
            old, new = SessionId.app("old").key, SessionId.app("new").key
            await self._renew(store, record.ref, "new", user="a")
            late = Changes({"n": 9}, scheduled=[Scheduled(new_event_id(), 0, "late", None)], key=old)
            assert await _raised(store.apply(record.ref, late, MAX_DATA), SessionEnded)
            assert await _raised(store.increment(record.ref, "n", 1, MAX_DATA, session_key=old), SessionEnded)
            found = await store.load_ref(record.ref, touch=False)
            assert found is not None
            assert found.data == {"n": 1}
            assert not (await self._due(store)).scheduled
            assert await store.increment(record.ref, "n", 1, MAX_DATA, session_key=new) == 2
            assert (await store.apply(record.ref, Changes({"m": 1}, key=new), MAX_DATA)).data == {"n": 2, "m": 1}
            assert await store.increment(record.ref, "n", 1, MAX_DATA) == 3

    async def test_renew_without_a_user_keeps_the_user(self) -> None:
        """Only the key changes; and where the key is the same, only the time-outs."""
        async with self._store() as store:
            record = (await self._create(store, "old", user="a", roles=("r",), version="v")).record
            for key in ("new", "new"):
                found = (await self._renew(store, record.ref, key)).record
                assert (found.user, found.roles, found.version) == ("a", ("r",), "v")
            assert await self._ref_of(store, "new") == record.ref
            assert await store.count("a") == 1

    async def test_renew_keeps_the_limit_per_user(self) -> None:
        """A log-in ends that user's longest idle session, or is refused and changes nothing; the own one is spared."""
        async with self._store() as store:
            oldest = (await self._create(store, user="a", after=1)).record
            await self._create(store, user="a", after=1)
            record = (await self._create(store, "old")).record
            refusing = Limits(max_sessions_per_user=2, make_room=False)
            full = await store.renew(record.ref, SessionId.app("x").key, refusing, user="a", roles=(), version="")
            assert full == Full("session.max_sessions_per_user", 2)
            assert (await self._ref_of(store, "old"), await store.count("a")) == (record.ref, 2)
            limits = Limits(max_sessions_per_user=2)
            renewed = await self._renew(store, record.ref, "new", user="a", limits=limits)
            assert [_end_of(ended) for ended in renewed.ended] == [(oldest.ref, Reason.LIMIT)]
            assert (await self._renew(store, record.ref, "newer", user="a", limits=limits)).ended == []

    async def test_renew_in_parallel_keeps_the_limit_per_user(self) -> None:
        """N log-ins of one user at once leave M."""
        async with self._store() as store:
            refs = [(await self._create(store)).record.ref for _ in range(CALLERS)]
            limits = Limits(max_sessions_per_user=7, make_room=False)
            outcomes = await asyncio.gather(
                *(store.renew(ref, SessionId.app(ref).key, limits, user="a", roles=(), version="") for ref in refs)
            )
            assert sum(isinstance(outcome, Renewed) for outcome in outcomes) == await store.count("a") == 7

    async def test_renewed_session_is_spared_as_logged_in(self) -> None:
        """Who logs in is no longer among the anonymous who may go."""
        async with self._store() as store:
            record = (await self._create(store, after=1)).record
            anonymous = (await self._create(store, after=1)).record
            await self._renew(store, record.ref, "new", user="a")
            new = await self._create(store, limits=Limits(max_sessions=2))
            assert [_end_of(ended) for ended in new.ended] == [(anonymous.ref, Reason.LIMIT)]

    # --- a life ends --------------------------------------------------------------------------------

    async def test_end_in_parallel_has_one_winner(self) -> None:
        """One caller gets `Ended`, with the last data and the entry that is owed; all others `None`."""
        async with self._store() as store:
            record = (await self._create(store, data={"a": 1})).record
            outcomes = await asyncio.gather(*(store.end(record.ref, Reason.ADMIN) for _ in range(CALLERS)))
            (ended,) = [outcome for outcome in outcomes if outcome is not None]
            assert _end_of(ended) == (record.ref, Reason.ADMIN)
            assert (ended.record.data, ended.record.reason, ended.event.kind) == ({"a": 1}, Reason.ADMIN, "end")
            assert (await store.owed(), await store.count()) == (2, 0)
            await store.settle(ended.event)
            assert await store.owed() == 1

    async def test_end_leaves_a_tombstone_for_a_while(self) -> None:
        """It says why, and how a successor may be started; it has no data."""
        async with self._store() as store:
            record = (await self._create(store, "same", start={"page": "/x"}, data={"a": 1})).record
            await store.end(record.ref, Reason.LOGOUT)
            assert await store.load(record.key, touch=True) == Tombstone(record.ref, Reason.LOGOUT, {"page": "/x"})
            await self.advance(self.TOMBSTONE - 1)
            assert isinstance(await store.load(record.key, touch=True), Tombstone)
            await self.advance(1)
            assert await store.load(record.key, touch=True) is None

    async def test_tombstones_to_come_follow_the_settings(self) -> None:
        """Another time holds for ends from then on; those that stand keep theirs."""
        async with self._store() as store:
            before, after = (await self._create(store)).record, (await self._create(store)).record
            await store.end(before.ref, Reason.LOGOUT)
            store.use(tombstone=self.TOMBSTONE / 2, warn_before=self.WARN_BEFORE)
            await store.end(after.ref, Reason.LOGOUT)
            await self.advance(self.TOMBSTONE / 2)
            assert isinstance(await store.load(before.key, touch=False), Tombstone)
            assert await store.load(after.key, touch=False) is None

    async def test_nothing_comes_back_after_the_end(self) -> None:
        """Whatever is written to that ref raises `SessionEnded`; no touch and no end finds it."""
        async with self._store() as store:
            record = (await self._create(store)).record
            await store.end(record.ref, Reason.LOGOUT)
            for call in self._writes(store, record.ref):
                assert await _raised(call, SessionEnded)
            assert await store.load_ref(record.ref, touch=True) is None
            assert await store.end(record.ref, Reason.ADMIN) is None
            assert isinstance(await store.load(record.key, touch=True), Tombstone)
            assert await store.scan() == ([], "")

    async def test_nothing_is_done_to_one_past_its_deadline(self) -> None:
        """It is over for every method, even before `take_due` reports its end, once and with the reason of its own."""
        async with self._store() as store:
            record = (await self._create(store, user="a", data={"a": 1})).record
            await self.advance(IDLE)
            assert await store.count("a") == await store.count(bucket=record.bucket) == 0
            assert await store.end(record.ref, Reason.LOGOUT) is None
            for call in self._writes(store, record.ref):
                assert await _raised(call, SessionEnded)
            assert await store.load_ref(record.ref, touch=True) is None
            assert await store.scan() == ([], "")
            (ended,) = (await self._due(store)).ended
            assert _end_of(ended) == (record.ref, Reason.IDLE)
            assert ended.record.data == {"a": 1}
            assert await store.owed() == 2

    async def test_end_amid_writes_has_what_was_written(self) -> None:
        """Each write in a race with an end is either in the last data, or has raised `SessionEnded`."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            calls: list[Any] = [store.apply(ref, Changes({str(n): n}), MAX_DATA) for n in range(CALLERS)]
            calls.insert(CALLERS // 2, store.end(ref, Reason.LOGOUT))
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            ended = outcomes.pop(CALLERS // 2)
            assert isinstance(ended, Ended)
            refused = {str(n) for n, outcome in enumerate(outcomes) if isinstance(outcome, SessionEnded)}
            assert set(ended.record.data) == {str(n) for n in range(CALLERS)} - refused
            assert await store.load_ref(ref, touch=False) is None

    # --- what time brings ---------------------------------------------------------------------------

    async def test_due_is_empty_before_its_time(self) -> None:
        """Until something is due there is nothing to take."""
        async with self._store() as store:
            await self._create(store)
            await self.advance(IDLE - self.WARN_BEFORE - 1)
            due = await store.take_due(100)
            assert not due
            assert (len(due), due.more) == (0, False)

    async def test_due_ends_come_with_their_reason(self) -> None:
        """Idle and absolute time-outs end a session, whichever comes first; 0 is none."""
        async with self._store() as store:
            idle = (await self._create(store, idle_timeout=100, absolute_timeout=0)).record
            absolute = (await self._create(store, idle_timeout=0, absolute_timeout=200)).record
            eternal = (await self._create(store, idle_timeout=0, absolute_timeout=0)).record
            await self.advance(101)
            assert [_end_of(ended) for ended in (await self._due(store)).ended] == [(idle.ref, Reason.IDLE)]
            await self.advance(100)
            assert [_end_of(ended) for ended in (await self._due(store)).ended] == [(absolute.ref, Reason.ABSOLUTE)]
            await self.advance(10 * ABSOLUTE)
            assert len(await self._due(store)) == 0
            assert await store.load_ref(eternal.ref, touch=False) is not None

    async def test_due_is_taken_once(self) -> None:
        """What one caller takes no other gets: of parallel callers, and later; never more than was asked for."""
        async with self._store() as store:
            refs = [(await self._create(store)).record.ref for _ in range(CALLERS)]
            await self.advance(IDLE + 1)
            taken = await asyncio.gather(*(store.take_due(5) for _ in range(CALLERS)))
            assert max(len(due) for due in taken) <= 5
            ended = [end.record.ref for due in taken for end in due.ended]
            assert sorted(ended) == sorted(refs)
            assert not (await self._due(store)).ended
            assert await store.owed() == 2 * CALLERS

    async def test_due_goes_on_while_the_answer_is_true(self) -> None:
        """One at a time, through sessions that were touched and others, all that is due is taken."""
        async with self._store() as store:
            records = [(await self._create(store)).record for _ in range(10)]
            await self.advance(IDLE - self.WARN_BEFORE - 1)
            for record in records[:-1]:
                await store.load(record.key, touch=True)
            await self.advance(self.WARN_BEFORE + 2)
            due = await self._due(store, maximum=1)
            assert [_end_of(ended) for ended in due.ended] == [(records[-1].ref, Reason.IDLE)]

    async def test_warning_comes_once_per_deadline(self) -> None:
        """A session is reported as expiring once; after a touch, again before the new deadline."""
        async with self._store() as store:
            record = (await self._create(store)).record
            await self.advance(IDLE - self.WARN_BEFORE + 1)
            taken = await asyncio.gather(*(store.take_due(5) for _ in range(5)))
            assert [warned.ref for due in taken for warned in due.expiring] == [record.ref]
            assert not (await self._due(store)).expiring
            await store.load_ref(record.ref, touch=True)
            await self.advance(IDLE - self.WARN_BEFORE - 1)
            assert not (await self._due(store)).expiring
            await self.advance(2)
            assert [warned.ref for warned in (await self._due(store)).expiring] == [record.ref]
            await self.advance(self.WARN_BEFORE)
            due = await self._due(store)
            assert (len(due.expiring), len(due.ended)) == (0, 1)

    async def test_warnings_to_come_follow_the_settings(self) -> None:
        """A session that begins after a change is reported as early as was said; from a change to 0 on, none is."""
        async with self._store() as store:
            store.use(tombstone=self.TOMBSTONE, warn_before=self.WARN_BEFORE * 2)
            record = (await self._create(store)).record
            await self.advance(IDLE - self.WARN_BEFORE * 2 + 1)
            assert [warned.ref for warned in (await self._due(store)).expiring] == [record.ref]
            store.use(tombstone=self.TOMBSTONE, warn_before=0)
            await store.load_ref(record.ref, touch=True)
            await self.advance(IDLE - 1)
            assert not (await self._due(store)).expiring

    async def test_warning_leaves_time_where_the_idle_timeout_is_short(self) -> None:
        """It comes at half the idle time-out at the earliest."""
        async with self._store() as store:
            await self._create(store, idle_timeout=self.WARN_BEFORE)
            await self.advance(self.WARN_BEFORE / 2 - 1)
            assert not (await self._due(store)).expiring
            await self.advance(2)
            assert len((await self._due(store)).expiring) == 1

    async def test_warning_comes_before_the_absolute_deadline_too(self) -> None:
        """Also for a session that has no idle time-out, and for one that is never idle."""
        async with self._store() as store:
            timeouts = [(0.0, 500.0), (300.0, 500.0)]
            refs = [(await self._create(store, idle_timeout=i, absolute_timeout=a)).record.ref for i, a in timeouts]
            for ref in refs * 2:
                await self.advance(109)
                assert not (await self._due(store)).expiring
                await store.load_ref(ref, touch=True)
            await self.advance(5)
            assert sorted(warned.ref for warned in (await self._due(store)).expiring) == sorted(refs)
            for ref in refs:
                await store.load_ref(ref, touch=True)
            await self.advance(30)
            assert not (await self._due(store)).expiring

    async def test_timeouts_that_are_changed_count_at_once(self) -> None:
        """A shorter time-out brings warning and end forward, a longer one puts them off; 0 takes them away."""
        async with self._store() as store:
            shorter, longer, none = [(await self._create(store)).record.ref for _ in range(3)]
            await store.apply(shorter, Changes(idle_timeout=200), MAX_DATA)
            await self.advance(IDLE - self.WARN_BEFORE + 1)
            due = await self._due(store)
            assert [_end_of(ended) for ended in due.ended] == [(shorter, Reason.IDLE)]
            assert sorted(warned.ref for warned in due.expiring) == sorted([longer, none])
            await store.apply(longer, Changes(idle_timeout=2 * IDLE), MAX_DATA)
            await store.apply(none, Changes(idle_timeout=0, absolute_timeout=0), MAX_DATA)
            await self.advance(IDLE)
            due = await self._due(store)
            assert ([warned.ref for warned in due.expiring], due.ended) == ([longer], [])
            await self.advance(10 * ABSOLUTE)
            assert [_end_of(ended) for ended in (await self._due(store)).ended] == [(longer, Reason.IDLE)]

    async def test_scheduled_events_come_once_and_are_owed(self) -> None:
        """Not before their time, with the id and data they were given; in order, and settled like the others."""
        async with self._store() as store:
            record = (await self._create(store)).record
            await store.settle((await self._create(store)).event)
            calls = [Scheduled(new_event_id(), 100.0 + n // 5 * 50, f"call {n}", [n, {"a": None}]) for n in range(10)]
            await store.apply(record.ref, Changes(scheduled=calls), MAX_DATA)
            before, events = await store.owed(), []
            await self.advance(99)
            assert not (await self._due(store)).scheduled
            for batch in (calls[:5], calls[5:]):
                await self.advance(2)
                due = await self._due(store, maximum=2)
                events += [event for _, event in due.scheduled]
                assert [(e.id, e.kind, e.ref, e.name, e.data) for _, e in due.scheduled] == [
                    (call.event_id, "scheduled", record.ref, call.name, call.data) for call in batch
                ]
                await self.advance(48)
            assert await store.owed() == before + 10
            for event in events:
                await store.settle(event)
            assert await store.owed() == before

    async def test_scheduled_events_go_with_their_session(self) -> None:
        """Nothing comes of what was scheduled for a session that has ended, however it did."""
        async with self._store() as store:
            ended, overdue = [(await self._create(store, idle_timeout=200)).record.ref for _ in range(2)]
            for ref in (ended, overdue):
                await store.apply(ref, Changes(scheduled=[Scheduled(new_event_id(), 300, "late", None)]), MAX_DATA)
            await store.end(ended, Reason.LOGOUT)
            await self.advance(400)
            due = await self._due(store)
            assert ([_end_of(end) for end in due.ended], due.scheduled) == ([(overdue, Reason.IDLE)], [])

    # --- looking around -----------------------------------------------------------------------------

    async def test_count_is_of_all_of_a_user_or_of_an_address(self) -> None:
        """Both conditions together count who meets both."""
        async with self._store() as store:
            for user, remote_ip in (("a", "192.0.2.1"), ("a", "192.0.2.2"), (None, "192.0.2.1"), ("b", "192.0.2.1")):
                await self._create(store, user=user, remote_ip=remote_ip)
            counts = [
                await store.count(),
                await store.count("a"),
                await store.count(bucket="192.0.2.1"),
                await store.count("a", "192.0.2.1"),
                await store.count("c"),
                await store.count(bucket="192.0.2.9"),
            ]
            assert counts == [4, 2, 3, 1, 0, 0]

    async def test_scan_returns_each_once(self) -> None:
        """Whatever the size of its steps, also where the last is full; the empty cursor begins and ends."""
        async with self._store() as store:
            assert await store.scan() == ([], "")
            refs = sorted([(await self._create(store)).record.ref for _ in range(20)])
            for maximum in (1, 3, 20, 100):
                assert sorted(await _scanned(store, maximum)) == refs

    async def test_scan_finds_who_meets_the_conditions(self) -> None:
        """By user, by address, or both."""
        async with self._store() as store:
            made = {
                (user, where): [(await self._create(store, user=user, remote_ip=where)).record.ref for _ in range(4)]
                for user in ("a", "b", None)
                for where in ("192.0.2.1", "192.0.2.2")
            }
            by_user = made["a", "192.0.2.1"] + made["a", "192.0.2.2"]
            by_bucket = [ref for (_, where), refs in made.items() if where == "192.0.2.1" for ref in refs]
            assert sorted(await _scanned(store, 3, user="a")) == sorted(by_user)
            assert sorted(await _scanned(store, 3, bucket="192.0.2.1")) == sorted(by_bucket)
            assert sorted(await _scanned(store, 3, user="a", bucket="192.0.2.1")) == sorted(made["a", "192.0.2.1"])

    async def test_scan_is_complete_while_sessions_come_and_go(self) -> None:
        """Who lives throughout is returned exactly once, whatever others do between two steps."""
        async with self._store() as store:
            staying = [(await self._create(store)).record.ref for _ in range(30)]
            going = [(await self._create(store)).record.ref for _ in range(30)]
            seen: list[str] = []
            cursor = ""
            while True:
                records, cursor = await store.scan(cursor, maximum=4)
                seen += [record.ref for record in records]
                if not cursor:
                    break
                await store.end(going.pop(), Reason.ADMIN)
                await self._create(store)
                await self._renew(store, staying[len(going)], f"renewed {len(going)}", user="a")
                await store.load_ref(staying[0], touch=True)
            assert sorted(ref for ref in seen if ref in staying) == sorted(staying)
            assert len(seen) == len(set(seen))

    # --- locks --------------------------------------------------------------------------------------

    async def test_lock_is_handed_on_in_order(self) -> None:
        """One holds it; those who wait get it in the order in which they came."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            assert await store.acquire(ref, "holder", 10)
            order: list[str] = []
            waiting = []
            for name in "abc":
                waiting.append(asyncio.create_task(self._hold(store, ref, name, order)))
                await self.arrive()
            assert order == []
            await store.release(ref, "holder")
            await asyncio.gather(*waiting)
            assert order == ["a+", "a-", "b+", "b-", "c+", "c-"]

    async def test_lock_is_held_by_one_at_a_time(self) -> None:
        """N callers that read, wait and write under the lock lose nothing."""
        async with self._store() as store:
            ref = (await self._create(store, data={"n": 0})).record.ref

            async def add() -> None:
                holder = new_ref()
                assert await store.acquire(ref, holder, 10)
                before = (await self._data(store, ref))["n"]
                await self.arrive()
                await store.apply(ref, Changes({"n": before + 1}), MAX_DATA)
                await store.release(ref, holder)

            await asyncio.gather(*(add() for _ in range(20)))
            assert await self._data(store, ref) == {"n": 20}

    async def test_lock_of_one_session_is_not_that_of_another(self) -> None:
        """Each session has its own."""
        async with self._store() as store:
            for _ in range(2):
                assert await store.acquire((await self._create(store)).record.ref, "holder", 0.01)

    async def test_lock_is_not_had_after_the_timeout(self) -> None:
        """Who waited for too long gets `False`, and is not handed the lock later; nor is the holder let in twice."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            assert await store.acquire(ref, "holder", 10)
            assert not await store.acquire(ref, "other", 0.01)
            assert not await store.acquire(ref, "holder", 0.01)
            await store.release(ref, "holder")
            assert await store.acquire(ref, "next", 0.01)

    async def test_lock_is_released_by_its_holder_alone(self) -> None:
        """A release by anybody else, or of no session, is no error and does nothing."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            assert await store.acquire(ref, "holder", 10)
            await store.release(ref, "other")
            await store.release(new_ref(), "holder")
            assert not await store.acquire(ref, "next", 0.01)

    async def test_lock_goes_to_the_next_where_a_waiter_gave_up(self) -> None:
        """A waiter that is cancelled, also while the lock is being handed to it, does not keep it."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            for release_first in (False, True):
                assert await store.acquire(ref, "holder", 10)
                first = asyncio.create_task(store.acquire(ref, "first", 10))
                await self.arrive()
                second = asyncio.create_task(store.acquire(ref, "second", 10))
                await self.arrive()
                if release_first:
                    await store.release(ref, "holder")
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
                if not first.cancelled():  # it had the lock before it noticed
                    await store.release(ref, "first")
                await store.release(ref, "holder")
                assert await second
                await store.release(ref, "second")

    async def test_lock_of_an_ended_session_is_nobodys(self) -> None:
        """Those who wait when it ends are told at once; so is who comes later."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            assert await store.acquire(ref, "holder", 10)
            waiting = [asyncio.create_task(store.acquire(ref, f"waiter {n}", 25)) for n in range(3)]
            await self.arrive()
            await store.end(ref, Reason.LOGOUT)
            outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
            assert [type(outcome) for outcome in outcomes] == [SessionEnded] * 3
            await store.release(ref, "holder")
            assert await _raised(store.acquire(ref, "late", 1), SessionEnded)

    async def test_lock_that_was_lost_lets_nothing_through(self) -> None:
        """A change that names a holder is made while that one holds the lock, and else raises `LockLost`."""
        async with self._store() as store:
            ref = (await self._create(store, data={"n": 0})).record.ref
            for holder in (None, "first", "second"):
                if holder is not None:
                    assert await store.acquire(ref, holder, 1)
                for name in ("first", "second"):
                    call = store.apply(ref, Changes({"n": name}, lock=name), MAX_DATA)
                    if name == holder:
                        assert (await call).data == {"n": name}
                    else:
                        assert await _raised(call, LockLost)
                if holder is not None:
                    await store.release(ref, holder)
            assert await self._data(store, ref) == {"n": "second"}

    async def test_increment_under_a_lock_needs_it(self) -> None:
        """One that names a holder counts while that one holds the lock, and else raises `LockLost`."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            assert await _raised(store.increment(ref, "n", 1, MAX_DATA, lock="first"), LockLost)
            assert await store.acquire(ref, "first", 1)
            assert await _raised(store.increment(ref, "n", 1, MAX_DATA, lock="second"), LockLost)
            assert await store.increment(ref, "n", 1, MAX_DATA, lock="first") == 1
            assert await store.increment(ref, "n", 1, MAX_DATA) == 2
            await store.release(ref, "first")
            assert await _raised(store.increment(ref, "n", 1, MAX_DATA, lock="first"), LockLost)
            assert await self._data(store, ref) == {"n": 2}

    # --- calls that are made again ------------------------------------------------------------------

    async def test_change_that_is_asked_for_again_is_made_once(self) -> None:
        """With the token of a call that was carried out, nothing changes, and the answer is that of the first."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            for _ in range(3):
                assert await store.increment(ref, "n", 1, MAX_DATA, token="one") == 1
            for token in ("", "", "two", "two"):
                await store.increment(ref, "m", 1, MAX_DATA, token=token)
            call = Scheduled(new_event_id(), 10, "call", None)
            for value in (1, 2):
                await store.apply(ref, Changes({"a": value}, scheduled=[call], token="three"), MAX_DATA)
            await store.apply(ref, Changes({"b": 1}, scheduled=[call]), MAX_DATA)
            assert await self._data(store, ref) == {"n": 1, "m": 3, "a": 1, "b": 1}
            await self.advance(11)
            assert len((await self._due(store)).scheduled) == 1

    async def test_life_that_is_begun_renewed_or_ended_again_is_so_once(self) -> None:
        """The second call gets the first one's answer, with the same entries of the ledger and the same victims."""
        async with self._store() as store:
            limits = Limits(max_sessions=1, max_sessions_per_user=1)
            await self._create(store, user=None)
            record = _record(store, "same")
            begun = [await store.create(record, limits) for _ in range(2)]
            refs = {(one.event.id, one.record.ref, one.ended[0].event.id) for one in begun if isinstance(one, Created)}
            assert all(isinstance(one, Created) for one in begun)
            assert len(refs) == 1
            assert await store.count() == 1
            await self._create(store, user="a")
            key = SessionId.app("new").key
            renewed = [
                await store.renew(record.ref, key, limits, user="a", roles=(), version="", token="renewal")
                for _ in range(2)
            ]
            assert len({one.ended[0].event.id for one in renewed if isinstance(one, Renewed)}) == 1
            ended = [await store.end(record.ref, Reason.LOGOUT, token="end") for _ in range(2)]
            assert len({one.event.id for one in ended if one is not None}) == 1
            assert await store.end(record.ref, Reason.LOGOUT, token="other") is None
            assert await store.owed() == 6

    # --- what a node owes -----------------------------------------------------------------------------

    async def test_session_is_starting_until_its_start_is_settled(self) -> None:
        """Everybody is told so, and is no longer told when it is over; an end that is settled says nothing of that."""
        async with self._store() as store:
            created, other = await self._create(store), await self._create(store)
            ended = await store.end(other.record.ref, Reason.LOGOUT)
            assert ended is not None
            await store.settle(ended.event)
            for is_starting in (True, False):
                by_id = await store.load(created.record.key, touch=True)
                by_ref = await store.load_ref(created.record.ref, touch=False)
                for found in (by_id, by_ref):
                    assert isinstance(found, Record)
                    assert found.starting is is_starting
                await store.settle(created.event)

    async def test_settling_is_fenced_by_the_attempt(self) -> None:
        """Who was thought dead cannot strike what somebody else is delivering again."""
        async with self._store() as store:
            created = await self._create(store)
            for attempt in (0, 2):
                await store.settle(replace(created.event, attempt=attempt))
                assert await store.owed() == 1
            await store.settle(created.event)
            assert await store.owed() == 0

    async def test_copies_of_a_record_tell_which_is_newer(self) -> None:
        """Every change and touch gives a higher revision than the one before."""
        async with self._store() as store:
            record = (await self._create(store)).record
            revisions = [record.revision]
            for step in range(5):
                if step == 0:
                    revisions.append((await store.apply(record.ref, Changes({"a": 1}), MAX_DATA)).revision)
                elif step == 1:
                    await store.increment(record.ref, "n", 1, MAX_DATA)
                elif step == 2:
                    revisions.append((await self._renew(store, record.ref, "new", user="a")).record.revision)
                elif step == 3:
                    found = await store.load_ref(record.ref, touch=False)
                    assert found is not None
                    assert found.revision >= revisions[-1]
                else:
                    ended = await store.end(record.ref, Reason.LOGOUT)
                    assert ended is not None
                    revisions.append(ended.record.revision)
            assert revisions == sorted(set(revisions))

    async def test_lease_is_renewed(self) -> None:
        """A node that has just come is in time; a store that nobody shares needs no lease."""
        async with self._store() as store:
            assert store.lease == 0 or store.outlives_process  # nobody could take over what goes with the process
            assert await store.renew_lease()
            assert store.available

    async def test_secret_is_made_once(self) -> None:
        """All who ask get the same, after the store was opened again too if it outlives the process."""
        async with self._store() as store:
            secrets = await asyncio.gather(*(store.secret() for _ in range(CALLERS)))
            assert len(set(secrets)) == 1
            assert len(secrets[0]) >= 32
            again = await self.kill(store)
            if again is not None:
                assert await again.secret() == secrets[0]
                await self.close_store(again)

    # --- several nodes --------------------------------------------------------------------------------

    async def test_nodes_have_the_same_sessions(self) -> None:
        """What one has begun or changed, others find at once; it is starting for all until its start is settled."""
        async with self._nodes() as (one, other):
            created = await self._create(one, "same", user="a", data={"a": 1})
            await other.apply(created.record.ref, Changes({"b": 2}), MAX_DATA)
            for node in (one, other):
                found = await node.load(created.record.key, touch=True)
                assert isinstance(found, Record)
                assert (found.data, found.starting) == ({"a": 1, "b": 2}, True)
                assert isinstance(await node.create(_record(node, "same"), NO_LIMITS), Exists)
                assert (await node.count(), await node.count("a"), await node.owed()) == (1, 1, 1)
                assert await node.secret() == await one.secret()
            assert not await other.settle(created.event)  # which is not its own to settle
            for is_starting in (True, False):
                found = await other.load_ref(created.record.ref, touch=False)
                assert found is not None
                assert found.starting is is_starting
                await one.settle(created.event)
            assert await other.end(created.record.ref, Reason.ADMIN) is not None
            assert await one.end(created.record.ref, Reason.ADMIN) is None

    async def test_nodes_keep_limits_together(self) -> None:
        """N callers on two nodes under a limit of M leave M, and nobody but them has ended."""
        for limits in SEVEN.values():
            async with self._nodes() as nodes:
                refusing = replace(limits, make_room=False)
                records = [_record(nodes[0], user="a") for _ in range(CALLERS)]
                calls = [nodes[n % 2].create(record, refusing) for n, record in enumerate(records)]
                outcomes = await asyncio.gather(*calls)
                assert sum(isinstance(outcome, Created) for outcome in outcomes) == 7
                assert await nodes[0].count() == await nodes[1].count() == 7

    async def test_nodes_change_one_session_together(self) -> None:
        """Increments and different keys of several nodes are all there, and none of them after an end."""
        async with self._nodes() as nodes:
            ref = (await self._create(nodes[0])).record.ref
            calls: list[Any] = []
            for n in range(CALLERS):
                node = nodes[n % 2]
                calls += [node.increment(ref, "n", 1, MAX_DATA), node.apply(ref, Changes({f"k{n}": n}), MAX_DATA)]
            await asyncio.gather(*calls)
            data = {"n": CALLERS, **{f"k{n}": n for n in range(CALLERS)}}
            for node in nodes:
                assert await self._data(node, ref) == data
            outcomes = await asyncio.gather(*(nodes[n % 2].end(ref, Reason.LOGOUT) for n in range(CALLERS)))
            (ended,) = [outcome for outcome in outcomes if outcome is not None]
            assert ended.record.data == data

    async def test_end_elsewhere_waits_for_the_start(self) -> None:
        """Who ends what another is still starting is told so; when the start is settled one node is given the end, as its
        first attempt, and no other is before."""
        async with self._nodes() as (one, other):
            created = await self._create(one, data={"a": 1})
            ended = await other.end(created.record.ref, Reason.LOGOUT)
            assert ended is not None
            assert ended.elsewhere
            assert _end_of(ended) == (created.record.ref, Reason.LOGOUT)
            await other.settle(ended.event)  # which is not its own to settle
            assert await one.owed() == 2
            for node in (one, other):
                assert not await self._due(node)
            await one.settle(created.event)
            taken = [owed for node in (one, other) for owed in (await self._due(node)).owed]
            assert [(owed.event, owed.record.data) for owed in taken] == [(ended.event, {"a": 1})]
            await one.settle(taken[0].event)
            assert await other.owed() == 0

    async def test_end_by_time_waits_for_the_start(self) -> None:
        """So it is for who was replaced, who had to go for a limit, and who was past the deadline."""
        async with self._nodes() as (one, other):
            limits = Limits(max_sessions=2)
            starts = [await self._create(one, name) for name in ("idle", "replaced", "limit")]
            refs = [created.record.ref for created in starts]
            await self.advance(IDLE / 2)
            for ref in refs[1:]:
                await other.load_ref(ref, touch=True)
                await self.advance(1)
            await self.advance(IDLE / 2 - 2)
            for node in (one, other):
                await node.renew_lease()
            (idle,) = (await self._due(other)).ended
            replaced = (await self._create(other, "replaced", replace=True)).ended[0]
            limit = (await self._create(other, limits=limits)).ended[0]
            ends = (idle, replaced, limit)
            assert [(ended.event.ref, ended.event.reason, ended.elsewhere) for ended in ends] == [
                (refs[0], Reason.IDLE, True),
                (refs[1], Reason.REPLACED, True),
                (refs[2], Reason.LIMIT, True),
            ]
            for created in starts:
                await one.settle(created.event)
            owed = (await self._due(other)).owed
            assert sorted(each.event.ref for each in owed) == sorted(refs)
            assert {(each.event.kind, each.event.attempt) for each in owed} == {("end", 1)}

    async def test_node_that_starts_a_session_ends_it_too(self) -> None:
        """Nobody has to wait for what is one's own."""
        async with self._nodes() as (one, other):
            created = await self._create(one)
            ended = await one.end(created.record.ref, Reason.LOGOUT)
            assert ended is not None
            assert not ended.elsewhere
            assert not await self._due(other)
            await one.settle(created.event)
            await one.settle(ended.event)
            assert await other.owed() == 0
            assert not await self._due(other)

    async def test_scheduled_event_waits_for_the_start(self) -> None:
        """Nobody else works on a session that a node is starting; afterwards whoever asks first has it."""
        async with self._nodes() as (one, other):
            created = await self._create(one)
            call = Scheduled(new_event_id(), 1, "call", None)
            await one.apply(created.record.ref, Changes(scheduled=[call]), MAX_DATA)
            await self.advance(2)
            assert not await self._due(other)
            await one.settle(created.event)
            await self.advance(1)
            [(_, event)] = (await self._due(other)).scheduled
            assert event.id == call.event_id
            await one.settle(event)
            assert await one.owed() == 1
            await other.settle(event)
            assert await one.owed() == 0

    async def test_nodes_leave_each_other_what_they_owe(self) -> None:
        """As long as a node renews its lease nobody else delivers for it; what it takes, no other gets."""
        async with self._nodes() as (one, other):
            created = await self._create(one, idle_timeout=100)
            call = Scheduled(new_event_id(), 10, "call", None)
            await one.apply(created.record.ref, Changes(scheduled=[call]), MAX_DATA)
            await one.settle(created.event)
            for _ in range(12):
                await self.advance(one.lease * 0.6)
                assert await one.renew_lease()
                assert await other.renew_lease()
                assert not (await self._due(other)).owed
            taken = [await self._due(node) for node in (other, one)]
            assert sum(len(due.ended) + len(due.scheduled) for due in taken) == 0
            assert await one.owed() == 2

    async def test_node_that_falls_silent_is_taken_over_from(self) -> None:
        """Others get what it owed, each once, with one attempt more; it is told, and strikes nothing any more."""
        async with self._nodes() as (one, other):
            created = await self._create(one)
            ended = await one.end(created.record.ref, Reason.LOGOUT)
            assert ended is not None
            await self.advance(one.lease + 1)
            assert not (await self._due(one)).owed  # it lives, whatever its lease says
            owed = (await self._due(other)).owed
            assert [(each.event.kind, each.event.attempt) for each in owed] == [("start", 2), ("end", 2)]
            assert [each.event.id for each in owed] == [created.event.id, ended.event.id]
            assert not await one.renew_lease()
            assert await one.renew_lease()
            for event in (created.event, ended.event):
                await one.settle(event)
            assert await one.owed() == 2
            assert not (await self._due(one)).owed
            for each in owed:
                await other.settle(each.event)
            assert await one.owed() == 0

    async def test_start_that_is_taken_over_is_waited_for(self) -> None:
        """An end goes to nobody but who was given its start, however few are taken at a time."""
        async with self._nodes() as (one, other):
            created = await self._create(one)
            third = await self.another(one)
            assert third is not None
            assert await one.end(created.record.ref, Reason.LOGOUT) is not None
            await self.advance(one.lease + 1)
            await other.renew_lease()
            await third.renew_lease()
            first = (await other.take_due(1)).owed
            assert [(each.event.kind, each.event.attempt) for each in first] == [("start", 2)]
            assert not (await self._due(third)).owed
            await other.settle(first[0].event)
            last = (await self._due(third)).owed
            assert [(each.event.kind, each.event.attempt) for each in last] == [("end", 2)]
            await self.close_store(third)

    async def test_node_that_leaves_gives_back_what_it_owed(self) -> None:
        """At once: nobody waits for its lease."""
        async with self._nodes() as (one, other):
            created = await self._create(one)
            ended = await other.end(created.record.ref, Reason.ADMIN)
            assert ended is not None
            await one.close()
            owed = (await self._due(other)).owed
            assert [(each.event.id, each.event.attempt) for each in owed] == [(created.event.id, 2)]
            await other.settle(owed[0].event)
            owed = (await self._due(other)).owed
            assert [(each.event.id, each.event.attempt) for each in owed] == [(ended.event.id, 1)]
            await one.open()

    async def test_lock_is_one_for_all_nodes(self) -> None:
        """Who waits on another node has it when it is released; an end tells them."""
        async with self._nodes() as (one, other):
            ref = (await self._create(one)).record.ref
            assert await one.acquire(ref, "first", 1)
            assert not await other.acquire(ref, "second", 0.01)
            assert await _raised(other.apply(ref, Changes({"a": 1}, lock="second"), MAX_DATA), LockLost)
            await other.release(ref, "second")
            waiting = asyncio.create_task(other.acquire(ref, "second", 20))
            await self.arrive()
            await one.release(ref, "first")
            assert await waiting
            assert (await other.apply(ref, Changes({"a": 1}, lock="second"), MAX_DATA)).data == {"a": 1}
            waiting = asyncio.create_task(one.acquire(ref, "first", 20))
            await self.arrive()
            await other.end(ref, Reason.LOGOUT)
            assert await _raised(waiting, SessionEnded)

    async def test_lock_of_a_node_that_fell_silent_is_lost(self) -> None:
        """Others get it, and what its holder still writes under it is refused."""
        async with self._nodes() as (one, other):
            ref = (await self._create(one)).record.ref
            assert await one.acquire(ref, "first", 1)
            await self.advance(one.lease + 1)
            assert await _raised(one.apply(ref, Changes({"a": 1}, lock="first"), MAX_DATA), LockLost)
            assert await other.acquire(ref, "second", 1)
            assert await _raised(one.apply(ref, Changes({"a": 1}, lock="first"), MAX_DATA), LockLost)
            await one.release(ref, "first")
            assert (await other.apply(ref, Changes({"a": 2}, lock="second"), MAX_DATA)).data == {"a": 2}

    # --- the process dies -----------------------------------------------------------------------------

    async def test_death_loses_nothing_that_was_answered(self) -> None:
        """Sessions, data, users, time-outs, events and tombstones are there afterwards, and those that are over are not."""
        async with self._store() as store:
            start = {"page": "/x"}
            kept = (await self._create(store, "kept", user="zoë", start=start, data={"a": 1, "b": "ü"})).record
            await store.apply(kept.ref, Changes({"a": ABSENT, "c": [1.0, {"d": None}]}), MAX_DATA)
            await store.increment(kept.ref, "n", 2, MAX_DATA)
            await store.apply(kept.ref, Changes(idle_timeout=5000, absolute_timeout=6000), MAX_DATA)
            call = Scheduled(new_event_id(), 100, "call", {"x": 1})
            await store.apply(kept.ref, Changes(scheduled=[call]), MAX_DATA)
            renewed = (await self._create(store, "old")).record
            await self._renew(store, renewed.ref, "new", user="b", roles=("r", "s"), version="v")
            gone = (await self._create(store, "gone", start=start)).record
            await store.end(gone.ref, Reason.ADMIN)
            again = await self.kill(store)
            if again is None:
                return
            found = await again.load(kept.key, touch=False)
            assert isinstance(found, Record)
            assert encoded_text(found.data) == encoded_text({"b": "ü", "c": [1.0, {"d": None}], "n": 2})
            assert (found.ref, found.user, found.start) == (kept.ref, "zoë", start)
            assert (found.idle_timeout, found.absolute_timeout, found.bucket) == (5000, 6000, kept.bucket)
            assert found.size == len('"b":"ü","c":[1.0,{"d":null}],"n":2,'.encode())
            other = await again.load(SessionId.app("new").key, touch=False)
            assert isinstance(other, Record)
            assert (other.ref, other.user, other.roles, other.version) == (renewed.ref, "b", ("r", "s"), "v")
            assert await again.load(SessionId.app("old").key, touch=False) == Tombstone(renewed.ref, RENEWED)
            assert await again.load(gone.key, touch=False) == Tombstone(gone.ref, Reason.ADMIN, start)
            assert (await again.count(), await again.count("zoë"), await again.count("b")) == (2, 1, 1)
            await self.advance(101)
            due = await self._due(again)
            assert [(event.id, event.name, event.data) for _, event in due.scheduled] == [
                (call.event_id, "call", {"x": 1})
            ]
            await self.close_store(again)

    async def test_death_leaves_what_was_owed_to_others(self) -> None:
        """Entries that were not settled are handed out once, each with its id and one attempt more, starts before ends."""
        async with self._store() as store:
            done, half, whole = [await self._create(store, data={"a": 1}) for _ in range(3)]
            await store.settle(done.event)
            ends = {}
            for created in (half, whole):
                if created is half:
                    await store.settle(created.event)
                ended = await store.end(created.record.ref, Reason.LOGOUT)
                assert ended is not None
                ends[created.record.ref] = ended.event
            expected = {whole.event.id: whole.event, **{event.id: event for event in ends.values()}}
            current = store
            for attempt in (2, 3):
                again = await self.kill(current)
                if again is None:
                    return
                current = again
                assert await current.owed() == 3
                found = await current.load_ref(done.record.ref, touch=False)
                assert found is not None
                assert not found.starting
                owed = (await self._due(current, maximum=1)).owed
                assert {one.event.id: one.event for one in owed} == {
                    event.id: replace(event, attempt=attempt) for event in expected.values()
                }
                kinds = [one.event.kind for one in owed if one.event.ref == whole.record.ref]
                assert kinds == ["start", "end"]
                for one in owed:
                    assert one.record.data == {"a": 1}
                    assert one.record.reason is Reason.LOGOUT
                assert not (await self._due(current)).owed
                await current.settle(expected[whole.event.id])
                assert await current.owed() == 3
            for one in owed:
                await current.settle(one.event)
            assert await current.owed() == 0
            await self.close_store(current)

    async def test_death_leaves_a_session_starting(self) -> None:
        """Nobody gets it before somebody has delivered its start."""
        async with self._store() as store:
            created = await self._create(store)
            again = await self.kill(store)
            if again is None:
                return
            for is_starting in (True, False):
                found = await again.load(created.record.key, touch=True)
                assert isinstance(found, Record)
                assert found.starting is is_starting
                for one in (await self._due(again)).owed:
                    await again.settle(one.event)
            await self.close_store(again)

    async def test_death_does_not_stop_the_clock(self) -> None:
        """Who falls due meanwhile is ended afterwards, for their own reason; nobody is ended early for it."""
        async with self._store() as store:
            over = (await self._create(store, idle_timeout=100)).record
            touched = (await self._create(store, idle_timeout=1000)).record
            absolute = (await self._create(store, idle_timeout=0, absolute_timeout=300)).record
            for _ in range(9):
                await self.advance(10)
                await store.load_ref(touched.ref, touch=True)
            again = await self.kill(store)
            if again is None:
                return
            await self.advance(400)
            ended = [_end_of(one) for one in (await self._due(again)).ended]
            assert sorted(ended) == sorted([(over.ref, Reason.IDLE), (absolute.ref, Reason.ABSOLUTE)])
            await self.advance(599)
            assert await again.load_ref(touched.ref, touch=False) is not None
            await self.advance(150)
            assert await again.load_ref(touched.ref, touch=False) is None
            await self.close_store(again)

    # --- what must not be given too early, too often, or without bound ---------------------------------

    async def test_limit_that_was_lowered_is_reached(self) -> None:
        """Each that comes has as many go as there are too many, and no more than `MAX_VICTIMS`; who cannot be made room for
        has nobody go."""
        for setting in SEVEN:
            async with self._store() as store:
                facts: dict[str, Any] = {setting.removeprefix("session."): 1}
                one = Limits(**facts)
                user = "a" if setting == "session.max_sessions_per_user" else None
                for _ in range(MAX_VICTIMS + 5):
                    await self._create(store, user=user)
                assert len((await self._create(store, user=user, limits=one)).ended) == MAX_VICTIMS
                assert await store.count() == 6
                last = await self._create(store, user=user, limits=one)
                assert {ended.event.reason for ended in last.ended} == {Reason.LIMIT}
                assert (len(last.ended), await store.count()) == (6, 1)
        async with self._store() as store:
            for user in ("a", "b", None):
                await self._create(store, user=user)
            assert await store.create(_record(store), Limits(max_sessions=1)) == Full("session.max_sessions", 1)
            assert await store.count() == 3

    async def test_scheduled_events_are_bounded(self) -> None:
        """A session has so many to come and no more; what would be one too many changes nothing, and those called make room."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            calls = [Scheduled(new_event_id(), 10, "call", None) for _ in range(MAX_SCHEDULED + 1)]
            assert await _raised(store.apply(ref, Changes({"a": 1}, scheduled=calls), MAX_DATA), InvalidValue)
            assert await self._data(store, ref) == {}
            await store.apply(ref, Changes(scheduled=calls[:1]), MAX_DATA)
            await self.advance(20)
            assert len((await self._due(store)).scheduled) == 1
            await store.apply(ref, Changes(scheduled=calls[1:]), MAX_DATA)
            await store.apply(ref, Changes({"a": 1}, scheduled=calls[1:2]), MAX_DATA)  # is there already
            more = [Scheduled(new_event_id(), 10, "call", None)]
            assert await _raised(store.apply(ref, Changes({"a": 2}, scheduled=more), MAX_DATA), InvalidValue)
            assert await self._data(store, ref) == {"a": 1}

    async def test_scheduled_event_is_not_due_after_the_deadline(self) -> None:
        """Its session is over before it, even where `take_due` comes to the event first."""
        async with self._store() as store:
            ref = (await self._create(store, idle_timeout=100.1)).record.ref
            await store.apply(ref, Changes(scheduled=[Scheduled(new_event_id(), 100, "call", None)]), MAX_DATA)
            await self.advance(51)
            assert len((await self._due(store)).expiring) == 1  # what is looked at next is the deadline itself
            await self.advance(49.2)
            due = await self._due(store)
            await self.advance(1)
            more = await self._due(store)
            assert due.scheduled == more.scheduled == []
            assert [_end_of(ended) for ended in due.ended + more.ended] == [(ref, Reason.IDLE)]

    async def test_each_method_finds_out_that_one_is_past_its_deadline(self) -> None:
        """Whichever is the first to be asked."""
        async with self._store() as store:
            key = SessionId.app("s").key
            asked: list[tuple[Callable[[str], Awaitable[Any]], Any]] = [
                (lambda ref: store.load(key, touch=True), Tombstone),
                (lambda ref: store.load_many([key]), [Tombstone]),
                (lambda ref: store.load_ref(ref, touch=True), None),
                (lambda ref: store.scan(), ([], "")),
                (lambda ref: store.scan(user="a"), ([], "")),
                (lambda ref: store.count("a"), 0),
                (lambda ref: store.end(ref, Reason.LOGOUT), None),
                (lambda ref: _raised(store.apply(ref, Changes({"a": 2}), MAX_DATA), SessionEnded), True),
                (lambda ref: _raised(store.increment(ref, "n", 1, MAX_DATA), SessionEnded), True),
                (lambda ref: _raised(self._renew(store, ref, "new", user="b"), SessionEnded), True),
                (lambda ref: _raised(store.acquire(ref, "holder", 1), SessionEnded), True),
            ]
            for ask, answer in asked:
                ref = (await self._create(store, "s", user="a")).record.ref
                await self.advance(IDLE)
                heard = await ask(ref)
                left = Tombstone(ref, Reason.IDLE)
                assert heard == (left if answer is Tombstone else [left] if answer == [Tombstone] else answer)
                assert [_end_of(one) for one in (await self._due(store)).ended] == [(ref, Reason.IDLE)]

    async def test_life_that_has_ended_is_not_begun_again(self) -> None:
        """A creation that is asked for again, after its session was there and has ended, begins no second life of that ref."""
        async with self._store() as store:
            created = await self._create(store, "same")
            await store.settle(created.event)
            again = _record(store, "same")
            again.ref = created.record.ref
            found = await store.create(again, NO_LIMITS)
            assert isinstance(found, Exists)
            assert found.record.ref == created.record.ref
            assert await store.end(created.record.ref, Reason.ADMIN) is not None
            assert await _raised(store.create(again, NO_LIMITS), SessionEnded)
            starting = _record(store, "starting")
            for _ in range(2):
                assert isinstance(await store.create(starting, NO_LIMITS), Created)
            assert await store.end(starting.ref, Reason.ADMIN) is not None
            assert await _raised(store.create(starting, NO_LIMITS), SessionEnded)
            assert await store.count() == 0

    async def test_settling_a_start_makes_newer_copies(self) -> None:
        """Whoever has a copy that says that the session is starting can tell that it is out of date."""
        async with self._store() as store:
            created = await self._create(store)
            before = await store.load_ref(created.record.ref, touch=False)
            assert before is not None
            revision = before.revision
            await store.settle(created.event)
            after = await store.load_ref(created.record.ref, touch=False)
            assert after is not None
            assert (after.starting, after.revision > revision) == (False, True)

    async def test_death_leaves_ends_waiting_for_their_starts(self) -> None:
        """Who ends a session whose start nobody has been given yet is told that it ends `elsewhere`; `take_due` hands out
        the start, and the end when that is settled, as its first attempt; after another death it may be the second."""
        for deaths in (1, 2):
            async with self._store() as store:
                names = ("ended", "replaced", "limit")
                refs = [(await self._create(store, name, data={"a": name}, after=1)).record.ref for name in names]
                again = await self.kill(store)
                if again is None:
                    return
                ends = await self._end_three(again, refs)
                starts = (await self._due(again)).owed
                if deaths == 2:
                    again = await self.kill(again)
                    assert again is not None
                    starts = (await self._due(again)).owed
                assert sorted((one.event.ref, one.event.kind, one.event.attempt) for one in starts) == sorted(
                    (ref, "start", 1 + deaths) for ref in refs
                )
                for ended in ends:
                    await again.settle(ended.event)  # which nobody has been given
                assert await again.owed() == 6
                for one in starts:
                    await again.settle(one.event)
                owed = (await self._due(again)).owed
                assert sorted((one.event.id, one.record.data["a"]) for one in owed) == sorted(
                    (ended.event.id, name) for ended, name in zip(ends, names, strict=True)
                )
                assert {one.event.attempt for one in owed} <= set(range(1, deaths + 1))
                for one in owed:
                    await again.settle(one.event)
                assert await again.owed() == 0
                await self.close_store(again)

    async def _end_three(self, store: Store, refs: list[str]) -> list[Ended]:
        """End what was created as "ended", "replaced" and "limit", each in its way, all of them starting elsewhere."""
        ended = await store.end(refs[0], Reason.LOGOUT)
        assert ended is not None
        replaced = await self._create(store, "replaced", replace=True)
        limit = await self._create(store, limits=Limits(max_sessions=2))
        for new in (replaced, limit):
            await store.settle(new.event)
        ends = [ended, *replaced.ended, *limit.ended]
        assert [(one.event.ref, one.event.reason, one.event.attempt, one.elsewhere) for one in ends] == [
            (refs[0], Reason.LOGOUT, 1, True),
            (refs[1], Reason.REPLACED, 1, True),
            (refs[2], Reason.LIMIT, 1, True),
        ]
        return ends

    # --- opening and closing ------------------------------------------------------------------------

    async def test_store_may_be_opened_again(self) -> None:
        """After `close`, `open` makes it work as before; what outlives the process is there."""
        async with self._store() as store:
            ref = (await self._create(store)).record.ref
            await store.close()
            await store.open()
            assert await store.load_ref(ref, touch=False) is not None or not store.outlives_process
            await self._create(store)

    # --- how it is asked ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _store(self) -> AsyncIterator[Store]:
        self.clock = FakeClock()
        store = await self.open_store(self.clock)
        store.use(tombstone=self.TOMBSTONE, warn_before=self.WARN_BEFORE)
        try:
            yield store
        finally:
            await self.close_store(store)

    @asynccontextmanager
    async def _nodes(self) -> AsyncIterator[tuple[Store, Store]]:
        """Open a store and another node's; where there can be none, the test is skipped."""
        async with self._store() as store:
            other = await self.another(store)
            if other is None:
                raise SkipTest("no other process can have this store")
            other.use(tombstone=self.TOMBSTONE, warn_before=self.WARN_BEFORE)
            try:
                yield store, other
            finally:
                await self.close_store(other)

    async def _create(
        self,
        store: Store,
        id: str | None = None,
        *,
        limits: Limits = NO_LIMITS,
        replace: bool = False,
        after: float = 0,
        **facts: Any,
    ) -> Created:
        """Create a session that must be let in, and then let `after` seconds pass."""
        created = await store.create(_record(store, id, **facts), limits, replace=replace)
        assert isinstance(created, Created), created
        if after:
            await self.advance(after)
        return created

    async def _renew(
        self,
        store: Store,
        ref: str,
        id: str,
        *,
        user: str | None = None,
        roles: tuple[str, ...] = (),
        version: str = "",
        limits: Limits = NO_LIMITS,
    ) -> Renewed:
        renewed = await store.renew(ref, SessionId.app(id).key, limits, user=user, roles=roles, version=version)
        assert isinstance(renewed, Renewed), renewed
        return renewed

    def _writes(self, store: Store, ref: str) -> Iterable[Any]:
        """Yield a call of each method that raises `SessionEnded`."""
        yield store.apply(ref, Changes({"a": 2}), MAX_DATA)
        yield store.apply(ref, Changes(idle_timeout=1e6), MAX_DATA)
        yield store.increment(ref, "n", 1, MAX_DATA)
        yield store.renew(ref, SessionId.app("renewed").key, NO_LIMITS, user="z", roles=(), version="")
        yield store.acquire(ref, "holder", 1)

    async def _hold(self, store: Store, ref: str, name: str, order: list[str]) -> None:
        assert await store.acquire(ref, name, 25)
        order.append(f"{name}+")
        await self.arrive()
        order.append(f"{name}-")
        await store.release(ref, name)

    async def _due(self, store: Store, maximum: int = 100) -> Due:
        """Take all that is due, `maximum` at a time."""
        everything = Due()
        while due := await store.take_due(maximum):
            assert len(due) <= maximum
            everything.expiring += due.expiring
            everything.ended += due.ended
            everything.scheduled += due.scheduled
            everything.owed += due.owed
        return everything

    async def _data(self, store: Store, ref: str) -> dict[str, Any]:
        record = await store.load_ref(ref, touch=False)
        assert record is not None
        return dict(record.data)

    async def _ref_of(self, store: Store, id: str) -> str:
        record = await store.load(SessionId.app(id).key, touch=False)
        assert isinstance(record, Record), record
        return record.ref


def _record(store: Store, id: str | None = None, *, remote_ip: str = "192.0.2.1", **facts: Any) -> Record:
    """Return the record of a session that is about to be created; without `id`, under an id of its own."""
    now, ref = store.now(), new_ref()
    record = Record(
        ref=ref,
        key=SessionId.app(ref if id is None else id).key,
        identity=facts.pop("identity", "app"),
        remote_ip=remote_ip,
        bucket=bucket(remote_ip),
        created_at=now,
        last_access_at=now,
        restarted_at=now,
        idle_timeout=facts.pop("idle_timeout", IDLE),
        absolute_timeout=facts.pop("absolute_timeout", ABSOLUTE),
    )
    for name, value in facts.items():
        setattr(record, name, value)
    record.size = max(0, len(_text(record.data).encode()) - 1) if record.data else 0
    return record


def _text(value: Any) -> str:
    """Return the shortest JSON text, by which data is measured."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _end_of(ended: Ended) -> tuple[str, Reason | None]:
    assert ended.record.ref == ended.event.ref
    assert ended.record.reason == ended.event.reason
    return ended.event.ref, ended.event.reason


async def _raised(call: Any, kind: type[Exception]) -> bool:
    """Tell whether a call raises an error of this kind."""
    try:
        await call
    except kind:
        return True
    return False


async def _scanned(store: Store, maximum: int, **conditions: Any) -> list[str]:
    """Return the refs of a whole scan."""
    seen: list[str] = []
    cursor = ""
    while True:
        records, cursor = await store.scan(cursor, maximum=maximum, **conditions)
        assert len(records) <= maximum
        seen += [record.ref for record in records]
        if not cursor:
            return seen
