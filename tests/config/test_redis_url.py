"""The URL of a Redis: what it may be, and that its password is shown nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from wshttp.config import load_settings
from wshttp.config.redis_url import masked
from wshttp.errors import ConfigurationError

PASSWORD = "correct-horse"


def told(*overrides: str, path: Path | None = None, environ: dict[str, str] | None = None) -> list[str]:
    """The mistakes in settings; none where they are fine."""
    try:
        load_settings(path, environ=environ or {}, overrides=overrides)
    except ConfigurationError as error:
        return error.mistakes
    return []


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://localhost",
        "redis://[::1]:6379/15",
        "redis://:secret@redis.example:6379/0",
        "redis://app:a%40b%2Fc@redis.example/3",
        "rediss://app:x@redis.example:6380/0?ssl_ca_certs=/dev/null&ssl_cert_reqs=none",
        "unix:///run/redis.sock",
        "unix://app:x@/run/redis.sock?db=2",
        "redis+sentinel://a:26379,b:26379,c/main",
        "rediss+sentinel://app:x@a:26379/main/2",
        "redis+cluster://a:7000,b:7001",
        "rediss+cluster://app:x@a:7000,b:7001/0",
    ],
)
def test_redis_url_takes_every_way_to_a_redis(url: str) -> None:
    """One server, with TLS, a socket, sentinels, a cluster; with and without a user."""
    assert told(f"store.url={url}") == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:6379", "it begins with none of redis://, rediss://, unix://, redis+sentinel://"),
        ("127.0.0.1:6379", "it begins with none of"),
        ("redis://", "its host and port cannot be read"),
        ("redis://host:0", "its host and port cannot be read"),
        ("redis://host:65536", "its host and port cannot be read"),
        ("redis://:a/b@host", "special characters in user and password are written %2F, %40"),
        ("redis://:a#b@host", "a # in a password is written %23"),
        ("'redis://:a b@host'", "it has spaces"),
        ("redis://host/first", "the database is a number"),
        ("redis://a,b/0", "several servers are redis+sentinel:// or redis+cluster://"),
        ("unix://", "a socket is unix:///path"),
        ("unix://run/redis.sock", "a socket is unix:///path"),
        ("redis+sentinel://a,b", "the service is missing: redis+sentinel://host:26379/service/0"),
        ("redis+sentinel://a,b/main/first", "the database is a number"),
        ("redis+sentinel://a,,b/main", "its host and port cannot be read"),
        ("rediss+cluster://a:7000/1", "a cluster has no database but 0"),
        ("redis://host/0?protocol=3", "there is no option 'protocol'"),
        ("redis://host?pasword=x", "did you mean 'password'?"),
        ("rediss://host?ssl_ca_certs=/nowhere/ca.pem", "option ssl_ca_certs: /nowhere/ca.pem cannot be read"),
        ("redis://host?ssl_cert_reqs=none", "rediss:// alone"),
        ("redis://[::1]6379", "its host and port cannot be read"),
        ("unix:///run/redis.sock?db=first", "the database is a number"),
        ("redis+cluster://a?db=1", "a cluster has no database but 0"),
        ("6379", "put it in quotes"),
    ],
)
def test_redis_url_refuses_what_leads_to_no_redis(url: str, reason: str) -> None:
    """The mistake says what to change."""
    (line,) = told(f"store.url={url}")
    assert line.startswith("--set store.url: store.url: wants a URL such as redis://127.0.0.1:6379/0")
    assert reason in line


def test_mistake_in_a_redis_url_is_told_with_file_and_line(tmp_path: Path) -> None:
    """One that only a server which starts would find: `wshttp check` finds it, too."""
    file = tmp_path / "a.yaml"
    file.write_text("store:\n  kind: redis\n  url: redis://host/0?timeout=3\n")
    [line] = told(path=file)
    assert line.startswith(f"{file}:3: store.url: wants a URL such as")
    assert "there is no option 'timeout'" in line


@pytest.mark.parametrize(
    "url",
    [
        f"redis://app:{PASSWORD}@host:port",
        f"redis://:{PASSWORD}/x@host",
        f"redis://:{PASSWORD}@@host",
        f"redis://:x@{PASSWORD}@host:1:2",
        f"redi://:{PASSWORD}@host",
        f"redis://host/x?password={PASSWORD}",
        f"redis://app:{PASSWORD}{'x' * 60}@host:port",
    ],
)
def test_redis_password_is_in_no_mistake(tmp_path: Path, url: str) -> None:
    """Wherever the URL stands, under the right key or a wrong one, no line shows the password."""
    file = tmp_path / "a.yaml"
    file.write_text(f"store:\n  url: '{url}'\n  kind: '{url}'\n  prefix: 'a {url}'\nwebsocket: '{url}'\n")
    lines = told(
        f"store.url={url}",
        f"store={{url: '{url}', path: 5}}",
        f"store={url}",
        f"app={url}",
        path=file,
        environ={"WSHTTP_STORE__URL": url},
    )
    assert len(lines) >= 6
    assert PASSWORD not in "".join(lines)


def test_masked_text_keeps_all_but_the_password() -> None:
    """Host, user and what stands around the URL remain; a text without a password is itself."""
    assert masked("at redis://app:x@host:1/0, and redis://:y@b") == "at redis://app:***@host:1/0, and redis://:***@b"
    assert masked("rediss://h/0?ssl_password=x&db=1&PASSWORD=y") == "rediss://h/0?ssl_password=***&db=1&PASSWORD=***"
    assert masked("redis+sentinel://app:x:y@a,b/s") == "redis+sentinel://app:***@a,b/s"
    for same in (
        "redis://127.0.0.1:6379/0",
        "redis://app@host:1",
        "unix:///run/a:b@c",
        "a:b@c",
        "{path: /a:1, b: c@d}",
    ):
        assert masked(same) == same
