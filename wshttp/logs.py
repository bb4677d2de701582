"""What the server writes to its log: lines for people, or one JSON object per line for machines.

Everything goes to standard error through the loggers of `wshttp`, Tornado and asyncio; ids, tokens and passwords never
do. What a client sent can make neither a line of its own nor a terminal's command.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

_LOGGERS: Final = ("wshttp", "tornado", "asyncio")

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
"""What every log record has; all else was given with `extra`."""

_PLAIN: Final = re.compile(r'[^\s"=]+')
"""What needs no quotes in a line for people."""


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record was given with `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00 INFO  wshttp.sessions: session started ref=… remote_ip=…`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        facts = "".join(f" {name}={_word(value)}" for name, value in facts_of(record).items())
        return _printable(super().formatMessage(record) + facts)

    def formatException(self, ei: Any) -> str:  # noqa: N802  # logging's own name
        """Return a traceback, indented: only what we begin begins a line, whatever an exception's text holds."""
        return "\n".join("    " + _printable(line) for line in super().formatException(ei).split("\n"))


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `at` (RFC 3339, UTC), `level`, `logger`, `message`, and the facts."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **facts_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _word(value: object) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _printable(text: str) -> str:
    """Keep a client from writing lines of its own into the log, and from speaking to the terminal that shows it."""
    if text.isprintable():  # nearly always; a line per request is too many to look at each character
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class HeaderValues(logging.Filter):
    """Take header values out of what Tornado (6.6) says of requests that it cannot read: one may be a cookie."""

    _QUOTED: Final = re.compile(r"(Invalid header (?:name|value)) .*", re.DOTALL)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "tornado.general" and "Invalid header" in record.getMessage():
            record.msg, record.args = self._QUOTED.sub(r"\1", record.getMessage()), ()
        return True


class Facts(logging.Filter):
    """Give every line the same facts, besides its own."""

    def __init__(self, facts: Mapping[str, object]) -> None:
        super().__init__()
        self._facts = dict(facts)

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in self._facts.items():
            vars(record).setdefault(name, value)
        return True


def configure(level: str, format: str, **facts: object) -> None:
    """Send what `wshttp`, Tornado and asyncio log to standard error, from `level` on; `format` is `text` or `json`.

    Every line carries these facts; those that are `None` are left out.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    handler.addFilter(HeaderValues())
    handler.addFilter(Facts(facts))
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
    set_level(level)


def set_level(level: str) -> None:
    """Change from which level on lines are written."""
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)  # ours is `wshttp.access`
