"""The reference of all settings, written from the models."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from wshttp.config.catalogue import SECTIONS, SETTINGS, Path, Setting

_HEAD = """\
# Settings

<!-- Written by `python -m wshttp.config`; change the descriptions in wshttp/config/models.py instead. -->

Every setting of the server, with its default.
`config/wshttp.yaml` shows all of them in one file.

## Where settings come from

Four sources, each over the one before it:

1. the defaults;
2. the YAML file that `--config` names;
3. the environment: `WSHTTP_SECTION__KEY`, as in `WSHTTP_SESSION__IDLE_TIMEOUT=5m` or `WSHTTP_SESSION__COOKIE__NAME=chat`,
   and `WSHTTP_APP`; other names that begin with `WSHTTP_` are ignored;
4. the command line: `--set session.idle_timeout=5m`, any number of times.

The values in the environment and on the command line are YAML: `[cookie, ip]` is a list, `null` is nothing.
A list or a mapping replaces the one of the source before; it is not added to it.
A section that is empty in the file keeps its defaults.

`wshttp check --config FILE` prints the settings in force.

## How values are written

- A duration is `500ms`, `30s`, `20m`, `8h`, `7d`, or several of these as in `1h30m`; a bare number is seconds.
- A size is `512B`, `64KiB`, `10MB` or `1.5GiB`; a bare number is bytes. `KiB` is 1024 bytes, `KB` is 1000.
- `0` for a limit or a time-out means none, unless the setting says something else below.
- `null` means "not set".
- YAML reads an unquoted `off` as a boolean; where `off` is one of the values, it is understood.
- In a pattern `*` stands for any text. Put text that begins with `*` in quotes.

## Mistakes

All mistakes are reported at once, one line each, and the server does not start:

    config/site.yaml:3: server.prot: no such setting; did you mean `port`?
    config/site.yaml:9: session.idle_timeout: wants a duration such as 30s, 20m, 8h; got 'soon'
    environment WSHTTP_SERVER__PORT: server.port: wants a whole number from 0 to 65535; got 'http'
    --set log.level=loud: log.level: wants debug, info, warning or error; got 'loud'

A mistake that concerns a file as a whole has no key.
The value of a secret is never shown.

## Changing settings while the server runs

`SIGHUP` reads the file again.
Each setting below says whether it changes then; those that cannot are named in the log, and keep their value.
"""


def reference() -> str:
    """Return the text of `docs/reference/configuration.md`."""
    return "\n".join([_HEAD, *(line for path in SECTIONS if path for line in _section(path)), *_alone()])


def _section(path: Path) -> Iterator[str]:
    doc = (SECTIONS[path].__doc__ or "").strip()
    yield from (f"{'#' * (len(path) + 1)} {'.'.join(path)}", "", doc, "")
    for setting in SETTINGS:
        if setting.path[:-1] == path:
            yield from _setting(setting)


def _alone() -> Iterator[str]:
    """The settings that are in no section."""
    for setting in SETTINGS:
        if len(setting.path) == 1:
            yield from _setting(setting, heading="##")


def _setting(setting: Setting, heading: str = "###") -> Iterator[str]:
    yield from (f"{heading} `{setting.key}`", "")
    yield from (setting.field.description or "").splitlines()
    yield from (
        "",
        f"- Default: `{_default(setting)}`",
        f"- Values: {setting.wants}",
        f"- Changes while running: {setting.reload.value}",
        "",
    )


def _default(setting: Setting) -> str:
    """Return the default as YAML, on one line, in the form in which the models write it."""
    written = yaml.safe_dump(setting.field.default, default_flow_style=True, width=1000)
    return written.removesuffix("\n").removesuffix("\n...")
