"""The audit log: what administrators did, to whom, and from where. Ids and messages are never in it."""

from __future__ import annotations

import logging
from typing import Any

_log = logging.getLogger("wshttp.audit")
_log.setLevel(logging.INFO)  # its own, since `log.level` is about the server's work and not about who did what


def record(by: str, by_ip: str, act: str, **facts: Any) -> None:
    """Write down what somebody did; facts that are `None` are left out."""
    _log.info(act, extra={"by": by, "by_ip": by_ip} | facts)


def record_refusal(by: str, by_ip: str) -> None:
    """Write down that somebody with a right password wanted in who may not."""
    _log.warning("refused", extra={"by": by, "by_ip": by_ip})
