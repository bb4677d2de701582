from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import HTTPHeaders

from wshttp.engine.address import FORWARDING_HEADERS, Origin, TrustedProxies, canonical_ip, valid_host


def headers(*lines: tuple[str, str]) -> HTTPHeaders:
    made = HTTPHeaders()
    for name, value in lines:
        made.add(name, value)
    return made


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("192.0.2.1:_hidden", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:c000:201]:80", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
    ],
)
def test_canonical_ip_of_an_address_is_its_one_spelling(text: str, ip: str) -> None:
    """Ports, brackets, zone ids and the IPv4-mapped form make no second client of one."""
    assert canonical_ip(text) == ip


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "0x7f000001", "127.1", "010.0.0.1", "1.2.3", "1.2.3.4.5", "1.2.3.4:", "1.2.3.4:999999"),
        *("1.2.3.4%eth0", "[1.2.3.4]", "[::1", "::1]", "[::1]x", "::1:80000", "unknown", "_hidden", "unix:"),
        *("١.٢.٣.٤", "1.2.3.4\x00"),
    ],
)
def test_canonical_ip_of_junk_is_none(text: str) -> None:
    """What some resolvers would take as an address is none here."""
    assert canonical_ip(text) is None


@given(st.text(max_size=60))
def test_canonical_ip_of_any_text_is_stable(text: str) -> None:
    """No text raises, and a canonical address is its own canonical form."""
    ip = canonical_ip(text)
    assert ip is None or canonical_ip(ip) == ip


@given(st.ip_addresses(v=6))
def test_canonical_ip_of_ipv6_does_not_depend_on_its_spelling(ip: object) -> None:
    """The exploded, the short and the bracketed form are one address."""
    assert canonical_ip(ip.exploded) == canonical_ip(str(ip)) == canonical_ip(f"[{ip}]:443")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text", ["example.org", "example.org:8443", "[::1]", "[2001:db8::1]:80", "a_b.local", "1.2.3.4"]
)
def test_valid_host_of_a_host_is_it(text: str) -> None:
    """Names, addresses and ports as a Host header has them."""
    assert valid_host(f" {text} ") == text


@pytest.mark.parametrize(
    "text", ["", "a b", "a,b", "a/b", "user@host", "a:b", "[1.2.3.4]", "[::1", "[::1]x", "a\r\nb", "é", "h" * 256]
)
def test_valid_host_of_junk_is_none(text: str) -> None:
    """What could be read as more than a host is none."""
    assert valid_host(text) is None


def test_resolve_from_an_untrusted_peer_ignores_all_headers() -> None:
    """A direct client can't choose its address, scheme or host."""
    proxies = TrustedProxies(["10.0.0.0/8"])
    lies = headers(
        ("X-Forwarded-For", "192.0.2.9"),
        ("X-Real-Ip", "192.0.2.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
    )
    assert proxies.resolve("198.51.100.1", lies) == Origin("198.51.100.1")


@pytest.mark.parametrize(
    ("lines", "ip"),
    [
        ([], "10.0.0.1"),
        (["192.0.2.1"], "192.0.2.1"),
        (["203.0.113.66, 192.0.2.1"], "192.0.2.1"),  # what stands left of an untrusted hop was sent by it
        (["192.0.2.1, 10.0.0.2, 10.0.0.3"], "192.0.2.1"),
        (["203.0.113.66", "192.0.2.1, 10.0.0.2", "10.0.0.3"], "192.0.2.1"),  # lines are one list, in order
        (["10.0.0.5, 10.0.0.2"], "10.0.0.5"),  # all trusted: the first
        (["192.0.2.1, junk, 10.0.0.2"], "10.0.0.2"),
        (["192.0.2.1, , 10.0.0.2"], "10.0.0.2"),
        (["192.0.2.1, unknown"], "10.0.0.1"),
        (["192.0.2.1,"], "10.0.0.1"),
        (["192.0.2.1:1234"], "192.0.2.1"),
        (["192.0.2.1, ::ffff:10.0.0.2"], "192.0.2.1"),
        (["[2001:db8::1]:80"], "2001:db8::1"),
    ],
)
def test_resolve_reads_from_the_right_to_the_first_untrusted_or_unreadable_hop(lines: list[str], ip: str) -> None:
    """The client is the first hop that no trusted proxy is; junk ends the walk at the last trusted one."""
    proxies = TrustedProxies(["10.0.0.0/8"])
    sent = headers(*(("X-Forwarded-For", line) for line in lines))
    assert proxies.resolve("10.0.0.1", sent).remote_ip == ip


@pytest.mark.parametrize(
    ("lines", "ip"),
    [
        (["for=192.0.2.1"], "192.0.2.1"),
        (['For="[2001:db8::1]:4711";proto=https;by=10.0.0.1'], "2001:db8::1"),
        (["for=203.0.113.66, for=192.0.2.1;host=x, for=10.0.0.2"], "192.0.2.1"),
        (["for=203.0.113.66", 'for="192.0.2.1:80"', "for=10.0.0.2"], "192.0.2.1"),
        (['for=192.0.2.1;ext="a,b;for=203.0.113.66"'], "192.0.2.1"),
        ([r'for=192.0.2.1;ext="a\",for=203.0.113.66"'], "192.0.2.1"),
        (["for=192.0.2.1, for=unknown, for=10.0.0.2"], "10.0.0.2"),
        (["for=192.0.2.1, for=_secret"], "10.0.0.1"),
        (["for=192.0.2.1, proto=https"], "10.0.0.1"),
        (["for=192.0.2.1;for=192.0.2.2"], "10.0.0.1"),
        (['for="192.0.2.1'], "10.0.0.1"),
        (["for=192.0.2.1 for=192.0.2.2"], "10.0.0.1"),
    ],
)
def test_resolve_reads_forwarded_when_that_is_the_header(lines: list[str], ip: str) -> None:
    """RFC 7239, with quoted strings, and stopping at what cannot be read."""
    proxies = TrustedProxies(["10.0.0.0/8"], header="forwarded")
    sent = headers(*(("Forwarded", line) for line in lines), ("X-Forwarded-For", "203.0.113.1"))
    assert proxies.resolve("10.0.0.1", sent).remote_ip == ip


@given(st.text(max_size=80), st.sampled_from(["Forwarded", "X-Forwarded-For"]))
def test_resolve_of_any_header_is_an_address(text: str, name: str) -> None:
    """Whatever a proxy passes on, the answer is a canonical address."""

    class Lines:
        def get_list(self, name: str) -> list[str]:
            return [text]

    ip = TrustedProxies(["10.0.0.0/8"], header=name).resolve("10.0.0.1", Lines()).remote_ip
    assert ip is not None
    assert canonical_ip(ip) == ip


@pytest.mark.parametrize(
    ("proto", "host", "scheme", "name"),
    [
        (["https"], ["example.org"], "https", "example.org"),
        (["http, HTTPS"], ["a.example, b.example:8443"], "https", "b.example:8443"),
        (["https", "http"], ["a.example", "b.example"], "http", "b.example"),
        (["wss"], [], "https", None),
        (["gopher"], ["a b"], None, None),
        ([], [], None, None),
    ],
)
def test_resolve_takes_the_last_scheme_and_host(
    proto: list[str], host: list[str], scheme: str | None, name: str | None
) -> None:
    """The nearest proxy has the last word, and junk is no word."""
    sent = headers(*(("X-Forwarded-Proto", p) for p in proto), *(("X-Forwarded-Host", h) for h in host))
    assert TrustedProxies(["10.0.0.1"]).resolve("10.0.0.1", sent) == Origin("10.0.0.1", scheme, name)


def test_resolve_on_a_unix_socket_needs_trust() -> None:
    """Without it nobody knows the client; with it the header says."""
    sent = headers(("X-Forwarded-For", "192.0.2.1"))
    assert TrustedProxies().resolve(None, sent) == Origin(None)
    assert TrustedProxies(unix=True).resolve(None, sent) == Origin("192.0.2.1")
    assert TrustedProxies(unix=True).resolve(None, headers(("X-Forwarded-For", "junk"))) == Origin(None)


def test_strip_leaves_only_what_may_be_believed() -> None:
    """An untrusted peer keeps no forwarding header, a trusted one those that it is asked for."""
    proxies = TrustedProxies(["10.0.0.1"])
    lies = headers(*((name, "x") for name in FORWARDING_HEADERS), ("Accept", "*/*"))
    proxies.strip(lies, trusted=False)
    assert list(lies) == ["Accept"]
    sent = headers(*((name, "x") for name in FORWARDING_HEADERS))
    proxies.strip(sent, trusted=True)
    assert set(sent) == {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"}


@pytest.mark.parametrize("name", ["CF-Connecting-IP", "x-real-client"])
def test_strip_takes_the_header_of_the_settings_from_an_untrusted_peer(name: str) -> None:
    """Also where it is none of the usual ones: no handler may believe it."""
    proxies = TrustedProxies(["10.0.0.1"], header=name)
    lies = headers((name, "10.9.9.9"), ("Accept", "*/*"))
    proxies.strip(lies, trusted=False)
    assert list(lies) == ["Accept"]
    sent = headers((name, "192.0.2.7"))
    proxies.strip(sent, trusted=True)
    assert sent[name] == "192.0.2.7"
