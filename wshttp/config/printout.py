"""The settings in force, as YAML: for people to read and, but for a secret, for the server to read again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from wshttp.config.catalogue import SETTINGS, Setting
from wshttp.config.models import Settings


def settings_as_yaml(settings: Settings) -> str:
    """Return every setting as YAML, with durations and sizes as people write them.

    A secret is shown as `(set)`, the password in a URL as `***`.
    """
    tree: dict[str, Any] = {}
    for setting in SETTINGS:
        section = tree
        for name in setting.path[:-1]:
            section = section.setdefault(name, {})
        section[setting.path[-1]] = _shown(setting, setting.of(settings))
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def _shown(setting: Setting, value: Any) -> object:
    if value is None:
        return None
    if kind := setting.kind:
        return kind.show(value)
    return _plain(value)


def _plain(value: Any) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, BaseModel):
        return {name: _plain(item) for name, item in dict(value).items() if item}
    return value if value is None else str(value)
