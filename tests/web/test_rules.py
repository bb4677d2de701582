"""Which rule takes a request: the first that matches, remembered or not."""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.routing import HostMatches, PathMatches, Rule, RuleRouter

from wshttp.web.rules import Rules


def request_for(path: str, host: str = "localhost") -> HTTPServerRequest:
    line = RequestStartLine("GET", path, "HTTP/1.1")
    return HTTPServerRequest(start_line=line, headers=HTTPHeaders({"Host": host}))


def rules_of(*matchers: Any) -> Rules:
    rules = Rules(RuleRouter())
    for number, matcher in enumerate(matchers):
        rules.append(Rule(matcher, number))
    return rules


def found(rules: Rules, path: str, host: str = "localhost") -> Any:
    found = rules.find(request_for(path, host))
    return None if found is None else found[0].target


def test_first_rule_that_matches_takes_a_path() -> None:
    """Each time, and so does nobody, until there is somebody."""
    rules = rules_of(PathMatches("/a/.*"), PathMatches("/a/b"), PathMatches("/c"))
    for _ in range(2):
        assert [found(rules, path) for path in ("/a/b", "/c", "/d")] == [0, 2, None]
    rules.append(Rule(PathMatches("/d"), 3))
    assert found(rules, "/d") == 3
    assert rules.may_match("/a/x")
    assert not rules.may_match("/x")


def test_what_a_rule_finds_in_a_path_is_that_of_this_path() -> None:
    """Also when it is remembered."""
    rules = rules_of(PathMatches("/a/([a-z]+)"), PathMatches("/b/(?P<name>[a-z]+)"), PathMatches("/c"))
    for _ in range(2):
        matches = [
            match for _, match in filter(None, map(rules.find, map(request_for, ("/a/x", "/a/y", "/b/x", "/c"))))
        ]
        assert matches == [
            {"path_args": [b"x"], "path_kwargs": {}},
            {"path_args": [b"y"], "path_kwargs": {}},
            {"path_args": [], "path_kwargs": {"name": b"x"}},
            {},
        ]


def test_rule_that_looks_at_more_than_the_path_is_asked_each_time() -> None:
    """Two hosts, one path: what was found for the one says nothing of the other."""
    rules = rules_of(HostMatches("one"), PathMatches("/x"))
    for _ in range(2):
        assert (found(rules, "/x", "one"), found(rules, "/x", "two"), found(rules, "/y", "two")) == (0, 1, None)
    assert rules.may_match("/anything")


class QueryOfPath(PathMatches):
    """Finds more than the path has."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        found = super().match(request)
        return None if found is None else {"path_args": [request.query.encode()]}


def test_rule_of_a_derived_class_is_asked_each_time() -> None:
    """What it finds may be another thing for the same path."""
    rules = rules_of(QueryOfPath("/x"))
    assert [rules.find(request_for(f"/x?{query}")) for query in "ab"] == [
        (rules._router.rules[0], {"path_args": [query]}) for query in (b"a", b"b")
    ]
    assert rules.may_match("/y")


def test_paths_that_are_remembered_are_bounded() -> None:
    """Clients can ask for as many as they like, and for long ones."""
    rules = rules_of(PathMatches("/x"))
    for number in range(5000):
        assert found(rules, f"/{number}") is None
    assert found(rules, "/" + "x" * 1000) is None
    assert len(rules._remembered) <= 1000
    assert all(len(path) <= 256 for path in rules._remembered)
