"""Which sessions are meant."""

from __future__ import annotations

import ipaddress

import pytest

from wshttp.errors import BadRequest
from wshttp.web.admin.choice import SKEW, Choice, is_within, read_addresses, read_time

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "address", "network"),
    [
        ("192.0.2.7", "192.0.2.7", None),
        ("2001:db8::7", "2001:db8::7", None),
        ("2001:DB8:0::7", "2001:db8::7", None),
        ("192.0.2.0/24", None, "192.0.2.0/24"),
        ("2001:db8::/32", None, "2001:db8::/32"),
        ("192.0.", None, "192.0.0.0/16"),
        ("192.0", None, "192.0.0.0/16"),
        ("10", None, "10.0.0.0/8"),
        ("192.0.2", None, "192.0.2.0/24"),
        ("2001:db8:", None, "2001:db8::/32"),
        ("fe80:", None, "fe80::/16"),
        ("2001:db8:1:2:3:4:5:", None, "2001:db8:1:2:3:4:5:0/112"),
    ],
)
def test_addresses_are_one_or_a_network(text: str, address: str | None, network: str | None) -> None:
    """The beginning of an address counts in whole parts: `10.1` is not `10.10`, too."""
    expected = None if network is None else ipaddress.ip_network(network)
    assert read_addresses(text) == (address, expected)


@pytest.mark.parametrize(
    "text",
    [
        "localhost",
        "192.0.2.256",
        "192.0.2.0 ",
        "\u0661.2.3.4",
        "300.",
        "010.",
        "192..",
        "1.2.3.4.",
        "192.0.2.0/33",
        "/8",
        ":",
        "db8",
        "*",
        "::ffff:",
    ],
)
def test_addresses_that_are_none_are_refused(text: str) -> None:
    """What is not understood must not be taken for something wider."""
    with pytest.raises(BadRequest, match="ip is"):
        read_addresses(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.0.2.0/2", "192.0.0.0/2 is one"),
        ("192.0.2.7/24", "192.0.2.0/24 is one"),
        ("2001:db8::/3", "2000::/3 is one"),
        ("0.0.0.0/0", "every address"),
        ("192.0.2.0/0", "every address"),
        ("::/0", "every address"),
        ("10.0.0.0/0.0.0.0", "every address"),
    ],
)
def test_networks_that_may_be_mistyped_are_refused(text: str, said: str) -> None:
    """A digit that is missing from the length makes an end meet a quarter of the world."""
    with pytest.raises(BadRequest, match=said):
        read_addresses(text)


@pytest.mark.parametrize(
    ("ip", "network", "expected"),
    [
        ("192.0.2.7", "192.0.0.0/16", True),
        ("192.1.2.7", "192.0.0.0/16", False),
        ("::ffff:192.0.2.7", "192.0.0.0/16", True),
        ("2001:db8::1", "192.0.0.0/16", False),
        ("fe80::1%eth0", "fe80::/16", True),
        ("", "0.0.0.0/0", False),
        ("unix", "0.0.0.0/0", False),
    ],
)
def test_address_is_within_a_network(ip: str, network: str, expected: bool) -> None:
    """IPv4 in IPv6 is IPv4; what is no address is in no network."""
    assert is_within(ip, ipaddress.ip_network(network)) is expected


def test_times_are_unix_seconds_or_dates_with_an_offset() -> None:
    """A date without an offset is a different moment for everybody; what `float` takes besides is a slip."""
    assert read_time("1767225600.5", NOW) == 1767225600.5
    assert read_time("2026-01-01T00:00:00Z", NOW) == read_time("2026-01-01T01:00:00+01:00", NOW) == 1767225600
    slips = ("1_0", "1e9", "-1", " 1", "1.", "\u0661\u0662", "20260101T000000Z", "2026-W01-1T00:00:00Z")
    for text in ("2026-01-01T00:00:00", "yesterday", "nan", "inf", "-inf", "1767225600500", *slips):
        with pytest.raises(BadRequest):
            read_time(text, NOW)


def test_times_ahead_of_the_clock_are_refused() -> None:
    """All sessions were created before them, which is said with `all=1`; a clock that is a little ahead is none."""
    assert read_time(str(NOW + SKEW), NOW) == NOW + SKEW
    for text in (str(NOW + SKEW + 1), "2100-01-01T00:00:00Z"):
        with pytest.raises(BadRequest, match="all=1"):
            read_time(text, NOW)


def test_choice_of_nothing_is_everybody() -> None:
    """Empty parameters, as an empty search field sends them, are no condition."""
    assert Choice.read({"user": "", "ip": "", "before": ""}, NOW) == Choice()
    assert Choice.read({"user": "ada", "ip": "192.0.2.7"}, NOW).is_indexed
    assert not Choice.read({"ip": "192.0.2."}, NOW).is_indexed
