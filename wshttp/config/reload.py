"""What a reload can change, and what needs a new start."""

from __future__ import annotations

from typing import Any

from wshttp.config.catalogue import SETTINGS, Setting
from wshttp.config.models import Reload, Settings


def reload_differences(old: Settings, new: Settings) -> tuple[list[str], list[str]]:
    """Return the keys that differ and can change while the server runs, and those that differ and cannot."""
    changed = [setting for setting in SETTINGS if setting.of(old) != setting.of(new)]
    return (
        [setting.key for setting in changed if _can_change(setting, old, new)],
        [setting.key for setting in changed if not _can_change(setting, old, new)],
    )


def _can_change(setting: Setting, old: Settings, new: Settings) -> bool:
    if setting.reload is Reload.WHILE_SET:
        return setting.of(old) is not None and setting.of(new) is not None
    return setting.reload is Reload.YES


def merged_settings(old: Settings, new: Settings) -> Settings:
    """Return the old settings with what differs in the new and can change while the server runs."""
    merged = old
    for key in reload_differences(old, new)[0]:
        merged = _with(merged, key.split("."), new)
    return merged


def _with(model: Any, path: list[str], source: Any) -> Any:
    """Return a copy of a section in which one key is taken from another."""
    name, *rest = path
    value = getattr(source, name)
    return model.model_copy(update={name: _with(getattr(model, name), rest, value) if rest else value})
