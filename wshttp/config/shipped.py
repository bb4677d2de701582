"""The folders that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: Literal["static", "config"]) -> Path:
    """Return a folder that comes with the package, whatever the working directory.

    In an installed wheel it is `wshttp/_shipped/<name>`, in the source tree it stands beside the package.
    Raises `FileNotFoundError` where the package was installed without it.
    """
    inside, beside = _PACKAGE / "_shipped" / name, _PACKAGE.parent / name
    if inside.is_dir():
        return inside
    # Beside an installed package there are other packages, and one of them may be called `static`.
    if (_PACKAGE.parent / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    raise FileNotFoundError(f"wshttp was installed without its folder {name!r}")
