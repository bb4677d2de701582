"""The results as a table. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.engine.effort import Effort
from benchmarks.engine.peer import Peer
from benchmarks.engine.results import Results
from benchmarks.table import Table

HEADINGS = [
    "work", "server", "median", "lowest to highest", "unit", "ours by it", "to reach", "reached", "busy", "µs", "by µs",
]  # fmt: skip


def report(found: Sequence[Results], effort: Effort) -> Table:
    """Return one table: for each row ours, and then each of the others."""
    verdicts = [verdict for results in found for verdict in results.verdicts()]
    about = (
        f"{effort.rounds} rounds of {effort.seconds:g} s, all servers of a row in turns. "
        "Ratios are medians of the rounds' ratios. "
        '"busy" is how much of the time the server computed, and the load: '
        "with a load at 100 % the server could do more, and with both below other programs took their share. "
        '"µs" is what the server computed for each answer, "by µs" theirs by ours. '
        f"Reached: {sum(verdicts)} of {len(verdicts)}."
    )
    table = Table("The engine beside its peers", about, HEADINGS)
    for results in found:
        for line in _lines(results):
            table.add(*line)
    return table


def _lines(results: Results) -> Iterator[tuple[str, ...]]:
    row = results.row
    limit = "" if row.limit is None else f"≤ {row.limit:g}"
    yield (row.name, *_line(results, row.ours), "", limit, _word(results.within_limit()), *_expense(results, row.ours))
    sign = "≤" if row.load.less_is_better else "≥"
    for rival in row.rivals:
        ratio = results.ratio(rival.peer)
        yield (
            "",
            *_line(results, rival.peer),
            "–" if ratio is None else f"{ratio:.2f}",
            "" if rival.factor is None else f"{sign} {rival.factor:g}",
            _word(results.reached(ratio, rival.factor)),
            *_expense(results, rival.peer),
        )


def _line(results: Results, peer: Peer) -> tuple[str, ...]:
    """Return name, figure, spread and unit."""
    figures = results.figures(peer)
    if not figures:
        return (peer.name, "–", f"there is no {results.left_out.get(peer, 'figure')}", "")
    spread = f"{_number(min(figures))} to {_number(max(figures))}"
    return (peer.name, _number(median(figures)), spread, results.row.load.unit)


def _expense(results: Results, peer: Peer) -> tuple[str, str, str]:
    """Return the shares of the time in which server and load computed, µs for each answer, and these by ours."""
    spent = [outcome.expense for outcome in results.rounds.get(peer, ()) if outcome.expense is not None]
    if not spent:
        return "", "", ""
    server, load = (
        median(shares) * 100 for shares in zip(*((each.server_busy, each.load_busy) for each in spent), strict=True)
    )
    ratio = None if peer == results.row.ours else results.cost_ratio(peer)
    cost = median(each.cost for each in spent) * 1e6
    return f"{server:.0f} %, {load:.0f} %", f"{cost:.1f}", "" if ratio is None else f"{ratio:.2f}"


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 1000 else f"{figure:.2f}"


def _word(reached: bool | None) -> str:
    return {None: "", True: "yes", False: "NO"}[reached]


def legend(found: Sequence[Results]) -> str:
    """Say what the names of the rows stand for."""
    return "\n".join(f"- {results.row.name}: {results.row.work}" for results in found)
