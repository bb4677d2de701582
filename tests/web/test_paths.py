"""Paths: decoded once, normalised, matched."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshttp.config import ProtectRule
from wshttp.errors import BadRequest, UsageError
from wshttp.web.paths import decoded_path, encoded_path, protection_of, route_pattern


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("", "/"),
        ("/a", "/a"),
        ("/a/", "/a/"),
        ("//a///b//", "/a/b/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/../../a", "/a"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/%61", "/a"),
        ("/%2561", "/%61"),
        ("/a%2fb", "/a/b"),
        ("/a%2F..%2Fb", "/b"),
        ("/%2e%2e/a", "/a"),
        ("/...", "/..."),
        ("/a%20b+c", "/a b+c"),
        ("/gr%C3%BCn", "/grün"),
        ("/a\\b", "/a\\b"),
        ("/%", "/%"),
        ("/%zz", "/%zz"),
    ],
)
def test_path_is_decoded_once_and_normalised(raw: str, path: str) -> None:
    """Dot segments and empty ones go after the decoding, whatever they were written as; a slash at the end stays."""
    assert decoded_path(raw) == path


@pytest.mark.parametrize("raw", ["/%00", "/a%0a", "/%1f", "/%7f", "/%ff", "/%c3%28", "/a\x00"])
def test_path_that_cannot_be_read_is_refused(raw: str) -> None:
    """Neither control characters nor bytes that are not UTF-8 get past."""
    with pytest.raises(BadRequest):
        decoded_path(raw)


PATHS = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_characters="\x7f"), max_size=20)


@given(PATHS)
def test_encoded_path_is_read_as_the_same_path(text: str) -> None:
    """Writing a normalised path and reading it again changes nothing: routes and files see the same one."""
    try:
        path = decoded_path("/" + text)
    except BadRequest:
        return
    assert decoded_path(encoded_path(path)) == path
    assert ".." not in path.split("/")
    assert "//" not in path


@pytest.mark.feature("U3")
@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/admin", "/admin", True),
        ("/admin", "/admin/", False),
        ("/admin*", "/admin/x/y", True),
        ("/admin/*", "/admin", False),
        ("/admin/*", "/admin/a/b/c", True),
        ("*", "/", True),
        ("*.pdf", "/a/b.pdf", True),
        ("/admin*", "/Admin", False),
        ("/a?c", "/abc", True),
    ],
)
def test_glob_matches_the_decoded_path(glob: str, path: str, matches: bool) -> None:
    """`*` also matches `/`; upper and lower case differ, as they do for routes."""
    rule = ProtectRule(path=glob)
    assert (protection_of(path, (rule,)) is rule) is matches


def test_first_rule_that_matches_counts() -> None:
    """An exception stands before the rule."""
    special, general = ProtectRule(path="/a/b", roles=("x",)), ProtectRule(path="/a/*")
    assert protection_of("/a/b", (special, general)) is special
    assert protection_of("/a/c", (special, general)) is general
    assert protection_of("/b", (special, general)) is None


@pytest.mark.parametrize(
    ("route", "path", "found"),
    [
        ("/a", "/a", {}),
        ("/a", "/a/", None),
        ("/a", "/ab", None),
        ("/a.b", "/axb", None),
        ("/{x}", "/a", {"x": "a"}),
        ("/{x}", "/a/b", None),
        ("/{x}", "/", None),
        ("/{x}/{y}", "/a/b", {"x": "a", "y": "b"}),
        ("/f/{rest:path}", "/f/a/b/", {"rest": "a/b/"}),
        ("/f/{rest:path}", "/f/", None),
        ("/gr ün/{x}", "/gr%20%C3%BCn/a%3Fb", {"x": "a%3Fb"}),
    ],
)
def test_route_matches_encoded_paths(route: str, path: str, found: dict[str, str] | None) -> None:
    """Literals are matched literally, parameters take one segment, or with `:path` the rest."""
    match = re.match(route_pattern(route), path)
    assert (None if match is None else match.groupdict()) == found


@pytest.mark.parametrize(
    "route", ["/a/{x", "/a/x}", "/{}", "/{x:int}", "/{x-y}", "/{{x}}", "/{x}/{x}", "/{x}/{x:path}"]
)
def test_route_that_cannot_be_read_is_refused(route: str) -> None:
    """A brace that is no parameter's, and two parameters of one name, are mistakes of the program."""
    with pytest.raises(UsageError, match=r"a parameter is written|two parameters of one name"):
        route_pattern(route)


@given(st.text(alphabet="/./..~-_aZ0%+é", max_size=12))
def test_plain_path_is_what_the_long_way_makes_of_it(raw: str) -> None:
    """Where nothing has to be decoded and nothing resolved, that is seen at a glance; it makes no difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wshttp.web.paths._PLAIN", re.compile("(?!)"))
        try:
            decoded = decoded_path(raw)
        except BadRequest:
            decoded = None
        encoded = encoded_path(raw)
    if decoded is not None:
        assert decoded_path(raw) == decoded
    assert encoded_path(raw) == encoded
