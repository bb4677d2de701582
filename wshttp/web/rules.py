"""The rules of an application, in their order, and which of them was the first to match a path."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeGuard

from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, PathMatches, Rule, RuleRouter

Found: TypeAlias = tuple[Rule, dict[str, Any]]
"""A rule, and what it has found in the path, to be read only."""

_MOST_REMEMBERED = 1000
_LONGEST_REMEMBERED = 256
"""Paths, and characters of one: they are the clients' to choose."""


class Rules:
    """What Tornado's router goes through for each request, and is spared where only the path decides."""

    def __init__(self, router: RuleRouter) -> None:
        self._router = router
        self._remembered: dict[str, Found | None] = {}
        self._only_paths = True

    def append(self, rule: Rule) -> None:
        """Add a rule after all others."""
        self._only_paths = self._only_paths and _is_of_path(rule.matcher)
        self._remembered.clear()
        self._router.add_rules([rule])

    def may_match(self, path: str) -> bool:
        """Tell whether one of them could take a request for a path."""
        matchers = [rule.matcher for rule in self._router.rules]
        return any(not _is_of_path(each) or each.regex.match(path) for each in matchers)

    def find(self, request: HTTPServerRequest) -> Found | None:
        """Return the first rule that takes a request."""
        path = request.path
        if path in self._remembered:
            return self._remembered[path]
        found = self._first_match(request)
        if self._only_paths and len(path) <= _LONGEST_REMEMBERED:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[path] = found
        return found

    def _first_match(self, request: HTTPServerRequest) -> Found | None:
        for rule in self._router.rules:
            match = rule.matcher.match(request)
            if match is not None:
                return rule, match
        return None


def _is_of_path(matcher: Matcher) -> TypeGuard[PathMatches]:
    """Whether only the path decides; a class derived from Tornado's may ask for more."""
    return type(matcher) is PathMatches
