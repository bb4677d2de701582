"""What single settings cannot know: which of them contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wshttp.config.quantities import format_duration

if TYPE_CHECKING:
    from wshttp.config.models import Settings


@dataclass(frozen=True)
class Contradiction:
    """One setting that does not go with others: the key to change, what is wrong, and the other keys."""

    key: str
    text: str
    others: tuple[str, ...]


class Contradictions(ValueError):
    """Settings that are fine one by one, and not together."""

    def __init__(self, found: Iterable[Contradiction]) -> None:
        self.found = tuple(found)
        super().__init__("\n".join(f"{one.key}: {one.text}" for one in self.found))


def contradictions(settings: Settings) -> Iterator[Contradiction]:
    """Find every contradiction, in the order of the settings."""
    yield from _proxies(settings)
    yield from _tls(settings)
    yield from _identity(settings)
    yield from _warning(settings)
    yield from _cookie(settings)
    yield from _workers(settings)
    yield from _redis(settings)


def _proxies(settings: Settings) -> Iterator[Contradiction]:
    if settings.server.proxy_protocol and not settings.server.trusted_proxies:
        yield Contradiction(
            "server.proxy_protocol",
            "true needs server.trusted_proxies, which says from whom a PROXY header is believed",
            ("server.trusted_proxies",),
        )


def _tls(settings: Settings) -> Iterator[Contradiction]:
    tls = settings.server.tls
    if tls.key and not tls.certificate:
        yield Contradiction("server.tls.certificate", "is needed, because server.tls.key is set", ("server.tls.key",))
    if tls.certificate and not tls.key:
        yield Contradiction(
            "server.tls.key", "is needed, because server.tls.certificate is set", ("server.tls.certificate",)
        )


def _identity(settings: Settings) -> Iterator[Contradiction]:
    server, session = settings.server, settings.session
    by_address = session.enabled and "ip" in session.identity
    if server.unix_socket and by_address and "unix" not in server.trusted_proxies:
        yield Contradiction(
            "session.identity",
            "`ip` cannot tell clients apart on a Unix socket; leave it out, or put `unix` into server.trusted_proxies"
            " when a proxy names the client's address",
            ("server.unix_socket", "server.trusted_proxies", "session.enabled"),
        )


def _warning(settings: Settings) -> Iterator[Contradiction]:
    session = settings.session
    # A default that does not fit is no mistake of the operator's: a warning never comes before half of the time-out.
    if "warn_before" not in session.model_fields_set:
        return
    for name, timeout in (("idle_timeout", session.idle_timeout), ("absolute_timeout", session.absolute_timeout)):
        if timeout and session.warn_before >= timeout:
            yield Contradiction(
                "session.warn_before",
                f"wants less than session.{name} ({format_duration(timeout)}); got {format_duration(session.warn_before)}",
                (f"session.{name}",),
            )


def _cookie(settings: Settings) -> Iterator[Contradiction]:
    cookie = settings.session.cookie
    if cookie.same_site == "None" and cookie.secure == "off":
        yield Contradiction(
            "session.cookie.same_site",
            "None needs session.cookie.secure to be auto or on; browsers drop such a cookie",
            ("session.cookie.secure",),
        )


_ALONE = {
    "memory": "each worker would keep sessions of its own, which the others do not know",
    "sqlite": "one process has the file for itself",
}


def _workers(settings: Settings) -> Iterator[Contradiction]:
    kind = settings.store.kind
    if settings.server.workers > 1 and kind in _ALONE:
        yield Contradiction(
            "server.workers",
            f"more than 1 needs store.kind: redis, which all workers share; with {kind}, {_ALONE[kind]}",
            ("store.kind",),
        )


def _redis(settings: Settings) -> Iterator[Contradiction]:
    store, lease = settings.store, settings.session.lease
    if store.kind != "redis":
        return
    if not store.timeout:
        yield Contradiction(
            "store.timeout", "wants more than 0 with redis, or a lost Redis would hold every request", ("store.kind",)
        )
    # A lease that one slow answer can outlast would hand a living server's work to others.
    if store.timeout >= lease:
        yield Contradiction(
            "store.timeout",
            f"wants less than session.lease ({format_duration(lease)}); got {format_duration(store.timeout)}",
            ("session.lease", "store.kind"),
        )
