"""The URL of a Redis, read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wshttp.config.redis_url import Login, Place, RedisUrl, parse


def test_url_without_anything_is_a_server_on_its_usual_port() -> None:
    """Port and database have the defaults that every client gives them."""
    assert parse("redis://localhost") == RedisUrl("single", (Place("localhost", 6379),))


def test_url_names_server_login_and_database() -> None:
    """Special characters in user and password are written in percents."""
    url = parse("redis://app:a%40b%2Fc@redis.example:6380/3")
    assert (url.places, url.db) == ((Place("redis.example", 6380),), 3)
    assert url.login == Login("app", "a@b/c")
    assert url.tls is None


def test_url_may_have_a_password_without_a_user() -> None:
    """That is what `requirepass` wants; an absent user is none, not an empty one."""
    assert parse("redis://:secret@localhost").login == Login(None, "secret")


def test_url_of_an_ipv6_server() -> None:
    """The brackets are the URL's, not the host's."""
    assert parse("redis://[::1]:6380").places == (Place("::1", 6380),)
    assert str(parse("redis://[::1]:6380")) == "[::1]:6380"


def test_url_of_a_socket() -> None:
    """There is no host, and the database is an option."""
    url = parse("unix://app:secret@/run/my%20redis.sock?db=2")
    assert (url.places[0].path, url.db, url.login) == ("/run/my redis.sock", 2, Login("app", "secret"))


def test_url_with_tls_hands_its_options_on(tmp_path: Path) -> None:
    """They are redis-py's; files are looked for at once."""
    authority = tmp_path / "ca.pem"
    authority.touch()
    url = parse(f"rediss://localhost/?ssl_ca_certs={authority}&ssl_check_hostname=no&ssl_cert_reqs=none")
    assert url.tls == {"ssl_ca_certs": str(authority), "ssl_check_hostname": False, "ssl_cert_reqs": "none"}
    assert parse("rediss://localhost").tls == {}


def test_url_of_sentinels() -> None:
    """User and password are for Redis; the sentinels' own are options."""
    url = parse("redis+sentinel://app:secret@a,b:26380/main/1?sentinel_username=s&sentinel_password=p")
    assert url.kind == "sentinel"
    assert url.places == (Place("a", 26379), Place("b", 26380))
    assert (url.service, url.db) == ("main", 1)
    assert (url.login, url.sentinel_login) == (Login("app", "secret"), Login("s", "p"))


def test_url_of_a_cluster() -> None:
    """Some of its nodes are enough."""
    url = parse("rediss+cluster://a:7000,[::1]:7001")
    assert (url.kind, url.places, url.tls) == ("cluster", (Place("a", 7000), Place("::1", 7001)), {})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "it begins with none of"),
        ("localhost:6379", "it begins with none of"),
        ("http://localhost", "it begins with none of"),
        ("redis://", "its host and port cannot be read"),
        ("redis://host:http", "its host and port cannot be read"),
        ("redis://host:0", "its host and port cannot be read"),
        ("redis://host:65536", "its host and port cannot be read"),
        ("redis://host:１", "its host and port cannot be read"),
        ("redis://[::1", "its host and port cannot be read"),
        ("redis://[::1]6379", "its host and port cannot be read"),
        ("redis://::1", "its host and port cannot be read"),
        ("redis://a,b", "several servers are redis+sentinel:// or redis+cluster://"),
        ("redis://a/first", "the database is a number"),
        ("redis://a/-1", "the database is a number"),
        ("unix://run/redis.sock", "a socket is unix:///path"),
        ("unix://", "a socket is unix:///path"),
        ("redis+sentinel://a,b", "the service is missing"),
        ("redis+sentinel://a,,b/main", "its host and port cannot be read"),
        ("redis+cluster://a/1", "a cluster has no database but 0"),
        ("redis://a?decode_responses=1", "there is no option 'decode_responses'"),
        ("redis://a?pasword=x", "did you mean 'password'?"),
        ("redis://a?ssl_cert_reqs=none", "rediss:// alone"),
        ("rediss://a?ssl_cert_reqs=some", "option ssl_cert_reqs: it is none, optional or required"),
        ("rediss://a?ssl_check_hostname=maybe", "option ssl_check_hostname: it is yes or no"),
        ("rediss://a?ssl_ca_certs=/nowhere/ca.pem", "option ssl_ca_certs: /nowhere/ca.pem cannot be read"),
    ],
)
def test_url_that_makes_no_sense_is_refused(url: str, reason: str) -> None:
    """The mistake says what is wrong."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://app:sesame@localhost:6379/0",
        "redis://localhost?password=sesame",
        "redis+sentinel://app:sesame@localhost/main?sentinel_password=sesame",
        "redis://app:sesame@localhost:port",
        "redis://app:sesame@a,b",
        "http://app:sesame@localhost",
        "redis://app:sesame/@localhost",
        "redis://localhost?username=x&password=sesame&passwort=sesame",
    ],
)
def test_url_never_shows_its_password(url: str) -> None:
    """Neither as a text nor in what is said of a mistake."""
    try:
        parsed = parse(url)
        told = f"{parsed} {parsed!r}"
    except ValueError as error:
        told = str(error)
    assert "sesame" not in told
