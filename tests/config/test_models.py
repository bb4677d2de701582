"""The settings themselves: defaults, types, and what each refuses."""

from __future__ import annotations

import re
import types
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest
from pydantic import ValidationError

from wshttp.config import (
    AuthSettings,
    ProtectRule,
    ServerSettings,
    SessionSettings,
    Settings,
    StoreSettings,
    TlsSettings,
    load_settings,
)
from wshttp.config.catalogue import SETTINGS, Setting
from wshttp.errors import ConfigurationError


def loaded(key: str, value: str) -> Any:
    """The value that a setting has after `--set key=value`."""
    settings: Any = load_settings(None, environ={}, overrides=[f"{key}={value}"])
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def refusal(key: str, value: str) -> str:
    """What is said of `--set key=value`, without the place."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(None, environ={}, overrides=[f"{key}={value}"])
    assert len(caught.value.mistakes) == 1, caught.value.mistakes
    return caught.value.mistakes[0].partition(f"--set {key}={value}: ")[2]


def test_settings_defaults_have_python_types() -> None:
    """Durations are float seconds, sizes int bytes, lists tuples, networks networks."""
    settings = Settings()
    assert settings.session.idle_timeout == 1200.0
    assert isinstance(settings.session.idle_timeout, float)
    assert settings.server.max_header_size == 65536
    assert settings.session.identity == ("credentials", "cookie", "ip")
    assert settings.metrics.allow == (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    assert settings.app is None


def test_settings_are_frozen_all_the_way_down() -> None:
    """No value can be assigned, and no list or mapping changed."""
    settings = Settings(auth=AuthSettings(roles={"alice": ["admin"]}))
    with pytest.raises(ValidationError):
        settings.server.port = 1  # type: ignore[misc]  # this is the test
    assert isinstance(settings.auth.roles, types.MappingProxyType)
    assert settings.auth.roles["alice"] == ("admin",)
    assert not [s.key for s in SETTINGS if isinstance(s.of(settings), list | dict | set)]


def test_settings_from_python_take_the_same_forms() -> None:
    """A program may write durations and sizes as YAML does, or as numbers."""
    assert SessionSettings(idle_timeout="5m", max_data=10) == SessionSettings(idle_timeout=300, max_data="10B")
    with pytest.raises(ValidationError, match="wants a duration"):
        SessionSettings(idle_timeout="soon")
    with pytest.raises(ValidationError, match=r"server\.tls\.key: is needed"):
        Settings(server=ServerSettings(tls=TlsSettings(certificate="a.pem")))


def test_secret_is_in_no_representation() -> None:
    """Neither the settings' repr nor a refusal shows the secret."""
    assert "correct horse battery" not in repr(Settings(session=SessionSettings(secret="correct horse battery")))
    with pytest.raises(ValidationError) as caught:
        SessionSettings(secret="hunter2")
    assert "hunter2" not in str(caught.value)


def test_every_setting_is_described() -> None:
    """Each setting has a description of whole sentences, what it wants, and a word on reloading."""
    for setting in SETTINGS:
        assert setting.field.description, setting.key
        assert setting.field.description.endswith((".", "one.", "`.")), setting.key
        assert setting.wants
        assert "reload" in (setting.field.json_schema_extra or {}), setting.key


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("server.port", "0", 0),
        ("server.port", "65535", 65535),
        ("server.host", "'::1'", "::1"),
        ("server.host", "Example.TEST", "example.test"),
        ("server.allowed_hosts", "[a.example, localhost]", ("a.example", "localhost")),
        ("server.trusted_proxies", "[10.0.0.0/8, unix]", (IPv4Network("10.0.0.0/8"), "unix")),
        ("server.trusted_proxies", "[192.0.2.7]", (IPv4Network("192.0.2.7/32"),)),
        ("rate.deny", "['::ffff:192.0.2.0/120']", (IPv4Network("192.0.2.0/24"),)),
        ("rate.requests_per_second", "0.5", 0.5),
        ("session.identity", "[ip, cookie]", ("ip", "cookie")),
        ("session.touch", "[pong]", ("pong",)),
        ("session.ipv6_prefix", "48", 48),
        ("session.ipv6_prefix", "128", 128),
        ("session.drift.ip", "off", "off"),
        ("session.drift.user_agent", "'off'", "off"),
        ("session.cookie.secure", "off", "off"),
        ("session.cookie.secure", "on", "on"),
        ("session.cookie.secure", "false", "off"),
        ("session.cookie.secure", "true", "on"),
        ("session.cookie.prefix", "chat_", "chat_"),
        ("session.cookie.same_site", "None", "None"),
        ("auth.roles", "{alice: [admin, editor], bob: []}", {"alice": ("admin", "editor"), "bob": ()}),
        ("auth.protect", "[/a/*]", (ProtectRule(path="/a/*"),)),
        (
            "auth.protect",
            "[{path: /a, roles: [admin], redirect: /login}]",
            (ProtectRule(path="/a", roles=("admin",), redirect="/login"),),
        ),
        ("websocket.allowed_origins", "['https://A.example:443']", ("https://a.example",)),
        ("websocket.allowed_origins", "['http://[::1]:8080', 'capacitor://localhost']", ("http://[::1]:8080", "capacitor://localhost")),
        ("websocket.topics", "[chat, 'room-*']", ("chat", "room-*")),
        ("store.prefix", "'chat:1'", "chat:1"),
        ("store.outage", "grace:90s", "grace:90s"),
        ("store.outage", "grace:60", "grace:1m"),
        ("store.outage", "grace:0s", "closed"),
        ("session.lease", "3", 3.0),
        ("api.prefix", "/a/b-c", "/a/b-c"),
        ("app", "examples.chat:setup", "examples.chat:setup"),
        ("server.unix_socket", "", None),
        ("session.max_sessions", "0", 0),
    ],
)  # fmt: skip
def test_setting_takes_what_it_should(key: str, value: str, expected: object) -> None:
    """Each kind of value is read into the Python value that stands for it."""
    assert loaded(key, value) == expected


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("server.port", "65536", "wants a whole number from 0 to 65535; got 65536"),
        ("server.port", "-1", "wants a whole number from 0 to 65535; got -1"),
        ("server.port", "true", "wants a whole number from 0 to 65535; got true"),
        ("server.port", "80.0", "wants a whole number from 0 to 65535; got 80.0"),
        ("server.port", "'80'", "wants a whole number from 0 to 65535; got '80'"),
        ("server.port", "null", "wants a whole number from 0 to 65535; got nothing"),
        ("server.port", "0x" + "f" * 9000, "wants a whole number from 0 to 65535; got a number with very many digits"),
        ("server.host", "127.0.0.1:80", "wants an IP address or a host name, without a port; got '127.0.0.1:80'"),
        ("server.host", "127.1", "wants an IP address or a host name, without a port; got 127.1 (put it in quotes)"),
        ("server.host", "'0x7f.1'", "wants an IP address or a host name, without a port; got '0x7f.1'"),
        ("server.host", "''", "wants an IP address or a host name, without a port; got ''"),
        ("server.unix_socket", "/" + "a" * 107, "wants a path of at most 107 bytes, or null; got"),
        ("server.unix_socket", "/" + "ä" * 60, "wants a path of at most 107 bytes, or null; got"),
        ("server.trusted_proxies", "10.0.0.0/8", "wants a list, each entry a network such as 10.0.0.0/8, or unix; got '10.0.0.0/8'"),
        ("server.trusted_proxies", "[10.0.0.1/8]", "got '10.0.0.1/8' (the network is 10.0.0.0/8)"),
        ("server.trusted_proxies", "[167772160]", "wants a network such as 10.0.0.0/8, or unix; got 167772160 (put it in quotes)"),
        ("server.proxy_header", "'X Forwarded'", "wants a name of letters, digits"),
        ("server.proxy_protocol", "'true'", "wants true or false; got 'true' (without quotes)"),
        ("server.proxy_protocol", "1", "wants true or false; got 1"),
        ("server.max_header_size", "-1", "wants a size such as 512, 64KiB, 10MiB; got -1"),
        ("server.max_connections", "1.5", "wants a whole number, 0 or more; got 1.5"),
        ("session.idle_timeout", "soon", "wants a duration such as 30s, 20m, 8h; got 'soon'"),
        ("session.idle_timeout", ".nan", "wants a duration such as 30s, 20m, 8h; got nan"),
        ("websocket.ping_interval", "-20s", "wants a duration such as 30s, 20m, 8h; got '-20s'"),
        ("session.identity", "[]", "wants at least one name; got an empty list"),
        ("session.identity", "[ip, ip]", "wants each name once; `ip` is there twice"),
        ("session.identity", "cookie", "wants a list, each entry credentials, cookie, header, url or ip; got 'cookie'"),
        ("session.identity", "[ID]", "wants credentials, cookie, header, url or ip; got 'ID'"),
        ("session.touch", "[]", "wants at least one name; got an empty list"),
        ("session.touch", "[http, http]", "wants each name once; `http` is there twice"),
        ("session.drift.ip", "on", "wants off, log, prefix or strict; got true"),
        ("session.ipv6_prefix", "47", "wants a prefix length from 48 to 128; got 47"),
        ("session.ipv6_prefix", "129", "wants a prefix length from 48 to 128; got 129"),
        ("session.cookie.name", "'a b'", "wants a name of letters, digits"),
        ("session.cookie.prefix", "'é'", "wants empty text, or letters, digits"),
        ("session.cookie.same_site", "lax", "wants Strict, Lax or None; got 'lax'"),
        ("session.cookie.same_site", "null", "wants Strict, Lax or None; got nothing"),
        ("session.cookie.secure", "maybe", "wants auto, on or off; got 'maybe'"),
        ("session.header.name", "'X:Y'", "wants a name of letters, digits"),
        ("session.url.parameter", "a&b", "wants a name of letters, digits"),
        ("session.on_limit", "newest", "wants oldest or refuse; got 'newest'"),
        ("auth.realm", '"a\\nb"', "wants text of printable ASCII characters; got 'a\\nb'"),
        ("auth.roles", "{alice: admin}", "wants a list of roles, such as [admin]; got 'admin'"),
        ("auth.roles", "[alice]", "wants a mapping of users to lists of roles, such as {alice: [admin]}; got a list"),
        ("auth.roles", "{'a:b': [x]}", "wants a user's name, without a colon or control characters; got 'a:b'"),
        ("auth.roles", "{yes: [x]}", "wants text for a key; got true (put it in quotes)"),
        ("auth.protect", "[admin/*]", "wants a pattern that begins with / or *, such as /private/*; got 'admin/*'"),
        ("auth.protect", "[{roles: [a]}]", "auth.protect[0].path: is missing"),
        ("auth.protect", "[{path: /a, rolls: [a]}]", "auth.protect[0].rolls: no such setting; did you mean `roles`?"),
        ("auth.protect", "[{path: /a, redirect: //evil.example}]", "wants a path such as /login, or an http(s) URL, or null"),
        ("auth.protect", "[5]", "wants a list, each entry a path such as /private/*, or {path, roles, redirect}; got 5"),
        ("auth.threads", "0", "wants a whole number from 1 to 64; got 0"),
        ("websocket.allowed_origins", "[example.com]", "wants an origin such as https://example.com, without a path"),
        ("websocket.allowed_origins", "['https://example.com/']", "wants an origin such as https://example.com, without a path"),
        ("static.index", "../index.html", "wants a file name without folders; got '../index.html'"),
        ("store.kind", "valkey", "wants memory, sqlite or redis; got 'valkey'"),
        ("store.prefix", "'{a}'", "wants 1 to 64 printable ASCII characters without spaces and braces; got '{a}'"),
        ("store.prefix", "a b", "wants 1 to 64 printable ASCII characters without spaces and braces; got 'a b'"),
        ("store.prefix", "a" * 65, "wants 1 to 64 printable ASCII characters without spaces and braces; got"),
        ("store.outage", "open", "wants closed, or grace: and a duration such as grace:30s; got 'open'"),
        ("store.outage", "'grace:soon'", "wants closed, or grace: and a duration such as grace:30s; got 'grace:soon'"),
        ("store.outage", "'grace: 5s'", "wants closed, or grace: and a duration such as grace:30s; got 'grace: 5s'"),
        ("store.outage", "off", "wants closed, or grace: and a duration such as grace:30s; got false (put it in quotes)"),
        ("session.lease", "2.9s", "wants a duration such as 30s, 20m, 8h; got '2.9s' (at least 3s)"),
        ("session.lease", "0", "wants a duration such as 30s, 20m, 8h; got 0 (at least 3s)"),
        ("server.workers", "0", "wants a whole number from 1 to 256; got 0"),
        ("server.workers", "auto", "wants a whole number from 1 to 256; got 'auto'"),
        ("rate.requests_per_second", "-1", "wants a number, 0 or more; got -1"),
        ("rate.requests_per_second", ".inf", "wants a number, 0 or more; got inf"),
        ("log.level", "loud", "wants debug, info, warning or error; got 'loud'"),
        ("log.format", "xml", "wants text or json; got 'xml'"),
        ("api.prefix", "wshttp", "wants a path such as /wshttp: it begins with / and does not end with one; got 'wshttp'"),
        ("api.prefix", "/wshttp/", "wants a path such as /wshttp"),
        ("api.prefix", "/", "wants a path such as /wshttp"),
        ("api.prefix", "/a/../b", "wants a path such as /wshttp"),
        ("app", "examples.chat", "wants module:function, such as examples.chat:setup, or null; got 'examples.chat'"),
        ("app", "2026-01-01", "wants module:function, such as examples.chat:setup, or null; got 2026-01-01"),
    ],
)  # fmt: skip
def test_setting_refuses_what_it_should(key: str, value: str, told: str) -> None:
    """Each kind of value says in the user's words what it wants, and what it got."""
    assert told in refusal(key, value)


def test_outage_has_its_grace_in_seconds() -> None:
    """`closed` is no grace at all."""
    assert StoreSettings().grace == 0.0
    assert StoreSettings(outage="grace:1m30s").grace == 90.0


ODD = ["null", "true", "-1", "1.5", "99999999999999999999", "''", "'\\x00'", "x y", "[]", "[[]]", "[null]", "{}", "{a: {b: c}}",
       "2026-01-01", "2026-13-01", ".nan", "!!binary aGk=", "!x y", "[1, {}]"]  # fmt: skip


OURS = re.compile(r": (?:wants |cannot be read as |no such setting|is not YAML|is missing|is needed|true needs |`ip` )")


def told(setting: str, value: str) -> list[str]:
    """The mistakes that a value makes; none where it is fine."""
    try:
        load_settings(None, environ={}, overrides=[f"{setting}={value}"])
    except ConfigurationError as error:
        return error.mistakes
    return []


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_setting_answers_odd_values_in_plain_words(setting: Setting, odd: str) -> None:
    """Whatever stands where a value belongs, it is taken, or refused in our words and not in those of a library."""
    assert [line for line in told(setting.key, odd) if not OURS.search(line)] == []


def test_protect_rule_is_its_path_when_bare() -> None:
    """A bare string is a rule for any logged-in user, without a redirect."""
    (rule,) = AuthSettings(protect=["/private/*"]).protect
    assert (rule.path, rule.roles, rule.redirect) == ("/private/*", (), None)


def test_settings_have_no_room_for_unknown_keys() -> None:
    """A key that does not exist is refused in Python too."""
    with pytest.raises(ValidationError):
        ServerSettings(prot=80)  # type: ignore[call-arg]  # this is the test
