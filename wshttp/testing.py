"""For tests, ours and yours: a clock that obeys, and the contracts that stores and brokers keep.

Each contract says in its own head how to run it on an implementation of yours.
"""

from __future__ import annotations

from wshttp.realtime.broker_contract import BrokerContract
from wshttp.sessions.fake_clock import FakeClock
from wshttp.stores.shared_contract import SharedContract
from wshttp.stores.store_contract import StoreContract

__all__ = ["BrokerContract", "FakeClock", "SharedContract", "StoreContract"]
