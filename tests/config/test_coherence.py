"""Settings that are fine one by one, and not together."""

from __future__ import annotations

from pathlib import Path

import pytest

from wshttp.config import Settings, load_settings
from wshttp.errors import ConfigurationError


def mistakes(tmp_path: Path, text: str) -> list[str]:
    """The mistakes in a file, without its name."""
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(str(file), environ={})
    return [line.removeprefix(f"{file}:") for line in caught.value.mistakes]


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    return load_settings(str(file), environ={})


def test_tls_needs_certificate_and_key(tmp_path: Path) -> None:
    """One without the other is a mistake that names the missing one, at the line of the one that is there."""
    assert mistakes(tmp_path, "server:\n  tls:\n    certificate: a.pem\n") == [
        "3: server.tls.key: is needed, because server.tls.certificate is set"
    ]
    assert mistakes(tmp_path, "server:\n  tls: {key: a.pem}\n") == [
        "2: server.tls.certificate: is needed, because server.tls.key is set"
    ]
    assert load(tmp_path, "server: {tls: {certificate: a.pem, key: b.pem}}").server.tls.key == "b.pem"


def test_proxy_protocol_needs_trusted_proxies(tmp_path: Path) -> None:
    """A PROXY header is believed from named peers only, so without any the setting is a mistake."""
    (told,) = mistakes(tmp_path, "server:\n  proxy_protocol: true\n")
    assert told.startswith("2: server.proxy_protocol: true needs server.trusted_proxies")
    assert load(tmp_path, "server: {proxy_protocol: true, trusted_proxies: [10.0.0.0/8]}").server.proxy_protocol


def test_unix_socket_refuses_ip_identity_without_a_proxy(tmp_path: Path) -> None:
    """On a Unix socket all clients look alike, so `ip` needs a trusted proxy there."""
    (told,) = mistakes(tmp_path, "server:\n  port: 1\n  unix_socket: /run/w.sock\n")
    assert told.startswith("3: session.identity: `ip` cannot tell clients apart on a Unix socket")
    load(tmp_path, "server: {unix_socket: /run/w.sock, trusted_proxies: [unix]}")
    load(tmp_path, "server: {unix_socket: /run/w.sock}\nsession: {identity: [cookie]}")
    load(tmp_path, "server: {unix_socket: /run/w.sock}\nsession: {enabled: false}")


def test_same_site_none_needs_a_secure_cookie(tmp_path: Path) -> None:
    """Browsers drop a cookie that goes everywhere and is not Secure."""
    (told,) = mistakes(tmp_path, "session:\n  cookie:\n    secure: off\n    same_site: None\n")
    assert told.startswith("4: session.cookie.same_site: None needs session.cookie.secure")
    load(tmp_path, "session: {cookie: {same_site: None}}")


def test_warning_has_to_come_after_the_start(tmp_path: Path) -> None:
    """A warning that is asked for must fit into the time-outs; the default fits by itself."""
    assert mistakes(tmp_path, "session:\n  idle_timeout: 1m\n  absolute_timeout: 2m\n  warn_before: 2m\n") == [
        "4: session.warn_before: wants less than session.idle_timeout (1m); got 2m",
        "4: session.warn_before: wants less than session.absolute_timeout (2m); got 2m",
    ]
    load(tmp_path, "session: {idle_timeout: 5s}")
    load(tmp_path, "session: {idle_timeout: 0, absolute_timeout: 0, warn_before: 5m}")


def test_contradiction_is_reported_beside_other_mistakes(tmp_path: Path) -> None:
    """A wrong value elsewhere does not hide that two others contradict each other."""
    told = mistakes(tmp_path, "log: {level: loud}\nserver:\n  proxy_protocol: true\n")
    assert [line[:25] for line in told] == ["1: log.level: wants debug", "3: server.proxy_protocol:"]


def test_contradiction_with_a_wrong_value_is_not_reported(tmp_path: Path) -> None:
    """What only follows from another mistake is not said on top of it."""
    (told,) = mistakes(tmp_path, "server:\n  proxy_protocol: true\n  trusted_proxies: [10.0.0.1/8]\n")
    assert told.startswith("3: server.trusted_proxies[0]:")


def test_contradiction_across_sources_names_the_source(tmp_path: Path) -> None:
    """What the environment or the command line adds to a contradiction is named as its place."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, environ={"WSHTTP_SERVER__UNIX_SOCKET": "/a"}, overrides=["server.proxy_protocol=true"])
    identity, proxy = caught.value.mistakes
    assert identity.startswith("environment WSHTTP_SERVER__UNIX_SOCKET: session.identity: ")
    assert proxy.startswith("--set server.proxy_protocol=true: server.proxy_protocol: ")


def test_workers_need_a_store_that_can_be_shared(tmp_path: Path) -> None:
    """More than one process with sessions of its own is a mistake that names redis and the reason."""
    told = "server.workers: more than 1 needs store.kind: redis, which all workers share; with"
    assert mistakes(tmp_path, "server:\n  workers: 2\n") == [
        f"2: {told} memory, each worker would keep sessions of its own, which the others do not know"
    ]
    assert mistakes(tmp_path, "store: {kind: sqlite}\nserver:\n  workers: 2\n") == [
        f"3: {told} sqlite, one process has the file for itself"
    ]
    assert load(tmp_path, "server: {workers: 2}\nstore: {kind: redis}").server.workers == 2


def test_redis_needs_a_timeout_shorter_than_the_lease(tmp_path: Path) -> None:
    """One slow answer may cost a server neither its lease nor its requests for ever; other stores have no lease."""
    assert mistakes(tmp_path, "session: {lease: 3s}\nstore:\n  kind: redis\n  timeout: 5s\n") == [
        "4: store.timeout: wants less than session.lease (3s); got 5s"
    ]
    (told,) = mistakes(tmp_path, "store:\n  kind: redis\n  timeout: 0\n")
    assert told.startswith("3: store.timeout: wants more than 0 with redis")
    load(tmp_path, "session: {lease: 3s}\nstore: {kind: redis}")
    load(tmp_path, "session: {lease: 3s}\nstore: {kind: sqlite, timeout: 0}")
    load(tmp_path, "session: {lease: 3s}\nstore: {timeout: 5s}")
