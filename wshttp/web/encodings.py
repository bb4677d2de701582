"""Which content coding to send: RFC 9110, section 12.5.3."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WEIGHT = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
_IDENTITY = "identity"


def preferred_encoding(accept_encoding: str, offered: Sequence[str]) -> str | None:
    """Return the coding of `offered` that the client likes best; `None` is the file as it is.

    Between equals the earlier of `offered` wins, and any of them over the file as it is.
    A client that accepts nothing of all this gets the file as it is, which RFC 9110 allows instead of a 406.
    """
    weights = _weights(accept_encoding)
    anything_else = weights.get("*", 0.0)
    best, best_weight = None, weights.get(_IDENTITY, 0.0)
    for coding in reversed(offered):
        weight = weights.get(coding, anything_else)
        if weight > 0 and weight >= best_weight:
            best, best_weight = coding, weight
    return best


def _weights(accept_encoding: str) -> dict[str, float]:
    weights = {}
    for element in accept_encoding.lower().split(","):
        coding, *parameters = (part.strip() for part in element.split(";"))
        weight = _weight(parameters)
        if coding and weight is not None:
            weights["gzip" if coding == "x-gzip" else coding] = weight
    return weights


def _weight(parameters: list[str]) -> float | None:
    """Return the weight of a list element: 1 where it has none, `None` where it makes no sense."""
    if not parameters:
        return 1.0
    match = _WEIGHT.fullmatch(parameters[0].replace(" ", ""))
    return float(match[1]) if match and len(parameters) == 1 else None
