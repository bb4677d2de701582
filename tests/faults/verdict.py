"""Whether the promises held: from what the callbacks have written, and what the clients were told.

A pure judgement, after everything has ended and nothing is owed any more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from faults.history import Asked, Held, History, Line

SECOND = 10**9

SAID = range(4000, 4008)
"""Close codes that say what became of the session."""

GOING_AWAY = 1001

ENDING = {"logout": "logout", "short": "idle"}
"""What clients do that ends a session, and the reason that is to be given."""


@dataclass(frozen=True)
class Lost:
    """A power cut: the disk had taken nothing since `since`, the server was back at `until`, and all nodes at `back`."""

    since: int
    until: int
    back: int


@dataclass(frozen=True)
class Allowed:
    """What a fault may do. By default nothing that a client notices, but for answers that do not come."""

    late: float = 10.0
    """Seconds from an end that a client was told of until its callback, and until the close of its sockets."""
    slow: float = 10.0
    """Seconds until an answer."""
    stale: float = 0.0
    """Seconds for which a node may not have heard of an end, as it reads its own copies."""
    lost: tuple[Lost, ...] = ()
    """When what anybody was told may be undone."""
    drops: bool = False
    """Nodes die, and the sockets with them."""
    reasons: frozenset[str] | set[str] = frozenset()
    """Ends of sessions that other clients had."""
    overtaken: frozenset[str] | set[str] = frozenset()
    """Nodes that sleep: what one was about to deliver when another took over comes when it wakes."""


class Verdict:
    """Judges a run. `faults` says in sentences what was wrong; the figures are for the table."""

    def __init__(self, lines: Sequence[Line], history: History, allowed: Allowed | None = None) -> None:
        self.lines = lines
        self.history = history
        self.allowed = allowed or Allowed()
        self.starts = self._first("start")
        self.ends = self._first("end")
        self._asked: dict[str, list[Asked]] = defaultdict(list)
        for asked in history.asked:
            self._asked[asked.found].append(asked)
        self.over = {ref: self._over_at(ref) for ref in self.ends.keys() | self._asked.keys()}
        self.faults = [
            fault
            for judge in (
                self._events, self._order, self._attempts, self._reasons, self._gone, self._back, self._numbers,
                self._keys, self._answers, self._sockets, self._lateness,
            )
            for fault in judge()
        ]  # fmt: skip

    # --- figures --------------------------------------------------------------------------------------

    @property
    def sessions(self) -> int:
        return len(self.starts)

    @property
    def repeats(self) -> int:
        """Deliveries beyond the first of an event."""
        return len(self.lines) - len({line["id"] for line in self.lines})

    @property
    def answers(self) -> int:
        return sum(asked.ok for asked in self.history.asked)

    @property
    def unanswered(self) -> int:
        """What failed, or got no answer."""
        return sum(asked.status == 0 or asked.status >= 500 for asked in self.history.asked)

    @property
    def latest_end(self) -> float:
        """Seconds from the latest log-out's answer to its callback."""
        told = self._logged_out()
        return max((max(0.0, self._seconds(at, ref)) for ref, at in told.items() if ref in self.ends), default=0.0)

    @property
    def latest_close(self) -> float:
        """Seconds from the end of a session to the close of its last socket."""
        return max((_after(held, self.over[held.ref]) for held in self._of_ended()), default=0.0)

    def __str__(self) -> str:
        return (
            f"{self.sessions:,} sessions, {len(self.history.held):,} sockets; {self.answers:,} answers, {self.unanswered:,} times"
            f" none; {len(self.lines):,} callbacks, {self.repeats:,} of them repeats; ends up to {self.latest_end:.1f} s late,"
            f" sockets up to {self.latest_close:.1f} s"
        )

    def story(self, ref: str) -> str:
        """Return all that is known of a session, in order, to see how a fault came to be."""
        told = [(line["at"], str(line)) for line in self.lines if line["ref"] == ref]
        told += [(asked.sent, str(asked)) for asked in self._asked.get(ref, ())]
        told += [(held.opened, str(held)) for held in self.history.held if held.ref == ref]
        return "\n".join(text for _, text in sorted(told))

    # --- what is known --------------------------------------------------------------------------------

    def _first(self, kind: str) -> dict[str, Line]:
        """Return the first line of a kind, per session."""
        found: dict[str, Line] = {}
        for line in self.lines:
            if line["kind"] == kind:
                found.setdefault(line["ref"], line)
        return found

    def _logged_out(self) -> dict[str, int]:
        """Return when log-outs were answered, by session."""
        told: dict[str, int] = {}
        for asked in self.history.asked:
            if asked.kind == "logout" and asked.ok:
                told.setdefault(asked.ref, asked.answered)
        return told

    def _over_at(self, ref: str) -> int:
        """Return from when on everybody had to know that a session is over; 0: never."""
        known = [asked.answered for asked in self._asked.get(ref, ()) if asked.kind == "logout" and asked.ok]
        if ref in self.ends:
            known.append(self.ends[ref]["at"])
        return min(known, default=0)

    def _undone(self, at: int) -> bool:
        """Whether what was told at a time may have been lost with the disk's last writes."""
        return any(lost.since <= at < lost.until for lost in self.allowed.lost)

    def _uncertain(self, asked: Asked) -> bool:
        """Whether what was answered may have been undone: it was done at some time between question and answer."""
        return any(lost.since <= asked.answered and asked.sent < lost.until for lost in self.allowed.lost)

    def _seconds(self, since: int, ref: str) -> float:
        return float(self.ends[ref]["at"] - since) / SECOND

    def _of_ended(self) -> Iterator[Held]:
        return (held for held in self.history.held if self.over.get(held.ref) and held.closed)

    # --- callbacks ------------------------------------------------------------------------------------

    def _events(self) -> Iterator[str]:
        """One start and one end per session, for each that anybody has heard of."""
        ids: dict[tuple[str, str], set[str]] = defaultdict(set)
        for line in self.lines:
            ids[line["ref"], line["kind"]].add(line["id"])
        told = {asked.told["ref"] for asked in self.history.asked if asked.ok and "ref" in asked.told}
        for ref in told | self.starts.keys() | self.ends.keys():
            for kind in ("start", "end"):
                count = len(ids[ref, kind])
                if count > 1 or (count == 0 and not self._may_lack(ref, kind)):
                    yield f"{ref} has {count} {kind}s"

    def _may_lack(self, ref: str, kind: str) -> bool:
        """Whether a session's creation may have been undone: then nobody knows of it any more."""
        begun = [asked.answered for asked in self._asked.get(ref, ()) if asked.ok]
        first = min([*begun, *([self.starts[ref]["at"]] if ref in self.starts else [])], default=0)
        return kind == "end" and self._undone(first)

    def _order(self) -> Iterator[str]:
        """A start before its end, and nothing after it, unless who delivers it slept.

        What was scheduled may be on its way to one node while another delivers the end.
        """
        begun: set[str] = set()
        ended: dict[str, str] = {}
        for line in self.lines:
            ref, kind, node = line["ref"], line["kind"], line["node"]
            if kind == "end":
                if ref not in begun:
                    yield f"{ref} has an end, and no start before it"
                ended.setdefault(ref, node)
            elif ref in ended and node not in self.allowed.overtaken and (kind == "start" or node == ended[ref]):
                yield f"{ref} has a {kind} after its end"
            if kind == "start":
                begun.add(ref)

    def _attempts(self) -> Iterator[str]:
        """A repeat says that it is one; unless nobody knew, since it was lost that it was delivered."""
        delivered: dict[tuple[str, str], list[Line]] = defaultdict(list)
        for line in self.lines:
            delivered[line["ref"], line["id"]].append(line)
        for (ref, _), lines in delivered.items():
            known = [line for line in lines if not self._undone(line["at"])]
            tries = [line["attempt"] for line in known]
            in_order = [line["attempt"] for line in known if line["node"] not in self.allowed.overtaken]
            if len(set(tries)) < len(tries) or in_order != sorted(in_order):
                yield f"{ref} had its {lines[0]['kind']} tried as {tries}"

    def _reasons(self) -> Iterator[str]:
        """Nobody ends but who logged out, or who left for longer than the idle time-out; the rest when the test ends them."""
        for ref, line in self.ends.items():
            may = self._reasons_of(ref) if ref in self._asked else self.allowed.reasons
            if line["reason"] != "admin" and line["reason"] not in may:
                yield f"{ref} ended by {line['reason']}"

    def _reasons_of(self, ref: str) -> set[str]:
        kinds = {asked.kind for asked in self._asked.get(ref, ())}
        return {reason for kind, reason in ENDING.items() if kind in kinds}

    # --- sessions -------------------------------------------------------------------------------------

    def _gone(self) -> Iterator[str]:
        """Nobody loses a session that has not ended."""
        for asked in self.history.asked:
            is_gone = asked.status == 401 or (asked.ok and asked.found != asked.ref)
            if asked.ref and is_gone and not self._reasons_of(asked.ref) and not self._may_lack(asked.ref, "end"):
                yield f"{asked.ref} was gone for a {asked.kind} on {asked.node}: {asked.told}"

    def _back(self) -> Iterator[str]:
        """Nobody finds a session that was over before they asked."""
        for asked in self.history.asked:
            over = self.over.get(asked.found, 0)
            is_back = asked.ok and asked.kind != "logout" and 0 < over < asked.sent - self.allowed.stale * SECOND
            if is_back and not self._may_be_back(over, asked.sent):
                later = (asked.sent - over) / SECOND
                yield f"{asked.found} came back for a {asked.kind} on {asked.node}, {later:.3f} s later"

    def _may_be_back(self, over: int, at: int) -> bool:
        """Whether an end may have been undone, and the nodes that know of it be on their way."""
        return any(lost.since <= over < lost.until and at < lost.back for lost in self.allowed.lost)

    # --- data -----------------------------------------------------------------------------------------

    def _numbers(self) -> Iterator[str]:
        """Each increment that was answered counts once; one without an answer at most once."""
        for ref, asked in self._asked.items():
            told = [each.told["n"] for each in asked if each.ok and "n" in each.told and not self._uncertain(each)]
            if not ref or not told or ref not in self.ends:
                continue
            final = self.ends[ref]["data"].get("n", 0)
            sent = sum(each.kind in ("hit", "message") for each in asked)
            if len(set(told)) < len(told):
                yield f"{ref} gave two of its increments the same number"
            if not max(told) <= final <= sent:
                yield f"{ref} has counted to {final}; it was sent {sent}, and told {max(told)}"

    def _keys(self) -> Iterator[str]:
        """What was answered to have been set is set, or has a later value."""
        for ref, asked in self._asked.items():
            if not ref or ref not in self.ends:
                continue
            data = self.ends[ref]["data"]
            for each in asked:
                found = data.get(each.key, 0)
                if each.key and each.ok and not self._uncertain(each) and found < each.value:
                    yield f"{ref} has {found} under {each.key}, and {each.value} was answered"

    # --- times ----------------------------------------------------------------------------------------

    def _answers(self) -> Iterator[str]:
        """No answer takes longer than it may; but a message waits until the store is back."""
        for asked in self.history.asked:
            if asked.answered and asked.kind != "message" and asked.took > self.allowed.slow:
                yield f"{asked.found} waited {asked.took:.1f} s for a {asked.kind} on {asked.node}: {asked.status}"

    def _sockets(self) -> Iterator[str]:
        """No socket is open on a session that has ended."""
        for held in self.history.held:
            over = self.over.get(held.ref, 0)
            if held.closed and not self._was_told(held) and not self.allowed.drops:
                yield f"{held.ref} had its socket on {held.node} closed with {held.code}"
            if over and not held.closed:
                yield f"{held.ref} is over, and its socket on {held.node} is open"
            elif over and _after(held, over) > self.allowed.late:
                yield f"{held.ref} had a socket on {held.node} for {_after(held, over):.1f} s after its end"

    def _was_told(self, held: Held) -> bool:
        """Whether a socket was closed with what became of its session.

        1001 is for one that ended under another token, and for one that a lost write may have taken its token from.
        """
        leaving = min((each.sent for each in self._asked.get(held.ref, ()) if each.kind in ENDING), default=0)
        return held.code in SAID or (
            held.code == GOING_AWAY and (0 < leaving < held.closed or self._may_lack_its_token(held))
        )

    def _may_lack_its_token(self, held: Held) -> bool:
        """Whether the socket's session may have been lost, or its log-in: then its token is not the one that is stored."""
        renewed = any(
            each.kind == "login"
            and lost.since <= (each.answered or held.closed)
            and each.sent < min(held.closed, lost.back)
            for each in self._asked.get(held.ref, ())
            for lost in self.allowed.lost
        )
        return renewed or self._may_lack(held.ref, "end")

    def _lateness(self) -> Iterator[str]:
        """An end that a client was told of is delivered soon."""
        for ref, at in self._logged_out().items():
            if ref in self.ends and self._seconds(at, ref) > self.allowed.late:
                yield f"{ref} had its end {self._seconds(at, ref):.1f} s after its log-out"


def _after(held: Held, over: int) -> float:
    """Seconds from the end of its session to a socket's close."""
    return float(max(0, held.closed - max(over, held.opened))) / SECOND
