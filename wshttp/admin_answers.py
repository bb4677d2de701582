"""What administration answers, as its client reads it: what is not of this form comes from no server of ours.

Each keeps what it does not know, for `--json`: a newer server may tell more.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

At = Annotated[float, Field(ge=0, le=253_402_300_799, allow_inf_nan=False)]
"""Unix seconds, up to the end of the year 9999."""

Count = Annotated[int, Field(ge=0, le=2**53)]


class Answer(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Session(Answer):
    """A session of a list."""

    ref: str
    user: str | None
    roles: list[str]
    ip: str
    identity: str
    created_at: At
    last_access_at: At
    idle: Count
    expires_in: Count | None
    absolute_expires_in: Count | None
    connections: Count


class Sessions(Answer):
    """A page of a list; `total` is `None` where only looking at each would tell, `cursor` on the last page."""

    sessions: list[Session]
    total: Count | None
    cursor: str | None


class Key(Answer):
    key: str
    size: Count


class Data(Answer):
    size: Count
    keys: list[Key]


class Connection(Answer):
    id: str
    ip: str
    path: str
    opened_at: At


class Happening(Answer):
    """What happened in a session's life; details are what else it has."""

    what: str
    at: At


class Card(Answer):
    """One session, with what it holds, its connections and its life."""

    session: Session
    user_agent: str | None
    data: Data
    connections: list[Connection]
    history: list[Happening]
    node: str


class Ended(Answer):
    """A step of an end; `cursor` is `None` after the last one."""

    ended: Count
    cursor: str | None


class Sent(Answer):
    """How many connections of the node a message went to, and how many other nodes were told."""

    sent: Count
    others: Count


class Problem(Answer):
    """Why it was not done, and how many had ended by then."""

    type: Annotated[str, Field(pattern="^urn:wshttp:")]
    title: str
    detail: str | None = None
    ended: Count = 0
