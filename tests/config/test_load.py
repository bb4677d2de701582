"""Settings from a file, the environment and the command line."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from wshttp.config import Settings, load_settings
from wshttp.errors import ConfigurationError


def mistakes(
    path: str | None = None, environ: dict[str, str] | None = None, overrides: tuple[str, ...] = ()
) -> list[str]:
    """The lines of the error that loading raises."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path, environ=environ or {}, overrides=overrides)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    assert all(line.isprintable() for line in caught.value.mistakes)
    return caught.value.mistakes


def write(folder: Path, content: str | bytes, name: str = "site.yaml") -> str:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


# --- order --------------------------------------------------------------------------------------


def test_settings_without_any_source_are_the_defaults() -> None:
    """No file, no variable, no option: the defaults."""
    assert load_settings(None, environ={}) == Settings()


def test_sources_go_over_each_other_in_order(tmp_path: Path) -> None:
    """The file goes over the defaults, the environment over the file, the command line over all; the last option wins."""
    file = write(tmp_path, "server: {port: 1, host: 0.0.0.0, proxy_header: A}\nlog: {level: debug}\n")
    settings = load_settings(
        file,
        environ={"WSHTTP_SERVER__PORT": "2", "WSHTTP_SERVER__HOST": "127.0.0.2", "WSHTTP_APP": "a:b"},
        overrides=["server.port=3", "server.port=4", "session.cookie.name=chat"],
    )
    assert (settings.server.port, settings.server.host, settings.server.proxy_header) == (4, "127.0.0.2", "A")
    assert (settings.log.level, settings.app, settings.session.cookie.name) == ("debug", "a:b", "chat")
    assert settings.session.cookie.same_site == "Lax"


def test_list_and_mapping_are_replaced_as_a_whole(tmp_path: Path) -> None:
    """A later source's list or mapping is not added to that of an earlier one; a section's keys are."""
    file = write(tmp_path, "auth: {roles: {alice: [admin]}, protect: [/a], realm: there}\n")
    settings = load_settings(
        file, environ={"WSHTTP_AUTH__ROLES": "{bob: [editor]}"}, overrides=["auth={protect: [/b]}"]
    )
    assert dict(settings.auth.roles) == {"bob": ("editor",)}
    assert [rule.path for rule in settings.auth.protect] == ["/b"]
    assert settings.auth.realm == "there"


def test_environment_names_of_other_forms_are_ignored() -> None:
    """Only WSHTTP_SECTION__KEY and WSHTTP_APP are settings; other names may be anybody's."""
    environ = {"WSHTTP_TOKEN": "x", "WSHTTP_": "x", "WSHTTP": "x", "WSHTTP__X": "x", "XWSHTTP_A__B": "x", "PATH": "x"}
    assert load_settings(None, environ=environ) == Settings()


def test_environment_of_the_process_counts_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `environ` the process's own variables are read, as they are at the call."""
    monkeypatch.setenv("WSHTTP_SERVER__PORT", "4711")
    assert load_settings(None).server.port == 4711


def test_environment_of_exactly_that_form_has_to_exist() -> None:
    """A variable of our form that names no setting is a mistake that names the nearest."""
    assert mistakes(environ={"WSHTTP_SERVER__PROT": "1", "WSHTTP_SERVR__PORT": "1", "WSHTTP_SESSION__COOKIE__NAMES": "x"}) == [
        "environment WSHTTP_SERVER__PROT: server.prot: no such setting; did you mean `port`?",
        "environment WSHTTP_SERVR__PORT: servr: no such setting; did you mean `server`?",
        "environment WSHTTP_SESSION__COOKIE__NAMES: session.cookie.names: no such setting; did you mean `name`?",
    ]  # fmt: skip


def test_override_mistakes_name_the_option() -> None:
    """A mistake on the command line shows the option as it was given, but for a secret."""
    told = mistakes(
        overrides=("server.prot=1", "port", "a..b=1", "=1", "session.secret=abc", "server.port.x=1", "app=[x")
    )
    assert told[0] == "--set server.prot=1: server.prot: no such setting; did you mean `port`?"
    assert told[1] == "--set port: wants key.path=value, such as server.port=8080"
    assert told[2].startswith("--set a..b=1: a: no such setting; ")
    assert told[3].startswith("--set =1: : no such setting; there are server, session,")
    assert told[4] == "--set session.secret: session.secret: wants text of at least 16 characters, or null"
    assert told[5] == "--set server.port.x=1: server.port: wants a whole number from 0 to 65535; got a mapping"
    assert told[6] == "--set app=[x: app: is not YAML; put text in quotes"


@pytest.mark.parametrize(
    "value",
    ["*supersecretvalue0", "&a *supersecretvalue0", "supersecret", "[supersecretvalue0", "{a: supersecretvalue0}"],
)
def test_secret_is_in_no_mistake(tmp_path: Path, value: str) -> None:
    """Whatever is wrong with a secret, no line shows it."""
    file = write(
        tmp_path,
        f"session: {{secret: {value!r}, identity: []}}" if value == "supersecret" else "session: {identity: []}",
    )
    told = mistakes(
        file, {"WSHTTP_SESSION__SECRET": value}, (f"session.secret={value}", f"session={{secret: {value}}}")
    )
    assert len(told) >= 3
    assert "supersecret" not in "".join(told)


# --- every mistake, with its line ---------------------------------------------------------------

FULL_OF_MISTAKES = """\
# a comment
server:
  prot: 80
  port: 99999
  trusted_proxies:
    - 10.0.0.0/8
    - 10.0.0.1/8
    - uinx
  port: 5
  max_header_size:
    -1
session:
  identity: [cookie,
             cookies]
  idle_timeout: soon
  warn_befor: 5s
  cookie:
    name: "a b"
    secure: sometimes
  secret: hunter2
auth:
  roles:
    alice: admin
    bob: [editor, 5]
    on: [x]
  protect:
    - /fine
    - path: not/fine
      rolls: [x]
    - roles: [x]
websocket: 7
ping_interval: 5s
static:
log: {level: loud, format: !!bool maybe}
store: {kind: postgres, uri: x}
billing: {users: [alice]}
"""


def test_file_full_of_mistakes_has_every_mistake_reported_with_its_line(tmp_path: Path) -> None:
    """One load reports all there is, in the order of the file, each with file, line, key path and what is wrong."""
    file = write(tmp_path, FULL_OF_MISTAKES)
    expected = [
        "3: server.prot: no such setting; did you mean `port`?",
        "7: server.trusted_proxies[1]: wants a network such as 10.0.0.0/8, or unix; got '10.0.0.1/8' (the network is 10.0.0.0/8)",
        "8: server.trusted_proxies[2]: wants a network such as 10.0.0.0/8, or unix; got 'uinx'",
        f"9: server.port: is given twice, first at {file}:4",
        "10: server.max_header_size: wants a size such as 512, 64KiB, 10MiB; got -1",
        "14: session.identity[1]: wants credentials, cookie, header, url or ip; got 'cookies'",
        "15: session.idle_timeout: wants a duration such as 30s, 20m, 8h; got 'soon'",
        "16: session.warn_befor: no such setting; did you mean `warn_before`?",
        "18: session.cookie.name: wants a name of letters, digits, - and _, or other characters of an RFC 9110 token; got 'a b'",
        "19: session.cookie.secure: wants auto, on or off; got 'sometimes'",
        "20: session.secret: wants text of at least 16 characters, or null",
        "23: auth.roles.alice: wants a list of roles, such as [admin]; got 'admin'",
        "24: auth.roles.bob[1]: wants a role's name; got 5 (put it in quotes)",
        "25: auth.roles: wants text for a key; got true (put it in quotes)",
        "28: auth.protect[1].path: wants a pattern that begins with / or *, such as /private/*; got 'not/fine'",
        "29: auth.protect[1].rolls: no such setting; did you mean `roles`?",
        "30: auth.protect[2].path: is missing",
        "31: websocket: wants keys of its own (ping_interval, ping_timeout, max_message_size, max_messages_per_second, compression,"
        " allowed_origins, send_buffer_limit, on_slow, topics, history, queue); got 7",
        "32: ping_interval: no such setting; did you mean `websocket.ping_interval`?",
        "34: log.format: cannot be read as bool (put text in quotes)",
        "34: log.level: wants debug, info, warning or error; got 'loud'",
        "35: store.kind: wants memory, sqlite or redis; got 'postgres'",
        "35: store.uri: no such setting; did you mean `url`?",
        "36: billing: no such setting; there are server, session, auth, websocket, static, uploads, rate, store, admin, metrics, log, api, app",
    ]  # fmt: skip
    told = [line.removeprefix(f"{file}:") for line in mistakes(file)]
    assert sorted(told) == sorted(expected)
    assert [int(line.partition(":")[0]) for line in told] == [int(line.partition(":")[0]) for line in expected]


def test_mistakes_of_all_sources_are_reported_at_once(tmp_path: Path) -> None:
    """A mistake in the file is reported although the environment goes over it, and beside those elsewhere."""
    file = write(tmp_path, "server: {port: http}\n")
    assert mistakes(file, {"WSHTTP_SERVER__PORT": "80", "WSHTTP_SERVER__HOST": "[]"}, ("log.level=x",)) == [
        f"{file}:1: server.port: wants a whole number from 0 to 65535; got 'http'",
        "environment WSHTTP_SERVER__HOST: server.host: wants an IP address or a host name, without a port; got an empty list",
        "--set log.level=x: log.level: wants debug, info, warning or error; got 'x'",
    ]


def test_file_is_named_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake names the file in the words of whoever named it."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "a: 1\n")
    assert mistakes("./site.yaml")[0].startswith("./site.yaml:1: a: ")


def test_mistake_is_one_line_whatever_the_key(tmp_path: Path) -> None:
    """Line breaks and control characters in keys and values are escaped."""
    file = write(tmp_path, '"a\\nb\\u2028c\\e[31m": 1\nserver: {host: "x\\ny"}\n')
    assert mistakes(file)[0].startswith(f"{file}:1: a\\nb\\u2028c\\x1b[31m: no such setting")


# --- files that are none ------------------------------------------------------------------------


def test_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    """Missing files, folders and impossible names are mistakes, beside those of other sources."""
    missing = str(tmp_path / "missing.yaml")
    assert mistakes(missing, {"WSHTTP_SERVER__PORT": "x"}) == [
        f"{missing}: cannot be read: No such file or directory",
        "environment WSHTTP_SERVER__PORT: server.port: wants a whole number from 0 to 65535; got 'x'",
    ]
    assert mistakes(str(tmp_path)) == [f"{tmp_path}: cannot be read: Is a directory"]
    assert mistakes("a\0b") == [r"'a\x00b': cannot be read: no file has such a name"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission_is_one_clear_line(tmp_path: Path) -> None:
    """A file that may not be read is said to be that."""
    file = write(tmp_path, "")
    os.chmod(file, 0)
    assert mistakes(file) == [f"{file}: cannot be read: Permission denied"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"server:\n\tport: 1\n", "2: not YAML: a tab stands where only spaces may indent"),
        (b"server:\n  port: 1\n  host: a: b\n", "3: not YAML: mapping values are not allowed here"),
        (b"server: {port: 1\n", "2: not YAML: expected ',' or '}', but got '<stream end>'"),
        (
            b"\n\nauth: {protect: [*.php]}\n",
            "3: not YAML: a value that begins with * refers to an anchor; put text that begins",
        ),
        (
            b"auth: {realm: *nowhere}\n",
            "1: not YAML: a value that begins with * refers to an anchor; put text that begins",
        ),
        (
            b"metrics: {allow: [::1/128]}\n",
            "1: not YAML: expected the node content, but found ':' (put text that begins with",
        ),
        (
            b"app: @x\n",
            "1: not YAML: found character '@' that cannot start any token (put text that begins with a special",
        ),
        (b"---\napp: null\n---\napp: null\n", "3: not YAML: holds more than one document"),
        (b"app: null\nlog: \x01\n", "2: not YAML: holds the character U+0001"),
        (b"app: null\n# caf\xe9\n", "2: is not UTF-8 text"),
        ("server: {}".encode("utf-16"), "1: is not UTF-8 text"),
        (b"[" * 100_000, "1: not YAML for settings: nested too deeply"),
        (b"[a, b]\n", "1: wants settings such as `server: {port: 8080}`; got a list"),
        (b"\n\nhello\n", "3: wants settings such as `server: {port: 8080}`; got 'hello'"),
        (b"!!set {a}\n", "1: cannot be read as set (put text in quotes)"),
        (b"app: !!python/object/apply:os.getcwd []\n", "1: app: cannot be read as python/object/apply:os.getcwd"),
        (b"log: &a {level: info, format: *a}\n", "1: log.format: contains itself"),
        (b"server: {<<: 5}\n", "1: server: `<<` wants a mapping, or a list of mappings"),
        (b"log: {level: info}\nlog: {format: json}\n", "2: log: is given twice, first at "),
        (b"? [a]\n: b\n", "1: wants text for a key; got a list (put it in quotes)"),
    ],
)
def test_file_that_is_not_settings_is_one_clear_line(tmp_path: Path, content: bytes, told: str) -> None:
    """Whatever the file holds, the answer is a line with its place, never a traceback."""
    file = write(tmp_path, content)
    (line,) = mistakes(file)
    assert line.startswith(f"{file}:{told}")


def test_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    """A file over 1 MiB is not read, one of exactly 1 MiB is."""
    over = write(tmp_path, b"#" * (2**20 + 1))
    assert mistakes(over) == [f"{over}: is over 1 MiB, which no settings file needs"]
    assert load_settings(write(tmp_path, b"#" * 2**20), environ={}) == Settings()


def test_file_of_aliases_that_multiply_stays_small(tmp_path: Path) -> None:
    """A few lines that stand for 10^13 values are answered like any other mistake."""
    names = "abcdefghijklm"
    lines = ["a: &a [" + "x, " * 9 + "x]"]
    lines += [f"{name}: &{name} [" + f"*{before}, " * 9 + f"*{before}]" for before, name in itertools.pairwise(names)]
    lines += ["server: {port: *m, host: *m, allowed_hosts: *m}", "auth: {roles: {a: *m}, protect: *m}", "app: *m"]
    told = mistakes(write(tmp_path, "\n".join(lines)))
    assert len(told) == 13 + 2 + 10 + 10 + 10 + 1
    assert max(map(len, told)) < 300


def test_merge_keys_that_multiply_stay_small(tmp_path: Path) -> None:
    """`<<` over and over doubles nothing."""
    lines = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60)]
    assert len(mistakes(write(tmp_path, "\n".join(lines)))) == 60


# --- files that are fine ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"# nothing\n", b"---\n", b"null\n", b"\xef\xbb\xbf", b"server:\n  # port: 1\nsession:\n"]
)
def test_file_without_settings_keeps_the_defaults(tmp_path: Path, content: bytes) -> None:
    """An empty file, and a section whose keys are all commented out, say nothing."""
    assert load_settings(write(tmp_path, content), environ={}) == Settings()


def test_anchors_and_merge_keys_mean_what_yaml_says(tmp_path: Path) -> None:
    """An alias stands for its anchor, and a section's own keys go over merged ones."""
    file = write(
        tmp_path,
        "rate:\n  allow: &home [192.0.2.0/24]\n  deny: []\nmetrics: {allow: *home}\n"
        "server: {<<: {port: 1, host: 127.0.0.2}, port: 2}\n",
    )
    settings = load_settings(file, environ={})
    assert settings.metrics.allow == settings.rate.allow
    assert (settings.server.port, settings.server.host) == (2, "127.0.0.2")


def test_path_object_is_a_path(tmp_path: Path) -> None:
    """A `pathlib.Path` does as well as a string."""
    assert load_settings(Path(write(tmp_path, "log: {level: debug}")), environ={}).log.level == "debug"
