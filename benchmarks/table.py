"""Figures in rows, for the terminal and, being Markdown, for the documentation."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows under headings; `about` says in a sentence what was measured."""

    title: str
    about: str
    headings: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, name: str, *figures: str) -> None:
        self.rows.append([name, *figures])

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        rule = ["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]
        lines = [
            "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
            for row in (self.headings, rule, *self.rows)
        ]
        return "\n".join([f"## {self.title}", "", self.about, "", *lines])
