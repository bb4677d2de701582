"""What is published, heard as long as the connection lasts."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from wshttp.errors import StoreUnusable
from wshttp.redis.greeting import cut, failure, send
from wshttp.redis.keeper import Keeper
from wshttp.redis.packing import pack
from wshttp.redis.refusals import RedisUnavailable, is_reply, refusal
from wshttp.redis.topology import topology_of

_log: Final = logging.getLogger("wshttp.redis")

_JOINED: Final = b"joined"


class Subscription:
    """A connection of its own for Pub/Sub, made again whenever it is lost.

    `on_message(channel, message)`, `on_lost()` and `on_back()` are called from the event loop, and should not raise.
    From `on_lost` to `on_back` what is published may be missed; then all channels are subscribed again.
    `ping_every` is after how many seconds an idle connection is looked at: one that does not answer within `timeout`
    is lost.
    """

    def __init__(
        self,
        url: str,
        *channels: str,
        on_message: Callable[[str, bytes], None],
        on_lost: Callable[[], None],
        on_back: Callable[[], None],
        timeout: float = 2.0,
        ping_every: float = 5.0,
        client_name: str = "wshttp",
        root: str = "{wshttp}",
    ) -> None:
        self._topology = topology_of(url, root=root, timeout=timeout, client_name=client_name)
        self._channels = dict.fromkeys(channels)
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_back = on_back
        self._timeout = timeout
        self._ping_every = ping_every
        self._unsent: deque[bytes] = deque()
        self._to_send = asyncio.Event()
        self._pings: deque[asyncio.Future[None]] = deque()
        self._held: list[Any] = []  # heard while not all channels were subscribed
        self._keeper = Keeper(
            "subscription", connect=self._connect, duties=self._duties, lost=self._is_lost, back=self._is_back
        )

    @property
    def available(self) -> bool:
        """Whether everything that is published arrives."""
        return self._keeper.available

    async def open(self) -> None:
        """Connect, and subscribe to all channels; raises as `RedisLink.open`. `on_back` is not called for this."""
        await self._keeper.open()

    async def close(self) -> None:
        """Close the connection; no function is called any more."""
        await self._keeper.close()
        self._fail_pings()

    def subscribe(self, channel: str) -> None:
        """Hear this channel from soon on; never waits. It stays so over all connections to come."""
        if channel not in self._channels:
            self._channels[channel] = None
            self._send(pack("SUBSCRIBE", channel))

    def unsubscribe(self, channel: str) -> None:
        """Hear this channel no longer; never waits."""
        if channel in self._channels:
            del self._channels[channel]
            self._send(pack("UNSUBSCRIBE", channel))

    async def settled(self) -> None:
        """Wait until what was subscribed and unsubscribed so far is in force; raises `RedisUnavailable`."""
        if not self.available:
            raise RedisUnavailable(self._keeper.reason)
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pings.append(pong)
        self._send(pack("PING", "settled"))
        try:
            async with asyncio.timeout(self._timeout):
                await pong
        except TimeoutError:
            raise RedisUnavailable(self._silence()) from None

    def _silence(self) -> str:
        return f"no answer within {self._timeout:g} s from {self._topology}"

    def _send(self, packed: bytes) -> None:
        self._unsent.append(packed)
        self._to_send.set()

    # --- the connection -------------------------------------------------------------------------

    async def _connect(self) -> AbstractConnection:
        """Return a connection on which all channels are subscribed."""
        connection = await self._topology.connect()
        try:
            async with asyncio.timeout(self._timeout):
                await self._join(connection)
        except BaseException as error:
            await cut(connection)
            if isinstance(error, TimeoutError):
                raise RedisUnavailable(self._silence()) from None
            if isinstance(error, RedisError):
                raise _cannot_subscribe(error) from None
            raise
        return connection

    async def _join(self, connection: AbstractConnection) -> None:
        self._unsent.clear()  # what it says is in `_channels`
        self._held.clear()
        join = [pack("SUBSCRIBE", *self._channels)] if self._channels else []
        await send(connection, [*join, pack("PING", _JOINED)])
        while True:
            reply = await connection.read_response(disconnect_on_error=False)
            if reply in (_JOINED, [b"pong", _JOINED]):
                return
            self._held.append(reply)

    def _duties(self, connection: AbstractConnection) -> Iterable[Coroutine[Any, Any, None]]:
        return self._write(connection), self._read(connection), self._look()

    async def _write(self, connection: AbstractConnection) -> None:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            packed = list(self._unsent)
            self._unsent.clear()
            if packed:
                await send(connection, packed)

    async def _read(self, connection: AbstractConnection) -> None:
        held, self._held = self._held, []
        for reply in held:
            self._hear(reply)
        while True:
            self._hear(await connection.read_response(disconnect_on_error=False))

    async def _look(self) -> None:
        """Notice a connection that is dead though nobody closed it."""
        while True:
            await asyncio.sleep(self._ping_every)
            await self.settled()

    def _hear(self, reply: Any) -> None:
        self._keeper.is_well()
        match reply:
            case [b"message", channel, message]:
                # What was on its way when the channel was given up is nobody's any more.
                name = channel.decode()
                if name in self._channels:
                    _tell(self._on_message, name, message)
            case b"settled" | [b"pong", b"settled"]:
                pong = self._pings.popleft()
                if not pong.done():
                    pong.set_result(None)

    def _is_lost(self) -> None:
        self._fail_pings()
        _tell(self._on_lost)

    def _is_back(self) -> None:
        _tell(self._on_back)

    def _fail_pings(self) -> None:
        for pong in self._pings:
            if not pong.done():
                pong.set_exception(RedisUnavailable(self._keeper.reason))
        self._pings.clear()


def _tell(function: Callable[..., None], *arguments: Any) -> None:
    try:
        function(*arguments)
    except Exception:  # else the subscription would end with it, and everybody hear nothing any more
        _log.exception("what a subscription was to tell was not taken")


def _cannot_subscribe(error: RedisError) -> Exception:
    if is_reply(error) and refusal(error).code == "NOPERM":
        return StoreUnusable(f"store.url: the user may not subscribe: {refusal(error).text}")
    return failure(error)
