"""What is written about the settings: the shipped file, the reference, and what `wshttp check` prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from wshttp.config import Settings, load_settings, reference, settings_as_yaml, shipped
from wshttp.config.catalogue import SETTINGS
from wshttp.config.kinds import DURATION, SIZE

ROOT = Path(__file__).parents[2]


def keys_of(tree: object, prefix: str = "") -> set[str]:
    """The key paths of the settings in a YAML tree; mappings that are values count as one."""
    if not isinstance(tree, dict) or prefix in ("auth.roles.",):
        return {prefix[:-1]}
    return {key for name, value in tree.items() for key in keys_of(value, f"{prefix}{name}.")}


def test_shipped_file_has_the_defaults() -> None:
    """`config/wshttp.yaml` and the models say the same."""
    assert load_settings(shipped("config") / "wshttp.yaml", environ={}) == Settings()


def test_shipped_file_shows_every_key() -> None:
    """Each setting stands in `config/wshttp.yaml`, in the order of the models, and nothing else does."""
    tree = yaml.safe_load((ROOT / "config/wshttp.yaml").read_text())
    assert keys_of(tree) == {setting.key for setting in SETTINGS}
    assert list(tree) == list(Settings.model_fields)


def test_shipped_file_writes_defaults_as_the_models_do() -> None:
    """A reader who compares file and reference finds the same words: 60s here is 60s there."""
    tree = yaml.safe_load((ROOT / "config/wshttp.yaml").read_text())
    for setting in SETTINGS:
        written = tree
        for name in setting.path:
            written = written[name]
        assert written == setting.field.default, setting.key


def test_reference_is_what_the_models_say() -> None:
    """`docs/reference/configuration.md` is the output of `python -m wshttp.config`; if not, run it."""
    assert (ROOT / "docs/reference/configuration.md").read_text() == reference()


def test_reference_is_printed_by_the_module() -> None:
    """`python -m wshttp.config` prints the reference."""
    command = [sys.executable, "-m", "wshttp.config"]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60).stdout == reference()
    )


def test_reference_lists_every_setting_once() -> None:
    """Each setting has a heading, a default, its values and a word on reloading."""
    text = reference()
    for setting in SETTINGS:
        assert text.count(f" `{setting.key}`\n") == 1
    assert text.count("\n- Default: ") == text.count("\n- Changes while running: ") == len(SETTINGS)


def test_printed_settings_are_read_as_the_same(tmp_path: Path) -> None:
    """What `check` prints is a file with the settings in force."""
    settings = load_settings(
        None,
        environ={},
        overrides=[
            "session.idle_timeout=90s",
            "auth.roles={alice: [admin], 'yes': []}",
            "auth.protect=[/a, {path: /b, roles: [x], redirect: /login}]",
            "server.trusted_proxies=[10.0.0.0/8, unix]",
            "websocket.max_messages_per_second=2.5",
            "auth.realm='*x'",
        ],
    )
    file = tmp_path / "printed.yaml"
    file.write_text(settings_as_yaml(settings))
    assert load_settings(file, environ={}) == settings


def test_printed_settings_show_durations_and_sizes_as_people_write_them() -> None:
    """No bare seconds, no bare bytes where a unit fits, in the order of the models."""
    text = settings_as_yaml(Settings())
    tree = yaml.safe_load(text)
    assert (tree["session"]["idle_timeout"], tree["server"]["max_header_size"]) == ("20m", "64KiB")
    assert list(tree) == list(Settings.model_fields)
    assert {setting.kind for setting in SETTINGS} >= {DURATION, SIZE}


def test_printed_settings_hide_the_secret() -> None:
    """A secret is shown as `(set)`, none as null."""
    settings = load_settings(None, environ={}, overrides=["session.secret=correct horse battery"])
    text = settings_as_yaml(settings)
    assert "horse" not in text
    assert yaml.safe_load(text)["session"]["secret"] == "(set)"
    assert yaml.safe_load(settings_as_yaml(Settings()))["session"]["secret"] is None


def test_printed_settings_hide_the_password_of_the_store() -> None:
    """The URL of the store is shown without its password, and the settings' repr shows none of it."""
    settings = load_settings(None, environ={}, overrides=["store.url=redis://app:hunter2@redis.example:6379/0"])
    assert yaml.safe_load(settings_as_yaml(settings))["store"]["url"] == "redis://app:***@redis.example:6379/0"
    assert "hunter2" not in repr(settings)
    assert yaml.safe_load(settings_as_yaml(Settings()))["store"]["url"] == "redis://127.0.0.1:6379/0"
