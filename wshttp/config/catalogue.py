"""The settings as a flat list, read off the models once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from wshttp.config.kinds import Kind, Shape
from wshttp.config.models import ProtectRule, Reload, Section, Settings

Path = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One setting, with what the models say about it."""

    path: Path
    field: FieldInfo

    @property
    def key(self) -> str:
        """The key path, as in `server.port`."""
        return ".".join(self.path)

    @property
    def kind(self) -> Kind | None:
        """The kind of its value; `None` for a list or a mapping."""
        return next((item for item in self.field.metadata if isinstance(item, Kind)), None)

    @property
    def wants(self) -> str:
        """What its value may be."""
        return next(item.wants for item in self.field.metadata if isinstance(item, Kind | Shape))

    @property
    def reload(self) -> Reload:
        """Whether it can change while the server runs."""
        extra = self.field.json_schema_extra
        return Reload[str(extra["reload"])] if isinstance(extra, dict) else Reload.NO

    def of(self, settings: Settings) -> Any:
        """Return its value."""
        value: Any = settings
        for name in self.path:
            value = getattr(value, name)
        return value


def _section(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _settings(model: type[Section], path: Path) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        if section := _section(field):
            yield from _settings(section, (*path, name))
        else:
            yield Setting((*path, name), field)


def _sections(model: type[Section], path: Path) -> Iterator[tuple[Path, type[Section]]]:
    yield path, model
    for name, field in model.model_fields.items():
        if section := _section(field):
            yield from _sections(section, (*path, name))


SETTINGS: tuple[Setting, ...] = tuple(_settings(Settings, ()))
"""Every setting, in the order of the models."""

SECTIONS: dict[Path, type[Section]] = dict(_sections(Settings, ()))
"""Every section by its path; the root's is empty."""

BY_PATH: dict[Path, Setting] = {setting.path: setting for setting in SETTINGS}

KEYS: dict[Path, tuple[str, ...]] = {path: tuple(section.model_fields) for path, section in SECTIONS.items()} | {
    ("auth", "protect"): tuple(ProtectRule.model_fields)
}
"""The keys that exist in each mapping whose keys are ours."""
