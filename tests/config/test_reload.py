"""What a reload can change, and what needs a new start."""

from __future__ import annotations

from wshttp.config import Settings, load_settings, reload_differences
from wshttp.config.catalogue import SETTINGS
from wshttp.config.models import Reload


def with_(*overrides: str) -> Settings:
    return load_settings(None, environ={}, overrides=overrides)


def test_reload_of_equal_settings_has_no_differences() -> None:
    """Nothing changed is nothing to say."""
    assert reload_differences(Settings(), with_("server.port=8080", "session.idle_timeout=1200")) == ([], [])


def test_reload_tells_what_can_change_from_what_cannot() -> None:
    """Both lists have key paths, in the order of the settings."""
    new = with_(
        "log.level=debug", "session.idle_timeout=1m", "server.port=1", "session.cookie.name=x", "auth.roles={a: [b]}"
    )
    assert reload_differences(Settings(), new) == (
        ["session.idle_timeout", "auth.roles", "log.level"],
        ["server.port", "session.cookie.name"],
    )


def test_reload_changes_certificates_but_not_whether_there_is_tls() -> None:
    """Another certificate is taken at once; from or to plain HTTP needs a new start."""
    one = with_("server.tls={certificate: a.pem, key: a.key}")
    other = with_("server.tls={certificate: b.pem, key: b.key}")
    keys = ["server.tls.certificate", "server.tls.key"]
    assert reload_differences(one, other) == (keys, [])
    assert reload_differences(Settings(), one) == ([], keys)
    assert reload_differences(one, Settings()) == ([], keys)


def test_reload_never_changes_what_is_fixed() -> None:
    """Addresses, identities, tokens, the store, the API's place and the program stay until the next start."""
    fixed = {setting.key for setting in SETTINGS if setting.reload is Reload.NO}
    assert fixed >= {
        "server.host", "server.port", "server.unix_socket", "session.identity", "session.cookie.name",
        "session.cookie.same_site", "session.header.name", "session.url.parameter", "session.secret", "static.root",
        "session.lease", "server.workers", "server.engine", "store.kind", "store.url", "store.prefix", "store.timeout", "store.cache",
        "store.outage", "api.prefix", "app",
    }  # fmt: skip


def test_reload_changes_users_limits_and_timeouts() -> None:
    """What an operator changes under load needs no new start."""
    live = {setting.key for setting in SETTINGS if setting.reload is Reload.YES}
    assert live >= {
        "server.max_connections", "server.max_body_size", "server.header_timeout", "server.allowed_hosts",
        "session.idle_timeout", "session.absolute_timeout", "session.warn_before", "session.max_sessions", "session.max_data",
        "session.tombstone", "session.callback_timeout", "auth.users_file", "auth.roles", "auth.protect", "auth.max_failures",
        "websocket.max_message_size", "websocket.topics", "rate.requests_per_second", "rate.deny", "uploads.max_file_size",
        "static.cache", "log.level", "metrics.allow",
    }  # fmt: skip
