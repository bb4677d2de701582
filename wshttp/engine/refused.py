"""What an HTTP client is told when its bytes are no acceptable request."""

from __future__ import annotations


class Refused(Exception):
    """The connection ends here, with an answer of this status; `detail` is for the client to read."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        self.detail = detail
        super().__init__(detail)
