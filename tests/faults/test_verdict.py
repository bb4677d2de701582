"""The verdict notices every breach that it is there for, and nothing where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from faults.history import Asked, Held, History, Line
from faults.verdict import SECOND, Allowed, Lost, Verdict


def line(kind: str, at: int, *, id: str = "", attempt: int = 1, ref: str = "r", **more: Any) -> Line:
    return {"ref": ref, "kind": kind, "id": id or kind, "attempt": attempt, "at": at, "node": "node 1"} | more


def end(at: int = 100, *, reason: str = "admin", data: dict[str, Any] | None = None, **more: Any) -> Line:
    return line("end", at, reason=reason, data={"n": 2, "me": 2} if data is None else data, **more)


def hit(n: int, sent: int, **more: Any) -> Asked:
    fields: dict[str, Any] = {
        "ref": "r",
        "status": 200,
        "answered": sent + 1,
        "told": {"ref": "r", "n": n},
        "key": "me",
    }
    return Asked("hit", node="node 1", value=n, sent=sent, **(fields | more))


def logout(answered: int) -> Asked:
    return Asked("logout", "r", "node 1", sent=answered - 1, answered=answered, status=204)


WELL: list[Line] = [line("start", 5), end()]
HITS = [hit(1, 1, ref=""), hit(2, 10)]


def faults(lines: list[Line], asked: list[Asked] = HITS, held: list[Held] | None = None, **allowed: Any) -> list[str]:
    return Verdict(lines, History(list(asked), held or []), Allowed(**allowed)).faults


def test_run_without_a_breach_is_well() -> None:
    """One session with all that can be judged."""
    held = [Held("r", "node 1", opened=7, closed=101, code=4006)]
    unanswered = hit(3, 20, answered=0, status=0, told={})
    assert faults(WELL, [*HITS, unanswered], held) == []
    assert faults([*WELL, end(120, attempt=2)]) == []
    assert faults([*WELL, line("scheduled", 101, node="node 2")]) == []
    assert faults([line("start", 5), end(reason="logout")], [*HITS, logout(50)]) == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([WELL[0]], "r has 0 ends"),
        ([end()], "r has 0 starts"),
        ([*WELL, line("start", 6, id="another")], "r has 2 starts"),
        ([*WELL, end(id="another")], "r has 2 ends"),
        ([end(), line("start", 101)], "r has an end, and no start before it"),
        ([*WELL, line("start", 101, attempt=2)], "r has a start after its end"),
        ([*WELL, line("scheduled", 101)], "r has a scheduled after its end"),
        ([*WELL, end(101)], "r had its end tried as [1, 1]"),
        ([WELL[0], end(attempt=2), end(101)], "r had its end tried as [2, 1]"),
        ([WELL[0], end(reason="idle")], "r ended by idle"),
        ([WELL[0], end(reason="logout")], "r ended by logout"),
        ([WELL[0], end(data={"n": 1, "me": 2})], "r has counted to 1; it was sent 2, and told 2"),
        ([WELL[0], end(data={"n": 3, "me": 2})], "r has counted to 3; it was sent 2, and told 2"),
        ([WELL[0], end(data={"n": 2, "me": 1})], "r has 1 under me, and 2 was answered"),
        ([*WELL, line("start", 7, ref="other")], "other has 0 ends"),
    ],
)
def test_callbacks_that_break_a_promise_are_noticed(lines: list[Line], said: str) -> None:
    assert said in faults(lines)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (hit(2, 11), "r gave two of its increments the same number"),
        (hit(2, 200), "r came back for a hit on node 1, 0.000 s later"),
        (hit(1, 20, told={"ref": "new", "n": 1}), "r was gone for a hit on node 1: {'ref': 'new', 'n': 1}"),
        (hit(0, 20, status=401, told={"reason": "idle"}), "r was gone for a hit on node 1: {'reason': 'idle'}"),
        (hit(0, 20, status=503, answered=20 + 11 * SECOND, told={}), "r waited 11.0 s for a hit on node 1: 503"),
    ],
)
def test_answers_that_break_a_promise_are_noticed(asked: Asked, said: str) -> None:
    assert said in faults(WELL, [*HITS, asked])


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (Held("r", "node 1", opened=7), "r is over, and its socket on node 1 is open"),
        (Held("r", "node 1", opened=7, closed=8, code=1006), "r had its socket on node 1 closed with 1006"),
        (
            Held("r", "node 1", opened=7, closed=100 + 11 * SECOND, code=4001),
            "r had a socket on node 1 for 11.0 s after its end",
        ),
    ],
)
def test_sockets_that_break_a_promise_are_noticed(held: Held, said: str) -> None:
    assert faults(WELL, held=[held]) == [said]


def test_end_that_comes_late_is_noticed() -> None:
    """Later than a client was told of it."""
    late = end(50 + 11 * SECOND, reason="logout")
    assert faults([WELL[0], late], [*HITS, logout(50)]) == ["r had its end 11.0 s after its log-out"]


def test_session_that_is_found_after_its_log_out_is_noticed() -> None:
    """Also before its end is delivered."""
    lines = [WELL[0], end(reason="logout")]
    look = Asked("look", "r", "node 2", sent=60, answered=61, status=200, told={"ref": "r"})
    assert faults(lines, [*HITS, logout(50), look]) == ["r came back for a look on node 2, 0.000 s later"]
    look.status, look.told = 401, {"reason": "logout"}
    assert faults(lines, [*HITS, logout(50), look]) == []


def test_power_cut_undoes_what_was_told_in_its_window_only() -> None:
    """A change, an end, a whole session; and nothing of before, and nobody once all nodes are back."""
    lost = (Lost(8, 60, 70),)
    undone = [WELL[0], end(data={"n": 1, "me": 1})]
    assert faults(undone, lost=lost) == []
    assert faults(undone, lost=(Lost(12, 60, 70),)) != []
    back = [*HITS, logout(50), Asked("look", "r", "node 2", sent=65, answered=66, status=200, told={"ref": "r"})]
    assert faults([WELL[0], end(reason="logout")], back, lost=lost) == []
    back[-1].sent = 71
    assert faults([WELL[0], end(reason="logout")], back, lost=lost) != []
    assert faults([line("start", 9)], [hit(1, 10, ref="")], lost=lost) == []


def test_socket_whose_session_lost_its_log_in_may_be_told_nothing() -> None:
    """Its token is not the one that is stored; a session that was there before, and did not log in, is told."""
    lost, held = (Lost(8, 60, 70),), Held("r", "node 1", opened=7, closed=66, code=1001)
    login = Asked("login", "r", "node 2", sent=20, answered=21, status=200, told={"ref": "r"})
    told = ["r had its socket on node 1 closed with 1001"]
    assert faults(WELL, [*HITS, login], [held], lost=lost) == []
    assert faults(WELL, [*HITS, login], [held], lost=(Lost(22, 60, 70),)) == told
    assert faults(WELL, HITS, [held], lost=lost) == told
    login.answered = 0
    assert faults(WELL, [*HITS, login], [held], lost=(Lost(22, 60, 70),)) == [], "nobody knows when it was done"
    login.sent = 67
    assert faults(WELL, [*HITS, login], [held], lost=lost) == told


def test_node_that_slept_may_deliver_late() -> None:
    """What it was about to deliver; but the first of all starts is before the first of all ends."""
    late = [line("start", 5, attempt=2, node="node 2"), end(node="node 2"), line("start", 101, node="node 1")]
    assert faults(late, overtaken={"node 1"}) == []
    assert faults(late, overtaken={"node 2"}) != [], "the one that was awake has no excuse"
    assert faults([end(), line("start", 101)], overtaken={"node 1"}) != []
