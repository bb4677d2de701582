"""Which sessions are meant."""

from __future__ import annotations

import ipaddress

import pytest

from wshttp.errors import BadRequest
from wshttp.web.admin.choice import Choice, is_within, read_addresses, read_time


@pytest.mark.parametrize(
    ("text", "address", "network"),
    [
        ("192.0.2.7", "192.0.2.7", None),
        ("2001:db8::7", "2001:db8::7", None),
        ("2001:DB8:0::7", "2001:db8::7", None),
        ("192.0.2.0/24", None, "192.0.2.0/24"),
        ("192.0.2.7/24", None, "192.0.2.0/24"),
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
    ["localhost", "192.0.2.256", "300.", "010.", "192..", "1.2.3.4.", "192.0.2.0/33", "/8", ":", "db8", "*", "::ffff:"],
)
def test_addresses_that_are_none_are_refused(text: str) -> None:
    """What is not understood must not be taken for something wider."""
    with pytest.raises(BadRequest, match="ip is"):
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
    """A date without an offset is a different moment for everybody."""
    assert read_time("1767225600.5") == 1767225600.5
    assert read_time("2026-01-01T00:00:00Z") == read_time("2026-01-01T01:00:00+01:00") == 1767225600
    for text in ("2026-01-01T00:00:00", "yesterday", "nan", "inf", "-inf"):
        with pytest.raises(BadRequest):
            read_time(text)


def test_choice_of_nothing_is_everybody() -> None:
    """Empty parameters, as an empty search field sends them, are no condition."""
    assert Choice.read({"user": "", "ip": "", "before": ""}) == Choice()
    assert Choice.read({"user": "ada", "ip": "192.0.2.7"}).is_indexed
    assert not Choice.read({"ip": "192.0.2."}).is_indexed
