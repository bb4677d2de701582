"""The audit log: what administrators did, to whom, and from where. Ids and messages are never in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from wshttp.errors import PeerError, answer_for

LONGEST: Final = 256
"""Characters of a fact: clients choose users, and administrators what they search for."""

_log = logging.getLogger("wshttp.audit")
_log.setLevel(logging.INFO)  # its own, since `log.level` is about the server's work and not about who did what


def record(by: str, by_ip: str, act: str, **facts: Any) -> None:
    """Write down what somebody did; facts that are `None` are left out."""
    _log.info(act, extra=_bounded({"by": by, "by_ip": by_ip} | facts))


@contextmanager
def recording(by: str, by_ip: str, act: str, **facts: Any) -> Iterator[dict[str, Any]]:
    """Write down an act when it is over, come what may, with the facts that it has by then.

    One that did not come to its end has the fact `failed`: what it had asked of the store at that moment may have been
    done, or not. Where the administrator is told that it cannot be (a `PeerError`), nothing was done nor is written.
    """
    try:
        yield facts
    except PeerError:
        raise
    except BaseException as error:
        record(by, by_ip, act, **facts, failed=name_of(error))
        raise
    record(by, by_ip, act, **facts)


def record_refusal(by: str, by_ip: str, **facts: Any) -> None:
    """Write down that somebody wanted in who was not let in, or may not."""
    _log.warning("refused", extra=_bounded({"by": by, "by_ip": by_ip} | facts))


def record_left_out(count: int) -> None:
    """Write down how many more were not let in than there are lines."""
    _log.warning("refusals left out", extra={"count": count})


def name_of(error: BaseException) -> str:
    """Return what an error is called on the wire; `cancelled` and `error` are never seen there."""
    answer = answer_for(error)
    if answer is not None:
        return answer.name
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "error"


def _bounded(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: _cut(value) if isinstance(value, str) else value for name, value in facts.items()}


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
