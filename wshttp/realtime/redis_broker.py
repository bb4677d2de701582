"""The broker over Redis or Valkey: Pub/Sub, on one channel for all and one per topic.

What is published is `<sender>:<number>`, a line feed, and the word; a word without that line has no sender, as those that
the scripts of the store publish. The numbers count per sender, on the common channel and on all topics apart: a word
that was sent again after a lost connection is heard once, and one that is missing on the common channel is noticed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from itertools import islice
from typing import Final

from wshttp.realtime.broker import Heard, Notice
from wshttp.realtime.numbers import Numbers, Verdict
from wshttp.redis.link import RedisLink
from wshttp.redis.refusals import RedisUnavailable
from wshttp.redis.subscription import Subscription
from wshttp.redis.topology import database_of

MAX_WORDS: Final = 20_000
"""Words that wait while Redis is away or slow; above it the oldest are lost."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of them."""

ENOUGH: Final = 500
"""Waiting words from which on `room` waits."""

AT_ONCE: Final = 128
"""Words that are sent together."""

RETRY: Final = 0.1
"""Seconds between tries while Redis is away."""

LAST_WORDS: Final = 1.0
"""Seconds in which words that wait are still sent when the broker closes."""

_log = logging.getLogger("wshttp.nodes")


class RedisBroker:
    """A broker over `link`, which is open and stays somebody else's, and a subscription of its own to `url`.

    All nodes of one `prefix` in one database hear each other. `timeout` is in seconds, for the subscription's connection.
    `node` is a name of letters and digits that no other broker has had; `None`: any.
    """

    def __init__(
        self, link: RedisLink, url: str, *, prefix: str = "wshttp", timeout: float = 2.0, node: str | None = None
    ) -> None:
        self.name = node or secrets.token_hex(6)
        self._link = link
        database = database_of(url)  # Pub/Sub knows none: applications that differ in it alone would hear each other
        self._common = f"{{{prefix}}}:words:{database}"
        self._topic = f"{{{prefix}}}:topic:{database}:"
        self._subscription = Subscription(
            url,
            self._common,
            on_message=self._on_message,
            on_lost=self._on_lost,
            on_back=self._on_back,
            timeout=timeout,
            client_name=f"wshttp-{self.name}-words",
            root=f"{{{prefix}}}",
        )
        self._heard: Heard | None = None
        self._lost: Notice | None = None
        self._back: Notice | None = None
        self._common_numbers = Numbers()
        self._topic_numbers = Numbers()
        self._common_said = 0
        self._topics_said = 0
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._bytes = 0
        self._is_full = False
        self._sender: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._room.set()

    # --- life ---------------------------------------------------------------------------------------

    async def open(self, heard: Heard, lost: Notice, back: Notice) -> None:
        self._heard, self._lost, self._back = heard, lost, back
        try:
            await self._subscription.open()
        except BaseException:
            self._heard = None
            raise

    async def close(self) -> None:
        self._heard = None
        sender = self._sender
        if sender is not None:
            await asyncio.wait({sender}, timeout=LAST_WORDS)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
        self._waiting.clear()
        self._bytes = 0
        self._room.set()
        await self._subscription.close()

    # --- saying -------------------------------------------------------------------------------------

    def say(self, word: bytes, *, topic: str | None = None) -> None:
        if self._heard is None:
            return
        framed = b"%s:%d\n%s" % (self.name.encode(), self._next_number(topic), word)
        self._waiting.append((self._channel(topic), framed))
        self._bytes += len(framed)
        while len(self._waiting) > MAX_WORDS or (self._bytes > MAX_BYTES and len(self._waiting) > 1):
            self._lose_oldest()
        if len(self._waiting) >= ENOUGH:
            self._room.clear()
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())

    async def room(self) -> None:
        await self._room.wait()

    def _next_number(self, topic: str | None) -> int:
        if topic is None:
            self._common_said += 1
            return self._common_said
        self._topics_said += 1
        return self._topics_said

    def _channel(self, topic: str | None) -> str:
        if topic is None:
            return self._common
        return self._topic + topic.encode(errors="backslashreplace").decode()  # it may have surrogates on their own

    def _lose_oldest(self) -> None:
        self._take(1)
        if not self._is_full:
            _log.warning("Redis takes words more slowly than they are said; the oldest are lost")
        self._is_full = True

    def _take(self, number: int) -> None:
        """Take the oldest out."""
        for _ in range(min(number, len(self._waiting))):
            self._bytes -= len(self._waiting.popleft()[1])
        if len(self._waiting) < ENOUGH:
            self._room.set()

    async def _send(self) -> None:
        """Publish what waits. Where the answer does not come it is sent again: who has heard it knows its number."""
        try:
            while self._waiting:
                batch = list(islice(self._waiting, AT_ONCE))
                first = batch[0]
                replies = await asyncio.gather(
                    *(self._link.call("PUBLISH", channel, word) for channel, word in batch), return_exceptions=True
                )
                done = next((n for n, reply in enumerate(replies) if isinstance(reply, RedisUnavailable)), len(batch))
                for reply in replies[:done]:
                    if isinstance(reply, BaseException):
                        _log.error("Redis did not take a word: %s", reply)
                if self._waiting and self._waiting[0] is first:  # else it was full, and they are gone
                    self._take(done)
                if done < len(batch):
                    await asyncio.sleep(RETRY)
            self._is_full = False
        finally:
            self._sender = None

    # --- hearing ------------------------------------------------------------------------------------

    def listen(self, topic: str) -> None:
        self._subscription.subscribe(self._channel(topic))

    def unlisten(self, topic: str) -> None:
        self._subscription.unsubscribe(self._channel(topic))

    async def listening(self) -> None:
        try:
            await self._subscription.settled()
        except RedisUnavailable:
            pass  # nothing is heard now; when the connection is back, it is subscribed to all

    def _on_message(self, channel: str, message: bytes) -> None:
        if self._heard is None:
            return
        sender, word = _unframed(message)
        if sender is None:
            self._heard(word)
            return
        name, number = sender
        if name == self.name:
            return
        is_common = channel == self._common
        verdict = (self._common_numbers if is_common else self._topic_numbers).judge(name, number)
        if verdict is not Verdict.OLD:
            self._heard(word)
        if verdict is Verdict.AFTER_GAP and is_common and self._back is not None:
            self._back()

    def _on_lost(self) -> None:
        if self._heard is not None and self._lost is not None:
            self._lost()

    def _on_back(self) -> None:
        self._common_numbers.forgive()
        if self._heard is not None and self._back is not None:
            self._back()


def _unframed(message: bytes) -> tuple[tuple[str, int] | None, bytes]:
    """Take a message apart: who said it, with its number, and the word."""
    head, line_feed, word = message.partition(b"\n")
    name, _, number = head.partition(b":")
    if line_feed and name.isalnum() and number.isdigit():
        return (name.decode(), int(number)), word
    return None, message
