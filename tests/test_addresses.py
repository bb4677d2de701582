"""Addresses as keys."""

from __future__ import annotations

import pytest

from wshttp.addresses import bucket


@pytest.mark.feature("I3")
@pytest.mark.parametrize(
    ("remote_ip", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff::2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("/run/wshttp.sock", "/run/wshttp.sock"),
    ],
)
def test_bucket_is_what_counts_as_one_client(remote_ip: str, expected: str) -> None:
    """IPv4 is itself, however it is written; IPv6 is its prefix; what is no address stays as it is."""
    assert bucket(remote_ip) == expected


@pytest.mark.feature("I3")
def test_bucket_follows_the_prefix_length() -> None:
    """A shorter prefix makes one client of more addresses."""
    assert bucket("2001:db8:0:1::1", 48) == bucket("2001:db8:0:2::1", 48) == "2001:db8::/48"
    assert bucket("2001:db8::1", 128) == "2001:db8::1/128"
