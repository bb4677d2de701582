"""The broker within one process: the contract, and what a test may do with its exchange."""

from __future__ import annotations

from typing import Any

import pytest

from wshttp.realtime.broker import Broker, MemoryBroker, MemoryExchange
from wshttp.realtime.broker_contract import Ear
from wshttp.testing import BrokerContract


@pytest.mark.feature("W9")
class TestMemoryBroker(BrokerContract):
    """The contract holds for the broker of one process."""

    exchange: MemoryExchange | None = None

    async def new_broker(self) -> Broker:
        self.exchange = self.exchange or MemoryExchange()
        return MemoryBroker(self.exchange)

    async def cut(self, broker: Any) -> bool:
        assert self.exchange is not None
        self.exchange.cut_off(broker)
        return True

    async def mend(self, broker: Any) -> None:
        assert self.exchange is not None
        self.exchange.mend(broker)


async def test_exchange_delivers_when_the_test_says_so() -> None:
    """Words that are held back come one by one, or never."""
    exchange = MemoryExchange()
    exchange.holding = True
    one, two = Ear(MemoryBroker(exchange)), Ear(MemoryBroker(exchange))
    for ear in (one, two):
        await ear.open()
    for word in (b"1", b"2", b"3"):
        one.broker.say(word)
    assert two.words == []
    exchange.deliver(1)
    assert two.words == [b"1"]
    assert exchange.waiting == 2
    exchange.lose()
    exchange.deliver()
    assert two.words == [b"1"]
