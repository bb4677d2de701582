"""Topics with history: their messages in the order of their offsets, none twice, on every node.

A message is appended to the history first. Where the store is away, or the topic may have no history, it goes out without a
place: those who are there have it, and those who come back are told that something is missing.
The word to other nodes carries its place there: it is a hint that there is something to give, and which. Where a word is
missing, what it said is read from the history.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Container
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from wshttp.errors import StoreUnavailable
from wshttp.realtime.connection import Connection
from wshttp.realtime.history import History, Item, Missed
from wshttp.realtime.letter import Letter
from wshttp.realtime.message_types import ToClient
from wshttp.realtime.place import NOWHERE, Place
from wshttp.realtime.reader import Reader
from wshttp.realtime.words import decode, decode_letter, encode_letter

if TYPE_CHECKING:
    from wshttp.realtime.hub import Hub

MAX_WAITING: Final = 1000
"""Messages of a topic that wait to be given to connections here. Above it the oldest go: they are read from the history."""

MAX_LIVES: Final = 4
"""Lives of a topic of which a node knows how far it is: the present one, and some before it."""

_log = logging.getLogger("wshttp.connections")


class Feed:
    """One topic's messages on this node, given one after the other, in a task that lives only while there are some."""

    def __init__(self, topic: str, history: History, give: Callable[[Letter], Awaitable[int]]) -> None:
        self._topic = topic
        self._history = history
        self._give = give
        self._places: OrderedDict[str, int] = OrderedDict()
        self._waiting: deque[tuple[Letter | None, Place, asyncio.Future[int]]] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def place(self) -> Place | None:
        """The last message that was given; `None` before any is known."""
        return Place(*next(reversed(self._places.items()))) if self._places else None

    def put(self, letter: Letter, place: Place) -> asyncio.Future[int]:
        """Take a message. The future has to how many connections it went."""
        return self._put(letter, place)

    def look(self) -> asyncio.Future[int] | None:
        """Give what the history has past the last message: words may have been lost. `None`: none is known."""
        return None if self.place is None else self._put(None, self.place)

    def _put(self, letter: Letter | None, place: Place) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((letter, place, done))
        if len(self._waiting) > MAX_WAITING:
            _set(self._waiting.popleft()[2], 0)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return done

    def note(self, place: Place) -> None:
        """Begin, where nothing is known yet, after what somebody has read from the history."""
        if not self._places:
            self._move_to(place)

    async def close(self) -> None:
        """Give nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while self._waiting:
                letter, place, done = self._waiting.popleft()
                count = 0
                try:
                    if letter is None:
                        await self._give_newer(place)
                    else:
                        count = await self._pass_on(letter, place)
                except Exception:
                    _log.exception("a message on a topic was not delivered")
                finally:
                    _set(done, count)
        finally:
            self._task = None
            for _, _, done in self._waiting:
                _set(done, 0)

    async def _pass_on(self, letter: Letter, place: Place) -> int:
        last = self._places.get(place.life)
        if last is not None and place.offset <= last:
            return 0  # it was read from the history, before its word came
        if self._places and place.offset > (last or 0) + 1:
            await self._give_all(await self._missing(Place(place.life, last or 0), place.offset))
        self._move_to(place)
        return await self._give(letter)

    async def _give_all(self, items: list[Item]) -> None:
        for item in items:
            self._move_to(item.place)
            await self._give(letter_of(item))

    async def _give_newer(self, after: Place) -> None:
        try:
            missed = await self._history.since(self._topic, self.place or after)
            await self._give_all(missed.items)
            while missed.more:
                missed = await self._history.since(self._topic, missed.last)
                await self._give_all(missed.items)
        except StoreUnavailable:
            pass  # as in `_missing`

    async def _missing(self, after: Place, before: int) -> list[Item]:
        try:
            return await self._history.between(after, before)
        except StoreUnavailable:
            return []  # what is lost now, clients see by the offset that is missing

    def _move_to(self, place: Place) -> None:
        self._places.pop(place.life, None)
        self._places[place.life] = place.offset
        self._history.note(self._topic, place)
        if len(self._places) > MAX_LIVES:
            self._places.popitem(last=False)


class Feeds:
    """The feeds of all topics that have connections here, which `topics` tells, over a hub."""

    def __init__(
        self, hub: Hub, topics: Container[str], history: History, give: Callable[[Letter], Awaitable[int]]
    ) -> None:
        self._hub = hub
        self._topics = topics
        self._history = history
        self._give = give
        self._feeds: dict[str, Feed] = {}
        self._looking: asyncio.Task[None] | None = None

    async def publish(self, letter: Letter, topic: str, maximum: int, payer: str | None) -> int:
        """Keep a message, and give it to all who are in its topic; returns to how many of this node it went.

        `payer` is as for `History.append`.
        """
        try:
            place = await self._history.append(topic, encode_letter(letter), maximum, payer=payer)
        except StoreUnavailable as error:
            _log.debug("a message on a topic has no place in its history: %s", error)
            place = None
        if place is None:
            self._hub.elsewhere.send(letter)
            return await self._give(letter)
        letter = replace(letter, place=place)
        self._hub.elsewhere.send(letter)
        given = self.put(letter, topic, place)
        return 0 if given is None else await given

    def put(self, letter: Letter, topic: str, place: Place) -> asyncio.Future[int] | None:
        """Give a message to those of this node, in its turn; `None`: there are none."""
        feed = self._feed(topic)
        return None if feed is None else feed.put(letter, place)

    def _feed(self, topic: str) -> Feed | None:
        feed = self._feeds.get(topic)
        if feed is None and topic in self._topics:
            feed = self._feeds[topic] = Feed(topic, self._history, self._give)
        return feed

    def look(self) -> None:
        """Give, on all topics, what the histories have and nobody has told us of: one topic after the other."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look_at_all())

    async def _look_at_all(self) -> None:
        try:
            await self._history.fill_holes()
        except StoreUnavailable as error:
            _log.debug("what was not kept has no place yet: %s", error)
        for feed in list(self._feeds.values()):
            look = feed.look()
            if look is not None:
                await look

    def drop(self, topic: str) -> None:
        """Forget a topic that has no connections here any more."""
        self._feeds.pop(topic, None)

    async def close(self) -> None:
        """Give nothing any more."""
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.gather(*(feed.close() for feed in self._feeds.values()))
        self._feeds.clear()

    async def resume(self, connection: Connection, topic: str, reader: Reader, after: Place | None) -> None:
        """Give a connection in a topic what it missed after a place, say so, and then go on with all that is published.

        It waits for a slow receiver, with a slice of the history in hand. Raises `StoreUnavailable`, and `ConnectionClosed`.
        """
        payer = self._hub.payer(connection)
        missed = self._known(topic) if after is None else None
        missed = missed or await self._since(topic, after, payer)
        whole = missed.whole
        while True:
            for item in missed.items:
                await connection.send_formed(letter_of(item).form(connection.format))
            late = None if missed.more else reader.caught_up(missed.last)
            if late is not None:
                break
            missed = await self._since(topic, missed.last, payer)
            whole = whole and missed.whole
        life, offset = missed.last
        self._hub.tell([connection], ToClient.RESUMED, topic=topic, life=life, offset=offset, whole=whole)
        for letter in late:
            connection.post(letter.form(connection.format))

    def _known(self, topic: str) -> Missed | None:
        """Return where a topic is, if the store need not be asked."""
        feed = self._feed(topic)
        return None if feed is None or feed.place is None else Missed([], feed.place, whole=True)

    async def _since(self, topic: str, after: Place | None, payer: str) -> Missed:
        feed = self._feed(topic)
        missed = await self._history.since(topic, after, payer=payer)
        if feed is not None and not missed.more and missed.last != NOWHERE:
            feed.note(missed.last)
        return missed


def letter_of(item: Item) -> Letter:
    """Read a message of a history."""
    word = decode(item.message)
    if word is None:
        raise ValueError("a history holds what is no message")
    return replace(decode_letter(word), place=item.place)


def _set(done: asyncio.Future[int], count: int) -> None:
    if not done.done():
        done.set_result(count)
