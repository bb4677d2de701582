"""The broker port: what carries words between processes; and one for several nodes in one process.

What is promised
    A word is a byte string, heard as it was said: by all brokers of the same kind and name that are open, but never by the
    one that said it; one with a topic only by those that listen to that topic.
    Words of one sender are heard in the order in which they were said, each at most once.
    Nothing is stored: who is not there does not hear it later.
    `heard` is never called from within `say`.

What is lost
    A word without a topic that was lost is noticed: `lost` is called when words may be missed from now on, and `back` when
    that is over, whoever lost them; `back` may also come alone. Words with a topic may be lost unnoticed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

Heard: TypeAlias = Callable[[bytes], None]
Notice: TypeAlias = Callable[[], None]


class Broker(Protocol):
    """Carry words between processes. See the top of this file for what is promised."""

    async def open(self, heard: Heard, lost: Notice, back: Notice) -> None:
        """Begin to hear; none of the three may raise. What is said from now on is heard by those that are open.

        Raises `StoreUnavailable` and `StoreUnusable` where it stands on a server.
        """

    async def close(self) -> None:
        """Say what was said before, as far as that goes quickly, and let go of everything."""

    def say(self, word: bytes, *, topic: str | None = None) -> None:
        """Say a word to all, or to those who listen to a topic.

        Never waits and never raises: a word that finds no room, or no open broker, is lost.
        """

    async def room(self) -> None:
        """Wait while much of what was said is still to go out."""

    def listen(self, topic: str) -> None:
        """Hear a topic's words, too, from soon on; twice is no error."""

    def unlisten(self, topic: str) -> None:
        """Hear a topic's words no longer."""

    async def listening(self) -> None:
        """Wait until the words of all topics that are listened to are heard, or cannot be for now."""


class MemoryExchange:
    """Where the brokers of one process meet; a test may keep words back, and cut brokers off."""

    def __init__(self) -> None:
        self.brokers: list[MemoryBroker] = []
        self.holding = False
        """Whether words wait until `deliver`."""
        self.cut: set[MemoryBroker] = set()
        """Those that can neither say nor hear."""
        self._waiting: deque[Callable[[], None]] = deque()
        self._missing: set[MemoryBroker] = set()

    def carry(self, sender: MemoryBroker, word: bytes, topic: str | None) -> None:
        """Give a word to all others, in a later turn of the loop."""
        for broker in self.brokers:
            if broker is sender:
                continue
            if {broker, sender} & self.cut:
                self._missing.add(broker)
            else:
                self._waiting.append(partial(broker.hear, word, topic))
        if not self.holding:
            asyncio.get_running_loop().call_soon(self.deliver)

    @property
    def waiting(self) -> int:
        """How many words were said and not given yet, once for each who is to hear them."""
        return len(self._waiting)

    def deliver(self, number: int | None = None) -> None:
        """Give what waits to those it is for; `number` words at most."""
        for _ in range(len(self._waiting) if number is None else min(number, len(self._waiting))):
            self._waiting.popleft()()

    def lose(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    def cut_off(self, broker: MemoryBroker) -> None:
        """Let a broker lose everything from now on."""
        self.cut.add(broker)
        broker.lost()

    def mend(self, broker: MemoryBroker) -> None:
        """Let a broker hear and be heard again; it and all who missed something are told."""
        self.cut.discard(broker)
        back = (self._missing | {broker}) - self.cut
        self._missing -= back
        for each in back & set(self.brokers):
            each.back()


class MemoryBroker:
    """The broker between several nodes of one process: for tests, and for several servers in one program."""

    def __init__(self, exchange: MemoryExchange) -> None:
        self._exchange = exchange
        self._topics: set[str] = set()
        self._heard: Heard | None = None
        self.lost: Notice = _ignored
        self.back: Notice = _ignored

    async def open(self, heard: Heard, lost: Notice, back: Notice) -> None:
        self._heard, self.lost, self.back = heard, lost, back
        self._exchange.brokers.append(self)

    async def close(self) -> None:
        self._heard = None
        self._topics.clear()
        if self in self._exchange.brokers:
            self._exchange.brokers.remove(self)

    def say(self, word: bytes, *, topic: str | None = None) -> None:
        if self._heard is not None:
            self._exchange.carry(self, word, topic)

    async def room(self) -> None:
        """What was said takes no room that anybody waits for."""

    def listen(self, topic: str) -> None:
        self._topics.add(topic)

    def unlisten(self, topic: str) -> None:
        self._topics.discard(topic)

    async def listening(self) -> None:
        """A topic is heard at once."""

    def hear(self, word: bytes, topic: str | None) -> None:
        """Take a word from the exchange."""
        if self._heard is not None and (topic is None or topic in self._topics):
            self._heard(word)


def _ignored() -> None:
    """Nobody asked to be told."""
